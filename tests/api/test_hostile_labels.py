"""Labels, choices, units, titles and names of a definition are hostile input: every page shows them as text, and none runs them."""

import csv
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
import yaml
from flask.testing import FlaskClient

from tests.api.test_concealment import browser
from tests.builders import World
from tests.conftest import Template
from trialdm.documents import tables
from trialdm.services import participants, places, records, studies
from trialdm.services.records import Submission

TRIAL = "hostile"
MARK = "xssmark"

_CALL = f"{MARK}()"
_TAGS = [
    f"<script>{_CALL}</script>",
    f"<ScRiPt>{_CALL}</sCrIpT>",
    f"<script src=//{MARK}.example></script>",
    f"</script><script>{_CALL}</script>",
    f"</title><script>{_CALL}</script>",
    f"</textarea><script>{_CALL}</script>",
    f"</option></select><script>{_CALL}</script>",
    f"--><script>{_CALL}</script>",
    f"]]><script>{_CALL}</script>",
    f"<scr<script>ipt>{_CALL}</scr</script>ipt>",
    f"<template><script>{_CALL}</script></template>",
    f"<noscript><p title='</noscript><script>{_CALL}</script>'>",
    f"<math><mi xlink:href='javascript:{_CALL}'>x",
    f"<base href=javascript:{_CALL}//>",
    f"<object data=javascript:{_CALL}>",
    f"<iframe src=javascript:{_CALL}>",
    f"<iframe srcdoc='<script>{_CALL}</script>'>",
    f"<form action=javascript:{_CALL}><button>x",
    f"<a href='javascript:{_CALL}'>x</a>",
    f"<a href='&#106;avascript:{_CALL}'>x</a>",
    f"<meta http-equiv=refresh content='0;url=javascript:{_CALL}'>",
    f"<link rel=stylesheet href=//{MARK}.example>",
    f"<style>*{{background:url(//{MARK}.example)}}</style>",
    f"<embed src=javascript:{_CALL}>",
]
_ON = [
    f"<{tag} {event}={_CALL}>"
    for tag, event in (
        ("img src=x", "onerror"), ("svg", "onload"), ("body", "onload"), ("details open", "ontoggle"), ("input autofocus", "onfocus"),
        ("video src=x", "onerror"), ("marquee", "onstart"), ("div", "onmouseover"), ("select autofocus", "onfocus"), ("svg/onload", "x"),
    )
]  # fmt: skip
_QUOTES = [
    f"{quote} {event}={_CALL} x={quote}" for quote in ('"', "'", "`", '"><img src=x', "&quot;") for event in ("onmouseover", "onfocus")
]
_SUMS = [
    "{{7331*7}}",
    "${7331*7}",
    "#{7331*7}",
    "<%= 7331*7 %>",
    "{% print(7331*7) %}",
    "{{config}}",
    "{{''.__class__.__mro__}}",
    "%{7331*7}",
]
_SQL = ["'; DROP TABLE account; --", "' OR '1'='1", '"; SELECT pg_sleep(9); --', "1); DELETE FROM participant; --", "') UNION SELECT 1 --"]
_CELLS = ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)"]

PAYLOADS = [*_TAGS, *_ON, *_QUOTES, *_SUMS, *_SQL, *_CELLS]


def definition() -> dict[str, str]:
    """A protocol and a form in which every text that people see is a payload."""
    texts = iter(PAYLOADS * 3)
    arms = [{"code": code, "name": name, "label": next(texts)} for code, name in ((1, "A"), (2, "B"))]
    protocol = {
        "trial": {
            "id": TRIAL,
            "short_title": next(texts),
            "title": next(texts),
            "version": "1.0",
            "study_type": "non-ctimp",
            "origin": "historical",
            "target": {"participants": 9, "months": 1},
        },
        "arms": arms,
        "sites": [{"code": "S01", "name": next(texts), "nation": "ENG"}],
        "visits": [{"code": "V01", "number": 1, "label": next(texts), "kind": "event"}],
        "allocation": {"method": "list"},
    }
    items: list[dict[str, object]] = []
    for number, payload in enumerate(PAYLOADS):
        items += [
            {"section": payload},
            {"name": f"c{number}", "label": payload, "help": next(texts), "type": "code", "codes": {1: payload, 2: "Another"}},
            {"name": f"i{number}", "label": next(texts), "type": "int", "min": 0, "max": 10, "unit": payload[:60]},
            {"name": f"t{number}", "label": next(iter([payload])), "type": "text", "length": 200},
        ]
        texts = iter(PAYLOADS[number:] + PAYLOADS * 3)
    form = {
        "form": "BIG",
        "title": PAYLOADS[0],
        "introduction": PAYLOADS[24],
        "kind": "outcome",
        "visits": {"V01": "required"},
        "items": items,
    }
    return {f"{TRIAL}/protocol.yaml": yaml.safe_dump(protocol), f"{TRIAL}/forms/big.yaml": yaml.safe_dump(form)}


@pytest.fixture(scope="module")
def world(sqlite_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A trial whose labels are payloads, and a participant whose free texts are."""
    found = sqlite_template.copy(tmp_path_factory.mktemp("labels") / "instance")
    found.run("trial-manager", lambda unit: studies.load(unit, definition()))
    ident = found.run("data-manager", lambda unit: participants.add(unit, TRIAL, "S01").id)
    answers = {f"t{number}": payload for number, payload in enumerate(PAYLOADS)} | {f"c{number}": 1 for number in range(len(PAYLOADS))}

    def enter(answers: dict[str, object], reason: str = "", version: int | None = None) -> None:
        found.run(
            "research-nurse",
            lambda unit: records.save(
                unit, places.locate(unit, TRIAL, ident, "V01", "BIG"), Submission(answers, {}, False, reason, version=version)
            ),
        )

    enter(answers)
    yield found
    found.instance.engine.dispose()


class Read(HTMLParser):
    """What of a page would run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[str] = []
        self.links: list[str] = []
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag == "script"
        self.runs += [f"<{tag} {name}={value}>" for name, value in attrs if name.startswith("on") or MARK in name]
        addresses = [
            value or "" for name, value in attrs if name in ("href", "src", "action", "data", "formaction", "xlink:href", "content")
        ]
        self.runs += [f"<{tag} {value}>" for value in addresses if re.match(r"\s*(javascript|vbscript|data:text)", value, re.I)]
        self.runs += [f"<{tag}>" for _ in (1,) if tag in ("iframe", "object", "embed", "base", "marquee", "math", "style")]
        self.links += [value for value in addresses if value.startswith(f"/trials/{TRIAL}")]

    def handle_data(self, data: str) -> None:
        if self._script and MARK in data:
            try:
                json.loads(data)  # a block of data: what ends it is escaped, and it runs nowhere
            except ValueError:
                self.runs.append(f"<script> {data[:80]}")

    def handle_endtag(self, tag: str) -> None:
        self._script = False


def pages(client: FlaskClient) -> dict[str, str]:
    """Every page of the trial that links lead to; of links with a question one of each kind."""
    waiting, found, kinds = [f"/trials/{TRIAL}", "/"], {}, set()
    while waiting:
        path = waiting.pop()
        kind = re.sub(r"=[^&]*", "", path)
        if kind in kinds or ".pdf" in path:
            continue
        kinds.add(kind)
        answer = client.get(path)
        if answer.mimetype == "text/html":
            found[path] = answer.get_data(as_text=True)
            reader = Read()
            reader.feed(found[path])
            waiting += reader.links
        answer.close()
    return found


@pytest.mark.parametrize("role", ["trial-manager", "research-nurse"])
def test_every_page_shows_hostile_labels_as_text(world: World, role: str) -> None:
    found = pages(browser(world, role))
    assert any("/forms/BIG" in path for path in found)
    assert sum(MARK in page for page in found.values()) > 3
    for path, page in found.items():
        reader = Read()
        reader.feed(page)
        assert reader.runs == [], path
        assert "51317" not in page, path
        assert "SECRET_KEY" not in page, path


def test_the_reader_of_pages_finds_what_runs() -> None:
    """Of each payload that is markup, written into a page as it stands, something is found."""
    for payload in (*_TAGS, *_ON):
        reader = Read()
        reader.feed(f"<p>{payload}</p>")
        if MARK in payload and not payload.startswith(("<meta", "<link", "<script src", "<svg/", "<template", "<scr<", "<noscript")):
            assert reader.runs, payload


def test_there_are_sixty_payloads() -> None:
    assert len(set(PAYLOADS)) >= 60


@pytest.mark.parametrize("cell", [*_CELLS, "\tx", "2,3", 'a "b"'])
def test_a_file_of_rows_gives_every_cell_as_it_is_stored(cell: str) -> None:
    """Nothing is put before a cell: who reads the file back must find what the database says (see the guide's page about exports)."""
    assert list(csv.DictReader(io.StringIO(tables.as_csv([{"said": cell}]), newline=""))) == [{"said": cell}]
