"""Twins: one small trial lived twice, with the arms exchanged and everything else the same.

They differ in nothing but the master of the scheme, by which three of four participants have the other arm, so that the numbers by
arm differ too. People, clock and what blinded people enter are the same; what unblinded people do follows the arm that they see. A
blinded person must be given the same bytes in both.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import select

from tests import builders
from tests.builders import PASSWORD, TODAY, TRIAL, World, put
from tests.independent.verifier import Deriver
from tests.independent.verifier import Keys as IndependentKeys
from trialdm.demo.invented import invented
from trialdm.domain import roles
from trialdm.domain.ethics.case import Answer
from trialdm.services import (
    checks,
    corrections,
    drafts,
    envelopes,
    holds,
    identities,
    jobs,
    packages,
    people,
    places,
    queries,
    records,
    schemes,
    signatures,
    theatre,
    transfers,
    unblinding,
    verification,
)
from trialdm.services.records import Submission
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store import keys as sealing
from trialdm.store.tables import Scheme

#: Every role that must learn nothing, with each site at which somebody of it is: the participants' own one, and another one.
BLINDED = [role for role in roles.ROLES if role not in roles.UNBLINDED]
ELSEWHERE = [role for role in BLINDED if roles.ROLES[role][1]]
PEOPLE = [*((role, "S01" if role in ELSEWHERE else "") for role in BLINDED), *((role, "S02") for role in ELSEWHERE)]

#: Roles that may learn an allocation on purpose: an emergency is no leak.
MAY_UNBLIND = ("chief-investigator", "safety-reviewer")

#: How many participants, whose arms are exchanged, and the one of them whose allocation is opened in an emergency.
COUNT, EXCHANGED, DIFFERENT = 4, (0, 1, 2), 1

TMR = 1


@dataclass(frozen=True)
class Twins:
    """Two worlds, and their participants in order."""

    worlds: tuple[World, World]
    idents: tuple[str, ...]

    @property
    def different(self) -> str:
        return self.idents[DIFFERENT]


NAMES = ("one", "other")
_NAMED = {**invented(1), "nhs_number": "", "no_nhs_number": "Lives abroad"}


def twins_of(template: Any, folder: Path, *, until_operated: bool = False) -> Twins:
    """The two instances, with somebody for every role; if so wished before anybody does anything that follows from the arm."""
    worlds, known = [], []
    first = template.copy(folder / "first")
    with first.units.reading(SYSTEM) as unit:
        config = schemes.config(unit.session.scalars(select(Scheme)).one())
    level = {"site": "S01", "limb": "1", "amp_prox": "0", "aetiol_grp": "1", "opioid_pre": "0", "pain_pre": "1"}
    first.instance.engine.dispose()
    for name, master in zip(NAMES, masters(config, [level] * COUNT), strict=True):
        world = seeded(template.copy(folder / name))
        with_everybody(world)
        give_master(world, master)
        known.append(live(world, until_operated=until_operated))
        worlds.append(world)
        world.instance.engine.dispose()
    assert known[0] == known[1]
    return Twins((worlds[0], worlds[1]), known[0])


def seeded(world: World) -> World:
    """The same random bytes wherever a use case asks for them."""
    world.units = replace(world.units, entropy=random.Random(11).randbytes)
    return world


def masters(config: dict[str, Any], levels: list[dict[str, str]]) -> tuple[bytes, bytes]:
    """Two masters that exchange the arms of the participants named by EXCHANGED, and change no other one's."""
    seen: dict[tuple[str, ...], bytes] = {}
    for number in range(10_000):
        master = number.to_bytes(32, "big")
        deriver = Deriver(IndependentKeys(config, master))
        arms = tuple(deriver.allocated(i, given) for i, given in enumerate(levels, 1))
        other = tuple({"TMR": "Standard", "Standard": "TMR"}[arm] if place in EXCHANGED else arm for place, arm in enumerate(arms))
        if other in seen:
            return seen[other], master
        seen[arms] = master
    raise AssertionError("no two such masters")


def give_master(world: World, master: bytes) -> None:
    """Put this master into a scheme that has not allocated, as if it had been drawn."""

    def work(unit: Unit) -> None:
        row = unit.session.scalars(select(Scheme)).one()
        row.master_sealed = sealing.seal(unit.keys.allocation, master, schemes.master_bound(row))
        unit.remembered.clear()
        found = schemes.keys(unit, row)
        row.commit, row.head = found.commit.hex(), found.genesis.hex()
        unit.covered(row)

    world.units.run(SYSTEM, work)


def with_everybody(world: World) -> None:
    """Somebody for every role: of the site roles at S01, and of the blinded ones also at S02."""
    wanted = [(role, "S01" if roles.ROLES[role][1] else "") for role in roles.ROLES]
    for role, site in [*wanted, *((role, "S02") for role in ELSEWHERE)]:
        if (role, site) not in world.actors:
            world.run("system-administrator", lambda unit, role=role, site=site: newcomer(unit, role, site))
            with world.units.reading(SYSTEM) as unit:
                world.actors[(role, site)] = people.actor(unit, people.by_email(unit, builders.email(role, site)), "test")


def newcomer(unit: Unit, role: str, site: str) -> None:
    people.add(unit, builders.email(role, site), f"Extra {role}", PASSWORD, [(role, site)])


# --- what happens ------------------------------------------------------------------------------------------------------

Step = Callable[[], Any]


def only(arm: bool, step: Step) -> Step:
    """What happens in one arm only; in the other one the time passes."""
    return step if arm else lambda: None


def live(world: World, *, until_operated: bool = False) -> tuple[str, ...]:
    """Everything that happens to the participants of a twin; gives them in order."""
    world.run("statistician-unblinded", lambda unit: envelopes.prepare(unit, TRIAL, "S01", 2))
    idents = []
    for _ in range(COUNT):
        world.now += timedelta(minutes=10)
        idents.append(builders.randomised(world))
    for part in (_around,) if until_operated else (_around, _operations, _course, _aftermath):
        for happen in part(world, idents):
            world.now += timedelta(minutes=1)
            happen()
    return tuple(idents)


def _around(world: World, idents: list[str]) -> list[Step]:
    """Unblind one in an emergency, correct a factor, mark an error, spoil an envelope, enter an identity, and ask by the arm."""
    planned = {"surg_date_plan": (TODAY + timedelta(days=3)).isoformat(), "surgeon_plan": 1}
    changed = {**builders.CLINICAL, **planned, "opioid_pre": 1}
    ident = idents[DIFFERENT]
    emergency = "Bleeding, and the next step depends on it"
    as_role = world.run
    return [
        lambda: as_role("principal-investigator", lambda unit: unblinding.emergency(unit, TRIAL, ident, emergency, 1)),
        lambda: put(world, ident, "V01", "CLIN", changed, reason="source: read again"),
        lambda: as_role("trial-manager", lambda unit: corrections.in_error(unit, TRIAL, ident, 1, "Not eligible after all")),
        lambda: as_role("trial-coordinator", lambda unit: envelopes.spoil(unit, TRIAL, "S01", 1, world.now, "Fell into a wash basin")),
        lambda: as_role("surgeon", lambda unit: unblinding.look(unit, TRIAL, ident)),
        lambda: as_role("research-nurse", lambda unit: identities.enter(unit, TRIAL, ident, _NAMED)),
        lambda: as_role("chief-investigator", lambda unit: identities.ask(unit, TRIAL, ident, "To tell the doctor of the ward")),
        lambda: as_role("data-manager", lambda unit: _ask(unit, ident, "V01", "CLIN", "asa")),
    ]


def _operations(world: World, idents: list[str]) -> list[Step]:
    """The operations: the surgeon looks, and what was done and how much of it is written down follows the arm."""
    world.at(TODAY + timedelta(days=3))
    steps: list[Step] = []
    for place, ident in enumerate(idents[:3]):
        steps += _operation(world, ident, builders.arm_of(world, ident) == TMR, crossover=place == 2)
    return steps


def _operation(world: World, ident: str, tmr: bool, *, crossover: bool) -> list[Step]:
    day = world.now.date().isoformat()
    said = {
        "surg_done": 1,
        "surg_date": day,
        "surg_side": 1,
        "surg_level": 12,
        "proc_given": 2 if crossover else 1 if tmr else 2,
        "anaes": 1,
        "time_in": "08:00",
        "time_ks": "08:40",
        "time_ke": "12:10" if tmr else "10:10",
        "intraop_comp": [1] if tmr else [0],
        "accid_unblind": 0,
        "surg_id": 1,
        "surg_tmr_n": 9,
    }
    nerve = {"nv_found": 1, "nv_tech": 1, "nv_reason": None, "nv_muscle": 2} if tmr else {"nv_found": 1, "nv_tech": 4}
    done: list[Step] = [lambda: world.run("surgeon", lambda unit: theatre.confirm(unit, TRIAL, ident, _SEEN))]
    done += [lambda: put(world, ident, "V02", "SURG", said, role="surgeon")]
    for row, code in enumerate((2, 4, 5, 6), 1):
        record = partial(put, world, ident, "V02", "NERV", {**nerve, "nv_nerve": code}, role="surgeon", row=row)
        done += [only(tmr or row == 1, record)]
    return [*done, lambda: put(world, ident, "V02", "VISI", {"vs_done": 1, "vs_date": day}, role="research-nurse")]


_SEEN = {"side": 1, "limb": 1, "level": 12}


def _course(world: World, idents: list[str]) -> list[Step]:
    """After the operations: events and deviations of both kinds, drafts, questions, verification and signatures by the arm."""
    world.at(TODAY + timedelta(days=20))
    day = world.now.date()
    first, second, third, fourth = idents
    tmr = {ident: builders.arm_of(world, ident) == TMR for ident in idents}
    by_arm = "proc_given" if tmr[second] else "surg_level"
    deviation = {"dv_class": 1, "dv_date": day.isoformat(), "dv_found": day.isoformat(), "dv_desc": "What", "dv_capa": "Done"}
    restricted = {**deviation, "dv_type": 4, "dv_desc": "Another handling of the nerve than the one that was drawn"}
    of_one_arm: list[Step] = [
        lambda: put(world, first, "EV", "DEVI", restricted, role="principal-investigator", only=True, row=501),
        lambda: world.run("surgeon", lambda unit: _keep(unit, first)),
        lambda: world.run("unblinded-data-manager", lambda unit: _verify(unit, first)),
        lambda: world.run("principal-investigator", lambda unit: _sign(unit, first, "V02", "SURG")),
        lambda: world.run("unblinded-data-manager", lambda unit: _ask(unit, first, "V02", "SURG", "anaes")),
    ]
    return [
        *(only(tmr[first], step) for step in of_one_arm),
        lambda: put(world, first, "EV", "DEVI", {**deviation, "dv_type": 6}, only=True),
        lambda: _serious(world, first, day, "Neuroma after the nerve transfer, and much more of it." if tmr[first] else "Bled."),
        lambda: put(world, first, "EV", "REOP", {"re_date": day.isoformat(), "re_ind": 1, "re_planned": 1}, complete=False, only=True),
        lambda: _reoperated(world, first, tmr[first]),
        lambda: world.run("unblinded-data-manager", lambda unit: _ask(unit, second, "V02", "SURG", by_arm)),
        lambda: world.run("unblinded-data-manager", lambda unit: checks.run(unit, TRIAL, alerts=True)),
        lambda: put(world, first, "V03", "PAIN", role="research-nurse"),
        lambda: put(world, first, "V03", "VISI", {"vs_done": 1, "vs_date": day.isoformat()}),
        lambda: put(world, third, "EV", "STAT", {"st_status": 2, "st_date": day.isoformat()}, only=True),
        lambda: world.run("trial-manager", lambda unit: transfers.transfer(unit, TRIAL, fourth, "S02", day, "Moved house to there")),
    ]


def _aftermath(world: World, idents: list[str]) -> list[Step]:
    """The blinded assessor's visit, a hold that only one arm has, an opened allocation, and packages of both kinds."""
    world.at(TODAY + timedelta(days=45))
    first = idents[0]
    day = world.now.date().isoformat()
    return [
        lambda: put(world, first, "V04", "VISI", {"vs_done": 1, "vs_date": day}),
        lambda: put(world, first, "V04", "BLND", {"bl_guess_p": 1, "bl_guess_a": 2, "bl_src_p": 1, "bl_src_a": 1}, role="blinded-assessor"),
        lambda: put(world, first, "V04", "PAIN", role="blinded-assessor"),
        only(builders.arm_of(world, first) == TMR, lambda: world.run("unblinded-data-manager", lambda unit: _freeze(unit, first))),
        lambda: world.run("surgeon", lambda unit: unblinding.look(unit, TRIAL, first)),
        lambda: _package(world, "statistician-unblinded", "unblinded"),
        lambda: _package(world, "data-manager", "blinded"),
    ]


def _package(world: World, role: str, blinding: str) -> None:
    """A package that the worker makes; an unblinded one as if the database were locked for it."""
    wanted = packages.Request(formats=("csv",), blinding=blinding, reason="The meeting of the committee")
    with patch.object(Answer, "require"):
        row = world.run(role, lambda unit: packages.ask_for(unit, TRIAL, wanted))
        worker = jobs.Jobs(world.units, world.instance.settings.folder)
        worker.ask_for_export(TRIAL, row.id)
        worker.run_pending()


def _ask(unit: Unit, ident: str, visit: str, form: str, item: str) -> None:
    queries.ask(unit, places.locate(unit, TRIAL, ident, visit, form), item, "Please check this.")


def _keep(unit: Unit, ident: str) -> None:
    """Something typed and not saved."""
    drafts.keep(unit, places.locate(unit, TRIAL, ident, "V02", "NERV", 9), {"nv_nerve": ["2"]}, 0)


def _verify(unit: Unit, ident: str) -> None:
    place = places.locate(unit, TRIAL, ident, "V02", "SURG")
    verification.verify(unit, place.protocol, places.book(unit, place), place.key)


def _sign(unit: Unit, ident: str, visit: str, form: str) -> None:
    place = places.locate(unit, TRIAL, ident, visit, form)
    signatures.sign(unit, place.protocol, places.book(unit, place), {place.key: None}, PASSWORD)


def _freeze(unit: Unit, ident: str) -> None:
    place = places.locate(unit, TRIAL, ident, "V02", "SURG")
    instance = places.book(unit, place).get(*place.key)
    assert instance is not None
    holds.move(unit, holds.target(unit, TRIAL, "form", instance.instance.id), "freeze", reason="checked")


def _serious(world: World, ident: str, day: date, narrative: str) -> None:
    at = f"{day.isoformat()}T08:00"
    put(world, ident, "EV", "AE", {"ae_term": "Bleeding", "ae_start": day.isoformat(), "ae_ser": 1, "ae_ongoing": 1})
    site = {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": at, "sae_reported": f"{day.isoformat()}T09:00"}
    put(world, ident, "EV", "SAE", site, only=True, complete=False)
    _add(world, ident, "SAE", {"sae_rel_pi": 3, "sae_proc": [1], "sae_narr": narrative}, "principal-investigator")


def _reoperated(world: World, ident: str, tmr: bool) -> None:
    """The operating team's part of a reintervention: another type and, after the standard handling, the other procedure."""
    said = {"re_type": [5], "re_nerve": [2, 4], "re_crossover": 0} if tmr else {"re_type": [1], "re_crossover": 1}
    _add(world, ident, "REOP", said, "surgeon")


def _add(world: World, ident: str, form: str, said: dict[str, Any], role: str) -> None:
    """Add one's own answers to those that are there."""

    def work(unit: Unit) -> None:
        place = places.locate(unit, TRIAL, ident, "EV", form)
        view = records.view(unit, place)
        known = {n: v for n, v in view.answers.to_json()["answers"].items() if n not in view.of_others and place.form.by_name[n].typed_in}
        records.save(unit, place, Submission({**known, **said}, {}, False, "source: the notes", ("SAE-10",), view.version or None))

    world.run(role, work)


# --- comparing ---------------------------------------------------------------------------------------------------------

#: What differs between any two instances: random names of things, salts, commitments and signatures, in hexadecimal or base64.
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{12,}\b|(?<=nonce[=-])[\w\"'-]+|(?<=value=\")[\w-]{40,}")


def plain(content: str) -> str:
    """Text without what is random."""
    return _RANDOM.sub("#", content)
