"""Identities: what is taken for one, and what of one is found in a text."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.demo.invented import invented, nhs_number
from trialdm.domain import identity
from trialdm.domain.errors import Invalid
from trialdm.domain.identifiers import is_nhs_number

TODAY = date(2026, 3, 10)
ANN: dict[str, str] = {
    "family_name": "Möller-Hollingworth",
    "given_name": "Ann-Marie",
    "born": "1948-03-05",
    "postcode": "ls1 4ap",
    "nhs_number": "999 000 0018",
    "phone": "0113 496 0123",
}


def read(world: str = "test", **changed: str) -> identity.Identity:
    return identity.read({**ANN, **changed}, world=world, today=TODAY)


def wrong(world: str = "test", **changed: str) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        read(world, **changed)
    return {detail.place: detail.message for detail in refused.value.details}


def test_what_was_typed_is_put_into_one_form() -> None:
    who = read()
    assert (who.nhs_number, who.postcode, who.phone, who.born) == ("9990000018", "LS1 4AP", "01134960123", date(1948, 3, 5))
    assert identity.from_json(who.to_json()) == who
    assert repr(who) == "Identity()"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"nhs_number": "9990000019"}, "nhs_number"),
        ({"nhs_number": "999000001"}, "nhs_number"),
        ({"nhs_number": "٩٩٩٠٠٠٠٠١٨"}, "nhs_number"),
        ({"nhs_number": ""}, "nhs_number"),
        ({"nhs_number": "", "no_nhs_number": "."}, "nhs_number"),
        ({"no_nhs_number": "Lives abroad"}, "no_nhs_number"),
        ({"family_name": "-"}, "family_name"),
        ({"given_name": ""}, "given_name"),
        ({"born": "2026-03-11"}, "born"),
        ({"born": "1800-01-01"}, "born"),
        ({"born": "05/03/1948"}, "born"),
        ({"postcode": "M60"}, "postcode"),
        ({"phone": "ring the desk"}, "phone"),
        ({"family_name": "x" * 101}, "family_name"),
    ],
)
def test_what_cannot_be_is_named_by_its_field_and_never_repeated(changed: dict[str, str], field: str) -> None:
    found = wrong(**changed)
    assert set(found) == {field}
    assert not any(value and value in message for value in changed.values() for message in found.values() if len(value) > 1)


def test_real_numbers_are_for_live_worlds_and_invented_ones_for_others() -> None:
    assert read("live", nhs_number="9434765919").nhs_number == "9434765919"
    assert set(wrong("live")) == {"nhs_number"}
    assert set(wrong("test", nhs_number="9434765919")) == {"nhs_number"}


@pytest.mark.parametrize("digit", range(10))
def test_ten_times_the_same_digit_is_no_nhs_number(digit: int) -> None:
    for world in ("live", "test"):
        assert "nhs_number" in wrong(world, nhs_number=str(digit) * 10)


@given(st.text("0123456789", min_size=10, max_size=10), st.integers(0, 9), st.integers(1, 9))
def test_one_wrong_digit_of_an_nhs_number_is_always_found(digits: str, place: int, by: int) -> None:
    remainder = sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True)) % 11
    check = (11 - remainder) % 11
    if check == 10:
        assert not any(is_nhs_number(digits[:9] + str(last)) for last in range(10))
        return
    number = digits[:9] + str(check)
    assert is_nhs_number(number)
    other = number[:place] + str((int(number[place]) + by) % 10) + number[place + 1 :]
    assert not is_nhs_number(other)


def test_invented_people_are_different_and_pass() -> None:
    people = [identity.read(invented(number), world="test", today=TODAY) for number in range(300)]
    assert len({who.nhs_number for who in people if who.nhs_number}) == sum(bool(who.nhs_number) for who in people) == 275
    assert all(nhs_number(number).startswith(identity.SYNTHETIC) for number in range(300))


#: A text -> the kinds of Ann's identifiers in it.
FOUND: list[tuple[str, tuple[str, ...]]] = [
    ("NHS 999 000 0018, seen today", ("nhs_number",)),
    ("999-000-0018", ("nhs_number",)),
    ("9990000018", ("nhs_number",)),
    ("Hollingworth attended", ("name",)),
    ("HOLLINGWORTH attended", ("name",)),
    ("Mrs Holingworth attended", ("name",)),
    ("Mrs Hollingwroth attended", ("name",)),
    ("Hollingworth's daughter rang", ("name",)),
    ("Moller rang", ("name",)),
    ("Möller rang", ("name",)),
    ("Mollerhollingworth rang", ("name",)),
    ("Annmarie rang", ("name",)),
    ("Ann-Marie Möller-Hollingworth", ("full_name",)),
    ("Marie said that Hollingworth (her name) is misspelt", ("full_name",)),
    ("born 05/03/1948", ("born",)),
    ("5/3/48", ("born",)),
    ("05.03.1948", ("born",)),
    ("05-03-1948", ("born",)),
    ("1948-03-05", ("born",)),
    ("1948/03/05", ("born",)),
    ("05031948", ("born",)),
    ("19480305", ("born",)),
    ("5 March 1948", ("born",)),
    ("5th of March 1948", ("born",)),
    ("05-Mar-1948", ("born",)),
    ("March 5, 1948", ("born",)),
    ("5 mar 48", ("born",)),
    ("lives at LS1 4AP", ("postcode",)),
    ("lives at ls14ap", ("postcode",)),
    ("ring 0113 496 0123", ("phone",)),
    ("ring +44 113 496 0123", ("phone",)),
    ("ring (0113) 496-0123", ("phone",)),
]

#: Texts of clinical notes in which nothing of Ann's stands.
CLEAN = [
    "Stump wound healing well, mild pain on walking, no fever",
    "Operated on 05/03/2026 by the team at LS1 3EX",
    "Ring the ward on 0113 243 1234 before the visit",
    "Phantom limb pain 4 out of 10; gabapentin 300 mg three times a day",
    "Seen on 5 March 2026, annual review due",
    "Sepsis ruled out, CRP 48, potassium 4.1",
    "Sample 1948-3 sent to the laboratory on 2026-03-05",
    "She felt well and mobile; annoyed by the noise on the ward",
    "NHS 999 000 0026 is somebody else's number",
]


@pytest.mark.parametrize(("text", "kinds"), FOUND, ids=[text for text, _ in FOUND])
def test_identifiers_in_a_text_are_found(text: str, kinds: tuple[str, ...]) -> None:
    assert identity.found_in(read(), text) == kinds


@pytest.mark.parametrize("text", CLEAN)
def test_a_clean_text_raises_no_alarm(text: str) -> None:
    assert identity.found_in(read(), text) == ()


@pytest.mark.parametrize(
    ("name", "text"), [("Paine", "pain in the limb"), ("Stone", "store it cool"), ("Lee", "lees"), ("Hand", "the hand")]
)
def test_short_and_common_words_count_as_names_only_letter_by_letter(name: str, text: str) -> None:
    found = identity.found_in(read(family_name=name), text)
    assert found == (("name",) if name == "Hand" or text == "store it cool" else ())


@given(st.sampled_from(range(200)), st.integers(0, 30), st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
def test_a_name_with_one_letter_wrong_is_found(number: int, place: int, letter: str) -> None:
    who = identity.read(invented(number), world="test", today=TODAY)
    name = who.family_name
    at = place % len(name)
    assert {"name"} <= set(identity.found_in(who, f"seen with {name[:at]}{letter}{name[at + 1 :]} today"))


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [("venables", "venable", True), ("venables", "vneables", True), ("venables", "venables", False), ("venables", "vanablis", False)],
)
def test_one_letter_apart(one: str, other: str, apart: bool) -> None:
    assert identity.one_apart(one, other) is identity.one_apart(other, one) is apart


def test_two_identifiers_make_the_same_person() -> None:
    other: dict[str, Any] = {"family_name": "Quarmby", "given_name": "Percival", "born": "1950-01-01"}
    assert identity.agree(read(), read(**{**other, "born": ANN["born"]}))
    assert identity.agree(read(), read(**{**other, "given_name": "ann marie"}))
    assert not identity.agree(read(), read(**other))
