"""The delegation log on the pages: proposed, signed and countersigned by keyboard, ended, and what the pages tell."""

from datetime import timedelta

import pytest

from tests import builders
from tests.browser.conftest import press, served, visitors_of
from tests.builders import PASSWORD, TODAY, TRIAL
from tests.doors import app_of
from trialdm.services import people

MANAGER, NURSE, PRINCIPAL = (
    builders.email(role, site) for role, site in (("trial-manager", ""), ("research-nurse", "S01"), ("principal-investigator", "S01"))
)
SECOND, ASSESSOR = "second.nurse@trial.example", builders.email("blinded-assessor", "S01")


@pytest.fixture
def people_visit(sqlite_world, browser):
    """Makes visitors of a trial in which a second nurse has no line yet."""
    role = [("research-nurse", "S01")]
    sqlite_world.run("trial-manager", lambda unit: people.add(unit, SECOND, "Second Nurse", PASSWORD, role, trial=TRIAL))
    app = app_of(sqlite_world)
    with served(app, dict.fromkeys((MANAGER, NURSE, PRINCIPAL, SECOND, ASSESSOR), PASSWORD)) as site:
        yield from visitors_of(site, browser)


def enter(page, selector: str) -> None:
    """Press a button or follow a link by the keyboard."""
    page.focus(selector)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_a_line_is_proposed_signed_countersigned_and_ended_by_keyboard(people_visit, check):
    principal, nurse = people_visit(PRINCIPAL), people_visit(SECOND)
    page = principal.page
    principal.go("/people")
    check(page)
    enter(page, "text=Propose a line")
    check(page)
    page.focus("#email")
    page.keyboard.type("Second")
    for task in ("consent", "crf"):
        page.focus(f"#task-{task}")
        page.keyboard.press("Space")
    enter(page, "main button")
    assert "waits for the person" in page.locator(".saved").inner_text()
    check(page)

    page = nurse.page
    page.goto(f"{nurse.site.address}/notices")
    check(page)
    enter(page, "text=Sign a line of the delegation log")
    assert page.locator("h1").inner_text() == "Sign this line of the delegation log"
    nurse.go("/people")
    assert "taking consent, completing case report forms" in page.get_by_role("region", name="Waiting for you").inner_text()
    check(page)
    enter(page, "section[aria-labelledby=waiting] >> text=Sign")
    assert page.locator("h1").inner_text() == "Sign this line of the delegation log"
    assert "I take them on" in page.locator("main").inner_text()
    check(page)
    enter(page, "#go")
    assert page.locator(".saved").inner_text() == "You signed the line."
    assert page.locator("#waiting").count() == 0

    page = principal.page
    principal.go("/people")
    enter(page, "section[aria-labelledby=waiting] >> text=Countersign")
    check(page)
    enter(page, "#go")
    row = page.locator("tr", has_text="Second Nurse")
    assert "✓ In force" in row.inner_text()
    assert "Countersigned by Principal-Investigator S01 on 10 March 2026" in row.inner_text()
    enter(page, "tr:has-text('Second Nurse') >> text=End")
    page.fill("#on", (TODAY - timedelta(days=1)).isoformat())
    enter(page, "#go")
    assert page.title().startswith("Error: ")
    assert page.evaluate("document.activeElement.className") == "error-summary"
    check(page)
    page.focus(".error-summary a")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "on"
    page.fill("#on", TODAY.isoformat())
    enter(page, "#go")
    assert "✗ Ended" in page.locator("tr", has_text="Second Nurse").inner_text()
    check(page)


def test_without_javascript_a_line_is_declined_with_a_reason(people_visit):
    manager, nurse = people_visit(MANAGER, javascript=False), people_visit(SECOND, javascript=False)
    page = manager.page
    manager.go("/people/delegate")
    page.select_option("#site", "S01")
    press(page, "main button")
    assert page.locator(".error-summary").inner_text().endswith("Choose the person.")
    page.select_option("#email", SECOND)
    press(page, "main button")
    assert "names at least one task" in page.locator(".error-summary").inner_text()
    page.check("#task-crf")
    press(page, "main button")
    nurse.go("/people")
    press(nurse.page, "section[aria-labelledby=waiting] >> text=Decline")
    press(nurse.page, "#go")
    assert "Say why you do not sign" in nurse.page.locator(".error-summary").inner_text()
    nurse.page.fill("#reason", "I leave next week")
    press(nurse.page, "#go")
    assert "I leave next week" in nurse.page.locator("tr", has_text="✗ Declined").inner_text()


def test_buttons_are_there_only_for_who_may(people_visit, check):
    nurse, manager = people_visit(NURSE), people_visit(MANAGER)
    nurse.go("/people")
    page = nurse.page
    assert page.locator("text=Propose a line").count() == 0
    assert page.get_by_role("link", name="End the line of").count() == 1
    assert page.locator("h2", has_text="S02").count() == 0
    manager.go("/people?site=S02&on=2025-06-01")
    assert manager.page.locator("h2").all_inner_texts() == ["S02 " + manager.page.locator("#site option[selected]").inner_text()[4:]]
    check(manager.page)
    manager.go("/people?on=yesterday")
    assert manager.page.title().startswith("Error: ")
    nurse.go("/people/delegate")
    assert page.locator("h1").inner_text() == "This is not allowed"
    check(page)


def test_who_could_do_this_on_that_day(people_visit, check):
    nurse = people_visit(NURSE)
    page = nurse.page
    nurse.go("/people/who")
    page.select_option("#task", "operate")
    press(page, "main form button")
    rows = page.locator("[aria-labelledby=answer] tbody tr").all_inner_texts()
    assert [("Yes" in row, "no credential for TMR" in row) for row in rows] == [(True, False), (False, True)]
    check(page)
    nurse.go("/people/who?task=operate&site=S01&on=never")
    assert page.title().startswith("Error: ")
    check(page)


@pytest.mark.parametrize("width", [1280, 320])
def test_training_is_recorded_with_its_certificate(people_visit, check, width, tmp_path):
    file = tmp_path / "gcp.pdf"
    file.write_bytes(b"%PDF certificate")
    manager = people_visit(MANAGER, width=width)
    page = manager.page
    manager.go("/people/training")
    assert "Nobody for assessing outcomes blinded" in page.get_by_role("region", name="What runs out").inner_text()
    check(page)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.select_option("#email", SECOND)
    page.fill("#trained", (TODAY + timedelta(days=1)).isoformat())
    press(page, "text=Record the training")
    assert page.locator(".error-summary a").get_attribute("href") == "#trained"
    check(page)
    page.fill("#trained", TODAY.isoformat())
    page.set_input_files("#certificate", str(file))
    press(page, "text=Record the training")
    assert page.locator(".saved").inner_text() == "It is recorded."
    page.select_option("#surgeon", PRINCIPAL)
    page.fill("#cases", "7")
    page.fill("#from", TODAY.isoformat())
    press(page, "text=Record the credential")
    assert "TMR, 7 supervised cases (surgeon 3)" in page.locator("[aria-labelledby=all]").first.inner_text()
    check(page)
