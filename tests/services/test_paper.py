"""Forms on paper: what the blank, the filled and the annotated ones say, and what blinded readers do not find in them."""

import re
from collections.abc import Callable
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from tests import builders
from tests.builders import TRIAL, World
from trialdm.documents import page
from trialdm.documents.page import Ask, Document
from trialdm.documents.press import Press
from trialdm.domain import naming
from trialdm.domain.errors import Missing
from trialdm.domain.protocol import BUILT_IN_FACTS
from trialdm.services import places, signatures
from trialdm.services.unit import Unit
from trialdm.web import paper


def blank(world: World, form: str = "", visit: str = "", role: str = "research-nurse") -> Document:
    return world.read(role, lambda unit: paper.blank(unit, TRIAL, form, visit))


def asked(document: Document) -> dict[str, Ask]:
    return {block.label: block for section in document.sections for block in section.blocks if isinstance(block, Ask)}


def filled(world: World, ident: str, role: str = "research-nurse", **wanted: Any) -> str:
    return page.html(world.read(role, lambda unit: paper.filled(unit, TRIAL, ident, **wanted)))


def test_a_blank_form_has_room_for_every_answer_and_for_who_wrote_it(sqlite_world: World) -> None:
    questions = asked(blank(sqlite_world, "CLIN"))
    form = sqlite_world.protocol.form("CLIN")
    assert {"Participant number", "Visit", "Initials of whoever fills it in"} <= set(questions)
    assert {item.label for item in form.items if item.typed_in} <= set(questions)
    assert not {item.label for item in form.items if item.calculated} & set(questions)
    abpi = form.by_name["abpi"]
    assert re.fullmatch(r"_*_\._+", questions[abpi.label].boxes)
    assert questions[form.by_name["surg_date_plan"].label].boxes == "__/__/____"
    assert "Cancer" in questions[form.by_name["aetiol_main"].label].choices
    medicine = asked(blank(sqlite_world, "ANLG"))["Medicine"]
    assert medicine.lines == 1
    assert "Answer if “Any pain medicine or injection in the past 7 days” is Yes." in medicine.notes
    text = page.html(blank(sqlite_world, "CLIN"))
    assert f"protocol version {sqlite_world.protocol.version}" in text
    assert not re.search(r"[nN]ame of the participant|Date of birth|NHS number|address", text)


def test_a_blank_form_names_ranges_and_units(sqlite_world: World) -> None:
    questions = asked(blank(sqlite_world, "DEMO"))
    weight = sqlite_world.protocol.form("DEMO").by_name["weight_kg"]
    found = questions[weight.label]
    assert found.unit == "kg"
    assert any(note.startswith("From") and note.endswith("kg") for note in found.notes)


def test_the_blank_forms_of_a_visit_are_those_of_the_visit(sqlite_world: World) -> None:
    titles = {section.title.partition(":")[0] for section in blank(sqlite_world, visit="V04").sections[1:]}
    assert {"PAIN", "ANLG", "FUNL", "VISI"} <= titles
    assert not {"CONS", "DEMO", "SURG"} & titles
    with pytest.raises(Missing):
        blank(sqlite_world, "CONS", "V04")


@pytest.mark.parametrize(
    ("form", "numbered", "worded"), [("NPQ", 10, ""), ("PRPI", 3, "Pain type asked about"), ("FUNL", 18, "Prosthesis status")]
)
def test_licensed_questionnaires_are_printed_without_wording(sqlite_world: World, form: str, numbered: int, worded: str) -> None:
    questions = asked(blank(sqlite_world, form))
    assert len([label for label in questions if re.match(r"Q\d+ \(", label)]) == numbered
    assert not worded or worded in questions
    items = [item for item in sqlite_world.protocol.form(form).items if item.name[-1].isdigit()]
    text = page.html(blank(sqlite_world, form))
    assert not [item.label for item in items if item.label in text]


def test_a_filled_form_says_answers_reasons_who_saved_and_who_signed(world: World) -> None:
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 7, "pain_assist": 1}, only=True, missing={"limb_avg": "RF"})

    def sign(unit: Unit) -> None:
        place = places.locate(unit, TRIAL, ident, "V01", "PAIN")
        book, _ = places.saved(unit, place)
        signatures.sign(unit, place.protocol, book, {place.key: 1}, builders.PASSWORD)

    world.run("principal-investigator", sign)
    text = filled(world, ident, visit="V01", form="PAIN", audit=True)
    for words in (
        "No answer: refused",
        "Signed",
        "Principal-Investigator S01",
        "I have reviewed this form",
        "Research-Nurse S01",
        "audit trail",
    ):
        assert words in text, words
    assert "<td>7</td>" in text
    assert "audit trail" not in filled(world, ident, visit="V01", form="PAIN")


def test_the_casebook_holds_every_saved_form_and_only_those(sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    text = filled(sqlite_world, ident)
    assert all(f">{code}: " in text for code in ("CONS", "CLIN", "DEMO", "PAIN", "ELIG"))
    assert ">PGIC: " not in text
    with pytest.raises(Missing):
        filled(sqlite_world, ident, visit="V04")


def test_confirmed_checks_stand_on_the_form(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    builders.put(sqlite_world, ident, "V01", "EQ5D", {"eq_vas": 100})
    text = filled(sqlite_world, ident, visit="V01", form="EQ5D")
    assert "EQ5D-01" in text
    assert "very end" in text


RESTRICTED = ("SURG", "NERV", "RAND", "UNBL")


@pytest.mark.parametrize("role", ["research-nurse", "blinded-assessor", "data-manager", "statistician-blinded", "monitor"])
def test_blinded_readers_get_no_restricted_form_item_or_check(sqlite_world: World, role: str) -> None:
    documents = [
        sqlite_world.read(role, lambda unit: paper.annotated(unit, TRIAL)),
        sqlite_world.read(role, lambda unit: paper.described(unit, TRIAL)),
        blank(sqlite_world, role=role),
    ]
    hidden = {
        item.name for form in sqlite_world.protocol.forms for item in (*form.items, *form.summary) if form.restricted or item.restricted
    }
    for document in documents:
        text = page.html(document)
        assert not [name for name in hidden - BUILT_IN_FACTS.keys() if re.search(rf"\b{name}\b", text)]
        assert not [code for code in RESTRICTED if re.search(rf">{code}[:<]", text, re.I)]
        assert "Restricted" not in text
    for form in RESTRICTED:
        with pytest.raises(Missing):
            sqlite_world.read(role, lambda unit, form=form: paper.annotated(unit, TRIAL, form))
        with pytest.raises(Missing):
            blank(sqlite_world, form, role=role)


def test_an_annotated_form_says_what_stands_behind_each_question(sqlite_world: World) -> None:
    text = page.html(sqlite_world.read("surgeon", lambda unit: paper.annotated(unit, TRIAL)))
    for form in sqlite_world.protocol.forms:
        for item in form.items:
            assert f"<td>{item.name}</td>" in text, item.name
            if item.exported:
                assert ", ".join(naming.columns_of(item)) in text
        assert all(f'<th scope="row">{check.id}</th>' in text for check in form.checks)
    assert "___1" in text
    assert "The whole form" in text


def test_a_document_escapes_what_people_wrote(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    builders.put(sqlite_world, ident, "V01", "ANLG", {"an_any": 1, "an_class": 1, "an_drug": "<b>paracetamol</b>", "an_days7": 3})
    assert "&lt;b&gt;paracetamol" in filled(sqlite_world, ident, visit="V01", form="ANLG")


def test_a_long_document_is_made_beside_the_request_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, goes_on = [], Event()

    def slowly(text: str) -> bytes:
        made.append(text)
        assert goes_on.wait(10)
        return b"%PDF of " + str(len(made)).encode()

    monkeypatch.setattr(page, "pdf", slowly)
    press, document = Press(), page.Document("Title", "Printed at 09:00.", ())
    assert press.pdf(document, patience=0.01) is None
    assert press.pdf(replace(document, lead="Printed at 09:01."), patience=0.01) is None
    goes_on.set()
    assert press.pdf(document, patience=10) == b"%PDF of 1"
    assert press.pdf(replace(document, title="Another"), patience=10) == b"%PDF of 2"
    assert ["09:00" in text for text in made] == [True, True]


def test_a_document_that_could_not_be_made_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def fails(text: str) -> bytes:
        tried.append(text)
        raise ValueError("no paper")

    monkeypatch.setattr(page, "pdf", fails)
    press, document = Press(), page.Document("Title", "", ())
    for _ in range(2):
        with pytest.raises(ValueError, match="no paper"):
            press.pdf(document, patience=10)
    assert len(tried) == 2


@pytest.mark.parametrize("kind", ["blank", "annotated", "filled"])
def test_a_document_becomes_a_pdf(sqlite_world: World, kind: str) -> None:
    pytest.importorskip("weasyprint")
    ident = builders.consented(sqlite_world)
    builders.put(sqlite_world, ident, "V01", "PAIN")
    made: dict[str, Callable[[Unit], Document]] = {
        "blank": lambda unit: paper.blank(unit, TRIAL, "PAIN"),
        "annotated": lambda unit: paper.annotated(unit, TRIAL, "PAIN"),
        "filled": lambda unit: paper.filled(unit, TRIAL, ident, visit="V01", form="PAIN"),
    }
    assert page.pdf(page.html(sqlite_world.read("research-nurse", made[kind]))).startswith(b"%PDF")
