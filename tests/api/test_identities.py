"""Identities at the doors: pages, API and what the footer says; nothing of an identity in an address, a title or a log."""

import logging
import re
from typing import Any

import pytest

from tests import builders
from tests.api.test_api import Api
from tests.api.test_concealment import HOME, browser
from tests.builders import TRIAL, World
from tests.identity.people import identifiers, with_vault
from trialdm.demo.invented import invented
from trialdm.identity.client import Asked
from trialdm.services import identities

WHY = "To ring about the visit tomorrow"
GIVEN = {"nhs_number": "", "no_nhs_number": "", "phone": "", **invented(1)}


@pytest.fixture
def api(sqlite_world: World) -> Api:
    return Api(with_vault(sqlite_world))


def added(api: Api, **more: Any) -> str:
    answer = api.send("research-nurse", "POST", "/participants", json={"site": "S01", "identity": GIVEN, **more})
    assert answer.status_code == 201, answer.json
    ident: str = answer.json["participant"]
    return ident


def test_the_way_of_an_identity_through_the_api(api: Api) -> None:
    ident = added(api)
    again = api.send("research-nurse", "POST", "/participants", json={"site": "S01", "identity": GIVEN})
    assert (again.status_code, again.json["code"]) == (409, "IDENTITY.DUPLICATE")
    asked = api.send("research-nurse", "POST", "/identities/duplicate", json={"site": "S01", "identity": GIVEN})
    assert (asked.status_code, asked.json["code"]) == (409, "IDENTITY.DUPLICATE")
    shown = api.send("research-nurse", "POST", f"/participants/{ident}/identity/look", json={"reason": WHY})
    assert shown.json["family_name"] == GIVEN["family_name"]
    assert api.send("monitor", "POST", f"/participants/{ident}/identity/look", json={"reason": WHY}).status_code == 403
    assert api.send("research-nurse", "GET", f"/participants/{ident}/identity").status_code in (404, 405)
    request = api.send("trial-coordinator", "POST", "/identities/requests", json={"participant": ident, "reason": "A letter came back"})
    path = f"/identities/requests/{request.json['request']}"
    assert api.send("sponsor", "POST", f"{path}/decision", json={"confirm": True, "reason": "It is needed"}).status_code == 200
    assert [row["state"] for row in api.send("trial-coordinator", "GET", "/identities/requests").json] == ["confirmed"]
    assert api.send("trial-coordinator", "POST", f"{path}/look").json["given_name"] == GIVEN["given_name"]
    shred = f"/participants/{ident}/identity/shred"
    assert api.send("trial-manager", "POST", shred, json={"reason": "Asked for by them"}).json["shredded"] is False
    assert api.send("sponsor", "POST", shred, json={"reason": "Retention is over"}).json["shredded"] is True


def test_an_identity_that_follows_is_entered_through_the_api(api: Api) -> None:
    ident = added(api, identity=None, later="Screened by telephone")
    assert api.send("research-nurse", "POST", f"/participants/{ident}/identity", json={"identity": GIVEN}).status_code == 201


def test_what_is_wrong_is_named_and_not_repeated(api: Api) -> None:
    wrong = {**GIVEN, "nhs_number": "9990000019", "postcode": "nowhere"}
    answer = api.send("research-nurse", "POST", "/participants", json={"site": "S01", "identity": wrong})
    assert answer.status_code == 422
    assert "9990000019" not in answer.text
    assert "nowhere" not in answer.text
    assert {"nhs_number", "postcode"} <= set(re.findall(r"nhs_number|postcode", answer.text))


def test_a_vault_that_is_away_is_503_and_nothing_was_saved(sqlite_world: World, tmp_path: Any) -> None:
    api = Api(with_vault(sqlite_world, Asked(tmp_path / "none", tmp_path / "none")))
    answer = api.send("research-nurse", "POST", "/participants", json={"site": "S01", "identity": GIVEN})
    assert (answer.status_code, answer.json["code"]) == (503, "VAULT.AWAY")
    assert api.send("research-nurse", "GET", "/participants").json["total"] == 0


# --- pages -----------------------------------------------------------------------------------------------------------


def post(client: Any, path: str, **sent: str) -> Any:
    token = re.search(r'name="csrf_token" value="([^"]*)"', client.get(f"{HOME}/gate").get_data(as_text=True))
    assert token
    return client.post(f"{HOME}{path}", data={**sent, "csrf_token": token.group(1)})


def test_the_pages_add_show_and_never_keep_an_identity(sqlite_world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world = with_vault(sqlite_world)
    client = browser(world, "research-nurse")
    form = client.get(f"{HOME}/participants/new").get_data(as_text=True)
    assert all(f'name="{name}"' in form for name in ("nhs_number", "born", "to_follow", "later"))
    wrong = post(client, "/participants/new", site="S01", **{**GIVEN, "postcode": "nowhere"})
    assert wrong.status_code == 422
    assert 'href="#postcode"' in wrong.get_data(as_text=True)
    made = post(client, "/participants/new", site="S01", **GIVEN)
    assert made.status_code == 303
    ident = made.location.rpartition("/")[2].partition("?")[0]
    again = post(client, "/participants/new", site="S01", **GIVEN)
    assert again.status_code == 409
    assert f"Open participant {ident}" in again.get_data(as_text=True)
    page = client.get(f"{HOME}/participants/{ident}/identity")
    assert "Show the identity" in page.get_data(as_text=True)
    shown = post(client, f"/participants/{ident}/identity", reason=WHY)
    said = shown.get_data(as_text=True)
    assert GIVEN["family_name"] in said
    assert "Close this page before" in said
    assert shown.headers["Cache-Control"] == "no-store"
    title = re.search("<title>(.*)</title>", said)
    assert title
    elsewhere = title.group(1) + made.location + caplog.text + "".join(re.findall(r'(?:href|action)="([^"]*)"', said))
    for path in ("", "/participants", f"/participants/{ident}", "/audit", "/identities"):
        elsewhere += client.get(f"{HOME}{path}").get_data(as_text=True)
    assert [word for word in identifiers(invented(1)) if word.decode() in elsewhere] == []


def test_at_another_site_the_page_says_no_more_than_that_somebody_takes_part(sqlite_world: World) -> None:
    world = with_vault(sqlite_world)
    given = invented(1)
    ident = world.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S02", given).id, "S02")
    answer = post(browser(world, "research-nurse"), "/participants/new", site="S01", **GIVEN)
    said = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert "already taking part at another site" in said
    assert ident not in said


def test_two_people_on_the_pages(sqlite_world: World) -> None:
    world = with_vault(sqlite_world)
    ident = world.run("research-nurse", lambda unit: identities.add(unit, TRIAL, "S01", invented(1)).id)
    asker, decider = browser(world, "trial-coordinator"), browser(world, "chief-investigator")
    assert post(asker, "/identities", participant=ident, reason="").status_code == 422
    assert post(asker, "/identities", participant=ident, reason="A letter came back").status_code == 303
    path = re.search(rf'action="{HOME}(/identities/\w+)/decide"', decider.get(f"{HOME}/identities").get_data(as_text=True))
    assert path
    assert post(decider, f"{path.group(1)}/decide", decision="confirm", reason="It is needed").status_code == 303
    assert "Show the identity" in asker.get(f"{HOME}/identities").get_data(as_text=True)
    assert GIVEN["family_name"] in post(asker, f"{path.group(1)}/open").get_data(as_text=True)
    assert post(asker, f"{path.group(1)}/open").status_code == 409
    for role, told in (("trial-manager", "asked"), ("sponsor", "done")):
        client = browser(world, role)
        assert post(client, "/identities/shred", participant=ident, reason="Retention is over").location.endswith(f"shredded={told}")
    certificate = client.get(f"{HOME}/identities/{ident}/certificate").get_data(as_text=True)
    assert "Certificate of cryptographic shredding" in certificate


def test_an_identity_that_follows_is_entered_on_its_page(sqlite_world: World) -> None:
    world = with_vault(sqlite_world)
    ident = builders.screened(world)
    client = browser(world, "research-nurse")
    assert "Identity: to follow" in client.get(f"{HOME}/participants/{ident}").get_data(as_text=True)
    assert post(client, f"/participants/{ident}/identity/enter", **GIVEN).status_code == 303
    assert "Show the identity" in client.get(f"{HOME}/participants/{ident}/identity").get_data(as_text=True)


def test_every_page_says_where_the_vault_runs(sqlite_world: World) -> None:
    client = browser(with_vault(sqlite_world), "research-nurse")
    for path in ("", "/participants", "/gate", "/identities"):
        assert "the vault runs inside this service" in client.get(f"{HOME}{path}").get_data(as_text=True)
