"""Building the demonstration: an instance, its people and approvals, and eighteen months of a trial, day by day.

Everything is done through the services by the account whose task it is, at the moment at which it would have happened. The
same seed and day give the same people, answers and allocations (a test world); keys, salts and passwords are always fresh.
"""

import heapq
import json
import random
import secrets
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from trialdm import instance as instances
from trialdm import settings
from trialdm.definitions import registers, sources
from trialdm.demo import audit, cast, figures
from trialdm.demo.closing import Closing
from trialdm.demo.invented import invented
from trialdm.demo.journeys import Act, Journey, Person, journey, weekday
from trialdm.demo.questions import Asking
from trialdm.demo.typing_twice import Typing
from trialdm.demo.watching import Watching
from trialdm.domain.errors import Unanswered
from trialdm.domain.ethics import Approval, Document
from trialdm.domain.protocol import Protocol
from trialdm.instance import Instance
from trialdm.rehearsal.simulate import sha256
from trialdm.services import (
    allocations,
    answering,
    approvals,
    delegations,
    epochs,
    gates,
    identities,
    ledgers,
    participants,
    people,
    places,
    records,
    register,
    rehearsals,
    schemes,
    studies,
    theatre,
    tokens,
    transfers,
)
from trialdm.services.records import Submission
from trialdm.services.unit import LONDON, SYSTEM, Actor, Unit, Units

SIGN_INS = "sign-ins.json"
TRIAL = "pre-tmr"
MONTHS = 18

#: The day in the definition files on which recruitment opens; the register is moved so that it falls 18 months before today.
_OPENED_IN_FILES = date(2025, 5, 12)

#: What the schemes of the rehearsal have in common.
_SAME = {"imbalance": "range", "burn_in": 10}

Say = Callable[[str], None]


def ready(folder: Path, *, participants: int, seed: int, today: date | None, fresh: bool, say: Say) -> Instance:
    """The demonstration in a folder, built first where it is not there yet. An interrupted one is built anew."""
    if fresh and folder.exists():
        _remove(folder)
    if settings.exists(folder) and not (folder / SIGN_INS).exists():
        say("The demonstration was not finished: building it anew.")
        _remove(folder)
    if settings.exists(folder):
        say("The demonstration is there already; --fresh builds it anew.")
    else:
        build(folder, count=participants, seed=seed, today=today, say=say)
    return instances.open_folder(folder)


def _remove(folder: Path) -> None:
    """Remove a demonstration, and nothing that is not one."""
    if not settings.exists(folder):
        return
    if not settings.load(folder).demo:
        raise settings.NoInstance(f"{folder} holds an instance that is not a demonstration; it is left as it is.")
    shutil.rmtree(folder)


def build(folder: Path, *, count: int, seed: int, today: date | None, say: Say) -> None:
    """Create the instance and play the trial up to today."""
    opened = instances.create(folder, demo=True, today=today)
    last = today or datetime.now(LONDON).date()
    rng = random.Random(f"{seed}")
    play = Play(opened.units, last, rng, say)
    if play.units.vault is not None:
        play.units = replace(play.units, vault=instances.kept_vault(opened.settings, inside=True, pseudonyms=play.units.entropy))
    play.prepare()
    play.run(count)
    play.pathway(seed)
    play.units.run(SYSTEM, lambda unit: [play.token(unit, entry["email"]) for entry in play.sign_ins])
    rows = [{**entry, "token": play.tokens[entry["email"]]} for entry in play.sign_ins]
    (folder / SIGN_INS).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    (folder / SIGN_INS).chmod(0o600)
    say("")


def definitions_folder(kind: str) -> Path:
    """The definition files that come with trialdm: beside the package in a checkout, else where the installer put them."""
    beside = Path(__file__).resolve().parents[2] / kind
    return beside if (beside / TRIAL).is_dir() else Path(sysconfig.get_path("data")) / "share" / "trialdm" / kind


@dataclass
class Play:
    """The trial being played: the clock, the actors, and what has been set up."""

    units: Units
    last: date
    rng: random.Random
    say: Say
    moment: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    password: str = ""
    sign_ins: list[dict[str, str]] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    actors: dict[tuple[str, str], Actor] = field(default_factory=dict)
    site_opened: dict[str, date] = field(default_factory=dict)
    steps: int = 0
    added: int = 0

    def __post_init__(self) -> None:
        source = random.Random(self.rng.random())
        self.units = replace(self.units, clock=lambda: self.moment, entropy=source.randbytes)
        self.password = f"demo-{secrets.token_hex(3)}-{secrets.token_hex(3)}"
        self.opens = weekday(self.last - timedelta(days=round(MONTHS * 30.44)))
        self.shift = self.opens - _OPENED_IN_FILES

    # --- setting up --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Accounts, protocol, approvals up to the opening, and the scheme."""
        self.say("Setting up accounts, protocol and approvals ..")
        self.at(self.opens - timedelta(days=160), time(9))
        self.units.run(SYSTEM, lambda unit: self._account(unit, cast.ADMINISTRATOR, "Sam Admin", "system-administrator", ""))
        admin = self._actor(cast.ADMINISTRATOR)
        self.units.run(admin, lambda unit: self._account(unit, cast.MANAGER, "Morag Manager", "trial-manager", ""))
        manager = self._actor(cast.MANAGER)
        self.actors[("trial-manager", "")] = manager
        texts = sources.read_folder(definitions_folder("protocols") / TRIAL)
        self.protocol: Protocol = self.units.run(manager, lambda unit: studies.load(unit, texts))
        for event in ("configure", "submit"):
            self._trial(manager, event)
        pathway = sources.read_folder(definitions_folder("protocols") / audit.AUDIT)
        self.units.run(manager, lambda unit: studies.load(unit, pathway))
        self.members = cast.members(self.protocol)
        self.units.run(admin, lambda unit: [self._account(unit, m.email, m.name, m.role, m.site) for m in self.members])
        self.units.run(admin, lambda unit: [self._account(unit, m.email, m.name, m.role, m.site, audit.AUDIT) for m in cast.pathway()])
        self.units.run(admin, self._readers)
        for member in self.members:
            self.actors[(member.role, member.site)] = self._actor(member.email)
        self.entries = registers.load_ethics(sources.read_folder(definitions_folder("ethics") / TRIAL), self.protocol, shift=self.shift)
        self.pending: list[Approval | Document] = sorted([*self.entries.approvals, *self.entries.documents], key=_known_on)
        self.at(self.opens - timedelta(days=1), time(10))
        self._register(self.opens - timedelta(days=1))
        self._trial(manager, "approve")
        self._allocation()
        self._team(None, self.opens)
        self.at(self.opens, time(7))
        self._trial(manager, "open")

    def _allocation(self) -> None:
        """The scheme: committed to by the statistician, contributed to by the sponsor, signed by the chief investigator."""
        self.units.run(self._as("statistician-unblinded"), lambda unit: schemes.prepare(unit, TRIAL, seed=unit.entropy(32)))
        self._rehearsal()
        dice = "".join(str(self.rng.randint(1, 6)) for _ in range(40))
        source = "40 dice thrown at the steering committee's first meeting"
        self.units.run(self._as("sponsor"), lambda unit: schemes.contribute(unit, TRIAL, dice, dice=True, source=source))
        for custodian in ("sponsor", "dmc"):
            self.units.run(self._as(custodian), lambda unit: ledgers.draw_share(unit, TRIAL))
        self.units.run(self._as("chief-investigator"), lambda unit: epochs.sign(unit, TRIAL))

    def _rehearsal(self) -> None:
        """The scheme beside two others, simulated before it went live, and signed by the sponsor."""
        statistician = self._as("statistician-unblinded")
        others = json.dumps([{"method": "minimisation", "p": "7/10", **_SAME}, {"method": "minimisation", "p": "9/10", **_SAME}])
        asked = rehearsals.Asked(trials=500, against=(("alternatives", others),))
        row = self.units.run(statistician, lambda unit: rehearsals.ask_for(unit, TRIAL, asked))
        made = rehearsals.run(rehearsals.plan_of(row))
        self.units.run(statistician, lambda unit: rehearsals.advance(unit, TRIAL, row.id, state="done", done=row.total, made=made))
        digest = sha256(made)
        self.units.run(self._as("sponsor"), lambda unit: rehearsals.sign(unit, TRIAL, row.id, digest))

    def _sign_head(self, day: date) -> None:
        """The head of the chain, signed once a day as a running service does, before anybody comes to work."""
        self.at(day, time(5))
        with self.units.reading(SYSTEM) as unit:
            waiting = ledgers.due(unit)
        for trial, name, epoch in waiting:
            self.units.run(SYSTEM, lambda unit, at=(trial, name, epoch): ledgers.sign_daily(unit, *at))

    def at(self, day: date, clock: time) -> None:
        """Set the moment (wall time in Europe/London)."""
        self.moment = datetime.combine(day, clock, LONDON).astimezone(UTC)

    def _readers(self, unit: Unit) -> None:
        """Who reads the treatment pathway beside the trial."""
        for role in cast.READERS:
            people.give(unit, people.by_email(unit, f"{cast.UNIT[role]}@{cast.DOMAIN}"), role, audit.AUDIT)

    def _account(self, unit: Unit, email: str, name: str, role: str, site: str, of: str = TRIAL) -> None:
        if email == cast.ADMINISTRATOR:
            people.first(unit, email, name, self.password)
        else:
            trial = "*" if email == cast.MANAGER else of
            people.add(unit, email, name, self.password, [(role, site)], trial=trial)
        self.sign_ins.append({"email": email, "password": self.password, "role": role, "site": site})

    def token(self, unit: Unit, email: str) -> None:
        """A token for programs: made on the last day, from which on it is good for a year."""
        account = people.by_email(unit, email)
        self.tokens[email] = tokens.create(replace_actor(unit, replace(unit.actor, id=account.id)), account, "demonstration")

    def _actor(self, email: str) -> Actor:
        with self.units.reading(SYSTEM) as unit:
            return people.actor(unit, people.by_email(unit, email), "demonstration")

    def _as(self, role: str, site: str = "") -> Actor:
        return self.actors[(role, site)]

    def _trial(self, actor: Actor, event: str) -> None:
        self.units.run(actor, lambda unit: gates.move_trial(unit, TRIAL, event))

    def _register(self, until: date) -> None:
        """Record the decisions and documents that are known by a day."""
        due = [entry for entry in self.pending if _known_on(entry) <= until]
        self.pending = self.pending[len(due) :]
        if due:
            self.at(until, time(6))
            self.units.run(self._as("trial-manager"), lambda unit: [_recorded(unit, entry) for entry in due])
            self.units.run(self._as("sponsor"), _check_all)

    def _team(self, site: str | None, opened: date) -> None:
        """Training, credentials and lines of a site's team (None: of the trial's own staff); each person signs their own."""
        team = [m for m in self.members if (m.site == site if site else not m.site) and m.tasks]
        trained = cast.trained_on(opened)

        def work(unit: Unit) -> None:
            for member in team:
                account = people.by_email(unit, member.email)
                unit.actor = self._as("trial-manager")
                until = self.last + cast.TRAINING_LEFT if member.email == cast.RUNS_OUT else trained + timedelta(days=1095)
                delegations.train(unit, TRIAL, account, kind="gcp", on=trained, valid_to=until)
                delegations.train(unit, TRIAL, account, kind="protocol", on=trained)
                if member.surgeon is not None:
                    cases = 6 + member.surgeon % 5
                    delegations.credential(unit, TRIAL, account, surgeon=member.surgeon, site=member.site, valid_from=trained, cases=cases)
                line = delegations.propose(unit, TRIAL, account, tasks=member.tasks, start=opened, site=member.site)
                unit.actor = self._as(member.role, member.site)
                delegations.sign(unit, TRIAL, line)
                chief = not member.site or member.role == "principal-investigator"
                unit.actor = self._as("chief-investigator") if chief else self._as("principal-investigator", member.site)
                delegations.countersign(unit, TRIAL, line)

        self.units.run(SYSTEM, work)

    def _asked_today(self) -> None:
        """What waits on the last day: a line for emergencies that the sub-investigator of the first site has still to sign."""
        self.at(self.last, time(6))
        site = self.protocol.sites[0].code
        asked = next(m for m in self.members if (m.role, m.site) == ("sub-investigator", site))

        def work(unit: Unit) -> None:
            account = people.by_email(unit, asked.email)
            delegations.propose(unit, TRIAL, account, tasks=("unblind",), start=self.last, site=site)

        self.units.run(self._as("principal-investigator", site), work)

    # --- playing -----------------------------------------------------------------------------------------------------

    def run(self, count: int) -> None:
        """Play every day from the opening to today."""
        greenlights = {a.site: a.starts for a in self.entries.approvals if a.body == "site_greenlight" and a.starts}
        opening = sorted((max(day, self.opens), site) for site, day in greenlights.items())
        queue: list[tuple[date, int, int, Act, Journey]] = []
        people_to_come = self._recruits(count, {site: day for day, site in opening})
        for person in people_to_come:
            self._next(queue, person, journey(person, self.protocol), None)
        sites = {site.code: i for i, site in enumerate(self.protocol.sites)}
        total = (self.last - self.opens).days + 1
        asking = Asking(self.units, self.protocol, self.last, self._as)
        watching = Watching(self.units, self.protocol, self.last, self._as)
        closing = Closing(self.units, self.protocol, self.last, self._as, self.password)
        typing = Typing(self.units, self.protocol, self.last, self._as)
        for offset in range(total):
            day = self.opens + timedelta(days=offset)
            self._sign_head(day)
            self._register(day)
            if day == self.last:
                self._asked_today()
            for when, site in [row for row in opening if row[0] == day]:
                self._open_site(site, when)
            for site in sites:
                todays: list[tuple[Person, Act, Journey]] = []
                while queue and queue[0][0] == day and queue[0][1] == sites[site]:
                    _, _, number, act, rest = heapq.heappop(queue)
                    todays.append((people_to_come[number], act, rest))
                if todays:
                    self._site_day(day, sites[site], todays, queue)
            self.at(day, time(16, 30))
            self.steps += asking.day(day) + watching.day(day) + typing.day(day) + closing.day(day)
            if offset % 7 == 0 or offset == total - 1:
                self.say(f"\r{day.isoformat()}  {round(100 * (offset + 1) / total):3d}%  {self.steps} forms and acts  ")

    def pathway(self, seed: int) -> None:
        """The treatment pathway, audited beside the trial."""
        actors = {member.email: self._actor(member.email) for member in cast.pathway()}
        self.steps += audit.play(self.units, actors, self.actors[("trial-manager", "")], self.at, self.last, seed)

    def _recruits(self, count: int, opened: Mapping[str, date]) -> list[Person]:
        """The people to come, each with a site, a day of screening, and dirt on some of the journeys."""
        rng = self.rng
        share = {s.code: s.target * max((self.last - opened[s.code]).days, 1) for s in self.protocol.sites if s.code in opened}
        site_of = {site.code: site for site in self.protocol.sites}
        waiting = max(2, count // 22)
        found: list[Person] = []
        for number in range(count):
            code = rng.choices(list(share), list(share.values()))[0]
            latest = (self.last - opened[code]).days - 14
            screened = weekday(opened[code] + timedelta(days=rng.randint(1, max(latest, 2))))
            fate = rng.choices(
                ("enters", "not entered", "not eligible"),
                (1 - figures.NOT_ENTERED - figures.NOT_ELIGIBLE, figures.NOT_ENTERED, figures.NOT_ELIGIBLE),
            )[0]
            if number >= count - waiting:
                screened, fate = self._recently(rng), "waits"
            surgeon = [s.code for s in self.protocol.sites].index(code) + 1
            person = Person(random.Random(rng.random()), site_of[code], surgeon, screened, number, fate, self._dirt(number, screened))
            found.append(person.draw())
        return found

    def _recently(self, rng: random.Random) -> date:
        """A weekday some days before today, so that the person is ready to be randomised now."""
        day = self.last - timedelta(days=rng.randint(6, 8))
        return day - timedelta(days=max(day.weekday() - 4, 0))

    def _dirt(self, number: int, screened: date) -> frozenset[str]:
        kinds = ("average above worst", "wrong side", "out of window", "late serious event")
        periods = (9, 97, 17, 23)
        dirt = {kind for kind, period in zip(kinds, periods, strict=True) if number % period == period - 2}
        newest = max((d.effective_from for d in self.entries.documents if d.kind == "ICF"), default=self.last)
        if newest + timedelta(days=50) < screened and number % 11 == 4:
            dirt.add("old consent form")
        if number % 60 == 6:
            dirt.add("moves house")
        return frozenset(dirt)

    def _open_site(self, site: str, day: date) -> None:
        self.at(day, time(7, 30))
        self._team(site, day)
        manager = self.actors[("trial-manager", "")]
        for event in ("select", "set-up", "confirm", "green-light", "activate"):
            self.units.run(manager, lambda unit, event=event: gates.move_site(unit, TRIAL, site, event))

    def _next(self, queue: list[Any], person: Person, rest: Journey, answer: Any) -> None:
        """Put the next act of a journey into the queue, if its day comes."""
        try:
            act = rest.send(answer) if answer is not None else next(rest)
        except StopIteration:
            return
        if act.day <= self.last:
            order = [site.code for site in self.protocol.sites].index(person.site.code)
            heapq.heappush(queue, (act.day, order, person.number, act, rest))

    def _site_day(self, day: date, order: int, todays: list[tuple[Person, Act, Journey]], queue: list[Any]) -> None:
        """Everything of one site on one day, in one transaction; later acts of the day wait for their turn."""
        self.at(day, time(8 + (order * 40) // 60, (order * 40) % 60))

        def work(unit: Unit) -> None:
            waiting = list(todays)
            while waiting:
                person, act, rest = waiting.pop(0)
                stage = Standing(self, unit)
                site = person.site.code if (act.role, person.site.code) in self.actors else ""
                unit.actor = self._as(act.role, site)
                answer = act.do(stage)
                following: list[Any] = []
                self._next(following, person, rest, answer)
                for entry in following:
                    if entry[0] <= day:
                        waiting.append((person, entry[3], entry[4]))
                    else:
                        heapq.heappush(queue, entry)

        self.units.run(SYSTEM, work)


@dataclass
class Standing:
    """The services as an act sees them: each call takes a little time of the day."""

    play: Play
    unit: Unit

    @property
    def now(self) -> datetime:
        """Wall time in Europe/London."""
        return self.unit.now.astimezone(LONDON).replace(tzinfo=None)

    def _tick(self) -> None:
        self.play.moment += timedelta(seconds=11)
        self.play.steps += 1
        self.unit.now = self.play.moment

    def add(self, site: str) -> str:
        self._tick()
        given = invented(self.play.added)
        self.play.added += 1
        return identities.add(self.unit, TRIAL, site, given).id

    def save(self, participant: str, form: str, visit: str, given: Mapping[str, Any], row: int = 1) -> None:
        self._tick()
        place = places.locate(self.unit, TRIAL, participant, visit, form, row)
        beside = places.context(self.unit, place, places.book(self.unit, place))
        blinded = not self.unit.sees_allocations(TRIAL, place.participant.site)
        stored = places.book(self.unit, place).get(*place.key)
        unseen = {item.name for item in place.form.items if blinded and place.form.restricts(item)}
        unseen |= answering.others(self.unit, place, stored)
        filled = figures.fill(place.form, beside, self.play.rng, given, unseen)
        sent = Submission(filled.answers, filled.missing, complete=True, confirm=_KNOWN_PROMPTS.get(form, ()))
        try:
            records.save(self.unit, place, sent)
        except Unanswered as asked:
            confirm = (*sent.confirm, *(detail.code for detail in asked.details))
            records.save(self.unit, place, replace(sent, confirm=confirm))

    def randomise(self, participant: str, key: str) -> int:
        self._tick()
        allocations.randomise(self.unit, TRIAL, participant, key)
        arm = allocations.arm_of(self.unit, self.play.protocol, participant)
        if arm is None:
            raise RuntimeError("the allocation was not made")
        return arm

    def confirm(self, participant: str, side: int, limb: int, level: int) -> None:
        self._tick()
        theatre.confirm(self.unit, TRIAL, participant, {"side": side, "limb": limb, "level": level}).require()

    def transfer(self, participant: str) -> str:
        """Move a participant to the first site that can receive them; gives the site that looks after them now."""
        self._tick()
        protocol, person = self.play.protocol, participants.known(self.unit, TRIAL, participant)
        receiving = transfers.may_receive(self.unit, protocol, person) if transfers.waits(self.unit, protocol, person) else []
        if receiving:
            transfers.transfer(
                self.unit, TRIAL, participant, receiving[0].code, self.unit.today, "Moved house; the hospital nearby takes over"
            )
        return person.site

    def staff(self, role: str, site: str) -> int:
        return self.play.actors[(role, site)].staff_no

    def document(self, kind: str, site: str, day: date) -> int:
        current = register.read(self.unit, TRIAL).current_document(kind, self.play.protocol.site(site), day)
        if current is None:
            raise RuntimeError(f"no {kind} is in use at {site} on {day}")
        return current.code


#: Prompts that the paper diary always causes; the nurse confirms them.
_KNOWN_PROMPTS = {"DIAR": ("DIAR-03", "DIAR-04", "DIAR-05")}


def replace_actor(unit: Unit, actor: Actor) -> Unit:
    """The same unit, acting for somebody else."""
    unit.actor = actor
    return unit


def _check_all(unit: Unit) -> None:
    """The second person's check of everything that waits for one."""
    for approval in approvals.waiting(unit, TRIAL):
        approvals.check(unit, TRIAL, approval.entry)


def _recorded(unit: Unit, entry: Approval | Document) -> int:
    """A decision as it is recorded, and a version of a document as the folder has it: it names no modification."""
    return approvals.record(unit, TRIAL, entry) if isinstance(entry, Approval) else register.add(unit, TRIAL, entry)


def _known_on(entry: Any) -> date:
    """When a decision or document becomes known: decided, approved, or in force."""
    day: date | None = getattr(entry, "decided_on", None) or getattr(entry, "approved_on", None) or getattr(entry, "effective_from", None)
    return day or date.min
