"""Allocation on the pages: what everybody may know, the steps to a live scheme, envelopes, and the answers an allocation used."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser

from tests import builders
from tests.browser.conftest import Site, Visitor, press, served, visitors_of
from tests.builders import TRIAL, World
from tests.doors import app_of
from tests.services.test_schemes import BLOCKS, load_with
from trialdm.domain.randomisation import ledger
from trialdm.services import envelopes
from trialdm.store import keys as sealing

NURSE, SURGEON, MONITOR = "nurse.s01@demo.example", "surgeon.s01@demo.example", "monitor@demo.example"
MANAGER, CHIEF, DMC = "manager@demo.example", "ci@demo.example", "dmc@demo.example"
STATISTICIAN, UNBLINDED, DATA = "statistics@demo.example", "statistics.unblinded@demo.example", "data@demo.example"

_ROLES = ("trial-manager", "sponsor", "chief-investigator", "monitor", "data-manager", "statistician-unblinded")


@pytest.fixture
def small(sqlite_world: World) -> Iterator[Site]:
    """A world of its own with a second trial, in which nobody has committed to the scheme."""
    load_with(sqlite_world, BLOCKS)
    app = app_of(sqlite_world)
    people = [builders.email(role, "") for role in _ROLES] + [builders.email("research-nurse", "S01")]
    with served(app, dict.fromkeys(people, builders.PASSWORD)) as site:
        yield site


@pytest.fixture
def visit_small(small: Site, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    yield from visitors_of(small, browser)


def words(visitor: Visitor) -> str:
    return visitor.page.locator("main").inner_text()


def fits(visitor: Visitor) -> bool:
    """Whether a telephone shows the page without scrolling to the side."""
    visitor.page.set_viewport_size({"width": 320, "height": 900})
    return bool(visitor.page.evaluate("document.documentElement.scrollWidth") <= 320)


@pytest.mark.parametrize("email", [NURSE, SURGEON, MONITOR, MANAGER, DMC, STATISTICIAN, UNBLINDED])
def test_everybody_sees_what_everybody_may_know(visit, check, email):
    visitor = visit(email)
    visitor.go("")
    press(visitor.page, ".trial-nav >> text=Allocation")
    seen = words(visitor)
    assert all(said in seen for said in ("Live", "Commitment", "Write it down: it proves later that nothing was cut off.", "Places taken"))
    assert ("4/5" in seen) is (email in (MANAGER, STATISTICIAN, UNBLINDED))
    assert not re.search(r"Targeted muscle|(?<!PRE-)\bTMR\b", seen)
    check(visitor.page)
    assert fits(visitor)
    check(visitor.page)


@pytest.mark.parametrize("javascript", [True, False])
def test_from_the_protocol_to_a_live_scheme(visit_small, check, javascript):
    manager, sponsor, chief = (
        visit_small(builders.email(role, ""), javascript=javascript) for role in ("trial-manager", "sponsor", "chief-investigator")
    )

    def look(visitor: Visitor) -> None:
        if javascript:
            check(visitor.page)

    address = f"{manager.site.address}/trials/other/allocation"
    for visitor in (manager, sponsor, chief):
        visitor.page.goto(address)
        look(visitor)
    assert "Nobody has committed to this scheme yet" in words(sponsor)
    press(manager.page, "button:has-text('Commit to the scheme')")
    assert "Committed. A second person now checks and signs." in words(manager)
    assert manager.page.locator("text=Sign the specification").count() == 0
    look(manager)
    sponsor.page.goto(address)
    look(sponsor)
    sponsor.page.check("#kind-hex-main")
    sponsor.page.fill("#value-main", "dice")
    sponsor.page.fill("#source-main", "the lottery of 7 March")
    press(sponsor.page, "button:has-text('Contribute')")
    assert sponsor.page.title().startswith("Error: ")
    assert sponsor.page.locator(".error-summary a").get_attribute("href") == "#value-main"
    if javascript:
        assert sponsor.page.evaluate("document.activeElement.className") == "error-summary"
    assert (sponsor.page.input_value("#value-main"), sponsor.page.is_checked("#kind-hex-main")) == ("dice", True)
    assert sponsor.page.input_value("#source-main") == "the lottery of 7 March"
    look(sponsor)
    chief.page.goto(address)
    sponsor.page.fill("#value-main", "0451")
    press(sponsor.page, "button:has-text('Contribute')")
    assert "Your contribution is part of the scheme." in words(sponsor)
    look(sponsor)
    chief.page.click("summary:has-text('Sign without a contribution')")
    press(chief.page, "button:has-text('Sign the specification')")
    assert "The specification has changed since you opened it." in words(chief)
    look(chief)
    press(chief.page, "form a:has-text('the specification')")
    assert "Permuted blocks of size 2, 4" in words(chief) or "permuted blocks of size 2, 4" in words(chief)
    look(chief)
    chief.page.goto(address)
    press(chief.page, "button:has-text('Sign the specification')")
    assert "Signed. The scheme is live." in words(chief)
    look(chief)
    manager.page.goto(address)
    assert "allocation escrow other --out FILE" in words(manager)
    assert "block" not in words_of_the_nurse(visit_small, address)


def words_of_the_nurse(visit_small: Callable[..., Visitor], address: str) -> str:
    """The same page without the name of the method: no size, no weight."""
    nurse = visit_small(builders.email("research-nurse", "S01"))
    nurse.page.goto(address)
    return words(nurse).replace("Permuted blocks", "")


def test_pausing_needs_a_reason_and_resuming_too(visit_small, check):
    sponsor = visit_small(builders.email("sponsor", ""))
    page = sponsor.page
    sponsor.go("/allocation")
    page.click("summary:has-text('Pause or close')")
    press(page, "button:has-text('Pause or close')")
    assert page.locator(".error-summary a").get_attribute("href") == "#reason-stop-main"
    check(page)
    page.fill("#reason-stop-main", "Safety review")
    press(page, "button:has-text('Pause or close')")
    assert "Paused" in page.locator("h2 .state").inner_text()
    check(page)
    page.fill("#reason-resume-main", "The review is over")
    press(page, "button:has-text('Resume the scheme')")
    assert page.locator("h2 .state").inner_text() == "Live"
    assert "Resumed" in page.locator("[role=status]").inner_text()


def test_the_specification_is_read_and_kept(visit, check):
    visitor = visit(STATISTICIAN)
    page = visitor.page
    visitor.go("/allocation")
    press(page, "main >> text=Read the specification")
    assert page.locator("h1").inner_text() == "PRE-TMR: specification of the allocation"
    check(page)
    with page.expect_download() as download:
        page.click("text=Download as HTML")
    assert "Published vectors" in download.value.path().read_text("utf-8")
    assert fits(visitor)
    check(page)


@pytest.mark.parametrize("email", [NURSE, SURGEON, MONITOR, DMC])
def test_the_specification_is_not_for_everybody(visit, check, email):
    visitor = visit(email)
    visitor.go("/allocation")
    assert visitor.page.locator("text=Read the specification").count() == 0
    visitor.go("/allocation/specification")
    assert visitor.page.locator("h1").inner_text() == "This is not allowed"
    check(visitor.page)


@pytest.mark.parametrize("javascript", [True, False])
def test_the_balance_report_is_in_one_answer_only(visit, check, javascript):
    visitor = visit(DMC, javascript=javascript)
    visitor.go("/allocation")
    press(visitor.page, "text=Write the balance and fidelity report")
    assert "balance and fidelity" in visitor.page.locator("h1").inner_text()
    if javascript:
        check(visitor.page)
        assert fits(visitor)
    visitor.go("/allocation/balance")
    assert visitor.page.locator("h1").inner_text() == "This cannot be done here"


def test_the_ledger_is_downloaded_and_holds(visit):
    visitor = visit(MONITOR)
    visitor.go("/allocation")
    with visitor.page.expect_download() as download:
        visitor.page.click("text=Download the ledger")
    assert download.value.suggested_filename == "pre-tmr-main-0-ledger.json"
    assert ledger.verify(json.loads(download.value.path().read_text("utf-8")), sealing.signed).holds


# --- envelopes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("javascript", [True, False])
def test_an_opened_envelope_is_entered_once(visit_small, sqlite_world, check, javascript):
    world: World = sqlite_world
    world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, TRIAL, "S01", 3))
    world.now += timedelta(hours=2)
    first, second = builders.ready(world), builders.ready(world)
    nurse = visit_small(builders.email("research-nurse", "S01"), javascript=javascript)
    page = nurse.page

    def look() -> None:
        if javascript:
            check(page)

    def enter(number: str, participant: str) -> None:
        page.fill("#number-opened", number)
        page.fill("#participant", participant)
        page.fill("#opened-opened", "10/3/2026 11:05")
        press(page, "text=Enter the envelope")

    nurse.go("/allocation")
    press(page, "main >> text=Envelopes")
    look()
    press(page, "text=Enter the envelope")
    assert [link.get_attribute("href") for link in page.locator(".error-summary a").all()] == [
        "#number-opened",
        "#participant",
        "#opened-opened",
    ]
    look()
    assert page.locator("#confirmed").count() == 0
    enter("2", first)
    assert page.locator(".error-summary a").get_attribute("href") == "#confirmed"
    assert [page.input_value(field) for field in ("#number-opened", "#participant", "#opened-opened")] == ["2", first, "10/3/2026 11:05"]
    look()
    page.check("#confirmed")
    press(page, "text=Enter the envelope")
    assert "Envelope S01-2 is entered." in words(nurse)
    assert "1 still sealed" in page.locator("tr", has_text=first).inner_text()
    look()
    enter("2", first)
    assert "Envelope S01-2 is entered." in words(nurse)
    enter("2", second)
    assert page.title().startswith("Error: ")
    assert f"Envelope 2 of site S01 was entered before, as used for participant {first}" in words(nurse)
    enter("1", first)
    assert f"Participant {first} was randomised already" in words(nurse)
    look()
    page.click("summary:has-text('Enter a spoilt envelope')")
    page.fill("#number-spoilt", "1")
    page.fill("#opened-spoilt", "10/3/2026 11:20")
    page.fill("#note", "wet")
    press(page, "text=Enter as spoilt")
    assert page.locator(".error-summary a").get_attribute("href") == "#note"
    assert page.input_value("#note") == "wet"
    look()
    page.fill("#note", "The envelope was found wet and open")
    press(page, "text=Enter as spoilt")
    assert "Spoilt" in page.locator("tbody tr").first.inner_text()
    assert second not in words(nurse)
    if javascript:
        assert fits(nurse)
        look()


def test_the_unblinded_statistician_makes_envelopes(visit, check):
    visitor = visit(UNBLINDED)
    page = visitor.page
    visitor.go("/allocation/envelopes")
    assert page.locator("text=Enter the envelope").count() == 0
    check(page)
    press(page, "text=Make envelopes and download")
    assert page.locator(".error-summary a").count() == 2
    check(page)
    page.select_option("#site-made", "S02")
    page.fill("#count", "2")
    with page.expect_download() as download:
        page.click("text=Make envelopes and download")
    assert download.value.suggested_filename == "pre-tmr-S02-envelopes-1-to-2.html"
    assert re.search("TMR|Standard", download.value.path().read_text("utf-8"))
    visitor.go("/allocation/envelopes")
    assert page.locator("tbody tr").count() == 2
    assert not re.search(r"Targeted|Standard", words(visitor))
    check(page)


def test_envelopes_are_not_for_everybody(visit, check):
    visitor = visit(STATISTICIAN)
    visitor.go("/allocation/envelopes")
    assert visitor.page.locator("h1").inner_text() == "This is not allowed"
    check(visitor.page)


# --- the answers that an allocation used --------------------------------------------------------------------------------


@pytest.mark.parametrize("javascript", [True, False])
def test_a_monitor_verifies_the_answers(visit_small, sqlite_world, check, javascript):
    ident = builders.randomised(sqlite_world, opioid_pre=0)
    monitor = visit_small(builders.email("monitor", ""), javascript=javascript)
    page = monitor.page
    monitor.go(f"/participants/{ident}")
    press(page, "text=Answers used by the allocation")
    page.check("#level-limb-main")
    press(page, "text=Keep what the source says")
    assert page.locator(".error-summary a").count() == 5
    assert page.is_checked("#level-limb-main")
    if javascript:
        check(page)
        page.click(".error-summary a >> nth=1")
        assert page.evaluate("document.activeElement.id") == "level-amp_prox-main"
    page.select_option("#level-site-main", "S01")
    for factor in ("amp_prox", "aetiol_grp", "pain_pre"):
        page.check(f"#level-{factor}-main")
    page.locator("fieldset", has_text="opioid").get_by_label("Yes", exact=True).check()
    press(page, "text=Keep what the source says")
    row = page.locator("tr", has_text="opioid").inner_text()
    assert "No" in row
    assert "≠ Differs" in row
    assert "Same" in page.locator("tbody tr").first.inner_text()
    assert "Verified against the source" in words(monitor)
    if javascript:
        check(page)
        assert fits(monitor)


@pytest.mark.parametrize("javascript", [True, False])
def test_an_allocation_is_marked_as_an_error_once(visit_small, sqlite_world, check, javascript):
    ident = builders.randomised(sqlite_world)
    visitor = visit_small(builders.email("data-manager", ""), javascript=javascript)
    page = visitor.page
    visitor.go(f"/participants/{ident}/factors")
    page.click("summary")
    press(page, "button:has-text('Mark as an error')")
    assert page.locator(".error-summary").inner_text().endswith("Choose what went wrong.")
    page.check("#code-2-main")
    page.fill("#reason-main", "The same person under two numbers")
    press(page, "button:has-text('Mark as an error')")
    assert page.locator(".error-summary a").get_attribute("href") == "#other-main"
    assert page.input_value("#reason-main") == "The same person under two numbers"
    if javascript:
        check(page)
    page.check("#code-3-main")
    press(page, "button:has-text('Mark as an error')")
    assert "Randomised by mistake" in words(visitor)
    assert page.locator("summary").count() == 0
    if javascript:
        check(page)


def test_who_may_mark_but_sees_no_participants_finds_the_answers_from_the_allocation(visit, check):
    nurse, visitor = visit(NURSE), visit(UNBLINDED)
    person = nurse.participant("follow_up")
    visitor.go("/allocation")
    visitor.page.fill("#find", person)
    press(visitor.page, "text=Open")
    assert person in visitor.page.locator("h1").inner_text()
    check(visitor.page)
    nurse.go(f"/participants/{person}/factors")
    assert nurse.page.locator("summary").count() == 0
    assert nurse.page.locator("text=Verify against the source").count() == 0
    check(nurse.page)
