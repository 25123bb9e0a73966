"""A research nurse's whole visit by the keyboard: from signing in to the last form, with JavaScript and without it."""

import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests import builders
from tests.browser.conftest import Site, Visitor, served, visitors_of
from tests.builders import TRIAL, World
from tests.doors import app_of
from trialdm.demo import figures
from trialdm.services import casebooks, participants, places
from trialdm.services.unit import Unit

NURSE = builders.email("research-nurse", "S01")
VISIT = "V03"
FORMS = ("VISI", "PAIN", "ANLG", "EQ5D", "DISC", "WOUN")

#: A nurse who has lost her way presses the tabulator no more often than this.
PATIENCE = 250

_FOCUS = """() => {
    const at = document.activeElement, question = at.closest('[data-item]');
    return {tag: at.tagName, name: at.name || '', type: at.type || '', value: at.value || '',
            text: (at.innerText || '').trim(), href: at.href || '', item: question ? question.dataset.item : ''};
}"""


@pytest.fixture
def operated(sqlite_world: World) -> str:
    """A participant who was operated on five days ago and goes home today."""
    world = sqlite_world
    ident = builders.randomised(world)
    world.at(builders.TODAY + timedelta(days=3))
    surgery = {"surg_done": 1, "surg_date": world.now.date().isoformat(), "surg_side": 1, "surg_level": 12, "intraop_comp": [0]}
    builders.put(world, ident, "V02", "SURG", {**surgery, "accid_unblind": 0}, role="surgeon")
    world.at(builders.TODAY + timedelta(days=8))
    return ident


@pytest.fixture
def come_in(sqlite_world: World, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    world = sqlite_world
    app = app_of(world)
    with served(app, {NURSE: builders.PASSWORD}) as site:
        yield from visitors_of(site, browser)


def focus(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(_FOCUS)
    return found


def reach(page: Page, says: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """Press the tabulator until the focus is where it is wanted."""
    for _ in range(PATIENCE):
        page.keyboard.press("Tab")
        if says(focus(page)):
            return focus(page)
    raise AssertionError(f"the tabulator leads nowhere near it from {page.url}:\n{page.locator('main').inner_text()}")


def follow(page: Page, words: str) -> None:
    """Reach a link or button that starts with these words, and press it."""
    reach(page, lambda at: at["tag"] in ("A", "BUTTON") and at["text"].startswith(words))
    with page.expect_navigation():
        page.keyboard.press("Enter")


def go(page: Page, path: str) -> None:
    """Reach the link that leads there, and follow it."""
    reach(page, lambda at: at["href"].endswith(path))
    with page.expect_navigation():
        page.keyboard.press("Enter")


def in_words(value: Any) -> str:
    """An answer as a nurse types it."""
    if isinstance(value, str) and len(value) >= 10 and value[4] == "-":
        day = date.fromisoformat(value[:10])
        return f"{day.day}/{day.month}/{day.year}" + (f" {datetime.fromisoformat(value):%H:%M}" if len(value) > 10 else "")
    return str(value)


def answer(page: Page, at: dict[str, str], value: Any) -> None:
    """Give the answer to the question that has the focus, as the keyboard does in each kind of field."""
    wanted = [str(code) for code in value] if isinstance(value, list) else [str(value)]
    if at["type"] == "checkbox":
        if at["value"] in wanted:
            page.keyboard.press("Space")
    elif at["type"] == "radio":
        page.keyboard.press("Space")
        choose(page, wanted[0])
    elif at["tag"] == "SELECT":
        choose(page, wanted[0])
    else:
        page.keyboard.type(in_words(value))


def choose(page: Page, code: str) -> None:
    for _ in range(40):
        if focus(page)["value"] == code:
            return
        page.keyboard.press("ArrowDown")
    raise AssertionError(f"the arrows never reach {code}")


def fill_in(page: Page, answers: dict[str, Any], missing: dict[str, str]) -> None:
    """Answer a form from top to bottom and save it as complete."""
    given: set[tuple[str, str]] = set()
    while True:
        at = reach(page, lambda at: bool(at["item"]) or at["name"] == "save")
        name = at["name"].removeprefix("answer.")
        if at["name"] == "save" and at["value"] == "complete":
            break
        if at["tag"] == "SUMMARY" and at["item"] in missing and at["text"].startswith("No answer?"):
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            choose(page, missing[at["item"]])
        elif name in answers and (name, at["value"] if at["type"] == "checkbox" else "") not in given:
            answer(page, at, answers[name])
            given.add((name, at["value"] if at["type"] == "checkbox" else ""))
    assert {name for name, _ in given} == set(answers)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def confirm(page: Page) -> None:
    """Say that unusual answers are right, as long as the page asks."""
    if page.locator("[name=confirm]").count() == 0:
        return
    for _ in range(page.locator("[name=confirm]").count()):
        reach(page, lambda at: at["name"] == "confirm")
        page.keyboard.press("Space")
    reach(page, lambda at: at["name"] == "save" and at["value"] == "complete")
    with page.expect_navigation():
        page.keyboard.press("Enter")


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_a_whole_visit(come_in: Callable[..., Visitor], sqlite_world: World, operated: str, javascript: bool) -> None:
    world, visitor = sqlite_world, come_in(javascript=javascript)
    page = visitor.page
    sign_in(page, visitor.site)
    follow(page, "Participants")
    follow(page, operated)
    go(page, f"/visits/{VISIT}/forms/{FORMS[0]}")
    for number in range(len(FORMS)):
        form = page.url.rsplit("/", 1)[-1]
        if form == "ANLG":
            go(page, "/ANLG/new")
        filled = answers_to(world, operated, form)
        fill_in(page, filled.answers, filled.missing)
        confirm(page)
        assert "Saved as complete" in page.locator(".saved").inner_text()
        follow(page, "Next: " if number < len(FORMS) - 1 else "Back to the participant")
    assert states(world, operated) == dict.fromkeys(FORMS, "complete")


def sign_in(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/sign-in")
    for name, words in (("email", NURSE), ("password", builders.PASSWORD)):
        reach(page, lambda at, name=name: at["name"] == name)
        page.keyboard.type(words)
    with page.expect_navigation():
        page.keyboard.press("Enter")


#: What the nurse finds; the rest is drawn.
FOUND: dict[str, dict[str, Any]] = {
    "VISI": {"vs_done": 1, "vs_mode": 1},
    "PAIN": {"rlp_any": 1, "rlp_worst": 6, "rlp_avg": 4, "rlp_now": 3, "plp_any": 0, "rlp_least": None, "pain_assist": 1},
    "ANLG": {"an_any": 0},
    "EQ5D": {},
    "DISC": {"dis_dest": 1},
    "WOUN": {"w_state": 1, "w_ssi": 0, "w_bleed": 0, "w_readm": 0, "w_reop": 0},
}


def answers_to(world: World, participant: str, form: str) -> figures.Filled:
    """What is to be typed into a form."""

    def work(unit: Unit) -> figures.Filled:
        place = places.locate(unit, TRIAL, participant, VISIT, form)
        beside = places.context(unit, place, places.book(unit, place))
        return figures.fill(place.form, beside, random.Random(form), FOUND[form])

    return world.read("research-nurse", work)


def states(world: World, participant: str) -> dict[str, str]:
    def work(unit: Unit) -> dict[str, str]:
        book = casebooks.read(unit, TRIAL, participants.known(unit, TRIAL, participant))
        return {code: stored.status for (visit, code, _), stored in book.forms.items() if visit == VISIT}

    return world.read("research-nurse", work)
