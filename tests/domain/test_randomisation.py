"""Allocation: every published vector of the protocol and of the literature, and properties that hold for any configuration."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from math import isqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialdm.domain.randomisation.blocks import Blocks, block
from trialdm.domain.randomisation.coins import paths, urn_balls
from trialdm.domain.randomisation.commitment import Keys, canonical, chain, lp, read_contribution, u32, u64
from trialdm.domain.randomisation.draws import at, in_block, shuffled, uniform
from trialdm.domain.randomisation.ledger import Head, append, placing_event, start, verify_chain
from trialdm.domain.randomisation.minimisation import IMBALANCE, Margins, Rule, rank_probabilities
from trialdm.domain.randomisation.schemes import METHODS, Allocator, Placed, fake_arms, stratum_of

MASTER, CONTRIBUTION = bytes(range(32)), b"\xab" * 32
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
FIRST, SECOND = Keys(BLOCKS, MASTER, CONTRIBUTION), Keys(MINIMISED, MASTER, CONTRIBUTION)


def arms_of(scheme: Keys, participants: Iterable[Sequence[str]]) -> list[str]:
    """The arms of participants in this order."""
    allocator, arms = Allocator(scheme), []
    for levels in participants:
        placed = allocator.next(levels)
        allocator.take(placed)
        arms.append(allocator.arm(placed))
    return arms


def keys(master: bytes = MASTER, **config: Any) -> Keys:
    return Keys({"arms": [["A", 1], ["B", 1]], "v": 1, **config}, master)


# --- vectors of the protocol -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (FIRST.config_hash, "1bc6004dcca52679fb68e9e192f296eb4777ee7d979201bb2022596a93f4ac03"),
        (FIRST.commit, "b33ec6739c708836d9a742529590bdada4ee6fc02d8fd46af46638afc2685a96"),
        (FIRST.root, "8a53da03e42e5dcb7a7c1942ebaecedfd003d3be48431721a38324360ab46337"),
        (FIRST.stratum("upper|trauma"), "35d684252063046a010039d73eee6e6d795f2006b976332fc8914a6d05e4f0e4"),
        (SECOND.config_hash, "a2900eff6360c9a312aafc33373f70d212a22624480beaaece206111d04e3926"),
        (SECOND.commit, "02def707becd23c356e7ae67235bba329b495e6ac6ed909b7238a6fa352ee5fe"),
        (SECOND.root, "f9d1393c520d0de1bdb58c1c9d7a9e2c7f298913f0b33643578dec6dfffb71e8"),
        (SECOND.genesis, "71123845a2fb5b7b60b7e25eeee181e2218d011f367e82813f4372c992f642f8"),
        (SECOND.nonce(1), "631beb33f7329bac40fdea617bcf96884d551dad87a45326c00e008a4225d134"),
    ],
)
def test_keys(made: bytes, expected: str) -> None:
    assert made.hex() == expected


def test_vector_1_draws() -> None:
    key = FIRST.stratum("upper|trauma")
    assert [uniform(key, str(i).encode(), 10) for i in range(12)] == [5, 8, 6, 8, 9, 8, 9, 3, 8, 9, 9, 3]
    least = FIRST.stratum("min")
    assert [uniform(least, at("coin", seq), 5) for seq in range(12)] == [0, 2, 3, 3, 4, 4, 3, 0, 2, 0, 1, 4]
    assert [uniform(least, at("tie", seq), 2) for seq in range(12)] == [0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0]


def test_vector_1_blocks() -> None:
    blocks = Blocks(FIRST, "upper|trauma")
    arms = "".join("AB"[blocks.arm(slot)] for slot in range(24))
    assert arms == "BABABAABABABABBAABBAABBA"


def test_vector_2_minimisation() -> None:
    participants = (
        "lower/vascular upper/trauma lower/cancer upper/trauma lower/cancer upper/vascular lower/cancer upper/vascular "
        "lower/trauma upper/vascular lower/trauma upper/cancer lower/trauma upper/cancer lower/vascular upper/cancer "
        "lower/vascular upper/trauma lower/vascular upper/trauma lower/cancer upper/trauma lower/cancer upper/vascular"
    )
    expected = "STD STD TMR TMR TMR TMR STD STD STD TMR TMR STD STD STD TMR TMR STD TMR TMR STD STD TMR TMR STD"
    assert " ".join(arms_of(SECOND, [levels.split("/") for levels in participants.split()])) == expected


def test_vector_3_block_urn() -> None:
    """Zhao and Weng 2011, table 1: lambda 3, 1:1; the published uniforms stand for floor(u x n)."""
    uniforms = ".4026 .5654 .0927 .3080 .7758 .9219 .6115 .8604 .4848 .7746 .2345 .8507 .0661 .2630".split()
    counts, arms, chances = [0, 0], "", []
    for u in uniforms:
        balls = urn_balls([1, 1], 3, counts)
        chances.append(Fraction(balls[0], sum(balls)))
        arm = 0 if int(Fraction(u) * sum(balls)) < balls[0] else 1
        counts[arm] += 1
        arms += "AB"[arm]
    assert arms == "ABAABBBBABABAA"
    assert [float(chance) for chance in chances] == [0.5, 0.4, 0.5, 0.4, 0.25, 0.4, 0.5, 0.6, 0.75, 0.6, 0.75, 0.6, 0.75, 0.6]


# --- vectors of the literature ---------------------------------------------------------------------------------------

#: Pocock and Simon 1975, table 1: margins of three arms at each level of three factors.
POCOCK_SIMON = {
    (0, "1"): [9, 10, 9],
    (0, "2"): [8, 7, 7],
    (1, "1"): [8, 6, 7],
    (1, "2"): [9, 11, 9],
    (2, "1"): [8, 8, 8],
    (2, "2"): [4, 5, 3],
    (2, "3"): [5, 4, 5],
}


def pocock_simon(imbalance: str, weights: Sequence[int] = (2, 1, 1)) -> list[int | Fraction]:
    config = {
        "arms": [["1", 1], ["2", 1], ["3", 1]],
        "imbalance": imbalance,
        "factors": [{"name": f"f{i}", "levels": ["1", "2", "3"], "weight": weight} for i, weight in enumerate(weights)],
    }
    return Rule.of(config).scores(Margins(3, {place: list(counts) for place, counts in POCOCK_SIMON.items()}), ["1", "2", "2"])


@pytest.mark.parametrize(
    ("imbalance", "weights", "expected"),
    [
        ("range", (2, 1, 1), [6, 10, 5]),
        ("range", (1, 1, 1), [5, 8, 4]),
        ("variance", (2, 1, 1), [3, 8, 2]),
        ("sd", (2, 1, 1), ["3.3094", "5.5690", "2.7321"]),
        ("marginal", (2, 1, 1), ["0.2895", "0.4687", "0.2126"]),
    ],
)
def test_pocock_and_simon_table_1(imbalance: str, weights: tuple[int, ...], expected: list[Any]) -> None:
    scale = Fraction(1, 10**20) if imbalance == "sd" else 1
    found = [score * scale for score in pocock_simon(imbalance, weights)]
    if isinstance(expected[0], str):
        assert [f"{float(score):.4f}" for score in found] == expected
    else:
        assert found == expected


def test_pocock_and_simon_probabilities() -> None:
    """With p = 2/3 the third arm is favoured and the others share the rest: 1/6, 1/6, 2/3."""
    config = {
        "arms": [["1", 1], ["2", 1], ["3", 1]],
        "imbalance": "range",
        "method": "minimisation",
        "p": "2/3",
        "factors": [{"name": f"f{i}", "levels": ["1", "2", "3"], "weight": weight} for i, weight in enumerate((2, 1, 1))],
    }
    scheme, state, rule = Keys(config, MASTER), Margins(3, POCOCK_SIMON), Rule.of(config)
    drawn = Counter(rule.choose(scheme, state, seq, seq, ["1", "2", "2"]) for seq in range(3000))
    for arm, chance in enumerate((1 / 6, 1 / 6, 2 / 3)):
        assert abs(drawn[arm] / 3000 - chance) < 0.04


def test_rank_all_orders_the_arms_by_score() -> None:
    """N = 4, q = 1/2: ranks have .4 .3 .2 .1, so that scores 3, 5, 4, 7 give .4 .2 .3 .1."""
    p = rank_probabilities(4, Fraction(1, 2))
    assert p == [Fraction(4, 10), Fraction(3, 10), Fraction(2, 10), Fraction(1, 10)]
    ranked = sorted(range(4), key=lambda arm: (3, 5, 4, 7)[arm])
    assert [p[ranked.index(arm)] for arm in range(4)] == [Fraction(n, 10) for n in (4, 2, 3, 1)]


@pytest.mark.parametrize("q", [Fraction(1, 4), Fraction(2, 3), Fraction(0)])
def test_rank_all_refuses_a_q_that_gives_no_probabilities(q: Fraction) -> None:
    with pytest.raises(ValueError, match="q must lie between 1/4 and 2/3"):
        rank_probabilities(4, q)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((41, 47, 45), (6, 3.06, 9.33, 0.0451)), ((7, 8, 7), (1, 0.577, 0.333, 0.0455)), ((0, 0, 0), (0, 0, 0, 0))],
)
def test_han_2009_measures(counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
    found = [IMBALANCE[name](counts) for name in ("range", "sd", "variance", "marginal")]
    found[1] /= 10**20
    assert [round(float(value), 4) for value in found] == pytest.approx(list(expected), abs=0.005)


def test_kja_2019_fifteenth_patient() -> None:
    """Site 2, female, 65 or older: 3 as control against 5 as treatment, so control is favoured."""
    config = {
        "arms": [["control", 1], ["treatment", 1]],
        "imbalance": "range",
        "factors": [{"name": name, "levels": [name], "weight": 1} for name in ("site2", "female", "old")],
    }
    state = Margins(2, {(0, "site2"): [3, 5], (1, "female"): [3, 3], (2, "old"): [3, 3]})
    assert Rule.of(config).scores(state, ["site2", "female", "old"]) == [3, 5]


# --- blocks and fake arms --------------------------------------------------------------------------------------------

ARMS = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(lambda r: [[f"arm{i}", ratio] for i, ratio in enumerate(r)])
MASTERS = st.binary(min_size=32, max_size=32)


def test_arms_are_expanded_by_their_ratio_in_the_order_of_the_configuration() -> None:
    assert fake_arms({"arms": [["A", 2], ["B", 1], ["C", 3]]}) == ["A", "A", "B", "C", "C", "C"]


def test_a_block_starts_with_all_copies_of_an_arm_together() -> None:
    """Recomputed from the definition: 2:1, size 6 starts as A A A A B B and is shuffled from the end."""
    scheme = keys(arms=[["A", 2], ["B", 1]], method="pbr", sizes=[6])
    places = shuffled(scheme.stratum("s"), [lp("perm", u32(0), u32(i)) for i in range(5, 0, -1)], list(range(6)))
    assert [fake_arms(scheme.config)[arm] for arm in block(scheme, "s", 0)] == ["AAAABB"[place] for place in places]


@given(ARMS, st.lists(st.integers(1, 4), min_size=1, max_size=3), MASTERS, st.integers(0, 20))
def test_every_block_is_balanced(arms: list[list[Any]], multiples: list[int], master: bytes, number: int) -> None:
    shares = sum(ratio for _, ratio in arms)
    scheme = keys(master, arms=arms, method="pbr", sizes=[shares * m for m in multiples])
    made = [fake_arms(scheme.config)[arm] for arm in block(scheme, "s", number)]
    copies = len(made) // shares
    assert copies in multiples
    assert Counter(made) == {code: ratio * copies for code, ratio in arms}


@given(MASTERS)
@settings(max_examples=20)
def test_places_of_a_stratum_run_through_its_blocks(master: bytes) -> None:
    scheme = keys(master, method="pbr", sizes=[2, 4], size_weights=[3, 1])
    joined = [arm for number in range(6) for arm in block(scheme, "s", number)]
    blocks = Blocks(scheme, "s")
    assert [blocks.arm(slot) for slot in range(len(joined))] == joined
    assert [blocks.arm(slot) for slot in reversed(range(len(joined)))] == joined[::-1]


def test_size_weights_decide_how_often_a_size_is_drawn() -> None:
    scheme = keys(method="pbr", sizes=[2, 4], size_weights=[9, 1])
    sizes = Counter(len(block(scheme, "s", number)) for number in range(500))
    assert 0.85 < sizes[2] / 500 < 0.95


@pytest.mark.parametrize("method", ["minimisation", "simple"])
def test_an_arm_keeps_its_share_at_the_first_places(method: str) -> None:
    """2:1 by fake arms: also the very first participants have two chances in three of the first arm."""
    extra = {"imbalance": "range", "p": "4/5", "factors": [{"name": "site", "levels": ["S"], "weight": 1}]}
    firsts: list[Counter[str]] = [Counter() for _ in range(4)]
    for number in range(900):
        scheme = keys(u64(number) * 4, arms=[["A", 2], ["B", 1]], method=method, **extra)
        for seq, arm in enumerate(arms_of(scheme, [["S"]] * 4)):
            firsts[seq][arm] += 1
    assert all(abs(count["A"] / 900 - 2 / 3) < 0.06 for count in firsts)


# --- minimisation ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 2)), max_size=20))
def test_margins_count_the_history_in_any_order(history: list[tuple[str, str, int]]) -> None:
    forward, backward = Margins(3), Margins(3)
    for margins, order in ((forward, history), (backward, history[::-1])):
        for first, second, arm in order:
            margins.add((first, second), arm)
    assert forward.totals == backward.totals
    assert forward.counts == backward.counts
    assert sum(sum(counts) for counts in forward.counts.values()) == 2 * len(history)
    assert forward.at(0, "never seen") == [0, 0, 0]


@given(st.lists(st.integers(0, 200), min_size=2, max_size=5))
def test_every_measure_is_zero_exactly_at_balance_and_blind_to_the_order_of_arms(counts: list[int]) -> None:
    for measure in IMBALANCE.values():
        assert measure(counts) >= 0
        assert measure(counts) == measure(counts[::-1])
        assert (measure(counts) == 0) == (len(set(counts)) == 1)
    assert IMBALANCE["sd"](counts) == isqrt(int(IMBALANCE["variance"](counts) * 10**40))


@given(MASTERS, st.integers(0, 500))
def test_with_certainty_the_smaller_arm_is_chosen(master: bytes, seq: int) -> None:
    scheme = keys(master, method="minimisation", imbalance="range", p="1", factors=[{"name": "f", "levels": ["a"], "weight": 1}])
    assert Rule.of(scheme.config).choose(scheme, Margins(2, {(0, "a"): [5, 3]}), seq, seq, ["a"]) == 1


def test_burn_in_is_simple_randomisation() -> None:
    simple = Keys({**MINIMISED, "burn_in": 50}, MASTER)
    lopsided = Margins(2, {(0, "lower"): [50, 0], (1, "cancer"): [50, 0]})
    drawn = [Rule.of(simple.config).choose(simple, lopsided, seq, seq, ["lower", "cancer"]) for seq in range(50)]
    assert drawn == [uniform(simple.stratum("simple"), at("simple", seq), 2) for seq in range(50)]


def test_an_allocation_made_elsewhere_counts_as_one_of_its_fake_arms() -> None:
    scheme = keys(
        arms=[["A", 2], ["B", 1]], method="minimisation", imbalance="range", p="1", factors=[{"name": "f", "levels": ["a"], "weight": 1}]
    )
    assert {Allocator(scheme, seq=seq).placed_elsewhere(["a"], "A").fake_arm for seq in range(40)} == {0, 1}
    assert {Allocator(scheme, seq=seq).placed_elsewhere(["a"], "B").fake_arm for seq in range(40)} == {2}


def test_a_recounted_place_weighs_where_it_belongs() -> None:
    """Minimisation with p = 1: whoever is corrected to another level counts there, and an error counts nowhere."""
    factors = [{"name": "f", "levels": ["a", "b"], "weight": 1}]
    allocator = Allocator(keys(method="minimisation", imbalance="range", p="1", factors=factors))
    first = allocator.next(["a"])
    allocator.take(first)
    assert allocator.next(["a"]).fake_arm == 1 - first.fake_arm
    allocator.recount(first, ["b"])
    assert allocator.state.margins["min"].at(0, "a") == [0, 0]
    assert allocator.next(["b"]).fake_arm == 1 - first.fake_arm
    allocator.recount(Placed(0, "min", 0, first.fake_arm, ("b",)), None)
    assert allocator.state.margins["min"].totals == [0, 0]
    assert allocator.seq == 1


SITE_AND_LIMB = [{"name": "site", "levels": ["S01"], "weight": 1}, {"name": "limb", "levels": ["1", "2"], "weight": 1}]


@pytest.mark.parametrize(
    ("config", "levels", "stratum"),
    [
        ({"method": "pbr"}, ["S01", "2"], "S01|2"),
        ({"method": "efron"}, [], ""),
        ({"method": "minimisation", "factors": SITE_AND_LIMB}, ["S01", "2"], "min"),
        ({"method": "minimisation", "factors": SITE_AND_LIMB, "strata": ["limb"]}, ["S01", "2"], "2"),
        ({"method": "simple"}, ["S01", "2"], "simple"),
    ],
)
def test_stratum(config: dict[str, Any], levels: list[str], stratum: str) -> None:
    assert stratum_of(config, levels) == stratum


def test_a_list_cannot_be_derived() -> None:
    with pytest.raises(ValueError, match="method 'list' is not derived from keys"):
        Allocator(keys(method="list")).next([])


# --- the other methods -----------------------------------------------------------------------------------------------

#: Every method that is derived, with parameters that fit two equal arms.
EXAMPLES: dict[str, dict[str, Any]] = {
    "simple": {},
    "pbr": {"sizes": [2, 4]},
    "minimisation": {"imbalance": "variance", "p": "3/4", "overall": 1, "factors": SITE_AND_LIMB},
    "efron": {"p": "2/3"},
    "bigstick": {"mti": 3},
    "chen": {"mti": 3, "p": "2/3"},
    "urn": {"w": 1, "alpha": 0, "beta": 1},
    "blockurn": {"lambda": 2},
    "maximal": {"mti": 2, "n": 20},
}


def test_there_is_an_example_of_every_derived_method() -> None:
    assert {*EXAMPLES} == {*METHODS} - {"list"}


@pytest.mark.parametrize("method", EXAMPLES)
def test_each_place_can_be_derived_again_from_what_came_before(method: str) -> None:
    scheme, people = keys(method=method, **EXAMPLES[method]), [["S01", "12"[n % 3 == 0]] for n in range(60)]
    arms = arms_of(scheme, people)
    assert arms == arms_of(scheme, people)
    assert 15 < arms.count("A") < 45
    assert arms_of(scheme, people[:30]) == arms[:30]
    assert arms_of(keys(u32(7) * 8, method=method, **EXAMPLES[method]), people) != arms


def recomputed(method: str, scheme: Keys, n: int) -> str:
    """The arms of one stratum, recomputed from the table of the protocol and from nothing else."""
    key, counts, arms = scheme.stratum("s"), [0, 0], ""
    for slot in range(n):
        config, ahead = scheme.config, counts[0] - counts[1]
        behind = 0 if ahead < 0 else 1
        p = Fraction(config["p"]) if "p" in config else Fraction(1, 2)
        context = lp(method, u64(slot))
        if abs(ahead) >= config.get("mti", 10**9):
            arm = behind
        elif ahead == 0:
            arm = 0 if uniform(key, context, 2) < 1 else 1
        else:
            arm = behind if uniform(key, context, p.denominator) < p.numerator else 1 - behind
        counts[arm] += 1
        arms += "AB"[arm]
    return arms


@pytest.mark.parametrize(("method", "more"), [("efron", {"p": "2/3"}), ("bigstick", {"mti": 2}), ("chen", {"mti": 2, "p": "3/5"})])
def test_coins_draw_as_the_protocol_says(method: str, more: dict[str, Any]) -> None:
    scheme = keys(method=method, **more)
    assert "".join(arms_of(scheme, [["s"]] * 200)) == recomputed(method, scheme, 200)


@given(MASTERS, st.sampled_from(["bigstick", "chen", "maximal"]), st.integers(1, 4))
@settings(max_examples=60)
def test_the_maximum_tolerated_imbalance_is_never_passed(master: bytes, method: str, mti: int) -> None:
    ahead = 0
    for arm in arms_of(keys(master, method=method, mti=mti, p="2/3", n=24), [["s"]] * 48):
        ahead += 1 if arm == "A" else -1
        assert abs(ahead) <= mti
    assert method != "maximal" or ahead == 0


@given(MASTERS, st.integers(1, 3), ARMS)
@settings(max_examples=60)
def test_a_block_urn_never_lets_an_arm_run_further_ahead_than_lambda_sets(master: bytes, lam: int, arms: list[list[Any]]) -> None:
    counts = Counter({code: 0 for code, _ in arms})
    for arm in arms_of(keys(master, arms=arms, method="blockurn", **{"lambda": lam}), [["s"]] * 40):
        counts[arm] += 1
        whole = min(counts[code] // ratio for code, ratio in arms)
        assert all(counts[code] <= (lam + whole) * ratio for code, ratio in arms)


@pytest.mark.parametrize(("n", "mti", "sequences"), [(8, 2, 54), (8, 3, 68), (4, 2, 6), (8, 8, 70), (2, 1, 2)])
def test_the_maximal_procedure_knows_how_many_sequences_there_are(n: int, mti: int, sequences: int) -> None:
    """54 and 68 as enumerated by randomizeR 3.0.2; without a limit all C(8, 4)."""
    assert paths(0, n, mti) == sequences


def test_the_maximal_procedure_takes_every_sequence_about_equally_often() -> None:
    found = Counter("".join(arms_of(keys(u64(i) * 4, method="maximal", mti=2, n=4), [["s"]] * 4)) for i in range(1200))
    assert len(found) == 6
    assert all(140 < count < 260 for count in found.values())


def test_a_long_maximal_procedure_needs_numbers_wider_than_a_word() -> None:
    """400 places: more sequences than 2^64, and a draw among them all the same."""
    assert paths(0, 400, 4) > 2**64
    arms = arms_of(keys(method="maximal", mti=4, n=400), [["s"]] * 400)
    assert arms.count("A") == 200


def test_an_urn_favours_the_arm_that_is_behind() -> None:
    """UD(0, 0, 1): after one A the urn holds one B only, so the second is B; the first is either."""
    firsts = Counter(tuple(arms_of(keys(u64(i) * 4, method="urn", w=0, alpha=0, beta=1), [["s"]] * 2)) for i in range(400))
    assert set(firsts) == {("A", "B"), ("B", "A")}
    assert 150 < firsts["A", "B"] < 250


def test_minimisation_within_strata_is_blind_to_the_others() -> None:
    """With p = 1 and limb held constant, the first two of each limb are one of each arm, whatever the other limb holds."""
    scheme = keys(method="minimisation", imbalance="range", p="1", factors=SITE_AND_LIMB, strata=["limb"])
    arms = arms_of(scheme, [["S01", "1"], ["S01", "2"], ["S01", "1"], ["S01", "2"]])
    assert {arms[0], arms[2]} == {arms[1], arms[3]} == {"A", "B"}


def test_the_overall_term_decides_where_the_levels_say_nothing() -> None:
    """Ten A and no B in all, but nobody yet at this level: without the term a tie, with it B."""
    factors = [{"name": "f", "levels": ["a", "b"], "weight": 1}]
    state = Margins(2, {(0, "a"): [10, 0]}, [10, 0])
    config = {"arms": [["A", 1], ["B", 1]], "imbalance": "range", "p": "1", "factors": factors}
    assert Rule.of(config).scores(state, ["b"]) == [1, 1]
    assert Rule.of({**config, "overall": 2}).scores(state, ["b"]) == [1 + 2 * 11, 1 + 2 * 9]


# --- draws and keys --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40), st.binary(max_size=20), st.integers(1, 2**200))
def test_a_draw_is_within_range_and_always_the_same(key: bytes, context: bytes, n: int) -> None:
    drawn = uniform(key, context, n)
    assert 0 <= drawn < n
    assert drawn == uniform(key, context, n)


@pytest.mark.parametrize("n", [0, -1])
def test_there_must_be_something_to_choose_from(n: int) -> None:
    with pytest.raises(ValueError, match="something to choose from"):
        uniform(b"k", b"c", n)


@given(MASTERS, st.lists(st.integers(), max_size=12))
def test_a_shuffle_keeps_every_item(key: bytes, items: list[int]) -> None:
    contexts = [in_block("perm", 0, i) for i in range(len(items) - 1, 0, -1)]
    assert sorted(shuffled(key, contexts, items)) == sorted(items)


def test_every_value_and_every_order_is_about_equally_likely() -> None:
    draws = Counter(uniform(MASTER, u64(i), 3) for i in range(3000))
    assert all(900 < draws[value] < 1100 for value in range(3))
    orders = Counter(tuple(shuffled(u64(i), [b"1", b"2"], [0, 1, 2])) for i in range(3000))
    assert len(orders) == 6
    assert all(400 < count < 600 for count in orders.values())


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_parts_with_their_lengths_are_never_ambiguous(first: list[bytes], second: list[bytes]) -> None:
    assert (lp(*first) == lp(*second)) == (first == second)


@pytest.mark.parametrize("value", [1.0, (1, 2), {1: "a"}, b"x", {"a": [1.5]}, {1, 2}], ids=repr)
def test_canonical_json_admits_only_its_kinds(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical(value)


@given(st.dictionaries(st.text("abc", min_size=1), st.integers()))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert canonical(value) == canonical(dict(reversed(list(value.items()))))


@pytest.mark.parametrize(
    "changed",
    [
        Keys({**BLOCKS, "sizes": [2, 4]}, MASTER, CONTRIBUTION),
        Keys(BLOCKS, b"\x01" + MASTER[1:], CONTRIBUTION),
        Keys(BLOCKS, MASTER, CONTRIBUTION[:-1]),
        Keys(BLOCKS, MASTER),
    ],
    ids=["configuration", "master", "contribution", "no contribution"],
)
def test_every_key_depends_on_all_that_goes_into_it(changed: Keys) -> None:
    assert changed.root != FIRST.root
    assert changed.genesis != FIRST.genesis
    assert changed.stratum("s") != FIRST.stratum("s")
    assert changed.nonce(1) != FIRST.nonce(1)


def test_the_commitment_does_not_depend_on_the_contribution() -> None:
    """It is published before anybody contributes."""
    assert Keys(BLOCKS, MASTER).commit == FIRST.commit


@pytest.mark.parametrize(
    ("typed", "contribution"),
    [
        ("", b""),
        ("  ", b""),
        ("ff00", b"\xff\x00"),
        ("FF 00\n", b"\xff\x00"),
        ("1234", b"\x12\x34"),
    ],
)
def test_contribution(typed: str, contribution: bytes) -> None:
    assert read_contribution(typed) == contribution


@pytest.mark.parametrize("thrown", ["123456", "12 34 56"])
def test_a_contribution_by_dice(thrown: str) -> None:
    assert read_contribution(thrown, dice=True) == hashlib.sha256(b"123456").digest()


@pytest.mark.parametrize(
    ("typed", "dice", "message"),
    [*((typed, False, "hexadecimal") for typed in ("fff", "0x12", "dice", "é", "٣", "-1")), ("127", True, "1 to 6"), ("", True, "1 to 6")],
)
def test_a_contribution_that_cannot_be_read(typed: str, dice: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_contribution(typed, dice=dice)


# --- the chain of events ---------------------------------------------------------------------------------------------


def events(count: int = 5) -> tuple[list[dict[str, Any]], Head]:
    head, made = start(SECOND.genesis), []
    for i in range(count):
        event = placing_event(
            SECOND,
            head,
            kind="external" if i == 2 else "allocated",
            stratum="min",
            levels={"limb": "lower", "cause": "cancer"},
            participant=f"P{i}",
            at=f"2026-03-0{i + 1}T09:00:00Z",
            arm="TMR",
        )
        head = append(head, event)
        made.append(event)
    note = {"i": count + 1, "kind": "in_error", "of": 1, "at": "2026-03-09T09:00:00Z"}
    return [*made, note], append(head, note)


def test_events_are_numbered_and_only_allocations_take_a_place() -> None:
    made, head = events()
    assert [event["i"] for event in made] == [1, 2, 3, 4, 5, 6]
    assert [event.get("seq") for event in made] == [0, 1, 2, 3, 4, None]
    assert (head.events, head.places) == (6, 5)
    assert verify_chain(SECOND.genesis, made, head.hash)


def test_equal_arms_have_unequal_commitments() -> None:
    made, _ = events()
    commitments = [event["arm_commit"] for event in made[:5]]
    assert len(set(commitments)) == 5
    assert commitments[0] == hashlib.sha256(lp(SECOND.nonce(1), "TMR")).hexdigest()
    assert "TMR" not in canonical(made).decode()


TAMPERING: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "change a value": lambda made: made[1].update(participant="P9"),
    "change a level": lambda made: made[3]["levels"].update(limb="upper"),
    "change a commitment": lambda made: made[0].update(arm_commit="0" * 64),
    "change a time": lambda made: made[5].update(at="2026-03-08T09:00:00Z"),
    "add a key": lambda made: made[2].update(note=""),
    "drop a key": lambda made: made[2].pop("stratum"),
    "drop the first": lambda made: made.pop(0),
    "drop one": lambda made: made.pop(2),
    "drop the last": lambda made: made.pop(),
    "swap two": lambda made: made.insert(1, made.pop(2)),
    "swap two and renumber": lambda made: made.__setitem__(slice(1, 3), [{**made[2], "i": 2}, {**made[1], "i": 3}]),
    "repeat one": lambda made: made.insert(1, made[1]),
    "append one": lambda made: made.append({"i": 7, "kind": "in_error"}),
    "drop the number": lambda made: made[0].pop("i"),
    "drop the kind": lambda made: made[0].pop("kind"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_is_found(how: str) -> None:
    made, head = events()
    TAMPERING[how](made)
    assert not verify_chain(SECOND.genesis, made, head.hash)


@pytest.mark.parametrize("number", ["1", None, True, 1.0])
def test_a_number_of_another_type_is_found(number: Any) -> None:
    made, head = events()
    made[0]["i"] = number
    assert not verify_chain(SECOND.genesis, made, head.hash)


@given(st.data())
@settings(max_examples=40)
def test_any_change_of_any_value_is_found(data: st.DataObject) -> None:
    made, head = events()
    event = made[data.draw(st.integers(0, 5))]
    key = data.draw(st.sampled_from(sorted(event)))
    replaced = data.draw(st.one_of(st.integers(), st.text(max_size=3), st.none()))
    same = event[key] == replaced
    event[key] = replaced
    assert verify_chain(SECOND.genesis, made, head.hash) is same


def test_a_chain_is_bound_to_its_scheme() -> None:
    made, head = events()
    assert not verify_chain(Keys({**MINIMISED, "p": "9/10"}, MASTER, CONTRIBUTION).genesis, made, head.hash)
    assert verify_chain(SECOND.genesis, [], SECOND.genesis)
    assert chain(SECOND.genesis, made[0]) == append(start(SECOND.genesis), made[0]).hash
