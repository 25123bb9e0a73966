"""Two programs, one description: the second verifier agrees with the vectors, with the program's ledgers, and about every fault."""

import ast
import copy
import json
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.builders import ROOT, TRIAL, World
from tests.independent import verifier
from tests.independent.verifier import Deriver, Keys, canonical, lp, mac, u32, u64, uniform
from trialdm.definitions import sources
from trialdm.domain.randomisation import commitment, ledger
from trialdm.domain.randomisation.carried import Carried
from trialdm.domain.randomisation.schemes import METHODS, Allocator, Placed
from trialdm.services import allocations, corrections, envelopes, epochs, ledgers, studies, unblinding
from trialdm.services.unit import SYSTEM
from trialdm.store import keys as sealing

M, B = bytes(range(32)), b"\xab" * 32


def test_the_second_verifier_shares_no_code_with_the_package() -> None:
    allowed = {"cryptography", *sys.stdlib_module_names}
    tree = ast.parse(Path(verifier.__file__).read_text("utf-8"))
    found = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    found |= {(node.module or ".").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found <= allowed
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"__import__", "exec", "eval"}


# --- the vectors of the description ----------------------------------------------------------------------------------

BLOCKS: dict[str, Any] = {"arms": [["A", 1], ["B", 1]], "method": "pbr", "sizes": [2, 4, 6], "v": 1}
MINIMISED: dict[str, Any] = {
    "arms": [["TMR", 1], ["STD", 1]],
    "burn_in": 2,
    "epoch": 0,
    "factors": [
        {"levels": ["lower", "upper"], "name": "limb", "weight": 2},
        {"levels": ["vascular", "trauma", "cancer"], "name": "cause", "weight": 1},
    ],
    "imbalance": "range",
    "method": "minimisation",
    "p": "4/5",
    "scheme": "main",
    "trial": "example",
    "v": 1,
}
FIRST, SECOND = Keys(BLOCKS, M, B), Keys(MINIMISED, M, B)
UPPER, MIN = FIRST.stratum("upper|trauma"), FIRST.stratum("min")

VECTORS: dict[str, tuple[bytes, str]] = {
    "1: C": (verifier.sha(canonical(BLOCKS)), "1bc6004dcca52679fb68e9e192f296eb4777ee7d979201bb2022596a93f4ac03"),
    "1: commit": (FIRST.commit, "b33ec6739c708836d9a742529590bdada4ee6fc02d8fd46af46638afc2685a96"),
    "1: root": (FIRST.root, "8a53da03e42e5dcb7a7c1942ebaecedfd003d3be48431721a38324360ab46337"),
    "1: K(upper|trauma)": (UPPER, "35d684252063046a010039d73eee6e6d795f2006b976332fc8914a6d05e4f0e4"),
    "1: first HMAC": (mac(UPPER, lp("draw", "0", u32(0))), "90857234ac2812891d7018d39841ec51f6a1cad7359588a3c6ffc2138eb2821a"),
    "2: C": (SECOND.c, "a2900eff6360c9a312aafc33373f70d212a22624480beaaece206111d04e3926"),
    "2: commit": (SECOND.commit, "02def707becd23c356e7ae67235bba329b495e6ac6ed909b7238a6fa352ee5fe"),
    "2: root": (SECOND.root, "f9d1393c520d0de1bdb58c1c9d7a9e2c7f298913f0b33643578dec6dfffb71e8"),
    "2: h_0": (SECOND.genesis, "71123845a2fb5b7b60b7e25eeee181e2218d011f367e82813f4372c992f642f8"),
    "2: nonce(1)": (SECOND.nonce(1), "631beb33f7329bac40fdea617bcf96884d551dad87a45326c00e008a4225d134"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_values_of_the_vectors(name: str) -> None:
    found, expected = VECTORS[name]
    assert found.hex() == expected


def test_draws_of_the_vectors() -> None:
    assert [uniform(UPPER, str(i).encode(), 10) for i in range(12)] == [5, 8, 6, 8, 9, 8, 9, 3, 8, 9, 9, 3]
    assert [uniform(MIN, lp("coin", u64(seq)), 5) for seq in range(12)] == [0, 2, 3, 3, 4, 4, 3, 0, 2, 0, 1, 4]
    assert [uniform(MIN, lp("tie", u64(seq)), 2) for seq in range(12)] == [0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0]


def test_allocations_of_vector_1() -> None:
    named = Deriver(FIRST)
    named.stratum = lambda levels: "upper|trauma"  # type: ignore[method-assign]
    assert "".join(named.allocated(i, {}) for i in range(1, 25)) == "BABABAABABABABBAABBAABBA"


def test_allocations_of_vector_2() -> None:
    people = (
        "lower/vascular upper/trauma lower/cancer upper/trauma lower/cancer upper/vascular lower/cancer upper/vascular lower/trauma "
        "upper/vascular lower/trauma upper/cancer lower/trauma upper/cancer lower/vascular upper/cancer lower/vascular upper/trauma "
        "lower/vascular upper/trauma lower/cancer upper/trauma lower/cancer upper/vascular"
    )
    expected = "STD STD TMR TMR TMR TMR STD STD STD TMR TMR STD STD STD TMR TMR STD TMR TMR STD STD TMR TMR STD"
    deriver = Deriver(SECOND)
    named = [dict(zip(("limb", "cause"), text.split("/"), strict=True)) for text in people.split()]
    assert [deriver.allocated(i, levels) for i, levels in enumerate(named, 1)] == expected.split()


def test_the_published_table_of_the_block_urn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zhao and Weng 2011, table 1: lambda 3, 1:1; a published uniform u stands for floor(u x n)."""
    uniforms = iter([4026, 5654, 927, 3080, 7758, 9219, 6115, 8604, 4848, 7746, 2345, 8507, 661, 2630])
    monkeypatch.setattr(verifier, "uniform", lambda key, ctx, n: next(uniforms) * n // 10_000)
    deriver = Deriver(Keys({"arms": [["A", 1], ["B", 1]], "method": "blockurn", "lambda": 3, "v": 1}, M, B))
    assert "".join(deriver.allocated(i, {}) for i in range(1, 15)) == "ABAABBBBABABAA"


CANONICAL: list[tuple[Any, str]] = [
    ({"b": 1, "a": [True, False, None]}, '{"a":[true,false,null],"b":1}'),
    ({"é": 'Zoë "x" \\ \n\u0001'}, '{"é":"Zoë \\"x\\" \\\\ \\n\\u0001"}'),
    ({"levels": {"site": "S01", "limb": "1"}, "levels2": {}}, '{"levels":{"limb":"1","site":"S01"},"levels2":{}}'),
    ({"10": 1, "9": -2, "": 0}, '{"":0,"10":1,"9":-2}'),
]


@pytest.mark.parametrize(("value", "text"), CANONICAL)
def test_both_programs_write_the_same_canonical_json(value: Any, text: str) -> None:
    assert canonical(value).decode() == commitment.canonical(value).decode() == text


def test_canonical_json_sorts_names_by_their_utf_16_code_units_as_rfc_8785_says() -> None:
    """U+1F600 is written with the surrogate D83D, which stands before U+FB33."""
    value = {"\ufb33": 1, "\U0001f600": 2}
    assert canonical(value).decode() == '{"\U0001f600":2,"\ufb33":1}'
    assert canonical(value) == commitment.canonical(value)


# --- any configuration, any history ----------------------------------------------------------------------------------

FRACTIONS = st.sampled_from(["1/2", "2/3", "3/4", "4/5", "1", "8/10"])


@st.composite
def configurations(draw: st.DrawFn, method: str) -> dict[str, Any]:
    """A configuration of this method with random arms, ratios, factors and parameters."""
    ratios = [1, 1] if METHODS[method].two_equal_arms else draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    shares = sum(ratios)
    factors = [
        {"name": f"f{i}", "levels": [str(level) for level in range(draw(st.integers(2, 3)))]} for i in range(draw(st.integers(0, 3)))
    ]
    parameters: dict[str, Any] = {
        "simple": {},
        "pbr": {"sizes": [shares * n for n in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))]},
        "minimisation": {"imbalance": draw(st.sampled_from(["range", "variance", "sd", "marginal"]))},
        "efron": {"p": draw(FRACTIONS)},
        "bigstick": {"mti": draw(st.integers(1, 4))},
        "chen": {"mti": draw(st.integers(1, 4)), "p": draw(FRACTIONS)},
        "urn": {"w": draw(st.integers(0, 2)), "alpha": draw(st.integers(0, 2)), "beta": draw(st.integers(0, 3))},
        "blockurn": {"lambda": draw(st.integers(1, 4))},
    }[method]
    if method == "pbr" and draw(st.booleans()):
        parameters["size_weights"] = draw(st.lists(st.integers(1, 4), min_size=len(parameters["sizes"]), max_size=len(parameters["sizes"])))
    if method == "minimisation":
        factors = factors or [{"name": "f0", "levels": ["0", "1"]}]
        for factor in factors:
            factor["weight"] = draw(st.integers(0, 3))
        parameters |= draw(st.sampled_from([{}, {"burn_in": 3}, {"overall": 2}, {"burn_in": 2, "overall": 1}]))
        parameters |= draw(st.sampled_from([{}, {"counts": "as_corrected"}]))
        if len(factors) > 1:
            parameters["strata"] = draw(st.sampled_from([[], ["f0"], ["f1"], [f["name"] for f in factors[1:]]]))
        ranked = [f"{2 * (shares - k)}/{shares * (shares + 1)}" for k in range(shares)]
        parameters |= draw(st.sampled_from([{"p": draw(FRACTIONS)}, {"p_ranks": ranked}]))
    arms = [["ABCD"[i], ratio] for i, ratio in enumerate(ratios)]
    base = {"v": 1, "trial": "t", "scheme": "main", "epoch": 0, "method": method, "arms": arms}
    return {**base, **parameters, **({"factors": factors} if factors else {})}


def levels_for(draw: st.DrawFn, config: Mapping[str, Any]) -> dict[str, str]:
    return {factor["name"]: draw(st.sampled_from(factor["levels"])) for factor in config.get("factors", [])}


DERIVED = ["simple", "pbr", "minimisation", "efron", "bigstick", "chen", "urn", "blockurn"]


@pytest.mark.parametrize("method", DERIVED)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_both_derive_the_same_arms_from_any_configuration_and_history(method: str, data: st.DataObject) -> None:
    """Allocations, allocations made elsewhere, corrections and errors, after counts that an earlier epoch left."""
    config = data.draw(configurations(method))
    master, contribution = data.draw(st.binary(min_size=32, max_size=32)), data.draw(st.sampled_from([b"", B, b"\x01"]))
    keys = commitment.Keys(config, master, contribution)
    codes = [code for code, _ in config["arms"]]
    earlier = [
        (levels_for(data.draw, config), data.draw(st.sampled_from([*codes, "dropped"]))) for _ in range(data.draw(st.integers(0, 6)))
    ]
    carried = Carried.counted(config, earlier)
    first, second = Allocator(keys, carried.state(config)), Deriver(Keys(config, master, contribution), carried.to_json())
    placed: dict[int, Placed] = {}
    for i in range(1, data.draw(st.integers(1, 30)) + 1):
        kind = data.draw(st.sampled_from(["allocated"] * 6 + ["external", "corrected", "in_error"]))
        levels = levels_for(data.draw, config)
        ordered = list(levels.values())
        if kind in ("corrected", "in_error"):
            about = data.draw(st.integers(1, i))
            if config.get("counts"):
                ledger.recount(first, config, placed, {"kind": kind, "about": about, "levels": levels})
            second.corrected(about, levels) if kind == "corrected" else second.in_error(about)
            continue
        if kind == "external":
            arm = data.draw(st.sampled_from(codes))
            placed[i] = first.placed_elsewhere(ordered, arm)
            second.external(i, levels, arm)
        else:
            placed[i] = first.next(ordered)
            assert second.allocated(i, levels) == first.arm(placed[i])
        first.take(placed[i])
        assert second.places[i].stratum == placed[i].stratum
        if method in ("minimisation", "simple", "pbr", "urn"):
            assert second.places[i].fake == placed[i].fake_arm


# --- ledgers that the program made -----------------------------------------------------------------------------------


def amended() -> dict[str, str]:
    """The protocol's files with another probability."""
    texts = dict(sources.read_folder(ROOT / "protocols" / TRIAL))
    top = f"{TRIAL}/protocol.yaml"
    texts[top] = texts[top].replace('version: "1.0"', 'version: "1.1"', 1).replace('p: "4/5"', 'p: "3/4"', 1)
    return texts


def through_a_life(world: World, *, count: int = 12) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Two epochs with an envelope, a correction, an error and an unblinding; each ledger with its reveal once the trial is locked."""
    world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, TRIAL, "S01", 4))
    kinds = [{"limb": 1 + i % 2, "opioid_pre": i % 3 // 2, "amp_level_plan": (12, 24)[i % 2]} for i in range(count)]
    idents = []
    for i, clinical in enumerate(kinds[: count - 4]):
        world.now += timedelta(minutes=10)
        idents.append(builders.randomised(world, ("S01", "S02")[i % 4 == 3], **clinical))
    later(world, idents)
    world.run("trial-manager", lambda unit: epochs.amend(unit, TRIAL, amended(), reason="Amendment 1: another probability"))
    world.now += timedelta(minutes=10)
    idents.append(builders.randomised(world, **kinds[-4]))
    world.run("sponsor", lambda unit: epochs.sign(unit, TRIAL))
    for clinical in kinds[-3:]:
        world.now += timedelta(minutes=10)
        idents.append(builders.randomised(world, **clinical))
    world.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, idents[0], "Anaphylaxis in recovery", 1))
    world.now += timedelta(minutes=10)
    builders.lock(world)
    return [
        (
            json.loads(json.dumps(world.run("trial-manager", lambda unit, epoch=epoch: ledgers.ledger_file(unit, TRIAL, epoch=epoch)))),
            json.loads(json.dumps(world.run("statistician-unblinded", lambda unit, epoch=epoch: ledgers.reveal(unit, TRIAL, epoch=epoch)))),
        )
        for epoch in (0, 1)
    ]


def later(world: World, idents: list[str]) -> None:
    """What happens after randomisations: an envelope is entered, a factor corrected, an error marked, an allocation unblinded."""
    ident = builders.ready(world)
    world.now += timedelta(hours=1)
    opened = world.now - timedelta(minutes=20)
    world.run("trial-coordinator", lambda unit: envelopes.reconcile(unit, TRIAL, "S01", 1, ident, opened))
    planned = {"surg_date_plan": (builders.TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    changed = {**builders.CLINICAL, **planned, "opioid_pre": 1}
    builders.put(world, idents[0], "V01", "CLIN", changed, reason="source: read again")
    world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, idents[1], 1, "Not eligible after all"))
    world.run("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, idents[2], "Nerve pain, needs revision", 1))


@pytest.fixture(scope="module")
def life(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    world = sqlite_template.copy(tmp_path_factory.mktemp("life") / "instance")
    found = through_a_life(world)
    world.instance.engine.dispose()
    return found


Opened = list[tuple[dict[str, Any], dict[str, Any]]]


def test_a_trial_of_two_epochs_verifies_with_both_programs(life: Opened) -> None:
    (first, opening), (second, closing) = life
    kinds = [event["kind"] for event in first["events"]]
    assert {"allocated", "external", "corrected", "in_error", "unblinded"} == set(kinds)
    assert [event["kind"] for event in second["events"]] == ["epoch", "allocated", "allocated", "allocated"]
    mine = verifier.verify(first, opening)
    theirs = ledger.verify(first, sealing.signed, reveal=opening)
    assert (mine.faults, theirs.faults) == ([], ())
    assert (mine.derived, tuple(mine.not_derived)) == (theirs.derived, theirs.external) == (9, (9,))
    mine = verifier.verify(second, closing, before=[(first, opening)])
    theirs = ledger.verify(second, sealing.signed, reveal=closing)
    assert (mine.faults, theirs.faults, mine.derived, theirs.derived) == ([], (), 3, 3)


def test_later_epochs_carry_what_was_counted_before_them(life: Opened) -> None:
    (_, opening), (second, closing) = life
    assert sum(closing["counts"]["strata"]["min"].values()) == len(opening["arms"]) == 10
    assert second["events"][0]["places"] == 10
    assert "counts" not in opening


@pytest.mark.parametrize("method", ["simple", "pbr", "urn", "blockurn", "efron", "bigstick", "chen", "list"])
def test_a_scheme_of_every_method_verifies_with_both_programs(sqlite_world: World, method: str) -> None:
    from tests.services.test_schemes import GOOD, load_with

    parameters: dict[str, dict[str, Any]] = {
        "pbr": {"sizes": [2, 4]},
        "urn": {"w": 1, "alpha": 0, "beta": 1},
        "blockurn": {"lambda": 2},
        "efron": {"p": "2/3"},
        "bigstick": {"mti": 2},
        "chen": {"mti": 3, "p": "3/4"},
    }
    factor = {"name": "limb", "form": "BASE", "visit": "V01", "item": "limb"}
    stratified = {"factors": [factor]} if method != "simple" else {}
    load_with(sqlite_world, {"scheme": "main", "method": method, **parameters.get(method, {}), **stratified})
    made = allocated_by_service(sqlite_world, GOOD if method == "list" else "", limbs=[1, 1, 2] if method == "list" else [1, 2, 1, 1] * 4)
    mine, theirs = verifier.verify(*made), ledger.verify(made[0], sealing.signed, reveal=made[1])
    assert (mine.faults, theirs.faults) == ([], ())
    assert (mine.derived, tuple(mine.not_derived)) == (theirs.derived, theirs.external)
    assert mine.derived == (0 if method == "list" else 16)


def allocated_by_service(world: World, listed: str, limbs: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ledger and the reveal of the trial `other` after these participants."""
    import hashlib

    from tests.services.test_schemes import allocate
    from trialdm.services import schemes

    if listed:
        world.run("trial-manager", lambda unit: schemes.import_list(unit, "other", listed))
    else:
        world.run("trial-manager", lambda unit: schemes.prepare(unit, "other"))
        world.run("chief-investigator", lambda unit: schemes.contribute(unit, "other", "1 2 3 4 5 6", dice=True))
    digest = hashlib.sha256(listed.encode()).hexdigest() if listed else ""
    world.run("sponsor", lambda unit: epochs.sign(unit, "other", sha256=digest))
    with world.units.reading(SYSTEM) as unit:
        factored = bool(studies.protocol(unit, "other").scheme.factors)
    if factored:
        allocate(world, limbs)
    else:
        allocate_without_factors(world, len(limbs))
    world.run("trial-manager", lambda unit: builders.locked_as_entered(unit, "other"))
    whole = world.run("trial-manager", lambda unit: ledgers.ledger_file(unit, "other"))
    reveal = world.run("statistician-unblinded", lambda unit: ledgers.reveal(unit, "other"))
    return json.loads(json.dumps(whole)), json.loads(json.dumps(reveal))


def allocate_without_factors(world: World, count: int) -> None:
    from trialdm.services import participants, schemes

    def work(unit: Any) -> None:
        protocol = studies.protocol(unit, "other")
        studies.enter(unit, "other", "site", "S01", "open", "open")
        for _ in range(count):
            studies.enter(unit, "other", "trial", "other", "open", "open")
            person = participants.add(unit, "other", "S01")
            studies.enter(unit, "other", "participant", person.id, "x", "eligible")
            row = schemes.locked_live(unit, protocol, "main")
            allocations._allocate(unit, protocol, protocol.scheme, row, person.id, "S01", {}, person.id, {})

    world.run("research-nurse", work)


# --- ledgers that somebody changed -----------------------------------------------------------------------------------

Tamper = Callable[[dict[str, Any], dict[str, Any]], object]


def swapped(reveal: dict[str, Any], event: str) -> None:
    reveal["arms"][event] = "Standard" if reveal["arms"][event] == "TMR" else "TMR"


#: What somebody did -> what the second verifier calls it, and words of the program's own verifier.
TAMPERED: dict[str, tuple[Tamper, str, str]] = {
    "a level changed": (lambda w, _: w["events"][1]["levels"].update(limb="9"), "chain", "do not lead to the hash that was signed"),
    "a time changed": (lambda w, _: w["events"][1].update(at="2020-01-01T00:00:00"), "chain", "do not lead to the hash"),
    "an event taken out": (lambda w, _: w["events"].pop(3), "number", "absent, doubled or moved"),
    "two events swapped": (lambda w, _: w["events"].insert(3, w["events"].pop(4)), "number", "absent, doubled or moved"),
    "an error hidden": (lambda w, _: w["events"].pop(), "chain", "it was cut off"),
    "cut off, its signed head kept": (lambda w, _: w["events"].__delitem__(slice(4, None)), "chain", "it was cut off"),
    "a signature of another head": (lambda w, _: w["heads"][-1].update(signature="00" * 64), "signature", "signature does not fit"),
    "another public key": (lambda w, _: w.update(public_key=sealing.public_key(M)), "signature", "signature does not fit"),
    "another trial's name": (lambda w, _: w["config"].update(trial="x"), "signature", "signature does not fit"),
    "the probability changed": (lambda w, _: w["config"].update(p="9/10"), "chain", "do not lead to the hash"),
    "the reveal of another scheme": (lambda _, r: r.update(master="00" * 32), "commitment", "not the one that was committed to"),
    "an arm changed": (lambda _, r: swapped(r, "1"), "arm_commit", "not the one that was committed to"),
    "the arm of an envelope changed": (lambda _, r: swapped(r, "9"), "arm_commit", "not the one that was committed to"),
    "an arm left out": (lambda _, r: r["arms"].pop("2"), "arms", "the reveal names no arm"),
    "an arm too many": (lambda _, r: r["arms"].update({"99": "TMR"}), "arms", "it names an arm for event 99"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_both_programs_find_what_was_changed(life: Opened, name: str) -> None:
    whole, reveal = copy.deepcopy(life[0])
    tamper, kind, words = TAMPERED[name]
    tamper(whole, reveal)
    assert kind in verifier.verify(whole, reveal).kinds
    assert any(words in message for _, message in ledger.verify(whole, sealing.signed, reveal=reveal).faults)


def resigned(whole: dict[str, Any]) -> None:
    """Sign the changed chain again, as somebody with the machine's key could."""
    secret = bytes(range(64, 96))
    digest, config, i = verifier.hashes(whole)[-1].hex(), whole["config"], len(whole["events"])
    line = f"trialdm-ledger/1 {config['trial']} {config['scheme']} {config['epoch']} {i} {digest}"
    whole["public_key"] = sealing.public_key(secret)
    whole["heads"] = [{"i": i, "hash": digest, "at": "2026-03-10", "signature": sealing.sign(secret, line)}]


def forged(whole: dict[str, Any], reveal: dict[str, Any]) -> None:
    """Give one participant the other arm, with its commitment, its chain and its signature made to fit."""
    swapped(reveal, "4")
    keys = Keys(whole["config"], bytes.fromhex(reveal["master"]), bytes.fromhex(whole["contribution"]))
    whole["events"][3]["arm_commit"] = verifier.sha(lp(keys.nonce(4), reveal["arms"]["4"])).hex()
    resigned(whole)


def test_an_arm_forged_with_every_key_is_found_by_deriving_it(life: Opened) -> None:
    whole, reveal = copy.deepcopy(life[0])
    forged(whole, reveal)
    assert verifier.verify(whole).good
    assert ledger.verify(whole, sealing.signed).holds
    assert ("arm", 4) in verifier.verify(whole, reveal).faults
    faults = ledger.verify(whole, sealing.signed, reveal=reveal).faults
    assert faults[0][0] == "event 4"
    assert "this allocation was not made by the rule" in faults[0][1]


@pytest.mark.parametrize("kept", [0, 1])
def test_events_that_no_signed_head_covers_do_not_pass_as_verified(life: Opened, kept: int) -> None:
    """Whoever changes the end of a ledger and takes away the heads that it no longer fits has hidden the change from nobody."""
    whole = copy.deepcopy(life[0][0])
    whole["heads"] = [signed_at(whole, 5)][:kept]
    whole["events"][-1]["participant"] = "0000-0000-00"
    assert verifier.verify(whole).kinds == ({"unsigned", "signature"} if kept else {"unsigned"})
    assert not ledger.verify(whole, sealing.signed).holds


def signed_at(whole: dict[str, Any], i: int) -> dict[str, Any]:
    return {**whole["heads"][-1], "i": i, "hash": verifier.hashes(whole)[i].hex()}


EPOCHS: dict[str, tuple[Tamper, str, str]] = {
    "other counts": (lambda _, r: r["counts"]["strata"]["min"].update(TMR=99), "counts", "not those with which this epoch was started"),
    "no counts": (lambda _, r: r.pop("counts"), "counts", "not those with which this epoch was started"),
    "another link": (lambda w, _: (w["events"][0].update(previous="00" * 32), resigned(w)), "link", ""),
    "fewer places": (lambda w, _: (w["events"][0].update(places=3), resigned(w)), "link", ""),
}


@pytest.mark.parametrize("name", EPOCHS)
def test_both_programs_find_what_was_changed_about_an_epoch(life: Opened, name: str) -> None:
    """The link can only be checked with the ledger before: the program's verifier reads one file and so cannot."""
    whole, reveal = copy.deepcopy(life[1])
    tamper, kind, words = EPOCHS[name]
    tamper(whole, reveal)
    assert kind in verifier.verify(whole, reveal, before=[life[0]]).kinds
    faults = ledger.verify(whole, sealing.signed, reveal=reveal).faults
    assert any(words in message for _, message in faults) if words else not faults


def test_the_second_verifier_is_a_program_of_its_own(life: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "ledger.json", tmp_path / "reveal.json"]
    for path, content in zip(paths, life[0], strict=True):
        path.write_text(json.dumps(content), "utf-8")
    assert verifier.main(*map(str, paths)) == 0
    assert capsys.readouterr().out == "14 events, 9 derived, 0 faults\n"
    changed = copy.deepcopy(life[0][1])
    swapped(changed, "1")
    paths[1].write_text(json.dumps(changed), "utf-8")
    assert verifier.main(*map(str, paths)) == 1
    assert "arm_commit: event 1\n" in capsys.readouterr().out
