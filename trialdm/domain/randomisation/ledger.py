"""The events of a scheme: what each one says, and how they hang together.

An event names no arm: it carries a salted commitment to it. Events form a chain of hashes, so that none can be changed,
dropped or moved without the chain showing it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialdm.domain.randomisation.commitment import Keys, chain

#: `allocated` and `external` take a place in the scheme; the others say something about a place already taken.
TAKES_A_PLACE = ("allocated", "external")


@dataclass(frozen=True)
class Head:
    """Where the chain stands: number of events, the hash of the last one, and places taken."""

    events: int
    hash: bytes
    places: int


def start(keys: Keys) -> Head:
    """The chain before the first event."""
    return Head(0, keys.genesis, 0)


def placing_event(
    keys: Keys,
    head: Head,
    *,
    kind: str,
    stratum: str,
    levels: Mapping[str, str],
    participant: str,
    at: str,
    arm: str,
) -> dict[str, Any]:
    """The event of an allocation (`allocated`) or of one made elsewhere (`external`); `at` is a UTC instant in ISO form."""
    number = head.events + 1
    return {
        "i": number,
        "kind": kind,
        "seq": head.places,
        "stratum": stratum,
        "levels": dict(levels),
        "participant": participant,
        "at": at,
        "arm_commit": keys.arm_commitment(number, arm),
    }


def append(head: Head, event: Mapping[str, Any]) -> Head:
    """The chain after one more event."""
    return Head(head.events + 1, chain(head.hash, event), head.places + (event["kind"] in TAKES_A_PLACE))


def verify_chain(keys: Keys, events: Sequence[Mapping[str, Any]], head: bytes) -> bool:
    """Whether these events, in this order, lead to this head. What no event could hold (a number with a point) does not."""
    reached = start(keys)
    try:
        for number, event in enumerate(events, 1):
            if event.get("i") != number or "kind" not in event:
                return False
            reached = append(reached, event)
    except TypeError:
        return False
    return reached.hash == head
