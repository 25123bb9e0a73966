"""The delegation log, which is the permission: lines that are proposed, signed, countersigned and ended; training; credentials.

A line lets a person do tasks from the day on which both have signed, and the gate looks it up at every act. A row is never
changed: what happens to a line is a row beside it. Whoever writes here holds the trial's row alone, and whoever allocates
holds it shared, so that no allocation commits after the end of the line that it stood on. Nobody writes a line, a training
or a credential for their own account.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select

from trialdm.definitions.people import PersonEntry
from trialdm.domain import ethics, roles
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, WrongState
from trialdm.domain.ethics import Case, Person, Register
from trialdm.domain.ethics.rules import people as rules
from trialdm.domain.protocol import Protocol, Site
from trialdm.domain.roles import Grant
from trialdm.services import approvals, gates, notices, people, register, studies, tickets
from trialdm.services.unit import LONDON, Change, Unit, needed
from trialdm.store.tables import Account, Credential, Delegation, DelegationAct, Evidence, RegisterEntry, RoleGrant, Training

#: State of a line on a day -> what it says to people.
STATES = {
    "signature": "Waits for the person’s signature",
    "countersignature": "Waits for the countersignature",
    "later": "Signed, begins later",
    "in_force": "In force",
    "ended": "Ended",
    "declined": "Declined",
}

#: States in which somebody has still to sign.
WAITING = frozenset({"signature", "countersignature"})

#: Tasks for which a site needs somebody at any time. Nobody is asked for a line in an emergency.
NEEDED_TASKS = tuple(task for task in roles.TASKS if task != "unblind")

#: Days before the end of something at which it is named, and named as urgent (RP-14).
SOON, VERY_SOON = 60, 30


@dataclass(frozen=True)
class Act:
    """What somebody did to a line: `sign`, `countersign`, `decline` or `end`; `day` is the day from which it holds."""

    act: str
    day: date
    at: datetime
    by: str
    reason: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the delegation log with everything that happened to it. `site` is empty for the whole trial.

    `paper` marks a line that was taken over from the log on paper: it counts as signed when it starts.
    """

    trial: str
    id: str
    person: str
    name: str
    email: str
    roles: tuple[str, ...]
    site: str
    tasks: tuple[str, ...]
    start: date
    end: date | None
    paper: bool
    proposed_by: str
    proposed_on: date
    acts: tuple[Act, ...] = ()

    def act(self, name: str) -> Act | None:
        """The newest act of this name."""
        return next((act for act in reversed(self.acts) if act.act == name), None)

    @property
    def last_day(self) -> date | None:
        """The last day on which it counts."""
        ended = self.act("end")
        ends = [day for day in (self.end, ended.day - timedelta(days=1) if ended else None) if day]
        return min(ends, default=None)

    def known(self, on: date) -> bool:
        """Whether it stood in the log on that day."""
        return self.paper or self.proposed_on <= on

    def state(self, on: date) -> str:
        """Its state on a day (`STATES`), by what had happened until then."""
        done = {act.act for act in self.acts if act.day <= on}
        if "decline" in done:
            return "declined"
        if "end" in done or (self.end is not None and self.end < on):
            return "ended"
        if not self.paper and "sign" not in done:
            return "signature"
        if not self.paper and "countersign" not in done:
            return "countersignature"
        return "in_force" if self.start <= on else "later"

    def ended_on(self, on: date) -> bool:
        """Whether somebody ended it on that very day, so that it counted for a part of it."""
        ended = self.act("end")
        before = replace(self, acts=tuple(act for act in self.acts if act.act != "end"))
        return ended is not None and ended.day == on and before.state(on) == "in_force"

    def to_json(self, on: date) -> dict[str, Any]:
        """The line as the API and the command line give it."""
        return {
            "id": self.id,
            "person": self.email,
            "name": self.name,
            "roles": list(self.roles),
            "site": self.site,
            "tasks": list(self.tasks),
            "from": self.start.isoformat(),
            "to": self.last_day.isoformat() if self.last_day else None,
            "state": self.state(on),
            "paper": self.paper,
            "proposed_by": self.proposed_by,
            "acts": [{"act": a.act, "day": a.day.isoformat(), "by": a.by, "reason": a.reason} for a in self.acts],
        }


# --- reading the log -------------------------------------------------------------------------------------------------


def lines(unit: Unit, trial: str) -> list[Line]:
    """Every line of a trial's log, whoever asks: by site, name and start."""
    accounts = {account.id: account for account in unit.session.scalars(select(Account))}
    held = _held(unit, trial)
    acts: dict[str, list[Act]] = {}
    for row in unit.session.scalars(select(DelegationAct).where(DelegationAct.trial_id == trial).order_by(DelegationAct.seq)):
        acts.setdefault(row.line, []).append(Act(row.act, row.day, row.at, _name(accounts, row.by), row.reason))
    found = [
        Line(
            trial,
            row.id,
            row.account_id,
            accounts[row.account_id].name,
            accounts[row.account_id].email,
            tuple(roles.ROLES[grant.role][0] for grant in held.get(row.account_id, ()) if grant.site in ("", row.site) or not row.site),
            row.site,
            tuple(task for task in roles.TASKS if task in json.loads(row.tasks)),
            row.start,
            row.end,
            bool(row.signed_by_pi),
            _name(accounts, row.recorded_by),
            row.recorded_at.astimezone(LONDON).date(),
            tuple(acts.get(row.id, ())),
        )
        for row in unit.session.scalars(select(Delegation).where(Delegation.trial_id == trial))
    ]
    return sorted(found, key=lambda line: (line.site, line.name, line.start, line.proposed_on, line.id))


def _name(accounts: Mapping[str, Account], ident: str) -> str:
    return accounts[ident].name if ident in accounts else "the system"


def _held(unit: Unit, trial: str) -> dict[str, list[Grant]]:
    """The roles that everybody holds now in a trial, by account."""
    rows = unit.session.scalars(select(RoleGrant).where(RoleGrant.trial_id.in_(("*", trial))).order_by(RoleGrant.seq))
    found: dict[str, list[Grant]] = {}
    for account, grant in people.held(rows):
        found.setdefault(account, []).append(grant)
    return found


def one(unit: Unit, trial: str, ident: str) -> Line:
    """One line, for somebody who may see it. Raises Missing."""
    studies.definition(unit, trial)
    line = needed(next((line for line in lines(unit, trial) if line.id == ident), None), "There is no such line.", code="PEOPLE.LINE")
    if line.person != unit.actor.id and not _may_see(unit, trial, line.site):
        unit.require("delegation.see", trial, line.site)
    return line


def _may_see(unit: Unit, trial: str, site: str) -> bool:
    """Whether the actor reads the log of a site; lines of the whole trial are read by everybody who reads any."""
    return unit.may("delegation.see", trial, site or None)


def log(unit: Unit, trial: str, on: date | None = None, site: str = "") -> list[Line]:
    """The log as it stood on a day, for its reader: of the sites that they see, the lines of the whole trial, and their own.

    Raises Forbidden for somebody who reads no log and stands in none.
    """
    protocol, day = studies.protocol(unit, trial), on or unit.today
    if site:
        protocol.site(site)
    everything = lines(unit, trial)
    if not any(line.person == unit.actor.id and site in ("", line.site) for line in everything):
        unit.require("delegation.see", trial, site or None)
    wanted = (line for line in everything if line.known(day) and site in ("", line.site))
    return [line for line in wanted if line.person == unit.actor.id or _may_see(unit, trial, line.site)]


def waiting_for(unit: Unit, trial: str) -> list[tuple[Line, str]]:
    """Lines of a trial that wait for the actor, each with the step that they may take: `sign` or `countersign`."""
    found = [(line, step) for line in lines(unit, trial) for step in steps(unit, line)]
    return [(line, step) for line, step in found if step in ("sign", "countersign")]


# --- who signs what --------------------------------------------------------------------------------------------------


def countersigner(unit: Unit, line: Line) -> tuple[str, str]:
    """The role, and its site, that countersigns a line.

    The principal investigator of the site; for the principal investigator's own line and for the whole trial the chief
    investigator; for the chief investigator's own line the sponsor.
    """
    held = people.grants(unit, line.person)
    if any(g.role == "chief-investigator" and g.covers(line.trial, None) for g in held):
        return "sponsor", ""
    if not line.site or any(g.role == "principal-investigator" and g.covers(line.trial, line.site) for g in held):
        return "chief-investigator", ""
    return "principal-investigator", line.site


def _countersigns(unit: Unit, held: Iterable[Grant], line: Line) -> bool:
    role, site = countersigner(unit, line)
    return any(g.role == role and g.covers(line.trial, site or None) for g in held)


def steps(unit: Unit, line: Line) -> tuple[str, ...]:
    """What the actor may do with a line today: `sign`, `countersign`, `decline`, `end`."""
    state, own = line.state(unit.today), line.person == unit.actor.id
    countersigns = state in WAITING and not own and _countersigns(unit, unit.actor.grants, line)
    found = []
    if state == "signature" and own:
        found.append("sign")
    if state == "countersignature" and countersigns:
        found.append("countersign")
    if (own and state == "signature") or countersigns:
        found.append("decline")
    if state not in ("ended", "declined") and (own or unit.may("delegation.end", line.trial, line.site)):
        found.append("end")
    return tuple(found)


# --- writing the log -------------------------------------------------------------------------------------------------


def propose(unit: Unit, trial: str, account: Account, *, tasks: Iterable[str], start: date, end: date | None = None, site: str = "") -> str:
    """Propose a line; gives its identifier. It waits for the person's signature, then for the countersignature.

    By the trial manager, or by the principal investigator for their own site. Raises Forbidden (one's own line), Invalid and
    Conflict (the same line stands in the log already).
    """
    unit.require("delegation.propose", trial, site)
    line = _write(unit, trial, account, tasks, start, end, site, paper=False)
    where = f"Site {site}" if site else "The whole trial"
    text = f"{unit.actor.name} proposes a line of the delegation log for you, from {start.isoformat()}. {where}. It counts once you have "
    notices.tell(unit, trial, [account.id], "delegation", "A line waits for your signature", f"{text}signed it and it is countersigned.")
    return line


def transcribe(
    unit: Unit, trial: str, account: Account, *, tasks: Iterable[str], start: date, end: date | None = None, site: str = ""
) -> str:
    """Take over a line of the log on paper, where both have signed it: it counts from its start. By the trial manager."""
    unit.require("delegation.propose", trial, "")
    return _write(unit, trial, account, tasks, start, end, site, paper=True)


def _write(unit: Unit, trial: str, account: Account, tasks: Iterable[str], start: date, end: date | None, site: str, *, paper: bool) -> str:
    unit.attempt(trial, "delegation.propose", site=site)
    _for_somebody_else(unit, account, "a line of the delegation log")
    register.lock(unit, trial)
    wanted = sorted(set(tasks))
    _possible(unit, trial, account, wanted, start, end, site)
    row = Delegation(
        trial_id=trial,
        id=uuid.uuid4().hex,
        account_id=account.id,
        site=site,
        tasks=json.dumps(wanted),
        start=start,
        end=end,
        signed_by_pi=int(paper),
        recorded_at=unit.now,
        recorded_by=unit.actor.id,
    )
    _keep(unit, row, trial, account.id, "delegation.record" if paper else "delegation.propose", row.tasks, site)
    return row.id


def _for_somebody_else(unit: Unit, account: Account, what: str) -> None:
    """Raises Forbidden for the actor's own account."""
    if account.id == unit.actor.id:
        raise Forbidden(f"Nobody writes {what} for their own account.", code="PEOPLE.OWN_LINE", needs="Ask another person who may.")


def _possible(unit: Unit, trial: str, account: Account, tasks: Sequence[str], start: date, end: date | None, site: str) -> None:
    if site:
        studies.protocol(unit, trial).site(site)
    unknown = [task for task in tasks if task not in roles.TASKS]
    if unknown or not tasks:
        message = f"There is no task '{unknown[0]}'." if unknown else "A line names at least one task."
        raise Invalid(message, code="PEOPLE.TASK", needs=f"One or more of: {', '.join(roles.TASKS)}.")
    if end is not None and end < start:
        raise Invalid("The line ends before it begins.", code="PEOPLE.DAYS", needs="A last day on or after the first.")
    if not any(grant.covers(trial, site or None) for grant in people.grants(unit, account.id)):
        where = f"at site {site}" if site else "in this trial"
        raise Refused(
            f"{account.name} holds no role {where}.", code="PEOPLE.NO_ROLE", needs="A role there first: the trial manager gives it."
        )
    for line in lines(unit, trial):
        same = (line.person, line.site, set(line.tasks), line.start, line.end) == (account.id, site, set(tasks), start, end)
        if same and line.state(unit.today) not in ("ended", "declined"):
            raise Conflict("This line stands in the log already.", code="PEOPLE.LINE_TWICE", needs="Nothing, or other tasks or days.")


def _keep(unit: Unit, row: Any, trial: str, account: str, action: str, value: Any, site: str, reason: str = "") -> None:
    """Add a row of the log with its audit entry; the register is read again."""
    unit.add(row)
    changes = [Change(action.partition(".")[0], None, value)]
    unit.record(action, row, trial=trial, entity="account", entity_id=account, changes=changes, reason_text=reason, site=site)
    unit.session.flush()
    register.forget(unit, trial)


def sign(unit: Unit, trial: str, ident: str) -> Line:
    """Sign one's own line. Raises Forbidden for somebody else's, WrongState where it does not wait for this signature."""
    line = _found(unit, trial, ident, "delegation.sign")
    if line.person != unit.actor.id:
        raise Forbidden(
            f"This line is {line.name}’s: nobody signs for another person.",
            code="PEOPLE.NOT_OWN",
            needs=f"{line.name} signs it with their own account.",
        )
    _waits(unit, line, ("signature",))
    signed = _step(unit, line, "sign", unit.today)
    role, site = countersigner(unit, signed)
    told = [account for account in notices.holders(unit, trial, [role], site) if account != line.person]
    text = f"{line.name} has signed a line of the delegation log, from {line.start.isoformat()}. It counts once you have countersigned it."
    notices.tell(unit, trial, told, "delegation", "A line waits for your countersignature", text)
    return signed


def countersign(unit: Unit, trial: str, ident: str) -> tuple[str, ...]:
    """Countersign a line that its person has signed; gives the gate's warnings.

    Raises Refused (GOV-15) for one's own line, Forbidden for somebody whose signature it does not need, WrongState where it
    does not wait for a countersignature.
    """
    line = _found(unit, trial, ident, "delegation.countersign")
    answer = gates.require(unit, trial, "delegate", site=line.site, line_of=line.person, line_start=line.start)
    _require_countersigner(unit, line)
    _waits(unit, line, ("countersignature",))
    _step(unit, line, "countersign", unit.today)
    gates.keep(unit, trial, answer, entity="account", entity_id=line.person, site=line.site)
    return tuple(reason["message"] for reason in answer["reasons"])


def warnings(unit: Unit, line: Line) -> list[ethics.Reason]:
    """What the gate says about countersigning this line today."""
    return list(gates.ask(unit, line.trial, "delegate", site=line.site, line_of=line.person, line_start=line.start).reasons)


def decline(unit: Unit, trial: str, ident: str, reason: str) -> Line:
    """Refuse to sign or to countersign a line that waits, and say why: the person, or whoever would countersign it."""
    line = _found(unit, trial, ident, "delegation.decline")
    if not (line.person == unit.actor.id and line.state(unit.today) == "signature"):
        _require_countersigner(unit, line)
    _waits(unit, line, WAITING)
    if not reason.strip():
        raise Invalid("Say why you do not sign.", code="PEOPLE.REASON", needs="A reason.")
    return _step(unit, line, "decline", unit.today, reason.strip())


def end(unit: Unit, trial: str, ident: str, on: date | None = None, reason: str = "") -> Line:
    """End a line from a day on, today unless another is named: from then on it allows nothing.

    By the person, the principal investigator of the site, the trial manager, the chief investigator or the sponsor. Raises
    Refused for a day that has passed or that is later than the present end.
    """
    day = on or unit.today
    line = _found(unit, trial, ident, "delegation.end")
    if line.person != unit.actor.id:
        unit.require("delegation.end", trial, line.site)
    if line.state(unit.today) in ("ended", "declined"):
        raise WrongState("This line counts no more.", code="STATE.LINE", needs="Nothing.")
    if day < unit.today:
        raise Refused(
            "A line is not ended for days that have passed.",
            code="PEOPLE.END_PAST",
            needs="Today or a later day; what was done before stands as it was.",
        )
    if line.last_day is not None and line.last_day < day:
        raise Refused(
            f"The line ends on {line.last_day.isoformat()} already.", code="PEOPLE.END_LATER", needs="An earlier day, or a new line."
        )
    return _step(unit, line, "end", day, reason.strip())


def _found(unit: Unit, trial: str, ident: str, action: str) -> Line:
    """The line that somebody wants to change, with the log held. Raises Missing."""
    register.lock(unit, trial)
    line = one(unit, trial, ident)
    unit.attempt(trial, action, site=line.site)
    return line


def _require_countersigner(unit: Unit, line: Line) -> None:
    if line.person == unit.actor.id or not _countersigns(unit, unit.actor.grants, line):
        role, site = countersigner(unit, line)
        where = f" of site {site}" if site else ""
        raise Forbidden(
            f"{unit.actor.name} does not countersign this line.",
            code="ROLE.DELEGATION.COUNTERSIGN",
            needs=f"The {roles.ROLES[role][0].lower()}{where} signs it.",
        )


def _waits(unit: Unit, line: Line, states: Iterable[str]) -> None:
    state = line.state(unit.today)
    if state not in states:
        wanted = "the person’s own signature first" if state == "signature" else "a line that waits for this signature"
        raise WrongState(f"This line: {STATES[state][0].lower()}{STATES[state][1:]}.", code="STATE.LINE", needs=f"It needs {wanted}.")


def _step(unit: Unit, line: Line, act: str, day: date, reason: str = "") -> Line:
    row = DelegationAct(
        trial_id=line.trial, line=line.id, seq=len(line.acts) + 1, act=act, day=day, reason=reason, at=unit.now, by=unit.actor.id
    )
    value = {"line": line.id, "day": day.isoformat()}
    _keep(unit, row, line.trial, line.person, f"delegation.{act}", value, line.site, reason)
    return next(found for found in lines(unit, line.trial) if found.id == line.id)


# --- training and credentials ----------------------------------------------------------------------------------------


def train(
    unit: Unit,
    trial: str,
    account: Account,
    *,
    kind: str,
    on: date,
    valid_to: date | None = None,
    certificate: tuple[str, bytes] | None = None,
) -> None:
    """Record a training, with the name and content of its certificate where there is one.

    How long it lasts is the sponsor's policy (parameter `gcp_months`), or the last day on the certificate.
    """
    unit.require("training.record", trial)
    _for_somebody_else(unit, account, "a training")
    if kind not in ethics.TRAININGS:
        raise Invalid(f"There is no training '{kind}'.", code="PEOPLE.TRAINING", needs=f"One of: {', '.join(ethics.TRAININGS)}.")
    _happened(unit, on, valid_to)
    register.lock(unit, trial)
    row = Training(
        trial_id=trial,
        id=uuid.uuid4().hex,
        account_id=account.id,
        kind=kind,
        on=on,
        valid_to=valid_to,
        recorded_at=unit.now,
        recorded_by=unit.actor.id,
    )
    _keep(unit, row, trial, account.id, "training.record", kind, "")
    if certificate is not None:
        name, content = certificate
        register.note(unit, trial, "certificate", {"training": row.id, "sha256": approvals.keep(unit, trial, name, content)})


def _happened(unit: Unit, on: date, valid_to: date | None) -> None:
    """Raises Refused for a day to come, Invalid for an end before it."""
    if on > unit.today:
        raise Refused("This day lies in the future.", code="PEOPLE.FUTURE", needs="The day on the certificate.")
    if valid_to is not None and valid_to < on:
        raise Invalid("It ends before it begins.", code="PEOPLE.DAYS", needs="A last day on or after the first.")


def credential(
    unit: Unit,
    trial: str,
    account: Account,
    *,
    site: str,
    valid_from: date,
    cases: int,
    surgeon: int | None = None,
    valid_to: date | None = None,
) -> int:
    """Record a surgeon's credential for the procedure, or its newer count of cases; gives the surgeon's number in forms.

    The number is the one that the surgeon has already, else the next free one, unless it is given. Raises Conflict for
    another surgeon's number.
    """
    unit.require("training.record", trial)
    _for_somebody_else(unit, account, "a credential")
    studies.protocol(unit, trial).site(site)
    _happened(unit, valid_from, valid_to)
    if cases < 0:
        raise Invalid("A count of cases is 0 or more.", code="PEOPLE.CASES", needs="The number of supervised cases so far.")
    register.lock(unit, trial)
    number = _surgeon_number(unit, trial, account, surgeon)
    row = Credential(
        trial_id=trial,
        id=uuid.uuid4().hex,
        account_id=account.id,
        surgeon=number,
        site=site,
        valid_from=valid_from,
        valid_to=valid_to,
        cases=cases,
        recorded_at=unit.now,
        recorded_by=unit.actor.id,
    )
    _keep(unit, row, trial, account.id, "credential.record", {"surgeon": number, "cases": cases}, site)
    return number


def _surgeon_number(unit: Unit, trial: str, account: Account, given: int | None) -> int:
    rows = unit.session.execute(select(Credential.surgeon, Credential.account_id).where(Credential.trial_id == trial)).all()
    owners = {number: owner for number, owner in rows}
    own = next((number for number, owner in owners.items() if owner == account.id), None)
    number = given or own or max(owners, default=0) + 1
    if owners.get(number, account.id) != account.id or (own is not None and number != own):
        message = f"Surgeon {number} is another person." if number in owners else f"{account.name} is surgeon {own}."
        raise Conflict(message, code="PEOPLE.SURGEON", needs="The surgeon’s own number, or none: the next free one is taken.")
    return number


def certificate(unit: Unit, trial: str, sha256: str) -> Evidence:
    """A kept certificate, for somebody who reads the register. Raises Missing for another kind of file."""
    unit.require("approvals.see", trial)
    if sha256 not in _certificates(unit, trial).values():
        raise Missing("There is no such certificate.", code="FILE.UNKNOWN")
    return approvals.file(unit, trial, sha256)


def _certificates(unit: Unit, trial: str) -> dict[str, str]:
    """Training -> the digest of its certificate."""
    kept = unit.session.scalars(select(RegisterEntry.data).where(RegisterEntry.trial_id == trial, RegisterEntry.kind == "certificate"))
    return {row["training"]: row["sha256"] for row in map(json.loads, kept)}


# --- people files ----------------------------------------------------------------------------------------------------


def load(unit: Unit, trial: str, entries: Iterable[PersonEntry]) -> list[tuple[str, str]]:
    """People of a file: new accounts (invited), roles, and what is not on record yet of lines, training and credentials.

    Lines that say `signed_by_pi` are a copy of the log on paper; others wait for both signatures. Gives (e-mail, code) of
    the accounts that were created. Raises Forbidden for lines of one's own.
    """
    unit.require("people.manage", trial)
    created: list[tuple[str, str]] = []
    for entry in entries:
        account = unit.session.scalars(select(Account).where(Account.email == entry.email)).first()
        if account is None:
            account = people.add(unit, entry.email, entry.name, trial=trial)
            created.append((entry.email, tickets.issue(unit, account, "invitation", trial=trial)))
        held = people.grants(unit, account.id)
        for role, site in entry.roles:
            if Grant(role, trial, site) not in held:
                people.give(unit, account, role, trial, site)
        _take_over(unit, trial, account, entry)
    return created


def _take_over(unit: Unit, trial: str, account: Account, entry: PersonEntry) -> None:
    """Lines, training and credential of one person of a file, without what is on record."""
    for line in entry.delegations:
        said = {key: value for key, value in line.items() if key != "signed_by_pi"}
        try:
            (transcribe if line.get("signed_by_pi") else propose)(unit, trial, account, **said)
        except Conflict as known:
            if known.code != "PEOPLE.LINE_TWICE":
                raise
    on_record = register.read(unit, trial)
    for training in entry.trainings:
        if ethics.Training(account.id, training["kind"], training["on"], training.get("valid_to")) not in on_record.trainings:
            train(unit, trial, account, **training)
    if entry.credential:
        c = entry.credential
        new = ethics.Credential(c["surgeon"], account.id, account.name, c["site"], c["valid_from"], c.get("valid_to"), c["cases"])
        if new not in on_record.credentials:
            credential(unit, trial, account, **c)


# --- who could do this on that day -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Able:
    """Somebody whom a line of the log let do a task on a day: whether training and credential let them too, and why not."""

    person: str
    name: str
    email: str
    allowed: bool
    why: tuple[str, ...]
    lines: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"person": self.email, "name": self.name, "allowed": self.allowed, "why": list(self.why), "lines": list(self.lines)}


def who_could(unit: Unit, trial: str, task: str, site: str, on: date | None = None) -> list[Able]:
    """Who could do a task at a site on a day, those who could first; and those whom only a training or credential kept from it.

    The question is about the log, training and credential: approvals and the state of the site are asked of the gate.
    """
    protocol = studies.protocol(unit, trial)
    protocol.site(site)
    unit.require("delegation.see", trial, site)
    if task not in roles.TASKS:
        raise Invalid(f"There is no task '{task}'.", code="PEOPLE.TASK", needs=f"One of: {', '.join(roles.TASKS)}.")
    day = on or unit.today
    found = _able(protocol, register.read(unit, trial), lines(unit, trial), task, site, day)
    return sorted(found, key=lambda able: (not able.allowed, able.name))


def _able(protocol: Protocol, on_record: Register, log: Sequence[Line], task: str, site: str, on: date) -> list[Able]:
    by_person: dict[str, list[Line]] = {}
    for line in log:
        touched = line.state(on) == "in_force" or line.ended_on(on)
        if touched and task in line.tasks and line.site in ("", site):
            by_person.setdefault(line.person, []).append(line)
    found = []
    for held in by_person.values():
        first = held[0]
        case = Case("save-form", on, protocol, on_record, "", protocol.site(site), person=Person(first.person, first.name))
        against = [a for a in rules.training(case) if (a.severity or "block") == "block"]
        if task == "operate":
            against += list(rules.credentialed(case))
        why = [a.message for a in against]
        if not any(line.state(on) == "in_force" for line in held):
            why.insert(0, "The line ended on this day.")
        found.append(Able(first.person, first.name, first.email, not why, tuple(why), tuple(line.id for line in held)))
    return found


# --- what runs out ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expiry:
    """Something that ends soon or has ended: a `training`, a `credential`, a `line`, or nobody left for a task (`gap`).

    `ends` is its last day; for a gap the day before the first one with nobody. `left` counts the days until then.
    """

    kind: str
    site: str
    name: str
    what: str
    ends: date
    left: int

    @property
    def urgency(self) -> str:
        """`over`, `30` or `60`."""
        return "over" if self.left < 0 else str(VERY_SOON) if self.left <= VERY_SOON else str(SOON)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "ends": self.ends.isoformat(), "urgency": self.urgency}


def expiring(unit: Unit, trial: str, on: date | None = None, days: int = SOON) -> list[Expiry]:
    """Training, credentials and lines that end within some days or have run out, and tasks for which an open site has or will
    have nobody; the most urgent first (RP-14). Only what the reader sees."""
    protocol, day = studies.protocol(unit, trial), on or unit.today
    unit.require("delegation.see", trial)
    on_record, log = register.read(unit, trial), lines(unit, trial)
    living = [line for line in log if line.known(day) and line.state(day) in ("in_force", "later", *WAITING)]
    last = day + timedelta(days=days)
    found = [
        Expiry("line", line.site, line.name, ", ".join(roles.TASKS[task] for task in line.tasks), ends, (ends - day).days)
        for line in living
        if line.state(day) == "in_force" and (ends := line.last_day) is not None and ends <= last
    ]
    found += _ending_training(protocol, on_record, living, day, last)
    states = studies.states(unit, trial, "site")
    for site in [site.code for site in protocol.sites if states.get(site.code) == "open"]:
        found += _gaps(protocol, on_record, log, site, day, [e.ends for e in found if e.site in ("", site) and day <= e.ends])
    seen = [entry for entry in dict.fromkeys(found) if _may_see(unit, trial, entry.site)]
    return sorted(seen, key=lambda e: (e.ends, e.site, e.kind, e.name, e.what))


def _ending_training(protocol: Protocol, on_record: Register, living: Sequence[Line], day: date, last: date) -> list[Expiry]:
    found = []
    for line in living:
        for kind, words in ethics.TRAININGS.items():
            ends = trained_until(protocol, on_record, line.person, kind, day)
            if ends is not None and ends <= last:
                found.append(Expiry("training", line.site, line.name, words, ends, (ends - day).days))
        newest = {c.site: c for c in on_record.credentials if c.person == line.person and c.valid_from <= day}
        for held in newest.values():
            if held.valid_to is not None and held.valid_to <= last:
                found.append(Expiry("credential", held.site, held.name, "credential for TMR", held.valid_to, (held.valid_to - day).days))
    return found


def trained_until(protocol: Protocol, on_record: Register, person: str, kind: str, on: date) -> date | None:
    """The last day of somebody's newest training of a kind: by its certificate, and for good clinical practice by the sponsor's
    interval where the sponsor has one. None where there is no end, or no training."""
    if kind == "gcp" and ethics.param(protocol, "gcp_policy"):
        return on_record.trained_until(person, kind, on, ethics.param(protocol, "gcp_months"))
    ends = [t.valid_to for t in on_record.trainings if t.person == person and t.kind == kind and t.on <= on]
    return max(filter(None, ends)) if ends and None not in ends else None


def _gaps(protocol: Protocol, on_record: Register, log: Sequence[Line], site: str, day: date, ends: Sequence[date]) -> list[Expiry]:
    """Tasks of a site for which nobody is left, today or on the day after one of these ends."""
    asked = [day, *sorted({end + timedelta(days=1) for end in ends})]
    found = []
    for task in NEEDED_TASKS:
        empty = next((d for d in asked if not any(a.allowed for a in _able(protocol, on_record, log, task, site, d))), None)
        if empty is not None:
            before = empty - timedelta(days=1)
            found.append(Expiry("gap", site, "", f"Nobody for {roles.TASKS[task]}", before, (before - day).days))
    return found


@dataclass(frozen=True)
class Trained:
    """A training or credential on record, for its reader. `until` is its last day under the sponsor's policy, if it has one."""

    name: str
    email: str
    sites: tuple[str, ...]
    kind: str
    what: str
    on: date
    until: date | None
    certificate: str = ""

    def left(self, on: date) -> int | None:
        """Days until its end."""
        return (self.until - on).days if self.until else None


def trainings(unit: Unit, trial: str, on: date | None = None) -> list[Trained]:
    """The newest training of each kind and the newest credential of everybody in the log whom the reader sees, by name."""
    protocol, day = studies.protocol(unit, trial), on or unit.today
    unit.require("delegation.see", trial)
    on_record, kept = register.read(unit, trial), _certificates(unit, trial)
    places: dict[str, dict[str, None]] = {}
    known: dict[str, Line] = {}
    for line in lines(unit, trial):
        if line.person == unit.actor.id or _may_see(unit, trial, line.site):
            places.setdefault(line.person, {})[line.site] = None
            known[line.person] = line
    found: dict[tuple[str, str, str, str], Trained] = {}
    wanted = select(Training).where(Training.trial_id == trial, Training.on <= day).order_by(Training.on, Training.recorded_at)
    for row in unit.session.scalars(wanted):
        if row.account_id in known:
            who = known[row.account_id]
            until = trained_until(protocol, on_record, row.account_id, row.kind, day)
            words = ethics.TRAININGS[row.kind]
            found[(who.name, who.email, row.kind, "")] = Trained(
                who.name, who.email, tuple(places[who.person]), row.kind, words, row.on, until, kept.get(row.id, "")
            )
    for held in on_record.credentials:
        if held.person in known and held.valid_from <= day:
            who, words = known[held.person], f"TMR, {held.cases} supervised cases (surgeon {held.surgeon})"
            found[(who.name, who.email, "credential", held.site)] = Trained(
                who.name, who.email, (held.site,), "credential", words, held.valid_from, held.valid_to
            )
    return [found[key] for key in sorted(found)]


def sites(unit: Unit, trial: str) -> list[Site]:
    """The sites whose log the actor reads."""
    return [site for site in studies.protocol(unit, trial).sites if _may_see(unit, trial, site.code)]


def members(unit: Unit, trial: str, site: str = "") -> list[Account]:
    """Everybody who holds a role in the trial (at the site), without the actor: whom a form offers."""
    held = _held(unit, trial)
    wanted = select(Account).where(Account.state == "active", Account.id != unit.actor.id).order_by(Account.name, Account.staff_no)
    return [a for a in unit.session.scalars(wanted) if any(not site or g.site in ("", site) for g in held.get(a.id, ()))]
