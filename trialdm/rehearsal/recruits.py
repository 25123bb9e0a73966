"""Who is recruited in a rehearsal: sites and factor levels by their shares, each independent of the others.

Every name has its own stream of random numbers, so that two schemes meet the same people whatever factors either looks at.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The factor that stands for the site of a participant.
SITE = "site"

#: Level numbers of each name by place of recruitment and trial.
Levels = dict[str, NDArray[np.int16]]


@dataclass(frozen=True)
class Recruitment:
    """Shares of the sites, and of the levels of each factor; any positive numbers, such as targets."""

    sites: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def shares(self, name: str) -> Mapping[str, float]:
        """The shares of a factor's levels, or of the sites."""
        return self.sites if name == SITE else self.factors[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The factors other than the site."""
        return tuple(self.factors)

    def plain(self) -> dict[str, Any]:
        """Shares as parts of one, to six places."""
        return {
            "sites": _parts(self.sites),
            "factors": [{"name": name, "levels": _parts(levels)} for name, levels in self.factors.items()],
        }


def _parts(shares: Mapping[str, float]) -> list[list[Any]]:
    total = sum(shares.values())
    return [[code, round(share / total, 6)] for code, share in shares.items()]


def completed(recruitment: Recruitment, configs: Iterable[Mapping[str, Any]]) -> Recruitment:
    """The recruitment with every factor that the configurations name; what has no shares gets equal ones.

    Raises ValueError for shares that make no sense, or of levels that a configuration does not know.
    """
    if SITE in recruitment.factors:
        raise ValueError("the shares of the sites are not those of a factor")
    sites, factors = dict(recruitment.sites), {name: dict(levels) for name, levels in recruitment.factors.items()}
    for config in configs:
        for factor in config.get("factors", []):
            held = sites if factor["name"] == SITE else factors.setdefault(factor["name"], {})
            if not held:
                held.update(dict.fromkeys(factor["levels"], 1.0))
            elif strange := [code for code in held if code not in factor["levels"]]:
                raise ValueError(f"{factor['name']}: level '{strange[0]}' is recruited but not in the scheme")
            for code in factor["levels"]:
                held.setdefault(code, 0.0)
    sites = sites or {"all": 1.0}
    for name, shares in [(SITE, sites), *factors.items()]:
        if min(shares.values()) < 0 or not sum(shares.values()) > 0:
            raise ValueError(f"{name}: shares must be positive")
    return Recruitment(sites, factors)


def stream(seed: int, chunk: int, name: str) -> np.random.Generator:
    """The random numbers of one purpose in one chunk of trials."""
    purpose = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, chunk, purpose])))


def recruit(recruitment: Recruitment, participants: int, trials: int, seed: int, chunk: int) -> Levels:
    """The participants of a chunk of trials."""
    found: Levels = {}
    for name in (SITE, *recruitment.names):
        shares = np.array(list(recruitment.shares(name).values()), dtype=float)
        upto = np.cumsum(shares / shares.sum())
        drawn = stream(seed, chunk, f"levels of {name}").random((participants, trials))
        found[name] = np.minimum(np.searchsorted(upto, drawn, side="right"), int(np.flatnonzero(shares)[-1])).astype(np.int16)
    return found
