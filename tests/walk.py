"""Every address of the service, with every value that its parameters have in one of the twins.

Routes are taken from the URL map, so that a new one is walked without anybody thinking of it; one with a parameter for which there
are no values here is an error.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from math import ceil
from typing import Any

from flask import Flask
from sqlalchemy import func, select
from werkzeug.routing import AnyConverter, Rule

from tests.builders import TRIAL, World
from tests.doors import app_of
from tests.twins import Twins
from trialdm.domain import lifecycle
from trialdm.services import monitoring
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import (
    Account,
    AuditEvent,
    Definition,
    Delegation,
    Evidence,
    ExportJob,
    FormInstance,
    IdentityAct,
    Notice,
    Query,
    RegisterEntry,
)
from trialdm.web.people import STEPS

#: Routes that hold nothing of a trial: files, the guide, and what comes before signing in. Nobody walks out of their own session.
OUTSIDE = ("static", "bootstrap.", "guide.", "sign_in.", "account.", "healthz", "readyz")

Place = tuple[str, str, int]
_NONE = "0" * 32


@dataclass(frozen=True)
class Address:
    """A path in each of the twins, where it may hold another random name, and what both are called."""

    rule: str
    name: str
    paths: tuple[str, str]
    of: tuple[tuple[str, str], ...] = ()


def addresses(twins: Twins, method: str = "GET") -> Iterator[Address]:
    """Every address that is reached by this method, with every value of its parameters."""
    app: Flask = app_of(twins.worlds[0])
    known, places = _values(twins), all_places(twins)
    for rule in sorted(app.url_map.iter_rules(), key=lambda one: (one.rule, one.endpoint)):
        if method in (rule.methods or ()) and not rule.endpoint.startswith(OUTSIDE):
            yield from _of_rule(rule, places, known)


def _of_rule(rule: Rule, places: Sequence[tuple[str, Place]], known: dict[str, list[tuple[str, str]]]) -> Iterator[Address]:
    names = sorted(rule.arguments - set(rule.defaults or ()))
    if {"participant", "visit"} <= set(names):
        chosen: Iterable[dict[str, tuple[str, str]]] = _placed(names, places)
    else:
        every = [_of_parameter(rule, name, known) for name in names]
        chosen = (dict(zip(names, values, strict=True)) for values in product(*every))
    for values in chosen:
        paths = [_path(rule, {name: value[which] for name, value in values.items()}) for which in (0, 1)]
        of = tuple((name, value[0]) for name, value in values.items())
        yield Address(f"{rule.endpoint} {rule.rule}", paths[0], (paths[0], paths[1]), of)


def _path(rule: Rule, values: dict[str, Any]) -> str:
    """The path of a route with these values."""
    converted = {name: rule._converters[name].to_python(value) for name, value in values.items()}
    built = rule.build({**(rule.defaults or {}), **converted})
    assert built is not None, (rule, values)
    return built[1]


def _placed(names: Sequence[str], places: Sequence[tuple[str, Place]]) -> Iterator[dict[str, tuple[str, str]]]:
    """Parameters that name a place in somebody's casebook: a visit, a form at it, a row."""
    seen = set()
    for ident, (visit, form, row) in places:
        of = {"trial": TRIAL, "participant": ident, "visit": visit, "form": form, "row": str(row)}
        values = tuple((name, of[name]) for name in names)
        if values not in seen:
            seen.add(values)
            yield {name: (value, value) for name, value in values}


def _of_parameter(rule: Rule, name: str, known: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    converter: Any = rule._converters[name]
    if isinstance(converter, AnyConverter):
        return [(value, value) for value in sorted(converter.items)]
    for key in (f"{rule.endpoint} {name}", f"{rule.endpoint.partition('.')[0]} {name}", name):
        if key in known:
            return known[key]
    raise LookupError(f"tests.walk knows no values for '{name}' of {rule.rule} ({rule.endpoint})")


def _values(twins: Twins) -> dict[str, list[tuple[str, str]]]:
    """The values of each parameter, of an endpoint's or of all endpoints'; in each of the twins one."""
    protocol = twins.worlds[0].protocol
    held = _held(twins)
    same: dict[str, Iterable[Any]] = {
        "trial": [TRIAL],
        "participant": twins.idents,
        "site": ["S01", "S02", "S03"],
        "form": [form.code for form in protocol.forms],
        "queries ident": sorted({number for number in _labels(twins, "query")}) or ["Q1"],
        "number": [*sorted(_labels(twins, "register"), key=int), "9999"],
        "condition": ["1"],
        "kind": ["PIS", "ICF"],
        "code": ["1", "2"],
        "figure": monitoring.FIGURES,
        "ref": ["1", "none"],
        "scope": ["trial", "site", "participant", "form"],
        "step": STEPS,
        "seq": [str(number) for number in range(1, len(_labels(twins, "definition")) + 1)],
        "steps.ask event": lifecycle.MACHINES["trial"],
        "steps.take event": lifecycle.MACHINES["trial"],
        "steps.ask_site event": lifecycle.MACHINES["site"],
        "steps.take_site event": lifecycle.MACHINES["site"],
        "rehearsals ident": [_NONE],
        "sha256": [*sorted(_labels(twins, "evidence")), "0" * 64],
        "name": ["pre-tmr"],
        "filename": ["none"],
    }
    values = {name: [(str(one), str(one)) for one in given] for name, given in same.items()}
    values["api_queries ident"] = values["queries ident"]
    for names, kind in (
        (("accounts ident",), "account"),
        (("exports ident", "api_exports ident"), "export"),
        (("identities ident", "api_identities ident"), "identity"),
        (("notices ident", "api_notices ident"), "notice"),
        (("people line", "api_people line"), "line"),
        (("api_trials ident",), "entry"),
    ):
        values |= dict.fromkeys(names, held[kind])
    values["signing ident"] = [("S01", "S01"), *((ident, ident) for ident in twins.idents), *held["form"]]
    return values


def _held(twins: Twins) -> dict[str, list[tuple[str, str]]]:
    """Things with random names: of what stands in one of the twins only, a name that means nothing in the other one."""
    one, other = (_things(world) for world in twins.worlds)
    named = {kind: sorted({*one[kind], *other[kind]}) for kind in one}
    pairs = {kind: [(one[kind].get(label, _NONE), other[kind].get(label, _NONE)) for label in labels] for kind, labels in named.items()}
    return {kind: found or [(_NONE, _NONE)] for kind, found in pairs.items()}


def _labels(twins: Twins, kind: str) -> set[str]:
    return {label for world in twins.worlds for label in _things(world)[kind]}


def _things(world: World) -> dict[str, dict[str, str]]:
    """Kind of thing -> what each one is called in both twins -> its name in this one."""
    with world.units.reading(SYSTEM) as unit:

        def rows(table: Any) -> list[Any]:
            return list(unit.session.scalars(select(table)))

        emails = {row.id: row.email for row in rows(Account)}
        found = {
            "account": [(row.email, row.id) for row in rows(Account)],
            "export": [(f"{emails[row.requested_by]} {row.requested_at}", row.id) for row in rows(ExportJob)],
            "identity": [(f"{row.act} {row.at}", row.id) for row in rows(IdentityAct)],
            "notice": [(f"{emails.get(row.account_id, '')} {row.made_at} {row.kind} {row.subject}", row.id) for row in rows(Notice)],
            "line": [(f"{emails[row.account_id]} {row.site}", row.id) for row in rows(Delegation)],
            "form": [(f"{row.participant_id} {row.visit} {row.form} {row.row}", row.id) for row in rows(FormInstance)],
            "query": [(f"{'R' if row.restricted else 'Q'}{row.number}", row.id) for row in rows(Query)],
            "definition": [(str(row.seq), str(row.seq)) for row in rows(Definition)],
            "register": [(str(row.seq), str(row.seq)) for row in rows(RegisterEntry)],
            "entry": [(f"{row.stream} {number}", row.event_id) for number, row in enumerate(_first_entries(unit))],
            "evidence": [(row.sha256, row.sha256) for row in rows(Evidence)],
        }
    return {kind: dict(pairs) for kind, pairs in found.items()}


def _first_entries(unit: Unit) -> list[AuditEvent]:
    """Of each stream of the trail the entry that was made first."""
    first = select(func.min(AuditEvent.seq)).where(AuditEvent.trial_id == TRIAL).group_by(AuditEvent.stream)
    return list(unit.session.scalars(select(AuditEvent).where(AuditEvent.seq.in_(first)).order_by(AuditEvent.stream)))


# --- places in casebooks -----------------------------------------------------------------------------------------------


def all_places(twins: Twins) -> list[tuple[str, Place]]:
    """Every place at which a participant may have a form, and every row that one of the twins has."""
    every = {(visit, form.code, 1) for form in twins.worlds[0].protocol.forms for visit in form.visits}
    possible = {(ident, place) for ident in twins.idents for place in every}
    return sorted(possible | _entered(twins), key=lambda one: (twins.idents.index(one[0]), one[1]))


def _entered(twins: Twins) -> set[tuple[str, Place]]:
    """Every form and row that there is in one of the twins."""
    found = set()
    for world in twins.worlds:
        with world.units.reading(SYSTEM) as unit:
            found |= {(row.participant_id, (row.visit, row.form, row.row or 1)) for row in unit.session.scalars(select(FormInstance))}
    return found


#: Forms whose content follows the arm, wholly or in part.
_TELLING = ("SURG", "NERV", "UNBL", "RAND", "DEVI", "SAE", "REOP")


def in_turn(twins: Twins, found: Iterable[Address], turn: int, most: int) -> list[Address]:
    """Of each route at most so many addresses, others at each turn; of the first participant's forms that follow the arm all of them."""
    first = {("participant", twins.idents[0])}
    entered = {place for ident, place in _entered(twins) if ident == twins.idents[0] and place[1] in _TELLING}
    wanted = {(visit, form) for visit, form, _ in entered}
    kept: list[Address] = []
    for _, group in groupby(found, lambda address: address.rule):
        every = list(group)
        step = ceil(len(every) / most)
        for at, one in enumerate(every):
            of = dict(one.of)
            telling = first <= set(one.of) and (of.get("visit"), of.get("form")) in wanted
            if at % step == turn % step or telling:
                kept.append(one)
    return kept
