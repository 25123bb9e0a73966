"""The allocation methods, stepping thousands of trials together through their participants.

A step takes where each trial's participant stands and one uniform number for each trial, and gives the arm drawn and the chance of
the likeliest arm, for someone who knows the whole state. State is counted by arm and by cell: a stratum of one trial.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialdm.domain.randomisation.operating import limit, maximal_chances
from trialdm.domain.randomisation.schemes import METHODS, fake_arms
from trialdm.rehearsal.minimising import chances, rank_chances, scores, weights_of
from trialdm.rehearsal.recruits import Levels, Recruitment

Numbers = NDArray[Any]

#: Place of recruitment and uniform numbers, to the arm of each trial and the chance of the likeliest arm.
Step = Callable[[int, Numbers], tuple[Numbers, Numbers]]

#: More strata (for minimisation: strata times levels) than this are a mistake, and would not fit.
_MOST_CELLS = 20_000


@dataclass(frozen=True)
class Running:
    """A scheme at work on a chunk of trials; `unfinished` counts the open blocks of each trial, for blocks."""

    step: Step
    strata: int
    cells: Numbers
    unfinished: Callable[[], Numbers] | None = None


@dataclass(frozen=True)
class Setting:
    """What a scheme starts with: arms, recruits and the cell of each participant by place and trial."""

    config: Mapping[str, Any]
    recruitment: Recruitment
    levels: Levels
    trials: int
    strata: int
    cells: Numbers
    source: np.random.Generator

    @property
    def ratios(self) -> NDArray[np.int64]:
        return np.array([ratio for _, ratio in self.config["arms"]], dtype=np.int64)

    def empty(self) -> NDArray[np.int32]:
        """Nobody counted yet, by arm and cell."""
        return np.zeros((len(self.config["arms"]), self.strata * self.trials), dtype=np.int32)


def strata_factors(config: Mapping[str, Any]) -> list[str]:
    """The factors whose levels together make the strata of a scheme."""
    match config["method"]:
        case "minimisation":
            return list(config.get("strata", []))
        case "simple":
            return []
        case _:
            return [factor["name"] for factor in config.get("factors", [])]


def check(config: Mapping[str, Any]) -> None:
    """Raise ValueError, saying why, for a configuration that cannot be rehearsed."""
    method, ratios = config["method"], [ratio for _, ratio in config["arms"]]
    if method == "list":
        raise ValueError("a list that was made elsewhere cannot be rehearsed: its rule is not known")
    if method not in _METHODS:
        raise ValueError(f"method '{method}' is not known")
    needed = [*METHODS[method].needs, *(["p"] if method == "minimisation" and "p_ranks" not in config else [])]
    if missing := [key for key in needed if key not in config]:
        raise ValueError(f"method '{method}' needs {', '.join(missing)}")
    if len(ratios) < 2 or min(ratios) < 1:
        raise ValueError("there must be at least two arms, each with a ratio from 1")
    if METHODS[method].two_equal_arms and ratios != [1, 1]:
        raise ValueError(f"method '{method}' is for two arms, 1:1")
    if method == "pbr" and any(size < 1 or size % sum(ratios) for size in config["sizes"]):
        raise ValueError(f"the size of a block must be a multiple of {sum(ratios)}")
    if method == "urn" and (min(config["w"], config["alpha"], config["beta"]) < 0 or config["alpha"] + config["beta"] < 1):
        raise ValueError("an urn needs balls: w, alpha and beta from 0, alpha or beta from 1")
    if method == "blockurn" and config["lambda"] < 1:
        raise ValueError("a block urn needs at least one set of balls")


def start(config: Mapping[str, Any], recruitment: Recruitment, levels: Levels, source: np.random.Generator) -> Running:
    """The scheme before its first participant."""
    names = strata_factors(config)
    strata = prod(len(recruitment.shares(name)) for name in names)
    _fits(strata)
    participants, trials = next(iter(levels.values())).shape
    cells = np.zeros((participants, trials), dtype=np.int32)
    for name in names:
        cells = cells * len(recruitment.shares(name)) + levels[name]
    cells = cells * trials + np.arange(trials, dtype=np.int32)
    return _METHODS[config["method"]](Setting(config, recruitment, levels, trials, strata, cells, source))


def _fits(cells: int) -> None:
    if cells > _MOST_CELLS:
        raise ValueError(f"{cells} strata are too many: at most {_MOST_CELLS} can be rehearsed")


def drawn(likely: Numbers, uniform: Numbers) -> Numbers:
    """The arm of each trial, by the chances of the arms."""
    arm = np.zeros(len(uniform), dtype=np.intp)
    upto: Any = 0.0
    for share in likely[:-1]:
        upto = upto + share
        arm += uniform >= upto
    return arm


def _simple(at: Setting) -> Running:
    shares = at.ratios / at.ratios.sum()
    likely, best = np.repeat(shares[:, None], at.trials, 1), np.full(at.trials, shares.max())
    return Running(lambda place, uniform: (drawn(likely, uniform), best), at.strata, at.cells)


def _blocks(at: Setting) -> Running:
    """Permuted blocks: what is left of the current block is drawn without putting back."""
    sizes = np.array(at.config["sizes"], dtype=np.int32)
    weights = np.array(at.config.get("size_weights") or [1] * len(sizes), dtype=float)
    upto = np.cumsum(weights / weights.sum())
    sets = at.ratios.astype(np.int32)
    left = at.empty()

    def step(place: int, uniform: Numbers) -> tuple[Numbers, Numbers]:
        cell = at.cells[place]
        here = left[:, cell]
        over = np.flatnonzero(here.sum(0) == 0)
        if len(over):
            size = sizes[np.minimum(np.searchsorted(upto, at.source.random(len(over)), side="right"), len(sizes) - 1)]
            here[:, over] = sets[:, None] * (size // sets.sum())
            left[:, cell[over]] = here[:, over]
        likely = here / here.sum(0)
        arm = drawn(likely, uniform)
        left[arm, cell] -= 1
        return arm, likely.max(0)

    return Running(step, at.strata, at.cells, lambda: (left.sum(0) > 0).reshape(at.strata, at.trials).sum(0))


def _counting(rule: Callable[[Setting], Callable[[Numbers], Numbers]]) -> Callable[[Setting], Running]:
    """A method whose chances follow from how many of each arm a stratum has."""

    def begin(at: Setting) -> Running:
        chance, counts = rule(at), at.empty()

        def step(place: int, uniform: Numbers) -> tuple[Numbers, Numbers]:
            cell = at.cells[place]
            likely = chance(counts[:, cell])
            arm = drawn(likely, uniform)
            counts[arm, cell] += 1
            return arm, likely.max(0)

        return Running(step, at.strata, at.cells)

    return begin


def _by_gap(first: Numbers, widest: int) -> Callable[[Numbers], Numbers]:
    """The chances of two arms by the difference of their counts: `first` from -widest on."""
    both = np.stack([first, 1 - first])
    return lambda counts: both[:, np.clip(counts[0] - counts[1], -widest, widest) + widest]


def _efron(at: Setting) -> Callable[[Numbers], Numbers]:
    p = float(Fraction(at.config["p"]))
    return _by_gap(np.array([p, 0.5, 1 - p]), 1)


def _chen(at: Setting) -> Callable[[Numbers], Numbers]:
    """Chen's coin; the big stick has a fair one."""
    p, mti = (0.5 if at.config["method"] == "bigstick" else float(Fraction(at.config["p"]))), limit(at.config)
    return _by_gap(np.array([1.0] + [p] * (mti - 1) + [0.5] + [1 - p] * (mti - 1) + [0.0]), mti)


def _urn(at: Setting) -> Callable[[Numbers], Numbers]:
    """Wei's urn with the balls of equal fake arms put together by arm."""
    w, alpha, beta, ratios = at.config["w"], at.config["alpha"], at.config["beta"], at.ratios[:, None]

    def chance(counts: Numbers) -> Numbers:
        total = counts.sum(0)
        balls = ratios * (w + beta * total) + (alpha - beta) * counts
        balls = np.where(balls.sum(0) == 0, ratios, balls)
        return np.asarray(balls / balls.sum(0))

    return chance


def _block_urn(at: Setting) -> Callable[[Numbers], Numbers]:
    """Zhao and Weng's urn: complete sets go back."""
    lam, ratios = int(at.config["lambda"]), at.ratios[:, None]

    def chance(counts: Numbers) -> Numbers:
        balls = ratios * (lam + (counts // ratios).min(0)) - counts
        return np.asarray(balls / balls.sum(0))

    return chance


def _maximal(at: Setting) -> Callable[[Numbers], Numbers]:
    run, mti = int(at.config["n"]), limit(at.config)
    first = np.full((run, 2 * mti + 1), 0.5)
    for place, by_gap in enumerate(maximal_chances(run, mti)):
        for gap, behind in by_gap.items():
            first[place, mti - gap], first[place, mti + gap] = float(behind), float(1 - behind)

    def chance(counts: Numbers) -> Numbers:
        likely = first[counts.sum(0) % run, counts[0] - counts[1] + mti]
        return np.stack([likely, 1 - likely])

    return chance


def _minimisation(at: Setting) -> Running:
    """Pocock and Simon's rule on equal fake arms, within strata where the configuration names them."""
    config = at.config
    arms, inside = len(fake_arms(config)), set(config.get("strata", []))
    factors = [factor for factor in config.get("factors", []) if factor["name"] not in inside]
    overall = int(config.get("overall", 0))
    weights = weights_of(factors, overall)
    if not len(weights):
        raise ValueError("minimisation needs a factor or the arm totals to look at")
    margins = _margins(at, [factor["name"] for factor in factors], bool(overall))
    choose = _leaning if arms == 2 and config["imbalance"] in ("range", "variance") else _ranking
    likely_of, add = choose(config, margins.size, weights, arms)
    real = np.array([index for index, (_, ratio) in enumerate(config["arms"]) for _ in range(ratio)])
    burn_in, taken = int(config.get("burn_in", 0)), np.zeros(at.strata * at.trials, dtype=np.int32)

    def step(place: int, uniform: Numbers) -> tuple[Numbers, Numbers]:
        where = margins.of(place)
        likely = likely_of(where)
        if burn_in and (at.strata > 1 or place < burn_in):
            cell = at.cells[place]
            likely = np.where(taken[cell] < burn_in, 1 / arms, likely)
            taken[cell] += 1
        fake = drawn(likely, uniform)
        add(where, fake)
        if arms == len(config["arms"]):
            return fake, likely.max(0)
        return real[fake], np.stack([likely[real == arm].sum(0) for arm in range(len(config["arms"]))]).max(0)

    return Running(step, at.strata, at.cells)


@dataclass(frozen=True)
class _Margins:
    """Where the counts of a participant's own levels are held: one place for each factor and trial."""

    size: int
    of: Callable[[int], Numbers]


def _margins(at: Setting, names: Sequence[str], overall: bool) -> _Margins:
    widths = [len(at.recruitment.shares(name)) for name in names] + [1] * overall
    _fits(sum(widths) * at.strata)
    starts = (np.cumsum([0, *widths[:-1]]) * at.strata * at.trials).astype(np.int32)[:, None]
    columns = [at.levels[name] for name in names]

    def of(place: int) -> Numbers:
        where = np.zeros((len(widths), at.trials), dtype=np.int32)
        for row, column in enumerate(columns):
            where[row] = column[place]
        where *= at.strata * at.trials
        where += starts
        where += at.cells[place]
        return where

    return _Margins(sum(widths) * at.strata * at.trials, of)


#: The chances of the fake arms at some margins, and the count of one more participant there.
_Rule = tuple[Callable[[Numbers], Numbers], Callable[[Numbers, Numbers], None]]


def _leaning(config: Mapping[str, Any], size: int, weights: Numbers, arms: int) -> _Rule:
    """Two fake arms: G of the first less G of the second is twice the weighted differences, or twice their signs for the range."""
    gaps = np.zeros(size, dtype=np.int32)
    p, signs = rank_chances(config, arms)[0], config["imbalance"] == "range"
    first, weight = np.array([p, 0.5, 1 - p]), weights.astype(np.int32)

    def likely(where: Numbers) -> Numbers:
        gap = gaps[where]
        lean = weight @ (np.sign(gap) if signs else gap)
        share = first[np.sign(lean) + 1]
        return np.stack([share, 1 - share])

    def add(where: Numbers, fake: Numbers) -> None:
        gaps[where] += (1 - 2 * fake).astype(np.int32)

    return likely, add


def _ranking(config: Mapping[str, Any], size: int, weights: Numbers, arms: int) -> _Rule:
    """Any number of fake arms and any imbalance: the fake arms are ranked by G."""
    counts, ranks = np.zeros((arms, size), dtype=np.int32), rank_chances(config, arms)

    def likely(where: Numbers) -> Numbers:
        return chances(scores(config["imbalance"], counts[:, where], weights), ranks)

    def add(where: Numbers, fake: Numbers) -> None:
        counts[fake, where] += 1

    return likely, add


_METHODS: dict[str, Callable[[Setting], Running]] = {
    "simple": _simple,
    "pbr": _blocks,
    "minimisation": _minimisation,
    "efron": _counting(_efron),
    "bigstick": _counting(_chen),
    "chen": _counting(_chen),
    "urn": _counting(_urn),
    "blockurn": _counting(_block_urn),
    "maximal": _counting(_maximal),
}
