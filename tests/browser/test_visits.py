"""Visits on the pages: the list, the calendar, a transfer, and the ways to unscheduled visits and events by keyboard."""

from tests.browser.conftest import press

MANAGER, NURSE, COORDINATOR = "manager@demo.example", "nurse.s01@demo.example", "coordinator@demo.example"
MONTHS = [f"{2026 + number // 12}-{number % 12 + 1:02d}" for number in range(9, 20)]


def busy_month(visitor) -> str:
    """The first month in which a visit has its target day."""
    for month in MONTHS:
        visitor.go(f"/calendar?month={month}")
        if visitor.page.locator(".visit-entry").count():
            return month
    raise AssertionError("no month of the demonstration has a visit")


def test_the_calendar_leads_to_participant_and_visit(visit, check):
    visitor = visit(COORDINATOR)
    page = visitor.page
    month = busy_month(visitor)
    check(page)
    entry = page.locator(".visit-entry").first
    ident = entry.locator("a").first.inner_text()
    press(page, ".visit-entry a >> nth=1")
    assert ident in page.url
    assert page.url.endswith("/forms/VISI")
    visitor.go(f"/calendar?month={month}")
    press(page, ".month-ways a >> nth=1")
    assert page.locator("h1").inner_text() == "Calendar"
    assert month not in page.url
    with page.expect_download() as kept:
        page.click("text=Download the expected visits as a calendar file")
    assert kept.value.suggested_filename == "pre-tmr-visits.ics"
    visitor.go("/visits")
    check(page)
    with page.expect_download() as kept:
        page.click("text=Download as CSV")
    assert kept.value.suggested_filename == "pre-tmr-visits.csv"


def test_lists_and_calendar_fit_a_telephone(visit, check):
    visitor = visit(COORDINATOR, width=320)
    month = busy_month(visitor)
    for path in (f"/calendar?month={month}", "/visits"):
        visitor.go(path)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 320, path
        check(visitor.page)


def test_events_and_unscheduled_visits_are_reached_by_keyboard(visit, check):
    visitor = visit(NURSE)
    page = visitor.page
    visitor.go("/participants")
    press(page, "tbody a >> nth=0")
    page.locator("summary", has_text="Unscheduled visit").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert "/visits/U01/forms/" in (page.evaluate("document.activeElement.href") or "")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "/visits/U01/forms/" in page.url
    check(page)
    page.go_back()
    page.locator(".event-list a").first.focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "/visits/EV/forms/" in page.url


def test_a_participant_is_transferred_and_the_page_says_so(visit, check):
    visitor = visit(MANAGER)
    page = visitor.page
    ident = visitor.participant("follow_up")
    visitor.go(f"/participants/{ident}")
    press(page, "text=Transfer to another site")
    check(page)
    press(page, "main button")
    assert page.locator(".error-summary").count() == 1
    check(page)
    page.select_option("#site", index=1)
    page.fill("#reason", "Moved house")
    press(page, "main button")
    assert "Transferred to site" in page.locator(".saved").inner_text()
    assert "Enrolled at site" in page.locator(".lead").inner_text()
    check(page)
