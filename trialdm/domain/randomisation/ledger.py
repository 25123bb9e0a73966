"""The events of a scheme: what each one says, how they hang together, and how anybody verifies them.

An event names no arm: it carries a salted commitment to it. Events form a chain of hashes, so that none can be changed,
dropped or moved without the chain showing it. `verify` needs the ledger alone; with the reveal it derives every arm again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialdm.domain.randomisation.carried import Carried
from trialdm.domain.randomisation.commitment import Keys, chain
from trialdm.domain.randomisation.schemes import Allocator, Placed, stratum_of

#: `allocated` and `external` take a place in the scheme; the others say something about a place, or start an epoch.
TAKES_A_PLACE = ("allocated", "external")
KINDS = (*TAKES_A_PLACE, "in_error", "corrected", "unblinded", "epoch")

FORMAT, REVEAL_FORMAT = "trialdm-ledger/1", "trialdm-reveal/1"

#: Whether a signature of a line was made with the private half of a key: (public key, line, signature).
Signed = Callable[[str, str, str], bool]


@dataclass(frozen=True)
class Head:
    """Where the chain stands: number of events, the hash of the last one, and places taken."""

    events: int
    hash: bytes
    places: int


def start(genesis: bytes) -> Head:
    """The chain before the first event."""
    return Head(0, genesis, 0)


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
    **said: Any,
) -> dict[str, Any]:
    """The event of an allocation (`allocated`) or of one made elsewhere (`external`); `at` is a UTC instant in ISO form."""
    number = head.events + 1
    return {
        **said,
        "i": number,
        "kind": kind,
        "seq": head.places,
        "stratum": stratum,
        "levels": dict(levels),
        "participant": participant,
        "at": at,
        "arm_commit": keys.arm_commitment(number, arm),
    }


def later_event(head: Head, *, kind: str, participant: str, at: str, about: int, said: Mapping[str, Any]) -> dict[str, Any]:
    """An event about the place that event `about` took. It takes none itself and holds no arm."""
    return {**said, "i": head.events + 1, "kind": kind, "participant": participant, "at": at, "about": about}


def epoch_event(keys: Keys, *, at: str, previous: str, places: int, carried: Carried) -> dict[str, Any]:
    """The first event of an epoch: the last hash of the one before, how many places it took, and a commitment to its counts.

    The counts themselves would show the state of the scheme: they come with the reveal.
    """
    commit = keys.counts_commitment(1, carried.to_json())
    return {"i": 1, "kind": "epoch", "at": at, "previous": previous, "places": places, "counts_commit": commit}


def append(head: Head, event: Mapping[str, Any]) -> Head:
    """The chain after one more event."""
    return Head(head.events + 1, chain(head.hash, event), head.places + (event["kind"] in TAKES_A_PLACE))


def verify_chain(genesis: bytes, events: Sequence[Mapping[str, Any]], head: bytes) -> bool:
    """Whether these events, in this order, lead to this head. What no event could hold (a number with a point) does not."""
    reached = start(genesis)
    try:
        for number, event in enumerate(events, 1):
            if event.get("i") != number or "kind" not in event:
                return False
            reached = append(reached, event)
    except TypeError:
        return False
    return reached.hash == head


# --- files -----------------------------------------------------------------------------------------------------------


def head_line(config: Mapping[str, Any], i: int, digest: str) -> str:
    """The line that is signed for a head."""
    return f"{FORMAT} {config['trial']} {config['scheme']} {config['epoch']} {i} {digest}"


@dataclass(frozen=True)
class Check:
    """What was found in a ledger: `faults` as (place, what is wrong), and what was counted and could not be checked.

    `commit` and `public_key` are those that the ledger names: they mean something beside what was noted at the start.
    """

    faults: tuple[tuple[str, str], ...]
    commit: str
    public_key: str
    events: int
    places: int
    head: str
    heads: int
    derived: int = 0
    external: tuple[int, ...] = ()
    revealed: bool = False

    @property
    def holds(self) -> bool:
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """For one JSON document."""
        return {
            "holds": self.holds,
            "commit": self.commit,
            "public_key": self.public_key,
            "events": self.events,
            "places": self.places,
            "head": self.head,
            "signed_heads": self.heads,
            "derived": self.derived,
            "external": list(self.external),
            "revealed": self.revealed,
            "faults": [{"place": place, "message": message} for place, message in self.faults],
        }


def verify(
    ledger: Mapping[str, Any],
    signed: Signed,
    *,
    reveal: Mapping[str, Any] | None = None,
    noted: Sequence[str] = (),
    commit: str = "",
    public_key: str = "",
) -> Check:
    """Check a ledger: chain and signatures; with the reveal also commitment, arm commitments and every derived arm.

    `noted` are hashes of heads that somebody wrote down earlier: each must be part of the chain, which is how a ledger that
    was cut off together with its heads is found. `commit` and `public_key` were noted at the start: a whole ledger that was made
    up with keys of its own differs from them. Raises ValueError for what is no ledger or no reveal.
    """
    verifier = _Verifier(_shaped(ledger), signed)
    verifier.compare("commitment", ledger["commit"], commit)
    verifier.compare("public key", ledger["public_key"], public_key)
    return verifier.run(_shaped_reveal(reveal) if reveal is not None else None, noted)


@dataclass
class _Verifier:
    ledger: Mapping[str, Any]
    signed: Signed
    faults: list[tuple[str, str]] = field(default_factory=list)

    def compare(self, what: str, named: str, noted: str) -> None:
        """A fault where something was noted at the start, and the ledger names another."""
        if noted and noted.lower() != named.lower():
            self.faults.append((what, f"the ledger names {named}, and {noted} was noted at the start: it is another ledger"))

    def run(self, reveal: Mapping[str, Any] | None, noted: Sequence[str]) -> Check:
        hashes = self._chain()
        self._heads(hashes)
        for digest in noted:
            if digest.lower() not in hashes:
                self.faults.append(
                    ("chain", f"the head {digest} that was noted earlier is not part of this ledger: it was cut off or rewritten")
                )
        events = self.ledger["events"]
        derived, external = (0, ()) if reveal is None or self.faults else self._arms(reveal)
        return Check(
            tuple(self.faults),
            self.ledger["commit"],
            self.ledger["public_key"],
            len(events),
            sum(event.get("kind") in TAKES_A_PLACE for event in events),
            hashes[-1],
            len(self.ledger["heads"]),
            derived,
            external,
            reveal is not None,
        )

    def _chain(self) -> list[str]:
        """The hash after each event, the start first. Order and shape of the events are checked on the way."""
        ledger = self.ledger
        public = Keys(ledger["config"], b"", bytes.fromhex(ledger["contribution"]))
        reached = start(public.genesis_of(bytes.fromhex(ledger["commit"])))
        hashes, places, last = [reached.hash.hex()], 0, ""
        for number, event in enumerate(ledger["events"], 1):
            for message in _event_faults(event, number, places, last):
                self.faults.append((f"event {number}", message))
            try:
                reached = append(reached, event)
            except TypeError as problem:
                self.faults.append((f"event {number}", f"this is no event: {problem}"))
                return hashes
            hashes.append(reached.hash.hex())
            places, last = reached.places, max(last, str(event.get("at", "")))
        return hashes

    def _heads(self, hashes: Sequence[str]) -> None:
        last, signed_for = len(hashes) - 1, max((head["i"] for head in self.ledger["heads"]), default=0)
        if signed_for < last:
            self.faults.append((f"events {signed_for + 1} to {last}", "no signed head covers them: anybody could have written them"))
        for head in self.ledger["heads"]:
            i, digest = head["i"], head["hash"]
            if i >= len(hashes):
                self.faults.append(
                    (f"head {i}", f"event {i} is signed for, but the ledger ends at event {len(hashes) - 1}: it was cut off")
                )
            elif hashes[i] != digest:
                self.faults.append((f"head {i}", f"the events do not lead to the hash that was signed: one of 1 to {i} was changed"))
            if not self.signed(self.ledger["public_key"], head_line(self.ledger["config"], i, digest), head["signature"]):
                self.faults.append((f"head {i}", "the signature does not fit"))

    def _arms(self, reveal: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
        """How many arms were derived, and the events whose arm was made elsewhere."""
        ledger = self.ledger
        keys = Keys(ledger["config"], bytes.fromhex(reveal["master"]), bytes.fromhex(ledger["contribution"]))
        if keys.commit.hex() != ledger["commit"]:
            self.faults.append(("reveal", "its master is not the one that was committed to: it belongs to another scheme or epoch"))
            return 0, ()
        allocator, derived = self._start(keys, reveal), 0
        external: list[int] = []
        places: dict[int, Placed] = {}
        for event in ledger["events"]:
            number, kind = event["i"], event["kind"]
            if kind in TAKES_A_PLACE:
                placed = self._arm(keys, allocator, event, str(reveal["arms"].get(str(number), "")))
                if placed is None:
                    return derived, tuple(external)
                allocator.take(placed)
                places[number] = placed
                derived += kind == "allocated"
                external += [number] if kind == "external" else []
            elif keys.config.get("counts") == "as_corrected":
                recount(allocator, keys.config, places, event)
        taken = {str(event["i"]) for event in ledger["events"] if event["kind"] in TAKES_A_PLACE}
        unknown = sorted(set(reveal["arms"]) - taken)
        if unknown:
            self.faults.append(("reveal", f"it names an arm for event {unknown[0]}, which takes no place"))
        return derived, tuple(external)

    def _start(self, keys: Keys, reveal: Mapping[str, Any]) -> Allocator:
        first = self.ledger["events"][0] if self.ledger["events"] else {}
        if first.get("kind") != "epoch":
            return Allocator(keys)
        counts = reveal.get("counts")
        if counts is None or keys.counts_commitment(1, counts) != first.get("counts_commit"):
            self.faults.append(("reveal", "its counts are not those with which this epoch was started"))
            return Allocator(keys)
        return Allocator(keys, Carried.of(counts).state(keys.config))

    def _arm(self, keys: Keys, allocator: Allocator, event: Mapping[str, Any], arm: str) -> Placed | None:
        place = f"event {event['i']}"
        codes = [code for code, _ in keys.config["arms"]]
        if arm not in codes:
            self.faults.append((place, "the reveal names no arm of the scheme for it"))
            return None
        if keys.arm_commitment(event["i"], arm) != event["arm_commit"]:
            self.faults.append((place, "the arm of the reveal is not the one that was committed to"))
        levels = levels_of(keys.config, event["levels"])
        if levels is None:
            self.faults.append((place, "its levels are not those of the configuration"))
            return None
        if event["kind"] == "external":
            return allocator.placed_elsewhere(levels, arm)
        try:
            placed = allocator.next(levels)
        except ValueError as problem:
            self.faults.append((place, str(problem)))
            return None
        if placed.stratum != event["stratum"]:
            self.faults.append((place, f"it names stratum '{event['stratum']}', its levels belong to '{placed.stratum}'"))
        if allocator.arm(placed) != arm:
            self.faults.append((place, "the arm that the rule gives here is another one: this allocation was not made by the rule"))
            return None
        return placed


def levels_of(config: Mapping[str, Any], levels: Mapping[str, str]) -> list[str] | None:
    """The levels in the order of the configuration; None where one is absent or unknown to it."""
    factors = config.get("factors", [])
    found = [levels.get(factor["name"], "") for factor in factors]
    fits = all(level in factor["levels"] for factor, level in zip(factors, found, strict=True)) and len(levels) == len(factors)
    return found if fits else None


def recount(allocator: Allocator, config: Mapping[str, Any], places: dict[int, Placed], event: Mapping[str, Any]) -> None:
    """What a correction or an error changes where the configuration counts as corrected: `places` follows."""
    placed = places.get(event.get("about", 0))
    if placed is None or event["kind"] not in ("corrected", "in_error"):
        return
    levels = levels_of(config, event["levels"]) if event["kind"] == "corrected" else None
    allocator.recount(placed, levels)
    if levels is None:
        del places[event["about"]]
    else:
        places[event["about"]] = Placed(placed.seq, stratum_of(config, levels), placed.slot, placed.fake_arm, tuple(levels))


def _event_faults(event: Any, number: int, places: int, last: str) -> list[str]:
    """What is wrong with one event by itself: its number, kind, place and time."""
    if not isinstance(event, dict):
        return ["this is no event"]
    found = []
    if event.get("i") != number:
        found.append(f"it has number {event.get('i')}: an event is absent, doubled or moved")
    kind = event.get("kind")
    if kind not in KINDS:
        found.append(f"there is no kind of event '{kind}'")
    if kind in TAKES_A_PLACE and (event.get("seq") != places or "arm_commit" not in event or not isinstance(event.get("levels"), dict)):
        found.append(f"it must take place {places} and carry its levels and an arm commitment")
    if kind == "epoch" and number != 1:
        found.append("an epoch starts with the first event")
    if not isinstance(event.get("at"), str) or event["at"] < last:
        found.append("its time lies before that of an earlier event")
    return found


def _shaped(ledger: Any) -> Mapping[str, Any]:
    """The ledger, once it has the parts of one."""
    _parts(ledger, "ledger", FORMAT, {"config": dict, "commit": str, "contribution": str, "public_key": str, "events": list, "heads": list})
    for name in ("commit", "contribution", "public_key"):
        _hex(ledger[name], f"ledger: {name}")
    for key in ("trial", "scheme", "epoch", "method", "arms"):
        if key not in ledger["config"]:
            raise ValueError(f"ledger: its configuration has no '{key}'")
    for head in ledger["heads"]:
        _parts(head, "head", None, {"i": int, "hash": str, "signature": str})
        if head["i"] < 0:
            raise ValueError("head: its number is below 0")
    found: Mapping[str, Any] = ledger
    return found


def _shaped_reveal(reveal: Any) -> Mapping[str, Any]:
    _parts(reveal, "reveal", REVEAL_FORMAT, {"master": str, "arms": dict})
    _hex(reveal["master"], "reveal: master")
    found: Mapping[str, Any] = reveal
    return found


def _parts(found: Any, name: str, form: str | None, parts: Mapping[str, type]) -> None:
    if not isinstance(found, dict) or (form and found.get("format") != form):
        raise ValueError(f"this is no {name}" + (f" of the format {form}" if form else ""))
    for key, kind in parts.items():
        if not isinstance(found.get(key), kind):
            raise ValueError(f"{name}: '{key}' is absent or not what it should be")


def _hex(text: str, name: str) -> None:
    try:
        bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"{name} is not hexadecimal") from None
