"""Malformed requests of every kind, always the same ones: `python -m tests.hostile 10000` sends so many of each.

Whatever is sent: no answer is a fault of the program or shows one, nothing is written unless the answer says so, and no private
route opens to somebody who has not signed in.
"""

import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from flask import Flask, request, request_finished
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from tests import builders
from tests.builders import PASSWORD, TRIAL, World
from tests.conftest import furnished
from tests.doors import app_of
from trialdm.services import people, sessions, tokens
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import Table

#: What an answer never shows.
LEAKS = re.compile(
    r'Traceback \(most recent|File "/|sqlalchemy|psycopg|sqlite3\.|werkzeug\.|jinja2\.|\b(Key|Value|Type|Attribute|Unicode\w+)Error\b'
)

#: Tables in which something may stand after a refusal: the trail of it, and what counts attempts.
ATTEMPTS = {"audit_event", "audit_value", "sign_in_failure", "spent", "web_session", "theatre_check"}

#: Answers of pages and API that say that something was done.
DONE = range(200, 400)

TEXTS = (
    "\ud800",
    "\udfff x",
    "\x00",
    "a\x00b",
    "\x1b[31m",
    "\u202eabc",
    "a" * 100_000,
    "1" * 5000,
    "-1",
    "0",
    "²",
    "٣٤",
    "１２",
    "1e309",
    "NaN",
    "Infinity",
    "-Infinity",
    str(2**63),
    str(2**70),
    "-" + str(2**64),
    "0x10",
    "1_000",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "2026-02-30",
    "2026-02-29T25:61",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00+14:00",
    "24:00",
    "٢٠٢٦-٠١-٠١",
    "'; DROP TABLE account;--",
    '" OR 1=1 --',
    "{{7*7}}",
    "${7*7}",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "..\\..\\",
    "%00",
    "%s%n",
    "\r\nSet-Cookie: a=b",
    "",
    " ",
    "\ufeff",
    "null",
    "true",
    "[]",
    "{}",
    "=cmd|' /C calc'!A0",
    "\u0130\u0131\u017f\u212a",
    "é\u0301" * 50,
)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**63,
    2**64,
    -(2**70),
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    1.5,
    [],
    [None],
    [[[]]],
    {},
    {"": ""},
    {"a": {"b": []}},
    ["\ud800"],
    list(range(2000)),
)
TYPES = (
    "application/json",
    "text/plain",
    "application/xml",
    "",
    "application/json; charset=utf-16",
    "multipart/form-data",
    "\x01",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=" + "b" * 500,
)


def as_written(client: FlaskClient, method: str, path: str, **more: Any) -> TestResponse:
    """A request with its path and query as they stand, byte for byte."""
    raw, _, query = path.partition("?")
    given = {"PATH_INFO": unquote_to_bytes(raw).decode("latin-1"), "QUERY_STRING": query.encode().decode("latin-1")}
    return client.open("/", method=method, environ_overrides={**given, "REQUEST_URI": path, "RAW_URI": path}, **more)


def routes(app: Flask) -> list[Rule]:
    """The routes, always in the same order, without those that would leave a battery outside or without its people."""
    return [rule for rule in sorted(app.url_map.iter_rules(), key=lambda one: (one.rule, one.endpoint)) if rule.endpoint not in _LEAVING]


@dataclass
class Battery:
    """The doors of one world, knocked at with whatever comes."""

    world: World
    ident: str
    seed: int = 1
    found: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.app: Flask = app_of(self.world)
        self.rules = routes(self.app)
        self.browsers = [self._browser(role) for role in ("trial-manager", "research-nurse", "principal-investigator")]
        self.programs = [self._program(role) for role in ("trial-manager", "research-nurse", "data-manager")]
        self.counts = self._counts()

    def _browser(self, role: str) -> tuple[FlaskClient, str]:
        client = self.app.test_client()
        secret = self.world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, self.world.actor(role).email, PASSWORD))
        client.set_cookie("trialdm", secret or "")
        token = re.search(r'name="csrf_token" value="([^"]*)"', client.get(f"/trials/{TRIAL}").get_data(as_text=True))
        assert token
        return client, token.group(1)

    def _program(self, role: str) -> dict[str, str]:
        actor = self.world.actor(role)
        return {
            "Authorization": "Bearer " + self.world.run(role, lambda unit: tokens.create(unit, people.by_email(unit, actor.email), "b"))
        }

    def _counts(self) -> list[int]:
        names = [name for name in Table.metadata.tables if name not in ATTEMPTS]
        counted = " UNION ALL ".join(f'SELECT count(*) FROM "{name}"' for name in names)
        with self.world.instance.engine.connect() as connection:
            return list(connection.scalars(text(counted)))

    def run(self, kind: str, count: int) -> None:
        """Send so many requests of a kind."""
        make: Callable[[], tuple[FlaskClient, str, str, dict[str, Any]]] = getattr(self, f"_{kind}")
        for number in range(count):
            client, method, path, more = make()
            self._look(kind, number, method, path, as_written(client, method, path, **more))

    def _look(self, kind: str, number: int, method: str, path: str, answer: TestResponse) -> None:
        self.answers[answer.status_code] += 1
        shown = answer.get_data()[:20_000].decode("utf-8", "replace") if answer.mimetype != "application/zip" else ""
        answer.close()
        now = self._counts() if method not in ("GET", "HEAD", "OPTIONS") else self.counts
        where = f"{kind} {number}: {answer.status_code} {method} {path[:160]!r}"
        if answer.status_code >= 500:
            self.found.append(where)
        elif LEAKS.search(shown):
            self.found.append(f"{where} shows {LEAKS.search(shown)}")
        elif now != self.counts and answer.status_code not in DONE:
            self.found.append(f"{where} wrote something")
        self.counts = now

    # --- what is sent ------------------------------------------------------------------------------------------------

    def _address(self, *methods: str, api: bool | None = None) -> tuple[str, str]:
        """A route, with values that exist, or something else in the place of one of them."""
        rules = [r for r in self.rules if {*methods} & (r.methods or set()) and api in (None, r.rule.startswith("/api/"))]
        rule = self.rng.choice(rules)
        method = self.rng.choice(sorted({*methods} & (rule.methods or set())))
        broken = self.rng.random() < 0.15

        def value(match: re.Match[str]) -> str:
            given = quote(self._text()[:300], safe="", errors="surrogatepass") if broken and self.rng.random() < 0.5 else ""
            name = match[0].strip("<>").rpartition(":")[2]
            return given or self.rng.choice(_GOOD.get(name, ("none", "1"))).replace("IDENT", self.ident)

        return method, re.sub(r"<[^>]+>", value, rule.rule)

    def _text(self) -> str:
        return self.rng.choice(TEXTS)

    def _form(self) -> tuple[FlaskClient, str, str, dict[str, Any]]:
        """A form of a page: fields that exist or not, once or more often, as a form or as something else."""
        method, path = self._address("POST", api=False)
        client, csrf = self.rng.choice(self.browsers)
        sent: list[tuple[str, str]] = [("csrf_token", csrf)] if self.rng.random() < 0.95 else [("csrf_token", self._text())]
        sent += [(self.rng.choice(_FIELDS), self._field()) for _ in range(self.rng.randint(0, 12))]
        body = "&".join(f"{quote(name)}={quote(value, errors='surrogatepass')}" for name, value in sent).encode()
        if self.rng.random() < 0.1:
            body += self.rng.choice((b"&x=%ff%fe", b"&%00=1", b"\xff\xfe", b"&" * 6000, b"&=&;", b"&x=%", b"&" + b"x=1&" * 5200))
        kind = "application/x-www-form-urlencoded" if self.rng.random() < 0.95 else self.rng.choice(TYPES)
        headers = {"X-CSRF-Token": csrf} if self.rng.random() < 0.3 else {}
        return client, method, path, {"data": body, "content_type": kind, "headers": headers}

    def _field(self) -> str:
        return self.rng.choice(("1", "2026-03-10", "complete", "S01", "x", self.ident)) if self.rng.random() < 0.4 else self._text()

    def _json(self) -> tuple[FlaskClient, str, str, dict[str, Any]]:
        """A request of the API: fields of its schema with values of any kind, unknown ones, too deep, double, or no JSON."""
        method, path = self._address("POST", "PUT", "PATCH", "DELETE", api=True)
        names = self.rng.sample(_API_FIELDS, self.rng.randint(0, 8))
        content: Any = {name: self.rng.choice(VALUES) if self.rng.random() < 0.6 else self._plausible(name) for name in names}
        body = json.dumps(content).encode()
        if self.rng.random() < 0.25:
            body = self.rng.choice(_BODIES)
        kind = "application/json" if self.rng.random() < 0.92 else self.rng.choice(TYPES)
        headers = {**self.rng.choice(self.programs), "Idempotency-Key": self.rng.choice(("a", "b", "x" * 5000, "é", ""))}
        if self.rng.random() < 0.5:
            headers["If-Match"] = self.rng.choice(('"1"', '"0"', "*", '"' + "9" * 5000 + '"', 'W/"1"', "x", '"²"', '"-1"'))
        return self.app.test_client(use_cookies=False), method, path, {"data": body, "content_type": kind, "headers": headers}

    def _plausible(self, name: str) -> Any:
        if name in ("answers", "missing", "notes"):
            return {self.rng.choice(_ITEMS): self.rng.choice(VALUES) for _ in range(self.rng.randint(0, 6))}
        return self.rng.choice(("S01", "2026-03-10", 1, True, self.ident, "A reason that says something", ["csv"]))

    def _query(self) -> tuple[FlaskClient, str, str, dict[str, Any]]:
        """A question with values of any kind in its query string."""
        method, path = self._address("GET")
        names = self.rng.sample(_QUERIES, self.rng.randint(1, 4))
        parts = [f"{name}={quote(self._text(), errors='surrogatepass')[:20_000]}" for name in names]
        parts += self.rng.choice(
            ([], ["%"], ["=&;&=", "a[]=1"], ["page=1", "page=2"], ["%ff=%fe"], ["next=//evil.example", "next=/\\evil.example"])
        )
        headers = self.rng.choice(self.programs) if path.startswith("/api/") else {}
        client = self.app.test_client(use_cookies=False) if headers else self.rng.choice(self.browsers)[0]
        return client, method, f"{path}?{'&'.join(parts)}", {"headers": headers}

    def _path(self) -> tuple[FlaskClient, str, str, dict[str, Any]]:
        """A path that is encoded otherwise, another method, and headers, tokens and cookies that are forged or too long."""
        _, path = self._address("GET", "POST")
        method = self.rng.choice(("GET", "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "X" * 200))
        headers = dict(self.rng.choice(_HEADERS))
        client = self.rng.choice(self.browsers)[0] if not headers else self.app.test_client(use_cookies=False)
        return client, method, self.rng.choice(list(encodings(path, self.rng, 4))), {"headers": headers}


#: Routes that a battery does not take, for it would be left outside or without its people.
_LEAVING = {"sign_in.sign_out", "account.end_others", "account.end_session", "account.password", "accounts.close", "accounts.end_role"}

_GOOD = {
    "trial": (TRIAL,),
    "participant": ("IDENT",),
    "visit": ("V01", "V02", "EV"),
    "form": ("CLIN", "PAIN", "SURG", "DEVI", "CONS"),
    "row": ("1", "2"),
    "site": ("S01",),
    "event": ("open", "pause", "activate"),
    "scope": ("trial", "site"),
    "number": ("1",),
}
_ITEMS = ("limb", "side", "asa", "abpi", "limb_worst", "con_dtm", "con_pis_date", "dv_date", "dv_type", "surg_date", "surg_level", "none")
_FIELDS = [
    *_ITEMS,
    *(f"missing.{item}" for item in _ITEMS[:4]),
    "version",
    "definition",
    "typist",
    "save",
    "confirm",
    "reason_code",
    "reason_text",
    "reason",
    "key",
    "day",
    "date",
    "on",
    "start",
    "end",
    "decided_on",
    "site",
    "role",
    "email",
    "name",
    "password",
    "code",
    "kind",
    "status",
    "number",
    "seen",
    "text",
    "answer",
    "response",
    "item",
    "participant",
    "visit",
    "form",
    "row",
    "formats",
    "blinding",
    "as_of",
    "layout",
    "tasks",
    "account",
    "label",
    "days",
    "scopes",
    "side",
    "level",
    "seconds",
    "repeats",
    "recruits",
    "seed",
    "month",
    "event",
    "file",
    "note.X",
    "1.dv_type",
    "2.dv_date",
    "unknown",
]
_QUERIES = [
    "page",
    "sort",
    "order",
    "month",
    "site",
    "form",
    "visit",
    "item",
    "participant",
    "action",
    "state",
    "since",
    "until",
    "from",
    "to",
    "as_of",
    "limit",
    "offset",
    "q",
    "on",
    "next",
    "done",
    "row",
    "kind",
    "look",
    "alerts",
    "scheme",
    "day",
    "field",
    "role",
    "seq",
    "unknown",
]
_API_FIELDS = [
    "answers",
    "missing",
    "complete",
    "reason",
    "confirm",
    "notes",
    "version",
    "definition",
    "site",
    "given",
    "identity",
    "later",
    "different",
    "code",
    "drill",
    "kind",
    "status",
    "decided_on",
    "effective_from",
    "effective_to",
    "reference",
    "nations",
    "conditions",
    "event",
    "scope",
    "ident",
    "password",
    "formats",
    "blinding",
    "layout",
    "as_of",
    "visit",
    "form",
    "row",
    "item",
    "participant",
    "text",
    "response",
    "items",
    "seen",
    "day",
    "date",
    "file",
    "content",
    "name",
    "agree",
    "side",
    "limb",
    "level",
    "forms",
    "number",
    "csv",
    "unknown",
    "__class__",
]
_BODIES = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"NaN",
    b'{"a": NaN}',
    b'{"reason": 1e999}',
    b'{"reason": "a", "reason": "b"}',
    b'{"answers": {"a": 1, "a": 2}}',
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"answers": ' * 900 + b"{}" + b"}" * 900,
    b'{"reason": "\xff\xfe"}',
    b"\x00",
    b"\xef\xbb\xbf{}",
    b'{"reason": "\\ud800"}',
    b'{"\\ud800": 1}',
    b'{"answers": {"limb": ' + b"9" * 5000 + b"}}",
    b'"' + b"a" * 1_000_000 + b'"',
    b'{"row": 1e400}',
    b'{"answers": {"\\u0000": "\\u0000"}}',
    "{}".encode("utf-16"),
    b"<a/>",
    b"a=1&b=2",
)
_HEADERS: tuple[dict[str, str], ...] = (
    {},
    {},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer " + "x" * 60_000},
    {"Authorization": "Bearer trialdm_forged"},
    {"Authorization": "Basic !!!"},
    {"Authorization": "Basic " + "QQ==" * 5000},
    {"Authorization": "Basic w4M6w4M="},
    {"Authorization": "Bearer é"},
    {"Authorization": "Digest username=x"},
    {"Cookie": "trialdm=" + "x" * 60_000},
    {"Cookie": "trialdm=é; trialdm=\x01"},
    {"Cookie": "=;=;trialdm"},
    {"Cookie": "trialdm=forged; trialdm-visit=\xff"},
    {"Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://[::1"},
    {"Referer": "http://[bad"},
    {"Host": "evil.example"},
    {"Host": "[::1"},
    {"Host": "a b"},
    {"X-Forwarded-For": "x" * 9000},
    {"Accept": "q=é;,,,"},
    {"Accept-Language": "x" * 9000},
    {"If-None-Match": '"' * 500},
    {"If-Match": "W/" * 500},
    {"Range": "bytes=9-1,,,-"},
    {"Content-Length": "-1"},
    {"Content-Length": "x"},
    {"Transfer-Encoding": "chunked"},
    {"If-Modified-Since": "never"},
    {"X-Requested-With": "\x7f"},
)


# --- the same path, written otherwise ------------------------------------------------------------------------------------------

PREFIXES = (
    "",
    "/sign-in",
    "/help",
    "/help/start",
    "/static",
    "/bootstrap/static",
    "/healthz",
    "/password",
    "/sign-in/second",
    "/api/openapi.json",
)
_JOINTS = (
    "/",
    "/../",
    "//",
    "/./",
    "/..%2f",
    "/%2e%2e/",
    "/%2e%2e%2f",
    "/..;/",
    "/.;/",
    "/%252e%252e/",
    "/%252e%252e%252f",
    "/..%252f",
    "/%c0%ae%c0%ae/",
    "/%c0%af",
    "/%00/",
    "%00",
    "/..%5c",
    "\\..\\",
    "/..%c1%9c",
    ";/",
    ";a=b/",
    "?/",
    "%3f/",
    "%23/",
    "/%e0%80%af",
    "/%2f",
    "/..%00/",
    "/.%2e/",
    "/%u002e",
)


def _every_character(path: str) -> str:
    return "".join(f"%{byte:02x}" for byte in path.encode())


_WRITTEN: tuple[Callable[[str], str], ...] = (
    lambda p: p,
    lambda p: p.replace("/", "%2f"),
    lambda p: p.replace("/", "%252f"),
    lambda p: p.replace("/", "//"),
    lambda p: p.replace("/", "/./"),
    lambda p: p.replace("/", "%c0%af"),
    lambda p: p.replace("/", "\\"),
    lambda p: "/" + _every_character(p[1:]),
    lambda p: "/" + quote(_every_character(p[1:])),
    lambda p: p.upper(),
    lambda p: p.title(),
    lambda p: p + "/",
    lambda p: p + "%00",
    lambda p: p + ";jsessionid=1",
    lambda p: p + "%20",
    lambda p: p + "/.",
    lambda p: p + "%3f",
    lambda p: p + ".css",
    lambda p: p + "/static/x.css",
    lambda p: p.replace("a", "%61", 1),
    lambda p: p.replace("a", "%2561", 1),
    lambda p: p.replace("a", "\u0251", 1),
)


def encodings(path: str, rng: random.Random, count: int) -> Iterator[str]:
    """The path under public prefixes, joined and written in so many ways."""
    for _ in range(count):
        prefix = rng.choice(PREFIXES)
        yield (prefix + rng.choice(_JOINTS) if prefix else "/").rstrip("/") + rng.choice(_WRITTEN)(path)


def public(endpoint: str) -> bool:
    """Whether a route is there for everybody."""
    return endpoint.startswith(("static", "bootstrap.", "guide.", "sign_in.", "healthz", "readyz", "api-docs."))


def opened(world: World, ident: str, count: int, seed: int = 1) -> list[str]:
    """Private routes that somebody who has not signed in comes to by one of so many encodings of each."""
    app, rng = app_of(world), random.Random(seed)
    client, found, at = app.test_client(use_cookies=False), [], [""]

    def note(_app: Flask, **_more: Any) -> None:
        at[0] = request.endpoint or ""

    with request_finished.connected_to(note, app):
        for rule in routes(app):
            if public(rule.endpoint):
                continue
            path = re.sub(
                r"<[^>]+>", lambda m: _GOOD.get(m[0].strip("<>").rpartition(":")[2], ("1",))[0].replace("IDENT", ident), rule.rule
            )
            for written in (path, *encodings(path, rng, count)):
                answer = as_written(client, "GET", written)
                if answer.status_code >= 500 or (answer.status_code < 300 and at[0] and not public(at[0])):
                    found.append(f"{answer.status_code} {at[0]} {written}")
                answer.close()
    return found


KINDS = ("form", "json", "query", "path")


def main(count: int) -> int:
    """Send so many requests of each kind, and half as many encodings of each private route; gives 1 if anything was found."""
    with tempfile.TemporaryDirectory() as folder:
        world = furnished(Path(folder) / "template").world
        ident = builders.randomised(world)
        battery = Battery(world, ident)
        for kind in KINDS:
            battery.run(kind, count)
            sys.stdout.write(f"{kind}: {count} requests; answers so far {dict(sorted(battery.answers.items()))}\n")
            sys.stdout.flush()
        found = [*battery.found, *opened(world, ident, count // 2)]
        sys.stdout.writelines(f"{line}\n" for line in found)
        sys.stdout.write(f"{len(found)} faults\n")
        return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
