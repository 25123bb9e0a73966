"""Queries on the pages: asked beside a question, answered from the inbox, closed; their age; and the run of the edit checks."""

import re

from tests.browser.conftest import press

DATA, NURSE, MONITOR = "data@demo.example", "nurse.s01@demo.example", "monitor@demo.example"


def test_a_query_is_asked_beside_a_question_answered_and_closed(visit, check):
    asking, answering = visit(DATA), visit(NURSE, javascript=False)
    person = answering.participant("follow_up")
    asking.go(f"/participants/{person}/visits/V01/forms/CLIN")
    check(asking.page)
    press(asking.page, "text=Ask a query about ASA grade")
    check(asking.page)
    press(asking.page, "main button")
    assert asking.page.locator(".error-summary").inner_text().startswith("There is a problem")
    check(asking.page)
    asking.page.fill("#text", "Please check this against the chart.")
    press(asking.page, "main button")
    number = re.search(r"Q\d+", asking.page.locator("h1").inner_text()).group()
    assert "sent to the site" in asking.page.locator("[role=status]").inner_text()
    check(asking.page)

    answering.page.goto(f"{answering.site.address}/notices")
    press(answering.page, "text=Answer queries")
    press(answering.page, f"th >> text='{number}'")
    press(answering.page, "text=Open the form")
    assert answering.page.locator(f"text=Query {number}, open").count() == 1
    answering.page.go_back()
    answering.page.check("#answer-response")
    press(answering.page, "text=Send the answer")
    assert "not been changed" in answering.page.locator(".error-summary").inner_text()
    answering.page.check("#answer-response-confirmed")
    press(answering.page, "text=Send the answer")
    assert "Answered" in answering.page.locator("h1").inner_text()

    asking.page.goto(f"{asking.site.address}/notices")
    check(asking.page)
    press(asking.page, "tr:has-text('S01') >> text=Close queries")
    press(asking.page, f"th >> text='{number}'")
    check(asking.page)
    press(asking.page, "form >> text=Close the query")
    assert "Closed" in asking.page.locator("h1").inner_text()
    asking.go(f"/participants/{person}/visits/V01/forms/CLIN/audit")
    assert f"Query closed: {number}" in asking.page.locator("main").inner_text()


def test_lists_and_figures(visit, check):
    visitor = visit(MONITOR)
    page = visitor.page
    visitor.go("/queries")
    check(page)
    page.select_option("#state", "unsettled")
    press(page, "text=Show")
    shown = page.locator("tbody tr").count()
    assert page.locator("[role=status]").inner_text() == f"{shown} queries."
    press(page, "text=Age of queries")
    check(page)
    assert page.locator("td").nth(5).inner_text().startswith(str(shown))
    press(page, "td >> nth=5 >> a")
    assert page.locator("tbody tr").count() == shown


def test_the_edit_checks_are_previewed_and_run(visit, check):
    visitor = visit(DATA)
    page = visitor.page
    visitor.go("/checks")
    check(page)
    page.check("#alerts")
    press(page, "text=See what would be asked")
    check(page)
    new = int(re.search(r"(\d+) new quer", page.locator("[role=status]").inner_text()).group(1))
    assert new > 0
    press(page, "text=Run the checks and send the queries")
    assert f"{new} quer" in page.locator("[role=status]").inner_text()
    check(page)
    page.check("#alerts")
    press(page, "text=See what would be asked")
    assert "nothing to ask" in page.locator("main").inner_text()


def test_queries_fit_a_telephone(visit, check):
    visitor = visit(NURSE, width=320)
    visitor.go("/queries")
    first = visitor.page.locator("tbody th a").first.get_attribute("href")
    for path in ("/queries", "/query-ageing", first.removeprefix("/trials/pre-tmr")):
        visitor.go(path)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 320, path
        check(visitor.page)
