"""Plain functions that build what tests need: an opened trial with two sites, its people, and participants on their way."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from trialdm.definitions import registers, sources
from trialdm.demo import figures
from trialdm.domain.ethics import Approval, Condition, Document
from trialdm.domain.protocol import Protocol
from trialdm.instance import Instance
from trialdm.services import (
    allocations,
    answering,
    approvals,
    delegations,
    epochs,
    gates,
    holds,
    participants,
    people,
    places,
    records,
    register,
    schemes,
    studies,
)
from trialdm.services.records import Submission, View
from trialdm.services.unit import LONDON, SYSTEM, Actor, Unit, Units
from trialdm.store.tables import AuditEvent, AuditValue

Result = TypeVar("Result")

ROOT = Path(__file__).resolve().parents[1]
TRIAL = "pre-tmr"
TODAY = date(2026, 3, 10)
PASSWORD = "correct-horse-battery"

#: role -> (site, delegated tasks); site roles exist at S01, and the nurse also at S02.
CAST: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("trial-manager", ""): (),
    ("trial-coordinator", ""): ("randomise",),
    ("data-manager", ""): (),
    ("unblinded-data-manager", ""): (),
    ("monitor", ""): (),
    ("statistician-blinded", ""): (),
    ("statistician-unblinded", ""): (),
    ("chief-investigator", ""): (),
    ("safety-reviewer", ""): (),
    ("sponsor", ""): (),
    ("principal-investigator", "S01"): ("consent", "eligibility", "randomise", "crf", "operate"),
    ("sub-investigator", "S01"): ("consent", "eligibility", "randomise", "crf"),
    ("research-nurse", "S01"): ("consent", "eligibility", "randomise", "crf"),
    ("surgeon", "S01"): ("crf", "operate"),
    ("blinded-assessor", "S01"): ("crf", "assess"),
    ("research-nurse", "S02"): ("consent", "eligibility", "randomise", "crf"),
    ("sub-investigator", "S02"): ("consent", "eligibility", "randomise", "crf"),
    ("surgeon", "S02"): ("crf", "operate"),
}

_START = date(2025, 1, 6)


@dataclass
class World:
    """An instance with an open trial, and a clock that tests set."""

    instance: Instance
    units: Units
    protocol: Protocol
    actors: dict[tuple[str, str], Actor]
    now: datetime

    def actor(self, role: str, site: str = "") -> Actor:
        """The person with this role: at the site, at S01, or in the trial's office."""
        return next(self.actors[(role, at)] for at in (site, "S01", "") if (role, at) in self.actors)

    def run(self, role: str, work: Callable[[Unit], Result], site: str = "") -> Result:
        """Run a use case as the person with this role."""
        return self.units.run(self.actor(role, site), work)

    def read(self, role: str, work: Callable[[Unit], Result], site: str = "") -> Result:
        with self.units.reading(self.actor(role, site)) as unit:
            return work(unit)

    def at(self, day: date, clock: time = time(10)) -> None:
        """Set the clock to a wall time in Europe/London."""
        self.now = datetime.combine(day, clock, LONDON).astimezone(UTC)


def email(role: str, site: str) -> str:
    return f"{role}.{site.lower() or 'unit'}@trial.example"


def around(instance: Instance, *, now: datetime | None = None) -> World:
    """A world around an instance that `furnish` has filled."""
    world = _clocked(World(instance, instance.units, Protocol.__new__(Protocol), {}, now or datetime.combine(TODAY, time(10), UTC)))
    with world.units.reading(SYSTEM) as unit:
        world.protocol = studies.protocol(unit, TRIAL)
        for role, site in CAST:
            world.actors[(role, site)] = people.actor(unit, people.by_email(unit, email(role, site)), "test", "request")
        world.actors[("system-administrator", "")] = people.actor(unit, people.by_email(unit, "admin@trial.example"), "test")
    return world


def like(world: World, copied: Instance) -> World:
    """The world around a copy of its instance: the same protocol and people, and a clock of its own."""
    return _clocked(World(copied, copied.units, world.protocol, dict(world.actors), world.now))


def _clocked(world: World) -> World:
    world.units = replace(world.units, clock=lambda: world.now)
    return world


def furnish(instance: Instance) -> None:
    """Fill an empty instance: people, protocol, approvals, two open sites, the scheme."""
    moment = datetime.combine(_START, time(9), UTC)
    units = replace(instance.units, clock=lambda: moment)
    units.run(SYSTEM, lambda unit: people.first(unit, "admin@trial.example", "Admin", PASSWORD))
    with units.reading(SYSTEM) as unit:
        admin = people.actor(unit, people.by_email(unit, "admin@trial.example"), "test")

    def accounts(unit: Unit) -> None:
        for role, site in CAST:
            people.add(unit, email(role, site), f"{role} {site}".strip().title(), PASSWORD, [(role, site)])

    units.run(admin, accounts)
    with units.reading(SYSTEM) as unit:
        manager = people.actor(unit, people.by_email(unit, email("trial-manager", "")), "test")
        sponsor = people.actor(unit, people.by_email(unit, email("sponsor", "")), "test")
    units.run(manager, lambda unit: studies.load(unit, sources.read_folder(ROOT / "protocols" / TRIAL)))
    units.run(manager, _open)
    units.run(sponsor, _check)
    units.run(manager, lambda unit: gates.move_trial(unit, TRIAL, "open"))
    units.run(manager, _trained)
    units.run(manager, _sites)


def _open(unit: Unit) -> None:
    for event in ("configure", "submit", "approve"):
        gates.move_trial(unit, TRIAL, event)
    for entry in small_register(studies.protocol(unit, TRIAL)):
        if isinstance(entry, Approval):
            approvals.record(unit, TRIAL, entry)
        else:
            register.add(unit, TRIAL, entry)
    schemes.prepare(unit, TRIAL)


def _check(unit: Unit) -> None:
    """The second person: checks what waits for it, and signs the scheme."""
    for approval in approvals.waiting(unit, TRIAL):
        approvals.check(unit, TRIAL, approval.entry)
    epochs.sign(unit, TRIAL)


def _trained(unit: Unit) -> None:
    """Training and credentials of everybody in the log. The log is on paper so far, and taken over from there."""
    for (role, site), tasks in CAST.items():
        if not tasks:
            continue
        account = people.by_email(unit, email(role, site))
        delegations.train(unit, TRIAL, account, kind="gcp", on=_START)
        if role == "surgeon":
            delegations.credential(unit, TRIAL, account, surgeon=int(site[1:]), site=site, valid_from=_START, cases=9)
        delegations.transcribe(unit, TRIAL, account, tasks=tasks, start=_START, site=site)


def _sites(unit: Unit) -> None:
    for site in ("S01", "S02"):
        for event in ("select", "set-up", "confirm", "green-light", "activate"):
            gates.move_site(unit, TRIAL, site, event)


def small_register(protocol: Protocol) -> list[Approval | Document]:
    """A small register by which everything is allowed from the start on: later cases take something away."""
    start = _START
    rows: list[Approval | Document] = [
        Approval(
            "rec",
            "favourable_with_conditions",
            "25/NE/0001",
            decided_on=start,
            conditions=(Condition("Send the final leaflet", True, start, "letter of that day"),),
            recorded_by="trial manager",
            second_check_by="sponsor",
        ),
        Approval("hra_hcrw", "granted", "123456", ("ENG", "WAL"), decided_on=start),
        Approval("nrs", "granted", nations=("SCO",), decided_on=start),
        Approval("hsc", "granted", nations=("NIR",), decided_on=start),
        Approval("registry", "registered", "ISRCTN12345678", decided_on=start),
        Approval("dpia", "signed", decided_on=start),
        Approval("insurance", "in_force", decided_on=start, effective_to=date(2030, 12, 31)),
    ]
    for site in protocol.sites:
        rows.append(Approval("site_cc", "confirmed", site=site.code, decided_on=start, agreement_signed_on=start))
        rows.append(Approval("site_siv", "held", site=site.code, decided_on=start))
        rows.append(Approval("site_greenlight", "granted", site=site.code, decided_on=start, second_check_by="sponsor"))
    for kind in ("PIS", "ICF"):
        rows.append(Document(kind, 1, "1.0", start, start, start, superseded_on=date(2026, 2, 2)))
        rows.append(Document(kind, 2, "2.0", date(2026, 1, 5), date(2026, 1, 19), date(2026, 2, 2)))
    return rows


# --- participants ----------------------------------------------------------------------------------------------------


def screened(world: World, site: str = "S01") -> str:
    """A participant who has been added."""
    return world.run("research-nurse", lambda unit: participants.add(unit, TRIAL, site).id, site)


def put(
    world: World,
    participant: str,
    visit: str,
    form: str,
    given: Mapping[str, Any] | None = None,
    *,
    role: str = "research-nurse",
    site: str = "S01",
    row: int = 1,
    only: bool = False,
    **sent: Any,
) -> View:
    """Save a form as complete, with plausible answers to whatever `given` does not say (`only`: nothing but `given`)."""

    def work(unit: Unit) -> View:
        place = places.locate(unit, TRIAL, participant, visit, form, row)
        answers, missing = dict(given or {}), {}
        if not only:
            beside = places.context(unit, place, places.book(unit, place))
            unseen = answering.others(unit, place, places.book(unit, place).get(*place.key)) - {*(given or {})}
            filled = figures.fill(place.form, beside, random.Random(f"{form} {row}"), given or {}, unseen)
            answers, missing = filled.answers, filled.missing
        version = sent.get("version", records.view(unit, place).version or None)
        confirm = sent.get("confirm", _every_soft(place.form))
        submission = Submission(answers, sent.get("missing", missing), sent.get("complete", True), sent.get("reason", ""), confirm, version)
        return records.save(unit, place, replace(submission, notes=sent.get("notes", {})))

    return world.run(role, work, site)


def _every_soft(form: Any) -> tuple[str, ...]:
    ranges = tuple(f"CRF.SOFT_RANGE.{item.name}" for item in form.items)
    return (*ranges, *(check.id for check in form.checks if check.severity == "soft"))


def consented(world: World, site: str = "S01", *, documents: int = 2) -> str:
    """A participant with a complete consent form."""
    ident = screened(world, site)
    at = (world.now - timedelta(hours=1)).astimezone(LONDON).replace(tzinfo=None)
    given = {
        "con_pis_ver": documents,
        "con_icf_ver": documents,
        "con_pis_date": (at.date() - timedelta(days=2)).isoformat(),
        "con_dtm": at.isoformat(timespec="minutes"),
        "con_route": 1,
        "con_capacity": 1,
        "con_taker": world.actor("research-nurse", site).staff_no,
        "con_copy": 1,
    }
    put(world, ident, "V01", "CONS", given, site=site)
    return ident


CLINICAL = {
    "limb": 1,
    "side": 1,
    "amp_level_plan": 12,
    "aetiol_main": 1,
    "aetiol_other": None,
    "dm_type": 0,
    "pad": 1,
    "ckd": 0,
    "asa": 3,
    "opioid_pre": 0,
    "abpi": "0.8",
    "prev_neurosurg": None,
}

ELIGIBLE = {
    **dict.fromkeys(
        (
            "inc01_age18 inc02_major_amp inc03_primary_amp inc04_aetiol inc05_ga_fit inc06_prognosis inc07_surgeon inc08_consent inc09_pro"
        ).split(),
        1,
    ),
    **dict.fromkeys(
        (
            "exc01_emerg exc02_nerve exc03_reg exc04_prevpain exc05_infx exc06_prevtmr exc07_bilat exc08_coenrol exc09_preg exc10_cogn "
            "coenrol"
        ).split(),
        0,
    ),
}


def ready(world: World, site: str = "S01", **clinical: Any) -> str:
    """A participant who is ready to be randomised."""
    ident = consented(world, site)
    today = world.now.astimezone(LONDON).date()
    planned = {"surg_date_plan": (today + timedelta(days=3)).isoformat(), "surgeon_plan": int(site[1:])}
    put(world, ident, "V01", "CLIN", {**CLINICAL, **planned, **clinical}, site=site)
    put(world, ident, "V01", "DEMO", {"age_years": 60, "sex": 2, "birth_ym": None, "height_cm": "170.0", "weight_kg": "80.0"}, site=site)
    put(world, ident, "V01", "PAIN", {"limb_worst": 5, "limb_avg": 3}, site=site)
    put(world, ident, "V01", "ANLG", {"an_any": 0}, site=site)
    put(world, ident, "V01", "EQ5D", site=site)
    put(world, ident, "V01", "MOOD", {"phq_9": 0}, site=site)
    put(world, ident, "V01", "VISI", {"vs_done": 1, "vs_date": today.isoformat()}, site=site)
    put(world, ident, "V01", "ELIG", ELIGIBLE, role="sub-investigator", site=site)
    return ident


def randomised(world: World, site: str = "S01", **clinical: Any) -> str:
    """A participant who has been randomised by the coordinator."""
    ident = ready(world, site, **clinical)
    world.run("trial-coordinator", lambda unit: allocations.randomise(unit, TRIAL, ident, f"key-{ident}"))
    return ident


def ask_for_lock(world: World) -> None:
    """The trial in follow-up, with the lock of its database asked for by the trial manager, as it is."""
    for event in ("close", "follow-up"):
        world.run("trial-manager", lambda unit, event=event: gates.move_trial(unit, TRIAL, event))
    world.run("trial-manager", lambda unit: gates.move_trial(unit, TRIAL, "lock", reason="a short trial"))


def confirm_lock(world: World) -> None:
    """The data manager confirms the lock that was asked for."""
    world.run("data-manager", lambda unit: holds.move(unit, holds.target(unit, TRIAL, "trial"), "lock", reason="a short trial"))


def lock(world: World) -> None:
    """The trial with its database locked by two people, as it is."""
    ask_for_lock(world)
    confirm_lock(world)


def locked_as_entered(unit: Unit, trial: str) -> None:
    """Another trial as if two people had locked it: its state and that of its database."""
    studies.enter(unit, trial, "hold", f"trial:{trial}", "lock", "locked")
    studies.enter(unit, trial, "trial", trial, "lock", "locked")


def arm_of(world: World, participant: str) -> int:
    """The arm, as the unblinded statistician reads it."""
    return world.read("statistician-unblinded", lambda unit: allocations.all_arms(unit, world.protocol)[participant])


def shipped_register(protocol: Protocol) -> registers.Ethics:
    """The register that comes with the protocol."""
    return registers.load_ethics(sources.read_folder(ROOT / "ethics" / TRIAL), protocol)


# --- the trail -------------------------------------------------------------------------------------------------------


def refusals(world: World) -> list[tuple[str, list[str]]]:
    """What the trail keeps of refused attempts, in order: what was tried, and the codes of the rules that refused it."""
    with world.units.reading(SYSTEM) as unit:
        rows = unit.session.execute(
            select(AuditEvent.entity_id, AuditValue.value)
            .join(AuditValue, AuditValue.event_id == AuditEvent.event_id)
            .where(AuditEvent.action == "refused", AuditEvent.entity == "attempt")
            .order_by(AuditEvent.seq)
        )
        return [(tried, json.loads(codes)) for tried, codes in rows]
