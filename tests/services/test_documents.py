"""The specification sheet, the balance report and the printed envelopes: who gets them, what they say, and that they stand alone."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests import builders
from tests.builders import TRIAL, World
from trialdm.documents import page
from trialdm.documents.envelopes import Slip, printable
from trialdm.domain import roles
from trialdm.domain.errors import Broken, Forbidden
from trialdm.domain.randomisation import vectors
from trialdm.services import balance, chains, corrections, specification
from trialdm.services.specification import in_words


def sheet(world: World, role: str = "statistician-unblinded") -> str:
    return page.html(world.read(role, lambda unit: specification.sheet(unit, TRIAL)))


def report(world: World, role: str = "statistician-unblinded") -> page.Document:
    return world.run(role, lambda unit: balance.report(unit, TRIAL))


def tables(document: page.Document) -> dict[str, list[list[str]]]:
    """Tables by caption."""
    blocks = [block for section in document.sections for block in section.blocks]
    return {block.caption: [list(row) for row in block.rows] for block in blocks if isinstance(block, page.Rows)}


# --- the specification -----------------------------------------------------------------------------------------------


def test_the_sheet_has_the_paragraphs_of_consort_the_commitment_and_both_signatures(world: World) -> None:
    text_ = sheet(world)
    for words in (
        "17a. No sequence was drawn up in advance",
        "17b. Participants were allocated 1:1 by minimisation on site, limb",
        "18. Allocation was by a central web service",
        "19. Neither those who enrolled participants",
        "probability 4/5 (0.80)",
        "the first 10 are allocated by simple randomisation",
        "Prepared by: Trial-Manager",
        "Checked and signed by: Sponsor",
        "Nobody added an independent contribution",
    ):
        assert words in text_, words
    assert "DIFFERS" not in text_


def test_the_published_vectors_come_out_again() -> None:
    for what, expected, found in vectors.results():
        assert found == expected, what


RECRUITERS = ("trial-coordinator", "research-nurse", "principal-investigator", "sub-investigator", "surgeon", "blinded-assessor")
OTHERS = ("monitor", "data-manager")


@pytest.mark.parametrize("role", RECRUITERS + OTHERS)
def test_nobody_who_recruits_or_has_no_need_reads_the_sheet(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden) as refused:
        sheet(sqlite_world, role)
    assert refused.value.code == "ROLE.SPECIFICATION"


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"method": "simple"}, "simple randomisation"),
    ({"method": "pbr", "sizes": [4]}, "permuted blocks of size 4"),
    ({"method": "pbr", "sizes": [2, 4], "size_weights": [3, 1]}, "permuted blocks of size 2, 4, drawn with weights 3, 1"),
    ({"method": "efron", "p": "2/3"}, "Efron's biased coin with probability 2/3 for the arm that is behind"),
    ({"method": "bigstick", "mti": 3}, "the big stick design: a fair coin until the arms differ by 3"),
    ({"method": "chen", "mti": 3, "p": "2/3"}, "probability 2/3 for the arm that is behind, certain where the arms differ by 3"),
    ({"method": "urn", "w": 1, "alpha": 0, "beta": 1}, "Wei's urn design UD(1, 0, 1)"),
    ({"method": "blockurn", "lambda": 2}, "the block urn design with lambda 2"),
    ({"method": "maximal", "mti": 2, "n": 20}, "the maximal procedure in runs of 20 with a maximum tolerated imbalance of 2"),
    ({"method": "list", "slots": 4, "list_sha256": "ab"}, "a list made elsewhere: 4 places, SHA-256 ab"),
    (
        {
            "method": "minimisation",
            "imbalance": "sd",
            "p_ranks": ["2/3", "1/3"],
            "overall": 2,
            "strata": ["limb"],
            "factors": [{"name": "limb"}, {"name": "site"}],
        },
        "minimisation on site (Pocock and Simon 1975): of the weighted sum of the standard deviation of the counts over the arms, the arms "
        "ranked by it have the probabilities 2/3, 1/3; the balance of the arms in all counts with weight 2; separately within each level "
        "of limb",
    ),
]


@pytest.mark.parametrize(("config", "words"), CONFIGS, ids=lambda value: value.get("method") if isinstance(value, dict) else None)
def test_every_method_is_said_in_words(config: dict[str, Any], words: str) -> None:
    assert words in in_words(config)


# --- balance ---------------------------------------------------------------------------------------------------------


def test_the_report_counts_by_arm_level_and_site_and_finds_the_order_kept(world: World) -> None:
    idents = [builders.randomised(world, site) for site in ("S01", "S02", "S01")]
    found = tables(report(world))
    arms = [builders.arm_of(world, ident) for ident in idents]
    assert found["All participants"][0][1:3] == [str(arms.count(1)), str(arms.count(2))]
    assert sum(int(cell) for row in found["Sites"] for cell in row[1:3]) == 3
    assert sum(int(cell) for row in found["Limb"] for cell in row[1:3]) == 3
    words = page.html(report(world))
    assert "3 and 3" in words
    assert "For everybody consent came before randomisation" in words


def test_an_error_and_a_wait_stand_in_the_report(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    sqlite_world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, ident, 3, "Pressed for the wrong list"))
    found = tables(report(sqlite_world))
    assert found["What was found afterwards"][0][:3] == ["S01-0001", "in error", "Pressed for the wrong list"]
    assert [row[-1] for row in found["Days from randomisation to surgery"]].count("1") == 1


@pytest.mark.parametrize("role", sorted({role for role, _ in builders.CAST} - roles.ACTIONS["allocation.balance"]))
def test_nobody_else_gets_the_report(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden):
        report(sqlite_world, role)


def test_a_report_of_tampered_allocations_is_refused(sqlite_world: World) -> None:
    builders.randomised(sqlite_world)
    with sqlite_world.instance.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER guard_scheme_event_update"))
        connection.execute(text('UPDATE scheme_event SET data = replace(data, \'"limb":"1"\', \'"limb":"2"\')'))
    chains._RUNNING.clear()
    with pytest.raises(Broken) as refused:
        report(sqlite_world)
    assert refused.value.code == "ALLOC.CHAIN"


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_document_stands_alone_and_escapes_what_it_is_given(sqlite_world: World) -> None:
    blocks = (page.Words("<script>"), page.Facts((("t", "<i>"),)), page.Rows("c", ("x",), [("<u>",)]))
    made = page.Document("<b>Title</b>", "a & b", (page.Section("S", blocks),))
    text_ = page.html(made)
    assert not re.search(r"<(b|script|i|u)>", text_)
    assert "&lt;script&gt;" in text_
    for document in (text_, sheet(sqlite_world)):
        assert not re.search(r"""(src|href)=|url\(|@import|http""", document)


def test_a_document_becomes_a_pdf(sqlite_world: World) -> None:
    assert page.pdf(sheet(sqlite_world)).startswith(b"%PDF")


def test_each_envelope_has_a_label_without_the_arm_and_a_sheet_with_it() -> None:
    text_ = printable("PRE-TMR", "S01", [Slip(1, "TMR", "Targeted muscle reinnervation"), Slip(2, "Standard", "Standard nerve handling")])
    sections = text_.split("<section>")[1:]
    assert len(sections) == 5
    assert ["TMR)" in section or "Standard)" in section for section in sections] == [False, False, True, False, True]


def test_the_report_says_how_long_people_waited(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    sqlite_world.now += timedelta(days=3)
    given = {"surg_done": 1, "surg_date": sqlite_world.now.date().isoformat()}
    builders.put(sqlite_world, ident, "V02", "SURG", given, role="surgeon")
    found = tables(report(sqlite_world))["Days from randomisation to surgery"]
    assert [row[1:5] for row in found if row[1] == "1"] == [["1", "3", "3", "3"]]
