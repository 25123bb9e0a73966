"""Pseudonyms: their written form, and which typing errors the two check characters find."""

import contextlib
import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.domain.pseudonym import ALPHABET, issue, normalise

RANDOMNESS = st.binary(min_size=5, max_size=5)
WORDS = "a participant is written as XXXX-XXXX-XX, with digits and letters but not B, I, O or S"
CHECKS = "the last two characters do not agree with the rest: check for a typing error"


def written(characters: list[str]) -> str:
    return f"{''.join(characters[:4])}-{''.join(characters[4:8])}-{''.join(characters[8:])}"


def is_found(characters: list[str]) -> bool:
    try:
        normalise(written(characters))
    except ValueError:
        return True
    return False


def plain(pseudonym: str) -> list[str]:
    return [character for character in pseudonym if character != "-"]


@pytest.mark.parametrize(
    ("randomness", "pseudonym"),
    [
        (b"\x00" * 5, "0000-0000-00"),
        (b"\xff" * 5, "ZZZZ-ZZZZ-"),
        (bytes(range(5)), "000H-40R4-"),
        (b"\x08B\x10\x84!", "1111-1111-"),
    ],
)
def test_is_made_of_five_bytes_in_order(randomness: bytes, pseudonym: str) -> None:
    assert issue(randomness).startswith(pseudonym[:10])
    assert len(issue(randomness)) == 12


@pytest.mark.parametrize("randomness", [b"", b"1234", b"123456"])
def test_takes_exactly_five_bytes(randomness: bytes) -> None:
    with pytest.raises(ValueError, match="exactly five random bytes"):
        issue(randomness)


@given(RANDOMNESS, RANDOMNESS)
def test_different_bytes_never_give_the_same_pseudonym(first: bytes, second: bytes) -> None:
    assert (issue(first)[:9] == issue(second)[:9]) == (first == second)


@given(RANDOMNESS)
def test_is_read_in_any_case_with_or_without_hyphens_and_spaces(randomness: bytes) -> None:
    pseudonym = issue(randomness)
    for typed in (pseudonym, pseudonym.lower(), pseudonym.replace("-", ""), f" {pseudonym.replace('-', ' ')} "):
        assert normalise(typed) == pseudonym
    assert not set(pseudonym) & set("BIOS")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", WORDS),
        ("0000-0000-0", WORDS),
        ("0000-0000-000", WORDS),
        ("0000-0000-0O", WORDS),
        ("B000-0000-00", WORDS),
        ("0000\t0000-00", WORDS),
        ("0000–0000–00", WORDS),
        ("００００-0000-00", WORDS),
        ("0000-0000-01", CHECKS),
        ("1000-0000-00", CHECKS),
    ],
)
def test_what_cannot_be_one_is_refused(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        normalise(typed)


@given(st.text(max_size=14))
def test_any_text_is_a_pseudonym_or_refused(typed: str) -> None:
    with contextlib.suppress(ValueError):
        assert normalise(normalise(typed)) == normalise(typed)


def test_every_wrong_character_is_found() -> None:
    right = plain(issue(b"trial"))
    for place in range(10):
        for character in ALPHABET.replace(right[place], ""):
            assert is_found([*right[:place], character, *right[place + 1 :]])


def test_every_two_wrong_characters_are_found() -> None:
    """The code is linear: it finds every pair of errors in one pseudonym exactly if it finds it in all. All 43,245 are tried."""
    right = plain("0000-0000-00")
    for one, other in combinations(range(10), 2):
        for a in ALPHABET[1:]:
            for b in ALPHABET[1:]:
                wrong = list(right)
                wrong[one], wrong[other] = a, b
                assert is_found(wrong), wrong


@given(RANDOMNESS, st.data())
def test_two_wrong_characters_are_found_in_any_pseudonym(randomness: bytes, data: st.DataObject) -> None:
    right = plain(issue(randomness))
    wrong = list(right)
    for place in data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True)):
        wrong[place] = data.draw(st.sampled_from(ALPHABET.replace(right[place], "")))
    assert is_found(wrong)


@given(RANDOMNESS, st.integers(0, 8))
def test_every_swap_of_neighbours_is_found(randomness: bytes, place: int) -> None:
    right = plain(issue(randomness))
    swapped = [*right[:place], right[place + 1], right[place], *right[place + 2 :]]
    assert is_found(swapped) or swapped == right
