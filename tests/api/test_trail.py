"""The trail at the doors: the page with its filters, files of all of it, receipts, and removing a value."""

import csv
import io
import json
import re
from datetime import time, timedelta

import pytest
from flask.testing import FlaskClient

from tests import builders
from tests.api.test_concealment import browser, program
from tests.builders import TRIAL, World
from trialdm.services import places, queries, sealing, trail
from trialdm.services.trail import Filter

PAGE = f"/trials/{TRIAL}/audit"


def busy(world: World) -> str:
    """A participant with a corrected primary outcome, a query, and entries at night."""
    ident = builders.ready(world)
    for number, worst in enumerate((6, 7, 8)):
        builders.put(world, ident, "V01", "PAIN", {"limb_worst": worst, "limb_avg": 3}, reason="typing")
        if number == 1:
            world.run(
                "data-manager", lambda unit: queries.ask(unit, places.locate(unit, TRIAL, ident, "V01", "PAIN", 1), "limb_worst", "So bad?")
            )
            world.now += timedelta(minutes=5)
    world.at(world.now.date(), time(23, 30))
    builders.put(world, ident, "V01", "PAIN", {"limb_worst": 8, "limb_avg": 4}, reason="typing")
    return ident


def csrf_of(client: FlaskClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]*)"', client.get(PAGE).get_data(as_text=True))
    assert found
    return found.group(1)


def lines(world: World, role: str, **wanted: object) -> list[trail.Line]:
    return world.read(role, lambda unit: trail.of_trial(unit, TRIAL, Filter(**wanted)))  # type: ignore[arg-type]


def test_a_review_finds_what_it_looks_for(sqlite_world: World) -> None:
    busy(sqlite_world)
    reviewed = {review: lines(sqlite_world, "data-manager", review=review) for review in trail.REVIEWS}
    assert {(line.field, line.new) for line in reviewed["after-query"]} == {("limb_worst", 8)}
    assert {line.field for line in reviewed["repeats"]} == {"limb_worst"}
    assert ("limb_avg", 4) in {(line.field, line.new) for line in reviewed["odd-hours"]}
    assert reviewed["bursts"]
    outcome = {fact.item for fact in sqlite_world.protocol.primary_outcome}
    assert {line.field for line in reviewed["primary"]} <= outcome


def test_the_page_is_searched_and_paged(sqlite_world: World) -> None:
    ident = busy(sqlite_world)
    client = browser(sqlite_world, "data-manager")
    first = client.get(PAGE).get_data(as_text=True)
    assert "Page 1 of" in first
    found = client.get(f"{PAGE}?participant={ident}&field=limb_worst&review=after-query").get_data(as_text=True)
    assert "1 entry." in found
    day = sqlite_world.now.date().isoformat()
    assert "0 entries." in client.get(f"{PAGE}?since=2030-01-01").get_data(as_text=True)
    assert "0 entries." not in client.get(f"{PAGE}?since={day}&until={day}").get_data(as_text=True)
    assert "Write each date" in client.get(f"{PAGE}?since=yesterday").get_data(as_text=True)


@pytest.mark.parametrize("role", ["data-manager", "research-nurse", "unblinded-data-manager"])
def test_files_hold_what_the_reader_may_read_in_order_and_without_a_gap(sqlite_world: World, role: str) -> None:
    builders.randomised(sqlite_world)
    client = browser(sqlite_world, role)
    sent = {"csrf_token": csrf_of(client), "kind": "jsonl"}
    rows = [json.loads(line) for line in client.post(f"{PAGE}/file", data=sent).get_data(as_text=True).splitlines()]
    shown: list[trail.Line] = []
    while len(part := lines(sqlite_world, role, after=len(shown))):
        shown += part
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert [(r["entry"], r["old"], r["new"]) for r in rows] == [(line.entry, line.old, line.new) for line in shown[: len(rows)]]
    assert role == "research-nurse" or shown[-1].action == "audit.export"
    written = client.post(f"{PAGE}/file", data={**sent, "kind": "csv"}).get_data(as_text=True)
    table = list(csv.DictReader(io.StringIO(written)))
    assert [(r["entry"], json.loads(r["new"] or "null")) for r in table[: len(rows)]] == [(r["entry"], r["new"]) for r in rows]


def test_proofs_and_receipts_are_for_those_from_whom_nothing_is_kept(sqlite_world: World) -> None:
    builders.randomised(sqlite_world)
    sealing.seal_all(sqlite_world.units)
    entry = lines(sqlite_world, "data-manager")[0].entry
    for role, status in (("unblinded-data-manager", 200), ("data-manager", 403), ("principal-investigator", 403)):
        client, headers = program(sqlite_world, role)
        for path in ("audit/file?kind=proofs", f"audit/{entry}/receipt"):
            assert client.get(f"/api/v1/trials/{TRIAL}/{path}", headers=headers).status_code == status, (role, path)
    client, headers = program(sqlite_world, "data-manager")
    assert client.get(f"/api/v1/trials/{TRIAL}/audit/file?kind=csv", headers=headers).status_code == 200
    assert client.get(f"/api/v1/trials/{TRIAL}/audit/file?kind=xlsx", headers=headers).status_code == 422


def test_a_value_is_removed_by_two_people_on_pages(sqlite_world: World) -> None:
    ident = busy(sqlite_world)
    entry = next(line.entry for line in lines(sqlite_world, "data-manager", participant=ident, field="limb_worst") if line.new == 6)
    first, second = browser(sqlite_world, "data-manager"), browser(sqlite_world, "trial-manager")
    new = f"{PAGE}/removals/new?entry={entry}"
    assert "limb_worst" in first.get(new).get_data(as_text=True)
    refused = first.post(new, data={"csrf_token": csrf_of(first), "entry": entry, "reason": ""})
    assert (refused.status_code, "Say why" in refused.get_data(as_text=True)) == (422, True)
    assert first.post(new, data={"csrf_token": csrf_of(first), "entry": entry, "reason": "not this person"}).status_code == 303
    settle = {"entry": entry, "act": "confirm"}
    assert first.post(f"{PAGE}/removals", data={**settle, "csrf_token": csrf_of(first)}).status_code == 403
    assert "Waits for a second person" in second.get(f"{PAGE}/removals").get_data(as_text=True)
    assert second.post(f"{PAGE}/removals", data={**settle, "csrf_token": csrf_of(second)}).status_code == 303
    assert "Removed by" in first.get(f"{PAGE}/removals").get_data(as_text=True)
