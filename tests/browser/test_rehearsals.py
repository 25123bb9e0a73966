"""Rehearsals on the pages: asked for, followed, read, signed; hidden from whoever recruits."""

import hashlib
import json

import pytest

from tests.browser.conftest import press

STATISTICIAN, CHIEF, NURSE = "statistics@demo.example", "ci@demo.example", "nurse.s01@demo.example"


def small(page) -> None:
    page.fill("#trials", "20")
    page.fill("#participants", "30")


def done(page) -> None:
    """Wait until the figures are there."""
    page.locator("text=Keep and sign").wait_for(timeout=60_000)


@pytest.mark.parametrize("javascript", [True, False])
def test_schemes_are_rehearsed_side_by_side(visit, check, javascript):
    visitor = visit(STATISTICIAN, javascript=javascript)
    page = visitor.page
    visitor.go("")
    press(page, "text=Rehearsals of the allocation")
    press(page, "text=New rehearsal")
    if javascript:
        check(page)
    small(page)
    page.check("input[name=alternative] >> nth=0")
    page.locator("summary", has_text="Describe other schemes").click()
    page.fill("#against", "{method: bigstick, mti: 3, factors: [site]}")
    press(page, "text=Rehearse >> nth=-1")
    done(page)
    heads = page.locator("table").first.locator("thead th").all_inner_texts()
    assert heads[0] == "Measure"
    assert heads[1].startswith("minimisation p = 4/5")
    assert heads[3] == "big stick 3 by site"
    assert page.locator("figure svg").count() == 3
    assert all(page.locator("figcaption").all_inner_texts())
    assert page.locator("text=Sign this rehearsal").count() == 0
    if javascript:
        check(page)
        page.set_viewport_size({"width": 320, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_mistakes_are_said_beside_their_fields(visit, check):
    visitor = visit(STATISTICIAN)
    page = visitor.page
    visitor.go("/rehearsals/new")
    page.locator("summary", has_text="Change who is recruited").click()
    assert "limb" in page.input_value("#assume")
    page.fill("#assume", "sites: {S99: 1}")
    page.locator("summary", has_text="Describe other schemes").click()
    page.fill("#against", "method: bigstick")
    press(page, "text=Rehearse >> nth=-1")
    assert page.title().startswith("Error: ")
    said = page.locator(".error-summary").inner_text()
    assert "Other schemes, line 1: method bigstick needs 'mti'" in said
    assert "Who is recruited, line 1: there is no site 'S99'" in said
    check(page)
    page.fill("#against", "")
    page.fill("#assume", "")
    page.fill("#trials", "many")
    press(page, "text=Rehearse >> nth=-1")
    assert "The number of trials must be a whole number from 1 to 100,000" in page.locator("#trials-error").inner_text()
    page.click(".error-summary a")
    assert page.evaluate("document.activeElement.id") == "trials"


def test_another_person_signs_what_they_read(visit, check):
    statistician, chief = visit(STATISTICIAN), visit(CHIEF)
    page = statistician.page
    statistician.go("/rehearsals/new")
    small(page)
    press(page, "text=Rehearse >> nth=-1")
    done(page)
    address, digest = page.url, page.locator(".digest").inner_text()
    with page.expect_download() as download:
        page.click("text=Download the figures")
    text = download.value.path().read_bytes()
    assert hashlib.sha256(text).hexdigest() == digest
    assert json.loads(text)["participants"] == 30
    with page.expect_download() as download:
        page.click("text=Download the report")
    assert digest in download.value.path().read_text("utf-8")

    page = chief.page
    page.goto(address)
    press(page, "text=Sign this rehearsal")
    assert page.locator(".saved").inner_text().startswith("Signed by")
    check(page)
    chief.go("/rehearsals")
    assert "Signed by" in page.locator("tbody tr").first.inner_text()
    assert page.locator("text=New rehearsal").count() == 0
    check(page)


def test_nobody_who_recruits_sees_a_rehearsal(visit, check):
    visitor = visit(NURSE)
    visitor.go("")
    assert visitor.page.locator("text=Rehearsals of the allocation").count() == 0
    for path in ("/rehearsals", "/rehearsals/new", "/rehearsals/some"):
        visitor.go(path)
        assert visitor.page.locator("h1").inner_text() == "This is not allowed"
        check(visitor.page)
