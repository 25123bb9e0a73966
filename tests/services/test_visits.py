"""The visits as a site lives by them: windows and their deviations, missed visits, lists, reminders, and the calendar file."""

import base64
import json
from datetime import date, timedelta
from typing import Any

import pytest
from icalendar import Calendar

from tests import builders
from tests.api.test_api import Api
from tests.builders import TODAY, TRIAL, World
from trialdm.definitions import sources
from trialdm.definitions.protocols import load_protocol
from trialdm.domain.crf import Context, Form, summarise
from trialdm.domain.errors import Forbidden, Invalid, Missing, Unanswered
from trialdm.domain.schedule import window
from trialdm.services import casebooks, flow, inbox, overview, participants, visits
from trialdm.services.unit import SYSTEM

TARGETS = {"V04": 42, "V05": 91, "V06": 182, "V07": 365, "V08": 548, "V09": 730}


def followed(world: World) -> str:
    """A participant whose visits count from the day of randomisation: nobody has entered an operation."""
    return builders.randomised(world)


def came(world: World, ident: str, visit: str, after: int, *, confirm: tuple[str, ...] | None = None, **given: Any) -> Any:
    """The visit form, entered on the day of the visit."""
    on = TODAY + timedelta(days=after)
    world.at(on)
    answers = {"vs_done": 1, "vs_date": on.isoformat(), "vs_mode": 3 if visit in ("V05", "V08") else 1, **given}
    if visit in ("V04", "V06", "V07", "V09"):
        answers["vs_assessor"] = world.actor("blinded-assessor").staff_no
    sent = {} if confirm is None else {"confirm": confirm}
    return builders.put(world, ident, visit, "VISI", answers, only=True, **sent)


def deviations(world: World, ident: str) -> list[tuple[int, int, str]]:
    """Type, class and first word of every deviation."""
    with world.units.reading(SYSTEM) as unit:
        book = casebooks.read(unit, TRIAL, participants.known(unit, TRIAL, ident))
        rows = [json.loads(stored.data)["answers"] for stored in book.rows("DEVI", "EV")]
    return [(row["dv_type"], row["dv_class"], row["dv_desc"].split(" ")[0]) for row in rows]


@pytest.mark.parametrize(
    ("visit", "after", "expected"),
    [
        ("V04", 42, []),
        ("V04", 28, []),
        ("V04", 56, []),
        ("V04", 27, [(6, 1, "VISI-02")]),
        ("V04", 57, [(6, 1, "VISI-02")]),
        ("V04", 66, [(6, 1, "VISI-02")]),
        ("V07", 365, []),
        ("V07", 334, [(6, 2, "VISI-03")]),
        ("V07", 411, [(6, 2, "VISI-03")]),
    ],
)
def test_a_visit_outside_its_window_opens_a_deviation_major_for_the_primary_end_point(
    sqlite_world: World, visit: str, after: int, expected: list[tuple[int, int, str]]
) -> None:
    ident = followed(sqlite_world)
    came(sqlite_world, ident, visit, after, confirm=())
    assert deviations(sqlite_world, ident) == expected


@pytest.mark.parametrize(("visit", "after"), [("V04", 67), ("V05", 137), ("V07", 457)])
def test_past_half_the_way_to_the_next_visit_the_form_asks(sqlite_world: World, visit: str, after: int) -> None:
    ident = followed(sqlite_world)
    with pytest.raises(Unanswered) as asked:
        came(sqlite_world, ident, visit, after, confirm=())
    assert [detail.code for detail in asked.value.details] == ["VISI-07"]
    assert deviations(sqlite_world, ident) == []
    came(sqlite_world, ident, visit, after, confirm=("VISI-07",))
    assert [row[:2] for row in deviations(sqlite_world, ident)] == [(6, 2 if visit == "V07" else 1)]


def test_an_early_visit_is_a_deviation_and_no_question(sqlite_world: World) -> None:
    ident = followed(sqlite_world)
    came(sqlite_world, ident, "V09", 640, confirm=())
    assert deviations(sqlite_world, ident) == [(6, 1, "VISI-02")]


@pytest.mark.parametrize(
    ("visit", "mode", "asks"),
    [
        ("V05", 1, ["VISI-08"]),
        ("V08", 2, ["VISI-08"]),
        ("V05", 3, []),
        ("V05", 5, []),
        ("V06", 5, ["VISI-09"]),
        ("V06", 3, []),
        ("V06", 1, []),
    ],
)
def test_how_a_visit_was_done_fits_the_visit(sqlite_world: World, visit: str, mode: int, asks: list[str]) -> None:
    ident = followed(sqlite_world)
    if not asks:
        assert came(sqlite_world, ident, visit, TARGETS[visit], confirm=(), vs_mode=mode).status == "complete"
        return
    with pytest.raises(Unanswered) as asked:
        came(sqlite_world, ident, visit, TARGETS[visit], confirm=(), vs_mode=mode)
    assert [detail.code for detail in asked.value.details] == asks


def test_questionnaires_on_paper_keep_the_day_of_completion_and_that_of_entry(sqlite_world: World) -> None:
    ident, completed = followed(sqlite_world), TODAY + timedelta(days=91)
    sqlite_world.at(completed + timedelta(days=30))
    answers = {"vs_done": 1, "vs_date": completed.isoformat(), "vs_mode": 5}
    with pytest.raises(Unanswered) as asked:
        builders.put(sqlite_world, ident, "V05", "VISI", answers, only=True, confirm=())
    assert [detail.code for detail in asked.value.details] == ["VISI-10"]
    seen = builders.put(sqlite_world, ident, "V05", "VISI", answers, only=True, confirm=("VISI-10",))
    assert seen.answers.values["vs_date"] == completed
    assert seen.saved_at
    assert seen.saved_at.date() == completed + timedelta(days=30)


# --- the diary -------------------------------------------------------------------------------------------------------


def _diary(days: int, least: int) -> Form:
    """The diary as a protocol with another length has it."""
    texts = sources.read_folder(builders.ROOT / "protocols" / TRIAL)
    path = next(name for name in texts if name.endswith("protocol.yaml"))
    texts[path] = (
        texts[path]
        .replace("diary_days: {value: 7", f"diary_days: {{value: {days}")
        .replace("diary_min: {value: 4", f"diary_min: {{value: {least}")
    )
    return load_protocol(texts).form("DIAR")


@pytest.mark.parametrize(
    ("days", "least", "rated", "mean"), [(7, 4, 3, False), (7, 4, 4, True), (7, 4, 7, True), (30, 15, 14, False), (30, 15, 15, True)]
)
def test_a_mean_of_the_diary_needs_enough_days(days: int, least: int, rated: int, mean: bool) -> None:
    form = _diary(days, least)
    rows = [{"dia_day": n, "dia_rlp": n % 3, "dia_plp": 2} for n in range(1, rated + 1)]
    found = summarise(form, rows, Context({}))
    assert ("dia_plp_mean" in found) is mean
    assert ("dia_rlp_mean" in found) is mean


@pytest.mark.parametrize(("days", "day", "fires"), [(7, 7, False), (7, 8, True), (30, 8, False), (30, 30, False)])
def test_the_diary_has_as_many_days_as_the_protocol_says(days: int, day: int, fires: bool) -> None:
    check = next(check for check in _diary(days, 4).checks if check.id == "DIAR-06")
    assert check.when.holds({"dia_day": day}, []) is fires


def test_the_diary_refuses_a_day_that_it_does_not_have(sqlite_world: World) -> None:
    ident = followed(sqlite_world)
    with pytest.raises(Invalid) as refused:
        builders.put(
            sqlite_world, ident, "V04", "DIAR", {"dia_day": 8, "dia_date": TODAY.isoformat(), "dia_rlp": 1, "dia_plp": 1}, only=True
        )
    assert refused.value.code == "DIAR-06"


# --- what is due -----------------------------------------------------------------------------------------------------


def standings(world: World, ident: str, role: str = "research-nurse", **asked: Any) -> dict[str, str]:
    found = world.read(role, lambda unit: visits.listed(unit, TRIAL, **asked))
    return {one.visit: one.standing for one in found if one.participant == ident}


def test_a_visit_is_overdue_until_it_is_entered_as_held_or_missed(world: World) -> None:
    ident = followed(world)
    world.at(TODAY + timedelta(days=120))
    assert standings(world, ident) == dict(zip(TARGETS, ("overdue", "overdue", "later", "later", "later", "later"), strict=True))
    builders.put(world, ident, "V04", "VISI", {"vs_done": 0, "vs_notdone": 4}, only=True)
    assert standings(world, ident)["V04"] == "missed"
    tasks = world.read("research-nurse", lambda unit: overview.tasks(unit, TRIAL))
    assert [(task.kind, task.visit) for task in tasks if task.visit] == [("overdue", "V05")]
    came(world, ident, "V05", 120, vs_date=(TODAY + timedelta(days=100)).isoformat())
    assert standings(world, ident)["V05"] == "done"
    assert not [task for task in world.read("research-nurse", lambda unit: overview.tasks(unit, TRIAL)) if task.visit]
    counted = world.read("trial-manager", lambda unit: flow.table(flow.pooled(unit, TRIAL)))
    missed = [row["number"] for row in counted if row["box"].startswith("6 weeks") and row["line"] == "Missed"]
    assert missed == [1]


def test_a_missed_visit_leaves_its_forms_unexpected(sqlite_world: World) -> None:
    ident = followed(sqlite_world)
    sqlite_world.at(TODAY + timedelta(days=60))
    builders.put(sqlite_world, ident, "V04", "VISI", {"vs_done": 0, "vs_notdone": 1}, only=True)
    with sqlite_world.units.reading(sqlite_world.actor("research-nurse")) as unit:
        rows = overview.grid(unit, sqlite_world.protocol, participants.known(unit, TRIAL, ident))
    assert {row["code"]: row["standing"] for row in rows}["V04"] == "missed"


def test_nothing_is_expected_of_somebody_who_died(sqlite_world: World) -> None:
    ident = followed(sqlite_world)
    sqlite_world.at(TODAY + timedelta(days=30))
    builders.put(sqlite_world, ident, "EV", "DETH", {"dth_date": (TODAY + timedelta(days=20)).isoformat(), "dth_cause": 1}, only=True)
    assert set(standings(sqlite_world, ident).values()) == {"ended"}
    assert sqlite_world.read("research-nurse", lambda unit: list(inbox.waiting(unit))) == []
    assert b"BEGIN:VEVENT" not in _feed(sqlite_world)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (34, None),
        (35, "arrange the visit"),
        (42, "the target day has come"),
        (49, "a week past the target day"),
        (57, "the window has closed: enter the visit, or why it was missed"),
    ],
)
def test_the_inbox_of_the_site_names_a_visit_around_its_target_day(sqlite_world: World, after: int, said: str | None) -> None:
    ident = followed(sqlite_world)
    sqlite_world.at(TODAY + timedelta(days=after))
    expected = [] if said is None else [(f"{ident}, 6 weeks: {said}", after == 57)]
    for role in ("research-nurse", "blinded-assessor", "principal-investigator"):
        found = [one for one in sqlite_world.read(role, inbox.waiting, "S01") if one.kind == "visit"]
        assert [(one.what, one.late) for one in found] == expected, role
        assert all(one.due == TODAY + timedelta(days=56) for one in found)
    for role, site in (("research-nurse", "S02"), ("surgeon", "S01"), ("trial-manager", ""), ("statistician-blinded", "")):
        assert not [one for one in sqlite_world.read(role, inbox.waiting, site) if one.kind == "visit"], role


def test_the_inbox_forgets_a_visit_that_was_entered(sqlite_world: World) -> None:
    ident = followed(sqlite_world)
    came(sqlite_world, ident, "V04", 42)
    assert not [one for one in sqlite_world.read("research-nurse", inbox.waiting) if one.kind == "visit"]


def test_lists_follow_the_rights_and_the_site(sqlite_world: World) -> None:
    here, there = followed(sqlite_world), builders.randomised(sqlite_world, "S02")
    assert set(standings(sqlite_world, there)) == set()
    assert len(standings(sqlite_world, there, "trial-manager")) == len(TARGETS)
    assert standings(sqlite_world, there, "trial-manager", site="S01") == {}
    assert list(standings(sqlite_world, here, since=TODAY, until=TODAY + timedelta(days=91))) == ["V04", "V05"]
    with pytest.raises(Forbidden):
        standings(sqlite_world, here, site="S02")
    with pytest.raises(Forbidden):
        standings(sqlite_world, here, "statistician-blinded")
    with pytest.raises(Missing):
        standings(sqlite_world, here, "trial-manager", site="S99")


# --- the calendar file -----------------------------------------------------------------------------------------------


def _feed(world: World, role: str = "research-nurse", site: str = "") -> bytes:
    return world.read(role, lambda unit: visits.feed(unit, TRIAL, site=site)).encode()


def test_the_calendar_is_read_by_an_independent_reader(world: World) -> None:
    ident = followed(world)
    found = Calendar.from_ical(_feed(world))
    events = found.walk("VEVENT")
    assert [event["DTSTART"].dt for event in events] == [TODAY + timedelta(days=target) for target in TARGETS.values()]
    assert [event["DTEND"].dt - event["DTSTART"].dt for event in events] == [timedelta(days=1)] * len(TARGETS)
    first, windows = events[0], [window(world.protocol.visit(code), {"rand_date": TODAY}) for code in TARGETS]
    assert str(first["SUMMARY"]) == f"{ident}: 6 weeks"
    assert windows[0]
    assert str(first["DESCRIPTION"]) == "Window 7 April 2026 to 5 May 2026. Site S01. PRE-TMR."
    assert windows[0].opens == date(2026, 4, 7)
    assert not found.errors


def test_the_calendar_says_the_same_until_something_changes(world: World) -> None:
    ident = followed(world)
    before = _feed(world)
    world.now += timedelta(days=2)
    assert _feed(world) == before
    uids = {str(event["UID"]) for event in Calendar.from_ical(before).walk("VEVENT")}
    assert len(uids) == len(TARGETS)
    assert not [uid for uid in uids if ident in uid]
    came(world, ident, "V04", 40)
    assert {str(event["UID"]) for event in Calendar.from_ical(_feed(world)).walk("VEVENT")} < uids


def test_a_feed_takes_a_token_in_either_form_and_nothing_else(sqlite_world: World) -> None:
    followed(sqlite_world)
    api, mail = Api(sqlite_world), sqlite_world.actor("research-nurse").email
    path = f"/api/v1/trials/{TRIAL}/calendar.ics"
    token = api.headers("research-nurse")["Authorization"].removeprefix("Bearer ")

    def basic(name: str, secret: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}

    given = api.client.get(path, headers=basic(mail, token))
    assert (given.status_code, given.mimetype, given.data) == (200, "text/calendar", _feed(sqlite_world))
    assert api.client.get(path, headers=basic(mail.upper(), token)).data == given.data
    assert api.send("research-nurse", "GET", "/calendar.ics").data == given.data
    assert api.send("research-nurse", "GET", "/calendar.ics?site=S02").status_code == 403
    manager = sqlite_world.actor("trial-manager").email
    for headers in ({}, basic(mail, builders.PASSWORD), basic(mail, ""), basic(manager, token), {"Authorization": "Digest x"}):
        refused = api.client.get(path, headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="trialdm"'), headers
    assert api.client.get(f"/api/v1/trials/{TRIAL}/visits", headers=basic(mail, token)).status_code == 401
