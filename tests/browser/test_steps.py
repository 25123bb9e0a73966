"""Steps of the trial on pages: put on hold and released by keyboard, an empty reason told at the field, the gate in sight."""

import pytest

from tests import builders
from tests.browser.conftest import served, visitors_of
from tests.browser.test_people import enter
from tests.builders import PASSWORD
from tests.doors import app_of

SPONSOR, MANAGER, NURSE = (builders.email(role, site) for role, site in (("sponsor", ""), ("trial-manager", ""), ("research-nurse", "S01")))


@pytest.fixture
def steps_visit(sqlite_world, browser):
    """Makes visitors of a trial that is open."""
    app = app_of(sqlite_world)
    with served(app, dict.fromkeys((SPONSOR, MANAGER, NURSE), PASSWORD)) as site:
        yield from visitors_of(site, browser)


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without"])
def test_recruitment_is_held_and_released_by_keyboard(steps_visit, check, javascript):
    sponsor = steps_visit(SPONSOR, javascript=javascript)
    page = sponsor.page
    sponsor.go("")
    enter(page, "h1 a")
    if javascript:
        check(page)
    enter(page, "text=Put recruitment on hold")
    if javascript:
        check(page)
    enter(page, "main button")
    assert "Say why" in page.locator(".error-summary").inner_text()
    page.focus("#reason")
    page.keyboard.type("The theatre is closed")
    enter(page, "main button")
    assert "On hold" in page.locator("h1").inner_text()
    assert "The theatre is closed" in page.get_by_role("region", name="Steps taken").inner_text()
    enter(page, "text=Release recruitment")
    assert "Approvals allow it today" in page.locator("main").inner_text()
    enter(page, "main button")
    assert "Open" in page.locator("h1").inner_text()


def test_a_halted_trial_says_what_its_restart_needs_and_who_takes_it(steps_visit, check):
    sponsor, nurse = steps_visit(SPONSOR), steps_visit(NURSE)
    sponsor.go("/steps/pause")
    sponsor.page.fill("#reason", "Two serious events")
    enter(sponsor.page, "main button")
    enter(sponsor.page, "text=Restart the trial")
    assert "favourable opinion" in sponsor.page.locator(".reasons").inner_text()
    assert sponsor.page.locator("main form").count() == 0
    check(sponsor.page)
    nurse.go("/steps")
    assert "taken by somebody else" in nurse.page.locator("main").inner_text()
    check(nurse.page)
    nurse.go("/steps/vanish")
    assert "no step" in nurse.page.locator("main").inner_text()


def test_a_site_has_its_own_steps(steps_visit, check):
    manager = steps_visit(MANAGER)
    manager.go("/steps")
    enter(manager.page, "text=S03")
    check(manager.page)
    enter(manager.page, "text=Select the site")
    enter(manager.page, "main button")
    assert "Selected" in manager.page.locator("h1").inner_text()
