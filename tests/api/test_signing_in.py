"""Signing in at the door: the second factor, the code by which people set their own password, and proving once more who one is."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyotp
import pytest
from flask.testing import FlaskClient

from tests import builders
from tests.api.test_concealment import browser
from tests.builders import TRIAL, World
from tests.doors import app_of
from tests.services.test_accounts import GOOD, NEW, invite, with_app
from trialdm.door.security import SCOPES, scope_of
from trialdm.services import people, sessions, tokens

HOME = f"/trials/{TRIAL}"


@pytest.fixture
def strict(sqlite_world: World) -> World:
    """The furnished instance, where everybody needs a second factor."""
    settings = replace(sqlite_world.instance.settings, second_factor=True, address="https://trial.example")
    return replace(sqlite_world, instance=replace(sqlite_world.instance, settings=settings))


def sent(client: FlaskClient, path: str, **fields: Any) -> Any:
    """Send a form with the token of its page."""
    page = client.get(path.partition("?")[0]).get_data(as_text=True)
    found = re.search(r'name="csrf_token" value="([^"]*)"', page)
    return client.post(path, data={"csrf_token": found.group(1) if found else "", **fields})


def token_of(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]*)"', page)
    assert found
    return found.group(1)


def given_password(world: World, role: str = "monitor") -> tuple[FlaskClient, Any]:
    client = app_of(world).test_client()
    return client, sent(client, "/sign-in", email=world.actor(role).email, password=builders.PASSWORD)


def test_the_first_time_a_second_factor_is_set_up_before_anything_opens(strict: World) -> None:
    client, page = given_password(strict)
    assert "Set up a second factor" in page.get_data(as_text=True)
    assert client.get(HOME).status_code == 302, "not signed in yet"
    assert client.get("/account").status_code == 302
    page = client.get("/sign-in/set-up?app=1").get_data(as_text=True)
    letters = re.search(r'<code class="secret">([A-Z2-7]+)</code>', page)
    kept = re.search(r'name="kept" value="([0-9a-f]+)"', page)
    assert letters
    assert kept
    fields = {"csrf_token": token_of(page), "kept": kept.group(1)}
    wrong = client.post("/sign-in/set-up", data={**fields, "code": "12345"})
    assert (wrong.status_code, "The code does not fit" in wrong.get_data(as_text=True)) == (422, True)
    assert letters.group(1) in wrong.get_data(as_text=True), "the same picture again"
    done = client.post("/sign-in/set-up", data={**fields, "code": pyotp.TOTP(letters.group(1)).at(strict.now)})
    assert "Your recovery codes" in done.get_data(as_text=True)
    assert len(re.findall(r"<code>[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}</code>", done.get_data(as_text=True))) == 10
    assert client.get(HOME).status_code == 200


def test_a_sign_in_that_began_before_the_first_factor_sets_up_none(strict: World) -> None:
    """Two browsers know the password and neither has a factor; once one has set it up, the other is asked for it."""
    first, _ = given_password(strict)
    second, _ = given_password(strict)
    for client, status in ((first, 200), (second, 401)):
        page = client.get("/sign-in/set-up?app=1").get_data(as_text=True)
        letters, kept = re.search(r'<code class="secret">([A-Z2-7]+)</code>', page), re.search(r'name="kept" value="([0-9a-f]+)"', page)
        if not letters or not kept:
            assert client is second, "its session has ended"
            break
        fields = {"csrf_token": token_of(page), "kept": kept.group(1), "code": pyotp.TOTP(letters.group(1)).at(strict.now)}
        assert client.post("/sign-in/set-up", data=fields).status_code == status
    assert second.get(HOME).status_code == 302


def test_the_second_factor_stands_between_the_password_and_the_trial(strict: World) -> None:
    app, codes = with_app(strict)
    client, page = given_password(strict)
    assert "Second factor" in page.get_data(as_text=True)
    half = client.get_cookie("trialdm")
    assert half
    for path in (HOME, "/account", "/accounts", "/sign-in/set-up"):
        assert client.get(path).status_code == 302, path
    assert (
        client.post("/account/tokens", data={"csrf_token": token_of(page.get_data(as_text=True)), "scope": "read", "days": 9}).status_code
        == 401
    )
    assert sent(client, "/sign-in/second", code="000000").status_code == 422
    done = sent(client, "/sign-in/second?next=/notices", code=app.at(strict.now))
    assert (done.status_code, done.location) == (303, "/notices")
    full = client.get_cookie("trialdm")
    assert full
    assert full.value != half.value, "a new secret with every rise"
    assert client.get(HOME).status_code == 200
    stolen = app_of(strict).test_client()
    stolen.set_cookie("trialdm", half.value)
    assert stolen.get(HOME).status_code == 302
    again, _ = given_password(strict)
    assert sent(again, "/sign-in/second", code=codes[3]).status_code == 303
    assert sent(app_of(strict).test_client(), "/sign-in/second", code=codes[4]).status_code == 403, (
        "without a password there is no such page"
    )


def test_somebody_invited_sets_their_password_and_the_page_never_tells_whose_code_it_is(strict: World) -> None:
    code = invite(strict)
    client = app_of(strict).test_client()
    assert sent(client, "/password/set", code=code, password=GOOD, again="other").status_code == 422
    wrong = sent(client, "/password/set", code="x" * 40, password=GOOD, again=GOOD)
    assert (wrong.status_code, NEW in wrong.get_data(as_text=True)) == (404, False)
    assert sent(client, "/password/set", code=f" {code} ", password=GOOD, again=GOOD).location == "/sign-in?set=1"
    assert "Your password is set" in client.get("/sign-in?set=1").get_data(as_text=True)


def test_a_forgotten_password_is_answered_alike_for_every_address(strict: World) -> None:
    answers = []
    for email in (strict.actor("monitor").email, "nobody@trial.example", "", "not an address"):
        page = sent(app_of(strict).test_client(), "/password", email=email)
        answers.append((page.status_code, re.sub(r'name="csrf_token" value="[^"]*"|nonce="[^"]*"', "", page.get_data(as_text=True))))
    assert len(set(answers)) == 1


#: Pages and forms that cannot be taken back, and who comes to them: each leads by the page that asks who one is.
PROVED = [
    ("GET", "/account/app", "monitor", {}),
    ("POST", "/account/codes", "monitor", {}),
    ("POST", "/account/tokens", "monitor", {"scope": "read", "days": "9"}),
    ("POST", "/accounts", "trial-manager", {"email": NEW, "name": "N", "role": "monitor"}),
    ("GET", "{participant}/unblind", "principal-investigator", {}),
    ("POST", "{participant}/unblind", "principal-investigator", {"reason": "bleeding", "code": "1", "confirm": "on"}),
]


@pytest.mark.parametrize(("method", "path", "role", "fields"), PROVED)
def test_what_cannot_be_taken_back_leads_by_a_proof(sqlite_world: World, method: str, path: str, role: str, fields: dict[str, str]) -> None:
    world = sqlite_world
    ident = builders.randomised(world)
    path = path.format(participant=f"{HOME}/participants/{ident}")
    client = browser(world, role)
    world.now += timedelta(minutes=6)
    token = token_of(client.get("/account").get_data(as_text=True))
    here = {"Referer": f"http://localhost{path}"}

    def ask() -> Any:
        if method == "GET":
            return client.get(path)
        return client.post(path, data={"csrf_token": token, **fields}, headers=here)

    led = ask()
    assert (led.status_code, led.location) == (303, f"/account/prove?next={path}")
    assert sent(client, led.location, password="wrong").status_code == 422
    before = client.get_cookie("trialdm")
    done = sent(client, led.location, password=builders.PASSWORD)
    assert (done.status_code, done.location) == (303, path)
    after = client.get_cookie("trialdm")
    assert before
    assert after
    assert before.value != after.value
    token = token_of(client.get("/account").get_data(as_text=True))
    assert ask().status_code < 304


def test_a_proof_leads_nowhere_else(sqlite_world: World) -> None:
    client = browser(sqlite_world, "monitor")
    for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        assert sent(client, f"/account/prove?next={target}", password=builders.PASSWORD).location == "/"


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_does_what_it_is_for_and_nothing_else(sqlite_world: World) -> None:
    """Every route of the API is asked for by a token for each other purpose: refused before anything else is looked at."""
    world, client = sqlite_world, app_of(sqlite_world).test_client()
    email = world.actor("research-nurse").email
    made = {
        scope: world.run("research-nurse", lambda unit, s=scope: tokens.create(unit, people.by_email(unit, email), s, [s]))  # type: ignore[misc]
        for scope in tokens.SCOPES
    }
    found = set()
    for rule in client.application.url_map.iter_rules():
        if not rule.rule.startswith("/api/v1"):
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            needed = scope_of(rule.endpoint, method)
            found.add(needed)
            path = re.sub(r"<int:[a-z]+>", "1", rule.rule.replace("<trial>", TRIAL))
            for scope, token in made.items():
                answer = client.open(re.sub(r"<[a-z]+>", "x", path), method=method, headers={"Authorization": f"Bearer {token}"}, json={})
                refused = answer.status_code == 403 and answer.json["code"] == "AUTH.SCOPE"
                assert refused is (scope != needed), (method, rule.rule, scope, answer.status_code)
    assert found == set(tokens.SCOPES)
    assert set(SCOPES) <= {rule.endpoint for rule in client.application.url_map.iter_rules()}


def test_the_account_page_shows_a_token_once(sqlite_world: World) -> None:
    client = browser(sqlite_world, "monitor")
    page = sent(client, "/account/tokens", label="script", scope="read", days="7").get_data(as_text=True)
    found = re.search(r"trialdm_[A-Za-z0-9_-]{43}", page)
    assert found
    assert found.group(0) not in client.get("/account").get_data(as_text=True)
    assert client.get(f"/api/v1{HOME}", headers={"Authorization": f"Bearer {found.group(0)}"}).status_code == 200
    ending = re.search(r"/account/tokens/[0-9a-f]+/end", page)
    assert ending
    assert client.post(ending.group(0), data={"csrf_token": token_of(page)}).status_code == 303
    assert client.get(f"/api/v1{HOME}", headers={"Authorization": f"Bearer {found.group(0)}"}).status_code == 401


def test_one_ends_other_sessions_and_changes_ones_password_on_the_page(sqlite_world: World) -> None:
    here, there = browser(sqlite_world, "monitor"), browser(sqlite_world, "monitor")
    assert there.get("/account").status_code == 200
    fields = {"old": builders.PASSWORD, "new": GOOD, "again": GOOD}
    assert sent(here, "/account/password", **{**fields, "again": "x"}).status_code == 422
    assert sent(here, "/account/password", **{**fields, "old": "x"}).status_code == 422
    assert sent(here, "/account/password", **fields).status_code == 303
    assert (here.get("/account").status_code, there.get("/account").status_code) == (200, 302)


# --- accounts of others ----------------------------------------------------------------------------------------------


def test_a_manager_invites_gives_roles_and_closes(sqlite_world: World) -> None:
    client = browser(sqlite_world, "trial-manager")
    page = sent(client, "/accounts", email=NEW, name="New Person", role="research-nurse", trial=TRIAL, site="S01").get_data(as_text=True)
    code = re.search(r'<code class="secret">([0-9a-f-]+)</code>', page)
    where = re.search(r"/accounts/([0-9a-f]{32})/roles", page)
    assert code
    assert where
    ident = where.group(1)
    assert code.group(1) not in client.get(f"/accounts/{ident}").get_data(as_text=True), "shown once"
    assert sent(app_of(sqlite_world).test_client(), "/password/set", code=code.group(1), password=GOOD, again=GOOD).status_code == 303
    token = {"csrf_token": token_of(client.get("/accounts").get_data(as_text=True))}
    given = {"role": "blinded-assessor", "trial": TRIAL, "site": "S01"}
    assert client.post(f"/accounts/{ident}/roles", data={**token, **given}).status_code == 303
    assert "Blinded outcome assessor" in client.get(f"/accounts/{ident}").get_data(as_text=True)
    assert client.post(f"/accounts/{ident}/roles/end", data={**token, **given}).status_code == 303
    assert client.post(f"/accounts/{ident}/close", data=token).status_code == 422
    assert client.post(f"/accounts/{ident}/close", data={**token, "reason": "left the site"}).status_code == 303
    with sqlite_world.units.reading(sqlite_world.actor("monitor")) as unit:
        assert people.by_ident(unit, ident).state == "closed"


@pytest.mark.parametrize(("role", "status"), [("monitor", 200), ("research-nurse", 403), ("statistician-blinded", 403)])
def test_who_sees_accounts(sqlite_world: World, role: str, status: int) -> None:
    client = browser(sqlite_world, role)
    assert client.get("/accounts").status_code == status
    assert sent(client, "/accounts", email=NEW, name="N", role="monitor").status_code == 403


def test_a_session_says_which_browser_it_is(sqlite_world: World) -> None:
    client = app_of(sqlite_world).test_client()
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0 Safari/537.36"
    page = client.get("/sign-in").get_data(as_text=True)
    fields = {"csrf_token": token_of(page), "email": sqlite_world.actor("monitor").email, "password": builders.PASSWORD}
    assert client.post("/sign-in", data=fields, headers={"User-Agent": agent}).status_code == 303
    assert "Chrome on Linux (this one)" in client.get("/account").get_data(as_text=True)
    assert sqlite_world.read("monitor", sessions.own)[0].agent == "Chrome on Linux"
