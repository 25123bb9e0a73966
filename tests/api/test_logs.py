"""What the service writes down of itself: lines of JSON that name no participant, no address of a person, and no value."""

import json
import logging
from typing import Any

import pytest

from tests import builders
from tests.api.test_concealment import browser
from tests.api.test_signing_in import sent
from tests.builders import TRIAL, World
from tests.doors import app_of
from trialdm.door.logs import Lines
from trialdm.services import participants

HOME = f"/trials/{TRIAL}"


def lines(caught: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(Lines().format(record)) for record in caught.records if record.name.startswith("trialdm")]


def test_a_line_names_the_route_and_the_account_and_nothing_else(sqlite_world: World, caplog: pytest.LogCaptureFixture) -> None:
    ident = builders.randomised(sqlite_world)
    caplog.set_level(logging.INFO, "trialdm")
    nurse = browser(sqlite_world, "research-nurse")
    nurse.get(f"{HOME}/participants/{ident}?site=S01")
    nurse.get(f"{HOME}/participants/{ident}/unblind")
    nurse.get(f"{HOME}/nowhere/{ident}")
    sent(app_of(sqlite_world).test_client(), "/sign-in", email="somebody@trial.example", password="a secret of somebody")
    found = lines(caplog)
    assert [(line["method"], line["route"], line["status"]) for line in found[:2]] == [
        ("GET", "/trials/<trial>/participants/<participant>", 200),
        ("GET", "/trials/<trial>/participants/<participant>/unblind", 403),
    ]
    assert found[0]["account"] == sqlite_world.actor("research-nurse").id
    assert (found[1]["level"], found[1]["code"].split(".")[0]) == ("warning", "ROLE")
    assert set().union(*found) <= {
        "at",
        "level",
        "logger",
        "event",
        "request",
        "method",
        "route",
        "status",
        "ms",
        "bytes",
        "account",
        "door",
        "code",
    }
    text = json.dumps(found)
    for secret in (ident, "somebody@", "a secret", sqlite_world.actor("research-nurse").email):
        assert secret not in text


def test_a_fault_is_written_by_its_places_and_without_what_somebody_typed(
    sqlite_world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> Any:
        raise ValueError("999 000 0018 was typed")

    monkeypatch.setattr(participants, "listed", fault)
    client = browser(sqlite_world, "research-nurse")
    page = client.get(f"{HOME}/participants")
    assert page.status_code == 500
    (line,) = [line for line in lines(caplog) if line["level"] == "error"]
    assert line["fault"] == "ValueError"
    assert any("participants.py" in place for place in line["places"])
    assert "999 000" not in json.dumps(lines(caplog)) + page.get_data(as_text=True)
