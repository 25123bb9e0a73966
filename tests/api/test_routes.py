"""Authorisation: every route declares the right that it asks for, and whoever lacks it is refused, by page and by program.

Each cell of route, role and site is asked for. A role without the right gets 403 whatever the address names; a role with it gets past the
table, and is then judged by the use case. What site staff of another site get of a participant is 403 everywhere.
"""

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import builders
from tests.api.test_concealment import browser, program
from tests.builders import PASSWORD, TRIAL, World
from tests.doors import app_of
from trialdm.domain import roles
from trialdm.door.routes import OPEN, OWN, OWN_ROOMS, ROOMS, ROUTES, rights
from trialdm.services import people, sessions
from trialdm.services.unit import SYSTEM, Actor

#: What stands in an address where a route asks for it.
VALUES = {
    "trial": TRIAL,
    "visit": "V01",
    "form": "PAIN",
    "row": "1",
    "site": "S01",
    "kind": "PIS",
    "code": "1",
    "number": "1",
    "condition": "1",
    "seq": "1",
    "event": "close",
    "scope": "participant",
    "figure": "consented",
    "step": "sign",
    "act": "inform",
    "name": "derived",
    "ref": "M1",
    "filename": "theme.css",
}


def all_routes(app: Flask) -> list[tuple[str, str, str]]:
    """Every route once for each method: name, method, address with its parts."""
    found = []
    for rule in app.url_map.iter_rules():
        found += [(rule.endpoint, method, rule.rule) for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    return sorted(set(found))


def address(rule: str, ident: str) -> str:
    """An address of a route: about this participant, and things that are there where it is known which."""

    def value(part: re.Match[str]) -> str:
        if part[1] and part[1].startswith("any("):
            return part[1][4:-1].split(",")[0].strip(" '")
        return VALUES.get(part[2], ident if part[2] == "participant" else "none")

    return re.sub(r"<(?:([^<>]*):)?(\w+)>", value, rule)


def test_every_route_declares_a_right_and_every_declaration_has_a_route(sqlite_world: World) -> None:
    names = {endpoint for endpoint, _, _ in all_routes(app_of(sqlite_world))}
    assert [name for name in sorted(names) if rights(name) is None] == []
    assert set(ROUTES) | OPEN | OWN <= names
    assert set(ROOMS) | OWN_ROOMS <= {name.partition(".")[0] for name in names}
    asked = {right for of in (*ROUTES.values(), *ROOMS.values()) for right in of}
    assert asked <= set(roles.ACTIONS)
    assert not {name for name in ROUTES if ROUTES[name] == ROOMS.get(name.partition(".")[0])}, "said twice"


def test_a_route_that_nobody_declared_is_refused(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trialdm.door.routes.ROOMS", {})
    answer = browser(sqlite_world, "trial-manager").get(f"/trials/{TRIAL}/visits")
    assert (answer.status_code, "Nobody may do this" in answer.get_data(as_text=True)) == (403, True)


def test_nothing_opens_to_whoever_has_not_signed_in(sqlite_world: World) -> None:
    ident = builders.consented(sqlite_world)
    client = app_of(sqlite_world).test_client()
    opened = []
    for endpoint, method, rule in all_routes(client.application):
        if endpoint in OPEN:
            continue
        answer = client.open(address(rule, ident), method=method, json={} if rule.startswith("/api/") else None)
        to_sign_in = answer.status_code == 302 and answer.location.startswith("/sign-in")
        if not (to_sign_in or answer.status_code in (401, 403)):
            opened.append((endpoint, method, answer.status_code))
    assert opened == []


def token_of(client: FlaskClient) -> dict[str, str]:
    found = re.search(r'name="csrf_token" value="([^"]*)"', client.get("/account").get_data(as_text=True))
    assert found
    return {"csrf_token": found.group(1)}


def holds(role: str, right: str) -> bool:
    """What the table of roles says of a trial with participants."""
    return role in roles.ACTIONS[right]


def person(world: World, role: str, site: str) -> Actor:
    """Somebody more, with this role."""
    email = builders.email(role, site)
    world.run("system-administrator", lambda unit: people.add(unit, email, "Somebody More", PASSWORD, [(role, site)]))
    with world.units.reading(SYSTEM) as unit:
        return people.actor(unit, people.by_email(unit, email), "test")


@pytest.fixture(scope="module")
def peopled(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One instance for every cell: what is refused changes nothing, and what is not refused is asked for with nothing in it."""
    world = sqlite_template.copy(tmp_path_factory.mktemp("routes") / "instance")
    ident = builders.consented(world)
    for role, (_, at_site) in roles.ROLES.items():
        for site in ("S01", "S02") if at_site else ("",):
            if (role, site) not in world.actors:
                world.actors[(role, site)] = person(world, role, site)
    yield world, ident
    world.instance.engine.dispose()


@pytest.mark.parametrize("role", list(roles.ROLES))
def test_whoever_lacks_the_right_of_a_route_is_refused(peopled: tuple[World, str], role: str) -> None:
    world, ident = peopled
    client, (machine, headers) = browser(world, role), program(world, role)
    form = token_of(client)
    wrong = []
    for endpoint, method, rule in all_routes(client.application):
        asked = rights(endpoint) or ()
        if endpoint in OPEN or not asked or any(holds(role, right) or holds(role, roles.OF_CASES.get(right, right)) for right in asked):
            continue
        path = address(rule, ident)
        if rule.startswith("/api/"):
            answer = machine.open(path, method=method, headers=headers, json={})
        else:
            answer = client.open(path, method=method, data=form if method == "POST" else None)
        if answer.status_code != 403:
            wrong.append((endpoint, method, answer.status_code))
    assert wrong == []


#: Roles that work at a site.
OF_SITES = [role for role, (_, at_site) in roles.ROLES.items() if at_site]


@pytest.mark.parametrize("role", OF_SITES)
def test_staff_of_another_site_are_refused_whatever_is_about_the_participant(peopled: tuple[World, str], role: str) -> None:
    world, ident = peopled
    other = browser_at(world, role, "S02")
    form = token_of(other)
    wrong = []
    for endpoint, method, rule in all_routes(other.application):
        if "<participant>" not in rule or rule.startswith("/api/"):
            continue
        answer = other.open(address(rule, ident), method=method, data=form if method == "POST" else None)
        if answer.status_code not in (403, 404):
            wrong.append((endpoint, method, answer.status_code))
    assert wrong == []


def browser_at(world: World, role: str, site: str) -> FlaskClient:
    """A browser of the person with this role at a site."""
    client = app_of(world).test_client()
    secret = world.run(role, lambda unit: sessions.sign_in(unit, world.actor(role, site).email, PASSWORD), site)
    assert secret
    client.set_cookie("trialdm", secret)
    return client
