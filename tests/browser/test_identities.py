"""Pages about identities: adding with one, looking at one, two people; with axe, on a telephone, and without JavaScript."""

import re

from tests.browser.conftest import press
from trialdm.demo.invented import invented

NURSE, MANAGER, CHIEF = "nurse.s01@demo.example", "manager@demo.example", "ci@demo.example"


def test_the_way_of_an_identity_on_the_pages(visit, check):
    visitor = visit(NURSE, width=320, javascript=False)
    page = visitor.page
    visitor.go("/participants")
    press(page, "text=Add participant")
    page.fill("#family_name", "Quarmby")
    press(page, "main button >> text=Add participant")
    assert page.title().startswith("Error: ")
    assert page.locator(".error-summary a").first.get_attribute("href") == "#nhs_number"
    assert page.input_value("#family_name") == "Quarmby"
    for name, value in invented(4000).items():
        page.fill(f"#{name}", value)
    press(page, "main button >> text=Add participant")
    assert "Participant added" in page.locator("[role=status]").first.inner_text()
    ident = page.locator("h1 .pseudonym").inner_text()
    press(page, "main >> text=Identity")
    page.fill("#reason", "To ring about the visit tomorrow")
    press(page, "text=Show the identity")
    assert invented(4000)["family_name"] in page.locator("main").inner_text()
    assert invented(4000)["family_name"] not in page.title() + page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    asker, decider = visit(MANAGER), visit(CHIEF)
    asker.go("/identities")
    asker.page.fill("#participant", ident)
    asker.page.fill("#reason", "The site cannot be reached")
    press(asker.page, "main button >> text=Ask")
    decider.go("/identities")
    check(decider.page)
    decider.page.get_by_label(re.compile(f"asks to see {ident}")).fill("It is needed")
    press(decider.page, "main button[value=confirm]")
    asker.go("/identities")
    check(asker.page)
    press(asker.page, "text=Show the identity")
    assert invented(4000)["given_name"] in asker.page.locator("main").inner_text()
    check(asker.page)


def test_the_pages_have_no_violation(visit, check):
    visitor = visit(NURSE)
    for path in ("/participants/new", f"/participants/{visitor.participant('follow_up')}/identity", "/identities"):
        visitor.go(path)
        check(visitor.page)
        assert "the vault runs inside this service" in visitor.page.locator("footer").inner_text()
