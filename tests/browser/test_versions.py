"""Versions of a protocol on the pages: what waits, what it would touch, and a form that was opened before."""

import pytest

from tests import builders
from tests.browser.conftest import press, served, visitors_of
from tests.builders import PASSWORD
from tests.doors import app_of
from tests.services.test_versions import NEW_ITEM, NO_MAP, REQUIRED, WINDOW, propose, take_up

PAIN = {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}
MANAGER, NURSE = builders.email("trial-manager", ""), builders.email("research-nurse", "S01")


@pytest.fixture
def visit(sqlite_world, browser):
    """Makes visitors of a trial that the test changes."""
    app = app_of(sqlite_world)
    with served(app, dict.fromkeys((MANAGER, NURSE), PASSWORD)) as site:
        yield from visitors_of(site, browser)


@pytest.mark.parametrize("width", [1280, 360])
def test_what_a_version_would_touch(sqlite_world, visit, check, width):
    ident = builders.consented(sqlite_world)
    builders.put(sqlite_world, ident, "V01", "PAIN", PAIN, only=True)
    propose(sqlite_world, REQUIRED, WINDOW)
    manager = visit(MANAGER, width=width, javascript=True)
    page = manager.page
    manager.go("/approvals")
    press(page, "text=Versions of the protocol")
    check(page)
    assert "Proposed: in use nowhere" in page.locator("tbody tr").first.inner_text()
    press(page, "tbody a >> nth=0")
    check(page)
    assert page.locator("h1").inner_text() == "Version 1.1 of the protocol"
    assert page.locator(".who-name").inner_text().startswith("Trial-Manager")
    assert page.get_by_role("region", name="Pain ratings (PAIN)").get_by_text("+ Adds").is_visible()
    unmet = page.get_by_role("region", name="Complete forms that would not pass")
    assert "Note on pain" in unmet.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    press(page, f"[aria-labelledby=unmet] >> text={ident}")
    assert ident in page.title()


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_a_form_that_was_opened_before_shows_what_was_typed(sqlite_world, visit, check, javascript):
    ident = builders.consented(sqlite_world)
    nurse = visit(NURSE, javascript=javascript)
    page = nurse.page
    nurse.go(f"/participants/{ident}/visits/V01/forms/PAIN")
    take_up(sqlite_world, propose(sqlite_world, NEW_ITEM, NO_MAP))
    page.fill("#q-limb_worst", "6")
    page.fill("#q-limb_avg", "4")
    page.fill("#q-pain_site_map", "A1, B2")
    page.check("[name='answer.pain_assist'][value='1']")
    press(page, "text=Save as complete")
    assert "opened under protocol version 1.0" in page.locator(".error-summary").inner_text()
    if javascript:
        check(page)
    assert page.input_value("#q-limb_worst") == "6"
    assert "A1, B2" in page.get_by_role("region", name="Typed by you, and asked no more").inner_text()
    page.fill("#q-pain_note", "A1, B2")
    press(page, "text=Save as complete")
    assert "Saved as complete" in page.locator(".saved").inner_text()
