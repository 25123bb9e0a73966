"""Pages of the treatment pathway: organisations, cases, outcomes, guidance; with axe, by keyboard, and without JavaScript."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Site, Visitor, press

Visit = Callable[..., Visitor]
Check = Callable[[Page], None]

CLINICIAN, LEAD, LATE = "audit.s01@demo.example", "governance.s01@demo.example", "governance.s03@demo.example"
SPONSOR, MANAGER, NURSE = "sponsor@demo.example", "manager@demo.example", "nurse.s01@demo.example"


def go(visitor: Visitor, path: str = "") -> Page:
    visitor.page.goto(f"{visitor.site.address}/trials/tmr-audit{path}")
    return visitor.page


PAGES = [
    (CLINICIAN, ""),
    (CLINICIAN, "/participants"),
    (CLINICIAN, "/organisations/S01"),
    (CLINICIAN, "/outcomes"),
    (LEAD, "/organisations/S01"),
    (LEAD, "/outcomes"),
    (LEAD, "/guidance"),
    (SPONSOR, "/organisations"),
    (SPONSOR, "/outcomes"),
    (MANAGER, "/guidance"),
    (MANAGER, ""),
    (MANAGER, "/gate"),
]


@pytest.mark.parametrize(("email", "path"), PAGES)
@pytest.mark.parametrize("width", [1280, 375])
def test_pages_have_no_fault_that_axe_finds_and_fit(visit: Visit, check: Check, email: str, path: str, width: int) -> None:
    visitor = visit(email, width=width)
    page = go(visitor, path)
    assert page.locator("h1").count() == 1
    for summary in page.locator("details > summary").all():
        if summary.is_visible():
            summary.click()
    check(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_study_speaks_of_cases_and_has_no_allocation(visit: Visit, check: Check) -> None:
    visitor = visit(CLINICIAN)
    page = go(visitor, "/participants")
    assert page.locator("h1").inner_text() == "Cases"
    tabs = page.locator(".trial-nav a").all_inner_texts()
    assert "Cases" in tabs
    assert "Organisations" in tabs
    assert not {"Allocation", "Participants", "Exports", "Unblinding"} & set(tabs)
    page.locator("tbody a").first.click()
    page.wait_for_load_state()
    words = page.locator("main").inner_text()
    assert "Arm" not in words
    assert "Secondary procedure, problematic pain" in words
    check(page)


def test_a_clinician_enters_a_case_and_is_told_what_to_watch(visit: Visit, check: Check) -> None:
    visitor = visit(CLINICIAN, javascript=False)
    page = go(visitor, "/participants")
    press(page, "text=Add case")
    assert "Case added." in page.locator("[role=status]").inner_text()
    page.locator("table.grid tbody a").first.click()
    page.wait_for_load_state()
    fields = {"au_info_ver": "1.0", "au_pain_mo": "24", "au_rlp0": "8", "au_plp0": "7", "au_eq0": "50"}
    for name, value in fields.items():
        page.fill(f"[name='answer.{name}']", value)
    for name, day in {"au_gov_date": "2025-08-01", "au_sdm_date": "2026-10-01", "au_date": "2026-11-02"}.items():
        page.fill(f"[name='answer.{name}']", day)
    for name, code in {"au_uncert": 1, "au_mdt": 0, "au_timing": 1, "au_family": 1, "au_limb": 1}.items():
        page.check(f"[name='answer.{name}'][value='{code}']")
    for name, code in {"au_level": "12", "au_aetiol": "5", "au_surgeon": "1"}.items():
        pick(page, name, code)
    page.locator("[name='answer.au_gov_lead']").first.check()
    for code in (3, 5):
        page.check(f"[name='answer.au_tried'][value='{code}']")
    press(page, "text=Save as complete")
    problem = page.locator(".error-summary")
    assert "Preventive use belongs in an approved study." in problem.inner_text()
    page.check("[name='answer.au_timing'][value='2']")
    press(page, "text=Save as complete")
    assert "Saved as complete." in page.locator("[role=status]").inner_text()
    assert "MDT selection not recorded." in page.locator(".alerts").inner_text()


def pick(page: Page, name: str, code: str) -> None:
    """Choose from a list, or from buttons where there are few."""
    if page.locator(f"select[name='answer.{name}']").count():
        page.select_option(f"[name='answer.{name}']", code)
    else:
        page.check(f"[name='answer.{name}'][value='{code}']")


def test_a_lead_records_a_review_by_keyboard(visit: Visit, check: Check) -> None:
    visitor = visit(LATE)
    page = go(visitor, "/organisations/S03")
    assert "! Overdue" in page.locator("main").inner_text()
    page.locator("summary", has_text="Record that a review was held").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.fill("#hold-words", " ")
    page.locator("text=Record the review").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "error-summary"
    check(page)
    page.fill("#hold-words", "Minutes in the governance folder")
    page.locator("text=Record the review").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "The review is recorded." in page.locator("[role=status]").inner_text()
    check(page)


def test_the_charts_have_titles_and_tables_and_the_reports_open(visit: Visit, check: Check) -> None:
    visitor = visit(LEAD)
    page = go(visitor, "/outcomes")
    charts = page.locator("svg.chart")
    assert charts.count() >= 2
    for chart in charts.all():
        assert "The table below has the numbers." in (chart.locator("title").text_content() or "")
    assert "Not for use to compare arms of the trial." in page.locator("main").inner_text()
    with page.expect_download() as download:
        page.click("text=Download the audit minimum set")
    assert download.value.suggested_filename == "tmr-audit-audit-set.csv"
    page.locator("#appraisal ~ form button").first.click()
    page.wait_for_load_state()
    assert "annual appraisal" in page.locator("h1").inner_text()
    check(page)
    go(visitor, "/organisations/S01")
    press(page, "text=Open the review pack")
    assert "review of outcomes and safety" in page.locator("h1").inner_text()
    check(page)


def test_another_version_of_the_guidance_asks_everybody_to_check_again(visit: Visit, check: Check) -> None:
    visitor = visit(MANAGER)
    page = go(visitor, "/guidance")
    page.locator("summary", has_text="Follow Consultation document").click()
    page.fill("#why-consultation-2025", "To show what changes")
    press(page, "text=Follow this version")
    check(page)
    other = visit(LEAD)
    page = go(other, "/organisations/S01")
    assert "check again" in page.locator(".alerts").inner_text()
    assert "To treat, intractable pain" in page.locator("main").inner_text()
    go(visitor, "/guidance")
    visitor.page.locator("summary", has_text="Follow Interventional").click()
    visitor.page.fill("#why-IPG804", "Published")
    press(visitor.page, "text=Follow this version")
    assert "Interventional procedures guidance 804 is followed" in visitor.page.locator(".lead").inner_text()


def test_people_of_the_trial_and_of_the_audit_do_not_reach_each_other(visit: Visit, site: Site) -> None:
    clinician, nurse = visit(CLINICIAN), visit(NURSE)
    assert clinician.page.goto(f"{site.trial}/participants").status == 403  # type: ignore[union-attr]
    assert nurse.page.goto(f"{site.address}/trials/tmr-audit/participants").status == 403  # type: ignore[union-attr]
    manager = visit(MANAGER)
    assert manager.page.goto(f"{site.address}/trials/tmr-audit/participants").status == 403  # type: ignore[union-attr]
    assert manager.page.goto(f"{site.address}/trials/tmr-audit/outcomes").status == 403  # type: ignore[union-attr]
