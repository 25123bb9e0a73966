"""One unit of work: one transaction, one person acting, one moment, and no changed row without its audit entry.

`Units.run` opens the transaction, calls the use case, refuses to commit a change that was not recorded, commits, and only
then gives the result back. A busy database or a serialisation failure runs the use case again.
"""

import logging
import secrets
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, event, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, UOWTransaction

import trialdm
from trialdm.definitions.sources import BadDefinition
from trialdm.domain import audit, identifiers, roles, row_seals
from trialdm.domain.errors import Conflict, Forbidden, Missing, Refused, SignedOut, TrialError
from trialdm.domain.identity import Vault
from trialdm.domain.roles import Grant
from trialdm.domain.row_seals import Seal
from trialdm.store import rows, tables
from trialdm.store.engine import read_only, try_again
from trialdm.store.keys import Keys

Result = TypeVar("Result")

LONDON = ZoneInfo("Europe/London")

_TRIES = 5

#: How long a proof of who one is lasts, for acts that ask for a fresh one (ASVS 7.5.3).
PROOF = timedelta(minutes=5)


class Entropy(Protocol):
    """Where random bytes come from: `secrets.token_bytes`, or a seeded source in a demonstration."""

    def __call__(self, count: int, /) -> bytes: ...


@dataclass(frozen=True)
class Actor:
    """Who acts: an account with the roles held now, the door through which they came, and when they last proved who they are."""

    id: str
    name: str
    email: str
    staff_no: int
    grants: tuple[Grant, ...]
    door: str = "web"
    request_id: str = ""
    proved_at: datetime | None = None

    def role_names(self, trial: str) -> str:
        """The roles held in a trial, as the audit trail names them."""
        return ", ".join(roles.names(self.grants, trial))


#: Acts that no person does: setting up an instance.
SYSTEM = Actor("system", "trialdm", "", 0, (), "system")

#: A visitor who has not signed in.
NOBODY = Actor("", "nobody", "", 0, ())


class Unproved(Exception):
    """Whoever acts on pages proves once more who they are, and then goes on: a way that leads by another page, and no refusal."""


class Unrecorded(RuntimeError):
    """A use case changed a row without recording it: a fault of the program. Nothing was committed."""


@dataclass(frozen=True)
class Change:
    """One field of one thing, before and after, in the stream that decides who may read it."""

    field: str
    old: Any = None
    new: Any = None
    stream: str = "open"


@dataclass
class Unit:
    """What a use case works with. `remembered` keeps what was read once in this transaction."""

    session: Session
    actor: Actor
    now: datetime
    keys: Keys
    entropy: Entropy = secrets.token_bytes
    world: str = "live"
    clock: Callable[[], datetime] | None = None
    vault: Vault | None = None
    remembered: dict[Any, Any] = field(default_factory=dict)
    _events: list[dict[str, Any]] = field(default_factory=list)
    _values: list[dict[str, Any]] = field(default_factory=list)
    _touched: dict[int, Any] = field(default_factory=dict)
    _removed: set[int] = field(default_factory=set)
    _recorded: set[int] = field(default_factory=set)
    _seals: list[dict[str, Any]] = field(default_factory=list)
    _attempt: tuple[str, str, str] = ("", "", "")
    _afterwards: list[tuple[Callable[[], Any], Callable[[], Any]]] = field(default_factory=list)

    @property
    def today(self) -> date:
        """The day in Europe/London, which is what rules count in."""
        return self.now.astimezone(LONDON).date()

    @property
    def only_reads(self) -> bool:
        """Whether nothing can be written: such a unit waits for nobody."""
        return self.clock is None

    def turn_has_come(self) -> None:
        """Look at the clock again, once what this unit waited for is held: what others wrote meanwhile lies before."""
        if self.clock is not None:
            self.now = max(self.now, self.clock())

    # --- who may -----------------------------------------------------------------------------------------------------

    def may(self, action: str, trial: str, site: str | None = None) -> bool:
        """Whether a role of the actor's allows the action there: over cases in the treatment pathway, over participants elsewhere."""
        return roles.may(self.actor.grants, self.named(action, trial), trial, site)

    def sites(self, action: str, trial: str) -> frozenset[str] | None:
        """Sites at which the actor may do this, or None where it is all of them."""
        return roles.sites_seen(self.actor.grants, self.named(action, trial), trial)

    def named(self, action: str, trial: str) -> str:
        """What the action is called in this study (`roles.OF_CASES`)."""
        return roles.named(action, self._pathway(trial)) if action in roles.OF_CASES else action

    def _pathway(self, trial: str) -> str:
        """The pathway of a study; none of one that is not there yet."""
        from trialdm.services import studies  # which stands on this room

        try:
            return studies.protocol(self, trial).pathway
        except Missing:
            return "none"

    def attempt(self, trial: str, action: str, *, site: str = "") -> None:
        """Say what is about to be tried: where it is refused, the trail names it although nothing else is kept."""
        self._attempt = (trial, action, site)

    def require_somebody(self) -> None:
        """Raises SignedOut without a person."""
        if self.actor is NOBODY:
            raise SignedOut("Sign in first.")

    def require_proof(self) -> None:
        """Raises Unproved on pages unless whoever acts has proved who they are within the last minutes: for what cannot be taken back."""
        if self.actor.door == "web" and (self.actor.proved_at is None or self.now - self.actor.proved_at > PROOF):
            raise Unproved

    def require(self, action: str, trial: str, site: str | None = None) -> None:
        """Raises SignedOut without a person, Forbidden without a role for the action there."""
        self.attempt(trial, action, site=site or "")
        self.require_somebody()
        if not self.may(action, trial, site):
            where = f" at site {site}" if site else ""
            held = self.actor.role_names(trial) or "no role in this trial"
            action = self.named(action, trial)
            allowed = ", ".join(roles.ROLES[role][0] for role in roles.ROLES if role in roles.ACTIONS[action])
            raise Forbidden(
                f"{self.actor.name} ({held}) may not do this{where}.",
                code=f"ROLE.{action.upper()}",
                needs=f"One of these roles: {allowed}." if allowed else "A trial: in the treatment pathway nobody does this.",
            )

    def sees_allocations(self, trial: str, site: str | None) -> bool:
        """Whether the actor reads allocations and restricted forms of participants at this site (None: of all sites).

        After the end-of-trial unblinding everybody does who may see participants there, and who analyses the trial.
        """
        if roles.sees_allocations(self.actor.grants, trial, site):
            return True
        sites = self.sites("participant.see", trial)
        entitled = sites is None or site in sites or self.may("export.unblinded", trial)
        return entitled and self._unblinded(trial)

    def _unblinded(self, trial: str) -> bool:
        """Whether the whole trial has been unblinded; read once."""

        def newest() -> tables.Status | None:
            blinding = (tables.Status.trial_id == trial, tables.Status.machine == "blinding", tables.Status.subject == trial)
            return self.session.scalars(select(tables.Status).where(*blinding).order_by(tables.Status.seq.desc()).limit(1)).first()

        row = remember(self, ("state", trial, "blinding", trial), newest)
        return row is not None and row.state == "unblinded"

    # --- what happened -----------------------------------------------------------------------------------------------

    def add(self, *rows: tables.Table) -> None:
        self.session.add_all(rows)

    def record(
        self,
        action: str,
        *things: tables.Table,
        trial: str,
        entity: str,
        entity_id: str,
        changes: Sequence[Change] = (),
        reason_code: str = "",
        reason_text: str = "",
        site: str = "",
    ) -> None:
        """Write the audit entry of an act: one row for each changed field, or one for an act that changes none.

        `things` are the rows that the entry accounts for. Values are committed to with a fresh salt each. Raises Invalid for a reason
        that says nothing, or holds what identifies a person.
        """
        if reason_text:
            audit.require_words(reason_code, reason_text)
        identifiers.require_none(reason_text, "reason")
        self._recorded.update(id(thing) for thing in things)
        for change in changes or (Change(""),):
            self._enter(action, trial, entity, entity_id, change, reason_code, reason_text, site)

    def afterwards(self, done: Callable[[], Any], *, undone: Callable[[], Any]) -> None:
        """What is done outside the database once this unit is committed, or once it is certain that it never will be.

        Neither is sure to happen: a reconciler finds what was left over (`identities.reconcile`).
        """
        self._afterwards.append((done, undone))

    def covered(self, *things: tables.Table) -> None:
        """These rows are accounted for by an entry that is already written for what they belong to."""
        self._recorded.update(id(thing) for thing in things)

    def _enter(
        self, action: str, trial: str, entity: str, entity_id: str, change: Change, reason_code: str, reason_text: str, site: str
    ) -> None:
        event_id = uuid.uuid4().hex
        entry = audit.Entry(
            event_id=event_id,
            trial_id=trial,
            stream=change.stream,
            at_utc=self.now.astimezone(UTC).isoformat(timespec="microseconds"),
            at_source="server",
            actor_id=self.actor.id,
            actor_role=self.actor.role_names(trial),
            org=site,
            action=action,
            entity=entity,
            entity_id=entity_id,
            field=change.field,
            old_commit=self._commit(event_id, "old", change.old),
            new_commit=self._commit(event_id, "new", change.new),
            reason_code=reason_code,
            reason_text_commit=self._commit(event_id, "reason", reason_text or None),
            request_id=f"{self.actor.door}:{self.actor.request_id}",
            app_version=trialdm.__version__,
        )
        self._events.append({**entry.__dict__, "mac": audit.authenticate(self.keys.audit, entry)})

    def _commit(self, event_id: str, which: str, value: Any) -> str:
        if value is None:
            return ""
        salt = secrets.token_bytes(16)
        text = audit.canonical(value).decode()
        self._values.append({"event_id": event_id, "which": which, "salt": salt, "value": text})
        return audit.commit(salt, value)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _watch(self, session: Session, _flush: UOWTransaction, _instances: Any) -> None:
        changed = [*session.new, *(row for row in session.dirty if session.is_modified(row)), *session.deleted]
        self._touched.update((id(row), row) for row in changed if row.audited)
        self._removed.update(id(row) for row in session.deleted)

    def finish(self) -> None:
        """Flush, check that every changed row was recorded, and write the trail with a seal of each row. Raises Unrecorded."""
        self.session.flush()
        silent = [row for key, row in self._touched.items() if key not in self._recorded]
        if silent:
            raise Unrecorded(f"{type(silent[0]).__name__} was changed without an audit entry")
        seals = [rows.seal(self.keys.audit, row, removed=key in self._removed) for key, row in self._touched.items()]
        if seals:
            if not self._events:
                self._write_alone(seals[0])
            self._seal(seals)
        for table, found in (("audit_event", self._events), ("audit_value", self._values), ("row_seal", self._seals)):
            if found:  # by the table and not by its class: the mapper would take longer than the database
                self.session.execute(insert(tables.Table.metadata.tables[table]), found)

    def _write_alone(self, first: Seal) -> None:
        """The entry of a unit that only wrote rows of which an earlier one has an entry. Nobody blinded sees it: it might tell of them."""
        trial = first.key[0] if rows.keys_of(first.table)[0] == "trial_id" else "*"
        self.record("rows.write", trial=trial, entity="rows", entity_id="", changes=[Change("", stream="unblinded")])

    def _seal(self, seals: Sequence[Seal]) -> None:
        """Keep what the rows hold beside the last entry: its leaf in the tree covers them too."""
        event_id, text = self._events[-1]["event_id"], row_seals.to_text(seals)
        self._seals.append({"event_id": event_id, "rows": text, "mac": audit.authenticate_rows(self.keys.audit, event_id, text)})

    def take_over(self, table: str, seals: Sequence[Seal]) -> None:
        """Seal rows of an earlier version, beside an entry that says so."""
        self.record("rows.take-over", trial="*", entity="rows", entity_id=table, changes=[Change("rows", None, len(seals))])
        self._seal(seals)


@dataclass(frozen=True)
class Units:
    """Opens units of work on one instance's database. `world` is `live`, or `test` where nothing is real."""

    engine: Engine
    keys: Keys
    clock: Callable[[], datetime]
    entropy: Entropy = secrets.token_bytes
    world: str = "live"
    vault: Vault | None = None

    def run(self, actor: Actor, work: Callable[[Unit], Result]) -> Result:
        """Do the work in one transaction and give its result after the commit.

        Raises what the work raises (nothing is then committed), and Conflict where a constraint refused.
        """
        for attempt in range(1, _TRIES + 1):
            tried: list[tuple[str, str, str]] = []
            try:
                return self._once(actor, work, tried)
            except (Refused, Forbidden, BadDefinition) as refusal:
                self._note(actor, refusal, *(tried or [("", "", "")])[-1])
                raise
            except IntegrityError as error:
                raise explain(error) from error
            except DBAPIError as error:
                if not try_again(error) or attempt == _TRIES:
                    raise
        raise AssertionError("unreachable")  # pragma: no cover

    def _once(self, actor: Actor, work: Callable[[Unit], Result], tried: list[tuple[str, str, str]]) -> Result:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            unit = Unit(session, actor, self.clock(), self.keys, self.entropy, self.world, self.clock, self.vault)
            event.listen(session, "before_flush", unit._watch)
            try:
                result = work(unit)
                unit.finish()
            except Exception:
                _follow([undone for _, undone in unit._afterwards])
                raise
            finally:
                tried.append(unit._attempt)
        _follow([done for done, _ in unit._afterwards])
        return result

    def _note(self, actor: Actor, refusal: TrialError, trial: str, action: str, site: str) -> None:
        """Keep a refused attempt in the trail: nothing else of it was written."""
        if not action or actor in (SYSTEM, NOBODY):
            return
        codes = list(dict.fromkeys([refusal.code, *(d.code for d in refusal.details if d.severity == "block")]))

        def work(unit: Unit) -> None:
            changes = [Change("rules", None, codes)]
            unit.record("refused", trial=trial, entity="attempt", entity_id=action, changes=changes, site=site)

        self._once(actor, work, [])

    @contextmanager
    def reading(self, actor: Actor) -> Iterator[Unit]:
        """A unit for reading only: nothing is written, whatever the caller does."""
        with Session(read_only(self.engine), expire_on_commit=False, autoflush=False) as session:
            yield Unit(session, actor, self.clock(), self.keys, self.entropy, self.world, vault=self.vault)


def _follow(acts: Sequence[Callable[[], Any]]) -> None:
    """Do what comes after a unit. What fails is left to the reconciler: what is committed stays committed."""
    for act in acts:
        try:
            act()
        except Exception as problem:
            logging.getLogger("trialdm").warning("left to the reconciler: %s", getattr(problem, "code", type(problem).__name__))


def explain(error: IntegrityError) -> Conflict:
    """A refusal by a constraint, in words."""
    text = str(error.orig)
    name = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or _sqlite_constraint(text)
    code, message, needs = tables.MESSAGES.get(
        name, ("CONFLICT", "This does not go with what is stored already.", "Open the page again and repeat the step.")
    )
    return Conflict(message, code=code, needs=needs)


def _sqlite_constraint(text: str) -> str:
    """The name of the constraint behind SQLite's words, which name columns only."""
    if "append-only: " in text:
        return f"pk_{text.rpartition('append-only: ')[2].strip()}"
    if "UNIQUE constraint failed: " not in text:
        return ""
    columns = [part.strip() for part in text.rpartition("failed: ")[2].split(",")]
    table = columns[0].partition(".")[0]
    names = [column.partition(".")[2] for column in columns]
    primary = [column.name for column in tables.Table.metadata.tables[table].primary_key]
    return f"pk_{table}" if set(names) == set(primary) else f"uq_{table}_{'_'.join(names)}"


def remember(unit: Unit, key: Any, find: Callable[[], Result]) -> Result:
    """What `find` gives, read once in this transaction."""
    if key not in unit.remembered:
        unit.remembered[key] = find()
    found: Result = unit.remembered[key]
    return found


def needed(found: Result | None, what: str, *, code: str = "NOT_FOUND") -> Result:
    """The thing, or Missing where there is none."""
    if found is None:
        raise Missing(what, code=code)
    return found
