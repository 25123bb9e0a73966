"""A people file to accounts, roles, delegation, training and credentials, or every problem in it at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialdm.definitions import schemas
from trialdm.definitions.sources import BadDefinition, Place, Problem, Source, check, read
from trialdm.domain import roles
from trialdm.domain.protocol import Protocol


@dataclass(frozen=True)
class PersonEntry:
    """One person of the file: `roles` as (role, site), the lines and certificates as in the file."""

    email: str
    name: str
    roles: tuple[tuple[str, str], ...]
    delegations: tuple[Mapping[str, Any], ...]
    trainings: tuple[Mapping[str, Any], ...]
    credential: Mapping[str, Any] | None


def load_people(file: str, text: str, protocol: Protocol) -> list[PersonEntry]:
    """The people of one file. Raises BadDefinition with every problem."""
    source, problems = read(file, text)
    raw, found = check(source, schemas.PeopleSchema()) if source.data is not None else ({}, [])
    problems += [*found, *_file_problems(source, raw, protocol)]
    if problems:
        raise BadDefinition(problems)
    return [_entry(row) for row in raw["people"]]


def _entry(row: Mapping[str, Any]) -> PersonEntry:
    return PersonEntry(
        row["email"].lower(),
        row["name"],
        tuple((held["role"], held.get("site", "")) for held in row["roles"]),
        tuple(row["delegations"]),
        tuple(row["trainings"]),
        row.get("credential"),
    )


def _file_problems(source: Source, raw: Mapping[str, Any], protocol: Protocol) -> Iterable[Problem]:
    if raw and raw["trial"] != protocol.id:
        yield source.problem(("trial",), f"this file belongs to trial '{raw['trial']}', not to '{protocol.id}'")
    people = raw.get("people", [])
    emails = [(("people", i, "email"), row["email"].lower()) for i, row in enumerate(people)]
    numbers = [
        (("people", i, "credential", "surgeon"), row["credential"]["surgeon"]) for i, row in enumerate(people) if "credential" in row
    ]
    yield from _twice(source, emails, "'{}' is given twice")
    yield from _twice(source, numbers, "surgeon {} is given twice")
    for i, row in enumerate(people):
        yield from _role_problems(source, ("people", i), row["roles"])
        yield from _line_problems(source, ("people", i), row, protocol)


def _twice(source: Source, entries: Iterable[tuple[Place, Any]], message: str) -> Iterable[Problem]:
    seen = set()
    for place, value in entries:
        if value in seen:
            yield source.problem(place, message.format(value))
        seen.add(value)


def _role_problems(source: Source, person: Place, held: Sequence[Mapping[str, Any]]) -> Iterable[Problem]:
    for j, line in enumerate(held):
        at_one_site = roles.ROLES[line["role"]][1]
        if at_one_site != bool(line.get("site")):
            word = "works at one site: 'site' is missing" if at_one_site else "works for the whole trial, not at a site"
            yield source.problem((*person, "roles", j), f"a {line['role']} {word}")
    clash = roles.clash(line["role"] for line in held)
    if clash:
        yield source.problem((*person, "roles"), f"one person cannot be {clash[0]} and {clash[1]}")


#: What a person has, with the keys of its first and last day; roles have none in the file.
_LINES = {
    "roles": ("", ""),
    "delegations": ("start", "end"),
    "trainings": ("on", "valid_to"),
    "credential": ("valid_from", "valid_to"),
}


def _line_problems(source: Source, person: Place, row: Mapping[str, Any], protocol: Protocol) -> Iterable[Problem]:
    """Sites that do not exist, and what ends before it begins."""
    sites = {site.code for site in protocol.sites}
    for part, (first, last) in _LINES.items():
        given = row.get(part) or []
        lines = [((*person, part), given)] if isinstance(given, dict) else [((*person, part, j), line) for j, line in enumerate(given)]
        for place, line in lines:
            if line.get("site") and line["site"] not in sites:
                yield source.problem((*place, "site"), f"trial {protocol.id} has no site '{line['site']}'")
            begins, ends = line.get(first), line.get(last)
            if begins and ends and ends < begins:
                yield source.problem((*place, last), f"it ends on {ends}, before it begins on {begins}")
