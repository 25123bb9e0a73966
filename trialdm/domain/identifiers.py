"""Direct identifiers in free text: what looks like an NHS number, a date of birth, a postcode, an e-mail address or a telephone number.

An NHS number has ten digits, the last of which is a check digit modulo 11 (NHS Data Dictionary): a text with a valid one is
refused. Everything else only looks like an identifier and is asked about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Identifier:
    """Something that looks like an identifier: what, in words, and whether it is certain (`block`) or only likely (`warn`)."""

    words: str
    severity: Literal["block", "warn"]


_TEN_DIGITS = re.compile(r"(?<!\d)(\d{3})[ .-]?(\d{3})[ .-]?(\d{4})(?!\d)", re.ASCII)

_LIKELY = {
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    "a postcode": re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2}\b", re.ASCII),
    "a telephone number": re.compile(r"(?<![\w.])(?:\+44 ?|0)(?:\d[ -]?){9,10}(?!\w)", re.ASCII),
    "a date of birth": re.compile(
        r"\b(?:d\.?o\.?b\.?|date of birth|born)\b[^\d]{0,12}\d{1,4}[./ -]\w{1,9}[./ -]\d{2,4}", re.ASCII | re.IGNORECASE
    ),
}


def is_nhs_number(digits: str) -> bool:
    """Whether ten digits are a valid NHS number: weights 10 to 2, check digit 11 minus the remainder modulo 11."""
    remainder = sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True)) % 11
    return (11 - remainder) % 11 == int(digits[9])


def search(text: str) -> Iterator[Identifier]:
    """What in a text looks like an identifier, each kind once."""
    tens = ["".join(found.groups()) for found in _TEN_DIGITS.finditer(text)]
    if any(is_nhs_number(digits) for digits in tens):
        yield Identifier("an NHS number", "block")
    for words, pattern in _LIKELY.items():
        if pattern.search(text):
            yield Identifier(words, "warn")
