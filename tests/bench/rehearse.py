"""Simulated participants a second, beside the exact engine one participant at a time, and beside R carat where it is installed."""

import shutil
import subprocess
from typing import Any

import numpy as np

from tests.bench.worlds import line, seconds
from trialdm.domain.randomisation.commitment import Keys
from trialdm.domain.randomisation.schemes import Allocator
from trialdm.rehearsal.recruits import Recruitment
from trialdm.rehearsal.simulate import rehearse

TRIALS, PARTICIPANTS = 1_000, 500

#: Participants one at a time: for the exact engine and for carat.
SINGLE = 10_000

LEVELS = (2, 3, 2, 8)

CONFIG: dict[str, Any] = {
    "method": "minimisation",
    "arms": [["A", 1], ["B", 1]],
    "imbalance": "range",
    "p": "4/5",
    "factors": [{"name": f"f{i}", "levels": [str(level) for level in range(levels)], "weight": 1} for i, levels in enumerate(LEVELS)],
}

_CARAT = f"""
if (!requireNamespace("carat", quietly = TRUE)) quit(status = 3)
suppressMessages(library(carat))
set.seed(1)
people <- as.data.frame(lapply(c{LEVELS}, function(levels) sample(levels, {SINGLE}, TRUE)))
names(people) <- c("a", "b", "c", "d")
once <- function() system.time(PocSimMIN(people, weight = rep(1 / 4, 4), p = 0.8))[["elapsed"]]
once()
cat(median(replicate(5, once())))
"""


def run() -> None:
    """Print simulated participants a second with every measure, and the ratios to the references of the same run."""
    rehearse(CONFIG, Recruitment(), trials=10, participants=10, seed=1)
    taken = sorted(seconds(lambda: rehearse(CONFIG, Recruitment(), trials=TRIALS, participants=PARTICIPANTS, seed=1)) for _ in range(3))
    rate = TRIALS * PARTICIPANTS / taken[1]
    line(f"rehearse, minimisation with {len(LEVELS)} factors: {rate:,.0f} simulated participants/s, all measures included")
    engine = SINGLE / seconds(_engine)
    line(f"  {rate / engine:6.1f} x the exact engine ({engine:,.0f}/s)")
    carat = _carat()
    line(
        f"  {rate / carat:6.1f} x carat PocSimMIN ({carat:,.0f}/s)"
        if carat
        else "  carat was not measured: Rscript with carat is not installed"
    )


def _engine() -> None:
    """One long history through the engine that makes real allocations."""
    allocator = Allocator(Keys(CONFIG, bytes(32)))
    source = np.random.default_rng(1)
    people = zip(*(source.integers(0, levels, SINGLE).astype(str).tolist() for levels in LEVELS), strict=True)
    for levels in people:
        allocator.take(allocator.next(levels))


def _carat() -> float:
    """Participants a second, or 0 where carat is not installed."""
    if shutil.which("Rscript") is None:
        return 0.0
    found = subprocess.run(["Rscript", "--vanilla", "-e", _CARAT], capture_output=True, text=True, check=False)
    return SINGLE / float(found.stdout.split()[-1]) if found.returncode == 0 else 0.0
