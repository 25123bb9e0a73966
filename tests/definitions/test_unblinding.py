"""When participants are told their allocation: an optional place of the protocol file."""

import pytest

from tests.builders import ROOT
from tests.definitions.small import PROTOCOL
from tests.definitions.test_protocols import FILES, TOP, said
from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import read_folder


def test_a_protocol_that_tells_nobody_needs_no_word() -> None:
    assert load_protocol(FILES).participant_told_after == ""


@pytest.mark.parametrize(
    ("text", "told_after", "problems"),
    [
        ("unblinding: {participant_after: V02}\n", "V02", []),
        ("unblinding: {participant_after: V09}\n", "", [f"protocol.yaml:{PROTOCOL.count(chr(10)) + 1}: there is no visit 'V09'"]),
        ("unblinding: {}\n", "", [f"protocol.yaml:{PROTOCOL.count(chr(10)) + 1}: 'participant_after' is missing"]),
    ],
)
def test_the_visit_is_one_of_the_protocol(text: str, told_after: str, problems: list[str]) -> None:
    files = {**FILES, TOP: FILES[TOP] + text}
    if problems:
        assert said(files) == problems
    else:
        assert load_protocol(files).participant_told_after == told_after


def test_what_the_system_looks_for_is_marked_in_the_demonstrations_protocol() -> None:
    protocol = load_protocol(read_folder(ROOT / "protocols" / "pre-tmr"))
    assert protocol.participant_told_after == "V07"
    for meaning, form in (
        *((f"planned_{part}", "CLIN") for part in ("side", "limb", "level")),
        *((f"unblinding_{part}", "UNBL") for part in ("reason", "by", "at")),
    ):
        found = protocol.meaning(meaning)
        assert found is not None
        assert found[0].code == form
