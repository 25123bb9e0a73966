"""Configurations and recruits for the tests of rehearsals."""

from typing import Any

from trialdm.rehearsal.recruits import Recruitment

AB = [["A", 1], ["B", 1]]

LEVELS = {"site": [f"S{i}" for i in range(1, 9)], "limb": ["lower", "upper"], "cause": ["vascular", "trauma", "cancer"]}

#: Eight unequal sites, most amputations of the lower limb and for vascular disease.
RECRUITS = Recruitment(
    dict(zip(LEVELS["site"], (25, 20, 15, 12, 10, 8, 6, 4), strict=True)),
    {"limb": {"lower": 85, "upper": 15}, "cause": {"vascular": 45, "trauma": 35, "cancer": 20}},
)


def factors(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "levels": LEVELS[name], "weight": 1} for name in names]


def scheme(method: str, *names: str, **more: Any) -> dict[str, Any]:
    """A configuration of two arms unless told otherwise, with the named factors."""
    return {"method": method, "arms": AB, "factors": factors(*names), **more}


def minimisation(*names: str, **more: Any) -> dict[str, Any]:
    return scheme("minimisation", *names, **({"imbalance": "range"} | ({} if "p_ranks" in more else {"p": "4/5"}) | more))
