"""Allocation through pages and API: what everybody may know, and no word of an arm or of a hidden setting beyond it."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests import builders
from tests.api.test_api import BASE, Api
from tests.api.test_unblinding import ARMS, Browser, arm, browser
from tests.builders import TRIAL, World
from tests.services.test_schemes import BLOCKS, load_with
from trialdm.domain import roles
from trialdm.services import allocations, corrections, envelopes, people, schemes
from trialdm.services.unit import SYSTEM

ALLOCATION = "/allocation"

#: The settings of this trial's scheme that recruiting staff must not learn.
SETTINGS = re.compile(r"4/5|burn|block size|imbalance", re.IGNORECASE)

#: Roles that read the specification: they rehearse or sign, and recruit nobody.
SPECIFICATION = {"trial-manager", "statistician-blinded", "statistician-unblinded", "chief-investigator", "sponsor"}


@pytest.fixture
def one(sqlite_world: World) -> Api:
    return Api(sqlite_world)


def only(api: Api, role: str) -> Browser:
    """Somebody who holds this one role."""
    email = f"{role}.only@trial.example"
    site = "S01" if roles.ROLES[role][1] else ""
    api.world.run("system-administrator", lambda unit: people.add(unit, email, "Only", builders.PASSWORD, [(role, site)]))
    return Browser(api, email)


def eventful(world: World) -> list[str]:
    """Participants by the system and by an envelope; a verification, and an allocation in error."""
    first = builders.randomised(world)
    world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, TRIAL, "S01", 3))
    world.now += timedelta(hours=2)
    second = builders.ready(world)
    opened = world.now - timedelta(minutes=20)
    world.run("trial-coordinator", lambda unit: envelopes.reconcile(unit, TRIAL, "S01", 1, second, opened))
    levels = {"site": "S01", "limb": "2", "amp_prox": "0", "aetiol_grp": "1", "opioid_pre": "0", "pain_pre": "1"}
    world.run("monitor", lambda unit: corrections.verify(unit, TRIAL, first, levels))
    world.run("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, first, 3, "The button was pressed too early"))
    return [first, second]


def answers(visitor: Browser, idents: list[str]) -> Iterator[tuple[str, Any]]:
    """Every new page and answer, with what forms without content give."""
    for path in (ALLOCATION, f"{ALLOCATION}/envelopes", f"{ALLOCATION}?done=sign", f"/participants/{idents[0]}"):
        yield path, visitor.get(path)
    for path in (f"{ALLOCATION}/specification", f"{ALLOCATION}/specification.html"):
        yield path, visitor.get(path)
    for ident in idents:
        yield f"/participants/{ident}/factors", visitor.get(f"/participants/{ident}/factors")
        yield f"api {ident}", visitor.get(f"/{BASE}/participants/{ident}/factors")
        yield f"{ident}/factors", visitor.post(f"/participants/{ident}/factors")
        yield f"{ident}/factors/error", visitor.post(f"/participants/{ident}/factors/error")
    yield "api", visitor.get(f"/{BASE}/allocation")
    for step in ("contribute", "sign", "move", "balance", "ledger", "envelopes", "envelopes/spoilt", "envelopes/made"):
        yield f"POST {step}", visitor.post(f"{ALLOCATION}/{step}")


@pytest.mark.parametrize("role", [role for role in roles.ROLES if role not in roles.UNBLINDED])
def test_no_page_tells_a_blinded_role_an_arm_or_a_hidden_setting(one: Api, role: str) -> None:
    idents = eventful(one.world)
    for what, answer in answers(only(one, role), idents):
        said = answer.get_data(as_text=True)
        assert answer.status_code in (200, 403, 404, 405, 409, 422), what
        if "specification" in what:
            assert (answer.status_code == 200) is (role in SPECIFICATION), what
            assert not any(ident in said for ident in idents), what
            continue
        if what == "POST balance":
            assert (answer.status_code == 200) is (role == "dmc")
            assert role == "dmc" or not ARMS.search(said)
            continue
        if what == "POST ledger" and answer.status_code == 200:
            assert role in roles.ACTIONS["allocation.ledger"]
            said = json.dumps(answer.json["events"])
        assert not ARMS.search(said), (what, ARMS.search(said))
        assert role in SPECIFICATION or not SETTINGS.search(said), (what, SETTINGS.search(said))


@pytest.mark.parametrize("role", sorted(roles.UNBLINDED))
def test_an_unblinded_role_is_shown_no_arm_in_passing_either(one: Api, role: str) -> None:
    idents = eventful(one.world)
    for what, answer in answers(only(one, role), idents):
        said = answer.get_data(as_text=True)
        if "specification" in what or what in ("POST balance", "POST ledger"):
            continue
        assert not ARMS.search(said), (what, ARMS.search(said))


def test_block_sizes_are_for_whoever_may_read_the_specification(one: Api) -> None:
    load_with(one.world, BLOCKS)
    one.world.run("trial-manager", lambda unit: schemes.prepare(unit, "other"))
    path = "//trials/other/allocation"
    for role in ("research-nurse", "monitor", "surgeon", "trial-coordinator", "data-manager"):
        said = browser(one, role).get(path).get_data(as_text=True)
        assert "Permuted blocks" in said
        assert "of size" not in said
    assert "of size 2, 4" in browser(one, "statistician-blinded").get(path).get_data(as_text=True)


def test_a_signature_is_for_what_was_read(one: Api) -> None:
    load_with(one.world, BLOCKS)
    base = "//trials/other/allocation"
    manager, sponsor, chief = (browser(one, role) for role in ("trial-manager", "sponsor", "chief-investigator"))
    assert manager.post(f"{base}/commit", scheme="main").status_code == 303
    again = manager.post(f"{base}/commit", scheme="main")
    assert again.status_code == 303
    own = manager.post(f"{base}/contribute", scheme="main", kind="hex", value="00")
    assert (own.status_code, "Whoever committed to the scheme cannot contribute" in own.get_data(as_text=True)) == (403, True)
    found = re.search(r'name="specification" value="(\w{64})"', chief.get(base).get_data(as_text=True))
    assert found is not None
    assert sponsor.post(f"{base}/contribute", scheme="main", kind="dice", value="123456", source="a die").status_code == 303
    assert sponsor.post(f"{base}/contribute", scheme="main", kind="dice", value="654321").status_code == 409
    stale = chief.post(f"{base}/sign", scheme="main", specification=found[1])
    assert (stale.status_code, "has changed since you opened" in stale.get_data(as_text=True)) == (409, True)
    read = re.search(r'name="specification" value="(\w{64})"', stale.get_data(as_text=True))
    assert read is not None
    assert chief.post(f"{base}/sign", scheme="main", specification=read[1]).status_code == 303
    assert chief.post(f"{base}/sign", scheme="main", specification=read[1]).status_code == 409


def test_a_double_submit_of_an_envelope_says_what_was_entered(one: Api) -> None:
    world = one.world
    world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, TRIAL, "S01", 2))
    world.now += timedelta(hours=2)
    ident = builders.ready(world)
    coordinator = browser(one, "trial-coordinator")
    sent = {"site": "S01", "number": "1", "participant": ident.lower(), "opened": "10/3/2026 11:30"}
    assert coordinator.post(f"{ALLOCATION}/envelopes", **sent).status_code == 303
    again = coordinator.post(f"{ALLOCATION}/envelopes", **sent)
    assert (again.status_code, again.headers["Location"].endswith("entered=S01-1")) == (303, True)
    other = coordinator.post(f"{ALLOCATION}/envelopes", **{**sent, "opened": "10/3/2026 11:31"})
    assert (other.status_code, f"as used for participant {ident}, 10 March 2026 11:30" in other.get_data(as_text=True)) == (409, True)
    assert arm(one, ident)
    with world.units.reading(SYSTEM) as unit:
        assert len(allocations.all_arms(unit, world.protocol)) == 1


def test_the_api_gives_status_and_answers(one: Api) -> None:
    ident = builders.randomised(one.world, opioid_pre=0)
    status = one.send("research-nurse", "GET", "/allocation")
    assert (status.status_code, status.json["state"], status.json["places"], status.json["later_schemes"]) == (200, "live", 1, [])
    assert not {"arms", "p", "config"} & set(status.json)
    found = one.send("monitor", "GET", f"/participants/{ident}/factors").json
    assert {row["factor"] for row in found} == {"site", "limb", "amp_prox", "aetiol_grp", "opioid_pre", "pain_pre"}
    assert all(row["scheme"] == "main" and not row["differs"] for row in found)
    assert one.send("sponsor", "GET", f"/participants/{ident}/factors").status_code == 403
    assert one.send("research-nurse", "GET", f"/participants/{builders.ready(one.world)}/factors").json == []
    paths = one.client.get("/api/openapi.json").json["paths"]
    assert {"/api/v1/trials/{trial}/allocation", "/api/v1/trials/{trial}/participants/{participant}/factors"} <= set(paths)


def test_the_specification_as_a_file(one: Api) -> None:
    visitor = browser(one, "sponsor")
    page = visitor.get(f"{ALLOCATION}/specification").get_data(as_text=True)
    offered = "Download as PDF" in page
    html = visitor.get(f"{ALLOCATION}/specification.html")
    assert (html.status_code, html.headers["Content-Disposition"]) == (200, 'attachment; filename="pre-tmr-specification.html"')
    pdf = visitor.get(f"{ALLOCATION}/specification.pdf")
    assert (pdf.status_code, pdf.data.startswith(b"%PDF")) == ((200, True) if offered else (404, False))
    assert visitor.get(f"{ALLOCATION}/specification?epoch=7").status_code == 404
