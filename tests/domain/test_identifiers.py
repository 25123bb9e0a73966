"""What in a text looks like an identifier, and what only resembles one."""

import pytest

from trialdm.domain.errors import Invalid
from trialdm.domain.identifiers import require_none, search

CASES = [
    ("999 000 0018 came back", ["an NHS number"]),
    ("9990000018", ["an NHS number"]),
    ("999-000-0019", []),
    ("lives at LS1 4DY", ["a postcode"]),
    ("lives at ls1 4dy", ["a postcode"]),
    ("sw1a1aa", ["a postcode"]),
    ("BT9 7AB", ["a postcode"]),
    ("block at L5, then 5 ug", []),
    ("t10 5ug", []),
    ("c6 2wd", []),
    ("call 0113 496 0000", ["a telephone number"]),
    ("call (0113) 496 0000", ["a telephone number"]),
    ("(0113)4960000", ["a telephone number"]),
    ("+44 (0)113 496 0000", ["a telephone number"]),
    ("+44 113 496 0000", ["a telephone number"]),
    ("0.5 mg, then 0 of 10", []),
    ("nurse@ward.example", ["an e-mail address"]),
    ("born 3 May 1961", ["a date of birth"]),
    ("DOB: 03/05/1961", ["a date of birth"]),
]


@pytest.mark.parametrize(("text", "found"), CASES, ids=[text for text, _ in CASES])
def test_looks_like(text: str, found: list[str]) -> None:
    assert [one.words for one in search(text)] == found


def test_only_what_is_certain_is_refused() -> None:
    require_none("nurse@ward.example, ls1 4dy", "reason")
    with pytest.raises(Invalid) as refused:
        require_none("see 999 000 0018", "reason")
    assert (refused.value.code, refused.value.details[0].place) == ("GATE.GOV-41", "reason")
