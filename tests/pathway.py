"""What tests of the treatment pathway need: the audit beside the trial of a furnished world, its people, notices and cases."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from tests.builders import PASSWORD, ROOT, World
from trialdm.definitions import sources
from trialdm.services import cases, delegations, gates, governance, participants, people, places, records, studies
from trialdm.services.records import Submission, View
from trialdm.services.unit import SYSTEM, Unit

AUDIT = "tmr-audit"

#: (role, site) of everybody in the audit; `second` is another clinician of the first organisation.
PEOPLE = [
    ("auditor", "S01", "auditor"),
    ("auditor", "S01", "second"),
    ("governance-lead", "S01", "lead"),
    ("auditor", "S02", "auditor"),
    ("governance-lead", "S02", "lead"),
    ("sponsor", "", "sponsor-of-audit"),
    ("inspector", "", "inspector-of-audit"),
    ("trial-manager", "", "manager-of-audit"),
]

SURGEONS = {("auditor", "S01"): 1, ("second", "S01"): 2, ("auditor", "S02"): 3}


def address(name: str, site: str) -> str:
    return f"{name}.{site.lower() or 'unit'}@audit.example"


def beside(world: World) -> World:
    """Load the audit into the world, open it at two organisations, and add its people as `world.actors[(name, site)]`."""
    manager = world.actor("trial-manager")
    texts = sources.read_folder(ROOT / "protocols" / AUDIT)
    world.units.run(manager, lambda unit: studies.load(unit, texts))

    def accounts(unit: Unit) -> None:
        for role, site, name in PEOPLE:
            people.add(unit, address(name, site), f"{name} {site}".strip().title(), PASSWORD, [(role, site)], trial=AUDIT)

    world.run("system-administrator", accounts)
    with world.units.reading(SYSTEM) as unit:
        for _, site, name in PEOPLE:
            world.actors[(name, site)] = people.actor(unit, people.by_email(unit, address(name, site)), "test", "request")

    def opened(unit: Unit) -> None:
        for event in ("configure", "submit", "approve", "open"):
            gates.move_trial(unit, AUDIT, event)
        for site in ("S01", "S02"):
            for event in ("select", "set-up", "confirm", "green-light", "activate"):
                gates.move_site(unit, AUDIT, site, event)
        for (name, site), number in SURGEONS.items():
            account = people.by_email(unit, address(name, site))
            delegations.credential(unit, AUDIT, account, surgeon=number, site=site, valid_from=date(2025, 1, 6), cases=9)

    world.units.run(manager, opened)
    return world


def today(world: World) -> date:
    return world.now.date()


def notified(world: World, site: str = "S01", on: date | None = None) -> World:
    """The lead was informed and has confirmed it, both on a day (a year ago where none is named)."""
    day = on or today(world) - timedelta(days=365)
    entry = world.run("auditor", lambda unit: governance.inform(unit, AUDIT, site, day, "Letter of that day"), site)
    world.run("lead", lambda unit: governance.confirm(unit, AUDIT, site, entry, day), site)
    return world


PROCEDURE: Mapping[str, Any] = {
    "au_info_ver": "1.0",
    "au_uncert": 1,
    "au_family": 2,
    "au_mdt": 1,
    "au_mdt_who": [1, 3],
    "au_timing": 2,
    "au_pain_mo": 24,
    "au_tried": [3, 5, 20],
    "au_limb": 1,
    "au_level": 12,
    "au_aetiol": 5,
    "au_rlp0": 8,
    "au_plp0": 7,
    "au_eq0": 50,
}

FINE: Mapping[str, Any] = {
    **dict.fromkeys(("au2_bleed", "au2_infx", "au2_reop", "au2_newneuroma", "au2_painworse"), 0),
    "au2_rlp": 4,
    "au2_plp": 4,
    "au2_eq": 70,
}


def case(world: World, site: str = "S01", name: str = "auditor") -> str:
    """A case that has been added."""
    return world.run(name, lambda unit: participants.add(unit, AUDIT, site).id, site)


def operated(world: World, ident: str, on: date, *, site: str = "S01", name: str = "auditor", complete: bool = True, **given: Any) -> View:
    """Save the record of a procedure of a day; `given` replaces answers, None takes one away."""
    answers = {
        **PROCEDURE,
        "au_gov_date": (on - timedelta(days=40)).isoformat(),
        "au_gov_lead": world.actor("lead", site).staff_no,
        "au_sdm_date": (on - timedelta(days=10)).isoformat(),
        "au_date": on.isoformat(),
        "au_surgeon": SURGEONS[(name, site)],
        **given,
    }
    if answers["au_mdt"] == 0:
        del answers["au_mdt_who"]
    missing = {item: "ND" for item, value in answers.items() if value is None}
    sent = Submission({k: v for k, v in answers.items() if v is not None}, missing, complete=complete, confirm=("AUD1-06",))
    return _save(world, ident, cases.AT_PROCEDURE, cases.PROCEDURE, sent, name, site)


def followed(world: World, ident: str, visit: str, on: date, *, site: str = "S01", name: str = "auditor", **given: Any) -> View:
    """Save the outcome at a follow-up."""
    sent = Submission({**FINE, "au2_date": on.isoformat(), **given}, {"au2_ome": "ND", "au2_appr": "NA"}, complete=True)
    return _save(world, ident, visit, cases.FOLLOW_UP, sent, name, site)


def _save(world: World, ident: str, visit: str, form: str, sent: Submission, name: str, site: str) -> View:
    return world.run(name, lambda unit: records.save(unit, places.locate(unit, AUDIT, ident, visit, form), sent), site)
