"""Signing in by somebody else's door: the talk with an OpenID Connect provider (authorisation code, PKCE, state, nonce).

The code is exchanged by Authlib; what the provider says of the person is judged here, by joserfc with a fixed list of algorithms and every
claim looked at. Whoever the provider names is known by issuer and subject, never by e-mail address. No use case is in this room.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from trialdm.domain.errors import Broken, Forbidden
from trialdm.settings import Oidc

#: No algorithm without a key, and none with a shared one: a public key is no secret.
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")

_PATIENCE_SECONDS = 10
_LEEWAY_SECONDS = 60
_LONGEST_TOKEN = 16_384
_LONGEST_SUBJECT = 255


@dataclass(frozen=True)
class Begun:
    """A way to the provider: its address, and what the way back has to answer to."""

    address: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Person:
    """Whom the provider named; `strong` says that it asked for a second factor, by one of the classes of the settings."""

    issuer: str
    subject: str
    strong: bool


def begin(oidc: Oidc, back: str) -> Begun:
    """Where the browser is sent. Raises Broken where the provider does not answer."""
    verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    asked = {"acr_values": " ".join(oidc.acr)} if oidc.acr else {}
    with _client(oidc, back) as client:
        address, state = client.create_authorization_url(
            _about(oidc.issuer)["authorization_endpoint"], state=secrets.token_urlsafe(24), code_verifier=verifier, nonce=nonce, **asked
        )
    return Begun(address, state, nonce, verifier)


def finish(oidc: Oidc, back: str, arrived: str, begun: Begun, now: int) -> Person:
    """Whom the provider named, by the address that the browser came back with. Raises Forbidden for anything that is not as it must be."""
    about = _about(oidc.issuer)
    try:
        with _client(oidc, back) as client:
            found = client.fetch_token(
                about["token_endpoint"],
                authorization_response=arrived,
                state=begun.state,
                code_verifier=begun.verifier,
                timeout=_PATIENCE_SECONDS,
            )
    except (AuthlibBaseError, requests.RequestException, ValueError):
        raise _refused("the code was not accepted") from None
    keys = KeySet.import_key_set(_fetched(about["jwks_uri"]))
    return judge(found.get("id_token", ""), found.get("access_token", ""), keys, oidc, begun.nonce, now)


def _client(oidc: Oidc, back: str) -> OAuth2Session:
    return OAuth2Session(oidc.client_id, oidc.client_secret, scope="openid", redirect_uri=back, code_challenge_method="S256")


def judge(token: Any, access: str, keys: KeySet, oidc: Oidc, nonce: str, now: int) -> Person:
    """What an ID token says, where everything in it is as it must be (OpenID Connect Core 3.1.3.7). Raises Forbidden."""
    if not isinstance(token, str) or not 0 < len(token) <= _LONGEST_TOKEN:
        raise _refused("there is no token of a reasonable length")
    try:
        found = jwt.decode(token, keys, algorithms=list(ALGORITHMS), decoder_cls=_NoDuplicates)
        needed = {"essential": True, "allow_blank": False}
        claims = jwt.JWTClaimsRegistry(
            now=now,
            leeway=_LEEWAY_SECONDS,
            iss={**needed, "value": oidc.issuer},
            aud={**needed, "value": oidc.client_id},
            nonce={**needed, "value": nonce},
            sub=needed,
            exp={"essential": True},
            iat={"essential": True},
        )
        claims.validate(found.claims)
    except (JoseError, ValueError, TypeError):
        raise _refused("the token is not as it must be") from None
    said = found.claims
    several = isinstance(said["aud"], list) and len(said["aud"]) > 1
    if said.get("azp", None if several else oidc.client_id) != oidc.client_id:
        raise _refused("the token is for somebody else")
    if said["iat"] > now + _LEEWAY_SECONDS:
        raise _refused("the token is from the future")
    if "at_hash" in said and not hmac.compare_digest(str(said["at_hash"]).encode(), _half_hash(access, found.header["alg"])):
        raise _refused("the token does not belong to its access token")
    if len(said["sub"]) > _LONGEST_SUBJECT:
        raise _refused("the subject is too long")
    return Person(said["iss"], said["sub"], said.get("acr") in oidc.acr)


class _NoDuplicates(json.JSONDecoder):
    """JSON in which no name stands twice: two readers would see two tokens."""

    def __init__(self, **about: Any) -> None:
        super().__init__(**{**about, "object_pairs_hook": _once})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _half_hash(access: str, algorithm: str) -> bytes:
    """The left half of the hash of an access token, as `at_hash` holds it."""
    digest = hashlib.sha512 if algorithm == "EdDSA" else hashlib.sha256
    found = digest(access.encode()).digest()
    return base64.urlsafe_b64encode(found[: len(found) // 2]).rstrip(b"=")


def _refused(why: str) -> Forbidden:
    return Forbidden(
        f"The other service did not sign you in: {why}.", code="AUTH.OUTSIDE", needs="Try again, or sign in with your password."
    )


@lru_cache(maxsize=4)
def _about(issuer: str) -> Mapping[str, str]:
    """What the provider says of itself; asked once by each process."""
    found = _fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise Broken("The sign-in service calls itself by another name.", code="AUTH.PROVIDER", needs="The right issuer in the settings.")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        _require_safe(str(found.get(name, "")))
    return found


def _fetched(address: str) -> dict[str, Any]:
    _require_safe(address)
    try:
        answer = requests.get(address, timeout=_PATIENCE_SECONDS, allow_redirects=False)
        answer.raise_for_status()
        found = answer.json()
    except (requests.RequestException, ValueError):
        found = None
    if not isinstance(found, dict):
        raise Broken("The other sign-in service does not answer.", code="AUTH.PROVIDER", needs="Sign in with your password, or try later.")
    return found


def _require_safe(address: str) -> None:
    parts = urlsplit(address)
    here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "https" and not here:
        raise Broken(
            "The other sign-in service is not reached over HTTPS.", code="AUTH.PROVIDER", needs="Its https address in the settings."
        )
