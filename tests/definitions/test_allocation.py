"""The allocation part of a protocol: every method that works, and every combination that is refused, with the reason."""

from typing import Any

import pytest
import yaml

from tests.definitions.small import FILES, PROTOCOL
from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import BadDefinition
from trialdm.domain.protocol import Protocol

TOP = "demo/protocol.yaml"
LIMB = {"name": "limb", "form": "CLIN", "visit": "V01", "item": "limb"}
MINIMISED = {"method": "minimisation", "imbalance": "range", "factors": [LIMB]}
TWO, UNEQUAL, THREE = [1, 1], [2, 1], [1, 1, 1]


def files(allocation: dict[str, Any], ratios: list[int] = TWO, **more: Any) -> dict[str, str]:
    """The small protocol with this allocation, and arms of these ratios."""
    top = yaml.safe_load(PROTOCOL)
    top["arms"] = [{"code": i, "name": f"ARM{i}", "label": f"Arm {i}", "ratio": ratio} for i, ratio in enumerate(ratios, 1)]
    return {**FILES, TOP: yaml.safe_dump({**top, "allocation": allocation, **more}, sort_keys=False)}


def load(allocation: dict[str, Any], ratios: list[int] = TWO, **more: Any) -> Protocol:
    return load_protocol(files(allocation, ratios, **more))


def said(allocation: dict[str, Any], ratios: list[int] = TWO, **more: Any) -> str:
    """Every problem, without file and line."""
    with pytest.raises(BadDefinition) as refused:
        load(allocation, ratios, **more)
    return "\n".join(problem.message for problem in refused.value.problems)


WORKS: list[tuple[dict[str, Any], list[int], dict[str, Any]]] = [
    ({"method": "simple"}, [3, 2, 1], {}),
    ({"method": "pbr", "sizes": [3, 6], "size_weights": [1, 2]}, UNEQUAL, {"sizes": [3, 6], "size_weights": [1, 2]}),
    ({"method": "pbr", "sizes": [4], "factors": [LIMB, {"name": "site"}]}, TWO, {"sizes": [4]}),
    ({**MINIMISED, "p": "4/5", "burn_in": 10, "overall": 2}, UNEQUAL, {"imbalance": "range", "p": "4/5", "burn_in": 10, "overall": 2}),
    ({**MINIMISED, "q": "1/2"}, THREE, {"imbalance": "range", "p_ranks": ["5/12", "1/3", "1/4"]}),
    ({**MINIMISED, "p_ranks": ["1/2", "1/2", "0"]}, THREE, {"imbalance": "range", "p_ranks": ["1/2", "1/2", "0"]}),
    (
        {**MINIMISED, "p": "4/5", "factors": [LIMB, {"name": "site"}], "strata": ["site"]},
        TWO,
        {"imbalance": "range", "p": "4/5", "strata": ["site"]},
    ),
    ({**MINIMISED, "p": "1", "counts": "as_corrected"}, TWO, {"imbalance": "range", "p": "1", "counts": "as_corrected"}),
    ({**MINIMISED, "p": "1", "counts": "as_randomised"}, TWO, {"imbalance": "range", "p": "1"}),
    ({"method": "efron", "p": "2/3"}, TWO, {"p": "2/3"}),
    ({"method": "bigstick", "mti": 3}, TWO, {"mti": 3}),
    ({"method": "chen", "mti": 3, "p": "1/2"}, TWO, {"mti": 3, "p": "1/2"}),
    ({"method": "urn", "w": 0, "alpha": 0, "beta": 1}, [1, 2, 3], {"w": 0, "alpha": 0, "beta": 1}),
    ({"method": "blockurn", "lambda": 2}, [3, 2], {"lambda": 2}),
    ({"method": "maximal", "mti": 2, "n": 40}, TWO, {"mti": 2, "n": 40}),
    ({"method": "list"}, THREE, {}),
]


@pytest.mark.parametrize(("allocation", "ratios", "parameters"), WORKS, ids=lambda value: str(value)[:60])
def test_what_works(allocation: dict[str, Any], ratios: list[int], parameters: dict[str, Any]) -> None:
    scheme = load(allocation, ratios).scheme
    assert (scheme.method, dict(scheme.parameters)) == (allocation["method"], parameters)
    assert [arm.ratio for arm in scheme.arms] == ratios


REFUSED: list[tuple[str, dict[str, Any], list[int], str]] = [
    (
        "Efron's coin with three arms",
        {"method": "efron", "p": "2/3"},
        THREE,
        "defined for two arms with equal shares (Efron 1971), not for 1:1:1",
    ),
    (
        "the big stick with 2:1",
        {"method": "bigstick", "mti": 3},
        UNEQUAL,
        "defined for two arms with equal shares (Soares and Wu 1983), not for 2:1",
    ),
    ("Chen's coin with three arms", {"method": "chen", "mti": 3, "p": "2/3"}, THREE, "(Chen 1999)"),
    ("the maximal procedure with 2:1", {"method": "maximal", "mti": 2, "n": 20}, UNEQUAL, "(Berger, Ivanova and Knoll 2003)"),
    ("an odd run", {"method": "maximal", "mti": 2, "n": 21}, TWO, "n must be even"),
    ("a coin against balance", {"method": "efron", "p": "1/3"}, TWO, "p must be a fraction of at least 1/2 and at most 1"),
    ("a coin in decimals", {"method": "efron", "p": "0.66"}, TWO, "p must be a fraction of at least 1/2"),
    ("an urn against balance", {"method": "urn", "w": 1, "alpha": 2, "beta": 1}, TWO, "needs beta of at least alpha (Wei 1978)"),
    ("an urn without balls", {"method": "urn", "w": 0, "alpha": 0, "beta": 0}, TWO, "an urn without balls"),
    ("blocks that do not fit", {"method": "pbr", "sizes": [4]}, UNEQUAL, "block size 4 is not a multiple of 3, the sum of the ratios"),
    ("envelopes that do not fit", {"method": "simple", "fallback_sizes": [4]}, UNEQUAL, "block size 4 is not a multiple of 3"),
    ("a parameter of another method", {"method": "simple", "mti": 3}, TWO, "'mti' has no meaning for method simple"),
    ("a parameter that is absent", {"method": "chen", "p": "2/3"}, TWO, "method chen needs 'mti'"),
    ("no probability", MINIMISED, TWO, "needs 'p', or 'q' or 'p_ranks'"),
    ("two probabilities", {**MINIMISED, "p": "4/5", "q": "1/2"}, THREE, "give 'p' or 'q', not both"),
    ("a q out of its bounds", {**MINIMISED, "q": "1/3"}, THREE, "q must lie between 1/3 and 2/2"),
    ("a q that is none", {**MINIMISED, "q": "1/0"}, THREE, "q must be a fraction in quotes"),
    ("too few ranks", {**MINIMISED, "p_ranks": ["1/2", "1/2"]}, THREE, "give 3 probabilities, one for each share"),
    ("ranks that do not add up", {**MINIMISED, "p_ranks": ["1/2", "1/4"]}, TWO, "must add up to 1"),
    ("ranks that favour the worst", {**MINIMISED, "p_ranks": ["1/4", "3/4"]}, TWO, "none may be larger than the one before it"),
    ("a stratum that is no factor", {**MINIMISED, "p": "4/5", "strata": ["age"]}, TWO, "there is no factor 'age' to hold constant"),
    ("nothing left to minimise", {**MINIMISED, "p": "4/5", "strata": ["limb"]}, TWO, "needs a factor that is not held constant"),
    (
        "levels of a form's item",
        {**MINIMISED, "p": "4/5", "factors": [{**LIMB, "levels": ["1", "2"]}]},
        TWO,
        "levels are given only where sites",
    ),
    (
        "a site with a baseline",
        {"method": "simple", "unit": "site", "baseline": "V01"},
        TWO,
        "'baseline' has no meaning where sites are allocated",
    ),
    ("a site by a form", {"method": "pbr", "sizes": [2], "unit": "site", "factors": [LIMB]}, TWO, "a factor is an attribute of the sites"),
    (
        "a site without its attribute",
        {"method": "pbr", "sizes": [2], "unit": "site", "factors": [{"name": "size", "levels": ["large", "small"]}]},
        TWO,
        "site S01 needs the attribute 'size' with one of large, small",
    ),
    ("an unknown method", {"method": "truncated"}, TWO, "must be one of"),
]


@pytest.mark.parametrize(("allocation", "ratios", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused_and_why(allocation: dict[str, Any], ratios: list[int], reason: str) -> None:
    assert reason in said(allocation, ratios)


SECOND = {
    "scheme": "second",
    "after": "main",
    "method": "simple",
    "arms": [{"code": 1, "name": "X", "label": "X"}, {"code": 2, "name": "Y", "label": "Y"}],
}


def test_a_later_randomisation_has_arms_of_its_own() -> None:
    protocol = load({"method": "simple"}, later_allocations=[SECOND])
    assert [scheme.name for scheme in protocol.schemes] == ["main", "second"]
    assert [arm.name for arm in protocol.scheme_named("second").arms] == ["X", "Y"]
    assert protocol.scheme_named("") is protocol.scheme


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"after": "third"}, "there is no earlier scheme 'third'"),
        ({"scheme": "main"}, "scheme 'main' is defined twice"),
        ({"ready": {"form": "CLIN", "visit": "V01", "item": "limb"}}, "'limb' must be a yes/no item of a form that is filled once"),
        ({"ready": {"form": "CLIN", "visit": "V01", "item": "gone"}}, "there is no item 'gone' in form 'CLIN'"),
        ({"arms": [{**SECOND["arms"][0]}, {**SECOND["arms"][1], "name": "X"}]}, "arm 'X' is defined twice"),  # type: ignore[index]
        ({"arms": [{**SECOND["arms"][0]}, {**SECOND["arms"][1], "closed": True}]}, "at least two arms must be open"),  # type: ignore[index]
    ],
)
def test_a_later_randomisation_that_cannot_be(change: dict[str, Any], reason: str) -> None:
    assert reason in said({"method": "simple"}, later_allocations=[{**SECOND, **change}])


def test_a_closed_arm_is_kept_for_those_who_were_allocated_to_it() -> None:
    top = yaml.safe_load(files({"method": "simple"}, THREE)[TOP])
    top["arms"][0]["closed"] = True
    protocol = load_protocol({**FILES, TOP: yaml.safe_dump(top)})
    assert [arm.name for arm in protocol.arms] == ["ARM1", "ARM2", "ARM3"]
    assert [arm.name for arm in protocol.scheme.arms] == ["ARM2", "ARM3"]
