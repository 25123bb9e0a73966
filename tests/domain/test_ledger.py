"""Ledgers: what verifies, and everything that a verifier must find; escrow; counts that an epoch takes over."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialdm.domain.randomisation import escrow, ledger
from trialdm.domain.randomisation.carried import Carried
from trialdm.domain.randomisation.commitment import Keys
from trialdm.domain.randomisation.ledger import append, epoch_event, head_line, later_event, placing_event, start, verify
from trialdm.domain.randomisation.schemes import Allocator, stratum_of
from trialdm.store import keys as sealing

MASTER, CONTRIBUTION, SIGNING = bytes(range(32)), b"\x31\x41", bytes(range(32, 64))
FACTORS = [{"name": "limb", "levels": ["1", "2"], "weight": 2}, {"name": "site", "levels": ["S01", "S02"], "weight": 1}]
MINIMISED: dict[str, Any] = {
    "v": 1,
    "trial": "t",
    "scheme": "main",
    "epoch": 0,
    "method": "minimisation",
    "arms": [["A", 1], ["B", 2]],
    "imbalance": "range",
    "p": "4/5",
    "burn_in": 3,
    "factors": FACTORS,
}
METHODS: dict[str, dict[str, Any]] = {
    "minimisation": {},
    "as corrected": {"counts": "as_corrected"},
    "blocks": {"method": "pbr", "sizes": [3, 6]},
    "simple": {"method": "simple"},
    "urn": {"method": "urn", "w": 1, "alpha": 0, "beta": 1},
    "block urn": {"method": "blockurn", "lambda": 2},
    "list": {"method": "list"},
}


def made(config: dict[str, Any], count: int = 24, counts: Carried | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A ledger of this scheme with two signed heads, an envelope's allocation, a correction and an error; and its reveal."""
    keys = Keys(config, MASTER, CONTRIBUTION)
    allocator = Allocator(keys, counts.state(config)) if counts else Allocator(keys)
    head, events, heads, arms, placed = start(keys.genesis), [], [], {}, {}

    def add(event: dict[str, Any]) -> None:
        nonlocal head
        head = append(head, event)
        events.append(event)
        if len(events) in (5, count):
            line = head_line(config, head.events, head.hash.hex())
            heads.append({"i": head.events, "hash": head.hash.hex(), "at": event["at"], "signature": sealing.sign(SIGNING, line)})

    if counts:
        add(epoch_event(keys, at="2026-01-01T00", previous="ab" * 32, places=9, carried=counts))
    while len(events) < count:
        number = head.events + 1
        levels, at = {"limb": "12"[number % 3 == 0], "site": f"S0{1 + number % 2}"}, f"2026-01-01T00:{number:02d}"
        if number in (8, 12):
            kind, said = ("corrected", {"levels": {"limb": "2", "site": "S01"}}) if number == 8 else ("in_error", {"code": 1})
            about = min(placed)
            add(later_event(head, kind=kind, participant=f"P{about}", at=at, about=about, said=said))
            if config.get("counts"):
                ledger.recount(allocator, config, placed, events[-1])
            continue
        external = number == 6 or config["method"] == "list"
        values = list(levels.values())
        placed[number] = allocator.placed_elsewhere(values, "AB"[number % 2]) if external else allocator.next(values)
        arms[str(number)] = allocator.arm(placed[number])
        kind, stratum = ("external" if external else "allocated"), stratum_of(config, values)
        add(placing_event(keys, head, kind=kind, stratum=stratum, levels=levels, participant=f"P{number}", at=at, arm=arms[str(number)]))
        allocator.take(placed[number])
    whole = {
        "format": "trialdm-ledger/1",
        "config": config,
        "commit": keys.commit.hex(),
        "contribution": CONTRIBUTION.hex(),
        "public_key": sealing.public_key(SIGNING),
        "events": events,
        "heads": heads,
    }
    reveal = {"format": "trialdm-reveal/1", "master": MASTER.hex(), "arms": arms, **({"counts": counts.to_json()} if counts else {})}
    return json.loads(json.dumps(whole)), json.loads(json.dumps(reveal))


@pytest.mark.parametrize("method", METHODS)
def test_a_ledger_verifies_alone_and_with_its_reveal(method: str) -> None:
    whole, reveal = made({**MINIMISED, **METHODS[method]})
    alone = verify(whole, sealing.signed)
    assert (alone.faults, alone.events, alone.places, alone.heads, alone.revealed) == ((), 24, 22, 2, False)
    opened = verify(whole, sealing.signed, reveal=reveal)
    assert opened.faults == ()
    assert opened.derived + len(opened.external) == 22
    assert opened.derived == (0 if method == "list" else 21)


def test_no_arm_stands_in_a_ledger() -> None:
    whole, _ = made({**MINIMISED, "arms": [["Surgery", 1], ["Control", 2]]} | {"method": "simple"}, count=5)
    assert "Surgery" not in json.dumps(whole["events"])


Change = Callable[[dict[str, Any], dict[str, Any]], object]

#: What somebody did to the files -> the words that a verifier must find for it.
TAMPERED: dict[str, tuple[Change, str]] = {
    "a level changed": (lambda whole, _: whole["events"][1]["levels"].update(limb="2"), "do not lead to the hash that was signed"),
    "a participant changed": (lambda whole, _: whole["events"][3].update(participant="X"), "do not lead to the hash that was signed"),
    "an arm commitment changed": (lambda whole, _: whole["events"][0].update(arm_commit="0" * 64), "do not lead to the hash"),
    "an event taken out": (lambda whole, _: whole["events"].pop(9), "it has number 11: an event is absent, doubled or moved"),
    "two events swapped": (lambda whole, _: whole["events"].insert(3, whole["events"].pop(4)), "absent, doubled or moved"),
    "an event doubled": (lambda whole, _: whole["events"].insert(3, whole["events"][3]), "absent, doubled or moved"),
    "the end cut off": (lambda whole, _: whole["events"].__delitem__(slice(20, None)), "it was cut off"),
    "an earlier time": (lambda whole, _: whole["events"][-1].update(at="2020-01-01"), "before that of an earlier event"),
    "an unknown kind": (lambda whole, _: whole["events"][-1].update(kind="undone"), "there is no kind of event 'undone'"),
    "a number with a point": (lambda whole, _: whole["events"][-1].update(seq=1.5), "this is no event"),
    "the probability changed": (lambda whole, _: whole["config"].update(p="9/10"), "do not lead to the hash that was signed"),
    "another contribution": (lambda whole, _: whole.update(contribution="00"), "do not lead to the hash that was signed"),
    "another commitment": (lambda whole, _: whole.update(commit="00" * 32), "do not lead to the hash that was signed"),
    "a signature changed": (lambda whole, _: whole["heads"][0].update(signature="00" * 64), "the signature does not fit"),
    "another public key": (lambda whole, _: whole.update(public_key="00" * 32), "the signature does not fit"),
    "no hex for a signature": (lambda whole, _: whole["heads"][0].update(signature="zz"), "the signature does not fit"),
    "another master": (lambda _, reveal: reveal.update(master="00" * 32), "not the one that was committed to"),
    "an arm changed": (lambda _, reveal: reveal["arms"].update({"1": "BA"["BA".index(reveal["arms"]["1"]) - 1]}), "committed to"),
    "an arm left out": (lambda _, reveal: reveal["arms"].pop("2"), "the reveal names no arm of the scheme for it"),
    "an arm too many": (lambda _, reveal: reveal["arms"].update({"99": "A"}), "it names an arm for event 99"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_named(what: str) -> None:
    whole, reveal = made(MINIMISED)
    change, words = TAMPERED[what]
    change(whole, reveal)
    found = verify(whole, sealing.signed, reveal=reveal)
    assert not found.holds
    assert any(words in message for _, message in found.faults), found.faults


def test_an_allocation_that_the_rule_did_not_make_is_found_although_everything_was_signed_again() -> None:
    """Whoever holds all keys can write another arm, commit to it and sign: the derivation still says otherwise."""
    whole, reveal = made({**MINIMISED, "method": "simple"}, count=4)
    keys = Keys(whole["config"], MASTER, CONTRIBUTION)
    other = "B" if reveal["arms"]["2"] == "A" else "A"
    reveal["arms"]["2"] = other
    whole["events"][1]["arm_commit"] = keys.arm_commitment(2, other)
    head = start(keys.genesis)
    for event in whole["events"]:
        head = append(head, event)
    signature = sealing.sign(SIGNING, head_line(whole["config"], 4, head.hash.hex()))
    whole["heads"] = [{"i": 4, "hash": head.hash.hex(), "at": "", "signature": signature}]
    found = verify(whole, sealing.signed, reveal=reveal)
    assert found.faults == (("event 2", "the arm that the rule gives here is another one: this allocation was not made by the rule"),)


def test_a_ledger_cut_off_together_with_its_heads_is_found_by_a_head_that_was_noted() -> None:
    whole, _ = made(MINIMISED)
    noted = whole["heads"][-1]["hash"]
    assert verify(whole, sealing.signed, noted=[noted]).holds
    short = copy.deepcopy(whole)
    del short["events"][5:], short["heads"][1:]
    assert verify(short, sealing.signed).holds
    assert "was cut off or rewritten" in verify(short, sealing.signed, noted=[noted]).faults[0][1]


def test_another_ledger_with_a_key_of_its_own_is_found_by_what_was_noted_at_the_start() -> None:
    whole, reveal = made(MINIMISED)
    commit, key = whole["commit"], whole["public_key"]
    found = verify(whole, sealing.signed, reveal=reveal, commit=commit.upper(), public_key=key.upper())
    assert (found.faults, found.commit, found.public_key) == ((), commit, key)
    assert {"commit": commit, "public_key": key}.items() <= found.to_json().items()
    (fault,) = verify(whole, sealing.signed, commit="00" * 32, public_key=key).faults
    assert (fault[0], commit in fault[1], "00" * 32 in fault[1]) == ("commitment", True, True)
    (fault,) = verify(whole, sealing.signed, commit=commit, public_key="00" * 32).faults
    assert (fault[0], key in fault[1], "00" * 32 in fault[1]) == ("public key", True, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole, reveal: whole.pop("events"), "ledger: 'events' is absent"),
        (lambda whole, reveal: whole.update(format="other/1"), "no ledger of the format trialdm-ledger/1"),
        (lambda whole, reveal: whole["config"].pop("arms"), "its configuration has no 'arms'"),
        (lambda whole, reveal: whole.update(commit="xyz"), "ledger: commit is not hexadecimal"),
        (lambda whole, reveal: whole["heads"].append({"i": "1"}), "head: 'i' is absent"),
        (lambda whole, reveal: reveal.pop("arms"), "reveal: 'arms' is absent"),
        (lambda whole, reveal: reveal.update(format="trialdm-ledger/1"), "this is no reveal"),
    ],
)
def test_what_is_no_ledger_is_said_to_be_none(change: Change, message: str) -> None:
    whole, reveal = made(MINIMISED, count=6)
    change(whole, reveal)
    with pytest.raises(ValueError, match=message):
        verify(whole, sealing.signed, reveal=reveal)


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_an_epoch_takes_over_the_counts_and_verifies_with_them() -> None:
    past = [({"limb": "1", "site": "S01"}, "A"), ({"limb": "1", "site": "S01"}, "B"), ({"limb": "2", "site": "S02"}, "B")]
    config = {**MINIMISED, "epoch": 1, "p": "9/10"}
    counts = Carried.counted(config, past)
    assert counts.margins["min"] == {"limb|1": {"A": 1, "B": 1}, "site|S01": {"A": 1, "B": 1}, "limb|2": {"B": 1}, "site|S02": {"B": 1}}
    assert counts.state(config).margins["min"].totals == [1, 1, 1]
    whole, reveal = made(config, counts=counts)
    assert verify(whole, sealing.signed, reveal=reveal).faults == ()
    reveal["counts"]["strata"]["min"]["A"] = 7
    assert "not those with which this epoch was started" in verify(whole, sealing.signed, reveal=reveal).faults[0][1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"arms": [["A", 1], ["C", 1]]}, {"A": 1}),
        ({"factors": [FACTORS[0], {"name": "site", "levels": ["S02"], "weight": 1}]}, {"A": 1, "B": 2}),
        ({"factors": [{"name": "new", "levels": ["x"], "weight": 1}]}, {"A": 1, "B": 2}),
    ],
    ids=["an arm dropped", "a level gone", "another factor"],
)
def test_who_fits_nowhere_in_the_new_configuration_is_not_counted_there(change: dict[str, Any], expected: dict[str, int]) -> None:
    past = [({"limb": "1", "site": "S01"}, "A"), ({"limb": "1", "site": "S01"}, "B"), ({"limb": "2", "site": "S02"}, "B")]
    assert Carried.counted({**MINIMISED, **change}, past).strata["min"] == expected


# --- escrow ----------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
@settings(max_examples=30)
def test_two_shares_give_the_master_back_and_one_says_nothing(master: bytes, random: bytes) -> None:
    first, second = escrow.split(master, random)
    assert escrow.join(first, second) == escrow.join(second, first) == master
    assert first == random
    text = f"# share 1 of 2\n{escrow.written(second)}\n"
    assert escrow.read(text.upper().replace("# SHARE", "# share")) == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"), "copied wrongly"),
        (lambda text: ("0" if text[0] != "0" else "1") + text[1:], "copied wrongly"),
        (lambda text: text[:-9], "a share has 72 hexadecimal digits, this one has 64"),
        (lambda text: "not a share", "written in hexadecimal"),
    ],
)
def test_a_share_that_was_copied_wrongly_is_found(change: Callable[[str], str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        escrow.read(change(escrow.written(bytes(range(32)))))


def test_a_share_must_be_as_long_as_the_master() -> None:
    with pytest.raises(ValueError, match="as long as the master"):
        escrow.split(bytes(32), bytes(31))
