"""Whatever is sent to the doors: no fault, nothing shown of the inside, nothing half written, nothing private opened."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests import builders, hostile
from tests.api.test_concealment import browser, program
from tests.builders import TRIAL, World
from tests.conftest import Template
from trialdm.services import sessions

HOME = f"/trials/{TRIAL}"

#: Of each kind of request, and of encodings of each private route. `python -m tests.hostile` sends many more.
COUNT, ENCODINGS = 150, 5


@pytest.fixture(scope="module")
def knocked_at(sqlite_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    world = sqlite_template.copy(tmp_path_factory.mktemp("hostile") / "instance")
    yield world, builders.randomised(world)
    world.instance.engine.dispose()


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_no_malformed_request_is_a_fault_or_half_written(knocked_at: tuple[World, str], kind: str) -> None:
    battery = hostile.Battery(*knocked_at)
    battery.run(kind, COUNT)
    assert battery.found == []
    assert len(battery.answers) > 3


def test_no_encoding_opens_a_private_route(knocked_at: tuple[World, str]) -> None:
    assert hostile.opened(*knocked_at, ENCODINGS) == []


def test_the_battery_notices_a_fault_and_a_partial_write(sqlite_world: World) -> None:
    """The proof that it would say so."""
    battery = hostile.Battery(sqlite_world, builders.randomised(sqlite_world))
    battery.app.view_functions = {**battery.app.view_functions, "notices.inbox": lambda: 1 / 0}
    client, _ = battery.browsers[0]
    battery._look("page", 1, "GET", "/notices", client.get("/notices"))
    builders.screened(sqlite_world)
    battery._look("page", 2, "POST", "/notices", client.post("/nowhere"))
    assert [line.partition(" /")[0] for line in battery.found] == [
        "page 1: 500 GET '/notices'",
        "page 2: 403 POST '/notices' wrote something",
    ]


#: JSON that readers take differently, or cannot take.
AMBIGUOUS = (
    b'{"reason": "one", "reason": "another"}',
    b'{"a": {"b": 1, "b": 2}}',
    b'{"reason": NaN}',
    b'{"reason": -Infinity}',
    b'{"row": ' + b"9" * 5000 + b"}",
    b'{"reason": "\xff"}',
    b"{",
)


@pytest.mark.parametrize("body", AMBIGUOUS, ids=lambda body: body[:24].decode("latin-1"))
def test_json_that_can_be_read_in_two_ways_is_refused(knocked_at: tuple[World, str], body: bytes) -> None:
    client, headers = program(knocked_at[0], "data-manager")
    answer = client.post(f"/api/v1{HOME}/imports", data=body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "HTTP.400")


@pytest.mark.parametrize("version", ['"²"', '"' + "9" * 5000 + '"', '"-1"', "x"], ids=["superscript", "long", "below", "bare"])
def test_a_version_that_is_no_number_is_refused(knocked_at: tuple[World, str], version: str) -> None:
    world, ident = knocked_at
    client, headers = program(world, "research-nurse")
    where = f"/api/v1{HOME}/participants/{ident}/visits/V01/forms/CLIN"
    assert client.put(where, json={"answers": {}}, headers={**headers, "If-Match": version}).status_code == 422


@pytest.mark.parametrize("header", [{"Origin": "http://[::1"}, {"Referer": "http://[bad"}, {"Sec-Fetch-Site": "\x7f"}])
def test_a_header_that_is_no_address_is_from_elsewhere(knocked_at: tuple[World, str], header: dict[str, str]) -> None:
    client = browser(knocked_at[0], "trial-manager")
    assert client.post(f"{HOME}/steps/pause", headers=header).status_code == 403


def test_a_way_on_that_is_no_address_leads_home(knocked_at: tuple[World, str]) -> None:
    client = browser(knocked_at[0], "trial-manager")
    page = client.get("/account/prove?next=//[bad")
    assert page.status_code == 200
    assert "[bad" not in page.get_data(as_text=True)


@pytest.mark.parametrize("size", [3 * 1024 * 1024, 10 * 1024 * 1024])
def test_ten_megabytes_in_a_field_are_refused(knocked_at: tuple[World, str], size: int) -> None:
    client = browser(knocked_at[0], "research-nurse")
    answer = client.post(f"{HOME}/participants", data={"reason": "x" * size}, headers={"X-CSRF-Token": "x"})
    assert answer.status_code in (403, 413)
    program_client, headers = program(knocked_at[0], "data-manager")
    assert program_client.post(f"/api/v1{HOME}/imports", json={"csv": "x" * size}, headers=headers).status_code in (400, 413, 422)


def test_neither_a_stolen_cookie_nor_an_ended_or_a_forged_token_opens_anything(knocked_at: tuple[World, str]) -> None:
    world, _ = knocked_at
    client = browser(world, "trial-manager")
    stolen = client.get_cookie("trialdm")
    assert stolen
    token = re.search(r'name="csrf_token" value="([^"]*)"', client.get(HOME).get_data(as_text=True))
    assert token
    client.post("/sign-out", data={"csrf_token": token.group(1)})
    thief = client.application.test_client()
    for secret in (stolen.value, stolen.value[:-1], stolen.value + "a", secrets.token_urlsafe(32)):
        thief.set_cookie("trialdm", secret)
        assert thief.get(HOME).status_code == 302
        assert thief.post("/sign-out", data={"csrf_token": token.group(1)}).status_code == 403
        assert thief.get(f"/api/v1{HOME}").status_code == 401
    for forged in ("trialdm_" + "A" * 43, "trialdm_", "x", stolen.value):
        assert thief.get(f"/api/v1{HOME}", headers={"Authorization": f"Bearer {forged}"}).status_code == 401
    with world.units.reading(world.actor("trial-manager")) as unit:
        assert sessions.session_of(unit, stolen.value) is None


def test_a_key_with_another_request_is_refused(knocked_at: tuple[World, str]) -> None:
    world, ident = knocked_at
    other = builders.ready(world)
    client, headers = program(world, "trial-coordinator")

    def randomise(participant: str, **more: Any) -> int:
        url = f"/api/v1{HOME}/participants/{participant}/randomise"
        return client.post(url, headers={**headers, "Idempotency-Key": f"key-{ident}"}, **more).status_code

    assert randomise(ident) in (200, 201)
    assert randomise(other) in (409, 422)
    assert randomise(other, json={"arm": 1}) in (409, 422)
