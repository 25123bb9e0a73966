"""What every answer tells the browser to keep to: headers, cookies, sizes, passwords; and that looking changes nothing."""

import re
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from tests import builders
from tests.api.test_concealment import browser, program
from tests.api.test_routes import address, all_routes
from tests.api.test_signing_in import token_of
from tests.builders import TRIAL, World
from tests.doors import app_of
from trialdm.documents import page
from trialdm.services import people, sessions, tickets
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import AuditEvent, FormVersion

HOME = f"/trials/{TRIAL}"

#: Pages before and after signing in, an answer of the API, a file, one that is not there.
ANSWERS = ("/sign-in", HOME, f"{HOME}/participants", f"/api/v1{HOME}", "/api/v1/none", "/healthz", "/static/theme.css", "/none", "/help")


def directives(answer: Any) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in parts}


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_says_what_the_browser_may_do_with_it(sqlite_world: World, path: str) -> None:
    with browser(sqlite_world, "research-nurse").get(path) as answer:
        policy = directives(answer)
    assert (policy["default-src"], policy["base-uri"], policy["frame-ancestors"]) == ("'none'", "'none'", "'none'")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Content-Type"].startswith(("text/", "application/"))
    assert (answer.headers["Cache-Control"] == "no-store") is not path.startswith("/static")


def test_a_script_needs_the_nonce_of_its_answer(sqlite_world: World) -> None:
    client = browser(sqlite_world, "research-nurse")
    first, second = (re.findall(r"'nonce-([^']+)'", client.get(HOME).headers["Content-Security-Policy"]) for _ in range(2))
    assert len(first) == len(second) == 1
    assert first != second


@pytest.fixture
def https(sqlite_world: World) -> FlaskClient:
    """A browser before the sign-in page of an instance that is served by HTTPS."""
    settings = replace(sqlite_world.instance.settings, secure_cookies=True)
    world = replace(sqlite_world, instance=replace(sqlite_world.instance, settings=settings))
    return app_of(world).test_client()


def test_over_https_cookies_are_for_this_host_alone_and_the_browser_stays_there(https: FlaskClient) -> None:
    seen = https.get("/sign-in", base_url="https://trial.example")
    fields = {"csrf_token": token_of(seen.text), "email": builders.email("monitor", ""), "password": builders.PASSWORD}
    done = https.post("/sign-in", base_url="https://trial.example", data=fields)
    assert done.status_code == 303
    (cookie,) = [line for line in done.headers.getlist("Set-Cookie") if "trialdm=" in line]
    assert cookie.startswith("__Host-trialdm=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert all("Secure" in line and "HttpOnly" in line for line in seen.headers.getlist("Set-Cookie"))
    assert re.fullmatch(r"max-age=31536000; includeSubDomains", done.headers["Strict-Transport-Security"])


def test_signing_out_clears_what_the_browser_kept(sqlite_world: World) -> None:
    client = browser(sqlite_world, "monitor")
    answer = client.post("/sign-out", data={"csrf_token": token_of(client.get("/account").text)})
    assert answer.status_code == 303
    assert "storage" in answer.headers["Clear-Site-Data"]
    assert client.get(HOME).status_code == 302


def test_a_password_is_hidden_while_it_is_typed_and_may_come_from_a_password_manager(sqlite_world: World) -> None:
    seen = app_of(sqlite_world).test_client().get("/sign-in").text
    (field,) = re.findall(r'<input[^>]*name="password"[^>]*>', seen)
    assert 'type="password"' in field
    assert 'autocomplete="current-password"' in field
    assert "onpaste" not in seen


#: Passwords of any signs and of any length up to the longest.
PASSWORDS = [
    "four plain words apart",
    "ÆØÅ æøå 漢字 кот 12",
    "window marble seven quiet river lantern copper meadow distant bell",
    "lantern-orbit-" * 9,
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_of_any_signs_is_taken_as_it_is_typed(sqlite_world: World, password: str) -> None:
    world, email = sqlite_world, builders.email("monitor", "")

    def try_it(word: str) -> str | None:
        return world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, word))

    code = world.run("system-administrator", lambda unit: tickets.issue(unit, people.by_email(unit, email), "reset"))
    world.units.run(SYSTEM, lambda unit: tickets.use(unit, code, password))
    assert try_it(password)
    for other in (password[:-1], password.upper(), f" {password}"):
        assert try_it(other) is None


def test_what_is_larger_than_the_service_reads_is_refused(sqlite_world: World) -> None:
    client, headers = program(sqlite_world, "research-nurse")
    long = {"CONTENT_LENGTH": str(1 << 33)}
    answer = client.post(f"/api/v1{HOME}/participants", json={"site": "S01"}, headers=headers, environ_overrides=long)
    assert answer.status_code == 413


@pytest.mark.parametrize("role", ["unblinded-data-manager", "trial-manager"])
def test_looking_at_a_page_changes_nothing(sqlite_world: World, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address that is read by GET is read. What is new in the trail afterwards is that it was refused, or that it was taken along."""
    monkeypatch.setattr(page, "pdf", str.encode)
    ident = builders.randomised(sqlite_world)
    client = browser(sqlite_world, role)

    def there() -> list[Any]:
        with sqlite_world.units.reading(SYSTEM) as unit:
            kept = select(AuditEvent.action).where(AuditEvent.action.not_in(("audit.export", "refused"))).order_by(AuditEvent.seq)
            return [*unit.session.scalars(kept), unit.session.scalar(select(func.count()).select_from(FormVersion))]

    before = there()
    for endpoint, method, rule in all_routes(client.application):
        if method == "GET" and "static" not in endpoint:
            client.get(address(rule, ident))
    assert there() == before
