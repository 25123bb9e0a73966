"""Derived items at the doors: over the API, as pages without a browser, and as commands."""

import csv
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests import builders
from tests.api.test_api import Api
from tests.api.test_concealment import browser
from tests.builders import TRIAL, World
from tests.cli.test_commands import Shell
from tests.services.test_derivations import followed
from trialdm.services import studies

HOME = f"/trials/{TRIAL}"


def csrf_of(client: FlaskClient) -> str:
    """The token that the trial's page has for signing out."""
    found = re.search(r'name="csrf_token" value="([^"]*)"', client.get(HOME).get_data(as_text=True))
    assert found
    return found.group(1)


@pytest.fixture
def api(sqlite_world: World) -> Api:
    return Api(sqlite_world)


def test_over_the_api(sqlite_world: World, api: Api) -> None:
    ident = followed(sqlite_world)
    found = api.send("statistician-blinded", "GET", "/derived").json
    assert [row["prim_rlp_12"] for row in found["rows"]] == ["3.00"]
    assert {item["name"]: item["known"] for item in found["items"]}["itt"] == 1
    assert not {"pp", "trt_given"} & found["rows"][0].keys()
    assert {row["visit"] for row in api.send("data-manager", "GET", "/derived?per=visit").json["rows"]} >= {"V01", "V07"}
    assert api.send("data-manager", "GET", "/derived?as_of=2025-01-01T00:00:00Z").json["rows"] == []
    assert api.send("data-manager", "GET", "/derived?per=form").status_code == 422
    assert api.send("research-nurse", "GET", "/derived").status_code == 403
    assert api.send("statistician-blinded", "POST", "/derived").json["code"] == "GATE.GOV-45"
    assert "pp" in api.send("statistician-unblinded", "POST", "/derived").json["rows"][0]

    one = api.send("research-nurse", "GET", f"/participants/{ident}/derived").json
    primary = next(line for line in one["values"] if line["name"] == "prim_rlp_12")
    assert (primary["value"], primary["read"]) == ("3.00", [{"visit": "V07", "form": "PAIN", "row": 1}])
    assert api.send("research-nurse", "POST", f"/participants/{ident}/derived").status_code == 403
    assert any(line["restricted"] for line in api.send("surgeon", "POST", f"/participants/{ident}/derived").json["values"])


def test_on_pages(sqlite_world: World) -> None:
    ident = followed(sqlite_world)
    nurse, statistician = browser(sqlite_world, "research-nurse"), browser(sqlite_world, "statistician-unblinded")
    casebook = nurse.get(f"{HOME}/participants/{ident}").get_data(as_text=True)
    assert f"{HOME}/participants/{ident}/derived" in casebook
    shown = nurse.get(f"{HOME}/participants/{ident}/derived").get_data(as_text=True)
    assert "hidden to keep you blinded" in shown
    assert "Per protocol" not in shown
    assert f'href="{HOME}/participants/{ident}/visits/V07/forms/PAIN"' in shown
    assert nurse.get(f"{HOME}/derived").status_code == 403
    assert nurse.post(f"{HOME}/participants/{ident}/derived", data={"csrf_token": csrf_of(nurse)}).status_code == 403
    surgeon = browser(sqlite_world, "surgeon")
    asked = surgeon.post(f"{HOME}/participants/{ident}/derived", data={"csrf_token": csrf_of(surgeon)})
    assert "Per protocol" in asked.get_data(as_text=True)

    page = statistician.get(f"{HOME}/derived").get_data(as_text=True)
    assert "Show restricted items" in page
    assert "Per protocol" not in page
    sent = {"csrf_token": csrf_of(statistician)}
    assert "Per protocol" in statistician.post(f"{HOME}/derived", data=sent).get_data(as_text=True)
    rows = list(csv.DictReader(statistician.get(f"{HOME}/derived.csv").get_data(as_text=True).splitlines()))
    assert [(row["participant"], row["prim_rlp_12"], "pp" in row) for row in rows] == [(ident, "3.00", False)]
    everything = statistician.post(f"{HOME}/derived.csv", data=sent).get_data(as_text=True)
    assert "pp" in everything.splitlines()[0].split(",")
    assert "V07" in statistician.get(f"{HOME}/derived_visits.csv").get_data(as_text=True)


def test_as_commands(sqlite_world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shell = Shell(sqlite_world.instance.settings.folder, capsys)
    ident = followed(sqlite_world)
    manager, unblinded = builders.email("data-manager", ""), builders.email("statistician-unblinded", "")
    code, found = shell.json("derived", TRIAL, who=manager)
    assert (code, found["rows"][0]["participant"]) == (0, ident)
    assert "prim_rlp_12" in shell("derived", TRIAL, who=manager)[1]
    assert "V07  pain_free         0" in shell("derived", TRIAL, "--participant", ident, who=manager)[1]
    assert shell("derived", TRIAL, "--restricted", who=manager)[0] == 3
    assert "pp" in shell.json("derived", TRIAL, "--restricted", who=unblinded)[1]["rows"][0]
    out = tmp_path / "visits.csv"
    assert shell("derived", TRIAL, "--per", "visit", "--out", str(out), who=manager)[0] == 0
    assert out.read_text("utf-8").startswith("participant,site,visit,visit_day,in_window,")
    assert shell("derived", TRIAL, "--participant", ident, "--out", str(out), who=manager)[0] == 2


def test_the_treatment_pathway_derives_nothing(sqlite_world: World) -> None:
    texts = builders.sources.read_folder(builders.ROOT / "protocols" / "tmr-audit")
    sqlite_world.run("trial-manager", lambda unit: studies.load(unit, texts))
    api = Api(sqlite_world)
    answer = api.client.get("/api/v1/trials/tmr-audit/derived", headers=api.headers("trial-manager"))
    assert answer.status_code == 403
