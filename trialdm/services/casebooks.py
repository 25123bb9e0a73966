"""Everything saved about one participant, read once: the newest version of every form, and the facts that rules may name."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, select

from trialdm.domain import crf, lifecycle, roles, schedule, values
from trialdm.domain.crf import Answers, Form
from trialdm.domain.protocol import ARM_FACT, Protocol, Visit
from trialdm.services import people, studies
from trialdm.services.unit import LONDON, Change, Unit, remember
from trialdm.store.tables import Account, Allocation, FormInstance, FormVersion, Participant, RoleGrant


@dataclass
class Stored:
    """The newest version of one form (or row)."""

    instance: FormInstance
    data: str
    saved_by: str
    saved_at: datetime
    _answers: Answers | None = None
    _form: Form | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Where it is: visit, form and row."""
        return self.instance.visit, self.instance.form, self.instance.row

    @property
    def status(self) -> str:
        return self.instance.status

    @property
    def finished(self) -> bool:
        """Whether it has been saved as complete, whatever was done to it since."""
        return self.instance.status in lifecycle.FINISHED

    def restricted(self, form: Form) -> bool:
        """Whether all of it is hidden from blinded roles: by its form, or by what it holds."""
        return form.restricted or bool(self.instance.restricted)

    def answers(self, form: Form) -> Answers:
        """The typed answers as this version of the form reads them, read once."""
        if self._answers is None or self._form is not form:
            self._answers, self._form = crf.load(form, json.loads(self.data)), form
        return self._answers


Key = tuple[str, str, int]


@dataclass
class Casebook:
    """One participant's forms by (visit, form, row). Rows that were struck out stand in `removed`: no rule and no list sees them."""

    participant: Participant
    forms: dict[Key, Stored] = field(default_factory=dict)
    removed: dict[Key, Stored] = field(default_factory=dict)
    allocated_at: datetime | None = None

    def put(self, stored: Stored) -> None:
        """Take in the newest version of a form."""
        here, there = (self.removed, self.forms) if stored.status == "removed" else (self.forms, self.removed)
        here[stored.key] = stored
        there.pop(stored.key, None)

    def get(self, visit: str, form: str, row: int) -> Stored | None:
        return self.forms.get((visit, form, row))

    def rows(self, form: str, visit: str) -> list[Stored]:
        """The rows of a form at a visit, in order."""
        return [stored for (at, code, _), stored in sorted(self.forms.items()) if code == form and at == visit]

    def all_of(self, form: str) -> list[Stored]:
        """Every instance of a form, at whichever visit."""
        return [stored for (_, code, _), stored in sorted(self.forms.items()) if code == form]

    def first(self, form: str) -> Stored | None:
        return next(iter(self.all_of(form)), None)

    def answer(self, form: Form, visit: str, item: str) -> Any:
        """One answer, or None."""
        stored = self.get(visit, form.code, 1)
        return stored.answers(form).values.get(item) if stored else None

    def meaning(self, protocol: Protocol, name: str) -> Any:
        """The answer to the item with this meaning, from the first instance of its form."""
        found = protocol.meaning(name)
        if found is None:
            return None
        stored = self.first(found[0].code)
        return stored.answers(found[0]).values.get(found[1].name) if stored else None

    def facts(self, protocol: Protocol) -> dict[str, Any]:
        """The declared context facts, and when the participant was randomised (wall time in Europe/London)."""
        found = {fact.name: self.answer(protocol.form(fact.form), fact.visit, fact.item) for fact in protocol.context}
        if self.allocated_at is not None:
            local = self.allocated_at.astimezone(LONDON).replace(tzinfo=None)
            found["rand_dtm"], found["rand_date"] = local.replace(second=0, microsecond=0), local.date()
        return found


def _newest_versions(trial: str) -> Select[FormInstance, str, str, datetime]:
    """The newest version of every form of a trial."""
    return (
        select(FormInstance, FormVersion.data, FormVersion.saved_by, FormVersion.saved_at)
        .join(
            FormVersion,
            (FormVersion.trial_id == FormInstance.trial_id)
            & (FormVersion.instance_id == FormInstance.id)
            & (FormVersion.seq == FormInstance.seq),
        )
        .where(FormInstance.trial_id == trial)
    )


def read(unit: Unit, trial: str, participant: Participant) -> Casebook:
    """The casebook of a participant, read once in this transaction."""

    def find() -> Casebook:
        book = Casebook(participant)
        for instance, data, saved_by, saved_at in unit.session.execute(
            _newest_versions(trial).where(FormInstance.participant_id == participant.id)
        ):
            book.put(Stored(instance, data, saved_by, saved_at))
        book.allocated_at = unit.session.scalar(
            select(Allocation.at)
            .where(Allocation.trial_id == trial, Allocation.participant_id == participant.id)
            .order_by(Allocation.at)
            .limit(1)
        )
        return book

    return remember(unit, ("casebook", trial, participant.id), find)


def hold(unit: Unit, person: Participant) -> Casebook:
    """Be alone with the casebook of a participant until the end of this transaction, and read it as it stands now.

    Whoever changes, signs or verifies a form, or does something about a query, takes this after the trial's lock (`register.lock`): what
    was read of the participant before is read again. A unit that only reads waits for nobody.
    """
    trial, held = person.trial_id, ("held", person.trial_id, person.id)
    if unit.only_reads or held in unit.remembered:
        return read(unit, trial, person)
    newest = {"populate_existing": True}
    mine = select(Participant).where(Participant.trial_id == trial, Participant.id == person.id)
    unit.session.scalars(mine.with_for_update().execution_options(**newest)).one()
    unit.turn_has_come()
    unit.remembered[held] = True
    before: Casebook | None = unit.remembered.get(("casebook", trial, person.id))
    if before is None:
        return read(unit, trial, person)
    unit.session.execute(_newest_versions(trial).where(FormInstance.participant_id == person.id).execution_options(**newest)).all()
    del unit.remembered["casebook", trial, person.id]
    now = read(unit, trial, person)
    before.forms, before.removed, before.allocated_at = now.forms, now.removed, now.allocated_at
    unit.remembered["casebook", trial, person.id] = before
    return before


def write(
    unit: Unit,
    book: Casebook,
    place: tuple[str, str, int],
    status: str,
    answers: Answers,
    *,
    restricted: bool = False,
    reason: tuple[str, str] = ("", ""),
    confirmed: Mapping[str, str] | None = None,
    gate: Mapping[str, Any] | None = None,
) -> tuple[FormInstance, FormVersion]:
    """The next version of the form at a place (visit, form, row), which the caller records. A row once restricted stays so.

    Answers to items that the form no longer has stay with it.
    """
    trial, stored = book.participant.trial_id, book.get(*place) or book.removed.get(place)
    visit, form, row = place
    definition = studies.definition_at(unit, trial, book.participant.site)
    defined = studies.parsed(definition).form(form)
    document = answers.to_json()
    if stored:
        document = crf.with_former(defined, document, json.loads(stored.data))
    if stored:
        instance = stored.instance
        instance.status, instance.seq = status, instance.seq + 1
    else:
        instance = FormInstance(
            trial_id=trial,
            id=uuid.uuid4().hex,
            participant_id=book.participant.id,
            visit=visit,
            form=form,
            row=row,
            status=status,
            seq=1,
            restricted=0,
        )
        unit.add(instance)
        unit.session.flush()
    if restricted:
        instance.restricted = 1
    version = FormVersion(
        trial_id=trial,
        instance_id=instance.id,
        seq=instance.seq,
        definition_seq=definition.seq,
        status=status,
        data=json.dumps(document, separators=(",", ":"), ensure_ascii=False),
        saved_at=unit.now,
        saved_by=unit.actor.id,
        reason_code=reason[0],
        reason_text=reason[1],
        confirmed=json.dumps(confirmed, sort_keys=True, ensure_ascii=False) if confirmed else "",
        gate=json.dumps(gate, separators=(",", ":"), ensure_ascii=False) if gate else "",
    )
    unit.add(version)
    book.put(Stored(instance, version.data, unit.actor.id, unit.now, answers, defined))
    return instance, version


def whole(unit: Unit, trial: str, people: Sequence[Participant]) -> dict[str, Casebook]:
    """Casebooks of some participants with all of their forms, read at once."""
    wanted = [person.id for person in people]
    books = {person.id: Casebook(person) for person in people}
    for instance, data, saved_by, saved_at in unit.session.execute(_newest_versions(trial).where(FormInstance.participant_id.in_(wanted))):
        books[instance.participant_id].put(Stored(instance, data, saved_by, saved_at))
    allocated = select(Allocation.participant_id, Allocation.at).where(Allocation.trial_id == trial, Allocation.participant_id.in_(wanted))
    for ident, at in unit.session.execute(allocated.order_by(Allocation.at.desc())):
        books[ident].allocated_at = at
    return books


def some_forms(unit: Unit, trial: str, people: Iterable[Participant], forms: Iterable[str]) -> dict[str, Casebook]:
    """Casebooks of many participants that hold these forms only: for lists over a whole trial."""
    books = {person.id: Casebook(person) for person in people}
    for instance, data, saved_by, saved_at in unit.session.execute(_newest_versions(trial).where(FormInstance.form.in_(list(forms)))):
        if instance.participant_id in books:
            books[instance.participant_id].put(Stored(instance, data, saved_by, saved_at))
    allocated = select(Allocation.participant_id, Allocation.at).where(Allocation.trial_id == trial).order_by(Allocation.at.desc())
    for ident, at in unit.session.execute(allocated):
        if ident in books:
            books[ident].allocated_at = at
    return books


def confirmed(version: FormVersion) -> dict[str, str]:
    """The soft findings that somebody confirmed with a version, each with what was said to it (nothing, in a list of earlier times)."""
    found = json.loads(version.confirmed) if version.confirmed else {}
    return found if isinstance(found, dict) else dict.fromkeys(found, "")


def context(
    unit: Unit,
    protocol: Protocol,
    book: Casebook,
    form: Form,
    visit: Visit,
    visit_code: str,
    row: int,
    *,
    registers: Mapping[str, Mapping[int, str]],
    arm: int | None = None,
    system: Mapping[str, Any] | None = None,
) -> crf.Context:
    """What the rules of a form may see beside it now."""
    at = (visit_code, form.code, row)
    return beside(book, book.facts(protocol), form, visit, protocol.visits, at, unit.now, registers=registers, arm=arm, system=system)


def beside(
    book: Casebook,
    known: Mapping[str, Any],
    form: Form,
    visit: Visit,
    visits: Sequence[Visit],
    at: Key,
    moment: datetime,
    *,
    registers: Mapping[str, Mapping[int, str]],
    arm: int | None = None,
    system: Mapping[str, Any] | None = None,
) -> crf.Context:
    """What the rules of a form may see beside it at a moment: the facts that are `known`, and its other rows.

    The arm is a fact only of forms that blinded roles never open.
    """
    visit_code, _, row = at
    window, last = schedule.window(visit, known), schedule.last_day(visit, visits, known)
    local = moment.astimezone(LONDON).replace(tzinfo=None)
    facts = {
        **known,
        "visit": visit.code,
        "visit_no": visit.number,
        "row": row,
        "today": local.date(),
        "now": local.replace(second=0, microsecond=0),
        "window_open": window.opens if window else None,
        "window_close": window.closes if window else None,
        "window_first": schedule.first_day(visit, visits, known),
        "window_last": last,
    }
    if form.restricted:
        facts[ARM_FACT] = arm
    others = [s.answers(form).values for s in book.rows(form.code, visit_code) if s.instance.row != row] if form.repeating else []
    return crf.Context(facts, others, registers, system or {})


def summary(form: Form, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Values calculated over all rows of a form at one visit, from stored answers."""
    return crf.summarise(form, rows, crf.Context(facts))


def failing_criteria(form: Form, answers: Mapping[str, Any]) -> Iterator[str]:
    """Labels of the criteria that are not met."""
    for item in form.items:
        answer = answers.get(item.name)
        if item.passes is not None and answer is not None and answer != item.passes:
            yield item.label


def saved_by_doctor(unit: Unit, trial: str, site: str, stored: Stored) -> bool:
    """Whether the version was saved by somebody who held a medical role there."""
    rows = unit.session.scalars(
        select(RoleGrant).where(RoleGrant.account_id == stored.saved_by, RoleGrant.at <= stored.saved_at).order_by(RoleGrant.seq)
    )
    return any(grant.role in roles.MEDICAL and grant.covers(trial, site) for _, grant in people.held(rows))


def names(unit: Unit, accounts: Iterable[str]) -> dict[str, str]:
    """The names behind account ids."""
    wanted = {account for account in accounts if account}
    rows = unit.session.execute(select(Account.id, Account.name).where(Account.id.in_(wanted))).all() if wanted else []
    return {"system": "trialdm", **{ident: name for ident, name in rows}}


def as_day(value: Any) -> date | None:
    """The day of a date or date-time answer."""
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None


def changes(form: Form, before: Answers, after: Answers, restricted: bool) -> list[Change]:
    """One change for each item whose value or missing reason is different; the stream follows who may read it."""
    hidden_row = restricted or form.row_restricted(before.values) or form.row_restricted(after.values)
    found = []
    for item in form.items:
        old, new = _as_stored(before, item.name), _as_stored(after, item.name)
        if old != new:
            stream = "unblinded" if hidden_row or form.restricts(item) else "open"
            found.append(Change(item.name, old, new, stream))
    return found


def _as_stored(answers: Answers, name: str) -> Any:
    """A value in its JSON form, a missing reason as {"missing": ..}, or None."""
    if name in answers.values:
        return values.write(answers.values[name])
    return {"missing": answers.missing[name]} if name in answers.missing else None
