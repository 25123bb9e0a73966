"""The allocation part of a protocol: builds each scheme, and refuses what could not work or what the literature does not define."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from trialdm.definitions.sources import Place
from trialdm.domain.crf import Form
from trialdm.domain.protocol import Arm, Fact, Factor, Scheme
from trialdm.domain.randomisation.minimisation import rank_probabilities
from trialdm.domain.randomisation.schemes import METHODS, PARAMETERS, RESERVED_LABELS

_MOST_LEVELS = 200


@dataclass(frozen=True)
class Surroundings:
    """What the schemes refer to, where problems are said, and whether it is certain that an item does not exist."""

    top: Mapping[str, Any]
    forms: Mapping[str, Form]
    visits: set[str]
    say: Callable[[Place, str], None]
    certain: Callable[[str, str], bool]


def schemes_of(around: Surroundings) -> list[Scheme]:
    """The first scheme and the later ones, in the order of the file; none where nobody is allocated."""
    top = around.top
    if not (top.get("allocation") and top["arms"]):
        return []
    rows = [(("allocation",), top["allocation"], top["arms"])]
    rows += [(("later_allocations", i), raw, raw["arms"]) for i, raw in enumerate(top["later_allocations"])]
    found: list[Scheme] = []
    for place, raw, arms in rows:
        earlier = [scheme.name for scheme in found]
        if raw["scheme"] in earlier:
            around.say((*place, "scheme"), f"scheme '{raw['scheme']}' is defined twice")
        if "after" in raw and raw["after"] not in earlier:
            around.say((*place, "after"), f"there is no earlier scheme '{raw['after']}'")
        open_arms = tuple(Arm(**arm) for arm in arms if not arm["closed"])
        if len(open_arms) < 2:
            around.say(("arms",) if len(place) == 1 else (*place, "arms"), "at least two arms must be open to allocation")
        found.append(_Reader(around, place, raw, open_arms).scheme())
    return found


@dataclass(frozen=True)
class _Reader:
    """Reads one scheme."""

    around: Surroundings
    place: Place
    raw: Mapping[str, Any]
    arms: tuple[Arm, ...]

    def _say(self, place: Place, message: str) -> None:
        self.around.say((*self.place, *place), message)

    @property
    def shares(self) -> int:
        return sum(arm.ratio for arm in self.arms)

    def scheme(self) -> Scheme:
        raw = self.raw
        factors = tuple(self._factor(i, factor) for i, factor in enumerate(raw["factors"]))
        for place, message in (*self._fitting(), *self._arms_fit(), *self._values(), *self._places(factors)):
            self._say(place, message)
        ready = Fact("ready", **raw["ready"]) if "ready" in raw else None
        return Scheme(
            name=raw["scheme"],
            method=raw["method"],
            arms=self.arms,
            factors=factors,
            parameters=self._parameters(),
            baseline=raw.get("baseline", ""),
            unit=raw["unit"],
            after=raw.get("after", ""),
            ready=ready,
            fallback_sizes=tuple(raw.get("fallback_sizes", (self.shares, 2 * self.shares))),
        )

    def _parameters(self) -> dict[str, Any]:
        """The parameters as the configuration holds them: q as the probabilities of the ranks, defaults left out."""
        found = {key: self.raw[key] for key in PARAMETERS if key in self.raw}
        if "q" in found:
            try:
                found["p_ranks"] = [str(p) for p in rank_probabilities(self.shares, Fraction(found.pop("q")))]
            except (ValueError, ZeroDivisionError):
                found.pop("q", None)
        if found.get("counts") == "as_randomised":
            del found["counts"]
        return found

    # --- what does not fit ---------------------------------------------------------------------------------------------

    def _fitting(self) -> Iterator[tuple[Place, str]]:
        """Parameters are those that the method has."""
        name, raw = self.raw["method"], self.raw
        method = METHODS[name]
        for key in method.needs:
            if key not in raw:
                yield (), f"method {name} needs '{key}'"
        for key in PARAMETERS:
            if key in raw and key not in (*method.needs, *method.may):
                yield (key,), f"'{key}' has no meaning for method {name}"
        if name == "minimisation":
            given = [key for key in ("p", "q", "p_ranks") if key in raw]
            if not given:
                yield (), "method minimisation needs 'p', or 'q' or 'p_ranks' to rank all arms"
            elif len(given) > 1:
                yield (given[1],), f"give '{given[0]}' or '{given[1]}', not both"
            if not raw["factors"]:
                yield (), "minimisation needs at least one factor"

    def _arms_fit(self) -> Iterator[tuple[Place, str]]:
        """The arms are such as the literature defines the method for."""
        seen: set[str] = set()
        for arm in self.arms if "after" in self.raw else ():
            if arm.name in seen:
                yield ("arms",), f"arm '{arm.name}' is defined twice"
            seen.add(arm.name)
        method = METHODS[self.raw["method"]]
        if method.two_equal_arms and [arm.ratio for arm in self.arms] != [1, 1]:
            shape = ":".join(str(arm.ratio) for arm in self.arms)
            yield (
                ("method",),
                f"{method.name} is defined for two arms with equal shares ({method.two_equal_arms}), not for {shape}; "
                "blockurn, pbr, urn and minimisation carry more arms and other ratios",
            )
        for i, size in enumerate(self.raw.get("sizes", [])):
            if size % self.shares:
                yield ("sizes", i), f"block size {size} is not a multiple of {self.shares}, the sum of the ratios"
        for i, size in enumerate(self.raw.get("fallback_sizes", [])):
            if size % self.shares:
                yield ("fallback_sizes", i), f"block size {size} is not a multiple of {self.shares}, the sum of the ratios"

    def _values(self) -> Iterator[tuple[Place, str]]:
        """Parameters have values that make sense together."""
        raw = self.raw
        if "p" in raw:
            yield from self._chance("p", *self._least_p())
        if "q" in raw:
            yield from self._q()
        if "p_ranks" in raw:
            yield from self._ranks()
        weights = raw.get("size_weights")
        if weights and len(weights) != len(raw.get("sizes", [])):
            yield ("size_weights",), "give one weight for each block size"
        if raw["method"] == "urn" and {"w", "alpha", "beta"} <= raw.keys():
            if raw["beta"] < raw["alpha"]:
                yield ("beta",), "an urn with beta below alpha drives the arms apart: the design needs beta of at least alpha (Wei 1978)"
            if not raw["w"] + raw["beta"]:
                yield ("w",), "an urn without balls (w and beta 0) draws nothing"
        if "n" in raw and raw["n"] % 2:
            yield ("n",), "a run of the maximal procedure ends balanced: n must be even"
        held = raw.get("strata", ())
        for i, name in enumerate(held):
            if name not in [factor["name"] for factor in raw["factors"]]:
                yield ("strata", i), f"there is no factor '{name}' to hold constant"
        if held and {factor["name"] for factor in raw["factors"]} <= set(held):
            yield ("strata",), "minimisation within strata needs a factor that is not held constant"

    def _least_p(self) -> tuple[Fraction, bool]:
        """The bound of p, and whether p may equal it: a coin may be fair, minimisation must favour the arm it favours."""
        return (Fraction(1, self.shares), False) if self.raw["method"] == "minimisation" else (Fraction(1, 2), True)

    def _chance(self, key: str, least: Fraction, equal: bool) -> Iterator[tuple[Place, str]]:
        try:
            p = Fraction(self.raw[key])
        except (ValueError, ZeroDivisionError):
            yield (key,), f'{key} must be a fraction in quotes, such as "4/5"'
            return
        if "." in self.raw[key] or p > 1 or p < least or (p == least and not equal):
            yield (key,), f'{key} must be a fraction {"of at least" if equal else "above"} {least} and at most 1, such as "4/5"'

    def _q(self) -> Iterator[tuple[Place, str]]:
        try:
            rank_probabilities(self.shares, Fraction(self.raw["q"]))
        except ZeroDivisionError:
            yield ("q",), 'q must be a fraction in quotes, such as "1/2"'
        except ValueError as problem:
            bounds = "q must lie" in str(problem)
            yield ("q",), f"{problem} (Pocock and Simon 1975)" if bounds else 'q must be a fraction in quotes, such as "1/2"'

    def _ranks(self) -> Iterator[tuple[Place, str]]:
        try:
            ranks = [Fraction(p) for p in self.raw["p_ranks"]]
        except (ValueError, ZeroDivisionError):
            yield ("p_ranks",), 'the probabilities of the ranks must be fractions in quotes, such as "1/2"'
            return
        if len(ranks) != self.shares:
            yield ("p_ranks",), f"give {self.shares} probabilities, one for each share of an arm"
        elif sum(ranks) != 1 or min(ranks) < 0 or sorted(ranks, reverse=True) != ranks:
            yield ("p_ranks",), "the probabilities of the ranks must add up to 1, and none may be larger than the one before it"

    # --- what is referred to --------------------------------------------------------------------------------------------

    def _places(self, factors: tuple[Factor, ...]) -> Iterator[tuple[Place, str]]:
        names = [factor.name for factor in factors]
        for name in sorted({n for n in names if names.count(n) > 1}):
            yield ("factors",), f"factor '{name}' is given twice"
        if "baseline" in self.raw and self.raw["baseline"] not in self.around.visits:
            yield ("baseline",), f"there is no visit '{self.raw['baseline']}'"
        if "ready" in self.raw:
            yield from self._ready(self.raw["ready"])
        if self.raw["unit"] == "site":
            for key in ("baseline", "ready"):
                if key in self.raw:
                    yield (key,), f"'{key}' has no meaning where sites are allocated"

    def _ready(self, raw: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
        form = self.around.forms.get(raw["form"])
        item = form.by_name.get(raw["item"]) if form else None
        if form is None or item is None:
            if self.around.certain(raw["form"], raw["item"]):
                yield ("ready",), f"there is no item '{raw['item']}' in form '{raw['form']}'"
        elif item.holds != "yn" or form.repeating:
            yield ("ready", "item"), f"'{raw['item']}' must be a yes/no item of a form that is filled once"
        elif raw["visit"] not in form.visits:
            yield ("ready", "visit"), f"form {form.code} is not filled at visit '{raw['visit']}'"

    def _factor(self, i: int, raw: Mapping[str, Any]) -> Factor:
        place, name = ("factors", i), raw["name"]
        if self.raw["unit"] == "site":
            return self._attribute(place, raw)
        if "levels" in raw:
            self._say((*place, "levels"), "levels are given only where sites are allocated; a form's item has its own")
        if name == "site":
            if {"form", "item", "visit"} & set(raw):
                self._say(place, "the factor 'site' is built in and takes no form")
            return Factor("site", tuple(site["code"] for site in self.around.top["sites"]), raw["weight"])
        absent = [key for key in ("form", "visit", "item") if key not in raw]
        if absent:
            self._say(place, f"factor '{name}' needs '{absent[0]}'")
            return Factor(name, (), raw["weight"])
        levels = self._levels(place, raw)
        for level in levels:
            self._not_reserved(place, level)
        return Factor(name, levels, raw["weight"], raw["form"], raw["visit"], raw["item"])

    def _not_reserved(self, place: Place, level: str) -> None:
        if level in RESERVED_LABELS:
            self._say(place, f"the level '{level}' has a reserved name")

    def _attribute(self, place: Place, raw: Mapping[str, Any]) -> Factor:
        """A factor of a scheme that allocates sites: every site says which of the levels it has."""
        name, levels = raw["name"], tuple(raw.get("levels", ()))
        if name == "site" or {"form", "visit", "item"} & set(raw):
            self._say(place, "where sites are allocated, a factor is an attribute of the sites, with its levels")
        elif not levels:
            self._say(place, f"factor '{name}' needs 'levels'")
        for i, site in enumerate(self.around.top["sites"]):
            if levels and site["attributes"].get(name) not in levels:
                self.around.say(("sites", i), f"site {site['code']} needs the attribute '{name}' with one of {', '.join(levels)}")
        for level in levels:
            self._not_reserved(place, level)
        return Factor(name, levels, raw["weight"])

    def _levels(self, place: Place, raw: Mapping[str, Any]) -> tuple[str, ...]:
        form = self.around.forms.get(raw["form"])
        item = form.by_name.get(raw["item"]) if form else None
        if form is None or item is None:
            if self.around.certain(raw["form"], raw["item"]):
                self._say(place, f"factor '{raw['name']}': there is no item '{raw['item']}' in form '{raw['form']}'")
            return ()
        if raw["visit"] not in form.visits:
            self._say((*place, "visit"), f"form {form.code} is not filled at visit '{raw['visit']}'")
        if form.repeating or item.holds not in ("code", "yn") or item.source:
            self._say(place, f"factor '{raw['name']}' must be a yes/no or coded item of a form that is filled once")
            return ()
        codes = (0, 1) if item.holds == "yn" else tuple(item.codelist.labels) if item.codelist else ()
        if len(codes) > _MOST_LEVELS:
            self._say(place, f"factor '{raw['name']}' has {len(codes)} levels; at most {_MOST_LEVELS} make sense")
        return tuple(str(code) for code in codes)
