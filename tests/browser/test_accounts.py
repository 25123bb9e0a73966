"""Signing in with a security key in a real browser, and the pages of accounts: by keyboard, and judged by axe."""

from dataclasses import replace

import pytest

from tests import builders
from tests.browser.conftest import press, served
from tests.builders import PASSWORD
from tests.doors import app_of
from tests.services.test_accounts import GOOD, NEW, invite

MANAGER = builders.email("trial-manager", "")


@pytest.fixture
def strict(sqlite_world, browser):
    """A page of an instance where everybody needs a second factor, in a browser with a security key plugged in."""
    settings = replace(sqlite_world.instance.settings, second_factor=True)
    world = replace(sqlite_world, instance=replace(sqlite_world.instance, settings=settings))
    with served(app_of(world), {}) as site:
        context = browser.new_context(base_url=site.address.replace("127.0.0.1", "localhost"))
        page = context.new_page()
        wire = context.new_cdp_session(page)
        wire.send("WebAuthn.enable")
        about = {"protocol": "ctap2", "transport": "usb", "hasUserVerification": True, "isUserVerified": True}
        wire.send("WebAuthn.addVirtualAuthenticator", {"options": {**about, "automaticPresenceSimulation": True}})
        yield world, page
        context.close()


def give_password(page, email: str, password: str, heading: str) -> None:
    page.goto("/sign-in")
    page.fill("#email", email)
    page.fill("#password", password)
    go_on(page, "main button >> text=Sign in", heading)


def go_on(page, words: str, heading: str) -> None:
    """Press a button, and wait until the page is there to which it leads: a key answers before the form is sent."""
    page.click(words if ">>" in words else f"text={words}")
    page.get_by_role("heading", level=1, name=heading).wait_for()


def test_an_invited_person_comes_in_with_a_security_key(strict, check):
    world, page = strict
    page.goto("/password/set")
    check(page)
    page.fill("#code", invite(world))
    for field in ("#password", "#again"):
        page.fill(field, GOOD)
    press(page, "main button")

    give_password(page, NEW, GOOD, "Set up a second factor")
    check(page)
    page.fill("#key-label", "blue key")
    go_on(page, "Add this key", "Your recovery codes")
    assert page.locator(".codes li").count() == 10
    check(page)
    go_on(page, "I have kept them", "PRE-TMR")
    page.goto("/account")
    assert "blue key" in page.locator("section[aria-labelledby=factors]").inner_text()
    check(page)
    go_on(page, "Sign out", "Sign in")

    give_password(page, NEW, GOOD, "Second factor")
    check(page)
    page.goto("/")
    assert page.locator("h1").inner_text() == "Sign in", "the password alone opens nothing"
    page.goto("/sign-in/second")
    go_on(page, "Use the key", "PRE-TMR")
    page.goto("/account/prove?next=/account")
    check(page)
    go_on(page, "Use the key", "Your account")
    go_on(page, "section[aria-labelledby=factors] >> text=Make new ones", "Your recovery codes")
    assert page.locator(".codes li").count() == 10


def test_a_wrong_code_of_an_app_is_said_beside_the_picture(strict, check):
    _, page = strict
    give_password(page, MANAGER, PASSWORD, "Set up a second factor")
    press(page, "text=Use an app")
    check(page)
    page.fill("#code", "000000")
    press(page, "form:has(#code) button")
    assert page.locator(".error-summary").inner_text().startswith("There is a problem")
    check(page)


def test_the_pages_of_accounts(strict, check):
    _, page = strict
    give_password(page, MANAGER, PASSWORD, "Set up a second factor")
    go_on(page, "Add this key", "Your recovery codes")
    page.goto("/accounts")
    check(page)
    page.fill("#email", NEW)
    page.fill("#name", "New Person")
    page.select_option("#role", "monitor")
    go_on(page, "main button >> text=Invite", "New Person")
    assert page.locator("code.secret").inner_text()
    check(page)
    page.goto("/password")
    check(page)
