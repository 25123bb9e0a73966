"""What a trial's home page shows: its sites, and what needs doing. Recruitment against the target is in `recruitment`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import roles, schedule
from trialdm.domain.errors import TrialError
from trialdm.domain.ethics import Reason
from trialdm.domain.ethics.withdrawal import COLLECTS
from trialdm.domain.protocol import UNSCHEDULED, Protocol
from trialdm.domain.roles import sites_seen
from trialdm.services import allocations, casebooks, drafts, participants, places, records, studies, visits
from trialdm.services.casebooks import Casebook
from trialdm.services.places import Place
from trialdm.services.unit import Unit
from trialdm.store.tables import FormInstance, Participant

#: Participants in these states have no visits to come.
_FINISHED = ("withdrawn", "died", "lost", "completed", "screened", "ineligible", "recorded", "closed")

_MOST = 200


@dataclass(frozen=True)
class SiteRow:
    """Recruitment of one site: those whom it enrolled, wherever they are looked after now."""

    code: str
    name: str
    nation: str
    state: str
    target: int
    screened: int
    randomised: int


@dataclass(frozen=True)
class Task:
    """Something that needs doing: for whom, what, where it is done, and since when it is overdue."""

    kind: str
    participant: str
    site: str
    what: str
    visit: str = ""
    form: str = ""
    row: int = 1
    due: date | None = None


def sites(unit: Unit, trial: str) -> list[SiteRow]:
    """Recruitment of every site that the person may see."""
    protocol = studies.protocol(unit, trial)
    unit.require("trial.see", trial)
    seen = sites_seen(unit.actor.grants, "trial.see", trial)
    screened = dict(
        unit.session.execute(
            select(Participant.enrolled_site, func.count()).where(Participant.trial_id == trial).group_by(Participant.enrolled_site)
        ).all()
    )
    randomised = _randomised_by_site(unit, protocol)
    states = studies.states(unit, trial, "site")
    return [
        SiteRow(
            site.code,
            site.name,
            site.nation,
            states.get(site.code, "identified"),
            site.target,
            screened.get(site.code, 0),
            randomised[site.code],
        )
        for site in protocol.sites
        if seen is None or site.code in seen
    ]


def _randomised_by_site(unit: Unit, protocol: Protocol) -> Counter[str]:
    known = allocations.randomised(unit, protocol) if protocol.schemes else {}
    people = unit.session.execute(select(Participant.id, Participant.enrolled_site).where(Participant.trial_id == protocol.id))
    return Counter(site for ident, site in people if ident in known)


def tasks(unit: Unit, trial: str, *, most: int = _MOST) -> list[Task]:
    """What needs doing at the sites that the person sees: randomise, finish drafts, visits that are due or overdue."""
    if not unit.may("participant.see", trial):
        return []
    found: list[Task] = []
    left = _drafts(unit, trial)
    people = participants.listed(unit, trial)
    alive = studies.alive(unit, trial)
    forms = {form for protocol in alive for form in visits.forms(protocol)}
    books = casebooks.some_forms(unit, trial, [person for person, _ in people], forms)
    whole = studies.protocol(unit, trial)
    for person, state in people:
        if state == "eligible" and _open_to(unit, whole, person):
            found.append(Task("randomise", person.id, person.site, "Ready to randomise"))
        protocol = studies.protocol_at(unit, trial, person.site)
        collects = COLLECTS[participants.withdrawal_level(protocol, books[person.id])]
        found += [draft for draft in left.get(person.id, []) if protocol.form(draft.form).kind in collects]
        if state not in _FINISHED and state not in ("consented", "eligible"):
            found += _visits(unit, protocol, books[person.id], state)
    found += _typed(unit, trial, {person.id: person for person, _ in people})
    order = {"typed": 0, "randomise": 1, "overdue": 2, "due": 3, "draft": 4}
    return sorted(found, key=lambda task: (order[task.kind], task.due or date.max, task.participant))[:most]


def _open_to(unit: Unit, protocol: Protocol, person: Participant) -> bool:
    """Whether trial and site recruit, and nothing stands against randomising this participant; the gate is asked on its own page."""
    recruits = studies.state(unit, protocol.id) == "open" == studies.state(unit, protocol.id, "site", person.site)
    return recruits and allocations.hindrance(unit, protocol, person) is None


def _drafts(unit: Unit, trial: str) -> dict[str, list[Task]]:
    rows = unit.session.execute(
        select(FormInstance, Participant.site)
        .join(Participant, (Participant.trial_id == FormInstance.trial_id) & (Participant.id == FormInstance.participant_id))
        .where(FormInstance.trial_id == trial, FormInstance.status == "draft")
    )
    found: dict[str, list[Task]] = {}
    for instance, site in rows:
        form = studies.protocol_at(unit, trial, site).form(instance.form)
        if (form.restricted or instance.restricted) and not unit.sees_allocations(trial, site):
            continue
        task = Task("draft", instance.participant_id, site, f"Finish {form.title}", instance.visit, instance.form, instance.row)
        found.setdefault(instance.participant_id, []).append(task)
    return found


def _typed(unit: Unit, trial: str, people: dict[str, Participant]) -> Iterator[Task]:
    """Forms into which the person has typed something that is not saved."""
    for row in drafts.mine(unit, trial):
        person = people.get(row.participant_id)
        if person is not None:
            form = studies.protocol_at(unit, trial, person.site).form(row.form)
            what = f"{form.title}, all rows" if row.row == drafts.TABLE else form.title
            yield Task("typed", person.id, person.site, f"Save what you typed: {what}", row.visit, row.form, row.row)


#: Where a visit stands -> kind of task.
_KINDS = {"open": "due", "overdue": "overdue"}


def _visits(unit: Unit, protocol: Protocol, book: Casebook, state: str) -> Iterator[Task]:
    """Scheduled visits that are expected, whose window has opened and of which no visit form has been saved."""
    for one in visits.of_person(unit, protocol, book, state):
        if one.standing in _KINDS and not book.get(one.visit, one.form, 1):
            kind = _KINDS[one.standing]
            yield Task(kind, one.participant, one.site, f"{one.label} is {kind}", one.visit, one.form, due=one.window.closes)


def grid(unit: Unit, protocol: Protocol, person: Participant) -> list[dict[str, Any]]:
    """Visits by forms with states, for one participant: what a reader may see of it. `protocol` is the one that the site works with."""
    book = casebooks.read(unit, protocol.id, person)
    sees = unit.sees_allocations(protocol.id, person.site)
    facts, ends = book.facts(protocol), participants.ends(protocol, book, participants.state(unit, protocol.id, person))
    collects = COLLECTS[participants.withdrawal_level(protocol, book)]
    occasions = sorted({at for at, _, _ in book.forms if protocol.visit(at).code != at})
    rows: list[dict[str, Any]] = []
    for visit in protocol.visits:
        end, done = schedule.ended(visit, facts, ends), visits.took_place(protocol, book, visit.code)
        for code in [*(o for o in occasions if protocol.visit(o) is visit), visit.code]:
            cells = [
                {
                    "form": form,
                    "how": how,
                    "rows": protocol.rows_at(form, visit),
                    "expected": end is None or (end.kind == "withdrawn" and form.kind in collects),
                    "saved": [s for s in book.rows(form.code, code) if sees or not s.instance.restricted],
                }
                for form, how in protocol.forms_at(visit)
                if (sees or not form.restricted) and (form.applies(facts) or book.rows(form.code, code))
            ]
            if cells:
                rows.append(
                    {
                        "visit": visit,
                        "code": code,
                        "cells": cells,
                        "window": schedule.window(visit, facts),
                        "due": schedule.due(unit.today, visit, facts),
                        "standing": schedule.standing(unit.today, visit, facts, ends, done=done),
                        "new": code == UNSCHEDULED,
                    }
                )
    return rows


def entry(unit: Unit, place: Place) -> tuple[TrialError | None, list[Reason]]:
    """What keeps the reader from entering a form, or None; and what the gate says to watch while it is entered."""
    try:
        kept = records.require_entry(unit, place, places.book(unit, place))
    except TrialError as problem:
        return problem, []
    return None, [Reason(**reason) for reason in kept.get("reasons", ()) if reason["severity"] != "block"]


def next_form(unit: Unit, place: Place) -> tuple[str, str] | None:
    """Visit and form that come next: a required form of the same visit that is not complete and that the person may enter."""
    protocol, person = place.protocol, place.participant
    for row in grid(unit, protocol, person):
        for cell in row["cells"] if row["code"] == place.visit_code else []:
            done = any(stored.finished for stored in cell["saved"])
            enters = roles.may_enter(unit.actor.grants, cell["form"].kind, protocol.id, person.site)
            if cell["how"] == "required" and not done and enters and cell["form"] is not place.form:
                return place.visit_code, cell["form"].code
    return None
