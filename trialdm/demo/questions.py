"""The queries of the demonstration: at each site one that was closed, one that was answered, and two that are open."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select

from trialdm.domain import lifecycle
from trialdm.domain.protocol import Protocol
from trialdm.services import places, queries
from trialdm.services.unit import Actor, Unit, Units
from trialdm.store.tables import FormInstance, Participant


@dataclass(frozen=True)
class Question:
    """What is asked so many days before today, by whom, and the acts that follow so many days later: (role, act, words)."""

    before: int
    role: str
    form: str
    visit: str
    item: str
    text: str
    then: tuple[tuple[int, str, str, tuple[str, ...]], ...] = ()


_ANSWER, _CLOSE = "answer", "close"

QUESTIONS = (
    Question(
        44,
        "monitor",
        "CLIN",
        "V01",
        "asa",
        "The anaesthetic chart and this answer differ by one grade. Which one is right?",
        (
            (4, "research-nurse", _ANSWER, ("confirmed", "The grade on the chart was corrected by the anaesthetist on the day.")),
            (9, "monitor", _CLOSE, ("Seen on the chart.",)),
        ),
    ),
    Question(
        31,
        "data-manager",
        "DEMO",
        "V01",
        "weight_kg",
        "Is this the weight before the amputation?",
        ((6, "research-nurse", _ANSWER, ("confirmed", "Weighed at the pre-operative clinic.")),),
    ),
    Question(
        19, "data-manager", "CLIN", "V01", "pain_dur_mo", "Is the duration in months, not in weeks? Please check the referral letter."
    ),
    Question(6, "monitor", "CLIN", "V01", "smoke", "The notes of the same day say something else. Please check."),
)


def _longest(question: Question) -> int:
    """Days until the last act that follows: what could not be finished by today is not begun."""
    return max((later for later, *_ in question.then), default=0)


@dataclass
class Asking:
    """What is still to be asked and done at the sites, as the days go by."""

    units: Units
    protocol: Protocol
    last: date
    actor: Callable[[str, str], Actor]
    waiting: list[tuple[date, str, int]] = field(default_factory=list)
    following: list[tuple[date, str, str, str, str, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        days = [(self.last - timedelta(days=q.before), n) for n, q in enumerate(QUESTIONS)]
        self.waiting = [(day, site.code, n) for site in self.protocol.sites for day, n in days]

    def day(self, today: date) -> int:
        """Ask and do what is due, as far as there is a finished form to ask about; gives how many acts there were."""
        self.waiting = [one for one in self.waiting if today + timedelta(days=_longest(QUESTIONS[one[2]])) <= self.last]
        due = [one for one in self.waiting if one[0] <= today]
        asked = [one for one in due if self._ask(today, one[1], one[2])]
        self.waiting = [one for one in self.waiting if one not in asked]
        acts = [one for one in self.following if one[0] <= today]
        for _, site, role, act, ident, words in acts:
            self._act(site, role, act, ident, words)
        self.following = [one for one in self.following if one not in acts]
        return len(asked) + len(acts)

    def _ask(self, today: date, site: str, number: int) -> bool:
        question = QUESTIONS[number]

        def work(unit: Unit) -> str:
            complete = unit.session.scalars(
                select(Participant.id)
                .join(FormInstance, (FormInstance.trial_id == Participant.trial_id) & (FormInstance.participant_id == Participant.id))
                .where(
                    Participant.trial_id == self.protocol.id,
                    Participant.site == site,
                    FormInstance.form == question.form,
                    FormInstance.visit == question.visit,
                    FormInstance.status.in_(lifecycle.FINISHED),
                )
                .order_by(Participant.enrolled_site, Participant.number)
            ).all()
            if not complete:
                return ""
            person = complete[number % len(complete)]
            place = places.locate(unit, self.protocol.id, person, question.visit, question.form)
            return queries.ask(unit, place, question.item, question.text).id

        ident = self.units.run(self.actor(question.role, ""), work)
        if ident:
            self.following += [(today + timedelta(days=later), site, role, act, ident, words) for later, role, act, words in question.then]
        return bool(ident)

    def _act(self, site: str, role: str, act: str, ident: str, words: tuple[str, ...]) -> None:
        do: Callable[..., Any] = {_ANSWER: queries.answer, _CLOSE: queries.close}[act]
        self.units.run(self.actor(role, site if act == _ANSWER else ""), lambda unit: do(unit, self.protocol.id, ident, *words))
