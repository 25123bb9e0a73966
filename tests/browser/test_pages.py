"""Every kind of page, as several people see it: without a violation of WCAG, without a complaint of the browser."""

import re

import pytest

from tests.browser.conftest import press
from trialdm.web.guide import PAGES

NURSE, COORDINATOR, SURGEON = "nurse.s01@demo.example", "coordinator@demo.example", "surgeon.s01@demo.example"
PRINCIPAL, STATISTICIAN, MANAGER = "pi.s01@demo.example", "statistics@demo.example", "manager@demo.example"


def test_signing_in_and_out(visit, check):
    visitor = visit()
    page = visitor.page
    page.goto(f"{visitor.site.trial}/participants?state=eligible")
    assert page.title().startswith("Sign in")
    check(page)
    page.fill("#email", NURSE)
    page.fill("#password", "not the password")
    press(page, "main button")
    wrong = page.locator(".error-summary").inner_text()
    assert page.title().startswith("Error: ")
    assert page.evaluate("document.activeElement.className") == "error-summary"
    check(page)
    page.fill("#email", "nobody@demo.example")
    page.fill("#password", "not the password")
    press(page, "main button")
    assert page.locator(".error-summary").inner_text() == wrong
    page.fill("#email", NURSE)
    page.fill("#password", visitor.site.passwords[NURSE])
    press(page, "main button")
    assert page.url.endswith("/participants?state=eligible")
    press(page, "text=Sign out")
    assert page.title().startswith("Sign in")
    visitor.go("/participants")
    assert page.title().startswith("Sign in")


@pytest.mark.parametrize("target", ["https://example.org/", "//example.org/", "/\\example.org", "javascript:alert(1)"])
def test_signing_in_leads_only_to_this_site(visit, target):
    visitor = visit()
    visitor.page.goto(f"{visitor.site.address}/sign-in?next={target}")
    visitor.page.fill("#email", NURSE)
    visitor.page.fill("#password", visitor.site.passwords[NURSE])
    press(visitor.page, "main button")
    assert visitor.page.url.startswith(visitor.site.address)


@pytest.mark.parametrize("email", [NURSE, COORDINATOR, SURGEON, MANAGER])
def test_pages_of_a_trial(visit, check, email):
    visitor = visit(email)
    page = visitor.page
    person = visitor.participant("follow_up")
    for path in (
        "",
        "/participants",
        f"/participants/{person}",
        f"/participants/{person}/randomise",
        f"/participants/{person}/derived",
        f"/participants/{person}/visits/V01/forms/CLIN",
        f"/participants/{person}/visits/V04/forms/PAIN",
        f"/participants/{person}/visits/V04/forms/PAIN/audit",
        f"/participants/{person}/visits/V04/forms/DIAR",
        f"/participants/{person}/visits/V04/forms/DIAR/1",
        f"/participants/{person}/visits/EV/forms/AE",
        f"/participants/{person}/visits/EV/forms/AE/new",
        "/gate?action=export-unblinded",
        "/approvals",
        "/approvals?on=2025-01-01&site=S01",
        "/exports",
        "/audit?review=repeats",
        "/audit/removals",
        "/no-such-page",
    ):
        visitor.go(path)
        assert page.locator("h1").count() == 1, path
        assert "Demonstration" in page.locator(".demo").inner_text()
        check(page)


def test_pages_need_no_more_width_than_a_telephone_has(visit, check):
    visitor = visit(NURSE, width=320)
    person = visitor.participant("follow_up")
    one = f"/participants/{person}"
    for path in ("", "/participants", one, f"{one}/visits/V04/forms/PAIN", "/gate", "/approvals"):
        visitor.go(path)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 320, path
        check(visitor.page)


@pytest.mark.parametrize("name", PAGES)
def test_the_guide_needs_no_signing_in(visit, check, name):
    visitor = visit()
    visitor.page.goto(f"{visitor.site.address}/help/{name}")
    assert visitor.page.locator("h1").inner_text() == PAGES[name]
    check(visitor.page)


def test_links_of_the_guide_lead_somewhere(visit):
    visitor = visit()
    visitor.page.goto(f"{visitor.site.address}/help")
    links = visitor.page.eval_on_selector_all("main a", "found => found.map(link => link.href)")
    assert len(links) > len(PAGES)
    for link in set(links):
        assert visitor.page.request.get(link).status == 200, link


def test_every_link_of_the_start_and_of_a_participant_leads_somewhere(visit):
    visitor = visit(NURSE)
    for path in ("", f"/participants/{visitor.participant('follow_up')}"):
        visitor.go(path)
        for link in set(visitor.page.eval_on_selector_all("main a", "found => found.map(link => link.href)")):
            assert visitor.page.request.get(link, timeout=60_000).status in (200, 202), link


def test_blinded_people_see_no_arm(visit):
    surgeon, nurse = visit(SURGEON), visit(NURSE)
    person = surgeon.participant("follow_up")
    surgeon.go(f"/participants/{person}")
    assert "hidden until you ask" in surgeon.page.locator(".facts").inner_text()
    press(surgeon.page, "text=Show the allocation")
    assert re.fullmatch("TMR|Standard", surgeon.page.locator(".confirmation-number").inner_text())
    nurse.go(f"/participants/{person}")
    assert "Hidden to keep you blinded" in nurse.page.locator(".facts").inner_text()
    nurse.go(f"/participants/{person}/visits/V02/forms/SURG")
    assert nurse.page.locator("h1").inner_text() == "This is not allowed"


def add_later(page):
    """Add a participant from the list, with the identity to follow."""
    press(page, "text=Add participant")
    page.check("#to_follow")
    page.fill("#reason", "Screened by telephone")
    press(page, "main button >> text=Add participant")


def test_a_participant_is_added(visit, check):
    visitor = visit(NURSE)
    visitor.go("/participants")
    add_later(visitor.page)
    assert "Participant added" in visitor.page.locator("[role=status]").first.inner_text()
    check(visitor.page)
    visitor.page.locator("h1").inner_text()


def test_a_participant_who_is_not_ready_is_refused_with_every_reason(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    visitor.go("/participants")
    add_later(page)
    page.goto(f"{page.url.partition('?')[0]}/randomise")
    assert page.locator("text=Randomise now").count() == 0
    said = page.locator(".reasons").inner_text()
    assert all(words in said for words in ("No valid consent", "eligibility form is not complete", "Baseline is not complete"))
    assert said.count("What would allow it") >= 4
    check(page)


def test_a_participant_is_randomised_once(visit, check):
    visitor = visit(COORDINATOR)
    page = visitor.page
    ready = _ready(visitor)
    assert ready is not None, "somebody is ready to be randomised in every demonstration"
    check(page)
    press(page, "text=Randomise now")
    assert page.locator("h1").inner_text() == "Randomised"
    number = page.locator(".confirmation-number").inner_text()
    assert "hidden to keep you blinded" in page.locator("main").inner_text()
    check(page)
    page.reload()
    assert page.locator(".confirmation-number").inner_text() == number


def _ready(visitor) -> str | None:
    """The address of a page on which somebody can be randomised."""
    visitor.go("/participants?state=eligible")
    for link in visitor.page.eval_on_selector_all("tbody a", "found => found.map(link => link.href)"):
        visitor.page.goto(f"{link}/randomise")
        if visitor.page.locator("text=Randomise now").count():
            return link
    return None


def test_the_gate_gives_reasons(visit, check):
    visitor = visit(MANAGER)
    visitor.go("/gate?action=consent&site=S01&on=2025-01-02")
    assert visitor.page.locator(".verdict").inner_text().startswith("No:")
    assert visitor.page.locator(".reason-block").count() >= 1
    check(visitor.page)
    visitor.go("/gate?action=consent&on=tomorrow")
    assert visitor.page.title().startswith("Error: ")
    check(visitor.page)


@pytest.mark.parametrize("javascript", [True, False])
def test_an_export_is_made_and_fetched(visit, check, javascript):
    visitor = visit(STATISTICIAN, javascript=javascript)
    page = visitor.page
    visitor.go("/exports")
    assert page.locator("text=Unblinded").count() == 0
    page.uncheck("#format-sav")
    press(page, "text=Make the package")
    link = page.locator("text=Download the package")
    link.wait_for(timeout=60_000)
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename.endswith(".zip")
    if javascript:
        check(page)
        visitor.go("/exports")
        check(page)
