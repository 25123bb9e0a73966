"""The treatment pathway in the demonstration: three organisations audit secondary procedures over fifteen months.

One organisation has procedures without audit entry, another one is late with its review; everything else is in order. Played after the
trial with a chance of its own, so that the trial stays the same.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import groupby
from typing import Any

from trialdm.demo.cast import AUDITORS, LEADS
from trialdm.domain.ethics.dates import add_months
from trialdm.domain.pathway import first_day, month_of
from trialdm.services import cases, delegations, gates, governance, participants, people, places, records
from trialdm.services.records import Submission
from trialdm.services.unit import Actor, Unit, Units

AUDIT = "tmr-audit"

#: Months from the notices until today.
MONTHS = 15

#: Organisation -> cases, and the chance of any safety event.
CASES: Mapping[str, tuple[int, float]] = {"S01": (24, 0.25), "S02": (20, 0.45), "S03": (16, 0.35)}

#: Organisation whose own list has procedures that nobody audited, and how many months ago these were.
GAP, GAP_MONTHS = "S02", (3, 5)

#: Organisation whose review is overdue.
LATE = "S03"

#: Chance that a follow-up that was due is recorded.
_RETURNED = 0.9


@dataclass(frozen=True)
class Act:
    """What somebody does on a day."""

    day: date
    who: str
    do: Callable[[Unit], Any]


@dataclass
class Case:
    """One simulated case."""

    site: str
    who: str
    surgeon: int
    day: date
    rng: random.Random
    id: str = ""


def play(units: Units, actors: Mapping[str, Actor], manager: Actor, at: Callable[[date, time], None], last: date, seed: int) -> int:
    """Play the audit from the notices to a day; gives how many acts there were."""
    rng = random.Random(f"{seed} audit")
    started = add_months(last, -MONTHS - 1)
    at(started, time(8))
    units.run(manager, lambda unit: _open(unit, started))
    acts = [*_governance(started, last, rng, actors)]
    for site, (count, harm) in CASES.items():
        for _ in range(count):
            acts += _case(site, started, last, random.Random(rng.random()), harm, actors)
    acts = [act for act in sorted(acts, key=lambda act: act.day) if act.day <= last]
    for (day, who), todays in groupby(acts, key=lambda act: (act.day, act.who)):
        _do(units, actors[who], list(todays), at, day)
    at(last, time(12))
    _lists(units, actors, at, last)
    return len(acts)


def _do(units: Units, actor: Actor, acts: list[Act], at: Callable[[date, time], None], day: date) -> None:
    """What somebody does on a day, in one transaction."""
    at(day, time(10))
    units.run(actor, lambda unit: [act.do(unit) for act in acts])


def _open(unit: Unit, day: date) -> None:
    """The study and its organisations open, and the operators are credentialed."""
    for event in ("configure", "submit", "approve", "open"):
        gates.move_trial(unit, AUDIT, event)
    for site in CASES:
        for event in ("select", "set-up", "confirm", "green-light", "activate"):
            gates.move_site(unit, AUDIT, site, event)
    for email, (site, surgeon) in AUDITORS.items():
        account = people.by_email(unit, email)
        delegations.credential(unit, AUDIT, account, surgeon=surgeon, site=site, valid_from=day, cases=6 + surgeon)


# --- governance ------------------------------------------------------------------------------------------------------


def _governance(started: date, last: date, rng: random.Random, actors: Mapping[str, Actor]) -> Iterator[Act]:
    """Notices and their confirmations, reviews with actions, and appraisals."""
    for site, lead in LEADS.items():
        clinician = next(email for email, (at, _) in AUDITORS.items() if at == site)
        noticed: dict[str, int] = {}

        def inform(unit: Unit, site: str = site, noticed: dict[str, int] = noticed) -> None:
            noticed[site] = governance.inform(unit, AUDIT, site, unit.today, "Letter to the clinical governance office")

        def confirm(unit: Unit, site: str = site, noticed: dict[str, int] = noticed) -> None:
            governance.confirm(unit, AUDIT, site, noticed[site], unit.today)

        yield Act(started + timedelta(days=1), clinician, inform)
        yield Act(started + timedelta(days=rng.randint(2, 6)), lead, confirm)
        for number in (1, 2):
            if site == LATE and number == 2:
                continue
            day = add_months(started, 6 * number)
            yield Act(day, lead, lambda unit, site=site, number=number: _review(unit, site, number))
        yield Act(last - timedelta(days=7), lead, lambda unit, site=site: _plan(unit, site))
    for email, (site, surgeon) in AUDITORS.items():
        if site != LATE:
            yield Act(add_months(started, 11), email, lambda unit, site=site, surgeon=surgeon: _appraise(unit, site, surgeon))


def _appraise(unit: Unit, site: str, surgeon: int) -> None:
    words = "Own outcomes beside those of the organisation; technique of coaptation to be reviewed"
    governance.appraise(unit, AUDIT, site, surgeon, unit.today, words)


def _review(unit: Unit, site: str, number: int) -> None:
    governance.hold_review(unit, AUDIT, site, unit.today, f"Minutes {number}, kept in the governance folder")
    governance.agree_action(unit, AUDIT, site, number, "Follow-up clinic at 12 months to be booked at discharge")
    if number == 1:
        governance.agree_action(unit, AUDIT, site, number, "Rehabilitation consultant to join the selection meeting")
        governance.close_action(unit, AUDIT, site, number, 1, "Booked by the ward clerk since")


def _plan(unit: Unit, site: str) -> None:
    if site != LATE:
        governance.plan_review(unit, AUDIT, site, unit.today + timedelta(days=40))


def _lists(units: Units, actors: Mapping[str, Actor], at: Callable[[date, time], None], last: date) -> None:
    """Each organisation's own list of every month that has ended, recorded early in the next one."""
    gaps = {month_of(add_months(last.replace(day=1), -ago)) for ago in GAP_MONTHS}
    for site, lead in LEADS.items():
        with units.reading(actors[lead]) as unit:
            months = governance.organisation(unit, AUDIT, site).months
        for month in months:
            count = month.audited + (1 if site == GAP and month.month in gaps else 0)
            at(add_months(first_day(month.month), 1) + timedelta(days=5), time(9))
            if add_months(first_day(month.month), 1) + timedelta(days=5) > last:
                continue
            units.run(
                actors[lead],
                lambda unit, site=site, month=month.month, count=count: governance.list_procedures(
                    unit, AUDIT, site, month, count, "Theatre list"
                ),
            )


# --- cases -----------------------------------------------------------------------------------------------------------


def _case(site: str, started: date, last: date, rng: random.Random, harm: float, actors: Mapping[str, Actor]) -> Iterator[Act]:
    """One case: added and recorded some days after the procedure, and followed up."""
    who = rng.choice([email for email, (at, _) in AUDITORS.items() if at == site])
    span = (last - started).days - 30
    one = Case(site, who, AUDITORS[who][1], started + timedelta(days=20 + rng.randint(0, span)), rng)
    before = [rng.randint(6, 10), rng.randint(4, 10), rng.randint(25, 65)]
    harmed, informed = rng.random() < harm, started + timedelta(days=1)
    lead = actors[LEADS[site]].staff_no
    entered = one.day + timedelta(days=rng.randint(1, 6))
    yield Act(entered, who, lambda unit: _record(unit, one, before, informed, lead))
    for month, days in ((3, 91), (6, 182), (12, 365)):
        day = one.day + timedelta(days=days + rng.randint(-10, 25))
        if rng.random() < _RETURNED:
            given = _outcome(rng, before, month, harmed and month == 3)
            yield Act(day, who, lambda unit, month=month, given=given: _follow_up(unit, one, f"M{month:02d}", given))


def _record(unit: Unit, one: Case, before: list[int], informed: date, lead: int) -> None:
    rng = one.rng
    one.id = participants.add(unit, AUDIT, one.site).id
    limb = 2 if rng.random() < 0.2 else 1
    given: dict[str, Any] = {
        "au_gov_date": informed.isoformat(),
        "au_gov_lead": lead,
        "au_info_ver": "1.0",
        "au_sdm_date": (one.day - timedelta(days=rng.randint(10, 60))).isoformat(),
        "au_uncert": 1,
        "au_family": rng.choice((0, 1, 1, 2)),
        "au_mdt": 1 if rng.random() < 0.9 else 0,
        "au_timing": 2,
        "au_pain_mo": rng.randint(8, 120),
        "au_tried": sorted(rng.sample((2, 3, 5, 6, 7, 8, 9, 20, 21, 22), rng.randint(2, 5))),
        "au_limb": limb,
        "au_level": rng.choice((22, 24)) if limb == 2 else rng.choice((12, 12, 15)),
        "au_aetiol": rng.choice((1, 3, 5, 5, 6)),
        "au_date": one.day.isoformat(),
        "au_surgeon": one.surgeon,
        "au_rlp0": before[0],
        "au_plp0": before[1],
        "au_eq0": before[2],
    }
    if given["au_mdt"]:
        given["au_mdt_who"] = sorted({1, *rng.sample((2, 3, 4, 5), 2)})
    _save(unit, one.id, cases.AT_PROCEDURE, cases.PROCEDURE, Submission(given, complete=True))


def _outcome(rng: random.Random, before: list[int], month: int, harmed: bool) -> dict[str, Any]:
    """Pain falls by about 2 to 4 points and stays there; harm is reported at the first follow-up."""
    gain = {3: 2, 6: 3, 12: 4}[month]
    given: dict[str, Any] = dict.fromkeys(("au2_bleed", "au2_infx", "au2_reop", "au2_newneuroma", "au2_painworse"), 0)
    given |= {
        "au2_rlp": max(0, min(10, before[0] - gain + rng.randint(-2, 2))),
        "au2_plp": max(0, min(10, before[1] - gain + rng.randint(-2, 2))),
        "au2_eq": min(100, before[2] + 5 * gain + rng.randint(-8, 8)),
    }
    if harmed:
        given[rng.choice(("au2_bleed", "au2_infx", "au2_infx", "au2_reop", "au2_newneuroma", "au2_painworse"))] = 1
    return given


def _follow_up(unit: Unit, one: Case, visit: str, given: dict[str, Any]) -> None:
    answers = {**given, "au2_date": unit.today.isoformat()}
    _save(unit, one.id, visit, cases.FOLLOW_UP, Submission(answers, {"au2_ome": "ND", "au2_appr": "NA"}, complete=True))


def _save(unit: Unit, ident: str, visit: str, form: str, sent: Submission) -> None:
    records.save(unit, places.locate(unit, AUDIT, ident, visit, form), sent)
