"""What a deadline is, and everything that the deadlines of a trial follow from."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

from trialdm.domain.ethics.dates import add_days
from trialdm.domain.ethics.parameters import param
from trialdm.domain.ethics.register import Register
from trialdm.domain.protocol import Protocol

#: Days before a deadline on which its owners are reminded; on the day itself, too (AC-06).
REMIND_BEFORE = (5, 2, 0)

#: From how many days before it a deadline is called soon.
SOON = max(REMIND_BEFORE)

#: After it, owners are reminded again every so many days until it is met.
REMIND_AFTER = 7

STATES = {
    "met": "Met",
    "late": "Met late",
    "overdue": "Overdue",
    "today": "Due today",
    "soon": "Due soon",
    "open": "Open",
}


@dataclass(frozen=True)
class Deadline:
    """One deadline. `due` is a day, or a moment (wall time in Europe/London) where hours count; `owners` are roles.

    `key` names it for ever: a fact `done` about this key ends it. `person` is an account where one person owes it. A `restricted`
    one follows from what blinded roles never read: nothing in it tells it from others.
    """

    key: str
    rule: str
    title: str
    starts: date
    due: date
    owners: tuple[str, ...]
    done: date | None = None
    site: str = ""
    participant: str = ""
    person: str = ""
    restricted: bool = False

    @property
    def last_day(self) -> date:
        return self.due.date() if isinstance(self.due, datetime) else self.due

    def late(self, on: date) -> bool:
        """Whether it was, or at a day or moment still is, open after it was due."""
        return _after(self.done or on, self.due)

    def state(self, now: datetime) -> str:
        """One of `STATES` at a moment (wall time in Europe/London)."""
        if self.late(now):
            return "overdue" if self.done is None else "late"
        if self.done is not None:
            return "met"
        left = (self.last_day - now.date()).days
        return "today" if left <= 0 else "soon" if left <= SOON else "open"

    def reminders(self) -> Iterator[date]:
        """Days on which the owners are reminded, for as long as it is not met."""
        yield from (add_days(self.last_day, -days) for days in REMIND_BEFORE if add_days(self.last_day, -days) >= self.starts)
        for week in range(1, 53):
            yield add_days(self.last_day, REMIND_AFTER * week)


def _after(moment: date, due: date) -> bool:
    """Whether something comes after a deadline: by the minute where both are moments, otherwise by the day."""
    if isinstance(moment, datetime) and isinstance(due, datetime):
        return moment > due
    plain, last = (m.date() if isinstance(m, datetime) else m for m in (moment, due))
    return plain > last


@dataclass(frozen=True)
class SeriousEvent:
    """A serious adverse event as far as its clocks look at it. Moments are wall time in Europe/London."""

    participant: str
    site: str
    row: int
    aware: datetime | None = None
    reported: datetime | None = None
    ci_aware: date | None = None
    related: bool = False
    unexpected: bool = False
    fatal: bool = False
    sent: date | None = None


@dataclass(frozen=True)
class Breach:
    """A deviation that may be a serious breach. `ident` names it without its row: the numbers of restricted rows are their own."""

    participant: str
    site: str
    ident: str
    found: date
    restricted: bool = False


@dataclass(frozen=True)
class Audited:
    """An audited procedure of the treatment pathway: organisation, day of the procedure, day of its entry, number of the surgeon."""

    site: str
    on: date
    entered_on: date
    surgeon: int | None = None


@dataclass(frozen=True)
class Situation:
    """What the deadlines of a trial follow from, on a day. `moves` are the trial's steps with their days."""

    on: date
    protocol: Protocol
    register: Register
    moves: tuple[tuple[str, date], ...] = ()
    first_consent: date | None = None
    first_participant: date | None = None
    serious: tuple[SeriousEvent, ...] = ()
    breaches: tuple[Breach, ...] = ()
    audited: tuple[Audited, ...] = ()

    def param(self, name: str) -> int:
        return param(self.protocol, name)

    def done(self, key: str) -> date | None:
        return self.register.done(key, self.on)

    def moved(self, *events: str) -> list[tuple[str, date]]:
        return [move for move in self.moves if move[0] in events]

    @property
    def medicine(self) -> bool:
        return self.protocol.study_type == "ctimp"


Clock = Callable[[Situation], Iterable[Deadline]]
