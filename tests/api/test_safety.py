"""Safety over the API: the listings as JSON, expected events, dictionaries, and coding."""

from typing import Any

import pytest

from tests import builders
from tests.api.test_api import Api
from tests.api.test_concealment import browser
from tests.builders import TODAY, TRIAL, World
from tests.services.test_safety import LLT
from trialdm.services import participants

NARRATIVE = "The transferred nerve was re-explored"
AWARE = f"{TODAY.isoformat()}T08:00"


@pytest.fixture
def api(sqlite_world: World) -> Api:
    ident = builders.randomised(sqlite_world)
    builders.put(sqlite_world, ident, "EV", "AE", {"ae_term": "Pneumonia", "ae_ser": 1, "ae_start": TODAY.isoformat(), "ae_ongoing": 1})
    report = {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": AWARE, "sae_reported": AWARE, "sae_narr": NARRATIVE}
    builders.put(sqlite_world, ident, "EV", "SAE", report, role="principal-investigator")
    return Api(sqlite_world)


def got(api: Api, role: str, path: str) -> Any:
    answer = api.send(role, "GET", f"/safety/{path}")
    assert answer.status_code == 200, answer.json
    return answer.json


def test_the_line_listing_says_what_the_file_says(api: Api) -> None:
    (line,) = got(api, "sponsor", "serious")
    assert (line["event"], line["number"], line["site"], line["state"]) == ("Pneumonia", 1, "S01", "pi_assessed")
    assert (line["site_aware"], line["ended"], line["form"]) == (AWARE, None, "SAE")
    assert [(clock["rule"], clock["state"], clock["light"]) for clock in line["clocks"]] == [("GOV-30", "met", "green")]
    (event,) = got(api, "safety-reviewer", "events")
    assert (event["event"], event["serious"], event["code"]) == ("Pneumonia", "Yes", None)
    assert [clock["rule"] for clock in got(api, "chief-investigator", "clocks")] == ["GOV-30"]


def test_no_narrative_is_in_it(api: Api) -> None:
    for path in ("serious", "events", "clocks", "coding", "expected", "dictionaries"):
        for role in ("sponsor", "safety-reviewer", "data-manager"):
            assert NARRATIVE not in api.send(role, "GET", f"/safety/{path}").get_data(as_text=True)


@pytest.mark.parametrize(
    ("path", "may", "may_not"),
    [
        ("serious", "sponsor", "data-manager"),
        ("events", "sponsor", "research-nurse"),
        ("clocks", "sponsor", "monitor"),
        ("dictionaries", "data-manager", "sponsor"),
        ("coding", "unblinded-data-manager", "sponsor"),
    ],
)
def test_who_reads_what(api: Api, path: str, may: str, may_not: str) -> None:
    assert api.send(may, "GET", f"/safety/{path}").status_code == 200
    assert api.send(may_not, "GET", f"/safety/{path}").status_code == 403


def test_expected_events_have_versions(api: Api) -> None:
    (version,) = got(api, "research-nurse", "expected")
    assert (version["name"], version["from"], version["in_force"]) == ("PRE-TMR-EE 0.1", "2025-01-01", True)
    assert "Pneumonia" in version["expected"]
    assert "Wrong nerve or wrong side" in version["not_expected"]


def test_a_dictionary_is_loaded_and_an_event_coded(api: Api) -> None:
    body = {"file": "llt.asc", "text": LLT, "name": "MedDRA", "version": "27.1"}
    assert api.send("sponsor", "POST", "/safety/dictionaries", json=body).status_code == 403
    assert api.send("data-manager", "POST", "/safety/dictionaries", json={**body, "licence": "x"}).status_code == 422
    loaded = api.send("data-manager", "POST", "/safety/dictionaries", json=body)
    assert (loaded.status_code, loaded.json["new"]) == (201, 2)
    assert [one["name"] for one in got(api, "data-manager", "dictionaries")] == ["own list", "MedDRA"]
    (waiting,) = got(api, "data-manager", "coding")
    assert {term["code"] for term in waiting["suggestions"]} == {"L0102", "10035664"}
    code = {"participant": waiting["participant"], "row": 1, "code": "10035664"}
    assert api.send("research-nurse", "POST", "/safety/coding", json=code).status_code == 403
    assert api.send("data-manager", "POST", "/safety/coding", json={**code, "code": "X1"}).status_code == 404
    assert api.send("data-manager", "POST", "/safety/coding", json=code).json == []
    assert got(api, "sponsor", "events")[0]["code"] == "10035664"


def test_the_addresses_are_described(api: Api) -> None:
    paths = api.client.get("/api/openapi.json").json["paths"]
    described = {path.rpartition("/")[2]: set(ways) & {"get", "post"} for path, ways in paths.items() if "/safety/" in path}
    both = {"get", "post"}
    read = {key: {"get"} for key in ("serious", "events", "clocks", "expected")}
    assert described == {**read, "dictionaries": both, "coding": both}


#: Everybody who reads forms or assesses events and is blinded.
BLINDED = ["sponsor", "safety-reviewer", "chief-investigator", "monitor", "research-nurse", "trial-manager", "data-manager"]


@pytest.mark.parametrize("role", [*BLINDED, "principal-investigator"])
def test_a_narrative_stands_on_no_page_and_in_no_answer_for_whoever_is_blinded(api: Api, role: str) -> None:
    world = api.world
    with world.units.reading(world.actor("trial-coordinator")) as unit:
        ident = participants.listed(unit, TRIAL)[0][0].id
    client, base = browser(world, role), f"/trials/{TRIAL}"
    person, form = f"{base}/participants/{ident}", f"{base}/participants/{ident}/visits/EV/forms/SAE"
    pages = [form, f"{form}/1", f"{form}/1/audit", f"{form}/print?row=1", f"{form}/1/verify", person, f"{person}/print"]
    pages += [f"{base}/safety", f"{base}/safety/RP-05.csv", "/notices"]
    texts = {page: client.get(page).get_data(as_text=True) for page in pages}
    for path in (f"/participants/{ident}/visits/EV/forms/SAE/1", f"/audit?participant={ident}", "/safety/serious"):
        texts[path] = api.send(role, "GET", path).get_data(as_text=True)
    found = {page for page, text in texts.items() if NARRATIVE in text}
    assert bool(found) is (role not in BLINDED)
    read = {f"{form}/1", f"{form}/1/audit", f"{form}/print?row=1", f"{person}/print", f"/participants/{ident}/visits/EV/forms/SAE/1"}
    assert role in BLINDED or found >= read
