"""Allocation methods as exact functions of the keys, the configuration and the history.

`Allocator` is the one entry: it decides the next arm of a derived scheme. Arms with unequal ratios are expanded into equal
"fake arms" in the order of the configuration, every rule but the block urn's runs on fake arms, and the result maps back: the
chance of an arm is its share at every position (Kuznetsova and Tymofyeyev 2012, doi 10.1002/sim.4447). No floating point
anywhere.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialdm.domain.randomisation import coins
from trialdm.domain.randomisation.blocks import Blocks
from trialdm.domain.randomisation.commitment import Keys
from trialdm.domain.randomisation.draws import at, uniform
from trialdm.domain.randomisation.minimisation import Margins, Rule

#: Labels that name keys and so cannot be strata.
RESERVED_LABELS = frozenset({"min", "simple", "nonce"})

_Coin = Callable[[Mapping[str, Any], bytes, int, Sequence[int]], int]

#: Methods that look at the counts of the stratum by arm, and the one that looks at them by fake arm.
_BY_ARM: dict[str, _Coin] = {
    "efron": coins.efron,
    "bigstick": coins.big_stick,
    "chen": coins.chen,
    "maximal": coins.maximal,
    "blockurn": coins.block_urn,
}
_BY_FAKE_ARM: dict[str, _Coin] = {"urn": coins.wei_urn}

#: Methods whose allocations are derived from the keys; `list` takes them from a list made elsewhere.
DERIVED = ("simple", "pbr", "minimisation", *_BY_ARM, *_BY_FAKE_ARM)


@dataclass(frozen=True)
class Method:
    """What a method needs in its configuration and may have, and for which arms the literature defines it."""

    name: str
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    two_equal_arms: str = ""


#: Every method that a protocol may name.
METHODS: Mapping[str, Method] = {
    "simple": Method("simple randomisation"),
    "pbr": Method("permuted blocks", ("sizes",), ("size_weights",)),
    "minimisation": Method("minimisation", ("imbalance",), ("p", "q", "p_ranks", "burn_in", "overall", "strata", "counts")),
    "efron": Method("Efron's biased coin", ("p",), two_equal_arms="Efron 1971"),
    "bigstick": Method("the big stick design", ("mti",), two_equal_arms="Soares and Wu 1983"),
    "chen": Method("Chen's biased coin with imbalance tolerance", ("mti", "p"), two_equal_arms="Chen 1999"),
    "urn": Method("Wei's urn design", ("w", "alpha", "beta")),
    "blockurn": Method("the block urn design", ("lambda",)),
    "maximal": Method("the maximal procedure", ("mti", "n"), two_equal_arms="Berger, Ivanova and Knoll 2003"),
    "list": Method("a list made elsewhere"),
}

#: Every parameter of any method, in the order in which a configuration is read.
PARAMETERS = tuple(dict.fromkeys(key for method in METHODS.values() for key in (*method.needs, *method.may)))


@dataclass(frozen=True)
class Placed:
    """One place of a scheme: its stratum, its number there and in the scheme, the fake arm and the levels used."""

    seq: int
    stratum: str
    slot: int
    fake_arm: int
    levels: tuple[str, ...]


def fake_arms(config: Mapping[str, Any]) -> list[str]:
    """Each arm's code repeated as often as its ratio says, in the order of the configuration."""
    return [str(code) for code, ratio in config["arms"] for _ in range(ratio)]


def stratum_label(levels: Iterable[str]) -> str:
    """The name of a stratum: its factor levels in the order of the configuration."""
    return "|".join(levels)


def stratum_of(config: Mapping[str, Any], levels: Sequence[str]) -> str:
    """The stratum in which a participant takes a slot.

    Simple randomisation has one, `simple`; minimisation has one, `min`, unless some factors are strata within which it runs.
    """
    if config["method"] == "simple":
        return "simple"
    if config["method"] != "minimisation":
        return stratum_label(levels)
    hard = config.get("strata", ())
    held = [level for factor, level in zip(config["factors"], levels, strict=True) if factor["name"] in hard]
    return stratum_label(held) if held else "min"


@dataclass
class State:
    """What later allocations depend on: by stratum, the places taken, the counts by fake arm, and the margins."""

    slots: dict[str, int] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    margins: dict[str, Margins] = field(default_factory=dict)


@dataclass
class Allocator:
    """A derived scheme at work: gives the arm of the next place, and counts the places that have been taken.

    `next` changes nothing. `seq` is the number of places taken.
    """

    keys: Keys
    state: State = field(default_factory=State)
    seq: int = 0

    def __post_init__(self) -> None:
        config = self.keys.config
        self.method: str = config["method"]
        self.arms = fake_arms(config)
        self._shares = [ratio for _, ratio in config["arms"]]
        self._rule = Rule.of(config) if self.method == "minimisation" else None
        self._blocks: dict[str, Blocks] = {}

    def next(self, levels: Sequence[str]) -> Placed:
        """The next place, for a participant with these levels. Raises ValueError for a method that is not derived."""
        stratum = stratum_of(self.keys.config, levels)
        slot = self.state.slots.get(stratum, 0)
        return Placed(self.seq, stratum, slot, self._fake_arm(stratum, slot, levels), tuple(levels))

    def _fake_arm(self, stratum: str, slot: int, levels: Sequence[str]) -> int:
        keys, method = self.keys, self.method
        if self._rule is not None:
            return self._rule.choose(keys, self._margins(stratum), self.seq, slot, levels)
        if method == "simple":
            return uniform(keys.stratum("simple"), at("simple", self.seq), len(self.arms))
        if method == "pbr":
            if stratum not in self._blocks:
                self._blocks[stratum] = Blocks(keys, stratum)
            return self._blocks[stratum].arm(slot)
        counts = self._counts(stratum)
        if method in _BY_FAKE_ARM:
            return _BY_FAKE_ARM[method](keys.config, keys.stratum(stratum), slot, counts)
        if method in _BY_ARM:
            arm = _BY_ARM[method](keys.config, keys.stratum(stratum), slot, self._by_arm(counts))
            return sum(self._shares[:arm])
        raise ValueError(f"method '{method}' is not derived from keys")

    def placed_elsewhere(self, levels: Sequence[str], arm: str) -> Placed:
        """The next place, taken by an allocation made elsewhere. One of the arm's equal fake arms is counted, by a draw."""
        stratum = stratum_of(self.keys.config, levels)
        candidates = [index for index, code in enumerate(self.arms) if code == arm]
        drawn = uniform(self.keys.stratum("min"), at("ext", self.seq), len(candidates))
        return Placed(self.seq, stratum, self.state.slots.get(stratum, 0), candidates[drawn], tuple(levels))

    def take(self, placed: Placed) -> None:
        """Count a place that has been taken."""
        self.seq += 1
        self.state.slots[placed.stratum] = placed.slot + 1
        if self._rule is not None:
            self._margins(placed.stratum).add(placed.levels, placed.fake_arm)
        else:
            self._counts(placed.stratum)[placed.fake_arm] += 1

    def recount(self, placed: Placed, levels: Sequence[str] | None) -> None:
        """Count a place of a minimised scheme under other levels from now on, or (None) no longer."""
        margins = self._margins(placed.stratum)
        margins.add(placed.levels, placed.fake_arm, -1)
        if levels is not None:
            self._margins(stratum_of(self.keys.config, levels)).add(levels, placed.fake_arm)

    def arm(self, placed: Placed) -> str:
        """The code of the arm of a place."""
        return self.arms[placed.fake_arm]

    def _margins(self, stratum: str) -> Margins:
        if stratum not in self.state.margins:
            self.state.margins[stratum] = Margins(len(self.arms))
        return self.state.margins[stratum]

    def _counts(self, stratum: str) -> list[int]:
        return self.state.counts.setdefault(stratum, [0] * len(self.arms))

    def _by_arm(self, counts: Sequence[int]) -> list[int]:
        found, start = [], 0
        for ratio in self._shares:
            found.append(sum(counts[start : start + ratio]))
            start += ratio
        return found
