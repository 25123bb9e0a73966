"""The participant flow of a trial from live data (RP-02): pooled for everybody who reads it, by arm for those who read allocations."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from trialdm.domain import flow as counts
from trialdm.domain.errors import Refused
from trialdm.domain.ethics.withdrawal import LEVELS
from trialdm.domain.flow import Course, Flow
from trialdm.domain.lifecycle import INITIAL
from trialdm.domain.protocol import Protocol
from trialdm.services import allocations, casebooks, participants, screening, studies, visits
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit
from trialdm.store.tables import Participant


def pooled(unit: Unit, trial: str) -> Flow:
    """The flow of everybody together: nothing in it depends on an arm. Raises Forbidden."""
    return _flow(unit, trial, None)


def may_split(unit: Unit, trial: str) -> bool:
    """Whether the person may read the flow by arm: who reads the allocations of the whole trial, or anybody once it is unblinded."""
    return unit.may("report.flow", trial) and unit.sees_allocations(trial, None) and bool(studies.protocol(unit, trial).schemes)


def by_arm(unit: Unit, trial: str) -> Flow:
    """The flow with the groups of the arms; that it was read is recorded. Raises Forbidden, and Refused (GOV-45) for the blinded."""
    protocol = studies.protocol(unit, trial)
    unit.require("report.flow", trial)
    if not unit.sees_allocations(trial, None):
        raise Refused(
            "Hidden to keep you blinded.", code="GATE.GOV-45", needs="An unblinded role for the whole trial, or the trial unblinded."
        )
    found = _flow(unit, trial, allocations.all_arms(unit, protocol))
    unit.record("report.read", trial=trial, entity="trial", entity_id=trial, reason_text="RP-02 by arm")
    return found


def _flow(unit: Unit, trial: str, arms: Mapping[str, int] | None) -> Flow:
    protocol = studies.protocol(unit, trial)
    unit.require("report.flow", trial)
    return counts.flow(
        _courses(unit, protocol, arms),
        visits={visit.code: visit.label for visit in protocol.visits if visit.kind == "scheduled"},
        reasons=screening.reasons(protocol),
        arms=None if arms is None else {arm.code: arm.label for arm in protocol.arms},
        operates=protocol.meaning("surgery_done") is not None,
        analyses=bool(protocol.primary_outcome),
    )


def _courses(unit: Unit, protocol: Protocol, arms: Mapping[str, int] | None) -> list[Course]:
    trial = protocol.id
    people = list(
        unit.session.scalars(
            select(Participant).where(Participant.trial_id == trial).order_by(Participant.enrolled_site, Participant.number)
        )
    )
    forms = {form for alive in studies.alive(unit, trial) for form in _forms(alive)}
    books = casebooks.some_forms(unit, trial, people, forms)
    states = studies.states(unit, trial, protocol.machine)
    randomised = allocations.randomised(unit, protocol) if protocol.schemes else {}
    return [
        _course(
            unit,
            studies.protocol_at(unit, trial, row.site),
            row,
            books[row.id],
            state=states.get(row.id, INITIAL[protocol.machine]),
            randomised=row.id in randomised,
            arm=None if arms is None else arms.get(row.id),
        )
        for row in people
    ]


#: Meanings of items whose forms the flow reads.
_READ = ("screened_on", "consent_at", "eligible", "surgery_done", "visit_date", "withdrawal", "death_date")


def _forms(protocol: Protocol) -> set[str]:
    named = {found[0].code for name in _READ if (found := protocol.meaning(name))}
    return named | {fact.form for fact in (*protocol.context, *protocol.primary_outcome)}


def _course(unit: Unit, protocol: Protocol, row: Participant, book: Casebook, *, state: str, randomised: bool, arm: int | None) -> Course:
    line = screening.entry(protocol, row, book) if protocol.meaning("screened_on") else None
    asks_consent = protocol.meaning("consent_at") is not None
    return Course(
        participant=row.id,
        screening=line.outcome if line else "consented",
        reasons=frozenset(line.reasons) if line else frozenset(),
        consented=bool(participants.consents(protocol, book)) if asks_consent else True,
        failed=_failed(protocol, book),
        state=state,
        randomised=randomised,
        arm=arm,
        operated=book.meaning(protocol, "surgery_done"),
        visits=_visits(unit, protocol, book, state) if randomised else {},
        analysed=_analysed(protocol, book),
    )


def _failed(protocol: Protocol, book: Casebook) -> tuple[str, ...]:
    """Criteria of eligibility that are not met."""
    found = protocol.meaning("eligible")
    stored = book.first(found[0].code) if found else None
    if found is None or stored is None or not stored.finished:
        return ()
    return tuple(casebooks.failing_criteria(found[0], stored.answers(found[0]).values))


def _visits(unit: Unit, protocol: Protocol, book: Casebook, state: str) -> dict[str, str]:
    facts, ends = book.facts(protocol), participants.ends(protocol, book, state)
    return {
        visit.code: counts.fate(visit, facts, ends, done=visits.took_place(protocol, book, visit.code), today=unit.today)
        for visit in protocol.visits
        if visit.kind == "scheduled"
    }


def _analysed(protocol: Protocol, book: Casebook) -> bool:
    """Whether every answer of the primary outcome is there, and may be used."""
    answers = [book.answer(protocol.form(fact.form), fact.visit, fact.item) for fact in protocol.primary_outcome]
    return all(answer is not None for answer in answers) and LEVELS[participants.withdrawal_level(protocol, book)].used


def table(found: Flow) -> list[dict[str, Any]]:
    """The counts as rows: group (empty for everybody), box, line (empty for the box itself), and number."""
    rows = []
    boxes = [("", box) for step in found.steps for box in step if box]
    boxes += [(group.label, box) for group in found.groups for box in group.boxes]
    for group, box in boxes:
        rows.append({"group": group, "box": box.words, "line": "", "number": box.count})
        rows += [{"group": group, "box": box.words, "line": line.words, "number": line.count} for line in box.lines]
    rows += [{"group": "", "box": "Where everybody stands", "line": line.words, "number": line.count} for line in found.stands]
    return rows
