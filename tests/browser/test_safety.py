"""Safety on the pages: the sponsor's side assesses a serious event, the listings show it, and a data manager codes what is new."""

import os

import pytest

from tests.browser.conftest import press

CHIEF, SPONSOR, DATA, NURSE = "ci@demo.example", "sponsor@demo.example", "data@demo.example", "nurse.s01@demo.example"


def picture(page, name):
    """Keep a picture of the page where somebody asked for one."""
    folder = os.environ.get("TRIALDM_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


@pytest.mark.parametrize("width", [1280, 320])
def test_the_pages_about_safety(visit, check, width):
    for email, paths in ((SPONSOR, ("", "/clocks", "/events", "/expected")), (DATA, ("/coding", "/expected"))):
        visitor = visit(email, width=width)
        for path in paths:
            visitor.go(f"/safety{path}")
            assert visitor.page.locator("h1").count() == 1, path
            assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, path
            picture(visitor.page, f"safety{path.replace('/', '-')}-{width}")
            check(visitor.page)


def test_the_chief_investigator_assesses_an_event_and_cannot_change_what_the_site_said(visit, check):
    visitor = visit(CHIEF)
    page = visitor.page
    visitor.go("")
    press(page, "text=Safety")
    reported = page.locator("section:has(#reportable) tbody tr").first
    assert "Unexpected" in reported.inner_text()
    assert "△ Due soon" in reported.inner_text()
    press(page, "section:has(#reportable) tbody a >> nth=0")
    assert page.locator("[name='answer.sae_crit']").count() == 0
    assert page.locator("[name='answer.sae_rel_pi']").count() == 0
    assert page.locator("#q-sae_rel_pi").inner_text() == "Possible"
    assert "Narrative" not in page.locator("main").inner_text()
    page.click("text=Expected events: PRE-TMR-EE 0.1")
    assert page.locator("li", has_text="Wrong nerve or wrong side").is_visible()
    picture(page, "assess")
    check(page)
    page.check("[name='answer.sae_rel_ci'][value='4']")
    page.select_option("#reason", "late")
    page.fill("#reason-text", "The scan was seen")
    press(page, "text=Save the change")
    assert "Probable" in page.locator("main").inner_text() or page.locator(".alerts").count()
    check(page)


def test_the_sponsor_opens_a_serious_event_and_no_other_form(visit, check):
    visitor = visit(SPONSOR)
    page = visitor.page
    visitor.go("/safety")
    press(page, "tbody a >> nth=0")
    assert page.locator("h1").inner_text() == "Serious adverse event"
    check(page)
    visitor.page.goto(page.url.replace("/SAE/", "/AE/"))
    assert page.locator("h1").inner_text() == "This is not allowed"


def test_a_data_manager_codes_an_event_without_javascript(visit, check):
    visitor = visit(DATA, javascript=False)
    page = visitor.page
    visitor.go("/safety/coding")
    before = page.locator("main form").count()
    assert before >= 1
    page.locator("main form").first.locator("[name=typed]").fill("no such code")
    press(page, "main form >> nth=0 >> button")
    assert "has the code" in page.locator(".error-summary, [role=alert]").first.inner_text()
    page.locator("main form").first.locator("[name=typed]").fill("L0606")
    press(page, "main form >> nth=0 >> button")
    assert page.locator("main form").count() == before - 1


def test_a_site_reads_no_listing(visit):
    visitor = visit(NURSE)
    visitor.go("/safety")
    assert visitor.page.locator("h1").inner_text() == "This is not allowed"
