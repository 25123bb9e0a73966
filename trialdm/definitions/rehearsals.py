"""What a rehearsal is asked with: other schemes to set beside the protocol's own, and assumptions about who is recruited.

The other schemes go through the rules of a protocol's `allocation:`; every problem is said with its line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trialdm.definitions import schemas
from trialdm.definitions.allocation import Surroundings, schemes_of
from trialdm.definitions.sources import BadDefinition, Problem, Source, check, read
from trialdm.domain.protocol import Factor, Protocol, Scheme


@dataclass(frozen=True)
class Assumptions:
    """Shares that replace those of the protocol (what a list leaves out is not recruited), and places of a list by stratum."""

    sites: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    slots: int | None = None


def assumptions(file: str, text: str, protocol: Protocol, scheme: Scheme) -> Assumptions:
    """The assumptions in a text such as `factors: {limb: {"1": 85, "2": 15}}`. Raises BadDefinition with every problem."""
    source, problems = read(file, text)
    if problems:
        raise BadDefinition(problems)
    data, problems = check(source, schemas.AssumptionsSchema())
    sites = [site.code for site in protocol.sites] if scheme.unit == "participant" else []
    if "sites" in data:
        problems += _unknown(source, ("sites",), data["sites"], sites, "site", "the trial")
    levels = {factor.name: factor.levels for factor in scheme.factors if factor.name != "site"}
    problems += _unknown(source, ("factors",), data.get("factors", {}), list(levels), "factor", "the scheme")
    for name, shares in data.get("factors", {}).items():
        if name in levels:
            problems += _unknown(source, ("factors", name), shares, levels[name], "level", name)
    if problems:
        raise BadDefinition(problems)
    return Assumptions(
        _floats(data.get("sites", {})),
        {str(name): _floats(shares) for name, shares in data.get("factors", {}).items()},
        data.get("slots"),
    )


def _unknown(
    source: Source, place: tuple[str, ...], given: Mapping[Any, Any], known: Sequence[str], what: str, where: str
) -> list[Problem]:
    """Names that do not exist, and shares of which none is above 0."""
    there = f"{where} has {', '.join(known)}" if known else f"{where} has none that could be given"
    found = [source.problem((*place, key), f"there is no {what} '{key}': {there}") for key in given if str(key) not in known]
    if found and what == "factor" and "site" in given:
        found.append(source.problem((*place, "site"), "the shares of the sites stand under 'sites'"))
    if what != "factor" and not any(given.values()):
        found.append(source.problem(place, "at least one share must be above 0"))
    return found


def _floats(shares: Mapping[Any, Decimal]) -> dict[str, float]:
    return {str(key): float(share) for key, share in shares.items()}


# --- other schemes ---------------------------------------------------------------------------------------------------


def variants(file: str, text: str, protocol: Protocol, scheme: Scheme) -> list[Scheme]:
    """The schemes in a text: one, or a list of them, each a method and its parameters as a protocol writes them.

    Arms and factors are those of `scheme`; `factors: [site]` keeps some of them. Raises BadDefinition with every problem.
    """
    source, problems = read(file, text)
    if problems:
        raise BadDefinition(problems)
    found = []
    for part in _parts(source):
        made, wrong = _variant(part, protocol, scheme)
        problems += wrong
        found += made
    if problems:
        raise BadDefinition(problems)
    return found


def _parts(source: Source) -> list[Source]:
    if not isinstance(source.data, list):
        return [source]
    return [
        Source(source.file, data, {place[1:]: line for place, line in source.lines.items() if place[:1] == (i,)})
        for i, data in enumerate(source.data)
    ]


def _variant(source: Source, protocol: Protocol, scheme: Scheme) -> tuple[list[Scheme], list[Problem]]:
    data, problems = check(source, schemas.VariantSchema())
    if not data:
        return [], problems
    known = {factor.name: factor for factor in scheme.factors}
    kept = data.pop("factors", list(known))
    for i, name in enumerate(kept):
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            problems.append(source.problem(("factors", i), f"the scheme has no factor '{name}': {has}"))
    if data["method"] == "list":
        problems.append(source.problem(("method",), "a list made elsewhere has no rule that could be rehearsed"))
    factors = [_as_written(known[name], scheme) for name in kept if name in known]
    found = schemes_of(
        Surroundings(
            top={
                "allocation": {"scheme": scheme.name, "unit": scheme.unit, **data, "factors": factors},
                "arms": [vars(arm) for arm in scheme.arms],
                "sites": [{"code": site.code, "attributes": site.attributes} for site in protocol.sites],
                "later_allocations": [],
            },
            forms={form.code: form for form in protocol.forms},
            visits={visit.code for visit in protocol.visits},
            say=lambda place, message: problems.append(source.problem(place[1:], message)),
            certain=lambda form, item: True,
        )
    )
    return found, problems


def _as_written(factor: Factor, scheme: Scheme) -> dict[str, Any]:
    """A factor as the file of the protocol has it."""
    if scheme.unit == "site":
        return {"name": factor.name, "weight": factor.weight, "levels": list(factor.levels)}
    if factor.name == "site":
        return {"name": factor.name, "weight": factor.weight}
    return {key: getattr(factor, key) for key in ("name", "weight", "form", "visit", "item")}
