"""Where a participant or a case stands by what finished forms say, and what follows where that was corrected.

Most steps are taken when a form is first completed. Where a form about one of them is corrected or removed later, the subject goes
back to the last state that still stands, and on from there. Whoever enters such a form can make it stricter; only the principal
investigator, who answers for what a participant wants, takes a withdrawal or a death back, with a reason, and the trial manager is
told. Nothing that was refused meanwhile comes back, and nothing that was kept goes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from trialdm.domain import lifecycle
from trialdm.domain.crf import Form
from trialdm.domain.ethics import withdrawal
from trialdm.domain.ethics.withdrawal import LEVELS
from trialdm.domain.protocol import Protocol, Visit
from trialdm.services import casebooks, notices, participants, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit

if TYPE_CHECKING:  # saving a form stands on this room
    from trialdm.services.places import Place

#: Meanings of the items that say where a participant stands.
_SAY = frozenset({"surgery_done", "visit_date", "withdrawal", "death_date"})

#: machine -> the steps that forms cause, in the order in which they follow on one another.
_STEPS = {
    "participant": ("operate", "not-operate", "follow-up", "complete", "withdraw", "lose", "die"),
    "case": ("operate", "follow-up", "close", "die"),
}


@dataclass(frozen=True)
class Said:
    """What finished forms say now: the level of withdrawal and its day, and the states after the beginning that they speak for."""

    level: int
    states: frozenset[str]
    since: date | None = None

    def loosened(self, before: "Said") -> bool:
        """Whether a withdrawal or a death was taken back or put off. Somebody who was lost may be found by anybody."""
        later = before.since is not None and self.since is not None and self.since > before.since
        return later or self.level < before.level or "died" in before.states - self.states


def concerns(protocol: Protocol, form: Form) -> bool:
    """Whether the form says where its participant or case stands."""
    return protocol.machine == "case" or bool(_SAY & {item.means for item in form.items})


def said(protocol: Protocol, book: Casebook) -> Said:
    """What the finished forms of a participant say."""
    if protocol.machine == "case":
        return Said(0, frozenset(_of_case(protocol, book)))
    ends = (end.kind for end in participants.ends(protocol, book, "lost"))
    since = min((one.on for one in participants.withdrawals(protocol, book)), default=None)
    return Said(participants.withdrawal_level(protocol, book), frozenset((*_of_participant(protocol, book), *ends)), since)


def last_visit(protocol: Protocol) -> int:
    """The number of the last scheduled visit, after which participation is complete."""
    return max((visit.number for visit in _scheduled(protocol)), default=0)


def _scheduled(protocol: Protocol) -> list[Visit]:
    return [visit for visit in protocol.visits if visit.kind == "scheduled"]


def _of_participant(protocol: Protocol, book: Casebook) -> Iterator[str]:
    done = _finished(protocol, book, "surgery_done")
    yield from ("operated" if answer == 1 else "not_operated" for _, answer in done[:1])
    numbers = {visit.code: visit.number for visit in _scheduled(protocol)}
    seen = {numbers[at] for at, day in _finished(protocol, book, "visit_date") if at in numbers and day}
    if seen:
        yield "follow_up"
    if last_visit(protocol) in seen:
        yield "completed"


def _of_case(protocol: Protocol, book: Casebook) -> Iterator[str]:
    if _finished(protocol, book, "case_date"):
        yield "operated"
    ends = _finished(protocol, book, "case_end")
    yield from ("died" if answer == 1 else "closed" for _, answer in ends if answer)
    own = {found[0].code for name in ("case_date", "case_end") if (found := protocol.meaning(name))}
    seen = {protocol.visit(at).number for (at, code, _), stored in book.forms.items() if stored.finished and code not in own}
    if seen:
        yield "follow_up"
    if last_visit(protocol) in seen:
        yield "closed"


def _finished(protocol: Protocol, book: Casebook, meaning: str) -> list[tuple[str, Any]]:
    """Visit and answer of each finished form that holds the item with a meaning."""
    found = protocol.meaning(meaning)
    if found is None:
        return []
    form, item = found
    return [(s.instance.visit, s.answers(form).values.get(item.name)) for s in book.all_of(form.code) if s.finished]


def lead_on(unit: Unit, place: "Place", book: Casebook) -> None:
    """The steps that a form causes once it is complete; those that do not lead on from where somebody stands are passed over."""
    protocol, participant = place.protocol, place.participant
    if protocol.historical:
        return
    machine = protocol.machine
    for event in _events(unit, place, book) if machine == "participant" else _case_events(place, book):
        state = studies.state(unit, protocol.id, machine, participant.id)
        if lifecycle.may(machine, state, event):
            studies.move(unit, protocol.id, machine, participant.id, event, site=participant.site)


def _events(unit: Unit, place: "Place", book: Casebook) -> list[str]:
    """Steps of the participant's lifecycle that this form may cause; those that do not lead on are passed over."""
    form = place.form
    meanings = {item.means: item.name for item in form.items if item.means}
    stored = book.get(*place.key)
    answers = stored.answers(form).values if stored else {}
    if form.kind == "consent":
        return ["consent"]
    if "eligible" in meanings:
        signed = bool(stored and casebooks.saved_by_doctor(unit, place.protocol.id, place.participant.site, stored))
        if answers.get(meanings["eligible"]) != 1:
            return ["fail-eligibility"]
        return ["pass-eligibility"] if signed else []
    if "surgery_done" in meanings:
        return ["operate"] if answers.get(meanings["surgery_done"]) == 1 else ["not-operate"]
    if "withdrawal" in meanings:
        code = answers.get(meanings["withdrawal"])
        if code == withdrawal.LOST:
            return ["lose"]
        return [] if withdrawal.LEVELS[withdrawal.level_of(code if isinstance(code, int) else 0)].scheduled else ["withdraw"]
    if "death_date" in meanings:
        return ["die"]
    if place.visit.kind == "scheduled" and "visit_date" in meanings and answers.get(meanings["visit_date"]):
        return ["follow-up", "complete"] if place.visit.number == last_visit(place.protocol) else ["follow-up"]
    return []


def _case_events(place: "Place", book: Casebook) -> list[str]:
    """Steps of a case that this form may cause: the procedure, a follow-up, the last one, the end of follow-up."""
    meanings = {item.means: item.name for item in place.form.items if item.means}
    stored = book.get(*place.key)
    answers = stored.answers(place.form).values if stored else {}
    if "case_date" in meanings:
        return ["operate"]
    if "case_end" in meanings:
        why = answers.get(meanings["case_end"])
        return ["die"] if why == 1 else ["close"] if why else []
    return ["follow-up", "close"] if place.visit.number == last_visit(place.protocol) else ["follow-up"]


def follow(unit: Unit, protocol: Protocol, book: Casebook, before: Said, reason: str) -> None:
    """Take somebody to where they stand after a form that says it was corrected or removed.

    Raises Forbidden where something is taken back by anybody but the principal investigator; nothing is then saved.
    """
    now, trial, person = said(protocol, book), protocol.id, book.participant
    if protocol.historical or now == before:
        return
    loosened = protocol.machine == "participant" and now.loosened(before)
    if loosened:
        unit.require("participant.reinstate", trial, person.site)
    _step_back(unit, protocol, book, now, reason)
    if loosened:
        _tell(unit, protocol, book, before, now, reason)


def _step_back(unit: Unit, protocol: Protocol, book: Casebook, now: Said, reason: str) -> None:
    """From states that nothing says any more to one that stands, and on to those that do."""
    trial, machine, person = protocol.id, protocol.machine, book.participant
    passed = [row.state for row in studies.history(unit, trial, machine, person.id)]
    moved = False
    while passed and passed[-1] not in now.states and (event := lifecycle.way_back(machine, passed[-1])):
        passed.append(lifecycle.back(machine, passed, event))
        studies.enter(unit, trial, machine, person.id, event, passed[-1], reason=reason, site=person.site)
        moved = True
    for step in _STEPS[machine] if moved else ():
        if lifecycle.MACHINES[machine][step][1] in now.states and lifecycle.may(
            machine, studies.state(unit, trial, machine, person.id), step
        ):
            studies.move(unit, trial, machine, person.id, step, reason=reason, site=person.site)


def _tell(unit: Unit, protocol: Protocol, book: Casebook, before: Said, now: Said, reason: str) -> None:
    """The trial manager hears of it: what was said before, what stands now, who took it back and why."""
    person = book.participant
    state = lifecycle.label(studies.state(unit, protocol.id, "participant", person.id))
    notices.tell(
        unit,
        protocol.id,
        notices.holders(unit, protocol.id, ("trial-manager",), person.site),
        "participation",
        f"Participant {person.id}: a change of participation was taken back",
        f"{unit.actor.name} took back what was said of participant {person.id} at site {person.site} ({_words(before)}). Now: "
        f"{_words(now)}; the participant is {state}. Reason: {reason.strip()}. Ask the site how it was found and, where data are collected "
        "again, that the participant agrees.",
        person.id,
    )


def _words(found: Said) -> str:
    return "; ".join([LEVELS[found.level].words, *sorted(found.states & {"lost", "died"})])
