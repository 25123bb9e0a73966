"""Signing, verifying, freezing and locking, as those see it who do it."""

import re

from tests.browser.conftest import press

MONITOR, DATA, MANAGER, NURSE = ("monitor@demo.example", "data@demo.example", "manager@demo.example", "nurse.s01@demo.example")


def test_an_investigator_signs_and_a_change_asks_for_it_again(visit, check):
    investigator = waits_for(visit)
    visitor = visit(investigator)
    page = visitor.page
    person = visitor.participant("follow_up")
    visitor.go(f"/participants/{person}/sign")
    check(page)
    name = page.locator("label", has_text=re.compile("^EQ-5D")).first
    name.click()
    page.locator("#password").fill("not the password")
    press(page, "text=Sign the chosen forms")
    assert "The password is not right" in page.locator(".error-summary").inner_text()
    assert page.is_checked("input[name=form]:checked"), "what was chosen stands"
    page.locator("#password").fill(visitor.site.passwords[investigator])
    press(page, "text=Sign the chosen forms")
    assert "Signed." in page.locator(".saved").inner_text()
    form = f"/participants/{person}/visits/V01/forms/EQ5D"
    visitor.go(form)
    assert "Signed by" in page.locator(".signature").inner_text()
    assert page.locator(".form-status .state").inner_text() == "Signed"
    check(page)
    page.select_option("#reason", "source")
    page.fill("#q-eq_vas", "51")
    press(page, "text=Save the change")
    assert "Not signed as it stands" in page.locator(".signature").inner_text()
    assert "'Visual analogue scale'" in page.locator(".signature").inner_text()
    visitor.go(f"{form}/audit")
    assert "Signature or verification void" in page.locator("main").inner_text()
    visitor.go("/signatures")
    check(page)


def waits_for(visit) -> str:
    """The investigator of a site with participants in follow-up whose forms nobody has signed yet: the first two have signed theirs."""
    visitor = visit(DATA)
    visitor.go("/participants?state=follow_up")
    sites = re.findall(r"\bS\d\d\b", visitor.page.locator("tbody").inner_text())
    return next(f"pi.{site.lower()}@demo.example" for site in sites if site > "S02")


def test_the_monitor_compares_answers_with_the_source(visit, check):
    visitor = visit(MONITOR)
    page = visitor.page
    visitor.go("/verification")
    check(page)
    press(page, "section:has(#waiting) tbody a >> nth=0")
    check(page)
    page.locator("input[name=item]").first.check()
    press(page, "text=Mark the ticked answers")
    assert "Marked." in page.locator(".saved").inner_text()
    press(page, "text=Everything agrees with the source")
    assert page.locator("h1 .state").inner_text() == "Verified"
    assert page.locator("input[name=item]").count() == 0


def test_a_participant_is_frozen_and_locked_by_two(visit, check):
    data, manager, nurse = visit(DATA), visit(MANAGER), visit(NURSE)
    person = data.participant("follow_up")
    data.go(f"/holds/participant/{person}")
    check(data.page)
    press(data.page, "text=Freeze")
    nurse.go(f"/participants/{person}/visits/V01/forms/DEMO")
    assert "is frozen since" in nurse.page.locator(".obstacle").inner_text()
    check(nurse.page)
    data.page.fill("#reason", "everything is in")
    press(data.page, "text=Ask for the lock")
    manager.page.goto(f"{manager.site.address}/notices")
    press(manager.page, "tr:has-text('asked to lock') a")
    check(manager.page)
    press(manager.page, "text=Decline the lock")
    assert "Say why" in manager.page.locator(".error-summary").inner_text()
    manager.page.fill("#reason", "a form is still to come")
    press(manager.page, "text=Decline the lock")
    data.go(f"/holds/participant/{person}")
    data.page.fill("#reason", "too early")
    press(data.page, "text=Thaw")
    data.go("/holds")
    check(data.page)
    nurse.go(f"/participants/{person}/visits/V01/forms/DEMO")
    assert nurse.page.locator(".obstacle").count() == 0


def test_a_row_entered_by_mistake_is_removed_and_put_back(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    person = visitor.participant("follow_up")
    rows = f"/participants/{person}/visits/V04/forms/DIAR"
    visitor.go(rows)
    press(page, "tbody a >> nth=-1")
    row = page.url.rpartition("/")[2]
    page.click("summary:has-text('Remove this row')")
    press(page, "text=Remove the row")
    assert "Say why" in page.locator(".error-summary").inner_text()
    check(page)
    page.fill("#why", "this day was entered twice")
    press(page, "text=Remove the row")
    visitor.go(rows)
    assert f"Removed: row {row}" in page.locator("main").inner_text()
    press(page, f"p a:text-is('row {row}')")
    page.click("summary:has-text('Put this row back')")
    page.fill("#why", "it was another day")
    press(page, "text=Put it back")
    visitor.go(f"{rows}/{row}")
    assert page.locator(".form-status .state").inner_text() == "Draft"
