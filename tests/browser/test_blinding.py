"""Unblinding, the day of surgery, and notices, as people see them."""

import re

import pytest

from tests.browser.conftest import TRIAL, press
from tests.demonstration import TODAY

PRINCIPAL, SURGEON, NURSE = "pi.s01@demo.example", "surgeon.s01@demo.example", "nurse.s01@demo.example"
ASSESSOR, CHIEF, MANAGER = "assessor.s01@demo.example", "ci@demo.example", "manager@demo.example"
COORDINATOR, SPONSOR, UNBLINDED = "coordinator@demo.example", "sponsor@demo.example", "statistics.unblinded@demo.example"
REASON = "Bleeding, and the next step depends on it"
ARM = re.compile(r"(?<!PRE-)\bTMR\b|Standard|Targeted muscle")


def words(page) -> str:
    return page.locator("main").inner_text()


@pytest.mark.parametrize("javascript", [True, False])
def test_an_allocation_is_shown_on_demand_only(visit, check, javascript):
    visitor = visit(SURGEON, javascript=javascript)
    page = visitor.page
    person = visitor.participant("follow_up")
    visitor.go(f"/participants/{person}")
    assert "Allocated; hidden until you ask" in page.locator(".facts").inner_text()
    assert not ARM.search(page.locator(".facts").inner_text())
    press(page, "text=Show the allocation")
    assert re.fullmatch("TMR|Standard", page.locator(".confirmation-number").inner_text())
    if javascript:
        check(page)
    press(page, "text=Back to the participant")
    assert not ARM.search(page.locator(".facts").inner_text())


@pytest.mark.parametrize("email", [NURSE, ASSESSOR, COORDINATOR, MANAGER, CHIEF])
def test_blinded_people_are_offered_no_allocation(visit, email):
    visitor = visit(email)
    visitor.go(f"/participants/{visitor.participant('follow_up')}")
    assert "Hidden to keep you blinded" in visitor.page.locator(".facts").inner_text()
    assert visitor.page.locator("text=Show the allocation").count() == 0


def test_an_emergency(visit, check):
    visitor = visit(CHIEF)
    page = visitor.page
    person = visitor.participant("follow_up")
    visitor.go(f"/participants/{person}")
    press(page, "text=Unblind in an emergency")
    check(page)
    press(page, "text=Unblind now")
    assert page.title().startswith("Error: ")
    assert page.evaluate("document.activeElement.className") == "error-summary"
    check(page)
    page.check("#code-1")
    page.check("#confirm")
    press(page, "text=Unblind now")
    assert page.locator(".error-summary a").get_attribute("href") == "#reason"
    assert (page.is_checked("#confirm"), page.is_checked("#code-1")) == (True, True)
    page.fill("#reason", REASON)
    press(page, "text=Unblind now")
    assert re.fullmatch("TMR|Standard", page.locator(".confirmation-number").inner_text())
    check(page)
    manager = visit(MANAGER)
    manager.go("")
    assert "not read yet" in manager.page.locator(".who-notices").inner_text()
    press(manager.page, ".who-notices")
    first = manager.page.locator(".notice").first.inner_text()
    assert f"Emergency unblinding of participant {person}" in first
    assert not ARM.search(first)
    assert REASON not in words(manager.page)
    check(manager.page)
    manager.go("/unblinding")
    assert person in manager.page.locator("tbody").inner_text()
    check(manager.page)


def test_a_drill_without_javascript(visit):
    visitor = visit(PRINCIPAL, javascript=False)
    page = visitor.page
    visitor.go(f"/participants/{visitor.participant('follow_up')}/unblind")
    page.check("#code-2")
    page.check("#drill")
    page.fill("#reason", "our drill of this month")
    press(page, "text=Unblind now")
    assert page.locator("h1").inner_text() == "Drill done"
    assert page.locator(".confirmation-number").inner_text() == "No allocation was shown"
    assert not ARM.search(words(page))
    manager = visit(MANAGER)
    manager.page.goto(f"{manager.site.address}/notices")
    assert manager.page.locator("text=DRILL").count() >= 1


def test_a_notice_is_marked_as_read(visit, check):
    visitor = visit(SURGEON)
    page = visitor.page
    page.goto(f"{visitor.site.address}/notices")
    before = page.locator(".notice form").count()
    assert before >= 1
    assert not ARM.search(words(page))
    check(page)
    press(page, ".notice form button")
    assert page.locator(".notice form").count() == before - 1
    page.click("text=Read before")
    check(page)


def _ready(visitor) -> tuple[str, str]:
    """A participant who can be randomised, and their site."""
    visitor.go("/participants?state=eligible")
    for link in visitor.page.eval_on_selector_all("tbody a", "found => found.map(link => link.href)"):
        visitor.page.goto(f"{link}/randomise")
        if visitor.page.locator("text=Randomise now").count():
            site = re.search(r"Site (S\d\d)", words(visitor.page))
            assert site is not None
            return link.rpartition("/")[2], site[1].lower()
    raise AssertionError("nobody is ready to be randomised")


def test_from_randomisation_to_the_day_of_surgery(visit, check):
    person, site = _ready(visit(COORDINATOR))
    principal = visit(f"pi.{site}@demo.example")
    principal.go(f"/participants/{person}/randomise")
    press(principal.page, "text=Randomise now")
    assert re.search(r"Arm: (TMR|Standard)", words(principal.page))
    check(principal.page)
    principal.go(f"/participants/{person}/randomise")
    assert not ARM.search(words(principal.page))
    check(principal.page)
    surgeon = visit(f"surgeon.{site}@demo.example")
    page = surgeon.page
    surgeon.go(f"/participants/{person}/visits/V01/forms/CLIN")
    planned = {name: _planned(page, label) for name, label in (("side", "Side"), ("limb", "Limb"), ("level", "Planned level"))}
    surgeon.go(f"/participants/{person}")
    press(page, "text=Check before surgery")
    check(page)
    press(page, "text=Compare with the plan")
    assert page.locator(".error-summary a").count() == 3
    check(page)
    wrong = {"Left": "Right", "Right": "Left"}[planned["side"]]
    _fill(page, {**planned, "side": wrong})
    press(page, "text=Compare with the plan")
    assert page.locator(".error-summary h2").inner_text() == "Stop: do not start"
    assert page.locator("input:checked").count() == 0
    assert not ARM.search(words(page))
    check(page)
    _fill(page, planned)
    press(page, "text=Compare with the plan")
    assert page.locator("h1").inner_text() == "Side, limb and level agree"
    assert re.fullmatch("TMR|Standard", page.locator(".confirmation-number").inner_text())
    check(page)
    manager = visit(MANAGER)
    manager.page.goto(f"{manager.site.address}/notices")
    assert f"Check in theatre does not agree: participant {person}" in words(manager.page)


def _planned(page, label: str) -> str:
    """A given answer, on a form that the reader may not enter."""
    row = page.locator(".answers > div", has=page.locator("dt", has_text=re.compile(rf"^\s*{label}\s*$")))
    return row.locator("dd").inner_text().partition("History")[0].strip()


def _fill(page, read: dict[str, str]) -> None:
    for part in ("side", "limb"):
        page.locator("fieldset", has_text=f"Which {part}?").get_by_label(read[part], exact=True).check()
    page.select_option("#level", label=read["level"])


#: Saves the visit form of a visit through the API, in the session of the page.
_VISITED = """([path, day]) => fetch(path, {
  method: "PUT",
  headers: {"Content-Type": "application/json", "X-CSRF-Token": document.querySelector("[name=csrf_token]").value},
  body: JSON.stringify({answers: {vs_done: 1, vs_date: day, vs_mode: 1}, missing: {vs_assessor: "ND"}, complete: true}),
}).then(answer => answer.status)"""


def test_telling_the_participant(visit, check):
    visitor, nurse = visit(PRINCIPAL), visit(NURSE)
    page = visitor.page
    person = visitor.participant("follow_up")
    visitor.go(f"/participants/{person}/tell")
    assert "Not now" in words(page)
    check(page)
    nurse.go("")
    form = f"/api/v1/trials/{TRIAL}/participants/{person}/visits/V07/forms/VISI"
    assert nurse.page.evaluate(_VISITED, [form, TODAY.isoformat()]) == 200
    visitor.go(f"/participants/{person}")
    press(page, "text=Tell the participant")
    check(page)
    press(page, "text=Show the allocation")
    assert page.locator("h1").inner_text() == "Allocation to be told"
    check(page)
    visitor.go(f"/participants/{person}/tell")
    assert "Not now" in words(page)


@pytest.mark.parametrize(("email", "reads"), [(SPONSOR, True), (UNBLINDED, True), ("inspector@demo.example", True), (NURSE, False)])
def test_the_log(visit, check, email, reads):
    visitor = visit(email)
    visitor.go("/unblinding")
    assert (visitor.page.locator("h1").inner_text() == "Unblinding") is reads
    if reads:
        assert "Allocation read" in visitor.page.locator("tbody").inner_text()
        assert not ARM.search(visitor.page.locator("tbody").inner_text())
    check(visitor.page)


def test_the_pages_need_no_more_width_than_a_telephone_has(visit, check):
    visitor = visit(PRINCIPAL, width=320)
    person = visitor.participant("follow_up")
    for path in (f"/participants/{person}", f"/participants/{person}/unblind", f"/participants/{person}/theatre", "/../../notices"):
        visitor.go(path)
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 320, path
        check(visitor.page)
