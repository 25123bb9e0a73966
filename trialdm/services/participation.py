"""What has ended a participant's participation, and what follows where that was entered by mistake.

A withdrawal, a loss to follow-up or a death stands as long as a finished form says so. Whoever enters such a form can make it
stricter; only the principal investigator, who answers for what a participant wants, takes a withdrawal or a death back, with a
reason, and the trial manager is told. Nothing that was refused meanwhile comes back, and nothing that was kept goes.
"""

from dataclasses import dataclass

from trialdm.domain import lifecycle
from trialdm.domain.ethics.withdrawal import LEVELS
from trialdm.domain.protocol import Protocol
from trialdm.services import notices, participants, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import Unit

#: Kind of an end -> the step that it causes, in the order in which they follow on one another.
_STEPS = {"withdrawn": "withdraw", "lost": "lose", "died": "die"}


@dataclass(frozen=True)
class Ends:
    """What finished forms say now: the level of withdrawal, and the states that they cause."""

    level: int
    states: frozenset[str]

    def loosened(self, before: "Ends") -> bool:
        """Whether a withdrawal or a death was taken back. Somebody who was lost may be found by anybody."""
        return self.level < before.level or "died" in before.states - self.states


def said(protocol: Protocol, book: Casebook) -> Ends:
    """What the finished forms of a participant say."""
    level = participants.withdrawal_level(protocol, book)
    return Ends(level, frozenset(end.kind for end in participants.ends(protocol, book, "lost")) & frozenset(_STEPS))


def follow(unit: Unit, protocol: Protocol, book: Casebook, before: Ends, reason: str) -> None:
    """Take the participant to where they stand after a form about an end was corrected or removed.

    Raises Forbidden where something is taken back by anybody but the principal investigator; nothing is then saved.
    """
    now, trial, person = said(protocol, book), protocol.id, book.participant
    if protocol.historical or protocol.machine != "participant" or now == before:
        return
    loosened = now.loosened(before)
    if loosened:
        unit.require("participant.reinstate", trial, person.site)
    _step_back(unit, trial, book, now, reason)
    if loosened:
        _tell(unit, protocol, book, before, now, reason)


def _step_back(unit: Unit, trial: str, book: Casebook, now: Ends, reason: str) -> None:
    """From an end that nothing says any more to the state before it, and on to those ends that still stand."""
    person = book.participant
    passed = [row.state for row in studies.history(unit, trial, "participant", person.id)]
    if not passed or passed[-1] not in lifecycle.BACK["participant"]["reinstate"] or passed[-1] in now.states:
        return
    state = lifecycle.back("participant", passed, "reinstate")
    studies.enter(unit, trial, "participant", person.id, "reinstate", state, reason=reason, site=person.site)
    for end, event in _STEPS.items():
        if end in now.states and lifecycle.may("participant", studies.state(unit, trial, "participant", person.id), event):
            studies.move(unit, trial, "participant", person.id, event, reason=reason, site=person.site)


def _tell(unit: Unit, protocol: Protocol, book: Casebook, before: Ends, now: Ends, reason: str) -> None:
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


def _words(ends: Ends) -> str:
    return "; ".join([LEVELS[ends.level].words, *sorted(ends.states - {"withdrawn"})])
