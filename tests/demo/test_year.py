"""A year of work at 14 sites by everybody who works there, right and wrong: every state that was ever reached is in the table of
steps (`tests/spec/lifecycles.yaml`), and the trail alone leads to every state that is stored."""

import json
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from tests.demonstration import TODAY, sign_ins
from trialdm import instance as instances
from trialdm.demo import build, figures
from trialdm.domain import lifecycle
from trialdm.domain.errors import TrialError
from trialdm.domain.protocol import Protocol
from trialdm.services import (
    allocations,
    answering,
    casebooks,
    checks,
    gates,
    holds,
    participants,
    people,
    places,
    queries,
    records,
    removals,
    signatures,
    studies,
    trail,
    transfers,
    verification,
)
from trialdm.services.places import Place
from trialdm.services.records import Submission
from trialdm.services.unit import SYSTEM, Actor, Unit, Units
from trialdm.store.tables import AuditEvent, AuditValue, FormInstance, Participant, Query, Status

SPEC = Path(__file__).parents[1] / "spec" / "lifecycles.yaml"

#: Acts in the year: one or two on each day.
ACTS = 600


@dataclass
class Year:
    """The year as it goes: who there is, the dice, and what has been tried."""

    units: Units
    protocol: Protocol
    actors: list[tuple[str, str, Actor]]
    password: str
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    site: str = ""

    def somebody(self, *roles: str) -> Actor:
        """Mostly somebody whose task it is, at a site where there are participants (`site`); at times just anybody."""
        if self.rng.random() < 0.1:
            return self.rng.choice([actor for *_, actor in self.actors])
        role = self.rng.choice(roles)
        return next(actor for held, site, actor in self.actors if held == role and site in (self.site, ""))

    def attempt(self, name: str, actor: Actor, work: Callable[[Unit], Any]) -> None:
        """Try it; a refusal is as good as a success."""
        try:
            self.units.run(actor, work)
            self.done[name] += 1
        except TrialError as error:
            self.refused[f"{name} {error.code}"] += 1

    # --- what people do ----------------------------------------------------------------------------------------------

    def _person(self, unit: Unit) -> str:
        here = select(Participant.id).where(Participant.trial_id == build.TRIAL, Participant.site == self.site)
        found: str = self.rng.choice(unit.session.scalars(here.order_by(Participant.number)).all())
        return found

    def _form(self, unit: Unit, *states: str, forms: Sequence[str] = ()) -> FormInstance | None:
        wanted = (
            select(FormInstance)
            .join(Participant, (Participant.trial_id == FormInstance.trial_id) & (Participant.id == FormInstance.participant_id))
            .where(FormInstance.trial_id == build.TRIAL, Participant.site == self.site)
            .order_by(Participant.number, FormInstance.visit, FormInstance.form, FormInstance.row)
        )
        wanted = wanted.where(FormInstance.status.in_(states)) if states else wanted
        found = unit.session.scalars(wanted.where(FormInstance.form.in_(forms)) if forms else wanted).all()
        return self.rng.choice(found) if found else None

    def _place(self, unit: Unit, one: FormInstance) -> Place:
        return places.locate(unit, build.TRIAL, one.participant_id, one.visit, one.form, one.row)

    def screen(self, unit: Unit) -> None:
        participants.add(unit, build.TRIAL, self.site)

    def fill_in(self, unit: Unit) -> None:
        """A form at a visit, finished or not, right or wrong."""
        person = participants.known(unit, build.TRIAL, self._person(unit))
        visit = self.rng.choice([visit for visit in self.protocol.visits if visit.kind != "unscheduled"])
        form = self.rng.choice([form for form, _ in self.protocol.forms_at(visit)])
        self._save(unit, places.locate(unit, build.TRIAL, person.id, visit.code, form.code))

    def change(self, unit: Unit) -> None:
        """A form that is there already."""
        one = self._form(unit)
        if one is not None:
            self._save(unit, self._place(unit, one))

    def _save(self, unit: Unit, place: Place) -> None:
        book = places.book(unit, place)
        stored = book.get(*place.key)
        unseen = answering.others(unit, place, stored)
        filled = figures.fill(place.form, places.context(unit, place, book), self.rng, {}, unseen)
        ranges = tuple(f"CRF.SOFT_RANGE.{item.name}" for item in place.form.items)
        soft = tuple(check.id for check in place.form.checks if check.severity == "soft")
        reason, complete = self.rng.choice(["source: seen again", "typing", ""]), self.rng.random() < 0.7
        sent = Submission(filled.answers, filled.missing, complete, reason, (*ranges, *soft), stored.instance.seq if stored else None)
        records.save(unit, place, sent)

    def leave(self, unit: Unit) -> None:
        """Somebody withdraws, is lost, found again, or dies."""
        form = self.rng.choice(["STAT", "DETH"])
        self._save(unit, places.locate(unit, build.TRIAL, self._person(unit), "EV", form))

    def strike(self, unit: Unit) -> None:
        rows = [code for code in ("NERV", "ANLG", "DIAR", "AE", "REOP") if self.rng.random() < 0.8]
        one = self._form(unit, "removed") if self.rng.random() < 0.3 else self._form(unit, forms=rows)
        if one is not None:
            does = removals.restore if one.status == "removed" else removals.remove
            does(unit, self._place(unit, one), self.rng.choice(["entered twice", ""]))

    def sign(self, unit: Unit) -> None:
        one = self._form(unit, "complete", "verified", "draft")
        if one is not None:
            book = casebooks.read(unit, build.TRIAL, participants.known(unit, build.TRIAL, one.participant_id))
            signatures.sign(unit, self.protocol, book, {(one.visit, one.form, one.row): one.seq}, self.password)

    def compare(self, unit: Unit) -> None:
        one = self._form(unit, "complete", "verified", "signed", "draft")
        if one is not None:
            book, stored = places.saved(unit, self._place(unit, one))
            verification.verify(unit, self.protocol, book, stored.key)

    def hold(self, unit: Unit) -> None:
        """Any step that leads on from where something is held, or one that does not."""
        scope = self.rng.choices(["participant", "form", "site", "trial"], [30, 30, 5, 1])[0]
        one = self._form(unit)
        ident = {"participant": self._person(unit), "site": self.rng.choice(self.protocol.sites).code, "form": one.id if one else ""}
        about = holds.target(unit, build.TRIAL, scope, ident.get(scope, ""))
        steps = lifecycle.events("hold", holds.state(unit, about)) if self.rng.random() < 0.9 else list(lifecycle.MACHINES["hold"])
        holds.move(unit, about, self.rng.choice(steps), reason="cleaned up to here")

    def thaw(self, unit: Unit) -> None:
        """Whatever is held leads on: so that the year does not freeze over."""
        held = [row for row in _newest(unit, "hold") if row.state != "free"]
        if held:
            scope, _, ident = self.rng.choice(held).subject.partition(":")
            about = holds.target(unit, build.TRIAL, scope, ident)
            holds.move(unit, about, self.rng.choice(lifecycle.events("hold", holds.state(unit, about))), reason="goes on")

    def ask(self, unit: Unit) -> None:
        one = self._form(unit)
        if one is not None:
            place = self._place(unit, one)
            queries.ask(unit, place, self.rng.choice([item.name for item in place.form.items]), "Please check this answer.")

    def _query(self, unit: Unit) -> str:
        lines = queries.listed(unit, build.TRIAL)
        return self.rng.choice(lines).id if lines else "none"

    def answer(self, unit: Unit) -> None:
        queries.answer(unit, build.TRIAL, self._query(unit), self.rng.choice(["confirmed", "confirmed", "corrected"]), "Seen in the notes.")

    def review(self, unit: Unit) -> None:
        act = self.rng.choice([queries.close, queries.close, queries.reopen, queries.cancel])
        act(unit, build.TRIAL, self._query(unit), "As discussed.")

    def check(self, unit: Unit) -> None:
        checks.run(unit, build.TRIAL, site=self.rng.choice(self.protocol.sites).code)

    def move_house(self, unit: Unit) -> None:
        site = self.rng.choice(self.protocol.sites).code
        transfers.transfer(unit, build.TRIAL, self._person(unit), site, unit.today, "Moved house")

    def randomise(self, unit: Unit) -> None:
        states = studies.states(unit, build.TRIAL, "participant")
        ready = [ident for ident, state in states.items() if state == "eligible"] or list(states)
        allocations.randomise(unit, build.TRIAL, self.rng.choice(ready), f"key {self.rng.random()}")

    def step(self, unit: Unit) -> None:
        """A step of the trial or of a site: paused, resumed, suspended; nothing that ends it."""
        if self.rng.random() < 0.5:
            gates.move_trial(
                unit, build.TRIAL, self.rng.choice(["pause", "resume", "resume", "hold", "release"]), reason="The committee asks for it"
            )
        else:
            site = self.rng.choice(self.protocol.sites).code
            gates.move_site(unit, build.TRIAL, site, self.rng.choice(["suspend", "resume"]), reason="Staff on leave")

    def one_more(self) -> None:
        """One act, of any kind, by somebody."""
        nurse, doctor = "research-nurse", "principal-investigator"
        cleaners, fillers = ("data-manager", "trial-manager"), (nurse, nurse, nurse, "sub-investigator", "unblinded-data-manager")
        kinds: list[tuple[int, str, tuple[str, ...], Callable[[Unit], Any]]] = [
            (3, "screen", (nurse,), self.screen),
            (8, "fill in", fillers, self.fill_in),
            (14, "change", fillers, self.change),
            (3, "leave", (nurse,), self.leave),
            (9, "strike", fillers, self.strike),
            (6, "sign", (doctor,), self.sign),
            (5, "compare", ("monitor", "unblinded-data-manager"), self.compare),
            (4, "hold", cleaners, self.hold),
            (9, "thaw", cleaners, self.thaw),
            (5, "ask", ("monitor", "data-manager"), self.ask),
            (6, "answer", (nurse,), self.answer),
            (8, "review", ("data-manager", "monitor"), self.review),
            (1, "check", ("data-manager",), self.check),
            (3, "move house", ("trial-manager",), self.move_house),
            (4, "randomise", ("trial-coordinator", nurse), self.randomise),
            (3, "step", ("trial-manager", "sponsor"), self.step),
        ]
        with self.units.reading(SYSTEM) as unit:
            self.site = self.rng.choice(sorted(unit.session.scalars(select(Participant.site).where(Participant.trial_id == build.TRIAL))))
        _, name, roles, work = self.rng.choices(kinds, [weight for weight, *_ in kinds])[0]
        self.attempt(name, self.somebody(*roles), work)


def _newest(unit: Unit, machine: str) -> list[Status]:
    rows = unit.session.scalars(select(Status).where(Status.trial_id == build.TRIAL, Status.machine == machine).order_by(Status.seq))
    return list({row.subject: row for row in rows}.values())


@pytest.fixture(scope="module")
def year(demonstration: Path, tmp_path_factory: pytest.TempPathFactory) -> Year:
    """Eighteen months as the demonstration plays them, and a year after them."""
    folder = tmp_path_factory.mktemp("year") / "demo"
    shutil.copytree(demonstration, folder)
    opened = instances.open_folder(folder)
    clock = [datetime.combine(TODAY + timedelta(days=1), time(9), UTC)]
    dice = random.Random(12)
    units = replace(opened.units, clock=lambda: clock[0], entropy=dice.randbytes)
    rows = sign_ins(opened)
    with units.reading(SYSTEM) as unit:
        protocol = studies.protocol(unit, build.TRIAL)
        actors = [(row["role"], row["site"], people.actor(unit, people.by_email(unit, row["email"]), "test")) for row in rows]
    found = Year(units, protocol, actors, rows[0]["password"], dice)
    for _ in range(ACTS):
        clock[0] += timedelta(hours=14, minutes=31)
        found.one_more()
    return found


#: What the system saves of its own accord -> the step that it is.
SYSTEM_STEPS = {"deviation.open": "save"}


def trailed(unit: Unit) -> Iterator[tuple[str, str, str, str, str]]:
    """Every change of a state in the trail, oldest first: machine, what changed, the step, the state before and after."""
    of_states = AuditEvent.field.in_(("state", "status"))
    said = select(AuditValue.event_id, AuditValue.which, AuditValue.value).join(AuditEvent, AuditEvent.event_id == AuditValue.event_id)
    values = {(event, which): json.loads(value) for event, which, value in unit.session.execute(said.where(of_states))}
    for row in unit.session.scalars(select(AuditEvent).where(of_states).order_by(AuditEvent.seq)):
        step = SYSTEM_STEPS.get(row.action, row.action.partition(".")[2])
        before, after = (values.get((row.event_id, which), "") for which in ("old", "new"))
        yield row.entity, f"{row.trial_id} {row.entity_id}", step, before, after


def _of_table(table: Any, step: str, passed: list[str]) -> tuple[list[str], str]:
    """The states that a step may leave, and the one it leads to: the newest before them for a step that takes something back."""
    if step in table["steps"]:
        return table["steps"][step]["from"], table["steps"][step]["to"]
    taken_back = table["back"][step]
    return taken_back, next((state for state in reversed(passed) if state not in taken_back), table["starts"])


def stored(unit: Unit) -> dict[tuple[str, str], str]:
    """Every state that the tables hold."""
    found = {("form", f"{one.trial_id} {one.id}"): one.status for one in unit.session.scalars(select(FormInstance))}
    found |= {("query", f"{one.trial_id} {one.id}"): one.state for one in unit.session.scalars(select(Query))}
    rows = unit.session.scalars(select(Status).order_by(Status.seq))
    return found | {(row.machine, f"{row.trial_id} {row.subject}"): row.state for row in rows}


def test_the_trail_alone_leads_to_every_state_and_only_by_steps_of_the_table(year: Year) -> None:
    machines = yaml.safe_load(SPEC.read_text("utf-8"))["machines"]
    passed: dict[tuple[str, str], list[str]] = defaultdict(list)
    steps: set[tuple[str, str]] = set()
    with year.units.reading(SYSTEM) as unit:
        for machine, subject, step, before, after in trailed(unit):
            table, states = machines[machine], passed[machine, subject]
            if step in ("create", "open") and step not in table["steps"]:
                assert (states, after) == ([], table["starts"])
            else:
                now = states[-1] if states else table["starts"]
                left, to = _of_table(table, step, states)
                assert now in left, (machine, step, now)
                assert (before or now, after) == (now, to), (machine, step, before, after)
                steps.add((machine, step))
            states.append(after)
        reached = {key: states[-1] for key, states in passed.items()}
        there = stored(unit)
        assert {key: reached.get(key) for key in there} == there
        assert trail.verify(unit) > 5000
        assert signatures.check(unit, build.TRIAL) > 10
    assert {step for machine, step in steps if machine == "form"} >= {"save", "finish", "amend", "verify", "sign", "remove", "restore"}
    assert {step for machine, step in steps if machine == "query"} >= {"answer", "close", "reopen", "cancel"}
    assert {step for machine, step in steps if machine == "hold"} >= {"freeze", "thaw", "ask-lock", "lock", "ask-unlock", "unlock"}


def test_everybody_did_something_and_was_refused_something(year: Year) -> None:
    acts = {"screen", "fill in", "change", "leave", "strike", "sign", "compare", "hold", "thaw", "ask", "answer", "review", "check", "step"}
    assert {name for name in acts if not year.done[name]} == set()
    assert len(year.refused) > 30
