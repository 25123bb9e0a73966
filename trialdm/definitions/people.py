"""A people file to accounts, roles, delegation, training and credentials, or every problem in it at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trialdm.definitions import schemas
from trialdm.definitions.sources import BadDefinition, check, read
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
    problems += found
    if raw and raw["trial"] != protocol.id:
        problems.append(source.problem(("trial",), f"this file belongs to trial '{raw['trial']}', not to '{protocol.id}'"))
    sites = {site.code for site in protocol.sites}
    people: list[PersonEntry] = []
    for i, row in enumerate(raw.get("people", [])):
        place = ("people", i)
        for part in ("roles", "delegations"):
            for j, line in enumerate(row[part]):
                if line.get("site") and line["site"] not in sites:
                    problems.append(source.problem((*place, part, j, "site"), f"trial {protocol.id} has no site '{line['site']}'"))
        for j, held in enumerate(row["roles"]):
            if roles.ROLES[held["role"]][1] != bool(held.get("site")):
                word = (
                    "works at one site: 'site' is missing" if roles.ROLES[held["role"]][1] else "works for the whole trial, not at a site"
                )
                problems.append(source.problem((*place, "roles", j), f"a {held['role']} {word}"))
        clash = roles.clash(held["role"] for held in row["roles"])
        if clash:
            problems.append(source.problem((*place, "roles"), f"one person cannot be {clash[0]} and {clash[1]}"))
        people.append(
            PersonEntry(
                row["email"].lower(),
                row["name"],
                tuple((held["role"], held.get("site", "")) for held in row["roles"]),
                tuple(row["delegations"]),
                tuple(row["trainings"]),
                row.get("credential"),
            )
        )
    if problems:
        raise BadDefinition(problems)
    return people
