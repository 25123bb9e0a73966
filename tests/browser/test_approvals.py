"""Approvals, documents, modifications and deadlines on the pages: by keyboard, by two people, without JavaScript, and for everybody."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from tests import builders
from tests.browser.conftest import press, served, visitors_of
from tests.browser.test_people import enter
from tests.builders import PASSWORD, TODAY, TRIAL
from tests.doors import app_of
from tests.services import test_modifications
from trialdm.domain.ethics import Fact
from trialdm.services import approvals

MANAGER, SPONSOR, NURSE, PRINCIPAL, COORDINATOR = (
    builders.email(role, site)
    for role, site in (
        ("trial-manager", ""),
        ("sponsor", ""),
        ("research-nurse", "S01"),
        ("principal-investigator", "S01"),
        ("trial-coordinator", ""),
    )
)
DAY_35 = TODAY + timedelta(days=35)
LETTER = b"%PDF The committee gives a favourable opinion."


@pytest.fixture
def approvals_visit(sqlite_world, browser):
    """Makes visitors of a trial with a modification that site S01 was told of, and a deadline."""
    world = sqlite_world
    test_modifications.approved(world, "S01")
    document = replace(test_modifications.NEW_FORM, modification=test_modifications.REF)
    world.run("trial-manager", lambda unit: approvals.record(unit, TRIAL, document))
    world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("usm", TODAY, text="The count of needles was changed")))
    app = app_of(world)
    with served(app, dict.fromkeys((MANAGER, SPONSOR, NURSE, PRINCIPAL, COORDINATOR), PASSWORD)) as site:
        yield from visitors_of(site, browser)


@pytest.fixture
def letter(tmp_path):
    file = tmp_path / "opinion.pdf"
    file.write_bytes(LETTER)
    return file


def points_to(page, field):
    """An error summary has the focus, and its link leads by keyboard into the field."""
    assert page.title().startswith("Error: ")
    assert page.evaluate("document.activeElement.className") == "error-summary"
    page.focus(".error-summary a")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == field
    assert page.locator(".question-error").count() <= 1


def test_one_person_records_an_opinion_with_its_letter_and_another_checks_it_by_keyboard(approvals_visit, check, letter):
    manager, sponsor = approvals_visit(MANAGER), approvals_visit(SPONSOR)
    page = manager.page
    manager.go("/approvals")
    check(page)
    enter(page, "text=Record a decision")
    check(page)
    for field, words in {"#body": "Research", "#status": "Favourable with"}.items():
        page.focus(field)
        page.keyboard.type(words)
    page.focus("#ref")
    page.keyboard.type("26/NE/0009")
    page.fill("#decided_on", TODAY.isoformat())
    page.fill("#conditions", "* Name the independent adviser\nSend a summary at the end")
    page.set_input_files("#letter", str(letter))
    page.fill("#sha256", "ab" * 32)
    enter(page, "main button.btn-primary")
    assert "is not the one that was named: its SHA-256 is" in page.locator(".error-summary").inner_text()
    check(page)
    points_to(page, "sha256")
    assert page.input_value("#ref") == "26/NE/0009"
    assert page.input_value("#conditions").startswith("* Name")
    page.fill("#sha256", hashlib.sha256(LETTER).hexdigest())
    page.set_input_files("#letter", str(letter))
    enter(page, "main button.btn-primary")
    assert "is in force over the same days" in page.locator(".error-summary").inner_text()
    points_to(page, "supersedes")
    page.keyboard.type("25/NE/0001")
    page.set_input_files("#letter", str(letter))
    enter(page, "main button.btn-primary")
    assert page.locator("h1").inner_text() == "Research ethics committee: favourable with conditions"
    assert "You recorded it, so another person checks it." in page.locator("main").inner_text()
    check(page)

    sponsor.go("/approvals")
    page = sponsor.page
    check(page)
    enter(page, "section:has(#waiting) a")
    with page.expect_download() as given:
        page.focus("text=opinion.pdf")
        page.keyboard.press("Enter")
    assert given.value.path().read_bytes() == LETTER
    enter(page, "text=I have compared it with the letter")
    assert page.locator("dt:has-text('Checked by') + dd").inner_text() == "Sponsor"
    check(page)

    page = manager.page
    page.reload()
    page.focus("article:has-text('independent adviser') summary")
    page.keyboard.press("Enter")
    page.fill("#met-0", (TODAY + timedelta(days=1)).isoformat())
    page.fill("#evidence-0", "Letter to the committee")
    enter(page, "article:has-text('independent adviser') button")
    check(page)
    points_to(page, "met-0")
    assert page.input_value("#evidence-0") == "Letter to the committee"
    page.fill("#met-0", TODAY.isoformat())
    enter(page, "article:has-text('independent adviser') button")
    assert "✓ Met on 10 March 2026: Letter to the committee" in page.locator("article").first.inner_text()
    check(page)


@pytest.mark.parametrize(
    "path",
    [
        "/approvals",
        "/approvals?site=S01&on=2025-06-01",
        "/approvals?on=never",
        "/approvals/history",
        "/approvals/1",
        "/approvals/record",
        "/approvals/documents/ICF/3",
        "/approvals/documents/record",
        "/approvals/sites/S01",
        "/approvals/sites/S09",
        "/modifications",
        "/modifications/SM01",
        "/modifications/new",
        "/deadlines",
        "/gate?action=consent&site=S03",
    ],
)
@pytest.mark.parametrize("width", [1280, 320])
def test_pages_are_for_everybody_and_fit(approvals_visit, check, path, width):
    manager = approvals_visit(MANAGER, width=width)
    manager.go(path)
    check(manager.page)
    assert manager.page.locator("h1").count() == 1
    assert manager.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_register_on_a_day_and_by_site(approvals_visit, check):
    coordinator = approvals_visit(COORDINATOR)
    page = coordinator.page
    coordinator.go("/approvals?site=S01&on=2026-02-01")
    assert "As they stood on 1 February 2026 at site S01" in page.locator(".lead").inner_text()
    assert "Version 1.0" in page.locator("[aria-labelledby=local]").inner_text()
    page.fill("#on", TODAY.isoformat())
    press(page, "main form button")
    assert "Version 2.0" in page.locator("[aria-labelledby=local]").inner_text()
    assert page.locator("text=Record a decision").count() == 0, "a coordinator reads, and does not record"
    coordinator.go("/approvals/record")
    assert page.locator("h1").inner_text() == "This is not allowed"
    coordinator.go("/approvals?on=yesterday")
    points_to(page, "on")
    coordinator.go("/approvals/documents/ICF/3")
    rows = page.locator("[aria-labelledby=sites] tbody tr").all_inner_texts()
    assert "14 April 2026" in rows[0]
    assert "not known yet" in rows[1]


def test_what_the_green_light_stands_on(approvals_visit):
    nurse = approvals_visit(NURSE)
    nurse.go("/approvals/sites/S01")
    items = nurse.page.locator(".checklist li").all_inner_texts()
    assert len(items) == 6
    assert all(item.startswith("✓") for item in items)
    manager = approvals_visit(MANAGER)
    manager.go("/approvals/sites/S09")
    missing = [item for item in manager.page.locator(".checklist li").all_inner_texts() if item.startswith("✗")]
    assert any("Delegation log" in item for item in missing)
    assert manager.page.locator(".verdict").inner_text() == "No"


def test_a_document_is_recorded_taken_up_and_revoked(sqlite_world, approvals_visit, check, letter):
    manager = approvals_visit(MANAGER)
    page = manager.page
    manager.go("/approvals/documents/record")
    page.select_option("#kind", "PIS")
    page.fill("#version", "three")
    page.fill("#dated", TODAY.isoformat())
    page.fill("#effective_from", TODAY.isoformat())
    page.set_input_files("#file", str(letter))
    press(page, "main button.btn-primary")
    points_to(page, "version")
    check(page)
    page.fill("#version", "3.0")
    page.fill("#approved_on", TODAY.isoformat())
    press(page, "main button.btn-primary")
    points_to(page, "modification")
    page.fill("#approved_on", "")
    page.select_option("#modification", test_modifications.REF)
    press(page, "main button.btn-primary")
    assert page.locator("h1").inner_text() == "Information sheet v3.0"
    test_modifications.step(sqlite_world, "agree", "S01")
    page.fill("#on", "2026-01-01")
    press(page, "form:has(#on) button")
    assert "is not approved on 2026-01-01" in page.locator(".error-summary").inner_text()
    points_to(page, "on")
    page.fill("#on", (TODAY + timedelta(days=7)).isoformat())
    press(page, "form:has(#on) button")
    assert "17 March 2026" in page.locator("[aria-labelledby=sites] tbody tr").first.inner_text()
    page.click("summary")
    press(page, "details button")
    points_to(page, "reason")
    check(page)
    page.fill("#reason", "A wrong telephone number")
    press(page, "details button")
    assert "Revoked on 10 March 2026." in page.locator(".lead").inner_text()
    check(page)


def test_a_modification_is_proposed_and_goes_its_way(approvals_visit, check, letter):
    manager, sponsor = approvals_visit(MANAGER), approvals_visit(SPONSOR)
    page = manager.page
    manager.go("/modifications")
    enter(page, "text=New modification")
    page.fill("#ref", "SM02")
    page.fill("#title", "A new end point")
    page.focus("#changes-end_points")
    page.keyboard.press("Space")
    page.select_option("#category", "C")
    enter(page, "main button.btn-primary")
    assert "Attach the Modification Tool output" in page.locator(".error-summary").inner_text()
    points_to(page, "tool")
    check(page)
    assert page.is_checked("#changes-end_points")
    page.set_input_files("#tool", str(letter))
    page.select_option("#kind", "minor")
    enter(page, "main button.btn-primary")
    points_to(page, "justification")
    page.select_option("#kind", "substantial")
    page.set_input_files("#tool", str(letter))
    enter(page, "main button.btn-primary")
    assert page.locator("h1").inner_text() == "Modification SM02 Classified"
    for event in ("submit", "validate"):
        page.select_option("#event", event)
        enter(page, "form:has(#event) button")
    page.select_option("#event", "favourable")
    enter(page, "form:has(#event) button")
    assert "Whoever proposed a modification does not record its favourable opinion." in page.locator(".error-summary").inner_text()
    points_to(page, "event")
    sponsor.go("/modifications/SM02")
    page = sponsor.page
    page.select_option("#event", "favourable")
    enter(page, "form:has(#event) button")
    assert page.locator("h1").inner_text() == "Modification SM02 Favourable"
    check(page)


def test_a_site_is_told_until_when_it_may_object_and_agrees(approvals_visit, check):
    manager, principal = approvals_visit(MANAGER), approvals_visit(PRINCIPAL)
    page = manager.page
    manager.go("/modifications/SM01")
    row = page.locator("[aria-labelledby=sites] tbody tr").first
    assert "Site S01 has until 2026-04-14 to raise an objection." in row.inner_text()
    page.select_option("#event-S01", "implement")
    page.fill("#on-S01", DAY_35.isoformat())
    enter(page, "tr:has(#event-S01) button")
    points_to(page, "on-S01")
    assert (page.input_value("#on-S01"), page.input_value("#event-S01")) == (DAY_35.isoformat(), "implement")
    check(page)
    principal.go("/modifications/SM01")
    page = principal.page
    assert page.locator("select").count() == 1, "an investigator answers for the own site only"
    page.select_option("#event-S01", "agree")
    enter(page, "tr:has(#event-S01) button")
    page.select_option("#event-S01", "implement")
    enter(page, "tr:has(#event-S01) button")
    assert "✓ In practice" in page.locator("[aria-labelledby=sites] tbody tr").first.inner_text()
    principal.go("/approvals/documents/ICF/3")
    assert "✓ In use" in page.locator("[aria-labelledby=sites] tbody tr").first.inner_text()


def test_a_deadline_is_recorded_as_met(approvals_visit, check):
    sponsor = approvals_visit(SPONSOR)
    page = sponsor.page
    sponsor.go("/deadlines")
    check(page)
    page.focus("tr:has-text('urgent safety measure') summary")
    page.keyboard.press("Enter")
    day = "tr:has-text('urgent safety measure') input[name=on]"
    page.fill(day, (TODAY + timedelta(days=1)).isoformat())
    page.fill("tr:has-text('urgent safety measure') input[name=text]", "Letter to the committee")
    enter(page, "tr:has-text('urgent safety measure') button")
    check(page)
    points_to(page, page.locator(day).get_attribute("id"))
    page.fill(day, TODAY.isoformat())
    enter(page, "tr:has-text('urgent safety measure') button")
    assert "10 March 2026" in page.locator("section:has(#met) tr:has-text('urgent safety measure')").inner_text()
    press(page, "form:has(#kind) button")
    points_to(page, "text")
    check(page)


def test_without_javascript_a_decision_is_recorded_and_checked(approvals_visit, letter):
    manager, sponsor = approvals_visit(MANAGER, javascript=False), approvals_visit(SPONSOR, javascript=False)
    page = manager.page
    manager.go("/approvals/record")
    page.select_option("#body", "site_greenlight")
    page.locator("#status optgroup[label='Green light'] option[value=granted]").first.wait_for(state="attached")
    page.select_option("#status", label="Suspended")
    press(page, "main button.btn-primary")
    assert page.locator(".error-summary a").get_attribute("href") in ("#status", "#site")
    page.select_option("#site", "S01")
    page.select_option("#status", index=page.locator("#status option").count() - 3)
    page.fill("#decided_on", TODAY.isoformat())
    page.set_input_files("#letter", str(letter))
    press(page, "main button.btn-primary")
    assert page.locator("h1").inner_text() == "Green light: granted"
    sponsor.go(page.url.partition(TRIAL)[2])
    press(sponsor.page, "text=I have compared it with the letter")
    assert sponsor.page.locator("dt:has-text('Checked by') + dd").inner_text() == "Sponsor"


def test_can_we_do_this_here_today_gives_every_reason_with_what_would_allow_it(approvals_visit, check):
    nurse = approvals_visit(NURSE)
    page = nurse.page
    nurse.go("/gate")
    page.focus("#action")
    page.keyboard.type("Randomise")
    page.focus("#site")
    page.keyboard.type("S09")
    page.fill("#on", "2025-01-01")
    enter(page, "main form button")
    assert page.locator(".verdict").inner_text().startswith("No: randomise at site S09 on 1 January 2025")
    against = page.locator(".reason-block")
    rules = {text.removeprefix("Rule ") for text in against.locator(".reason-rule").all_inner_texts()}
    assert {"GOV-02", "GOV-05", "GOV-08", "GOV-12", "GOV-14", "GOV-40"} <= rules
    for reason in against.all():
        message, needs = (reason.locator(part).inner_text() for part in (".reason-message", ".reason-needs"))
        assert message.startswith("Not allowed: ")
        assert len(needs.removeprefix("What would allow it: ")) > 10
    check(page)
    nurse.go(f"/gate?action=consent&site=S01&on={TODAY.isoformat()}")
    assert page.locator(".verdict").inner_text().startswith("Yes, as far as could be looked at: take consent at site S01")
    check(page)
