"""Figures of the simulation, and filling a form with plausible answers.

Shares and means are anchored to published cohorts of people with an amputation: Georgetown comorbid below-knee series (age,
body mass index, diabetes), Duke and Penn matched series (operating times, complications), Valerio 2019 and the concurrent TMR
cohort (zero-inflated pain), Ilfeld 2020 (spread). They make a demonstration look real; they are no evidence.
"""

import math
import random
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trialdm.domain import crf
from trialdm.domain.crf import Context, Form, Item

Draw = Callable[[], Any]

#: limb -> share of each cause (CL_AETIOL), in percent.
CAUSES = {
    1: {1: 40, 2: 5, 3: 27, 4: 8, 5: 11, 6: 6, 96: 3},
    2: {1: 4, 2: 2, 3: 2, 4: 8, 5: 64, 6: 14, 96: 6},
}

#: limb -> share of each level (CL_LEVEL), in percent.
LEVELS = {1: {12: 55, 13: 7, 15: 36, 16: 2}, 2: {22: 45, 24: 45, 23: 6, 25: 4}}

UPPER_LIMB = 0.12
AGE = {1: (64, 13), 2: (44, 15)}
FEMALE = {1: 0.28, 2: 0.22}
DIABETES = {1: 0.58, 2: 0.10}
OPIOID_BEFORE = {1: 0.46, 2: 0.42}
PAIN_BEFORE = {1: (6.5, 2.4), 2: (6.0, 2.6)}

#: Operating minutes: limb -> (mean, SD) of the amputation, and what the nerve transfers add.
OPERATION = {1: (90, 28), 2: (120, 35)}
TRANSFERS_ADD = {1: (95, 45), 2: (110, 50)}

#: arm -> (share without pain, mean of the others, shape) of worst pain at 12 months.
RESIDUAL_PAIN = {1: (0.46, 3.9, 2.5), 2: (0.28, 4.9, 3.0)}
PHANTOM_PAIN = {1: (0.44, 4.0, 2.5), 2: (0.26, 5.0, 3.0)}

#: Share that dies within 12 months, by cause group (CL_AETGRP).
DEATH = {1: 0.20, 2: 0.03, 3: 0.15}
WITHDRAWAL = 0.04
LOST = 0.03
VISIT_MISSED = {"V04": 0.06, "V05": 0.08, "V06": 0.10, "V07": 0.12, "V08": 0.14, "V09": 0.16}
INFECTION = {1: 0.15, 2: 0.06}
WOUND_DELAY = {1: 0.40, 2: 0.34}
REOPERATION = {1: 0.21, 2: 0.19}
NOT_DELIVERED = 0.07

#: Share of participants who are screened and do not enter, and who consent and turn out ineligible.
NOT_ENTERED = 0.07
NOT_ELIGIBLE = 0.02

#: Share of required answers that are missing with a reason.
MISSING = 0.012
_REASONS = ("NK", "ND", "RF", "NA")


def weighted(rng: random.Random, shares: Mapping[int, float]) -> int:
    """One key, each with its share."""
    return rng.choices(list(shares), list(shares.values()))[0]


def normal(rng: random.Random, mean: float, sd: float, low: float, high: float) -> float:
    """A normal draw, clipped."""
    return min(max(rng.gauss(mean, sd), low), high)


def pain_at_a_year(rng: random.Random, figures: tuple[float, float, float]) -> int:
    """Worst pain 0 to 10: nothing with the given chance, else a rounded gamma draw from 1 to 10."""
    none, mean, shape = figures
    if rng.random() < none:
        return 0
    return min(max(round(rng.gammavariate(shape, mean / shape)), 1), 10)


def pain_now(rng: random.Random, at_a_year: int, visit: str) -> int:
    """Worst pain at a visit: more in the first weeks, then around the person's own level."""
    early = {"V03": 2.5, "V04": 1.5, "V05": 0.8, "V06": 0.4}.get(visit, 0.0)
    if at_a_year == 0 and rng.random() < math.exp(-early / 2):
        return 0
    return min(max(round(at_a_year + early + rng.gauss(0, 0.8)), 0), 10)


@dataclass(frozen=True)
class Filled:
    """Answers and missing reasons for one form, as a person would send them."""

    answers: dict[str, Any]
    missing: dict[str, str]


def fill(form: Form, context: Context, rng: random.Random, given: Mapping[str, Any], unseen: AbstractSet[str] = frozenset()) -> Filled:
    """Answer every question that applies, in order.

    `given` holds values or draws for some items (None: not known yet); `unseen` are items that the person does not see or give.
    """
    known: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for item in form.items:
        scope = {**context.facts, **context.system, **known}
        if item.show_if is not None and not item.show_if.holds(scope, context.rows):
            continue
        if item.value is not None:
            value = crf.stored(item, item.value.evaluate(scope, context.rows))
            if value is not None:
                known[item.name] = value
            continue
        if item.system or item.name in unseen:
            continue
        drawn = _drawn(item, context, rng, given)
        if drawn is None and item.required:
            missing[item.name] = "PE" if item.name in given else rng.choice(_REASONS)
        if drawn is not None:
            answers[item.name] = drawn
            typed = crf.values.read(item.type, drawn)
            if typed is not None:
                known[item.name] = typed
    return Filled(answers, missing)


def _drawn(item: Item, context: Context, rng: random.Random, given: Mapping[str, Any]) -> Any:
    if item.name in given:
        chosen = given[item.name]
        return chosen() if callable(chosen) else chosen
    if not item.required and (item.holds in ("text", "date", "pdate", "dtm", "time", "multi") or rng.random() < 0.4):
        return None
    if item.required and rng.random() < MISSING:
        return None
    return _plausible(item, context, rng)


def _plausible(item: Item, context: Context, rng: random.Random) -> Any:
    match item.holds:
        case "yn":
            return int(rng.random() < 0.15)
        case "code" if item.source:
            codes = list(context.registers.get(item.source, {}))
            return rng.choice(codes) if codes else None
        case "code" | "multi":
            codes = [code for code in (item.codelist.labels if item.codelist else {}) if code < 90]
            code = rng.choice(codes or list(item.codelist.labels if item.codelist else {}))
            return [code] if item.holds == "multi" else code
        case "int" | "dec":
            return _number(item, rng)
        case "date":
            return context.facts["today"].isoformat()
        case "dtm":
            return context.facts["now"].isoformat(timespec="minutes")
        case "time":
            return "09:00"
    return "not recorded in detail"


def _number(item: Item, rng: random.Random) -> Any:
    """A number well inside its limits, more often low than high."""
    low = item.soft_minimum if item.soft_minimum is not None else item.minimum or Decimal(0)
    high = item.soft_maximum if item.soft_maximum is not None else item.maximum or Decimal(10)
    value = float(low) + (float(high) - float(low)) * rng.betavariate(2, 4)
    if item.holds == "int":
        return round(value)
    return f"{value:.{item.decimals}f}"
