"""Versions of a protocol over the API and on the pages, and a page that was opened before the site took a version up."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests import builders
from tests.api.test_api import Api
from tests.builders import PASSWORD, TODAY, TRIAL, World
from tests.services.test_versions import NEW_ITEM, NO_MAP, REQUIRED, propose, take_up

PAIN = {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}


@pytest.fixture
def api(sqlite_world: World) -> Api:
    return Api(sqlite_world)


@pytest.fixture
def nurse(api: Api) -> Iterator[FlaskClient]:
    """The pages, signed in as the research nurse of S01."""
    with api.app.test_client() as client:
        client.get("/sign-in")
        visit = client.get_cookie("trialdm-visit")
        assert visit is not None
        given = {"email": builders.email("research-nurse", "S01"), "password": PASSWORD, "csrf_token": visit.value}
        assert client.post("/sign-in", data=given).status_code in (302, 303)
        yield client


def token(page: str) -> str:
    return page.split('name="csrf_token" value="')[1].split('"')[0]


def hidden(page: str, name: str) -> str:
    return page.split(f'name="{name}" value="')[1].split('"')[0]


def test_versions_over_the_api(api: Api) -> None:
    world = api.world
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    seq = propose(world, REQUIRED)
    take_up(world, seq, "S02")
    rows = api.send("research-nurse", "GET", "/versions").json
    assert [(row["version"], row["state"], row["sites"]) for row in rows] == [
        ("1.1", "in_use", {"S02": TODAY.isoformat()}),
        ("1.0", "in_use", {}),
    ]
    found = api.send("research-nurse", "GET", f"/versions/{seq}").json
    assert found["would_not_pass"]["list"][0]["participant"] == ident
    assert api.send("research-nurse", "GET", "/versions/9").status_code == 404
    assert api.send("system-administrator", "GET", "/versions").status_code == 403


def test_a_form_says_its_definition_and_takes_it_back(api: Api) -> None:
    world = api.world
    path = f"/participants/{builders.consented(world)}/visits/V01/forms/PAIN"
    body: dict[str, Any] = {"answers": PAIN, "complete": True, "definition": api.send("research-nurse", "GET", path).json["definition"]}
    take_up(world, propose(world, NEW_ITEM))
    stale = api.send("research-nurse", "PUT", path, json=body)
    assert (stale.status_code, stale.json["code"]) == (403, "GATE.GOV-25")
    assert api.send("research-nurse", "PUT", path, json={**body, "definition": "2"}).status_code == 422
    assert api.send("research-nurse", "PUT", path, json={**body, "other": 2}).status_code == 422
    assert api.send("research-nurse", "PUT", path, json={**body, "definition": 2}).json["version"] == 1


def test_a_page_opened_under_the_earlier_version_keeps_what_was_typed(api: Api, nurse: FlaskClient) -> None:
    world = api.world
    address = f"/trials/{TRIAL}/participants/{builders.consented(world)}/visits/V01/forms/PAIN"
    opened = nurse.get(address).text
    assert hidden(opened, "definition") == "1"
    take_up(world, propose(world, NEW_ITEM, NO_MAP))
    typed = {"answer.limb_worst": "6", "answer.limb_avg": "4", "answer.pain_assist": "1", "answer.pain_site_map": "A1, B2"}
    sent = {**typed, "csrf_token": token(opened), "definition": "1", "version": "0", "save": "complete"}
    answer = nurse.post(address, data=sent)
    assert answer.status_code == 403
    assert "This form was opened under protocol version 1.0; site S01 works with 1.1" in answer.text
    assert "Open the form again and enter the change there." in answer.text
    assert 'name="answer.limb_worst" value="6"' in answer.text
    assert "<code>pain_site_map</code>: A1, B2" in answer.text
    assert hidden(answer.text, "definition") == "2"
    assert "pain_note" in answer.text
    again = {**sent, "definition": hidden(answer.text, "definition"), "csrf_token": token(answer.text)}
    assert nurse.post(address, data=again).status_code == 303


def test_the_pages_of_versions(api: Api, nurse: FlaskClient) -> None:
    world = api.world
    ident = builders.consented(world)
    builders.put(world, ident, "V01", "PAIN", PAIN, only=True)
    seq = propose(world, REQUIRED)
    listed = nurse.get(f"/trials/{TRIAL}/versions").text
    assert "Proposed: in use nowhere" in listed
    found = nurse.get(f"/trials/{TRIAL}/versions/{seq}").text
    assert "+ Adds" in found
    assert f"/participants/{ident}" in found
    assert "style=" not in found
    assert nurse.get(f"/trials/{TRIAL}/versions/9").status_code == 404
