"""The participant flow: how many were assessed, excluded and why, consented, randomised, operated, followed up, and analysed.

Consent, allocation, screening and state are counted apart, so that the totals can disagree: checks say where, conflicts say who.
Everybody stands in exactly one box at the end; somebody who withdrew and died has died. Source: CONSORT 2025, item 22.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from trialdm.domain import schedule
from trialdm.domain.lifecycle import BEFORE_ALLOCATION, label
from trialdm.domain.protocol import Visit
from trialdm.domain.schedule import End
from trialdm.domain.screening import EXCLUDED, OUTCOMES

#: What became of a visit, in words.
FATES = {
    "done": "Followed up",
    "died": "Died before",
    "withdrawn": "Withdrew before",
    "lost": "Lost to follow-up before",
    "missed": "Missed",
    "later": "Not due yet",
}

#: Where somebody stands at the end, in words; the first ones are states of the lifecycle.
STANDS = {
    "died": "Died",
    "withdrawn": "Withdrew",
    "lost": "Lost to follow-up",
    "completed": "Completed",
    "ineligible": "Found not eligible after consent",
    "in-trial": "In the trial",
    "waiting": "Consented, not randomised yet",
    **{key: words for key, words in OUTCOMES.items() if key != "consented"},
}

_BY_STATE = ("died", "withdrawn", "lost", "completed", "ineligible")


@dataclass(frozen=True)
class Course:
    """What the flow knows of one participant. `screening` is a key of `screening.OUTCOMES`, `visits` are `FATES` by visit."""

    participant: str
    screening: str = "consented"
    reasons: frozenset[int] = frozenset()
    consented: bool = True
    failed: tuple[str, ...] = ()
    state: str = "screened"
    randomised: bool = False
    arm: int | None = None
    operated: int | None = None
    visits: Mapping[str, str] = field(default_factory=dict)
    analysed: bool = False

    @property
    def stands(self) -> str:
        """The one box in which the participant stands: a key of `STANDS`."""
        if self.state in _BY_STATE:
            return self.state
        if self.randomised:
            return "in-trial"
        if self.consented:
            return "waiting"
        return self.screening if self.screening in EXCLUDED else "open"


@dataclass(frozen=True)
class Line:
    """One count. `behind` names the list behind it: `outcome`, `reason` or `state`, and which."""

    words: str
    count: int
    behind: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Box:
    """A box of the diagram: its count, and the counts that it is made of."""

    words: str
    count: int
    lines: tuple[Line, ...] = ()
    behind: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Group:
    """The boxes after randomisation: of one arm, or of everybody (no label)."""

    label: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Check:
    """Two totals that are to agree."""

    words: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        return self.left == self.right


@dataclass(frozen=True)
class Flow:
    """The diagram: steps before randomisation, each with those who left there, the groups, and where everybody stands."""

    steps: tuple[tuple[Box, Box | None], ...]
    groups: tuple[Group, ...]
    stands: tuple[Line, ...]
    checks: tuple[Check, ...]
    conflicts: tuple[tuple[str, str], ...]


def fate(visit: Visit, anchors: Mapping[str, Any], ends: Sequence[End], *, done: bool | None, today: date) -> str:
    """What became of a visit (`FATES`): one that took place did, whatever came after. `done` is False for one entered as missed."""
    if done:
        return "done"
    end = schedule.ended(visit, anchors, ends)
    if end is not None:
        return end.kind
    return "missed" if done is False or schedule.due(today, visit, anchors) == "overdue" else "later"


def flow(
    courses: Sequence[Course],
    *,
    visits: Mapping[str, str],
    reasons: Mapping[int, str],
    arms: Mapping[int, str] | None = None,
    operates: bool = True,
    analyses: bool = True,
) -> Flow:
    """The flow of these participants. `visits` and `reasons` are codes with words; with `arms` (code to label) it is split by arm.

    `operates` and `analyses` say whether the protocol knows an operation and a primary outcome.
    """
    randomised = [one for one in courses if one.randomised]
    groups = [("", randomised)] if arms is None else [(words, [c for c in randomised if c.arm == code]) for code, words in arms.items()]
    drawn = tuple(Group(words, tuple(_after(found, visits, operates=operates, analyses=analyses))) for words, found in groups)
    steps = tuple(_before(courses, reasons))
    stands = Counter(one.stands for one in courses)
    return Flow(
        steps,
        drawn,
        tuple(Line(words, stands[key], _behind(key)) for key, words in STANDS.items() if stands[key]),
        tuple(_checks(courses, drawn, stands)),
        tuple(conflict for one in courses for conflict in _conflicts(one)),
    )


def _behind(key: str) -> tuple[str, str]:
    return ("state", key) if key in _BY_STATE else ("outcome", key) if key in OUTCOMES else ("", "")


def _count(courses: Iterable[Course], holds: Callable[[Course], bool]) -> int:
    return sum(1 for one in courses if holds(one))


def _before(courses: Sequence[Course], reasons: Mapping[int, str]) -> Iterator[tuple[Box, Box | None]]:
    """Assessed, consented, randomised, each with those who did not go on."""
    outcomes = Counter(one.screening for one in courses if one.screening in EXCLUDED or not one.consented)
    unfinished = sum(n for key, n in outcomes.items() if key not in EXCLUDED)
    given = Counter(reason for one in courses if one.screening in EXCLUDED for reason in one.reasons)
    out = [Line(OUTCOMES[key], outcomes[key], ("outcome", key)) for key in EXCLUDED]
    out += [Line(f"Reason: {reasons.get(code, code)}", given[code], ("reason", str(code))) for code in sorted(given)]
    out += [Line("Screening not finished", unfinished, ("outcome", "open"))] if unfinished else []
    left = Box("Not consented", sum(outcomes.values()), tuple(out))
    yield Box("Assessed for eligibility", len(courses), behind=("outcome", "")), left if left.count else None
    consented = [one for one in courses if one.consented]
    stopped = [one for one in consented if not one.randomised]
    stands = Counter(one.stands for one in stopped)
    failed = Counter(criterion for one in stopped for criterion in one.failed)
    lines = [Line(STANDS[key], stands[key]) for key in STANDS if stands[key]]
    lines += [Line(f"Not met: {criterion}", count) for criterion, count in sorted(failed.items())]
    yield Box("Consented", len(consented)), Box("Not randomised", len(stopped), tuple(lines)) if stopped else None
    yield Box("Randomised", _count(courses, lambda one: one.randomised)), None


def _after(found: Sequence[Course], visits: Mapping[str, str], *, operates: bool, analyses: bool) -> Iterator[Box]:
    """Allocated, operated, each visit, analysed."""
    yield Box("Allocated", len(found))
    if operates:
        done = Counter(one.operated for one in found)
        waiting = len(found) - done[1] - done[0]
        yield Box("Received surgery", done[1], (Line("Not operated", done[0]), Line("Not recorded yet", waiting)))
    for code, words in visits.items():
        fates = Counter(one.visits.get(code, "later") for one in found)
        yield Box(f"{words}: followed up", fates["done"], tuple(Line(FATES[key], fates[key]) for key in FATES if key != "done"))
    if analyses:
        with_outcome = _count(found, lambda one: one.analysed)
        yield Box("With the primary outcome", with_outcome, (Line("Without it so far", len(found) - with_outcome),))


def _checks(courses: Sequence[Course], groups: Sequence[Group], stands: Counter[str]) -> Iterator[Check]:
    excluded = _count(courses, lambda one: one.screening in EXCLUDED)
    unfinished = _count(courses, lambda one: not one.consented and one.screening not in EXCLUDED)
    consented = _count(courses, lambda one: one.consented)
    randomised = _count(courses, lambda one: one.randomised)
    yield Check("Assessed = excluded + screening not finished + consented", len(courses), excluded + unfinished + consented)
    stopped = _count(courses, lambda one: one.consented and not one.randomised)
    yield Check("Consented = not randomised + randomised", consented, stopped + randomised)
    yield Check("Randomised = those whose state says so", randomised, _count(courses, _allocated_by_state))
    yield Check("Randomised = sum over the groups", randomised, sum(group.boxes[0].count for group in groups))
    for group in groups:
        for box in group.boxes[1:]:
            name = f"{group.label}, {box.words}" if group.label else box.words
            yield Check(f"{name}: all lines together = allocated", group.boxes[0].count, box.count + sum(line.count for line in box.lines))
    yield Check("Assessed = sum of where everybody stands", len(courses), sum(stands.values()))


def _allocated_by_state(one: Course) -> bool:
    """Whether the state is one after allocation; for states that may follow either, what is on record decides."""
    return one.randomised if one.state in ("died", "withdrawn") else one.state not in BEFORE_ALLOCATION


def _conflicts(one: Course) -> Iterator[tuple[str, str]]:
    """What does not fit together about one participant, in words."""
    if one.consented and one.screening in EXCLUDED:
        yield one.participant, f"The screening log says '{OUTCOMES[one.screening].lower()}', and a consent form is on record."
    if not one.consented and one.screening == "consented":
        yield one.participant, "The screening log says 'consented', and no complete consent form is on record."
    if one.randomised and not one.consented:
        yield one.participant, "Randomised, and no complete consent form is on record."
    if one.randomised != _allocated_by_state(one):
        yield one.participant, f"The state is '{label(one.state)}', and {'an' if one.randomised else 'no'} allocation is on record."
