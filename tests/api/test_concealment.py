"""Concealment at the doors: pages and API give a blinded person the same bytes whichever arm a participant has.

The twins of the services' tests differ in one participant's arm only. Every page that a person reaches by following links, and
every address of the API, is read in both.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.builders import PASSWORD, TRIAL, World
from tests.doors import app_of
from tests.services.test_concealment import BLINDED, MAY_UNBLIND, Twins, plain, twins_of
from trialdm.domain import roles
from trialdm.services import people, sessions, tokens

HOME = f"/trials/{TRIAL}"
#: Months in which visits of the twins have their target days.
MONTHS = ("2026-04", "2026-06", "2026-09")
ARM = re.compile(r"(?<![-\w])TMR(?![-\w])|Standard|Targeted muscle reinnervation")

_LINK = re.compile(r'(?:href|action)="(/[^"#]*)"')
_ELSEWHERE = ("/static", "/bootstrap", "/sign-", "/help", "/account/")
_CSRF = re.compile(r'name="csrf_token" value="[^"]*"|csrf[^"]*" content="[^"]*"|/account/sessions/[0-9a-f]+/end')


@pytest.fixture(scope="module")
def twins(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    found = twins_of(sqlite_template, tmp_path_factory.mktemp("twins"))
    yield found
    for world in found.worlds:
        world.instance.engine.dispose()


def browser(world: World, role: str) -> FlaskClient:
    """A browser in which this person has signed in."""
    client = app_of(world).test_client()
    secret = world.run(role, lambda unit: sessions.sign_in(unit, world.actor(role).email, PASSWORD))
    assert secret
    client.set_cookie("trialdm", secret)
    return client


def bare(answer: Any) -> str:
    """Status, type and content of an answer, without what is random."""
    return f"{answer.status_code} {answer.mimetype}\n{plain(_CSRF.sub('csrf', answer.get_data(as_text=True)))}"


def crawled(client: FlaskClient, starts: list[str], about: str, others: tuple[str, ...]) -> dict[str, str]:
    """Every page that links lead to; of several participants only the pages of one."""
    waiting, seen, found = list(starts), set(), {}
    while waiting:
        path = waiting.pop()
        if path in seen or path.startswith(_ELSEWHERE) or ".pdf" in path or any(other in path for other in others if other != about):
            continue
        seen.add(path)
        answer = client.get(path)
        found[plain(path)] = bare(answer)
        if answer.mimetype == "text/html":
            links = (link.replace("&amp;", "&") for link in _LINK.findall(answer.get_data(as_text=True)))
            waiting += [link for link in links if not re.search(r"[?&](sort|page|order|month|item)=", link)]
        assert len(seen) < 500
    return found


@pytest.mark.parametrize("role", BLINDED)
def test_every_page_is_the_same_in_both_twins(twins: Twins, role: str) -> None:
    ident = twins.different
    starts = ["/", HOME, "/notices", f"{HOME}/participants/{ident}", f"{HOME}/unblinding", f"{HOME}/allocation", f"{HOME}/exports"]
    starts += [
        f"{HOME}/participants/{ident}/{page}" for page in ("randomise", "factors", "theatre", "unblind", "tell", "transfer", "derived")
    ]
    starts += [f"{HOME}/{page}" for page in ("visits", "visits.csv", "calendar.ics", *(f"calendar?month={month}" for month in MONTHS))]
    starts += [
        f"{HOME}/envelopes",
        f"{HOME}/allocation/envelopes",
        f"{HOME}/allocation/factors",
        f"{HOME}/allocation/specification",
        HOME + "/audit",
        f"{HOME}/queries",
        f"{HOME}/queries/R1",
        f"{HOME}/queries.csv?form=SURG",
        f"{HOME}/queries/new?participant={ident}&visit=V02&form=SURG&item=proc_given",
        f"{HOME}/queries/new?participant={ident}&visit=V01&form=CLIN&item=asa",
        f"{HOME}/query-ageing",
        *(f"{HOME}/{page}" for page in ("derived", "derived.csv", "derived_visits.csv")),
        *(f"{HOME}/safety{page}" for page in ("", "/clocks", "/events", "/coding", "/expected", "/RP-05.csv", "/RP-06.csv", "/events.csv")),
        f"{HOME}/participants/{ident}/visits/EV/forms/SAE/1",
        f"{HOME}/checks?look=1&alerts=1",
    ]
    one, other = (crawled(browser(world, role), starts, ident, twins.idents) for world in twins.worlds)
    assert set(one) == set(other)
    assert not [path for path, page in one.items() if page != other[path]]
    assert not [path for path in one if ARM.search(path)]
    if roles.may([roles.Grant(role, "*", "S01")], "participant.see", TRIAL):
        assert len(one) > 15


def api_paths(world: World, ident: str) -> list[str]:
    """Every address of the API that is read by GET, with every form of the participant."""
    app = app_of(world)
    forms = [(form.code, visit) for form in world.protocol.forms for visit in form.visits]
    found = []
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/api/v1") or "GET" not in (rule.methods or set()):
            continue
        path = rule.rule.replace("<trial>", TRIAL).replace("<participant>", ident).replace("<int:row>", "1").replace("<ident>", "none")
        found += {path.replace("<form>", form).replace("<visit>", visit) for form, visit in forms}
    queries = [f"action={action}&site=S01" for action in ("randomise", "consent", "activate-site")]
    queries += [f"action=randomise&site=S01&participant={ident}"]
    found += [f"/api/v1{HOME}/gate?{query}" for query in queries]
    found += [f"/api/v1{HOME}/queries/R1", f"/api/v1{HOME}/queries?form=SURG"]
    found += [f"/api/v1{HOME}/audit?participant={ident}", f"/api/v1{HOME}/audit?action=participant.randomise"]
    return sorted(set(found))


@pytest.mark.parametrize("role", BLINDED)
def test_every_address_of_the_api_is_the_same_in_both_twins(twins: Twins, role: str) -> None:
    given = []
    for world in twins.worlds:
        client, headers = program(world, role)
        found = {path: bare(client.get(path, headers=headers)) for path in api_paths(world, twins.different)}
        found |= {f"{path} {number}": bare(answer) for number, (path, answer) in enumerate(tried(client, headers, twins.different, role))}
        given.append(found)
    assert set(given[0]) == set(given[1])
    assert not [path for path, content in given[0].items() if content != given[1][path]]
    people_only = {path: content for path, content in given[0].items() if path != f"/api/v1{HOME}" and "/forms/" not in path}
    assert not [path for path, content in people_only.items() if re.search(r'"arm":|"(TMR|Standard)"', content)]


def program(world: World, role: str) -> tuple[FlaskClient, dict[str, str]]:
    """A program that holds a token of this person."""
    client = app_of(world).test_client()
    token = world.run(role, lambda unit: tokens.create(unit, people.by_email(unit, world.actor(role).email), "twins"))
    return client, {"Authorization": f"Bearer {token}"}


def tried(client: FlaskClient, headers: dict[str, str], ident: str, role: str) -> Iterator[tuple[str, Any]]:
    """What a blinded person might try in order to learn an allocation."""
    base = f"/api/v1{HOME}/participants/{ident}"
    for path in ("randomise", "randomise?scheme=main", "randomise?scheme=none", "allocation", "theatre-check", "unblind", "derived"):
        if path == "unblind" and role in MAY_UNBLIND:
            continue
        body = {"unblind": {"reason": "Bleeding and nobody knows", "code": 1, "drill": False}, "theatre-check": {}}.get(path)
        yield path, client.post(f"{base}/{path}", json=body, headers={**headers, "Idempotency-Key": "another key"})
    yield "derived", client.post(f"/api/v1{HOME}/derived", headers=headers)
    for reason, form in product(({"blinding": "unblinded"}, {"blinding": "unblinded", "reason": "curious"}), (["csv"],)):
        yield "exports", client.post(f"/api/v1{HOME}/exports", json={"formats": form, **reason}, headers=headers)


#: Pages that hold counts by arm, and who may ask for them.
BALANCE = {"statistician-unblinded", "dmc"}


@pytest.mark.parametrize("role", list(roles.ROLES))
def test_counts_by_arm_are_given_to_the_unblinded_statistician_and_the_committee_only(twins: Twins, role: str) -> None:
    client = browser(twins.worlds[0], role)
    token = re.search(r'name="csrf_token" value="([^"]*)"', client.get(f"{HOME}/allocation").get_data(as_text=True))
    sent = {"csrf_token": token.group(1) if token else csrf_of(client)}
    answer = client.post(f"{HOME}/allocation/balance", data=sent)
    assert (answer.status_code == 200) is (role in BALANCE), answer.status_code
    if role not in BALANCE:
        assert answer.status_code == 403
        assert not ARM.search(re.sub(r"PRE-TMR", "", answer.get_data(as_text=True)))
    assert client.get(f"{HOME}/allocation/balance").status_code in (404, 405)


def csrf_of(client: FlaskClient) -> str:
    """The token of some page that has one: every page lets a person sign out."""
    found = re.search(r'name="csrf_token" value="([^"]*)"', client.get("/").get_data(as_text=True))
    assert found
    return found.group(1)
