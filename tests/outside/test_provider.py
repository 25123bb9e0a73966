"""OpenID Connect: a whole way to a real provider and back, and a pack of tokens that are each wrong in one thing."""

import base64
import hashlib
import hmac
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from tests import builders
from tests.api.test_concealment import browser
from tests.api.test_signing_in import sent
from tests.builders import TRIAL, World
from tests.doors import app_of
from trialdm.domain.errors import Forbidden, TrialError
from trialdm.door import provider
from trialdm.services import outside, people
from trialdm.services.unit import SYSTEM
from trialdm.settings import Oidc

HERE = Path(__file__).parent
ENTRY = Path("node_modules/oidc-provider/lib/index.js")
BACK = "http://localhost/sign-in/outside/back"
SECRET = "a secret of this test only, long enough"
HOME = f"/trials/{TRIAL}"


# --- tokens ----------------------------------------------------------------------------------------------------------

NOW = 1_800_000_000
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})
KEYS = KeySet([RSAKey.import_key(KEY.as_dict(private=False))])
OIDC = Oidc("https://login.example", "trialdm", SECRET, "Example", ("strong",))
ACCESS = "an access token"
RIGHT = {"iss": OIDC.issuer, "aud": OIDC.client_id, "sub": "s-1", "nonce": "n", "iat": NOW, "exp": NOW + 300}


def half(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()


def token(claims: dict[str, Any] | None = None, *, without: str = "", key: Any = KEY, **header: Any) -> str:
    said = {name: value for name, value in {**RIGHT, **(claims or {})}.items() if name != without}
    about = {"alg": "RS256", "kid": "one", **header}
    return jwt.encode(about, said, key, algorithms=[about["alg"]])


def unsigned(claims: dict[str, Any]) -> str:
    parts = (json.dumps({"alg": "none"}), json.dumps(claims))
    return ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts) + "."


def by_hand(header: dict[str, str], key: bytes) -> str:
    """A token with a keyed hash in place of a signature, as no library would make it."""
    said = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, RIGHT))
    return f"{said}.{base64.urlsafe_b64encode(hmac.digest(key, said.encode(), 'sha256')).rstrip(b'=').decode()}"


def twice() -> str:
    """A signed token in which a name stands twice."""
    header, _, _ = token().split(".")
    text = json.dumps(RIGHT)[:-1] + ', "sub": "somebody else"}'
    body = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    made = KEY.raw_value.sign(f"{header}.{body}".encode(), PKCS1v15(), hashes.SHA256())
    return f"{header}.{body}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


WRONG: dict[str, Callable[[], Any]] = {
    "no algorithm": lambda: unsigned(RIGHT),
    "the public key as a shared secret": lambda: by_hand({"alg": "HS256", "kid": "one"}, KEY.as_pem(private=False)),
    "the client's secret as a key": lambda: token(key=OctKey.import_key(SECRET), alg="HS256"),
    "another key of the same name": lambda: token(key=OTHER),
    "another issuer": lambda: token({"iss": "https://login.example.evil"}),
    "another audience": lambda: token({"aud": "somebody"}),
    "several audiences and no party": lambda: token({"aud": [OIDC.client_id, "somebody"]}),
    "another party": lambda: token({"azp": "somebody"}),
    "another nonce": lambda: token({"nonce": "x"}),
    "no nonce": lambda: token(without="nonce"),
    "no nonce, and the provider says that it knows none": lambda: token({"nonce_supported": False}, without="nonce"),
    "expired": lambda: token({"iat": NOW - 900, "exp": NOW - 600}),
    "without an end": lambda: token(without="exp"),
    "from the future": lambda: token({"iat": NOW + 600, "exp": NOW + 900}),
    "no subject": lambda: token(without="sub"),
    "an empty subject": lambda: token({"sub": ""}),
    "a subject that is a number": lambda: token({"sub": 7}),
    "a very long subject": lambda: token({"sub": "x" * 300}),
    "a hash of another access token": lambda: token({"at_hash": half("another")}),
    "a name that stands twice": twice,
    "a key named by a path": lambda: token(key=OTHER, kid="../../../dev/null"),
    "a token beyond measure": lambda: token({"x": "y" * 20_000}),
    "a changed payload": lambda: ".".join(part.split(".")[n] for n, part in enumerate((token(), token({"sub": "s-2"}), token()))),
    "not a token": lambda: "x.y.z",
    "nothing": lambda: "",
    "no text": lambda: 7,
}


def judge(found: Any) -> provider.Person:
    return provider.judge(found, ACCESS, KEYS, OIDC, "n", NOW)


@pytest.mark.parametrize("name", WRONG)
def test_a_token_that_is_wrong_in_one_thing_signs_nobody_in(name: str) -> None:
    made = WRONG[name]()
    with pytest.raises(Forbidden) as refused:
        judge(made)
    assert refused.value.code == "AUTH.OUTSIDE"


@pytest.mark.parametrize(
    ("claims", "strong"),
    [
        ({}, False),
        ({"acr": "weak"}, False),
        ({"acr": "strong"}, True),
        ({"aud": [OIDC.client_id]}, False),
        ({"aud": [OIDC.client_id, "other"], "azp": OIDC.client_id}, False),
        ({"at_hash": half(ACCESS)}, False),
        ({"iat": NOW + 30}, False),
    ],
)
def test_a_right_token_names_somebody(claims: dict[str, Any], strong: bool) -> None:
    assert judge(token(claims)) == provider.Person(OIDC.issuer, "s-1", strong)


@pytest.mark.parametrize("issuer", ["http://login.example", "ftp://127.0.0.1", "http://127.0.0.1.evil.example"])
def test_a_provider_is_reached_over_https_or_on_this_machine_only(issuer: str) -> None:
    with pytest.raises(TrialError, match="HTTPS"):
        provider.begin(replace(OIDC, issuer=issuer), BACK)


# --- the whole way ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider that runs while these tests do."""
    node, folder = shutil.which("node"), Path(os.environ.get("TRIALDM_OIDC") or HERE.parents[1] / ".oidc")
    if node is None or not (folder / ENTRY).is_file():
        pytest.skip("no OpenID Connect provider is installed: npm install --prefix .oidc oidc-provider@9")
    words = [node, str(HERE / "provider.mjs"), str(folder / ENTRY), "trialdm", SECRET, BACK, "urn:strong"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=10)


@pytest.fixture
def linked(sqlite_world: World, issuer: str) -> World:
    """The furnished instance beside that provider; nobody is linked yet."""
    oidc = Oidc(issuer, "trialdm", SECRET, "Example login", ("urn:strong",))
    settings = replace(sqlite_world.instance.settings, oidc=oidc)
    sqlite_world.now = datetime.now(UTC)  # which is what the provider goes by
    return replace(sqlite_world, instance=replace(sqlite_world.instance, settings=settings))


def travel(client: FlaskClient, login: str, start: str = "/sign-in/outside") -> str:
    """Leave for the provider, sign in and consent there as a browser does, and give the address that it sends back to."""
    page = client.get("/account")
    page = page if page.status_code == 200 else client.get("/sign-in")
    token_field = re.search(r'name="csrf_token" value="([^"]*)"', page.get_data(as_text=True))
    assert token_field
    left = client.post(start, data={"csrf_token": token_field.group(1)}).get_data(as_text=True)
    found = re.search(r'<a href="([^"]+)">go on', left)
    assert found
    with requests.Session() as there:
        at = there.get(html.unescape(found.group(1)), allow_redirects=False)
        while True:
            where = at.headers.get("Location", "")
            if where.startswith(BACK):
                return where
            if where:
                at = there.get(requests.compat.urljoin(at.url, where), allow_redirects=False)
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"', at.text)
            assert form, at.text[:400]
            prompt = re.search(r'name="prompt" value="(\w+)"', at.text)
            fields = {"prompt": prompt.group(1) if prompt else "", "login": login, "password": "x"}
            at = there.post(requests.compat.urljoin(at.url, html.unescape(form.group(1))), data=fields, allow_redirects=False)


def local(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def test_somebody_links_their_account_and_signs_in_from_there(linked: World) -> None:
    nurse = browser(linked, "research-nurse")
    assert nurse.get(local(travel(nurse, "person-7"))).location == "/account?done=linked"
    assert "Example login, linked" in nurse.get("/account").get_data(as_text=True)

    fresh = app_of(linked).test_client()
    assert fresh.get(local(travel(fresh, "person-7"))).status_code == 303
    assert fresh.get(HOME).status_code == 200
    assert linked.actor("research-nurse").name in fresh.get(HOME).get_data(as_text=True)

    unknown = app_of(linked).test_client()
    answer = unknown.get(local(travel(unknown, linked.actor("research-nurse").email)))
    assert answer.status_code == 422, "an e-mail address links nobody"
    assert unknown.get(HOME).status_code == 302

    other = browser(linked, "monitor")
    assert other.get(local(travel(other, "person-7"))).status_code == 409, "one person there is one account here"


def test_the_way_back_is_good_once_and_for_the_browser_that_left(linked: World) -> None:
    nurse = browser(linked, "research-nurse")
    assert nurse.get(local(travel(nurse, "person-8"))).status_code == 303
    client, thief = app_of(linked).test_client(), app_of(linked).test_client()
    back = local(travel(client, "person-8"))
    assert thief.get(back).status_code == 403
    state = parse_qs(urlsplit(back).query)["state"][0]
    assert client.get(back.replace(state, state[::-1])).status_code == 403
    assert client.get(back).status_code == 303
    assert client.get(back).status_code == 403, "not twice"


def test_our_own_second_factor_is_asked_for_where_the_provider_asked_for_none(linked: World) -> None:
    nurse = browser(linked, "research-nurse")
    nurse.get(local(travel(nurse, "person-9")))
    settings = replace(linked.instance.settings, second_factor=True)
    strict = replace(linked, instance=replace(linked.instance, settings=settings))
    client = app_of(strict).test_client()
    page = client.get(local(travel(client, "person-9"))).get_data(as_text=True)
    assert "Set up a second factor" in page
    assert client.get(HOME).status_code == 302


def test_a_link_ends(linked: World) -> None:
    nurse = browser(linked, "research-nurse")
    nurse.get(local(travel(nurse, "person-10")))
    ending = re.search(r"/account/links/[0-9a-f]+/end", nurse.get("/account").get_data(as_text=True))
    assert ending
    token_field = re.search(r'name="csrf_token" value="([^"]*)"', nurse.get("/account").get_data(as_text=True))
    assert token_field
    assert nurse.post(ending.group(0), data={"csrf_token": token_field.group(1)}).status_code == 303
    client = app_of(linked).test_client()
    assert client.get(local(travel(client, "person-10"))).status_code == 422


def test_a_closed_account_is_not_signed_in_from_elsewhere(sqlite_world: World) -> None:
    world = sqlite_world
    world.run("monitor", lambda unit: outside.link(unit, "https://login.example", "s-1"))

    def sign_in() -> str | None:
        about = {"strong": True, "second_needed": True}
        return world.units.run(SYSTEM, lambda unit: outside.sign_in(unit, "https://login.example", "s-1", **about))

    assert sign_in()
    world.run("system-administrator", lambda unit: people.close(unit, people.by_email(unit, world.actor("monitor").email), "left"))
    assert sign_in() is None


def test_an_instance_that_knows_no_provider_says_so(sqlite_world: World) -> None:
    client = app_of(sqlite_world).test_client()
    assert sent(client, "/sign-in", email=builders.email("monitor", ""), password="x" * 12).status_code == 422
    page = client.get("/sign-in").get_data(as_text=True)
    assert "/sign-in/outside" not in page
    field = re.search(r'name="csrf_token" value="([^"]*)"', page)
    assert field
    assert client.post("/sign-in/outside", data={"csrf_token": field.group(1)}).status_code == 404
