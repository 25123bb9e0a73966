"""Unblinding through pages and API: the arm is in the answer to whoever may have it, and in nothing that anybody else can open."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests import builders
from tests.api.test_api import BASE, Api
from tests.builders import TRIAL, World
from trialdm.domain import roles
from trialdm.services import people, sessions
from trialdm.services.unit import SYSTEM

REASON = "Bleeding, and the next step depends on it"

#: Arms in any writing; the trial's own name holds one of them.
ARMS = re.compile(r"(?<!PRE-)\bTMR\b|Targeted muscle|Standard nerve|[>\"]Standard[<\"]")


class Browser:
    """A signed-in person's pages, without a browser."""

    def __init__(self, api: Api, email: str) -> None:
        with api.world.units.reading(SYSTEM) as unit:
            known = people.by_email(unit, email)
        secret = api.world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, known.email, builders.PASSWORD))
        assert secret is not None
        with api.world.units.reading(SYSTEM) as unit:
            found = sessions.session_of(unit, secret)
        assert found is not None
        self.csrf = found[0].csrf
        self.client: FlaskClient = api.app.test_client()
        self.client.set_cookie("trialdm", secret)

    def get(self, path: str) -> Any:
        return self.client.get(f"/trials/{TRIAL}{path}" if not path.startswith("//") else path[1:])

    def post(self, path: str, **data: Any) -> Any:
        path = f"/trials/{TRIAL}{path}" if not path.startswith("//") else path[1:]
        return self.client.post(path, data={"csrf_token": self.csrf, **data})


@pytest.fixture
def api(world: World) -> Api:
    return Api(world)


@pytest.fixture
def one(sqlite_world: World) -> Api:
    return Api(sqlite_world)


def browser(api: Api, role: str) -> Browser:
    return Browser(api, api.world.actor(role).email)


def arm(api: Api, ident: str) -> str:
    return api.world.protocol.arm(builders.arm_of(api.world, ident)).name


# --- the API ---------------------------------------------------------------------------------------------------------


def test_an_emergency_and_a_drill(api: Api) -> None:
    ident = builders.randomised(api.world)
    path = f"/participants/{ident}/unblind"
    drill = api.send("principal-investigator", "POST", path, json={"reason": REASON, "drill": True})
    assert (drill.status_code, drill.json["arm"], drill.json["drill"]) == (200, None, True)
    real = api.send("principal-investigator", "POST", path, json={"reason": REASON})
    assert (real.status_code, real.json["arm"], real.json["drill"]) == (200, arm(api, ident), False)
    assert {"participant", "number", "at"} <= set(real.json)
    refused = api.send("research-nurse", "POST", path, json={"reason": REASON})
    assert (refused.status_code, refused.json["code"]) == (403, "ROLE.ALLOCATION.UNBLIND")
    assert not ARMS.search(refused.get_data(as_text=True))
    for body, code in (({"reason": " "}, "UNBLIND.REASON"), ({}, "HTTP.422"), ({"reason": REASON, "arm": 1}, "HTTP.422")):
        answer = api.send("principal-investigator", "POST", path, json=body)
        assert (answer.status_code, answer.json["code"]) == (422, code)


def test_a_look(api: Api) -> None:
    ident = builders.randomised(api.world)
    path = f"/participants/{ident}/allocation"
    seen = api.send("surgeon", "POST", path)
    assert (seen.status_code, seen.json["arm"], set(seen.json)) == (200, arm(api, ident), {"participant", "number", "at", "arm"})
    hidden = api.send("blinded-assessor", "POST", path)
    assert (hidden.status_code, hidden.json["code"]) == (403, "GATE.GOV-45")
    assert api.send("surgeon", "GET", path).status_code == 405


def test_the_check_before_surgery(api: Api) -> None:
    ident = builders.randomised(api.world)
    path = f"/participants/{ident}/theatre-check"
    wrong = api.send("surgeon", "POST", path, json={"side": 2, "limb": 1, "level": 12})
    assert (wrong.status_code, wrong.json["code"]) == (409, "THEATRE.WRONG_SIDE")
    assert not ARMS.search(wrong.get_data(as_text=True))
    right = api.send("surgeon", "POST", path, json={"side": 1, "limb": 1, "level": 12})
    assert (right.status_code, right.json["arm"]) == (200, arm(api, ident))
    log = api.send("trial-manager", "GET", "/audit?action=theatre.check").json["items"]
    assert [line["new"] for line in log if line["field"] == "agrees"] == [False, True]


def test_the_inbox(api: Api) -> None:
    builders.randomised(api.world)
    found = api.client.get("/api/v1/notices", headers=api.headers("surgeon")).json
    assert [row["kind"] for row in found] == ["allocation"]
    path = f"/api/v1/notices/{found[0]['id']}/read"
    assert api.client.post(path, headers=api.headers("principal-investigator")).status_code == 404
    assert api.client.post(path, headers=api.headers("surgeon")).json["read_at"]
    assert api.client.get("/api/v1/notices", headers=api.headers("blinded-assessor")).json == []
    assert api.client.get("/api/v1/notices").status_code == 401


def test_the_log_and_the_end_of_the_trial(one: Api) -> None:
    ident = builders.randomised(one.world)
    one.send("surgeon", "POST", f"/participants/{ident}/allocation")
    assert [row["kind"] for row in one.send("sponsor", "GET", "/unblinding").json] == ["look"]
    assert one.send("trial-manager", "GET", "/unblinding").json == []
    assert one.send("research-nurse", "GET", "/unblinding").status_code == 403
    early = one.send("sponsor", "POST", "/unblinding")
    assert (early.status_code, early.json["code"]) == (409, "UNBLIND.NOT_LOCKED")


def test_an_assessor_who_knows_is_refused_with_a_plain_message(one: Api) -> None:
    ident = builders.randomised(one.world)
    staff_no = one.world.actor("blinded-assessor").staff_no
    given = {"ub_reason": 3, "ub_by": staff_no, "ub_dtm": "2026-03-10T09:00"}
    builders.put(one.world, ident, "EV", "UNBL", given, only=True, role="principal-investigator")
    body = {"answers": {"rlp_any": 0, "plp_any": 0, "plp_sens": 0, "pain_assist": 1}, "complete": True}
    refused = one.send("blinded-assessor", "PUT", f"/participants/{ident}/visits/V04/forms/PAIN", json=body)
    assert (refused.status_code, refused.json["code"]) == (403, "ROLE.UNBLINDED_ASSESSOR")
    assert "another assessor" in refused.json["detail"]
    assert one.send("research-nurse", "PUT", f"/participants/{ident}/visits/V04/forms/PAIN", json=body).status_code == 200


# --- pages -----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_participant_shows_the_arm_to_nobody_and_the_look_does(one: Api) -> None:
    ident = builders.randomised(one.world)
    surgeon, nurse = browser(one, "surgeon"), browser(one, "research-nurse")
    for path in (f"/participants/{ident}", f"/participants/{ident}/randomise"):
        seen = surgeon.get(path).get_data(as_text=True)
        assert "hidden until you ask" in seen
        assert not ARMS.search(seen)
        assert "idden to keep you blinded" in nurse.get(path).get_data(as_text=True)
    shown = surgeon.post(f"/participants/{ident}/allocation")
    assert (shown.status_code, shown.headers["Cache-Control"]) == (200, "no-store")
    assert f">{arm(one, ident)}<" in shown.get_data(as_text=True)
    refused = nurse.post(f"/participants/{ident}/allocation")
    assert refused.status_code == 403
    assert not ARMS.search(refused.get_data(as_text=True))
    assert surgeon.get(f"/participants/{ident}/allocation").status_code == 405


def test_whoever_randomises_and_may_see_the_arm_sees_it_once(one: Api) -> None:
    ident = builders.ready(one.world)
    principal = browser(one, "principal-investigator")
    answer = principal.post(f"/participants/{ident}/randomise", key="k1")
    assert answer.status_code == 200
    assert f"<strong>{arm(one, ident)}</strong>" in answer.get_data(as_text=True)
    assert not ARMS.search(principal.get(f"/participants/{ident}/randomise").get_data(as_text=True))
    other = builders.ready(one.world)
    assert browser(one, "trial-coordinator").post(f"/participants/{other}/randomise", key="k2").status_code == 303


def test_the_emergency_page_asks_for_a_reason_and_a_confirmation(one: Api) -> None:
    ident = builders.randomised(one.world)
    path = f"/participants/{ident}/unblind"
    chief = browser(one, "chief-investigator")
    assert "Unblind now" in chief.get(path).get_data(as_text=True)
    for given, field in (({}, "confirm"), ({"confirm": "1"}, "code-1"), ({"confirm": "1", "code": "1", "reason": " "}, "reason")):
        answer = chief.post(path, **given)
        said = answer.get_data(as_text=True)
        assert (answer.status_code, f'href="#{field}"' in said or field == "code-1") == (422, True)
        assert not ARMS.search(said)
    drilled = chief.post(path, code="1", reason=REASON, drill="1").get_data(as_text=True)
    assert "No allocation was shown" in drilled
    assert not ARMS.search(drilled)
    assert f">{arm(one, ident)}<" in chief.post(path, code="1", reason=REASON, confirm="1").get_data(as_text=True)
    assert not ARMS.search(chief.get(f"/participants/{ident}").get_data(as_text=True))
    assert browser(one, "research-nurse").get(path).status_code == 403


def test_notices_are_read_on_their_page(one: Api) -> None:
    builders.randomised(one.world)
    surgeon = browser(one, "surgeon")
    page = surgeon.get("//notices").get_data(as_text=True)
    assert '<span class="count">1</span>' in page
    assert not ARMS.search(page)
    ident = re.search(r"/notices/(\w+)/read", page)
    assert ident is not None
    assert surgeon.post(f"//notices/{ident[1]}/read").status_code == 303
    assert '<span class="count">' not in surgeon.get("//notices").get_data(as_text=True)


def _everything(api: Api) -> str:
    """One participant through randomisation, check, looks, emergency and drill."""
    ident = builders.randomised(api.world)
    api.send("surgeon", "POST", f"/participants/{ident}/theatre-check", json={"side": 2, "limb": 1, "level": 12})
    api.send("surgeon", "POST", f"/participants/{ident}/theatre-check", json={"side": 1, "limb": 1, "level": 12})
    for drill in (False, True):
        assert api.send("principal-investigator", "POST", f"/participants/{ident}/unblind", json={"reason": REASON, "drill": drill})
    return ident


def _addresses(ident: str) -> Iterator[str]:
    one = f"/participants/{ident}"
    yield from (f"{one}", f"{one}/randomise", f"{one}/unblind", f"{one}/tell", f"{one}/theatre", "", "/participants", "/unblinding")
    yield from (f"{one}/visits/{at}/forms/{form}" for at, form in (("V02", "SURG"), ("R", "RAND"), ("EV", "UNBL"), ("EV", "DEVI")))
    yield from ("//notices", "//api/v1/notices")
    yield from (f"//api/v1/trials/{TRIAL}{path}" for path in (one, f"/audit?participant={ident}", "/unblinding", "/participants"))
    yield from (f"/{BASE}{one}/visits/{at}/forms/{form}" for at, form in (("V02", "SURG"), ("R", "RAND"), ("EV", "UNBL")))


@pytest.mark.parametrize("role", [role for role in roles.ROLES if role not in roles.UNBLINDED])
def test_no_page_and_no_answer_shows_an_arm_to_a_blinded_role(one: Api, role: str) -> None:
    site = "S01" if roles.ROLES[role][1] else ""
    email = f"{role}.only@trial.example"
    one.world.run("system-administrator", lambda unit: people.add(unit, email, "Only", builders.PASSWORD, [(role, site)]))
    ident = _everything(one)
    visitor = Browser(one, email)
    for path in _addresses(ident):
        answer = visitor.get(path)
        assert answer.status_code in (200, 302, 403, 404, 409), path
        said = answer.get_data(as_text=True)
        assert not ARMS.search(said), (path, ARMS.search(said))
        assert REASON not in said, path
    for path in (f"/participants/{ident}/allocation", f"/participants/{ident}/theatre"):
        assert not ARMS.search(visitor.post(path, side="1", limb="1", level="12").get_data(as_text=True))
