"""Concealment at the doors: whatever a blinded person asks for or tries, the twins (`tests.twins`) answer with the same bytes.

Every address of the URL map is asked for by everybody who is blinded, at the participants' own site and at another one. Of routes
with many addresses each person takes others in turn; `python -m tests.blinding` takes all of them.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests import walk
from tests.builders import PASSWORD, TRIAL, World
from tests.conftest import copied
from tests.doors import app_of
from tests.twins import MAY_UNBLIND, PEOPLE, Twins, plain
from trialdm.documents import page as documents
from trialdm.domain import roles
from trialdm.services import allocations, notices, people, sessions, tokens

HOME = f"/trials/{TRIAL}"
ARM = re.compile(r"(?<![-\w])TMR(?![-\w])|Standard|Targeted muscle reinnervation")

#: Of each route, so many addresses a person.
MOST = 2

_LINK = re.compile(r'(?:href|action)="(/[^"#]*)"')
_ELSEWHERE = ("/static", "/bootstrap", "/sign-", "/help", "/account")
_CSRF = re.compile(
    r'name="csrf_token" value="[^"]*"|csrf[^"]*" content="[^"]*"|/account/sessions/[0-9a-f]+/end|filename=pre-tmr-[0-9a-f]{8}'
)


def browser(world: World, role: str, site: str = "") -> FlaskClient:
    """A browser in which this person has signed in."""
    client = app_of(world).test_client()
    secret = world.run(role, lambda unit: sessions.sign_in(unit, world.actor(role, site).email, PASSWORD), site)
    assert secret
    client.set_cookie("trialdm", secret)
    return client


def program(world: World, role: str, site: str = "") -> tuple[FlaskClient, dict[str, str]]:
    """A program that holds a token of this person."""
    client = app_of(world).test_client()
    token = world.run(role, lambda unit: tokens.create(unit, people.by_email(unit, world.actor(role, site).email), "twins"), site)
    return client, {"Authorization": f"Bearer {token}"}


@pytest.fixture(autouse=True)
def _printed_as_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PDF file is made from an HTML file alone, and holds the time at which it was made: the HTML file is what is compared."""
    monkeypatch.setattr(documents, "pdf", lambda text: text.encode())


#: What follows from how well random names compress, and from when a file was written.
_OF_ARCHIVE = ("Content-Length", "ETag", "Last-Modified", "Date")


def bare(answer: TestResponse) -> str:
    """Status, headers and content of an answer, without what is random."""
    with closing(answer):
        left_out = _OF_ARCHIVE if answer.mimetype == "application/zip" else ()
        headers = sorted((name, value) for name, value in answer.headers if name not in left_out)
        told = [f"{name}: {value.partition('=')[0] if name == 'Set-Cookie' else value}" for name, value in headers]
        return plain(_CSRF.sub("csrf", "\n".join([answer.status, *told, _content(answer)])))


def _content(answer: TestResponse) -> str:
    """What the answer holds; of an archive every file with its name."""
    if answer.mimetype != "application/zip":
        return answer.get_data().decode("utf-8", "backslashreplace")
    with zipfile.ZipFile(io.BytesIO(answer.get_data())) as archive:
        return "\n".join(f"{name}\n{archive.read(name).decode('utf-8', 'backslashreplace')}" for name in sorted(archive.namelist()))


class Visitor:
    """A person at the doors of one of the twins: pages in a browser, the API with a token."""

    def __init__(self, world: World, role: str, site: str) -> None:
        self.browser = browser(world, role, site)
        self.client, self.token = program(world, role, site)

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, headers=self.token) if path.startswith("/api/") else self.browser.get(path)

    def post(self, path: str, csrf: str) -> TestResponse:
        """What is sent by a form that nobody filled in, or by a program that says nothing."""
        if path.startswith("/api/"):
            return self.client.post(path, json={}, headers={**self.token, "Idempotency-Key": "k"})
        return self.browser.post(path, data={"csrf_token": csrf})


def differences(twins: Twins, person: tuple[str, str], asked: list[walk.Address]) -> list[str]:
    """Addresses, and links of their pages, that answer this person differently in the twins."""
    visitors = [Visitor(world, *person) for world in twins.worlds]
    found = []
    links: dict[str, None] = {}
    for address in asked:
        answers = [visitor.get(path) for visitor, path in zip(visitors, address.paths, strict=True)]
        if bare(answers[0]) != bare(answers[1]):
            found.append(f"{address.rule} {address.paths[0]}")
        if answers[0].mimetype == "text/html":
            links |= dict.fromkeys(_LINK.findall(answers[0].get_data(as_text=True)))
    known = {path for address in asked for path in address.paths}
    for link in _to_follow(twins, links, known):
        answers = [visitor.get(link) for visitor in visitors]
        if bare(answers[0]) != bare(answers[1]):
            found.append(link)
    return found


def _to_follow(twins: Twins, links: dict[str, None], known: set[str]) -> Iterator[str]:
    """One link of each kind: a route with the names of what it is asked for, where that has no random name."""
    rules = app_of(twins.worlds[0]).url_map.bind("localhost")
    kinds = set()
    for link in (link.replace("&amp;", "&") for link in links):
        path, _, query = link.partition("?")
        if path.startswith(_ELSEWHERE) or plain(link) != link or not rules.test(path, "GET") or link in known:
            continue
        kind = (rules.match(path, method="GET")[0], *sorted(part.partition("=")[0] for part in query.split("&")))
        if kind not in kinds:
            kinds.add(kind)
            yield link


@pytest.mark.parametrize("person", PEOPLE, ids="-".join)
def test_every_address_gives_a_blinded_person_the_same_in_both_twins(twins: Twins, person: tuple[str, str]) -> None:
    asked = walk.in_turn(twins, walk.addresses(twins), PEOPLE.index(person), MOST)
    assert len(asked) > 250
    assert differences(twins, person, asked) == []


#: What an address takes beyond its path, of what may be asked for with names of the allocation's world.
QUESTIONS = (
    *(f"{HOME}/calendar?month={month}" for month in ("2026-04", "2026-06", "2026-09")),
    f"{HOME}/queries.csv?form=SURG",
    f"/api/v1{HOME}/queries?form=SURG",
    f"{HOME}/queries/new?participant=IDENT&visit=V02&form=SURG&item=proc_given",
    f"{HOME}/queries/new?participant=IDENT&visit=V01&form=CLIN&item=asa",
    f"{HOME}/checks?look=1&alerts=1",
    *(f"/api/v1{HOME}/gate?action={action}&site=S01" for action in ("randomise", "consent", "activate-site")),
    f"/api/v1{HOME}/gate?action=randomise&site=S01&participant=IDENT",
    f"/api/v1{HOME}/audit?participant=IDENT",
    f"/api/v1{HOME}/audit?action=participant.randomise",
    f"{HOME}/audit?action=form.save&participant=IDENT",
    *(f"{HOME}/participants?sort={column}" for column in ("site", "state", "-state", "arm", "rand_arm")),
)


@pytest.mark.parametrize("person", PEOPLE, ids="-".join)
def test_every_attempt_is_answered_alike_in_both_twins(tried_twins: Twins, person: tuple[str, str]) -> None:
    """Questions with a query, forms that nobody filled in, requests without content, and what one might try to learn an allocation."""
    twins = tried_twins
    visitors = [Visitor(world, *person) for world in twins.worlds]
    found = []
    for question in (q.replace("IDENT", ident) for q in QUESTIONS for ident in twins.idents[:2]):
        answers = [bare(visitor.get(question)) for visitor in visitors]
        found += [question] if answers[0] != answers[1] else []
    tokens_of_pages = [csrf_of(visitor.browser) for visitor in visitors]
    for address in walk.in_turn(twins, walk.addresses(twins, "POST"), PEOPLE.index(person), 2):
        if person[0] in BALANCE and address.paths[0] == f"{HOME}/allocation/balance":
            continue
        answers = [bare(visitor.post(path, csrf)) for visitor, path, csrf in zip(visitors, address.paths, tokens_of_pages, strict=True)]
        found += [f"POST {address.rule} {address.paths[0]}"] if answers[0] != answers[1] else []
    for ident in twins.idents[:2]:
        given = [[bare(answer) for answer in tried(visitor.client, visitor.token, ident, person[0])] for visitor in visitors]
        found += [f"tried {number} of {ident}" for number, (a, b) in enumerate(zip(*given, strict=True)) if a != b]
        assert not [answer for answer in given[0] if re.search(r'"arm":|"(TMR|Standard)"', answer)]
    assert found == []


@pytest.fixture(scope="module")
def tried_twins(lived_twins: Twins, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Twins in which attempts may leave something behind: the same in both."""
    yield from copied(lived_twins, tmp_path_factory.mktemp("tried"))


def tried(client: FlaskClient, headers: dict[str, str], ident: str, role: str) -> Iterator[Any]:
    """What a blinded person might try in order to learn an allocation."""
    base = f"/api/v1{HOME}/participants/{ident}"
    for path in ("randomise", "randomise?scheme=main", "randomise?scheme=none", "allocation", "theatre-check", "unblind", "derived"):
        if path == "unblind" and role in MAY_UNBLIND:
            continue
        body = {"unblind": {"reason": "Bleeding and nobody knows", "code": 1, "drill": False}, "theatre-check": {}}.get(path)
        yield client.post(f"{base}/{path}", json=body, headers={**headers, "Idempotency-Key": "another key"})
    yield client.post(f"/api/v1{HOME}/derived", headers=headers)
    for reason, form in product(({"blinding": "unblinded"}, {"blinding": "unblinded", "reason": "curious"}), (["csv"],)):
        yield client.post(f"/api/v1{HOME}/exports", json={"formats": form, **reason}, headers=headers)


# --- the proof finds a leak -------------------------------------------------------------------------------------------------


def _leaks(twins: Twins, *rules: str, person: tuple[str, str] = ("trial-manager", "")) -> list[str]:
    asked = walk.in_turn(twins, [address for address in walk.addresses(twins) if address.rule.startswith(rules)], 0, MOST)
    assert asked
    return differences(twins, person, asked)


def test_somebody_who_sees_the_arm_is_given_something_else(twins: Twins) -> None:
    assert _leaks(twins, "participants.one", person=("unblinded-data-manager", ""))
    assert _leaks(twins, "forms.show", person=("surgeon", "S01"))


def test_a_leak_of_a_page_is_found(twins: Twins) -> None:
    """The arm in a word, in the order of a list, in its length, in a header, and in whether there is something."""
    inbox: Callable[..., Any] = notices.inbox
    told = {world.instance.settings.folder: _arms(world) for world in twins.worlds}

    def leaking(unit: Any) -> Any:
        folder = Path(unit.session.get_bind().url.database).parent
        found = inbox(unit)
        return found[: len(found) - (told[folder][twins.different] - 1)]

    assert _leaks(twins, "api_notices.inbox", "notices.inbox") == []
    with patch.object(notices, "inbox", leaking):
        assert len(_leaks(twins, "api_notices.inbox", "notices.inbox")) == 2


def _arms(world: World) -> dict[str, int]:
    return dict(world.read("statistician-unblinded", lambda unit: allocations.all_arms(unit, world.protocol)))


def test_a_route_for_which_no_values_are_known_is_an_error(twins: Twins) -> None:
    app = app_of(twins.worlds[0])
    before = app.url_map
    app.url_map = before.__class__([rule.empty() for rule in before.iter_rules()], converters=before.converters)
    app.url_map.add(before.iter_rules().__next__().__class__("/trials/<trial>/arms/<hand>", endpoint="arms.one", methods=["GET"]))
    with patch.object(walk, "app_of", lambda world: app), pytest.raises(LookupError, match="'hand'"):
        list(walk.addresses(twins))
    app.url_map = before


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
    found = re.search(r'name="csrf_token" value="([^"]*)"', client.get(HOME).get_data(as_text=True))
    assert found
    return found.group(1)
