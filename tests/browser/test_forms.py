"""Filling in forms: by keyboard, with and without JavaScript, and what happens when something is not right."""

import pytest

from tests.browser.conftest import press

NURSE, COORDINATOR = "nurse.s01@demo.example", "coordinator@demo.example"


@pytest.fixture(params=[True, False], ids=["javascript", "plain"])
def nurse(request, visit):
    """A nurse, with and without JavaScript."""
    return visit(NURSE, javascript=request.param)


def blank(visitor, occasion: list[int] = []) -> str:  # noqa: B006 - counts over all tests
    """An unscheduled visit at which nothing has been saved yet: the address of its pain form."""
    occasion.append(1)
    person = visitor.participant("follow_up")
    return f"/participants/{person}/visits/U{len(occasion) + 20:02d}/forms/PAIN"


def fill(page, **answers: str) -> None:
    """Type answers; yes/no and codes by the value of their button."""
    for name, value in answers.items():
        field = page.locator(f"[name='answer.{name}']")
        if field.first.get_attribute("type") == "radio":
            page.check(f"[name='answer.{name}'][value='{value}']")
        else:
            field.fill(value)


COMPLETE = {
    "rlp_any": "1",
    "rlp_worst": "6",
    "rlp_avg": "4",
    "rlp_now": "3",
    "rlp_freq": "1",
    "plp_sens": "0",
    "plp_any": "0",
    "pain_assist": "1",
}


def test_a_form_is_saved_as_complete(nurse):
    page = nurse.page
    nurse.go(blank(nurse))
    fill(page, **COMPLETE)
    press(page, "text=Save as complete")
    assert "Saved as complete" in page.locator(".saved").inner_text()
    assert page.locator(".form-status .state").inner_text() == "Complete"
    assert page.input_value("#q-rlp_worst") == "6"
    assert page.locator("#q-pap_yn").inner_text() == "Yes"


def test_a_draft_is_saved_and_taken_up_again(nurse):
    page = nurse.page
    path = blank(nurse)
    nurse.go(path)
    fill(page, rlp_any="1", rlp_worst="7")
    press(page, "text=Save as draft")
    assert "Saved as draft" in page.locator(".saved").inner_text()
    nurse.go(path)
    assert page.input_value("#q-rlp_worst") == "7"
    assert page.locator(".form-status .state").inner_text() == "Draft"


def test_everything_typed_is_kept_when_something_is_wrong(nurse):
    page = nurse.page
    nurse.go(blank(nurse))
    fill(page, **{**COMPLETE, "rlp_worst": "eleven", "rlp_avg": "44"})
    press(page, "text=Save as complete")
    assert page.title().startswith("Error: ")
    assert page.input_value("#q-rlp_worst") == "eleven"
    assert page.input_value("#q-rlp_avg") == "44"
    assert page.is_checked("[name='answer.plp_any'][value='0']")
    summary = page.locator(".error-summary")
    assert summary.locator("a").count() == 2
    assert page.locator("#q-rlp_worst").get_attribute("aria-describedby").endswith("q-rlp_worst-error")
    assert page.locator("#q-rlp_worst").get_attribute("aria-invalid") == "true"


def test_the_error_summary_takes_the_focus_and_leads_to_the_field(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    visitor.go(blank(visitor))
    fill(page, **{**COMPLETE, "rlp_worst": "12"})
    press(page, "text=Save as complete")
    assert page.evaluate("document.activeElement.className") == "error-summary"
    check(page)
    page.click(".error-summary a >> nth=0")
    assert page.evaluate("document.activeElement.id") == "q-rlp_worst"


def test_a_question_left_open_can_have_a_reason(nurse):
    page = nurse.page
    nurse.go(blank(nurse))
    fill(page, **{name: value for name, value in COMPLETE.items() if name != "rlp_now"})
    press(page, "text=Save as complete")
    assert "answer it, or give the reason" in page.locator(".error-summary").inner_text()
    page.locator("[data-item=rlp_now] summary").click()
    page.select_option("#m-rlp_now", "RF")
    press(page, "text=Save as complete")
    assert "Saved as complete" in page.locator(".saved").inner_text()
    assert page.input_value("#m-rlp_now") == "RF"


def test_an_unusual_answer_is_confirmed(nurse):
    page = nurse.page
    nurse.go(blank(nurse))
    fill(page, **{**COMPLETE, "rlp_avg": "8"})
    press(page, "text=Save as complete")
    assert page.locator(".error-summary h2").inner_text() == "Check these answers"
    page.check("#confirm-PAIN-01")
    page.fill("#note-PAIN-01", "as on the paper")
    press(page, "text=Confirm and save")
    assert "Saved as complete" in page.locator(".saved").inner_text()
    assert "as on the paper" in page.locator("section", has=page.locator("#answered")).inner_text()


def test_what_is_confirmed_stays_confirmed_beside_what_is_not(nurse):
    page = nurse.page
    nurse.go(blank(nurse))
    fill(page, **{**COMPLETE, "rlp_avg": "8", "rlp_now": "9"})
    press(page, "text=Save as complete")
    page.check("#confirm-PAIN-01")
    press(page, "text=Confirm and save")
    assert page.is_checked("#confirm-PAIN-01")
    assert not page.is_checked("#confirm-PAIN-06")
    page.check("#confirm-PAIN-06")
    press(page, "text=Confirm and save")
    assert "Saved as complete" in page.locator(".saved").inner_text()


def test_the_block_of_unusual_answers_is_accessible(visit, check):
    visitor = visit(NURSE)
    visitor.go(blank(visitor))
    fill(visitor.page, **{**COMPLETE, "rlp_avg": "8"})
    press(visitor.page, "text=Save as complete")
    check(visitor.page)


def test_questions_hide_and_show_at_once(visit):
    visitor = visit(NURSE)
    page = visitor.page
    visitor.go(blank(visitor))
    worst, calculated = page.locator("#q-rlp_worst"), page.locator("#q-pap_yn")
    assert not worst.is_visible()
    fill(page, rlp_any="1")
    assert worst.is_visible()
    fill(page, rlp_worst="6", plp_any="0")
    assert calculated.inner_text() == "Yes"
    fill(page, rlp_worst="2")
    assert calculated.inner_text() == "No"
    fill(page, rlp_any="0")
    assert not worst.is_visible()
    assert calculated.inner_text() == "No"


def test_without_javascript_conditions_are_said_in_words(visit, check):
    visitor = visit(NURSE, javascript=False)
    visitor.go(blank(visitor))
    page = visitor.page
    assert page.locator("#q-rlp_worst").is_visible()
    assert page.locator("#q-rlp_worst-condition").inner_text() == "Answer if “Any residual limb pain, past 7 days” is Yes."
    assert page.locator("#q-limb_worst").count() == 0


def test_answers_left_behind_are_removed_only_after_asking(nurse):
    page = nurse.page
    nurse.go(blank(nurse))
    fill(page, **COMPLETE)
    fill(page, rlp_any="0")
    press(page, "text=Save as complete")
    assert "still answered" in page.locator(".error-summary").inner_text()
    page.check("[id='confirm-CRF.HIDDEN']")
    press(page, "text=Confirm and save")
    assert "Saved as complete" in page.locator(".saved").inner_text()
    assert page.locator("#q-pap_yn").inner_text() == "No"


def test_a_change_of_a_complete_form_needs_a_reason_and_stands_in_the_trail(nurse):
    page = nurse.page
    path = blank(nurse)
    nurse.go(path)
    fill(page, **COMPLETE)
    press(page, "text=Save as complete")
    nurse.go(path)
    fill(page, rlp_worst="5")
    press(page, "text=Save the change")
    assert "reason for the change" in page.locator(".error-summary").inner_text()
    assert page.input_value("#q-rlp_worst") == "5"
    page.select_option("#reason", "typing")
    page.fill("#reason-text", "read 6 for 5")
    press(page, "text=Save the change")
    assert "Saved as complete" in page.locator(".saved").inner_text()
    page.locator("[data-item=rlp_worst] .trail").click()
    row = page.locator("#rlp_worst tr").nth(1).inner_text()
    assert all(words in row for words in ("6", "5", "Pages", "Typing error: read 6 for 5"))


def test_nothing_is_lost_when_somebody_else_saved_meanwhile(visit, check):
    first, second = visit(NURSE), visit("si.s01@demo.example")
    path = blank(first)
    first.go(path)
    second.go(path)
    fill(second.page, rlp_any="1", rlp_worst="9")
    press(second.page, "text=Save as draft")
    fill(first.page, rlp_any="1", rlp_worst="3", rlp_now="2")
    press(first.page, "text=Save as draft")
    assert "Somebody else saved" in first.page.locator(".error-summary").inner_text()
    line = first.page.locator("tr.differs", has_text="worst").inner_text()
    assert "9" in line
    assert "3" in line
    assert first.page.input_value("#q-rlp_now") == "2"
    check(first.page)
    press(first.page, "text=Save as draft")
    assert "Saved as draft" in first.page.locator(".saved").inner_text()


def test_by_keyboard_alone(nurse):
    page = nurse.page
    nurse.go(blank(nurse))
    page.focus("[name='answer.rlp_any'][value='0']")
    page.keyboard.press("Space")
    for name in ("plp_sens", "plp_any"):
        _tab_to(page, f"answer.{name}")
        page.keyboard.press("ArrowRight" if page.evaluate("document.activeElement.value") == "1" else "Space")
    _tab_to(page, "answer.pain_assist")
    page.keyboard.press("Space")
    _tab_to(page, "save")
    _tab_to(page, "save")
    page.keyboard.press("Enter")
    assert "Saved as complete" in page.locator(".saved").inner_text()
    assert page.is_checked("[name='answer.plp_any'][value='0']")


def _tab_to(page, name: str) -> None:
    """Press the tabulator until something of this name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == name:
            return
    raise AssertionError(f"the tabulator never reaches {name}")


def test_the_skip_link_comes_first(visit):
    visitor = visit(NURSE)
    visitor.go("")
    visitor.page.keyboard.press("Tab")
    assert visitor.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    visitor.page.keyboard.press("Enter")
    assert visitor.page.evaluate("document.activeElement.id") == "main"


def test_rows_are_added_to_a_repeating_form(nurse):
    page = nurse.page
    path = blank(nurse).replace("PAIN", "DIAR")
    nurse.go(path)
    assert "No row has been saved yet" in page.locator("main").inner_text()
    press(page, "text=Add a row")
    fill(page, dia_day="1", dia_date="19/11/2026", dia_rlp="3", dia_plp="0")
    press(page, "text=Save as complete")
    assert "Saved as complete" in page.locator(".saved").inner_text()
    assert page.input_value("#q-dia_date") == "2026-11-19"
    nurse.go(path)
    assert page.locator("tbody tr").count() == 1
    assert "19 November 2026" in page.locator("tbody tr").inner_text()


def test_what_is_irregular_is_saved_and_said(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    person = visitor.participant("follow_up")
    visitor.go(f"/participants/{person}/visits/V08/forms/VISI")
    fill(page, vs_done="1", vs_date="20/11/2026", vs_mode="3")
    press(page, "text=Save as complete")
    assert "nearer to the visit before" in page.locator(".error-summary").inner_text()
    page.check("#confirm-VISI-14")
    press(page, "text=Confirm and save")
    assert "lies outside its window" in page.locator(".alerts").inner_text()
    assert page.locator(".form-status .state").inner_text() == "Complete"
    check(page)


def test_somebody_who_may_not_enter_a_form_reads_it(visit, check):
    visitor = visit(COORDINATOR)
    person = visitor.participant("follow_up")
    visitor.go(f"/participants/{person}/visits/V04/forms/PAIN")
    assert "You can read this form, not change it" in visitor.page.locator(".obstacle").inner_text()
    assert visitor.page.locator("main form").count() == 0
    check(visitor.page)


def test_printing_leaves_buttons_and_menus_out(visit):
    visitor = visit(NURSE)
    person = visitor.participant("follow_up")
    visitor.go(f"/participants/{person}/visits/V04/forms/PAIN")
    visitor.page.emulate_media(media="print")
    assert not visitor.page.locator(".top").is_visible()
    assert not visitor.page.locator(".buttons").is_visible()
    assert visitor.page.locator("h1").is_visible()


def test_what_was_typed_is_kept_until_it_is_saved_or_discarded(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    path = blank(visitor)
    visitor.go(path)
    with page.expect_response(lambda answer: answer.url.endswith("/draft")) as kept:
        fill(page, rlp_any="1", rlp_worst="7")
    assert kept.value.status == 204
    page.wait_for_function("document.querySelector('[data-kept]').textContent.startsWith('Kept for you')")
    page.on("dialog", lambda dialog: dialog.accept())
    visitor.go("")
    assert "Save what you typed: Pain ratings" in page.locator("main").inner_text()
    visitor.go(path)
    assert "have not saved it" in page.locator(".draft").inner_text()
    assert page.input_value("#q-rlp_worst") == "7"
    check(page)
    press(page, "text=Discard what I typed")
    assert page.locator(".draft").count() == 0
    assert page.input_value("#q-rlp_worst") == ""


def test_what_was_typed_in_a_session_that_ended_is_nobody_elses(nurse):
    page = nurse.page
    path = blank(nurse)
    nurse.go(path)
    fill(page, rlp_any="1", rlp_worst="8")
    page.context.clear_cookies()
    press(page, "text=Save as draft")
    assert "rlp_worst" not in page.content()
    page.fill("#email", "si.s01@demo.example")
    page.fill("#password", nurse.site.passwords["si.s01@demo.example"])
    press(page, "main button")
    assert page.url.endswith(path)
    assert page.locator(".draft").count() == 0
    assert page.input_value("#q-rlp_worst") == ""


def test_a_session_that_ends_half_way_loses_nothing(nurse):
    page = nurse.page
    path = blank(nurse)
    nurse.go(path)
    fill(page, rlp_any="1", rlp_worst="8")
    page.context.clear_cookies()
    press(page, "text=Save as draft")
    assert "Your session has ended" in page.locator("main").inner_text()
    page.fill("#email", NURSE)
    page.fill("#password", "not the password")
    press(page, "main button")
    page.fill("#password", nurse.site.passwords[NURSE])
    press(page, "main button")
    assert page.url.endswith(path)
    assert "have not saved it" in page.locator(".draft").inner_text()
    assert page.input_value("#q-rlp_worst") == "8"
    press(page, "text=Save as draft")
    assert "Saved as draft" in page.locator(".saved").inner_text()
    nurse.go(path)
    assert page.locator(".draft").count() == 0
