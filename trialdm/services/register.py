"""The register as rows: reading it as of any moment, and adding to it.

Rows are only ever added. Whoever changes the register locks the trial's row, and whoever allocates holds it shared: an
allocation never commits after the withdrawal of what it stood on.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import bindparam, func, select

from trialdm.domain import ethics
from trialdm.domain.errors import Refused
from trialdm.domain.ethics import Approval, Condition, Document, Fact, Modification, Register, Step
from trialdm.domain.protocol import Protocol, Site
from trialdm.services import studies
from trialdm.services.unit import Change, Unit, remember
from trialdm.store.tables import Account, Credential, Delegation, DelegationAct, RegisterEntry, Training, Trial

Entry = Approval | Document | Modification | Fact

Kept = TypeVar("Kept")

#: What a row holds -> the kind under which it is kept. Other kinds say something about an earlier row.
KINDS: Mapping[type, str] = {Approval: "approval", Document: "document", Modification: "modification", Fact: "fact"}


#: Where a session keeps the trials whose register it has changed: until it ends, whatever else is forgotten meanwhile.
_CHANGED = "register changed"

#: Kinds of rows that no rule looks at: the certificate of a training.
BESIDE = frozenset({"certificate"})


def lock(unit: Unit, trial: str, *, shared: bool = False) -> None:
    """Hold the trial's row: shared to act on its approvals, alone to change them. What was read before is read again.

    A unit that only reads holds nothing.
    """
    if unit.only_reads:
        return
    unit.session.execute(select(Trial.id).where(Trial.id == trial).with_for_update(read=shared))
    unit.turn_has_come()
    _read_again(unit, trial)


# --- adding ----------------------------------------------------------------------------------------------------------


def add(unit: Unit, trial: str, entry: Entry) -> int:
    """Add an approval, document, modification or fact; gives its number in the register. The caller has asked who may.

    Raises Refused for a fact that lies in the future.
    """
    if isinstance(entry, Fact) and entry.on > unit.today:
        raise Refused("A fact cannot lie in the future.", code="REGISTER.FUTURE", needs="The day on which it happened.")
    return note(unit, trial, KINDS[type(entry)], written(entry), site=getattr(entry, "site", ""))


def note(unit: Unit, trial: str, kind: str, data: Mapping[str, Any], *, site: str = "") -> int:
    """Add a row of any kind, with its audit entry; gives its number."""
    lock(unit, trial)
    last = unit.session.scalar(select(func.max(RegisterEntry.seq)).where(RegisterEntry.trial_id == trial)) or 0
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    row = RegisterEntry(trial_id=trial, seq=last + 1, kind=kind, data=text, recorded_at=unit.now, recorded_by=unit.actor.id)
    unit.add(row)
    unit.record(
        f"register.{kind}",
        row,
        trial=trial,
        entity="register",
        entity_id=str(row.seq),
        changes=[Change(kind, None, json.loads(text))],
        site=site,
    )
    unit.session.flush()
    forget(unit, trial)
    return row.seq


def forget(unit: Unit, trial: str) -> None:
    """The register has changed: read it again when it is needed next. What may yet be taken back is kept for nobody else."""
    unit.session.info.setdefault(_CHANGED, set()).add(trial)
    _read_again(unit, trial)


def _read_again(unit: Unit, trial: str) -> None:
    unit.remembered.pop(("register", trial), None)
    unit.remembered.pop(("registers", trial), None)


def written(entry: Entry) -> dict[str, Any]:
    """An entry as it is kept: days as text, without what says nothing."""
    plain = json.loads(json.dumps(asdict(entry), default=lambda day: day.isoformat()))
    return {key: value for key, value in plain.items() if value not in (None, "", [], {}, 0) or key in ("conditions", "nations", "sites")}


# --- reading ---------------------------------------------------------------------------------------------------------

#: What was read last, by database and trial, with the counts of rows that it was read from.
_KNOWN: dict[tuple[str, str], tuple[tuple[Any, ...], Register]] = {}

_TABLES: tuple[Any, ...] = (RegisterEntry, Delegation, DelegationAct, Training, Credential)

_STAMP = select(*(select(func.count()).where(table.trial_id == bindparam("trial")).scalar_subquery() for table in _TABLES))


def read(unit: Unit, trial: str) -> Register:
    """Everything on record for a trial that the gate looks at."""

    def find() -> Register:
        if trial in unit.session.info.get(_CHANGED, ()):
            return as_of(unit, trial, None)
        stamp = tuple(unit.session.execute(_STAMP, {"trial": trial}).one())
        where = (str(unit.session.get_bind().engine.url), trial)
        cached = _KNOWN.get(where)
        if cached and cached[0] == stamp:
            return cached[1]
        built = as_of(unit, trial, None)
        _KNOWN[where] = (stamp, built)
        return built

    return remember(unit, ("register", trial), lambda: under(studies.protocol(unit, trial), find()))


def under(protocol: Protocol, on_record: Register) -> Register:
    """The register as it counts under a protocol: by the days that it gives sites to object."""
    return replace(on_record, objection_days=ethics.param(protocol, "site_objection_days"))


def used_since(unit: Unit, trial: str, document: Document, site: Site) -> date | None:
    """The day from which a site has used a version, where that was before today: days that are past stay as they were."""
    on_record = read(unit, trial)
    approved, first = on_record.approved_on(document), on_record.starts_at(document, site)
    if approved is None or first is None or max(approved, first) >= unit.today:
        return None
    return max(approved, first)


def as_of(unit: Unit, trial: str, moment: datetime | None) -> Register:
    """The register as it had been recorded by a moment (None: by now)."""

    def rows(table: Any, *order: Any) -> list[Any]:
        when = table.at if table is DelegationAct else table.recorded_at
        wanted = select(table).where(table.trial_id == trial).order_by(*order, when)
        return list(unit.session.scalars(wanted if moment is None else wanted.where(when <= moment)))

    entries = [row for row in rows(RegisterEntry, RegisterEntry.seq) if row.kind not in BESIDE]
    acts: dict[str, list[DelegationAct]] = {}
    for act in rows(DelegationAct, DelegationAct.seq):
        acts.setdefault(act.line, []).append(act)
    names = {key: name for key, name in unit.session.execute(select(Account.id, Account.name))}
    return Register(
        **_folded(entries),
        delegations=tuple(_line(line, acts.get(line.id, [])) for line in rows(Delegation)),
        trainings=tuple(ethics.Training(t.account_id, t.kind, t.on, t.valid_to) for t in rows(Training)),
        credentials=tuple(
            ethics.Credential(c.surgeon, c.account_id, names[c.account_id], c.site, c.valid_from, c.valid_to, c.cases)
            for c in rows(Credential)
        ),
    )


def moments(unit: Unit, trial: str) -> list[datetime]:
    """Every moment at which the register changed, in order."""
    found: set[datetime] = set()
    for table in _TABLES:
        when = DelegationAct.at if table is DelegationAct else table.recorded_at
        found |= set(unit.session.scalars(select(when).where(table.trial_id == trial)))
    return sorted(found)


def _line(row: Delegation, acts: Iterable[DelegationAct]) -> ethics.Delegation:
    """A line of the log with what happened to it. One that was taken over from paper counts as signed when it starts; one that
    was ended counts no more from the day of its end on."""
    of = {act.act: act for act in acts}
    paper = row.start if row.signed_by_pi else None
    signed, countersigned = (of[act].day if act in of else paper for act in ("sign", "countersign"))
    ends = [day for day in (row.end, of["end"].day - timedelta(days=1) if "end" in of else None) if day is not None]
    if "decline" in of:
        countersigned = None
    end = min(ends, default=None)
    return ethics.Delegation(
        row.account_id,
        row.site,
        frozenset(json.loads(row.tasks)),
        row.start,
        end,
        signed,
        countersigned,
        row.id,
        ended_on=of["end"].day if "end" in of else None,
    )


def _folded(entries: Iterable[RegisterEntry]) -> dict[str, Any]:
    """Approvals, documents, modifications and facts, with what later rows said about them."""
    found: dict[int, Any] = {}
    for row in entries:
        data = json.loads(row.data)
        if row.kind in _READ:
            found[row.seq] = replace(_READ[row.kind](data), entry=row.seq)
            if row.kind == "fact":
                found[row.seq] = replace(found[row.seq], by=row.recorded_by)
        else:
            at = _seq_of(found, data)
            found[at] = _SAID[row.kind](found[at], data, row)
    kept = list(found.values())
    return {
        "approvals": tuple(e for e in kept if isinstance(e, Approval)),
        "documents": tuple(e for e in kept if isinstance(e, Document)),
        "modifications": tuple(e for e in kept if isinstance(e, Modification)),
        "facts": tuple(e for e in kept if isinstance(e, Fact)),
    }


def _seq_of(found: Mapping[int, Any], data: Mapping[str, Any]) -> int:
    """The row that a later one speaks about: by number, by reference, or by kind and code of a document."""
    if "entry" in data:
        return int(data["entry"])
    if "ref" in data:
        return next(seq for seq, e in found.items() if isinstance(e, Modification) and e.ref == data["ref"])
    return next(seq for seq, e in found.items() if isinstance(e, Document) and (e.kind, e.code) == (data["kind"], data["code"]))


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _plain(kind: Callable[..., Kept], raw: Mapping[str, Any], **built: Any) -> Kept:
    """An entry from its JSON: texts of fields that are days become days."""
    days = {f.name for f in fields(kind) if "date" in str(f.type)}  # type: ignore[arg-type]
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: _day(value) if key in days else value for key, value in raw.items() if key in known and key not in built}, **built)


def _approval(raw: Mapping[str, Any]) -> Approval:
    conditions = tuple(_plain(Condition, condition) for condition in raw.get("conditions", ()))
    return _plain(Approval, raw, conditions=conditions, nations=tuple(raw.get("nations", ())), covers=tuple(raw.get("covers", ())))


def _document(raw: Mapping[str, Any]) -> Document:
    sites = {site: date.fromisoformat(day) for site, day in raw.get("sites", {}).items()}
    return _plain(Document, {"approved_on": None, **raw}, sites=sites, nations=tuple(raw["nations"]))


def _modification(raw: Mapping[str, Any]) -> Modification:
    documents = tuple((kind, code) for kind, code in raw.get("documents", ()))
    return _plain(Modification, raw, changes=tuple(raw.get("changes", ())), documents=documents, steps=())


_READ: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "approval": _approval,
    "document": _document,
    "modification": _modification,
    "fact": lambda raw: _plain(Fact, raw),
}


def kept_entry(row: RegisterEntry) -> Any:
    """The approval, document, modification or fact of one row, as it was recorded."""
    return _READ[row.kind](json.loads(row.data))


def _checked(approval: Approval, _data: Mapping[str, Any], row: RegisterEntry) -> Approval:
    return replace(approval, second_check_by=row.recorded_by)


def _evidenced(approval: Approval, data: Mapping[str, Any], _row: RegisterEntry) -> Approval:
    conditions = list(approval.conditions)
    number = data["condition"]
    conditions[number] = replace(conditions[number], met_on=_day(data["met_on"]), evidence=data["evidence"])
    return replace(approval, conditions=tuple(conditions))


def _taken_up(document: Document, data: Mapping[str, Any], _row: RegisterEntry) -> Document:
    return replace(document, sites={**document.sites, data["site"]: date.fromisoformat(data["on"])})


def _revoked(document: Document, data: Mapping[str, Any], _row: RegisterEntry) -> Document:
    return replace(document, revoked_on=_day(data["on"]))


def _stepped(modification: Modification, data: Mapping[str, Any], _row: RegisterEntry) -> Modification:
    return replace(modification, steps=(*modification.steps, _plain(Step, {k: v for k, v in data.items() if k != "ref"})))


#: What a later row may say about an earlier one -> how it changes it.
_SAID: Mapping[str, Callable[[Any, Mapping[str, Any], RegisterEntry], Any]] = {
    "check": _checked,
    "condition-met": _evidenced,
    "uptake": _taken_up,
    "revocation": _revoked,
    "step": _stepped,
}


def choices(unit: Unit, trial: str, moment: datetime | None = None) -> dict[str, dict[int, str]]:
    """The registers that give the choices of items: documents, staff and surgeons, each as number and name, now or by a moment.

    Everybody may have assessed somebody or taken their consent; who may be named for one participant now is narrower (`staffing`).
    """

    def find() -> dict[str, dict[int, str]]:
        on_record = as_of(unit, trial, moment) if moment else read(unit, trial)
        known = select(Account.staff_no, Account.name).order_by(Account.staff_no)
        staff = unit.session.execute(known.where(Account.created_at <= moment) if moment else known).all()
        return {
            "documents.PIS": {d.code: d.title for d in on_record.documents if d.kind == "PIS"},
            "documents.ICF": {d.code: d.title for d in on_record.documents if d.kind == "ICF"},
            "staff": {number: name for number, name in staff},
            "assessors": {number: name for number, name in staff},
            "site-staff": {number: name for number, name in staff},
            "surgeons": {c.surgeon: f"{c.name} ({c.site})" for c in on_record.credentials},
        }

    return find() if moment else remember(unit, ("registers", trial), find)
