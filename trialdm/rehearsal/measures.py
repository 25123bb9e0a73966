"""What is measured while simulated trials run: imbalance between the arms, and how often the next arm can be guessed.

The imbalance of a group is the largest less the smallest of n_a / r_a over its arms: for two arms 1:1, the difference in numbers.
A convergence guess names the arm with the smallest n_a / r_a in what the guesser remembers; equals share the credit, which is the
mean of tossing a coin. Someone who knows the state names the likeliest arm, and is credited with its chance.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialdm.rehearsal.recruits import SITE, Levels, Recruitment

Numbers = NDArray[Any]

#: A memory: the names of the levels within which a guesser counts; none is the whole trial.
Memory = tuple[str, ...]

_CERTAIN = 1 - 1e-9


def memories(recruitment: Recruitment, strata: Sequence[str]) -> list[Memory]:
    """Every memory that is measured: of the trial and of a site, each also by factor, and of a stratum."""
    by_factor = [(name,) for name in recruitment.names]
    found: list[Memory] = [(), *by_factor, (SITE,), *((SITE, name) for name in recruitment.names)]
    inside = tuple(strata)
    return found if not inside or inside in found else [*found, inside]


@dataclass(frozen=True)
class Watch:
    """Follows a chunk of trials: `see` takes each place, its arms and the chance of the likeliest arm; `found` sums up by trial."""

    see: Callable[[int, Numbers, Numbers], None]
    found: Callable[[], "Found"]


@dataclass(frozen=True)
class Found:
    """What one chunk gave, each by trial: right guesses as a share, imbalance of each level, and the rest."""

    guesses: Mapping[Memory, Numbers]
    state: Numbers
    certain: Numbers
    imbalance: Mapping[str, Numbers]
    most: Numbers
    loss: Numbers


def watch(ratios: NDArray[np.int64], recruitment: Recruitment, levels: Levels, kept: Sequence[Memory]) -> Watch:
    """A watch before the first participant. The counts of each arm are held times lcm(r) / r_a."""
    participants, trials = levels[SITE].shape
    sizes = [prod(len(recruitment.shares(name)) for name in memory) for memory in kept]
    starts = np.cumsum([0, *sizes])
    scale = lcm(*(int(ratio) for ratio in ratios))
    units = (scale // ratios).astype(np.int32)
    held = np.zeros((len(ratios), int(starts[-1]) * trials), dtype=np.int32)
    credit = np.zeros((len(kept), trials))
    state, certain, most = np.zeros(trials), np.zeros(trials, dtype=np.int32), np.zeros(trials, dtype=np.int32)
    every = np.arange(trials, dtype=np.int32)
    whole = starts[kept.index(())] * trials + every

    def where(place: int) -> Numbers:
        cells = np.empty((len(kept), trials), dtype=np.int32)
        for row, memory in enumerate(kept):
            cells[row] = 0
            for name in memory:
                cells[row] *= len(recruitment.shares(name))
                cells[row] += levels[name][place]
            cells[row] += starts[row]
        cells *= trials
        cells += every
        return cells

    def see(place: int, arm: Numbers, best: Numbers) -> None:
        nonlocal most
        cells = where(place)
        np.add(credit, _credit(held[:, cells], arm), out=credit)
        held[arm, cells] += units[arm]
        np.add(state, best, out=state)
        np.add(certain, best > _CERTAIN, out=certain)
        most = np.maximum(most, _apart(held[:, whole]))

    def found() -> Found:
        totals = held.reshape(len(ratios), int(starts[-1]), trials)
        parts = {memory: totals[:, low:high] for memory, (low, high) in zip(kept, pairwise(starts), strict=True)}
        expected = participants * ratios / ratios.sum()
        ends = parts[()][:, 0] / units[:, None]
        return Found(
            guesses=dict(zip(kept, credit / participants, strict=True)),
            state=state / participants,
            certain=certain / participants,
            imbalance={
                name: _apart(parts[memory]) / scale
                for name, memory in [("", ()), *((name, (name,)) for name in (SITE, *recruitment.names))]
            },
            most=most / scale,
            loss=((ends - expected[:, None]) ** 2 / expected[:, None]).sum(0),
        )

    return Watch(see, found)


def _apart(counts: Numbers) -> Numbers:
    return np.asarray(counts.max(0) - counts.min(0))


def _credit(counts: Numbers, arm: Numbers) -> Numbers:
    """The share of a right guess, by memory and trial."""
    if len(counts) == 2:
        return np.asarray(0.5 + np.sign(counts[1] - counts[0]) * (0.5 - arm))
    behind = counts == counts.min(0)
    right = sum(behind[a] & (arm == a) for a in range(len(counts)))
    return np.asarray(right / behind.sum(0))


def joined(parts: Sequence[Found]) -> Found:
    """The trials of all chunks together; trials are the last axis."""

    def together(numbers: Iterable[Numbers]) -> Numbers:
        return np.concatenate(list(numbers), axis=-1)

    return Found(
        guesses={memory: together(part.guesses[memory] for part in parts) for memory in parts[0].guesses},
        state=together(part.state for part in parts),
        certain=together(part.certain for part in parts),
        imbalance={name: together(part.imbalance[name] for part in parts) for name in parts[0].imbalance},
        most=together(part.most for part in parts),
        loss=together(part.loss for part in parts),
    )


# --- as plain data ---------------------------------------------------------------------------------------------------


def plain(number: Any) -> Any:
    """A number for a report: whole where it is whole, else to six places."""
    rounded = round(float(number), 6)
    return int(rounded) if rounded.is_integer() else rounded


def _error(values: Numbers) -> float:
    """The Monte Carlo standard error of a mean over trials."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def summary(values: Numbers) -> dict[str, Any]:
    """Mean with its standard error, percentiles and largest of one number of each trial; percentiles are values that occurred."""
    names, percentiles = ("p5", "p50", "p95"), np.percentile(values, [5, 50, 95], method="inverted_cdf")
    found = {"mean": values.mean(), "se": _error(values), **dict(zip(names, percentiles, strict=True)), "max": values.max()}
    return {name: plain(number) for name, number in found.items()}


def rate(values: Numbers) -> dict[str, Any]:
    """A mean over trials and its standard error."""
    return {"rate": plain(values.mean()), "se": plain(_error(values))}


def distribution(values: Numbers) -> list[list[Any]]:
    """Each value that occurred and its share of the trials."""
    seen, times = np.unique(np.round(values, 6), return_counts=True)
    return [[plain(value), plain(many / len(values))] for value, many in zip(seen, times, strict=True)]
