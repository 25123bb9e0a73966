"""Audit entries: commitments hide and bind values, and the code over a row changes with every field."""

import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialdm.domain.audit import Entry, authenticate, canonical, commit

KEY, SALT = b"k" * 32, bytes(16)
ENTRY = Entry(*(f"{name.name}-value" for name in fields(Entry)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (1, "1"),
        ("1", '"1"'),
        ("Zoë", '"Zoë"'),
        ([1, 4], "[1,4]"),
        ({"b": 1, "a": [None, True]}, '{"a":[null,true],"b":1}'),
    ],
)
def test_a_value_has_one_form(value: Any, text: str) -> None:
    assert canonical(value) == text.encode()


def test_a_commitment_is_the_hash_of_salt_and_value() -> None:
    assert commit(SALT, "82.5") == hashlib.sha256(b"\x02" + bytes(16) + b'"82.5"').hexdigest()


@given(JSON, JSON, st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_commitments_agree_exactly_when_value_and_salt_do(a: Any, b: Any, salt: bytes, other: bytes) -> None:
    assert (commit(salt, a) == commit(salt, b)) == (canonical(a) == canonical(b))
    assert (commit(salt, a) == commit(other, a)) == (salt == other)


@pytest.mark.parametrize("name", [field.name for field in fields(Entry)])
def test_the_code_changes_with_every_field(name: str) -> None:
    for changed in ("", f"{name}-valuE", f"{name}-value ", f"{name}-value\x00", "é"):
        assert authenticate(KEY, replace(ENTRY, **{name: changed})) != authenticate(KEY, ENTRY)


def test_the_code_depends_on_the_key() -> None:
    assert authenticate(b"j" * 32, ENTRY) != authenticate(KEY, ENTRY)
    assert authenticate(KEY, ENTRY) == authenticate(KEY, replace(ENTRY))


@given(st.integers(0, len(fields(Entry)) - 2), st.text(max_size=5), st.text(max_size=5))
def test_text_cannot_be_moved_from_one_field_to_the_next(place: int, a: str, b: str) -> None:
    first, second = (field.name for field in fields(Entry)[place : place + 2])
    entry, moved = replace(ENTRY, **{first: a + b, second: "x"}), replace(ENTRY, **{first: a, second: b + "x"})
    if not any(0xD800 <= ord(char) <= 0xDFFF for char in a + b):
        assert (authenticate(KEY, entry) == authenticate(KEY, moved)) == (entry == moved)
