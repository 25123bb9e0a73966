"""Visit windows: which days a visit may fall on, and what it means when it falls elsewhere.

Pure date arithmetic over a protocol's visits. A day belongs to Europe/London.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from trialdm.domain.protocol import Visit

#: Why nothing more is expected of somebody; of several, the first one here counts.
ENDS = ("died", "withdrawn", "lost")

Placing = Literal["in window", "early", "late", "next visit", "no window"]


@dataclass(frozen=True)
class Window:
    """First, target and last day of a visit, all inclusive."""

    opens: date
    target: date
    closes: date


def window(visit: Visit, anchors: Mapping[str, Any]) -> Window | None:
    """The window of a scheduled visit, or None while its anchor has no date (then the fallback anchor counts)."""
    if visit.kind != "scheduled" or visit.target is None:
        return None
    anchor = anchors.get(visit.anchor) or anchors.get(visit.fallback)
    if not isinstance(anchor, date):
        return None
    target = anchor + timedelta(days=visit.target)
    return Window(target - timedelta(days=visit.before), target, target + timedelta(days=visit.after))


def place(day: date, visit: Visit, visits: Sequence[Visit], anchors: Mapping[str, Any]) -> Placing:
    """Where a day falls: past the midpoint to the next scheduled visit it counts as the next one."""
    own = window(visit, anchors)
    if own is None:
        return "no window"
    if own.opens <= day <= own.closes:
        return "in window"
    if day < own.opens:
        return "early"
    last = last_day(visit, visits, anchors)
    return "late" if last is None or day <= last else "next visit"


def last_day(visit: Visit, visits: Sequence[Visit], anchors: Mapping[str, Any]) -> date | None:
    """The last day that still counts as this visit: half the way to the next scheduled one. None for the last visit, which has no
    such day, and where there is no window."""
    own = window(visit, anchors)
    later = [window(v, anchors) for v in visits if v.number > visit.number] if own else []
    following = min((w.target for w in later if w), default=None)
    return own.target + (following - own.target) // 2 if own and following else None


def first_day(visit: Visit, visits: Sequence[Visit], anchors: Mapping[str, Any]) -> date | None:
    """The first day that counts as this visit, and not as the scheduled one before it. None for the first, and without a window."""
    own = window(visit, anchors)
    earlier = [(w.target, v) for v in visits if v.number < visit.number and (w := window(v, anchors))] if own else []
    before = max(earlier, key=lambda one: one[0], default=None)
    last = last_day(before[1], visits, anchors) if before else None
    return last + timedelta(days=1) if last else None


def due(today: date, visit: Visit, anchors: Mapping[str, Any]) -> Literal["not due", "due", "overdue", "no window"]:
    """Whether a visit that has not happened yet is expected now."""
    own = window(visit, anchors)
    if own is None:
        return "no window"
    if today < own.opens:
        return "not due"
    return "due" if today <= own.closes else "overdue"


#: Where a visit of somebody stands, in the order of time.
STANDINGS = {
    "later": "Later",
    "soon": "Due soon",
    "open": "In window",
    "overdue": "Overdue",
    "done": "Done",
    "missed": "Missed",
    "ended": "No longer expected",
}

#: How long before its window opens a visit is due soon.
_SOON = timedelta(days=14)

#: Days from the target day on which a visit is brought to mind.
REMINDERS = (-7, 0, 7)


@dataclass(frozen=True)
class End:
    """From which day on visits of a participant are no longer expected, and why (`ENDS`)."""

    kind: str
    on: date


def ended(visit: Visit, anchors: Mapping[str, Any], ends: Sequence[End]) -> End | None:
    """Why a visit is not expected: an end by the last day of its window, or any where it has no window. Death counts first."""
    own = window(visit, anchors)
    before = [end for end in ends if own is None or end.on <= own.closes]
    return min(before, key=lambda end: (ENDS.index(end.kind), end.on), default=None)


def standing(today: date, visit: Visit, anchors: Mapping[str, Any], ends: Sequence[End], *, done: bool | None) -> str:
    """Where a visit stands (`STANDINGS`). `done` is what was entered: that it took place, that it did not, or None for nothing.

    A visit whose window has closed stays overdue until somebody enters what became of it. One without a window comes later.
    """
    own = window(visit, anchors)
    if done:
        return "done"
    if ended(visit, anchors, ends):
        return "ended"
    if done is False:
        return "missed"
    if own is None or today < own.opens - _SOON:
        return "later"
    if today < own.opens:
        return "soon"
    return "open" if today <= own.closes else "overdue"


def reminders(target: date) -> tuple[date, ...]:
    """The days on which a visit is brought to mind while nothing is entered for it."""
    return tuple(target + timedelta(days=days) for days in REMINDERS)
