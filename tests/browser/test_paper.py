"""Printed forms, the table of rows, and the import, as people see them: by keyboard, without JavaScript, on a telephone."""

import re

import pytest

from tests.browser.conftest import press

NURSE, DATA_MANAGER, SURGEON = "nurse.s01@demo.example", "data@demo.example", "surgeon.s01@demo.example"


def test_forms_are_printed_blank_filled_and_annotated(visit, check):
    """On the narrowest of screens, where everything that is wide would show."""
    width = 320
    visitor = visit(NURSE, width=width)
    page = visitor.page
    one = f"/participants/{visitor.participant('follow_up')}"
    for path in (
        "/forms",
        "/forms/PAIN/blank",
        "/forms/NPQ/blank",
        "/forms/PAIN/annotated",
        "/forms/codebook",
        f"{one}/print",
        f"{one}/visits/V01/print?audit=1",
        f"{one}/visits/V01/forms/PAIN/print",
        f"{one}/visits/V04/forms/ANLG/new",
        f"{one}/visits/V04/forms/DIAR/table",
    ):
        visitor.go(path)
        assert page.locator("h1").count() == 1, path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        if path != f"{one}/print":  # the same parts as those of a visit, too many for a quick look at all of them
            check(page)


def test_a_diary_is_filled_in_as_one_table_by_keyboard(visit):
    visitor = visit(NURSE, javascript=False)
    page = visitor.page
    visitor.go(f"/participants/{visitor.participant('follow_up')}/visits/U51/forms/DIAR")
    press(page, "text=Fill in all rows")
    page.focus("#r1-dia_day")
    for text in ("1", "20/11/2026", "4", "nk"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.type("2")
    page.fill("#r2-dia_rlp", "11")
    press(page, "text=Save rows as complete")
    assert "Row 2: Residual limb pain: worst today" in page.locator(".error-summary").inner_text()
    assert page.input_value("#r1-dia_day") == "1"
    for field, text in {"dia_rlp": "7", "dia_plp": "0", "dia_date": "19/11/2026"}.items():
        page.fill(f"#r2-{field}", text)
    press(page, "text=Save rows as complete")
    for box in page.locator("[name=confirm]").all():
        box.check()
    if page.locator("[name=confirm]").count():
        press(page, "text=Confirm and save")
    assert "2 rows saved" in page.locator(".saved").inner_text()
    assert page.input_value("#r1-dia_plp") == "NK"


def test_rows_lead_to_one_another_and_to_the_next_new_one(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    visitor.go(f"/participants/{visitor.participant('follow_up')}/visits/U52/forms/ANLG/new")
    for row in (1, 2):
        page.check("[name='answer.an_any'][value='1']")
        page.check("[name='answer.an_any'][value='1']")
        page.select_option("[name='answer.an_class']", "1")
        page.fill("[name='answer.an_drug']", "paracetamol")
        if page.locator("select[name='answer.an_route']").count():
            page.select_option("[name='answer.an_route']", "1")
        else:
            page.check("[name='answer.an_route'][value='1']")
        page.fill("[name='answer.an_days7']", "7")
        press(page, "text=Save and add another row")
        assert f"Row {row} is saved" in page.locator(".saved").inner_text()
        check(page)
    press(page, "a[rel=prev]")
    assert page.url.endswith("/ANLG/2")
    press(page, "a[rel=prev]")
    assert page.url.endswith("/ANLG/1")
    assert page.locator("a[rel=next]").get_attribute("accesskey") == "."


def test_a_file_is_imported_after_its_preview(visit, check):
    visitor = visit(DATA_MANAGER, width=320)
    page = visitor.page
    person = visitor.participant("follow_up")
    visitor.go("/imports")
    check(page)
    for worst, button in (("99", None), ("6", "text=Import 1 row")):
        header = "participant,visit,rlp_any,rlp_worst,rlp_avg,rlp_now,rlp_freq,plp_sens,plp_any,pain_assist"
        text = f"{header}\n{person},U53,1,{worst},4,3,1,0,0,1\n"
        page.select_option("#form", "PAIN")
        page.set_input_files("#file", {"name": "pain.csv", "mimeType": "text/csv", "buffer": text.encode()})
        press(page, "text=Preview")
        check(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        if button:
            press(page, button)
        else:
            assert re.search(r"2\s+rlp_worst\s+99", page.locator("#wrong + * table, section:has(#wrong) table").first.inner_text())
            press(page, "text=Choose another file")
    assert "1 row saved" in page.locator(".saved").inner_text()


def test_the_answers_of_the_visit_before_are_folded_away(visit):
    visitor = visit(NURSE)
    visitor.go(f"/participants/{visitor.participant('follow_up')}/visits/U54/forms/ANLG/new")
    before = visitor.page.locator("details.previous").first
    assert before.locator("summary").inner_text().startswith("At ")
    assert not before.locator("p").is_visible()


def test_what_is_typed_into_the_table_is_kept_until_it_is_saved_or_discarded(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    path = f"/participants/{visitor.participant('follow_up')}/visits/U31/forms/DIAR/table"
    visitor.go(path)
    with page.expect_response(lambda answer: answer.url.endswith("/table/draft")) as kept:
        page.fill("#r2-dia_rlp", "7")
    assert kept.value.status == 204
    page.wait_for_function("document.querySelector('[data-kept]').textContent.startsWith('Kept for you')")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    visitor.go("")
    assert asked == ["beforeunload"]
    press(page, "a:has-text('Save what you typed'):has-text('all rows') >> nth=0")
    assert "have not saved it" in page.locator(".draft").inner_text()
    assert page.input_value("#r2-dia_rlp") == "7"
    check(page)
    press(page, "text=Discard what I typed")
    assert (page.locator(".draft").count(), page.input_value("#r2-dia_rlp")) == (0, "")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_session_that_ends_over_the_table_loses_nothing(visit, javascript):
    visitor = visit(NURSE, javascript=javascript)
    page = visitor.page
    path = f"/participants/{visitor.participant('follow_up')}/visits/U3{2 + javascript}/forms/DIAR/table"
    visitor.go(path)
    page.fill("#r1-dia_day", "1")
    page.fill("#r1-dia_rlp", "8")
    page.context.clear_cookies()
    press(page, "text=Save rows as drafts")
    assert "Your session has ended" in page.locator("main").inner_text()
    page.fill("#email", NURSE)
    page.fill("#password", visitor.site.passwords[NURSE])
    press(page, "main button")
    assert page.url.endswith(path)
    assert page.input_value("#r1-dia_rlp") == "8"
    press(page, "text=Save rows as drafts")
    assert "1 row saved" in page.locator(".saved").inner_text()
    assert page.locator(".draft").count() == 0
