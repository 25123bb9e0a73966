"""Approvals, documents and modifications over the API: the same use cases as the pages, answered 409 where they were done before."""

import base64
import hashlib
from typing import Any

import pytest

from tests import builders
from tests.api.test_api import Api
from tests.builders import TODAY, World

LETTER = b"%PDF The committee gives a favourable opinion."
FILE = {"name": "opinion.pdf", "content": base64.b64encode(LETTER).decode()}
OPINION = {
    "body": "rec",
    "status": "favourable_with_conditions",
    "ref": "26/NE/0009",
    "decided_on": TODAY.isoformat(),
    "supersedes": "25/NE/0001",
    "conditions": [{"text": "Name the adviser", "pre_start": True}, {"text": "Send a summary"}],
    "letter": FILE,
}


@pytest.fixture
def one(sqlite_world: World) -> Api:
    return Api(sqlite_world)


def test_a_decision_is_recorded_checked_and_its_condition_met(one: Api) -> None:
    made = one.send("trial-manager", "POST", "/approvals", json=OPINION)
    assert made.status_code == 201
    assert (made.json["letter"], made.json["sha256"]) == ("opinion.pdf", hashlib.sha256(LETTER).hexdigest())
    assert (made.json["from"], made.json["waits_for_check"], made.json["recorded_by"]) == (TODAY.isoformat(), True, "Trial-Manager")
    again = one.send("trial-manager", "POST", "/approvals", json=OPINION)
    assert (again.status_code, again.json["code"]) == (409, "REGISTER.TWICE")
    path = f"/approvals/{made.json['number']}"
    own = one.send("trial-manager", "POST", f"{path}/check")
    assert (own.status_code, own.json["code"], own.json["needs"]) == (403, "REGISTER.OWN", "Another person who may check approvals.")
    assert builders.refusals(one.world)[-1] == ("register.check", ["REGISTER.OWN"])
    assert one.send("sponsor", "POST", f"{path}/check").json["checked_by"] == "Sponsor"
    assert one.send("sponsor", "POST", f"{path}/check").status_code == 409
    met = {"met_on": TODAY.isoformat(), "evidence": "Letter of that day"}
    assert one.send("trial-manager", "POST", f"{path}/conditions/1", json=met).json["conditions"][0]["met_on"] == TODAY.isoformat()
    assert one.send("trial-manager", "POST", f"{path}/conditions/1", json=met).status_code == 409
    assert one.send("trial-manager", "POST", f"{path}/conditions/3", json=met).status_code == 404
    assert one.send("monitor", "GET", "/approvals").json[-1]["conditions"][0]["evidence"] == "Letter of that day"


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"decided_on": "2026-03-11"}, 403, "REGISTER.FUTURE"),
        ({"supersedes": ""}, 403, "REGISTER.OVERLAP"),
        ({"letter": {**FILE, "sha256": "ab" * 32}}, 403, "REGISTER.HASH"),
        ({"letter": {**FILE, "content": "not base64!"}}, 422, "FILE.BASE64"),
        ({"letter": {**FILE, "name": "letter.exe"}}, 422, "FILE.TYPE"),
        ({"ref": "x"}, 422, "REGISTER.REF"),
        ({"body": "council"}, 422, ""),
        ({"decided_on": "soon"}, 422, ""),
        ({"colour": "red"}, 422, ""),
    ],
)
def test_decisions_that_are_refused(one: Api, said: dict[str, Any], status: int, code: str) -> None:
    answer = one.send("trial-manager", "POST", "/approvals", json={**OPINION, **said})
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert answer.json["code"] == code or not code
    if status == 403:
        assert answer.json["needs"]
        assert code in builders.refusals(one.world)[-1][1]


def test_the_register_on_a_day(one: Api) -> None:
    rows = one.send("monitor", "GET", "/approvals/status?site=S01&on=2026-02-01").json
    assert {"body": "ICF", "site": "S01", "status": "version 1.0", "in_force": True}.items() <= rows[-1].items()
    assert one.send("monitor", "GET", "/approvals/status?site=S99").status_code == 404
    assert one.send("monitor", "GET", "/approvals/status?on=never").status_code == 422


def test_documents(one: Api) -> None:
    new = {
        "kind": "ICF",
        "version": "3.0",
        "dated": "2026-03-01",
        "effective_from": "2026-03-12",
        "file": FILE,
    }
    alone = one.send("trial-manager", "POST", "/documents", json={**new, "approved_on": "2026-03-02"})
    assert (alone.status_code, alone.json["code"]) == (403, "GATE.GOV-22")
    made = one.send("trial-manager", "POST", "/documents", json=new)
    assert (made.status_code, made.json["code"], made.json["sites"]["S01"]) == (201, 3, "2026-03-12")
    assert one.send("trial-manager", "POST", "/documents", json=new).status_code == 409
    with_it = {"documents": [{"kind": "ICF", "code": 3}], "tool": FILE}
    wording = {"ref": "NSM1", "title": "Wording", "changes": ["wording"], "class": "minor", "category": "C", **with_it}
    assert one.send("trial-manager", "POST", "/modifications", json=wording).status_code == 201
    up = {"site": "S01", "on": "2026-03-12"}
    assert one.send("principal-investigator", "POST", "/documents/ICF/3/take-up", json=up).json["sites"]["S01"] == "2026-03-12"
    assert one.send("research-nurse", "POST", "/documents/ICF/3/take-up", json=up).status_code == 403
    gone = {"on": "2026-03-20", "reason": "A wrong number"}
    assert one.send("sponsor", "POST", "/documents/ICF/3/revoke", json=gone).json["revoked_on"] == "2026-03-20"
    assert one.send("sponsor", "POST", "/documents/ICF/3/revoke", json=gone).status_code == 409
    assert one.send("sponsor", "POST", "/documents/ICF/9/revoke", json=gone).status_code == 404
    assert [row["revoked_on"] for row in one.send("monitor", "GET", "/documents").json if row["code"] == 3] == ["2026-03-20"]


def test_a_modification_from_proposal_to_practice(one: Api) -> None:
    new = {"ref": "SM01", "title": "A new end point", "changes": ["end_points"], "class": "substantial", "category": "A"}
    without = one.send("trial-manager", "POST", "/modifications", json=new)
    assert (without.status_code, without.json["code"]) == (403, "GATE.GOV-21")
    made = one.send("trial-manager", "POST", "/modifications", json={**new, "tool": FILE})
    assert (made.status_code, made.json["class"], made.json["state"]) == (201, "substantial", "classified")
    assert one.send("trial-manager", "POST", "/modifications", json={**new, "tool": FILE}).status_code == 409

    def step(event: str, site: str = "", role: str = "sponsor") -> Any:
        return one.send(role, "POST", "/modifications/SM01/steps", json={"event": event, "on": TODAY.isoformat(), "site": site})

    assert [step(event).json["state"] for event in ("submit", "validate", "favourable")] == ["submitted", "valid", "favourable"]
    assert step("favourable").status_code == 409
    assert step("notify", "S01").json["sites"]["S01"] == "notified"
    early = step("implement", "S01", "principal-investigator")
    assert (early.status_code, early.json["code"]) == (403, "GATE.GOV-24")
    assert "2026-04-14" in early.json["needs"]
    assert step("agree", "S01", "research-nurse").status_code == 403
    assert step("agree", "S01", "principal-investigator").json["sites"]["S01"] == "agreed"
    assert step("implement", "S01", "principal-investigator").json["sites"]["S01"] == "implemented"
    assert step("dance").status_code == 422
    assert one.send("monitor", "GET", "/modifications").json[0]["sites"]["S01"] == "implemented"
    assert one.send("system-administrator", "GET", "/modifications").status_code == 403


def test_the_description_names_what_is_sent_and_given(one: Api) -> None:
    paths = one.client.get("/api/openapi.json").json["paths"]
    base = "/api/v1/trials/{trial}"
    assert set(paths[f"{base}/approvals"]) >= {"get", "post"}
    for path in ("/approvals/{number}/check", "/documents/{kind}/{code}/take-up", "/modifications/{ref}/steps"):
        assert "post" in paths[base + path]
