"""Outcomes of audited cases: completeness, change of pain and quality of life, the safety five, funnel and CUSUM. Exact and pure.

Proportions, means and binomial tails are whole numbers and fractions; only the weights of the CUSUM are logarithms. A count below
five is not shown. Nothing here ranks surgeons, and nothing compares the arms of a trial.

Sources: NICE consultation document 3.2 and 3.3 (outcomes); Spiegelhalter, Statistics in Medicine 2005;24:1185 (funnel);
Steiner and others, Biostatistics 2000;1:441 (CUSUM by log-likelihood).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from functools import lru_cache

#: Counts below this are not shown.
FEWEST = 5

#: What is shown in the place of one.
FEWER = "fewer than 5"

#: Organisations with fewer cases are not in the funnel.
FUNNEL_FROM = 10

#: Levels of the limits of the funnel.
LEVELS = (Fraction(95, 100), Fraction(998, 1000))

#: Odds ratio that the CUSUM looks for, and the value at which it signals.
ODDS, SIGNAL = 2, 4.5

#: What is measured before and after, with whether less is better.
MEASURES: Mapping[str, bool] = {
    "Worst residual limb pain (0 to 10)": True,
    "Worst phantom limb pain (0 to 10)": True,
    "EQ-5D visual analogue scale (0 to 100)": False,
}

#: The safety five, by item.
SAFETY: Mapping[str, str] = {
    "au2_bleed": "Bleeding",
    "au2_infx": "Infection",
    "au2_reop": "Reoperation",
    "au2_newneuroma": "New neuroma of another nerve",
    "au2_painworse": "Pain worse than before",
}

Measured = tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class Followed:
    """One follow-up: what was measured, what harm was reported, and which of the safety five were answered."""

    measured: Measured
    harms: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """One audited case: where, when, before the procedure, at each month of follow-up, and when the follow-up ended early."""

    site: str
    on: date
    baseline: Measured
    followed: Mapping[int, Followed] = field(default_factory=dict)
    ended_on: date | None = None

    @property
    def harms(self) -> frozenset[str]:
        """Which of the safety five were reported at any follow-up."""
        return frozenset().union(*(one.harms for one in self.followed.values()))

    @property
    def judged(self) -> bool:
        """Whether safety is known: all five were answered at some follow-up, or one was reported."""
        return bool(self.harms) or any(one.answered.issuperset(SAFETY) for one in self.followed.values())


# --- small numbers ---------------------------------------------------------------------------------------------------


def shown(count: int, *, beside: int | None = None) -> str:
    """A count as it may be shown; one below five is not, nor one that with a part shown `beside` it gives fewer than five away."""
    rest = count - beside if beside is not None else FEWEST
    return FEWER if count < FEWEST or 0 < rest < FEWEST else str(count)


# --- change ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Changed:
    """Change of one measure from before the procedure to a month: how many have both values, and the means."""

    measure: str
    month: int
    cases: int
    before: Fraction | None
    after: Fraction | None

    @property
    def change(self) -> Fraction | None:
        return None if self.before is None or self.after is None else self.after - self.before


def changes(cases: Sequence[Outcome], months: Iterable[int], *, beside: Sequence[Outcome] | None = None) -> list[Changed]:
    """The change of every measure by month, over the cases that have both values.

    No mean of fewer than five, nor one from which those of a part shown `beside` it leave fewer than five others.
    """
    found = [_changed(cases, place, name, month) for place, name in enumerate(MEASURES) for month in months]
    if beside is None:
        return found
    return [_beside(one, part) for one, part in zip(found, changes(beside, months), strict=True)]


def _beside(one: Changed, part: Changed) -> Changed:
    return replace(one, before=None, after=None) if 0 < one.cases - part.cases < FEWEST else one


def _changed(cases: Sequence[Outcome], place: int, name: str, month: int) -> Changed:
    pairs = [
        (before, after)
        for case in cases
        if month in case.followed
        and (before := case.baseline[place]) is not None
        and (after := case.followed[month].measured[place]) is not None
    ]
    if len(pairs) < FEWEST:
        return Changed(name, month, len(pairs), None, None)
    means = [Fraction(sum(pair[i] for pair in pairs), len(pairs)) for i in (0, 1)]
    return Changed(name, month, len(pairs), means[0], means[1])


def decimal(value: Fraction | None, places: int = 1) -> str:
    """A fraction to some places, halves away from zero; empty for none."""
    if value is None:
        return ""
    scaled = abs(value) * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    text = f"{whole // 10**places}.{whole % 10**places:0{places}d}" if places else str(whole)
    return f"-{text}" if value < 0 and whole else text


@dataclass(frozen=True)
class Tally:
    """How many of some cases something is true of."""

    events: int
    cases: int

    @property
    def rate(self) -> Fraction | None:
        return Fraction(self.events, self.cases) if self.cases else None


# --- completeness ----------------------------------------------------------------------------------------------------


def returned(cases: Iterable[Outcome], closes: Mapping[int, int], on: date) -> dict[int, Tally]:
    """By month, how many follow-ups were recorded of those whose window had closed (`closes`: days after the procedure).

    A follow-up that was recorded counts as expected; one of somebody whose follow-up had ended before it closed does not.
    """
    found: dict[int, Tally] = {}
    listed = list(cases)
    for month, days in closes.items():
        due = [case for case in listed if month in case.followed or min(on, case.ended_on or on) > case.on + timedelta(days=days)]
        found[month] = Tally(sum(month in case.followed for case in due), len(due))
    return found


# --- safety ----------------------------------------------------------------------------------------------------------


def safety(cases: Iterable[Outcome]) -> dict[str, Tally]:
    """Each of the safety five, by its name, over the cases whose safety is known."""
    known = [case for case in cases if case.judged]
    return {name: Tally(sum(item in case.harms for case in known), len(known)) for item, name in SAFETY.items()}


def any_harm(cases: Iterable[Outcome]) -> Tally:
    """Any of the safety five, over the cases whose safety is known."""
    known = [case for case in cases if case.judged]
    return Tally(sum(bool(case.harms) for case in known), len(known))


# --- funnel ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def limits(cases: int, rate: Fraction, level: Fraction) -> tuple[int, int]:
    """The counts between which a level of all organisations of this size lies: at most half of the rest on either side, exactly.

    The lower one is the smallest k with P(X <= k) > a, the upper one the smallest k with P(X <= k) >= 1 - a, a = (1 - level) / 2.
    """
    a = (1 - level) / 2
    good, whole = rate.numerator, rate.denominator
    of = whole**cases
    total, low = 0, -1
    for k in range(cases + 1):
        total += math.comb(cases, k) * good**k * (whole - good) ** (cases - k)
        if low < 0 and total > a * of:
            low = k
        if total >= (1 - a) * of:
            return low, k
    raise AssertionError("the whole distribution sums to 1")


@dataclass(frozen=True)
class Place:
    """One organisation of the funnel: its tally, and whether it lies outside the limits (95 or 99.8, empty within)."""

    site: str
    tally: Tally
    outside: str


@dataclass(frozen=True)
class Funnel:
    """Organisations about the pooled rate; those that are too small or whose count is too small to show are named only."""

    pooled: Tally
    places: tuple[Place, ...]
    left_out: tuple[str, ...]


def funnel(cases: Sequence[Outcome], sites: Iterable[str]) -> Funnel:
    """Each organisation's proportion with any of the safety five, in the order of the protocol."""
    pooled, places, left_out = any_harm(cases), [], []
    for site in sites:
        tally = any_harm(case for case in cases if case.site == site)
        if tally.cases < FUNNEL_FROM or tally.events < FEWEST or tally.cases - tally.events < FEWEST or pooled.rate is None:
            left_out.append(site)
            continue
        places.append(Place(site, tally, _outside(tally, pooled.rate)))
    return Funnel(pooled, tuple(places), tuple(left_out))


def without(found: Funnel, sites: Iterable[str]) -> Funnel:
    """The funnel without the places of some organisations, which are named as left out."""
    hidden = set(sites)
    kept = tuple(place for place in found.places if place.site not in hidden)
    gone = tuple(place.site for place in found.places if place.site in hidden)
    return replace(found, places=kept, left_out=(*found.left_out, *gone))


def _outside(tally: Tally, rate: Fraction) -> str:
    for level, words in ((LEVELS[1], "99.8"), (LEVELS[0], "95")):
        low, high = limits(tally.cases, rate, level)
        if not low <= tally.events <= high:
            return words
    return ""


# --- CUSUM -----------------------------------------------------------------------------------------------------------


def weights(rate: Fraction, odds: int = ODDS) -> tuple[float, float]:
    """What an event and the absence of one add: log(OR / (1 - p + OR p)) and log(1 / (1 - p + OR p)). Raises ValueError outside (0, 1)."""
    if not 0 < rate < 1:
        raise ValueError("the expected proportion lies between 0 and 1")
    below = float(1 - rate + odds * rate)
    return math.log(odds / below), math.log(1 / below)


def cusum(events: Iterable[bool], rate: Fraction, odds: int = ODDS) -> list[float]:
    """The sum after each case, in order of time; it never falls below 0."""
    with_event, without = weights(rate, odds)
    values: list[float] = []
    for event in events:
        values.append(max(0.0, (values[-1] if values else 0.0) + (with_event if event else without)))
    return values


def events_of(cases: Iterable[Outcome]) -> list[bool]:
    """Whether each case whose safety is known had any of the safety five, by day of procedure."""
    return [bool(case.harms) for case in sorted(cases, key=lambda case: case.on) if case.judged]
