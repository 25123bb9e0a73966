"""Every table, as the migrations make them.

Tables of a trial lead with `trial_id`. Keys are made by the application and mean nothing. Instants are UTC. What is
append-only stands in `APPEND_ONLY`: the database itself refuses to change or remove its rows. Every constraint has a name,
and `MESSAGES` says in words what it means when one refuses.
"""

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    Date,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    func,
    literal_column,
    select,
)
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column


class Instant(TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz` in PostgreSQL, sortable ISO text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        moment = value.astimezone(UTC)
        return moment.isoformat(timespec="microseconds") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return datetime.fromisoformat(value) if isinstance(value, str) else value.astimezone(UTC)


class Day(TypeDecorator[date]):
    """A calendar day."""

    impl = Date
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Date())

    def process_bind_param(self, value: date | None, dialect: Dialect) -> Any:
        return value.isoformat() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> date | None:
        return date.fromisoformat(value) if isinstance(value, str) else value


class Table(DeclarativeBase):
    """The base of every table. `audited` False means that its rows are machinery and need no audit entry."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {str: Text, int: Integer, bytes: LargeBinary, datetime: Instant, date: Day}
    __table_args__: Any = {"sqlite_strict": True}
    audited = True


_STRICT = {"sqlite_strict": True}


# --- people ----------------------------------------------------------------------------------------------------------


class Account(Table):
    """A person who may sign in. Never deleted and never reused; `staff_no` stands for the person in forms."""

    __tablename__ = "account"
    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    staff_no: Mapped[int] = mapped_column(unique=True)
    password_hash: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class RoleGrant(Table):
    """A role given or ended. `trial_id` "*" covers every trial; the newest row of an account, role and site counts."""

    __tablename__ = "role_grant"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(index=True)
    seq: Mapped[int]
    role: Mapped[str]
    site: Mapped[str]
    state: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class Delegation(Table):
    """A line of the delegation log. `tasks` is a JSON list."""

    __tablename__ = "delegation"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    site: Mapped[str]
    tasks: Mapped[str]
    start: Mapped[date]
    end: Mapped[date | None]
    signed_by_pi: Mapped[int]
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class DelegationAct(Table):
    """What happened to a line of the delegation log: `sign` (the person), `countersign`, `decline` or `end` on a day."""

    __tablename__ = "delegation_act"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    act: Mapped[str]
    day: Mapped[date]
    reason: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id", "line"], ["delegation.trial_id", "delegation.id"]), _STRICT)


class Training(Table):
    __tablename__ = "training"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    kind: Mapped[str]
    on: Mapped[date]
    valid_to: Mapped[date | None]
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class Credential(Table):
    """A surgeon's credential. `surgeon` is the number used in forms."""

    __tablename__ = "credential"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    surgeon: Mapped[int]
    site: Mapped[str]
    valid_from: Mapped[date]
    valid_to: Mapped[date | None]
    cases: Mapped[int]
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class WebSession(Table):
    """A signed-in browser. Only the hash of its token is kept.

    `stage` is "full"; before it "second" (the second factor is awaited) or "enrol" (one must be set up first). `proved_at` is when the
    person last proved who they are, `challenge` what a security key is to sign, `agent` the browser in a few words.
    """

    __tablename__ = "web_session"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    csrf: Mapped[str]
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    stage: Mapped[str] = mapped_column(server_default="full")
    proved_at: Mapped[datetime | None]
    challenge: Mapped[str] = mapped_column(server_default="")
    agent: Mapped[str] = mapped_column(server_default="")
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)
    audited = False


class ApiToken(Table):
    """A token for programs. Only its hash is kept; `scopes` are separated by blanks."""

    __tablename__ = "api_token"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    label: Mapped[str]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    scopes: Mapped[str] = mapped_column(server_default="read enter randomise unblind export")
    expires_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class SecondFactor(Table):
    """What proves a person beside their password: a security key or passkey ("webauthn"), or an authenticator app ("totp").

    `secret` is the public key of the first and the sealed secret of the second; `counter` the last one seen, so that nothing works twice.
    """

    __tablename__ = "second_factor"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    label: Mapped[str]
    credential: Mapped[str]
    secret: Mapped[bytes]
    counter: Mapped[int]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class RecoveryCode(Table):
    """A code that stands for a lost second factor once. Only its hash is kept."""

    __tablename__ = "recovery_code"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class Ticket(Table):
    """A link by which its person sets their own password once: an invitation or a reset. Its secret is derived, and kept nowhere."""

    __tablename__ = "ticket"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class SignInFailure(Table):
    """Failed sign-ins, to slow down guessing. `subject` is a hash of the address that was typed."""

    __tablename__ = "sign_in_failure"
    id: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)
    at: Mapped[datetime]
    audited = False


class OutsideIdentity(Table):
    """Who a person is at another sign-in service (OpenID Connect): its issuer, and the subject there."""

    __tablename__ = "outside_identity"
    id: Mapped[str] = mapped_column(primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    account_id: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), _STRICT)


class OutsideWay(Table):
    """A way to another sign-in service and back: what its answer has to fit. `account_id` is empty for somebody who signs in."""

    __tablename__ = "outside_way"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    nonce: Mapped[str]
    verifier: Mapped[str]
    target: Mapped[str]
    at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    __table_args__ = (_STRICT,)
    audited = False


class Spent(Table):
    """One act of those that are counted, so that nobody carries everything away at once. `subject` is a hash of what and who."""

    __tablename__ = "spent"
    id: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)
    at: Mapped[datetime]
    __table_args__ = (_STRICT,)
    audited = False


# --- the trial and its register --------------------------------------------------------------------------------------


class Trial(Table):
    __tablename__ = "trial"
    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class Definition(Table):
    """One loaded version of a protocol: the texts of its files as JSON, read when they are asked for.

    `state` is `in_force` (everywhere), or `proposed`: in force at the sites of which a `definition_use` row says so.
    """

    __tablename__ = "definition"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str]
    sha256: Mapped[str]
    texts: Mapped[str] = mapped_column(deferred=True)
    loaded_at: Mapped[datetime]
    loaded_by: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="in_force")
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


class DefinitionUse(Table):
    """From which day a site uses a version of the protocol, and the modification by which it does."""

    __tablename__ = "definition_use"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    from_day: Mapped[date]
    modification: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id", "seq"], ["definition.trial_id", "definition.seq"]), _STRICT)


class Status(Table):
    """A transition of a trial, site or participant (`machine`, `subject`); the newest row is the state."""

    __tablename__ = "status"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    machine: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    event: Mapped[str]
    state: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    reason: Mapped[str]
    gate: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


class RegisterEntry(Table):
    """A row of the register, as JSON, in the order of recording: an approval, a document, a modification, a dated fact, or
    what happened to an earlier row (`services.register` knows the kinds)."""

    __tablename__ = "register_entry"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    data: Mapped[str]
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


class Evidence(Table):
    """A letter, certificate or document, by the SHA-256 of its content."""

    __tablename__ = "evidence"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    media_type: Mapped[str]
    content: Mapped[bytes] = mapped_column(deferred=True)
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


class Reminder(Table):
    """A reminder of a deadline that has been sent, so that it is sent once."""

    __tablename__ = "reminder"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    deadline: Mapped[str] = mapped_column(primary_key=True)
    due: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)
    audited = False


# --- participants and forms ------------------------------------------------------------------------------------------


class Transfer(Table):
    """A participant who moved to another site on a day; the newest row says where they are looked after (`Participant.site`)."""

    __tablename__ = "transfer"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str]
    day: Mapped[date]
    reason: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        _STRICT,
    )


class Participant(Table):
    """A participant under a pseudonym. `number` counts within the site that enrolled them and is never reused.

    `enrolled_site` never changes: numbers, allocations and the keys of exports stand on it. `site` is where the participant is
    looked after now, whose staff see them: that of the newest transfer, or the one that enrolled them.
    """

    __tablename__ = "participant"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    enrolled_site: Mapped[str] = mapped_column("site")
    number: Mapped[int]
    added_at: Mapped[datetime]
    added_by: Mapped[str]
    site: Mapped[str] = column_property(
        func.coalesce(
            select(Transfer.site)
            .where(Transfer.trial_id == trial_id, Transfer.participant_id == id)
            .order_by(Transfer.seq.desc())
            .limit(literal_column("1"))
            .correlate_except(Transfer)
            .scalar_subquery(),
            enrolled_site,
        )
    )
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), Unique("trial_id", "site", "number"), _STRICT)


class FormInstance(Table):
    """One form (or one row of a repeating form) of one participant at one visit.

    `seq` is its newest version; a `restricted` one is hidden from blinded roles whatever it holds.
    """

    __tablename__ = "form_instance"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str]
    visit: Mapped[str]
    form: Mapped[str]
    row: Mapped[int]
    status: Mapped[str]
    seq: Mapped[int]
    restricted: Mapped[int]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        Unique("trial_id", "participant_id", "visit", "form", "row"),
        _STRICT,
    )


class FormVersion(Table):
    """One saved version of a form: `data` is {"answers": .., "missing": ..} as JSON, typed by the definition's version."""

    __tablename__ = "form_version"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    instance_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    definition_seq: Mapped[int]
    status: Mapped[str]
    data: Mapped[str]
    saved_at: Mapped[datetime]
    saved_by: Mapped[str]
    reason_code: Mapped[str]
    reason_text: Mapped[str]
    confirmed: Mapped[str]
    gate: Mapped[str] = mapped_column(default="", server_default="")
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "instance_id"], ["form_instance.trial_id", "form_instance.id"]),
        _STRICT,
    )


class FormAct(Table):
    """What was done to a form beside entering it: `verify` (an item, or the form), `sign`, `void`, `withdraw`.

    `version` is the version of the form that it is about, `content` the SHA-256 of what it is bound to, `seal` the code that
    binds a signature to it; name and role stand as they were.
    """

    __tablename__ = "form_act"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    instance_id: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    act: Mapped[str]
    item: Mapped[str]
    version: Mapped[int]
    content: Mapped[str]
    seal: Mapped[str]
    meaning: Mapped[str]
    text: Mapped[str]
    name: Mapped[str]
    role: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "instance_id"], ["form_instance.trial_id", "form_instance.id"]),
        _STRICT,
    )


class CasebookAct(Table):
    """What was done to a participant's casebook as a whole: `sign` by the principal investigator, and `void` by a change."""

    __tablename__ = "casebook_act"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    act: Mapped[str]
    content: Mapped[str]
    seal: Mapped[str]
    meaning: Mapped[str]
    text: Mapped[str]
    name: Mapped[str]
    role: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        _STRICT,
    )


class FormDraft(Table):
    """What somebody has typed into a form and not saved yet, for nobody's eyes but theirs. Gone once the form is saved."""

    __tablename__ = "form_draft"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str] = mapped_column(primary_key=True)
    visit: Mapped[str] = mapped_column(primary_key=True)
    form: Mapped[str] = mapped_column(primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int]
    data: Mapped[str]
    at: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        ForeignKeyConstraint(["account_id"], ["account.id"]),
        _STRICT,
    )
    audited = False


class FormEntry(Table):
    """One of the two independent entries of a form that is entered twice (`seq` 1 and 2); `data` as in a form's version."""

    __tablename__ = "form_entry"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str] = mapped_column(primary_key=True)
    visit: Mapped[str] = mapped_column(primary_key=True)
    form: Mapped[str] = mapped_column(primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    definition_seq: Mapped[int]
    data: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        _STRICT,
    )


class Query(Table):
    """A question about an answer, a form, or something that is not there. `origin` is `person`, `monitor` or `rule`.

    `item` is empty where it is about the form as a whole, `rule` names the edit check that asked. The newest act decides the
    state, which stands here as well.
    """

    __tablename__ = "query"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    participant_id: Mapped[str]
    visit: Mapped[str]
    form: Mapped[str]
    row: Mapped[int]
    item: Mapped[str]
    origin: Mapped[str]
    rule: Mapped[str]
    restricted: Mapped[int]
    state: Mapped[str]
    seq: Mapped[int]
    opened_at: Mapped[datetime]
    opened_by: Mapped[str]
    changed_at: Mapped[datetime]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        Unique("trial_id", "number"),
        Index(None, "trial_id", "participant_id", "visit", "form", "row"),
        _STRICT,
    )


class QueryAct(Table):
    """One step of a query: `open`, `answer`, `close`, `reopen` or `cancel`. `value` is the answer in question as it stood, as JSON."""

    __tablename__ = "query_act"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    query_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    act: Mapped[str]
    response: Mapped[str]
    text: Mapped[str]
    value: Mapped[str]
    version: Mapped[int]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id", "query_id"], ["query.trial_id", "query.id"]), _STRICT)


class Term(Table):
    """A term of a dictionary of events that was loaded for a trial: a local list, or a licensed one. `up` is the broader term."""

    __tablename__ = "term"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    dictionary: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    term: Mapped[str]
    up: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


# --- allocation ------------------------------------------------------------------------------------------------------


class Scheme(Table):
    """An allocation scheme of one epoch, and where its chain stands. Its row is what an allocation locks."""

    __tablename__ = "scheme"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    world: Mapped[str]
    config: Mapped[str]
    commit: Mapped[str]
    contribution: Mapped[str]
    master_sealed: Mapped[bytes]
    events: Mapped[int]
    places: Mapped[int]
    head: Mapped[str]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


class SchemeEvent(Table):
    """One event of the chain, as canonical JSON, with the hash that it leads to."""

    __tablename__ = "scheme_event"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    scheme: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    i: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[str]
    hash: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "scheme", "epoch"], ["scheme.trial_id", "scheme.name", "scheme.epoch"]),
        _STRICT,
    )


class Allocation(Table):
    """One allocation. The arm is sealed and bound to this row; the levels are those used then.

    `participant_id` is a participant, or a site where the scheme allocates sites. `kind` is `allocated` or `external` (made
    elsewhere: a list, an envelope). `site_no` counts within the site.
    """

    __tablename__ = "allocation"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    scheme: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    event: Mapped[int]
    kind: Mapped[str]
    seq: Mapped[int]
    stratum: Mapped[str]
    slot: Mapped[int]
    levels: Mapped[str]
    site: Mapped[str]
    site_no: Mapped[int]
    number: Mapped[str]
    arm_sealed: Mapped[bytes]
    at: Mapped[datetime]
    by: Mapped[str]
    gate: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "scheme", "epoch"], ["scheme.trial_id", "scheme.name", "scheme.epoch"]),
        Unique("trial_id", "scheme", "epoch", "seq"),
        Unique("trial_id", "scheme", "epoch", "stratum", "slot"),
        Unique("trial_id", "scheme", "number"),
        Unique("trial_id", "scheme", "site", "site_no"),
        Index(None, "trial_id", "participant_id"),
        _STRICT,
    )


class AllocationNote(Table):
    """What was found about an allocation afterwards: `in_error`, `corrected`, `verified`, `wrong_operation`. Nothing is undone.

    `levels` holds the factor values as corrected or as verified; `event` is the place in the chain, 0 where it takes none.
    """

    __tablename__ = "allocation_note"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    scheme: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    event: Mapped[int]
    levels: Mapped[str]
    reason_code: Mapped[str]
    reason_text: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(
            ["trial_id", "scheme", "participant_id"], ["allocation.trial_id", "allocation.scheme", "allocation.participant_id"]
        ),
        _STRICT,
    )


class SchemeAct(Table):
    """What people did to make a scheme fit to use: `prepare`, `contribute`, `escrow`, `sign`; `data` is JSON without a secret."""

    __tablename__ = "scheme_act"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    scheme: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    act: Mapped[str]
    data: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "scheme", "epoch"], ["scheme.trial_id", "scheme.name", "scheme.epoch"]),
        _STRICT,
    )


class SchemeHead(Table):
    """A signed head of the chain: where it stood at some moment, with the instance's Ed25519 signature in hex."""

    __tablename__ = "scheme_head"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    scheme: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    i: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str]
    at: Mapped[datetime]
    signature: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "scheme", "epoch"], ["scheme.trial_id", "scheme.name", "scheme.epoch"]),
        _STRICT,
    )


class Envelope(Table):
    """One sealed envelope of a site's fallback list, for a time when the system is away; its arm is sealed and bound to it."""

    __tablename__ = "envelope"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    scheme: Mapped[str]
    arm_sealed: Mapped[bytes]
    printed_at: Mapped[datetime]
    printed_by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


class EnvelopeUse(Table):
    """What became of an envelope: `used` for a participant at `opened_at`, or `spoilt`. Each envelope has one such row at most."""

    __tablename__ = "envelope_use"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str]
    participant_id: Mapped[str]
    opened_at: Mapped[datetime]
    in_order: Mapped[int]
    note: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "site", "number"], ["envelope.trial_id", "envelope.site", "envelope.number"]),
        _STRICT,
    )


class ListSlot(Table):
    """One place of an imported list: its arm sealed with its own nonce and bound to its place."""

    __tablename__ = "list_slot"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    scheme: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    stratum: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    arm_sealed: Mapped[bytes]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "scheme", "epoch"], ["scheme.trial_id", "scheme.name", "scheme.epoch"]),
        _STRICT,
    )


class Idempotency(Table):
    """What was answered to a request with this key, kept in the transaction that did the work."""

    __tablename__ = "idempotency"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str]
    created_at: Mapped[datetime]
    audited = False


# --- blinding --------------------------------------------------------------------------------------------------------


class Disclosure(Table):
    """Somebody learned (or in a `drill` would have learned) a participant's allocation: who, how, why, by whose act.

    `kind` is `emergency`, `planned`, `accidental`, `look` (an unblinded role read it) or `drill`.
    """

    __tablename__ = "disclosure"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str]
    account_id: Mapped[str]
    kind: Mapped[str]
    visit: Mapped[str]
    reason_code: Mapped[str]
    reason_text: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        Index(None, "trial_id", "participant_id", "account_id"),
        _STRICT,
    )


class IdentityAct(Table):
    """Something done about the identity of a participant, which itself stands in the vault and never here.

    `act` is `enter`, `later` (it is to follow), `see`, `ask`, `confirm`, `decline` and `open` (somebody of elsewhere asks to see, a
    second person decides, the first one looks), `shred-ask` and `shred`. `request` is the id of the asking, or its own.
    """

    __tablename__ = "identity_act"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str]
    act: Mapped[str]
    request: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        Unique("trial_id", "request", "act"),
        Index(None, "trial_id", "participant_id", "act"),
        Index(None, "by", "at"),
        _STRICT,
    )


class Notice(Table):
    """A message to one person's inbox. It never names an arm; a `restricted` one goes to unblinded people only."""

    __tablename__ = "notice"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    kind: Mapped[str]
    subject: Mapped[str]
    text: Mapped[str]
    participant_id: Mapped[str]
    restricted: Mapped[int]
    made_at: Mapped[datetime]
    read_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["account_id"], ["account.id"]), Index(None, "account_id", "made_at"), _STRICT)


class Outgoing(Table):
    """A mail that waits in the outbox, or was sent: it names no participant's arm and nothing that identifies anybody."""

    __tablename__ = "outgoing"
    id: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str]
    to: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    state: Mapped[str]
    tries: Mapped[int]
    message: Mapped[str]
    made_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    audited = False


class TheatreCheck(Table):
    """The re-confirmation on the day of surgery: what the theatre team read from the patient, and whether it agrees with the plan."""

    __tablename__ = "theatre_check"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    participant_id: Mapped[str]
    found: Mapped[str]
    planned: Mapped[str]
    agrees: Mapped[int]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(["trial_id", "participant_id"], ["participant.trial_id", "participant.id"]),
        _STRICT,
    )


class RehearsalJob(Table):
    """A rehearsal that was asked for: its request, how far it is, its result as JSON, and who signed the report."""

    __tablename__ = "rehearsal_job"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    state: Mapped[str]
    done: Mapped[int]
    total: Mapped[int]
    message: Mapped[str]
    result: Mapped[str]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    signed_by: Mapped[str]
    signed_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


# --- exports ---------------------------------------------------------------------------------------------------------


class ExportJob(Table):
    """A requested package: what was asked, how far it is, and where it lies."""

    __tablename__ = "export_job"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    state: Mapped[str]
    step: Mapped[str]
    message: Mapped[str]
    manifest_sha256: Mapped[str]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    __table_args__ = (ForeignKeyConstraint(["trial_id"], ["trial.id"]), _STRICT)


# --- audit -----------------------------------------------------------------------------------------------------------


class AuditEvent(Table):
    """One entry of the trail (`domain.audit.Entry`) with its authentication code."""

    __tablename__ = "audit_event"
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    trial_id: Mapped[str]
    stream: Mapped[str]
    at_utc: Mapped[str]
    at_source: Mapped[str]
    actor_id: Mapped[str]
    actor_role: Mapped[str]
    org: Mapped[str]
    action: Mapped[str]
    entity: Mapped[str]
    entity_id: Mapped[str]
    field: Mapped[str]
    old_commit: Mapped[str]
    new_commit: Mapped[str]
    reason_code: Mapped[str]
    reason_text_commit: Mapped[str]
    request_id: Mapped[str]
    app_version: Mapped[str]
    mac: Mapped[str]
    __table_args__: Any = (
        Index(None, "trial_id", "entity", "entity_id"),
        {"sqlite_strict": True, "sqlite_autoincrement": True},
    )
    audited = False


class AuditValue(Table):
    """The value behind a commitment (`old`, `new` or `reason`) with its salt. Removing it leaves the trail whole."""

    __tablename__ = "audit_value"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    which: Mapped[str] = mapped_column(primary_key=True)
    salt: Mapped[bytes]
    value: Mapped[str]
    audited = False


class RowSeal(Table):
    """What the rows written together with an entry held then (`domain.row_seals`): `rows` is JSON, `mac` its authentication code."""

    __tablename__ = "row_seal"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    rows: Mapped[str]
    mac: Mapped[str]
    audited = False


class AuditLeaf(Table):
    """The place of an entry in the tree of its trial and stream, given when it is sealed. `leaf_hash` is 32 bytes."""

    __tablename__ = "audit_leaf"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    leaf_index: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    leaf_hash: Mapped[bytes]
    audited = False


class Checkpoint(Table):
    """A tree at a size, signed (`domain.notes`): `root`, the root of the checkpoint before (`prev`) and the peaks are hex."""

    __tablename__ = "checkpoint"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(primary_key=True)
    root: Mapped[str]
    prev_size: Mapped[int]
    prev: Mapped[str]
    peaks: Mapped[str]
    at: Mapped[datetime]
    key_id: Mapped[str]
    signature: Mapped[str]
    audited = False


class Anchor(Table):
    """A checkpoint that was given away: `kind` is `file`, `mail` or `timestamp`, `token` the time stamp, `place` where to."""

    __tablename__ = "anchor"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[str]
    token: Mapped[bytes]
    at: Mapped[datetime]
    by: Mapped[str]


class RedactionAct(Table):
    """A step of removing a value that was entered by mistake: `ask`, then `confirm` or `decline` by another person.

    `event_id` is an entry of the trail that holds the value, `which` what was removed of it (`old`, `new`, `reason`); the value itself
    stands nowhere here.
    """

    __tablename__ = "redaction_act"
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    act: Mapped[str]
    which: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]
    by: Mapped[str]
    __table_args__ = (ForeignKeyConstraint(["event_id"], ["audit_event.event_id"]), _STRICT)


class RedactionPermit(Table):
    """Stands here within the transaction that removes a value, and never after it: the guards of `REDACTABLE` look for it."""

    __tablename__ = "redaction_permit"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    audited = False


#: Append-only tables out of which a value is removed by two people: their guards let a redaction pass, and nothing else.
REDACTABLE = ("audit_value", "form_version", "form_entry", "query_act")

#: Tables whose rows the database refuses to change or remove.
APPEND_ONLY = (
    "role_grant",
    "delegation",
    "delegation_act",
    "evidence",
    "training",
    "credential",
    "definition",
    "definition_use",
    "status",
    "register_entry",
    "participant",
    "form_version",
    "form_act",
    "casebook_act",
    "form_entry",
    "query_act",
    "transfer",
    "term",
    "scheme_event",
    "allocation",
    "allocation_note",
    "scheme_act",
    "scheme_head",
    "envelope",
    "envelope_use",
    "disclosure",
    "identity_act",
    "theatre_check",
    "list_slot",
    "idempotency",
    "audit_event",
    "audit_value",
    "row_seal",
    "audit_leaf",
    "checkpoint",
    "anchor",
    "redaction_act",
)

#: What a constraint means when it refuses: (error code, sentence, what to do).
MESSAGES = {
    "uq_account_email": ("PEOPLE.EXISTS", "There is an account with this e-mail address already.", "Use another address."),
    "uq_participant_trial_id_site_number": ("CONFLICT", "Somebody added a participant at the same moment.", "Try again."),
    "uq_form_instance_trial_id_participant_id_visit_form_row": (
        "CRF.STALE",
        "Somebody else saved this form first.",
        "Open it again to see what was saved.",
    ),
    "pk_form_version": ("CRF.STALE", "Somebody else saved this form first.", "Open it again to see what was saved."),
    "pk_form_act": ("CRF.STALE", "Somebody else did something to this form first.", "Open it again to see what was done."),
    "pk_query_act": ("QUERY.STALE", "Somebody else did something to this query first.", "Open it again to see what was done."),
    "uq_query_trial_id_number": ("CONFLICT", "Somebody opened a query at the same moment.", "Try again."),
    "pk_form_entry": ("CRF.STALE", "Somebody else entered this form first.", "Open it again to see what is left to do."),
    "uq_identity_act_trial_id_request_act": ("IDENTITY.ALREADY", "Somebody did this already.", "Open the page again."),
    "pk_transfer": (
        "TRANSFER.STALE",
        "Somebody recorded a transfer of this participant first.",
        "Open the participant to see where they are.",
    ),
    "pk_allocation": ("ALLOC.ALREADY", "This participant has been randomised already.", "Open the participant to see when."),
    "pk_envelope_use": (
        "ALLOC.ENVELOPE_USED",
        "This envelope has been accounted for already.",
        "Look at the number on the envelope again; an envelope is used once.",
    ),
    "pk_definition": ("CONFLICT", "Somebody loaded a version at the same moment.", "Load it again."),
    "pk_definition_use": ("VERSION.ALREADY", "This site has taken this version up already.", "Look at the page of versions."),
    "pk_trial": ("TRIAL.EXISTS", "There is a trial of this name already.", "Load the next version of its protocol instead."),
}
