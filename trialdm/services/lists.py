"""Allocation lists made elsewhere: reading one, and everything that can be wrong with it."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from trialdm.domain.errors import Detail, Invalid
from trialdm.domain.protocol import Scheme
from trialdm.domain.randomisation.blocks import balanced
from trialdm.domain.randomisation.schemes import stratum_label
from trialdm.domain.words import counted


@dataclass
class _Reading:
    """The places so far, and where the list goes wrong."""

    scheme: Scheme
    slots: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[Detail] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    blocks: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    last_block: dict[str, str] = field(default_factory=dict)

    def say(self, code: str, message: str, line: int) -> None:
        self.wrong.append(Detail(code, message, f"row {line}"))


def read(scheme: Scheme, text: str) -> list[tuple[str, str]]:
    """The places of a list as (stratum, arm), in order.

    The file is CSV with the columns `number` (from 1 within the stratum, in order), `arm`, one for each factor, and perhaps
    `block`: then each block of a stratum stands together and holds each arm in its share. Every stratum must be there.
    Raises Invalid with one detail for each place that does not fit.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    factors = [factor.name for factor in scheme.factors]
    wanted = ["number", "arm", *factors]
    columns = list(reader.fieldnames or [])
    if sorted(columns) not in (sorted(wanted), sorted([*wanted, "block"])):
        raise Invalid(
            f"The list must have exactly the columns {', '.join(wanted)}, and perhaps block.",
            code="ALLOC.LIST_HEADER",
            needs="A list with these columns, in any order.",
        )
    found = _Reading(scheme)
    for line, row in enumerate(reader, 2):
        _row(found, line, row, factors)
    if not found.slots:
        raise Invalid("The list is empty.", code="ALLOC.LIST_EMPTY")
    found.wrong += [*_unbalanced(found), *_absent(found)]
    if found.wrong:
        raise Invalid(f"Nothing was kept: {counted(len(found.wrong), 'mistake')} in the list.", code="ALLOC.LIST", details=found.wrong)
    return found.slots


def _row(found: _Reading, line: int, row: Mapping[str, Any], factors: Sequence[str]) -> None:
    levels = {factor.name: factor.levels for factor in found.scheme.factors}
    stratum = stratum_label(row[name] or "" for name in factors)
    found.counts[stratum] += 1
    for name in factors:
        if row[name] not in levels[name]:
            found.say("ALLOC.LEVEL", f"'{row[name]}' is not a level of {name}", line)
    if None in row:
        found.say("ALLOC.LIST_CELLS", "there are more cells than columns", line)
    if row["arm"] not in [arm.name for arm in found.scheme.arms]:
        found.say("ALLOC.ARM", "this is not the name of an arm", line)
    if row["number"] != str(found.counts[stratum]):
        found.say("ALLOC.ORDER", f"number {found.counts[stratum]} is expected here, not '{row['number']}'", line)
    if "block" in row:
        _block(found, line, stratum, str(row["block"] or ""), str(row["arm"]))
    found.slots.append((stratum, row["arm"] or ""))


def _block(found: _Reading, line: int, stratum: str, block: str, arm: str) -> None:
    key = (stratum, block)
    if key in found.blocks and found.last_block[stratum] != block:
        found.say("ALLOC.BLOCK", f"block {block} was left before: the places of a block stand together", line)
    found.blocks.setdefault(key, []).append(arm)
    found.last_block[stratum] = block


def _unbalanced(found: _Reading) -> Iterator[Detail]:
    config = {"arms": [[arm.name, arm.ratio] for arm in found.scheme.arms]}
    for (stratum, block), arms in found.blocks.items():
        if not balanced(config, arms):
            where = f" of stratum '{stratum}'" if stratum else ""
            yield Detail("ALLOC.BLOCK", f"block {block}{where} does not hold each arm in its share", f"block {block}")


def _absent(found: _Reading) -> Iterator[Detail]:
    """Strata of the protocol that have no place at all."""
    for levels in product(*(factor.levels for factor in found.scheme.factors)):
        stratum = stratum_label(levels)
        if not found.counts[stratum]:
            yield Detail("ALLOC.STRATA", f"stratum '{stratum}' has no place in the list", f"stratum {stratum}")
