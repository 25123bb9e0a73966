"""What is typed into fields, and how conditions are said: pure, without a browser."""

from dataclasses import replace
from pathlib import Path

import pytest

from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import read_folder
from trialdm.domain import expressions
from trialdm.domain.expressions import Name
from trialdm.web import wording
from trialdm.web.typed import normal


@pytest.mark.parametrize(
    ("type_name", "given", "read"),
    [
        ("date", "7/3/2026", "2026-03-07"),
        ("date", "07.03.2026", "2026-03-07"),
        ("date", "07-03-2026", "2026-03-07"),
        ("date", "7 3 2026", "2026-03-07"),
        ("date", "2026-03-07", "2026-03-07"),
        ("date", "31/2/2026", "2026-02-31"),
        ("date", "7/3/26", "7/3/26"),
        ("pdate", "3/2026", "2026-03"),
        ("pdate", "2026", "2026"),
        ("pdate", "7/3/2026", "2026-03-07"),
        ("time", "0905", "09:05"),
        ("time", "9.05", "09:05"),
        ("time", "9:05", "09:05"),
        ("time", "noon", "noon"),
        ("dtm", "7/3/2026 9:05", "2026-03-07 09:05"),
        ("dtm", "7/3/2026, 0905", "2026-03-07 09:05"),
        ("dtm", "2026-03-07 09:05", "2026-03-07 09:05"),
        ("dtm", "2026-03-07T09:05", "2026-03-07T09:05"),
        ("dtm", "7/3/2026", "7/3/2026"),
        ("int", " 7 ", " 7 "),
        ("text", "7/3/2026", "7/3/2026"),
    ],
)
def test_typed_dates_and_times(type_name, given, read):
    assert normal(type_name, given) == read


@pytest.fixture(scope="module")
def form():
    """The pain form of the demonstration protocol."""
    return load_protocol(read_folder(Path(__file__).parents[2] / "protocols" / "pre-tmr")).form("PAIN")


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("rlp_any == 1", "Answer if “Any residual limb pain, past 7 days” is Yes."),
        ("rlp_worst >= 4", "Answer if “Residual limb pain: worst, past 7 days” is at least 4."),
        ("visit_no >= 3 and rlp_any == 0", "Answer if “Any residual limb pain, past 7 days” is No."),
        ("answered(rlp_worst)", "Answer if “Residual limb pain: worst, past 7 days” is answered."),
        ("rlp_any == 1 or visit_no == 3", "Answer only if it applies."),
        ("rlp_any == 1 and (plp_any == 1 or rlp_worst > 3)", "Answer only if it applies."),
        ("rlp_worst + rlp_avg > 4", "Answer only if it applies."),
        ("visit_no >= 3", ""),
    ],
)
def test_conditions_in_words(form, condition, said):
    names = {name: Name("number") for name in (*form.by_name, "visit_no")}
    item = replace(form.items[0], show_if=expressions.parse(condition, names))
    assert wording.condition(item, form, frozenset(form.by_name), {}, blinded=True) == said


def test_a_condition_names_nothing_that_the_reader_may_not_see(form):
    item = replace(form.items[0], show_if=expressions.parse("rlp_any == 1", {"rlp_any": Name("number")}))
    readable = frozenset(form.by_name) - {"rlp_any"}
    assert wording.condition(item, form, readable, {}, blinded=True) == "Answer only if it applies."


def test_several_codes_are_handed_on_as_they_are():
    assert normal("multi", ["1", "4"]) == ["1", "4"]
