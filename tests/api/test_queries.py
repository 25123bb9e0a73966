"""Queries over the API and as pages without a browser."""

import re

import pytest

from tests import builders
from tests.api.test_api import Api
from tests.api.test_concealment import browser
from tests.builders import TRIAL, World
from tests.services.test_queries import ask, break_quietly, with_clinical

TEXT = "Please check the chart."


@pytest.fixture
def one(sqlite_world: World) -> Api:
    return Api(sqlite_world)


def about(ident: str, **more: object) -> dict[str, object]:
    return {"participant": ident, "visit": "V01", "form": "CLIN", "item": "asa", "text": TEXT, **more}


def test_a_query_from_asking_to_closing(sqlite_world: World, one: Api) -> None:
    ident = with_clinical(sqlite_world)
    made = one.send("data-manager", "POST", "/queries", json=about(ident))
    assert (made.status_code, made.json["number"], made.json["state"]) == (201, "Q1", "open")
    path = f"/queries/{made.json['id']}"
    listed = one.send("research-nurse", "GET", "/queries?state=waiting").json
    assert (listed["total"], listed["items"][0]["text"], listed["items"][0]["label"]) == (1, TEXT, "ASA grade")
    wrong = one.send("research-nurse", "POST", f"{path}/answer", json={"response": "corrected"})
    assert (wrong.status_code, wrong.json["code"]) == (422, "QUERY.UNCHANGED")
    answered = one.send("research-nurse", "POST", f"{path}/answer", json={"response": "confirmed", "text": "So it is.", "seen": 1})
    assert (answered.status_code, answered.json["state"], answered.json["acts"][-1]["value"]) == (200, "answered", 3)
    late = one.send("research-nurse", "POST", f"{path}/answer", json={"response": "confirmed", "seen": 1})
    assert (late.status_code, late.json["code"]) == (412, "QUERY.STALE")
    assert one.send("research-nurse", "POST", f"{path}/close", json={}).status_code == 403
    assert one.send("principal-investigator", "POST", f"{path}/close", json={}).status_code == 403
    assert one.send("data-manager", "POST", "/queries/Q1/close", json={}).json["state"] == "closed"
    assert one.send("data-manager", "POST", f"{path}/reopen", json={"text": "Once more."}).json["state"] == "reopened"
    assert one.send("data-manager", "POST", f"{path}/cancel", json={"text": "Asked twice."}).json["state"] == "cancelled"
    again = one.send("data-manager", "POST", f"{path}/cancel", json={"text": "Asked twice."})
    assert (again.status_code, again.json["code"]) == (409, "STATE.QUERY")


def test_what_is_refused(sqlite_world: World, one: Api) -> None:
    ident = with_clinical(sqlite_world)
    for body, status in (
        (about(ident, item="nothing"), 404),
        (about(ident, colour="red"), 422),
        (about(ident, text=" "), 422),
        (about(ident, text="NHS 943 476 5919"), 422),
        (about(ident, form="SURG", visit="V02", item=""), 403),
    ):
        assert one.send("data-manager", "POST", "/queries", json=body).status_code == status, body
    assert one.send("research-nurse", "POST", "/queries", json=about(ident)).status_code == 403
    assert one.send("research-nurse", "GET", "/queries?site=S02").status_code == 403
    assert one.send("data-manager", "GET", "/queries?site=S99").status_code == 404
    assert one.send("data-manager", "GET", "/queries?origin=dream").status_code == 422
    assert one.send("statistician-blinded", "GET", "/queries").status_code == 403
    assert one.send("data-manager", "GET", "/queries/none").status_code == 404


def test_a_restricted_query_is_not_there_for_a_blinded_program(sqlite_world: World, one: Api) -> None:
    ident = with_clinical(sqlite_world)
    made = one.send("unblinded-data-manager", "POST", "/queries", json=about(ident, form="SURG", visit="V02", item=""))
    assert (made.status_code, made.json["number"], made.json["restricted"]) == (201, "R1", True)
    assert one.send("data-manager", "GET", "/queries").json["total"] == 0
    for act in ("close", "reopen", "cancel"):
        assert one.send("data-manager", "POST", f"/queries/{made.json['id']}/{act}", json={"text": "x"}).status_code == 404
    assert one.send("surgeon", "GET", "/queries").json["total"] == 1


def test_the_checks_run(sqlite_world: World, one: Api) -> None:
    ident = with_clinical(sqlite_world)
    break_quietly(sqlite_world, ident, "CLIN", asa=None)
    dry = one.send("data-manager", "POST", "/checks", json={"dry_run": True}).json
    assert (dry["dry_run"], dry["opened"], one.send("data-manager", "GET", "/queries").json["total"]) == (True, 1, 0)
    done = one.send("data-manager", "POST", "/checks", json={"site": "S01", "form": "clin"}).json
    assert (done["opened"], done["checks"][0]["check"], done["checks"][0]["item"]) == (1, "CRF.REQUIRED", "asa")
    assert one.send("monitor", "POST", "/checks", json={}).status_code == 403


# --- pages -----------------------------------------------------------------------------------------------------------


def test_pages_ask_answer_and_close(sqlite_world: World) -> None:
    ident = with_clinical(sqlite_world)
    home = f"/trials/{TRIAL}"
    manager, nurse = browser(sqlite_world, "data-manager"), browser(sqlite_world, "research-nurse")
    asking = f"{home}/queries/new?participant={ident}&visit=V01&form=CLIN&row=1&item=asa"
    form = manager.get(f"{home}/participants/{ident}/visits/V01/forms/CLIN").get_data(as_text=True)
    assert asking.replace("&", "&amp;") in form
    assert "Ask a query" not in nurse.get(f"{home}/participants/{ident}/visits/V01/forms/CLIN").get_data(as_text=True)
    sent = {"participant": ident, "visit": "V01", "form": "CLIN", "row": "1", "item": "asa", "text": TEXT}
    made = manager.post(f"{home}/queries", data={**sent, "csrf_token": _token(manager.get(asking))})
    assert made.status_code == 303
    page = nurse.get(made.location)
    step = made.location.partition("?")[0]
    refused = nurse.post(f"{step}/answer", data={"csrf_token": _token(page), "response": "corrected", "seen": "1", "text": "Done"})
    assert refused.status_code == 422
    assert "The answer has not been changed since this was asked" in refused.get_data(as_text=True)
    assert ">Done</textarea>" in refused.get_data(as_text=True)
    nurse.post(f"{step}/answer", data={"csrf_token": _token(page), "response": "confirmed", "seen": "1"})
    closing = manager.get(step)
    assert "Close the query" in closing.get_data(as_text=True)
    assert manager.post(f"{step}/close", data={"csrf_token": _token(closing), "seen": "2"}).status_code == 303
    listed = manager.get(f"{home}/queries.csv?state=closed").get_data(as_text=True).splitlines()
    assert listed[0].startswith("id,number,participant,site")
    assert ",Q1," in listed[1]
    trail = manager.get(f"{home}/participants/{ident}/visits/V01/forms/CLIN/audit").get_data(as_text=True)
    assert all(
        words in trail for words in ("Query asked: Q1: Please check the chart.", "Query answered: Q1: confirmed", "Query closed: Q1")
    )


def test_every_number_of_the_report_leads_to_as_many_queries(sqlite_world: World) -> None:
    ident = with_clinical(sqlite_world)
    ask(sqlite_world, ident)
    sqlite_world.now += builders.timedelta(days=9)
    ask(sqlite_world, ident, "", form="MOOD")
    client = browser(sqlite_world, "data-manager")
    page = client.get(f"/trials/{TRIAL}/query-ageing").get_data(as_text=True)
    links = re.findall(r'<a href="(/trials/[^"]*/queries\?[^"]*)">(\d+)<', page)
    assert len(links) == 10
    for link, number in links:
        listed = client.get(link.replace("&amp;", "&")).get_data(as_text=True)
        assert f'role="status">{number} quer' in listed, link


def test_a_long_list_has_pages(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trialdm.web.queries._ON_A_PAGE", 2)
    ident = with_clinical(sqlite_world)
    for item in ("asa", "pad", "smoke"):
        ask(sqlite_world, ident, item)
    client = browser(sqlite_world, "data-manager")
    first = client.get(f"/trials/{TRIAL}/queries?form=CLIN").get_data(as_text=True)
    assert (first.count('<tr><th scope="row">'), "3 queries" in first, "Previous page" in first) == (2, True, False)
    onward = re.search(r'<a rel="next" href="([^"]*)">Next page', first)
    assert onward
    second = client.get(onward.group(1).replace("&amp;", "&")).get_data(as_text=True)
    assert (second.count('<tr><th scope="row">'), ">Q3<" in second, "Next page" in second) == (1, True, False)


def _token(answer: object) -> str:
    found = re.search(r'name="csrf_token" value="([^"]*)"', answer.get_data(as_text=True))  # type: ignore[attr-defined]
    assert found
    return found.group(1)
