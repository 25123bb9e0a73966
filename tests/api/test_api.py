"""The API as programs use it: statuses, ETags, idempotency keys, problem+json, and nothing that unblinds."""

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests import builders
from tests.builders import TODAY, TRIAL, World
from tests.doors import app_of
from trialdm.domain.ethics import Fact
from trialdm.services import approvals, people, tokens

BASE = f"/api/v1/trials/{TRIAL}"
PAIN = {"answers": {"limb_worst": 6, "limb_avg": 4, "pain_assist": 1}, "complete": True}


class Api:
    """A client that sends the token of whoever is asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app = app_of(world)
        self.client: FlaskClient = self.app.test_client()
        self.tokens: dict[str, str] = {}

    def send(self, role: str, method: str, path: str, **more: Any) -> Any:
        headers = {**self.headers(role), **more.pop("headers", {})}
        return self.client.open(f"{BASE}{path}", method=method, headers=headers, **more)

    def headers(self, role: str) -> dict[str, str]:
        if role not in self.tokens:
            email = self.world.actor(role).email
            self.tokens[role] = self.world.run(role, lambda unit: tokens.create(unit, people.by_email(unit, email), "test"))
        return {"Authorization": f"Bearer {self.tokens[role]}"}


@pytest.fixture
def api(world: World) -> Api:
    return Api(world)


@pytest.fixture
def one(sqlite_world: World) -> Api:
    return Api(sqlite_world)


def test_who_says_nothing_gets_401_and_a_wrong_token_too(one: Api) -> None:
    assert one.client.get(BASE).status_code == 401
    answer = one.client.get(BASE, headers={"Authorization": "Bearer nonsense"})
    assert (answer.status_code, answer.mimetype, answer.json["code"]) == (401, "application/problem+json", "AUTH.TOKEN")


def test_definitions(one: Api) -> None:
    assert one.send("research-nurse", "GET", "").json["short_title"] == "PRE-TMR"
    forms = {row["form"] for row in one.send("research-nurse", "GET", "/forms").json}
    assert "PAIN" in forms
    pain = one.send("research-nurse", "GET", "/forms/PAIN").json
    assert {"name": "rlp_worst", "min": "0", "max": "10"}.items() <= next(i for i in pain["items"] if i["name"] == "rlp_worst").items()
    assert [row["code"] for row in one.send("research-nurse", "GET", "/sites").json] == ["S01"]


def test_restricted_forms_do_not_exist_for_the_blinded(one: Api) -> None:
    assert one.send("blinded-assessor", "GET", "/forms/SURG").status_code == 404
    assert "SURG" not in {row["form"] for row in one.send("blinded-assessor", "GET", "/forms").json}
    assert one.send("surgeon", "GET", "/forms/SURG").status_code == 200


def test_the_gate(one: Api) -> None:
    answer = one.send("research-nurse", "GET", "/gate?action=randomise&site=S01").json
    assert answer["allowed"] is True
    assert "GOV-52" in answer["not_evaluated"]
    closed = one.send("research-nurse", "GET", "/gate?action=consent&site=S03").json
    assert {"rule", "severity", "message", "needs"} == set(closed["reasons"][0])
    assert "GOV-08" in {reason["rule"] for reason in closed["reasons"]}
    assert one.send("research-nurse", "GET", "/gate?action=dance").status_code == 422


def test_adding_and_listing_participants(api: Api) -> None:
    added = api.send("research-nurse", "POST", "/participants", json={"site": "S01", "later": "Screened by telephone"})
    assert added.status_code == 201
    listed = api.send("trial-coordinator", "GET", "/participants").json
    assert [row["participant"] for row in listed["items"]] == [added.json["participant"]]
    assert api.send("research-nurse", "POST", "/participants", json={"site": "S02"}).status_code == 403
    assert api.send("research-nurse", "POST", "/participants", json={"site": "S01", "name": "Ann"}).status_code == 422
    assert api.send("monitor", "POST", "/participants", json={"site": "S01"}).status_code == 403


def test_randomising_once(api: Api) -> None:
    ident = builders.ready(api.world)
    path = f"/participants/{ident}/randomise"
    assert api.send("trial-coordinator", "POST", path).status_code == 428
    first = api.send("trial-coordinator", "POST", path, headers={"Idempotency-Key": "k1"})
    again = api.send("trial-coordinator", "POST", path, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, first.json) == (201, again.json)
    assert "arm" not in first.json
    other = api.send("principal-investigator", "POST", path, headers={"Idempotency-Key": "k2"})
    assert (other.status_code, other.json["code"]) == (409, "ALLOC.ALREADY")
    assert other.json["allocation"]["arm"] in ("TMR", "Standard")
    blind = api.send("trial-coordinator", "POST", path, headers={"Idempotency-Key": "k2"})
    assert "arm" not in blind.json["allocation"]
    second = builders.ready(api.world)
    used = api.send("trial-coordinator", "POST", f"/participants/{second}/randomise", headers={"Idempotency-Key": "k1"})
    assert (used.status_code, used.json["code"]) == (409, "ALLOC.KEY_USED")


def test_what_is_not_known_is_refused_everywhere(one: Api) -> None:
    ident = builders.ready(one.world)
    chosen = one.send("trial-coordinator", "POST", f"/participants/{ident}/randomise", json={"arm": 1}, headers={"Idempotency-Key": "k"})
    assert (chosen.status_code, chosen.json["code"]) == (422, "ALLOC.BODY")
    for path in ("/participants?limit=2", "/gate?action=consent&bogus=1", "/audit?bogus=1"):
        assert one.send("trial-coordinator", "GET", path).status_code == 422


def test_a_package_is_fetched_from_an_instance_that_was_named_relatively(one: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from trialdm import settings

    folder = one.world.instance.settings.folder
    monkeypatch.chdir(folder.parent)
    assert settings.load(Path(folder.name)).folder == folder


def test_a_refused_randomisation_gives_all_reasons(api: Api) -> None:
    ident = builders.screened(api.world)
    refused = api.send("trial-coordinator", "POST", f"/participants/{ident}/randomise", headers={"Idempotency-Key": "k1"})
    assert (refused.status_code, refused.mimetype) == (403, "application/problem+json")
    assert refused.json["code"].startswith("GATE.GOV-")
    assert len(refused.json["errors"]) > 4


def test_a_form_is_saved_read_and_changed_by_version(api: Api) -> None:
    ident = builders.consented(api.world)
    path = f"/participants/{ident}/visits/V01/forms/PAIN"
    saved = api.send("research-nurse", "PUT", path, json=PAIN)
    assert (saved.status_code, saved.json["version"], saved.headers["ETag"]) == (200, 1, '"1"')
    read = api.send("research-nurse", "GET", path)
    assert (read.json["answers"], read.headers["ETag"]) == ({**PAIN["answers"], "pain_pre": 2}, '"1"')
    changed = {**PAIN, "answers": {**PAIN["answers"], "limb_worst": 8}, "reason": "source: notes"}
    assert api.send("research-nurse", "PUT", path, json=changed).status_code == 428
    assert api.send("research-nurse", "PUT", path, json=changed, headers={"If-Match": '"1"'}).json["version"] == 2
    stale = api.send("research-nurse", "PUT", path, json=PAIN, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json["code"]) == (412, "CRF.STALE")


def test_findings_are_422_one_by_one_and_a_soft_one_can_be_confirmed(api: Api) -> None:
    ident = builders.consented(api.world)
    path = f"/participants/{ident}/visits/V01/forms/PAIN"
    bad = api.send("research-nurse", "PUT", path, json={"answers": {"limb_worst": 11, "limb_avg": "x"}, "complete": True})
    assert bad.status_code == 422
    assert {"CRF.RANGE", "CRF.TYPE", "CRF.REQUIRED"} <= {error["code"] for error in bad.json["errors"]}
    odd = {"answers": {"limb_worst": 4, "limb_avg": 8, "pain_assist": 1}, "complete": True}
    asked = api.send("research-nurse", "PUT", path, json=odd)
    assert (asked.status_code, [error["code"] for error in asked.json["errors"]]) == (422, ["PAIN-03"])
    assert api.send("research-nurse", "PUT", path, json={**odd, "confirm": ["PAIN-03"]}).status_code == 200


def test_missing_reasons_stand_beside_the_answers(one: Api) -> None:
    ident = builders.consented(one.world)
    path = f"/participants/{ident}/visits/V01/forms/PAIN"
    body = {"answers": {"pain_assist": 1}, "missing": {"limb_worst": "ND", "limb_avg": "RF"}, "complete": True}
    assert one.send("research-nurse", "PUT", path, json=body).status_code == 200
    read = one.send("research-nurse", "GET", path).json
    assert read["missing"] == {"limb_worst": "ND", "limb_avg": "RF"}


MALFORMED: list[dict[str, Any]] = [
    {"json": {"answers": []}},
    {"json": {"answers": {}, "surprise": 1}},
    {"json": {"answers": {"limb_worst": {"deep": [1]}}}},
    {"json": {"answers": {"limb_worst": 1e400}}},
    {"json": {"answers": {"pain_site_map": "\ud800"}}},
    {"json": {"answers": {}, "confirm": [1]}},
    {"json": {"answers": {}, "missing": {"limb_worst": ["ND"]}}},
    {"json": []},
    {"json": "text"},
    {"json": None},
    {"data": b"{not json", "content_type": "application/json"},
    {"data": b"\xff\xfe", "content_type": "application/json"},
    {"data": b"answers=1", "content_type": "application/x-www-form-urlencoded"},
    {"data": b"[" * 20000, "content_type": "application/json"},
    {"data": b'{"answers": {"limb_worst": NaN}}', "content_type": "application/json"},
    {"json": {"answers": {"limb_worst": "9" * 5000}}},
]


@pytest.mark.parametrize("sent", MALFORMED)
def test_malformed_bodies_are_told_and_leave_nothing(one: Api, sent: dict[str, Any]) -> None:
    ident = builders.consented(one.world)
    path = f"/participants/{ident}/visits/V01/forms/PAIN"
    answer = one.send("research-nurse", "PUT", path, **sent)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.mimetype == "application/problem+json"
    assert "Traceback" not in answer.text
    assert one.send("research-nurse", "GET", path).json["version"] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nothing", 404), ("/participants/XXXX", 422), ("/participants/0000-0000-0Z", 422), ("/forms/%2e%2e", 404), ("/exports/none", 403)],
)
def test_unknown_addresses(one: Api, path: str, status: int) -> None:
    answer = one.send("research-nurse", "GET", path)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_an_export_is_asked_for_followed_and_fetched(one: Api) -> None:
    builders.randomised(one.world)
    asked = one.send("statistician-blinded", "POST", "/exports", json={"formats": ["csv"]})
    assert (asked.status_code, asked.json["state"]) == (202, "waiting")
    assert one.app.extensions["trialdm-jobs"].run_pending() == 1
    done = one.send("statistician-blinded", "GET", f"/exports/{asked.json['id']}").json
    assert done["state"] == "done"
    with one.client.get(done["download"], headers=one.headers("statistician-blinded")) as package:
        assert package.data[:2] == b"PK"
    assert one.send("data-manager", "GET", f"/exports/{asked.json['id']}").status_code == 404
    assert one.send("statistician-unblinded", "POST", "/exports", json={"blinding": "unblinded"}).json["code"] == "GATE.GOV-49"


def test_the_audit_trail_shows_no_arm_to_a_blinded_reader(api: Api) -> None:
    ident = builders.randomised(api.world)
    blind = api.send("monitor", "GET", f"/audit?participant={ident}&action=participant.randomise").json["items"]
    assert [line["field"] for line in blind] == ["number", "state"]
    page = api.send("monitor", "GET", "/audit").json
    assert len(page["items"]) == 100
    following = api.send("monitor", "GET", f"/audit?after={page['next_after']}").json["items"]
    assert following[0]["seq"] > page["items"][-1]["seq"]


def test_every_address_of_the_api_asks_who_is_there(one: Api) -> None:
    """No address below /api answers a stranger, except the description of the API."""
    for rule in one.app.url_map.iter_rules():
        if not rule.rule.startswith("/api/v1"):
            continue
        path = re.sub(r"<int:\w+>", "1", rule.rule)
        for name in rule.arguments:
            path = path.replace(f"<{name}>", "x")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            answer = one.client.open(path, method=method, json={})
            assert answer.status_code in (401, 403, 422), (method, path, answer.status_code)


def test_a_foreign_site_cannot_make_the_browser_act(one: Api) -> None:
    answer = one.client.post(f"{BASE}/participants", json={"site": "S01"}, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


def test_the_description_is_openapi_31(one: Api) -> None:
    found = one.client.get("/api/openapi.json").json
    assert found["openapi"].startswith("3.1")
    assert "/api/v1/trials/{trial}/participants/{participant}/randomise" in found["paths"]


def test_a_step_of_the_trial_is_taken_where_role_and_gate_allow_it(one: Api) -> None:
    held = {"event": "hold", "reason": "theatre closed"}
    assert one.send("trial-manager", "POST", "/steps", json=held).status_code == 403
    assert one.send("sponsor", "POST", "/steps", json={"event": "hold"}).json["code"] == "STATE.REASON"
    found = one.send("sponsor", "POST", "/steps", json=held).json
    assert (found["state"], found["taken"][0]["reason"]) == ("held", "theatre closed")
    assert {"event": "release", "state": "open", "allowed": True} in found["possible"]
    site = one.send("trial-manager", "GET", "/steps?site=S03").json
    assert [step["event"] for step in site["possible"]] == ["select"]
    assert one.send("trial-manager", "POST", "/steps", json={"event": "select", "site": "S03"}).json["state"] == "selected"


def test_what_waits_for_somebody(one: Api) -> None:
    one.world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("usm", TODAY, text="needle count changed")))
    rows = one.client.get("/api/v1/notices/waiting", headers=one.headers("sponsor")).json
    assert [(row["kind"], row["due"], row["late"]) for row in rows] == [("deadline", "2026-03-13", False)]
    assert one.client.get("/api/v1/notices/waiting").status_code == 401
