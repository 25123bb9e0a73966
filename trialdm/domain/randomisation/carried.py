"""What an epoch takes over from the one before: counts by arm, at each level and in each stratum of the new configuration.

They are counted from the history of places, so that a factor, level, arm or probability that changes needs no rule of its
own: whoever has no level of a new factor is not counted there, and an arm that was dropped is counted nowhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from trialdm.domain.randomisation.minimisation import Margins
from trialdm.domain.randomisation.schemes import State, fake_arms, stratum_of

#: Counts by arm code.
Counts = dict[str, int]


@dataclass
class Carried:
    """`strata`: counts by stratum. `margins`: by stratum and then by "factor|level" (for minimisation)."""

    strata: dict[str, Counts] = field(default_factory=dict)
    margins: dict[str, dict[str, Counts]] = field(default_factory=dict)

    @classmethod
    def counted(cls, config: Mapping[str, Any], history: Iterable[tuple[Mapping[str, str], str]]) -> Self:
        """The counts of a history of (levels by factor name, arm code), as the new configuration sees them."""
        found = cls()
        factors = config.get("factors", [])
        arms = {code for code, _ in config["arms"]}
        for levels, arm in history:
            if arm not in arms:
                continue
            known = [levels.get(f["name"], "") if levels.get(f["name"]) in f["levels"] else "" for f in factors]
            stratum = stratum_of(config, known)
            if config["method"] == "minimisation":
                margins = found.margins.setdefault(stratum, {})
                for factor, level in zip(factors, known, strict=True):
                    if level:
                        _add(margins.setdefault(f"{factor['name']}|{level}", {}), arm)
            if config["method"] in ("minimisation", "simple") or all(known):
                _add(found.strata.setdefault(stratum, {}), arm)
        return found

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Self:
        """Counts as a reveal holds them. Raises ValueError for what is none."""
        try:
            return cls(
                {stratum: dict(by_arm) for stratum, by_arm in counts["strata"].items()},
                {stratum: {place: dict(by_arm) for place, by_arm in cells.items()} for stratum, cells in counts["margins"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError("these are no counts") from None

    def to_json(self) -> dict[str, Any]:
        return {"strata": self.strata, "margins": self.margins}

    def state(self, config: Mapping[str, Any]) -> State:
        """The state with which the new epoch starts. An arm's count is spread evenly over its fake arms, the first ones first."""
        state = State()
        if config["method"] != "minimisation":
            state.counts = {stratum: _spread(config, by_arm) for stratum, by_arm in self.strata.items()}
            return state
        place = {factor["name"]: i for i, factor in enumerate(config["factors"])}
        for stratum, cells in self.margins.items():
            margins = Margins(len(fake_arms(config)), totals=_spread(config, self.strata.get(stratum, {})))
            for cell, by_arm in cells.items():
                name, _, level = cell.partition("|")
                margins.counts[(place[name], level)] = _spread(config, by_arm)
            state.margins[stratum] = margins
        return state


def _add(counts: Counts, arm: str) -> None:
    counts[arm] = counts.get(arm, 0) + 1


def _spread(config: Mapping[str, Any], by_arm: Mapping[str, int]) -> list[int]:
    found: list[int] = []
    for code, ratio in config["arms"]:
        whole, rest = divmod(by_arm.get(code, 0), ratio)
        found += [whole + (share < rest) for share in range(ratio)]
    return found
