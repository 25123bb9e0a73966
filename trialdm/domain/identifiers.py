"""Direct identifiers in free text: what looks like an NHS number, a date of birth, a postcode, an e-mail address or a telephone number.

An NHS number has ten digits, the last of which is a check digit modulo 11 (NHS Data Dictionary): a text with a valid one is
refused. Everything else only looks like an identifier and is asked about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trialdm.domain.errors import Detail, Invalid


@dataclass(frozen=True)
class Identifier:
    """Something that looks like an identifier: what, in words, and whether it is certain (`block`) or only likely (`warn`)."""

    words: str
    severity: Literal["block", "warn"]


_TEN_DIGITS = re.compile(r"(?<!\d)(\d{3})[ .-]?(\d{3})[ .-]?(\d{4})(?!\d)", re.ASCII)

#: The areas with which postcodes begin (Royal Mail; GIR and the overseas territories left out). Without them `t10 5ug` would look like one.
_AREAS = (
    "AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX FK FY G GL GU GY HA HD HG "
    "HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N NE NG NN NP NR NW OL OX PA PE PH PL PO PR RG RH RM S SA "
    "SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB W WA WC WD WF WN WR WS WV YO ZE"
).split()

_LIKELY = {
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    "a postcode": re.compile(rf"\b(?:{'|'.join(_AREAS)})\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{{2}}\b", re.ASCII | re.IGNORECASE),
    "a telephone number": re.compile(r"(?<![\w.])(?:\+44[ -]?(?:\(0\))?|\(?0)(?:[ )-]{0,2}\d){9,10}(?!\w)", re.ASCII),
    "a date of birth": re.compile(
        r"\b(?:d\.?o\.?b\.?|date of birth|born)\b[^\d]{0,12}\d{1,4}[./ -]\w{1,9}[./ -]\d{2,4}", re.ASCII | re.IGNORECASE
    ),
}


def is_nhs_number(digits: str) -> bool:
    """Whether ten digits are a valid NHS number: weights 10 to 2, check digit 11 minus the remainder modulo 11."""
    remainder = sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True)) % 11
    return (11 - remainder) % 11 == int(digits[9])


def require_none(text: str, place: str) -> None:
    """Raises Invalid, naming the place, for words that hold what certainly identifies a person: they would be kept for good."""
    found = next((one for one in search(text) if one.severity == "block"), None)
    if found:
        message = f"This looks like {found.words}. Remove it."
        detail = Detail("GATE.GOV-41", message, place)
        raise Invalid(message, code="GATE.GOV-41", needs="Words that identify nobody.", details=[detail])


def search(text: str) -> Iterator[Identifier]:
    """What in a text looks like an identifier, each kind once."""
    tens = ["".join(found.groups()) for found in _TEN_DIGITS.finditer(text)]
    if any(is_nhs_number(digits) for digits in tens):
        yield Identifier("an NHS number", "block")
    for words, pattern in _LIKELY.items():
        if pattern.search(text):
            yield Identifier(words, "warn")
