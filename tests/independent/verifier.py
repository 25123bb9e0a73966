"""A second verifier of ledgers and reveals, written from the description of the allocation protocol v1 alone.

It shares no code with the package: `python -m tests.independent.verifier LEDGER [REVEAL]`.
"""

import hashlib
import hmac
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TAKES_A_PLACE = ("allocated", "external")


# --- notation --------------------------------------------------------------------------------------------------------


def u32(x: int) -> bytes:
    return x.to_bytes(4, "big")


def u64(x: int) -> bytes:
    return x.to_bytes(8, "big")


def lp(*parts: bytes | str) -> bytes:
    """Each part with its length before it."""
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(u32(len(part)) + part for part in raw)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def canonical(x: Any) -> bytes:
    """RFC 8785 for what the protocol allows."""
    if x is None or isinstance(x, bool | str):
        return json.dumps(x, ensure_ascii=False).encode()
    if isinstance(x, int):
        return str(x).encode()
    if isinstance(x, list):
        return b"[" + b",".join(map(canonical, x)) + b"]"
    if isinstance(x, dict):
        names = sorted(x, key=lambda name: name.encode("utf-16-be"))
        return b"{" + b",".join(canonical(name) + b":" + canonical(x[name]) for name in names) + b"}"
    raise ValueError(f"{type(x).__name__} has no place in canonical JSON")


# --- keys and draws --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """Everything that follows from the master, the contribution and the configuration."""

    config: Mapping[str, Any]
    m: bytes
    b: bytes = b""

    @property
    def c(self) -> bytes:
        return sha(canonical(self.config))

    @property
    def commit(self) -> bytes:
        return sha(lp("trial-rand/commit/v1", self.m, self.c))

    @property
    def root(self) -> bytes:
        return expand(mac(self.b or bytes(32), self.m), b"trial-rand/v1" + self.c)

    def stratum(self, label: str) -> bytes:
        return expand(self.root, lp("stratum", label))

    def nonce(self, i: int) -> bytes:
        return mac(expand(self.root, lp("nonce")), u64(i))

    @property
    def genesis(self) -> bytes:
        return genesis(self.config, self.commit, self.b)


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand to 32 bytes, which is one block."""
    return mac(key, info + b"\x01")


def genesis(config: Mapping[str, Any], commit: bytes, b: bytes) -> bytes:
    return sha(lp("trial-rand/genesis/v1", sha(canonical(config)), commit, b))


def uniform(key: bytes, ctx: bytes, n: int) -> int:
    limit = 2**64 - 2**64 % n
    j = 0
    while True:
        x = int.from_bytes(mac(key, lp("draw", ctx, u32(j)))[:8], "big")
        if x < limit:
            return x % n
        j += 1


def cumulative(weights: Sequence[int], draw: int) -> int:
    """The place into which the draw falls."""
    for place, weight in enumerate(weights):
        if draw < weight:
            return place
        draw -= weight
    raise ValueError("the draw lies beyond the weights")


# --- deriving --------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """An allocation as the counts have it: which fake arm, in which stratum, at which levels."""

    fake: int
    stratum: str
    levels: dict[str, str]
    counted: bool = True


@dataclass
class Deriver:
    """Derives one arm after the other, from the configuration, the keys, and what happened so far."""

    keys: Keys
    carried: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.keys.config
        self.config = config
        self.arms: list[str] = [code for code, _ in config["arms"]]
        self.ratios: list[int] = [ratio for _, ratio in config["arms"]]
        self.fakes: list[int] = [arm for arm, ratio in enumerate(self.ratios) for _ in range(ratio)]
        self.r = len(self.fakes)
        self.method: str = config["method"]
        self.factors: list[dict[str, Any]] = config.get("factors", [])
        self.seq = 0
        self.slots: Counter[str] = Counter()
        self.places: dict[int, Place] = {}

    def stratum(self, levels: Mapping[str, str]) -> str:
        """The stratum of a participant as the configuration has it."""
        if self.method == "simple":
            return "simple"
        if self.method == "minimisation":
            held = self.config.get("strata", [])
            return "|".join(levels[f["name"]] for f in self.factors if f["name"] in held) if held else "min"
        return "|".join(levels[f["name"]] for f in self.factors)

    # counts

    def spread(self, by_arm: Mapping[str, int]) -> list[int]:
        """An arm's count spread evenly over its fake arms, first ones first."""
        out: list[int] = []
        for code, ratio in zip(self.arms, self.ratios, strict=True):
            each, left = divmod(by_arm.get(code, 0), ratio)
            out += [each + (place < left) for place in range(ratio)]
        return out

    def totals(self, stratum: str) -> list[int]:
        out = self.spread(self.carried.get("strata", {}).get(stratum, {}))
        for place in self.places.values():
            if place.counted and place.stratum == stratum:
                out[place.fake] += 1
        return out

    def margin(self, stratum: str, factor: str, level: str) -> list[int]:
        out = self.spread(self.carried.get("margins", {}).get(stratum, {}).get(f"{factor}|{level}", {}))
        for place in self.places.values():
            if place.counted and place.stratum == stratum and place.levels.get(factor) == level:
                out[place.fake] += 1
        return out

    def by_arm(self, counts: Sequence[int]) -> list[int]:
        out = [0] * len(self.arms)
        for fake, n in enumerate(counts):
            out[self.fakes[fake]] += n
        return out

    # what happens

    def allocated(self, i: int, levels: Mapping[str, str]) -> str:
        """The arm of event i."""
        stratum = self.stratum(levels)
        fake = self.draw(stratum, levels)
        self._took(i, fake, stratum, levels)
        return self.arms[self.fakes[fake]]

    def external(self, i: int, levels: Mapping[str, str], arm: str) -> None:
        """An arm that came from outside takes a place."""
        which = self.arms.index(arm)
        own = [fake for fake in range(self.r) if self.fakes[fake] == which]
        fake = own[uniform(self.keys.stratum("min"), lp("ext", u64(self.seq)), len(own))]
        self._took(i, fake, self.stratum(levels), levels)

    def _took(self, i: int, fake: int, stratum: str, levels: Mapping[str, str]) -> None:
        self.places[i] = Place(fake, stratum, dict(levels))
        self.slots[stratum] += 1
        self.seq += 1

    def corrected(self, about: int, levels: Mapping[str, str]) -> None:
        if self.config.get("counts") == "as_corrected" and about in self.places:
            place = self.places[about]
            place.levels = dict(levels)
            place.stratum = self.stratum(levels)

    def in_error(self, about: int) -> None:
        if self.config.get("counts") == "as_corrected" and about in self.places:
            self.places[about].counted = False

    # the methods

    def draw(self, stratum: str, levels: Mapping[str, str]) -> int:
        """The fake arm of the participant who takes the next place."""
        if self.method == "simple":
            return self.simple()
        if self.method == "pbr":
            return self.block(stratum)
        if self.method == "minimisation":
            return self.minimise(stratum, levels)
        if self.method in ("efron", "bigstick", "chen"):
            return self.coin(stratum)
        if self.method == "urn":
            counts, total = self.totals(stratum), sum(self.totals(stratum))
            w, alpha, beta = (self.config[name] for name in ("w", "alpha", "beta"))
            balls = [w + alpha * own + beta * (total - own) for own in counts]
            return self.from_urn(stratum, balls if sum(balls) else [1] * self.r)
        if self.method == "blockurn":
            counts = self.by_arm(self.totals(stratum))
            k = min(n // ratio for n, ratio in zip(counts, self.ratios, strict=True))
            lam = self.config["lambda"]
            balls = [max(0, lam * r + k * r - n) for n, r in zip(counts, self.ratios, strict=True)]
            arm = self.from_urn(stratum, balls)
            return self.least_used(stratum, arm)
        raise NotImplementedError(f"the description says nothing of the method {self.method}")

    def least_used(self, stratum: str, arm: int) -> int:
        counts = self.totals(stratum)
        return min((fake for fake in range(self.r) if self.fakes[fake] == arm), key=lambda fake: (counts[fake], fake))

    def simple(self) -> int:
        return uniform(self.keys.stratum("simple"), lp("simple", u64(self.seq)), self.r)

    def from_urn(self, stratum: str, balls: Sequence[int]) -> int:
        draw = uniform(self.keys.stratum(stratum), lp(self.method, u64(self.slots[stratum])), sum(balls))
        return cumulative(balls, draw)

    def block(self, stratum: str) -> int:
        key, slot, b = self.keys.stratum(stratum), self.slots[stratum], 0
        while True:
            size = self.size(key, b)
            if slot < size:
                break
            slot, b = slot - size, b + 1
        block = [fake for fake in range(self.r) for _ in range(size // self.r)]
        for i in range(size - 1, 0, -1):
            j = uniform(key, lp("perm", u32(b), u32(i)), i + 1)
            block[i], block[j] = block[j], block[i]
        return block[slot]

    def size(self, key: bytes, b: int) -> int:
        sizes: list[int] = self.config["sizes"]
        weights = self.config.get("size_weights") or [1] * len(sizes)
        return sizes[cumulative(weights, uniform(key, lp("size", u32(b)), sum(weights)))]

    def coin(self, stratum: str) -> int:
        first, second = self.totals(stratum)
        ahead = first - second
        p = Fraction(1, 2) if self.method == "bigstick" or not ahead else Fraction(self.config["p"])
        favoured = 1 if ahead > 0 else 0
        if self.method != "efron" and abs(ahead) >= self.config["mti"]:
            return favoured
        draw = uniform(self.keys.stratum(stratum), lp(self.method, u64(self.slots[stratum])), p.denominator)
        return favoured if draw < p.numerator else 1 - favoured

    def minimise(self, stratum: str, levels: Mapping[str, str]) -> int:
        if self.slots[stratum] < self.config.get("burn_in", 0):
            return self.simple()
        scores = self.scores(stratum, levels)
        key, seq = self.keys.stratum("min"), u64(self.seq)
        if self.config.get("p_ranks"):
            order = list(range(self.r))
            for i in range(self.r - 1, 0, -1):
                j = uniform(key, lp("rank", seq, u32(i)), i + 1)
                order[i], order[j] = order[j], order[i]
            order.sort(key=lambda fake: scores[fake])
            chances = [Fraction(p) for p in self.config["p_ranks"]]
            common = math.lcm(*(p.denominator for p in chances))
            return order[cumulative([int(p * common) for p in chances], uniform(key, lp("coin", seq), common))]
        best = [fake for fake in range(self.r) if scores[fake] == min(scores)]
        favoured = best[uniform(key, lp("tie", seq), len(best))] if len(best) > 1 else best[0]
        if len(best) == self.r:
            return favoured
        p = Fraction(self.config["p"])
        if uniform(key, lp("coin", seq), p.denominator) < p.numerator:
            return favoured
        others = [fake for fake in range(self.r) if fake != favoured]
        return others[uniform(key, lp("rest", seq), self.r - 1)]

    def scores(self, stratum: str, levels: Mapping[str, str]) -> list[Fraction]:
        held = self.config.get("strata", [])
        terms = [(f["weight"], self.margin(stratum, f["name"], levels[f["name"]])) for f in self.factors if f["name"] not in held]
        if self.config.get("overall"):
            terms.append((self.config["overall"], self.totals(stratum)))
        return [sum((w * self.spreading(one_higher(counts, t)) for w, counts in terms), Fraction(0)) for t in range(self.r)]

    def spreading(self, counts: Sequence[int]) -> Fraction:
        """D, exactly."""
        measure = self.config["imbalance"]
        if measure == "range":
            return Fraction(max(counts) - min(counts))
        if measure == "marginal":
            apart = sum(abs(x - y) for n, x in enumerate(counts) for y in counts[:n])
            return Fraction(apart, (len(counts) - 1) * sum(counts))
        mean = Fraction(sum(counts), len(counts))
        variance = sum(((n - mean) ** 2 for n in counts), Fraction(0)) / (len(counts) - 1)
        return variance if measure == "variance" else Fraction(math.isqrt(math.floor(variance * 10**40)))


def one_higher(counts: Sequence[int], t: int) -> list[int]:
    return [n + (place == t) for place, n in enumerate(counts)]


# --- verifying -------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What was found: faults as (what, where), and which events could not be derived."""

    faults: list[tuple[str, int]] = field(default_factory=list)
    derived: int = 0
    not_derived: list[int] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.faults

    @property
    def kinds(self) -> set[str]:
        return {what for what, _ in self.faults}


def hashes(file: Mapping[str, Any]) -> list[bytes]:
    """h_0 and the hash after each event."""
    out = [genesis(file["config"], bytes.fromhex(file["commit"]), bytes.fromhex(file["contribution"]))]
    for event in file["events"]:
        out.append(sha(lp(out[-1], canonical(event))))
    return out


#: A ledger and its reveal.
Opened = tuple[Mapping[str, Any], Mapping[str, Any]]


def verify(file: Mapping[str, Any], reveal: Mapping[str, Any] | None = None, before: Sequence[Opened] = ()) -> Report:
    """Chain and signatures; with the reveal also commitment, arm commitments and arms.

    With the epochs `before` (each with its reveal, the oldest first) also the link to the last of them, and the counts.
    """
    report = Report()
    if file["format"] != "trialdm-ledger/1":
        report.faults.append(("format", 0))
    report.faults += chain(file)
    if before:
        report.faults += linked(file, before[-1][0])
        if reveal is not None and reveal.get("counts") != carried_over(file, before):
            report.faults.append(("history", 1))
    if reveal is not None:
        opened(file, reveal, report)
    return report


def linked(file: Mapping[str, Any], previous: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The first event names a hash of the previous epoch, after which that one took no place any more."""
    first = file["events"][0] if file["events"] else {}
    names = [digest.hex() for digest in hashes(previous)]
    if first.get("kind") != "epoch" or first.get("previous") not in names:
        yield "link", 1
        return
    upto = names.index(first["previous"])
    takes = [event["kind"] in TAKES_A_PLACE for event in previous["events"]]
    if sum(takes) != sum(takes[:upto]) or first["places"] != sum(takes):
        yield "link", 1


def carried_over(file: Mapping[str, Any], before: Sequence[Opened]) -> dict[str, Any]:
    """The counts with which an epoch starts, counted from the epochs before it as its own configuration sees them.

    Whoever has no level of a factor is not counted there; an arm that is not in the configuration is counted nowhere.
    """
    config, start = file["config"], file["events"][0]["at"]
    factors, codes = config.get("factors", []), [code for code, _ in config["arms"]]
    minimised, held = config["method"] == "minimisation", config.get("strata", [])
    strata: dict[str, Counter[str]] = defaultdict(Counter)
    margins: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for earlier, reveal in before:
        for levels, arm in places_of(earlier, reveal, start):
            known = {f["name"]: level if (level := levels.get(f["name"], "")) in f["levels"] else "" for f in factors}
            if arm not in codes:
                continue
            label = "|".join(known[name] for name in known if not minimised or name in held)
            stratum = "simple" if config["method"] == "simple" else "min" if minimised and not held else label
            if minimised:
                cells = margins[stratum]
                for name, level in known.items():
                    if level:
                        cells[f"{name}|{level}"][arm] += 1
            if minimised or config["method"] == "simple" or all(known.values()):
                strata[stratum][arm] += 1
    return {
        "strata": {stratum: dict(counts) for stratum, counts in strata.items()},
        "margins": {stratum: {cell: dict(counts) for cell, counts in cells.items()} for stratum, cells in margins.items()},
    }


def places_of(file: Mapping[str, Any], reveal: Mapping[str, Any], until: str) -> Iterator[tuple[dict[str, str], str]]:
    """Levels and arm of every place of an epoch that counted at a moment."""
    levels: dict[int, dict[str, str]] = {}
    follows = file["config"].get("counts") == "as_corrected"
    for event in file["events"]:
        if event["kind"] in TAKES_A_PLACE:
            levels[event["i"]] = event["levels"]
        elif follows and event["at"] <= until and event.get("about") in levels:
            if event["kind"] == "in_error":
                del levels[event["about"]]
            elif event["kind"] == "corrected":
                levels[event["about"]] = event["levels"]
    return ((found, reveal["arms"][str(i)]) for i, found in levels.items())


def chain(file: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Numbers and places without a gap, and every signed head on the chain, the last one at its end."""
    seq = 0
    for i, event in enumerate(file["events"], 1):
        if event["i"] != i:
            yield "number", i
        takes = event["kind"] in TAKES_A_PLACE
        if takes and event.get("seq") != seq:
            yield "seq", i
        seq += takes
        if takes and not event.get("arm_commit"):
            yield "arm_commit", i
    after = hashes(file)
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(file["public_key"]))
    config = file["config"]
    for head in file["heads"]:
        i = head["i"]
        line = f"trialdm-ledger/1 {config['trial']} {config['scheme']} {config['epoch']} {i} {head['hash']}"
        try:
            key.verify(bytes.fromhex(head["signature"]), line.encode("ascii"))
        except InvalidSignature:
            yield "signature", i
        if i >= len(after) or after[i].hex() != head["hash"]:
            yield "chain", i
    if file["events"] and (not file["heads"] or file["heads"][-1]["i"] != len(file["events"])):
        yield "unsigned", len(file["events"])


def opened(file: Mapping[str, Any], reveal: Mapping[str, Any], report: Report) -> None:
    """What the master says about a ledger."""
    keys = Keys(file["config"], bytes.fromhex(reveal["master"]), bytes.fromhex(file["contribution"]))
    if keys.commit.hex() != file["commit"]:
        report.faults.append(("commitment", 0))
    arms: Mapping[str, str] = reveal["arms"]
    carried: Mapping[str, Any] = {}
    opening = [event for event in file["events"] if event["kind"] == "epoch"]
    if opening:
        carried = reveal.get("counts", {})
        if sha(lp(keys.nonce(1), canonical(carried))).hex() != opening[0]["counts_commit"]:
            report.faults.append(("counts", 1))
    deriver = Deriver(keys, carried)
    for event in file["events"]:
        i, kind = event["i"], event["kind"]
        if kind in TAKES_A_PLACE:
            named = arms.get(str(i), "")
            if sha(lp(keys.nonce(i), named)).hex() != event["arm_commit"]:
                report.faults.append(("arm_commit", i))
        if kind == "external":
            report.not_derived.append(i)
            if named in deriver.arms:
                deriver.external(i, event["levels"], named)
            else:
                report.faults.append(("arm", i))
        elif kind == "allocated":
            if event["stratum"] != deriver.stratum(event["levels"]):
                report.faults.append(("stratum", i))
            if deriver.allocated(i, event["levels"]) != named:
                report.faults.append(("arm", i))
            report.derived += 1
        elif kind == "corrected":
            deriver.corrected(event["about"], event["levels"])
        elif kind == "in_error":
            deriver.in_error(event["about"])
    if {str(event["i"]) for event in file["events"] if event["kind"] in TAKES_A_PLACE} != set(arms):
        report.faults.append(("arms", 0))


def main(ledger: str, *reveal: str) -> int:
    """Say what was found about the files of these names."""
    files = [json.loads(Path(name).read_text("utf-8")) for name in (ledger, *reveal)]
    report = verify(files[0], *files[1:])
    for what, where in report.faults:
        sys.stdout.write(f"{what}: event {where}\n")
    sys.stdout.write(f"{len(files[0]['events'])} events, {report.derived} derived, {len(report.faults)} faults\n")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
