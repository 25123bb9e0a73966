"""Who is recruited in a rehearsal: by shares, and the same people for every scheme."""

import numpy as np
import pytest

from tests.rehearsal.schemes import LEVELS, RECRUITS, scheme
from trialdm.rehearsal.recruits import Recruitment, completed, recruit


def test_shares() -> None:
    found = recruit(RECRUITS, 200, 100, seed=3, chunk=0)
    assert {name: numbers.shape for name, numbers in found.items()} == dict.fromkeys(LEVELS, (200, 100))
    assert np.bincount(found["cause"].ravel()) / 20_000 == pytest.approx([0.45, 0.35, 0.20], abs=0.02)


def test_a_share_of_nothing_is_never_recruited() -> None:
    for shares in ({"a": 0, "b": 1, "c": 0}, {"a": 1, "b": 3, "c": 0}):
        found = recruit(Recruitment({"one": 1}, {"ward": shares}), 50, 100, seed=3, chunk=0)["ward"]
        assert set(np.unique(found)) == {index for index, share in enumerate(shares.values()) if share}


def test_other_factors_change_nobody() -> None:
    fewer = Recruitment(RECRUITS.sites, {"cause": RECRUITS.factors["cause"]})
    assert (recruit(RECRUITS, 30, 40, seed=3, chunk=1)["cause"] == recruit(fewer, 30, 40, seed=3, chunk=1)["cause"]).all()


def test_what_is_not_told_is_equal() -> None:
    found = completed(Recruitment(), [scheme("pbr", "site", "limb"), scheme("pbr", "cause")])
    assert list(found.sites) == LEVELS["site"]
    assert found.names == ("limb", "cause")
    assert found.plain()["factors"][0] == {"name": "limb", "levels": [["lower", 0.5], ["upper", 0.5]]}
    assert completed(Recruitment(), [scheme("simple")]).sites == {"all": 1}


@pytest.mark.parametrize("shares", [{"lower": 0}, {"lower": -1, "upper": 2}])
def test_shares_that_make_no_sense(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="limb: shares must be positive"):
        completed(Recruitment({"one": 1}, {"limb": shares}), [])


def test_sites_are_given_as_sites() -> None:
    with pytest.raises(ValueError, match="not those of a factor"):
        completed(Recruitment({}, {"site": {"S1": 1}}), [])
