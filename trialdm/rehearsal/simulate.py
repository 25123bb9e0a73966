"""Rehearse an allocation scheme, or several on the same simulated recruits: the one entry of the package.

Trials run together in chunks of fixed size, so that memory is bounded and the same seed always gives the same figures.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialdm.domain.randomisation.operating import Characteristics, characteristics
from trialdm.rehearsal.measures import Found, distribution, joined, memories, plain, rate, summary, watch
from trialdm.rehearsal.methods import check, start, strata_factors
from trialdm.rehearsal.recruits import SITE, Levels, Recruitment, completed, recruit, stream

#: Trials that step together. Part of what a seed means: another number would give other figures.
CHUNK = 1_000

#: Exact values are followed up to here.
_MOST_EXACT = 300

#: At most so many schemes side by side.
MOST_SCHEMES = 4

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Rehearsal:
    """The figures of one scheme, as plain data."""

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.data["name"])

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, numbers to six places."""
        return json.dumps(self.data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(rehearsals: Sequence[Rehearsal]) -> str:
    """The hash of the canonical JSON: of the one object, or of the array of several."""
    texts = [rehearsal.to_json() for rehearsal in rehearsals]
    return hashlib.sha256((texts[0] if len(texts) == 1 else f"[{','.join(texts)}]").encode()).hexdigest()


def rehearse(
    config: Mapping[str, Any],
    recruitment: Recruitment,
    *,
    trials: int,
    participants: int,
    seed: int,
    slots: int | None = None,
    tell: Tell | None = None,
) -> Rehearsal:
    """Simulate `trials` trials of `participants` each. `slots`: places of a list in each stratum.

    Raises ValueError, saying why, for a configuration or shares that cannot be rehearsed.
    """
    return compare([config], recruitment, trials=trials, participants=participants, seed=seed, slots=slots, tell=tell)[0]


def compare(
    configs: Sequence[Mapping[str, Any]],
    recruitment: Recruitment,
    *,
    trials: int,
    participants: int,
    seed: int,
    slots: int | None = None,
    tell: Tell | None = None,
) -> list[Rehearsal]:
    """Up to four schemes side by side on the same recruits, with the same random numbers behind the draws."""
    if not 1 <= len(configs) <= MOST_SCHEMES:
        raise ValueError(f"from one to {MOST_SCHEMES} schemes can be rehearsed together")
    if trials < 1 or participants < 1 or seed < 0:
        raise ValueError("trials and participants must be at least 1, the seed at least 0")
    for config in configs:
        check(config)
    everyone = completed(recruitment, configs)
    parts: list[list[_Part]] = [[] for _ in configs]
    for chunk, done in enumerate(range(0, trials, CHUNK)):
        size = min(CHUNK, trials - done)
        levels = recruit(everyone, participants, size, seed, chunk)
        for index, config in enumerate(configs):
            parts[index].append(_run(config, everyone, levels, seed, chunk, slots))
            if tell:
                tell(done * len(configs) + size * (index + 1), trials * len(configs))
    asked = {"trials": trials, "participants": participants, "seed": seed, "slots": slots}
    return [Rehearsal(_report(config, everyone, asked, found)) for config, found in zip(configs, parts, strict=True)]


@dataclass(frozen=True)
class _Part:
    """A chunk of trials, each number by trial."""

    found: Found
    turned_away: NDArray[np.int64]
    empty: NDArray[np.int64]
    unfinished: NDArray[np.int64] | None
    strata: int


def _run(config: Mapping[str, Any], recruitment: Recruitment, levels: Levels, seed: int, chunk: int, slots: int | None) -> _Part:
    running = start(config, recruitment, levels, stream(seed, chunk, "blocks"))
    ratios = np.array([ratio for _, ratio in config["arms"]], dtype=np.int64)
    watching = watch(ratios, recruitment, levels, memories(recruitment, strata_factors(config)))
    source, (participants, trials) = stream(seed, chunk, "draws"), levels[SITE].shape
    for place in range(participants):
        arm, best = running.step(place, source.random((trials,)))
        watching.see(place, arm, best)
    sizes = np.bincount(running.cells.ravel(), minlength=running.strata * trials).reshape(running.strata, trials)
    return _Part(
        found=watching.found(),
        turned_away=np.maximum(sizes - (participants if slots is None else slots), 0).sum(0),
        empty=(sizes == 0).sum(0),
        unfinished=running.unfinished() if running.unfinished else None,
        strata=running.strata,
    )


def _report(config: Mapping[str, Any], recruitment: Recruitment, asked: Mapping[str, Any], parts: Sequence[_Part]) -> dict[str, Any]:
    found, strata = joined([part.found for part in parts]), strata_factors(config)
    exact, reason = _exact(config, int(asked["participants"]))
    overall = found.imbalance[""][0]
    return {
        "format": "trialdm-rehearsal/1",
        "name": name_of(config),
        "config": dict(config),
        "recruitment": recruitment.plain(),
        **asked,
        "imbalance": {
            "overall": summary(overall) | {"distribution": distribution(overall)},
            "balanced": rate(np.asarray(overall == 0)),
            "most_on_the_way": summary(found.most),
            "loss": rate(found.loss),
            "worst_level": summary(np.max([found.imbalance[name].max(0) for name in recruitment.names], axis=0))
            if recruitment.names
            else None,
            "factors": [_by_level(name, recruitment, found) for name in recruitment.names],
            "site": _by_level(SITE, recruitment, found),
        },
        "guesses": {
            "site": rate(found.guesses[(SITE,)]),
            "site_by_factor": [{"name": name} | rate(found.guesses[(SITE, name)]) for name in recruitment.names],
            "trial": rate(found.guesses[()]),
            "trial_by_factor": [{"name": name} | rate(found.guesses[(name,)]) for name in recruitment.names],
            "stratum": rate(found.guesses[tuple(strata)]) if strata else None,
            "state": rate(found.state),
        },
        "deterministic": rate(found.certain),
        "strata": _strata(parts, strata, asked["slots"] if config["method"] != "minimisation" else None),
        "exact": exact and _exactly(exact),
        "no_exact_value": reason,
    }


def _by_level(name: str, recruitment: Recruitment, found: Found) -> dict[str, Any]:
    levels = found.imbalance[name]
    each = [{"level": level} | summary(values) for level, values in zip(recruitment.shares(name), levels, strict=True)]
    return {"name": name, "worst": summary(levels.max(0)), "levels": each}


def _strata(parts: Sequence[_Part], names: Sequence[str], slots: int | None) -> dict[str, Any]:
    turned_away = np.concatenate([part.turned_away for part in parts])
    empty = np.concatenate([part.empty for part in parts])
    open_blocks = [part.unfinished for part in parts if part.unfinished is not None]
    return {
        "factors": list(names),
        "number": parts[0].strata,
        "empty": summary(empty),
        "unfinished_blocks": summary(np.concatenate(open_blocks)) if open_blocks else None,
        "list": None if slots is None else {"runs_out": rate(turned_away > 0), "turned_away": plain(turned_away.mean())},
    }


def _exact(config: Mapping[str, Any], participants: int) -> tuple[Characteristics | None, str]:
    if config["method"] != "minimisation" and strata_factors(config):
        return None, "the exact value is of one stratum, and the scheme has several"
    fits = participants <= _MOST_EXACT
    try:
        found = characteristics(config, participants if fits else 1)
    except ValueError as problem:
        return None, str(problem)
    return (found, "") if fits else (None, f"the exact value is computed for at most {_MOST_EXACT} participants")


def _exactly(exact: Characteristics) -> dict[str, Any]:
    return {
        "overall": plain(exact.final_imbalance),
        "balanced": plain(exact.balanced),
        "most_on_the_way": plain(exact.most_imbalance),
        "loss": plain(exact.loss),
        "trial": plain(exact.correct_guesses),
        "state": plain(exact.state_guesses),
        "deterministic": plain(exact.deterministic),
    }


_NAMES = {
    "simple": "simple",
    "efron": "biased coin p = {p}",
    "bigstick": "big stick {mti}",
    "chen": "Chen's coin p = {p}, limit {mti}",
    "urn": "urn {w}, {alpha}, {beta}",
    "blockurn": "block urn {lambda}",
    "maximal": "maximal procedure {n}, limit {mti}",
}


def name_of(config: Mapping[str, Any]) -> str:
    """A scheme in a few words, such as `blocks 2, 4, 6 by limb`."""
    method, factors = config["method"], [factor["name"] for factor in config.get("factors", [])]
    strata = strata_factors(config)
    if method == "minimisation":
        chance = f"p = {config['p']}" if "p" in config else f"p = {', '.join(config['p_ranks'])}"
        inside = [name for name in factors if name not in strata]
        words = f"minimisation {chance} ({', '.join([*inside, *(['arm totals'] if config.get('overall') else [])])})"
    elif method == "pbr":
        words = f"blocks {', '.join(str(size) for size in config['sizes'])}"
    else:
        words = _NAMES[method].format(**config)
    return f"{words} by {' x '.join(strata)}" if strata else words
