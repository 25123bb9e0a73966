"""The engine, the ledger and its verification, from a hundred places to a hundred thousand: what each place costs."""

import hashlib
import json
import shutil
import subprocess
from typing import Any

from tests.bench.worlds import line, seconds
from trialdm.domain.randomisation.blocks import Blocks
from trialdm.domain.randomisation.commitment import Keys, canonical
from trialdm.domain.randomisation.ledger import append, head_line, placing_event, start, verify
from trialdm.domain.randomisation.schemes import Allocator
from trialdm.store import keys as sealing

SIZES = (100, 1_000, 10_000, 100_000)
MASTER, SIGNING = bytes(range(32)), bytes(range(32, 64))
LEVELS = (2, 3, 2, 8)
CONFIG: dict[str, Any] = {
    "v": 1,
    "trial": "bench",
    "scheme": "main",
    "epoch": 0,
    "method": "minimisation",
    "arms": [["A", 1], ["B", 1]],
    "imbalance": "range",
    "p": "4/5",
    "factors": [{"name": f"f{i}", "levels": [str(n) for n in range(count)], "weight": 1} for i, count in enumerate(LEVELS)],
}


def people(count: int) -> list[list[str]]:
    """Levels that follow no pattern, the same in every run."""
    digests = (hashlib.sha256(str(i).encode()).digest() for i in range(count))
    return [[str(digest[i] % levels) for i, levels in enumerate(LEVELS)] for digest in digests]


def allocate(levels: list[list[str]]) -> Allocator:
    """The exact engine: one allocation after the other."""
    allocator = Allocator(Keys(CONFIG, MASTER))
    for given in levels:
        allocator.take(allocator.next(given))
    return allocator


def ledger_of(levels: list[list[str]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A ledger and its reveal, as the service makes them."""
    made = Keys(CONFIG, MASTER)
    allocator, head, events, arms = Allocator(made), start(made.genesis), [], {}
    names = [factor["name"] for factor in CONFIG["factors"]]
    for given in levels:
        placed = allocator.next(given)
        allocator.take(placed)
        arm, at = allocator.arm(placed), "2026-01-01T00:00:00.000000+00:00"
        by_name = dict(zip(names, given, strict=True))
        event = placing_event(made, head, kind="allocated", stratum="min", levels=by_name, participant="P", at=at, arm=arm)
        head = append(head, event)
        events.append(event)
        arms[str(head.events)] = arm
    signature = sealing.sign(SIGNING, head_line(CONFIG, head.events, head.hash.hex()))
    whole = {
        "format": "trialdm-ledger/1",
        "config": CONFIG,
        "commit": made.commit.hex(),
        "contribution": "",
        "public_key": sealing.public_key(SIGNING),
        "events": events,
        "heads": [{"i": head.events, "hash": head.hash.hex(), "at": "", "signature": signature}],
    }
    return whole, {"format": "trialdm-reveal/1", "master": MASTER.hex(), "arms": arms}


def run_engine() -> None:
    """Print what one place costs in the exact engine, as a ratio to the first hundred."""
    everybody = people(SIZES[-1])
    allocate(everybody[:1000])
    first = 0.0
    for size in SIZES:
        each = seconds(lambda size=size: allocate(everybody[:size])) / size
        first = first or each
        line(f"exact engine, minimisation, {size:7,} participants: {1 / each:9,.0f}/s, {each / first:5.2f} x the cost of the first hundred")
    blocks = Blocks(Keys({**CONFIG, "method": "pbr", "sizes": [2, 4, 6]}, MASTER), "s")
    each = seconds(lambda: [blocks.arm(slot) for slot in range(SIZES[-1])]) / SIZES[-1]
    beside = _randomizer(SIZES[-1])
    words = f"{1 / each / beside:.1f} x randomizeR's random blocks ({beside:,.0f}/s)" if beside else "randomizeR is not installed"
    line(f"exact engine, blocks of 2, 4, 6, {SIZES[-1]:,} places in one stratum: {1 / each:9,.0f}/s, {words}")


_RANDOM_BLOCKS = """
if (!requireNamespace("randomizeR", quietly = TRUE)) quit(status = 3)
suppressMessages(library(randomizeR))
n <- %d
cat(n / system.time(genSeq(rpbrPar(n, c(2, 4, 6)), seed = 1))[["elapsed"]])
"""


def _randomizer(places: int) -> float:
    """Places a second of randomizeR's permuted blocks of random size, or 0 where R or the package is not installed."""
    if shutil.which("Rscript") is None:
        return 0.0
    done = subprocess.run(["Rscript", "-e", _RANDOM_BLOCKS % places], capture_output=True, text=True, timeout=300, check=False)
    return float(done.stdout) if done.returncode == 0 else 0.0


def run_verify() -> None:
    """Print what verifying costs, as a ratio to hashing the same events."""
    everybody = people(SIZES[-1])
    for size in SIZES:
        whole, reveal = ledger_of(everybody[:size])
        hashed = seconds(lambda events=whole["events"]: [hashlib.sha256(canonical(event)).digest() for event in events])
        read = seconds(lambda whole=whole: json.loads(json.dumps(whole)))
        alone = seconds(lambda whole=whole: verify(whole, sealing.signed))
        opened = seconds(lambda whole=whole, reveal=reveal: verify(whole, sealing.signed, reveal=reveal))
        line(
            f"verify-ledger, {size:7,} events: chain {size / alone:8,.0f}/s, {alone / hashed:4.1f} x hashing the events and "
            f"{alone / read:4.1f} x writing and reading them as JSON; every arm derived {size / opened:8,.0f}/s"
        )
