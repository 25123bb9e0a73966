"""Proving the trail: entries, trees, checkpoints and anchors are checked, and then the tables are compared with what the trail says.

Nothing is written. Whatever differs is a `Finding` that names table, key and field; reading goes on to the end, so that one run
names everything. Entries are read once in their order, without keeping them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.exc import DataError
from sqlalchemy.orm import aliased

from trialdm.domain import audit, notes, row_seals
from trialdm.domain.merkle import EMPTY, Frontier
from trialdm.services import anchors, sealing
from trialdm.services.unit import Unit
from trialdm.store import keys as signing
from trialdm.store import rows
from trialdm.store.tables import (
    Anchor,
    AuditEvent,
    AuditLeaf,
    AuditValue,
    Checkpoint,
    FormInstance,
    FormVersion,
    RedactionAct,
    RedactionPermit,
    RowSeal,
)

#: Entries that wrote a version of a form: their fields are its items, but for `status`.
OF_FORMS = ("form.save", "form.finish", "form.amend", "form.annotate", "deviation.open", "deviation.settle")

#: After how long an entry should have been sealed.
OVERDUE = timedelta(hours=1)

_AT_ONCE = 5000

Tree = tuple[str, str]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written. `code` says which check found it; `key` and `field` name the place."""

    code: str
    table: str
    key: str
    field: str
    message: str

    def __str__(self) -> str:
        place = " ".join(part for part in (self.table, self.key, self.field) if part)
        return f"{self.code}: {place}: {self.message}"


@dataclass
class Report:
    """What was checked, what was found, and what could not be checked (`open`)."""

    entries: int = 0
    values: int = 0
    redacted: int = 0
    leaves: int = 0
    checkpoints: int = 0
    anchors: int = 0
    rows: int = 0
    forms: int = 0
    unsealed: int = 0
    oldest_unsealed: str = ""
    open: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def code(self) -> int:
        """0 everything is as it was written, 1 something is not, 2 something could not be checked."""
        return 1 if self.findings else 2 if self.open else 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "code": self.code}


@dataclass
class _Reading:
    """What is gathered while the entries are read."""

    report: Report
    say: Say
    newest: dict[tuple[str, str], tuple[bytes, int]] = field(default_factory=dict)
    items: dict[str, dict[str, str | None]] = field(default_factory=dict)
    removed: set[tuple[str, str]] = field(default_factory=set)
    grown: dict[Tree, int] = field(default_factory=dict)

    def found(self, code: str, table: str, key: Any, name: str, message: str) -> None:
        self.report.findings.append(Finding(code, table, str(key), name, message))


def verify(unit: Unit, given_away: Sequence[str] = (), say: Say = lambda _: None) -> Report:
    """Check everything. `given_away` are texts of anchors: notes of checkpoints that lay outside the database."""
    seen = _Reading(Report(), say)
    removals = select(RedactionAct.event_id, RedactionAct.which).where(RedactionAct.act == "confirm")
    seen.removed = {(event_id, which) for event_id, named in unit.session.execute(removals) for which in named.split()}
    _entries(unit, seen)
    _beside(unit, seen)
    roots = _trees(unit, seen, _wanted(unit, given_away))
    with _readably(seen, "checkpoint"):
        _checkpoints(unit, seen, roots)
    with _readably(seen, "checkpoint"):
        _anchors(unit, seen, given_away, roots)
    _tables(unit, seen)
    _forms(unit, seen)
    return seen.report


# --- entries: codes, commitments, leaves -----------------------------------------------------------------------------

_VALUES = (("old", "old_commit"), ("new", "new_commit"), ("reason", "reason_text_commit"))


def _entries(unit: Unit, seen: _Reading) -> None:
    """Read every entry with its values, its rows and its leaf."""
    value = {which: aliased(AuditValue) for which, _ in _VALUES}
    columns: list[Any] = [getattr(AuditEvent, name) for name in audit.ORDER]
    wanted = select(*columns, AuditEvent.seq, AuditEvent.mac, RowSeal.rows, RowSeal.mac, AuditLeaf.leaf_index, AuditLeaf.leaf_hash)
    wanted = wanted.add_columns(AuditLeaf.trial_id, AuditLeaf.stream)
    for one in value.values():
        wanted = wanted.add_columns(one.salt, one.value)
    wanted = wanted.select_from(AuditEvent).join(RowSeal, RowSeal.event_id == AuditEvent.event_id, isouter=True)
    wanted = wanted.join(AuditLeaf, AuditLeaf.event_id == AuditEvent.event_id, isouter=True)
    for which, one in value.items():
        wanted = wanted.join(one, and_(one.event_id == AuditEvent.event_id, one.which == which), isouter=True)
    first: str | None = None
    for found in unit.session.execute(wanted.order_by(AuditEvent.seq).execution_options(yield_per=_AT_ONCE)):
        seen.report.entries += 1
        if seen.report.entries % 50_000 == 0:
            seen.say(f"\r{seen.report.entries} entries read")
        if _entry(unit.keys.audit, seen, tuple(found)):
            seen.report.unsealed += 1
            first = first or found[2 + 1]
    if first:
        seen.report.oldest_unsealed = first
        try:
            overdue = datetime.fromisoformat(first) < unit.now - OVERDUE
        except (ValueError, TypeError):  # its code does not fit either, which is a finding
            overdue = True
        if overdue:
            seen.report.open.append(f"{seen.report.unsealed} entries are not sealed, the oldest of {first}: run 'audit seal'.")


_COUNT = len(audit.ORDER)
_AT = {name: position for position, name in enumerate(audit.ORDER)}


def _entry(key: bytes, seen: _Reading, found: tuple[Any, ...]) -> bool:
    """Check one entry; gives whether it waits to be sealed."""
    row = found[:_COUNT]
    seq, mac, sealed, sealed_mac, index, leaf_hash, trial, stream = found[_COUNT : _COUNT + 8]
    event_id = row[0]
    if audit.authenticate_row(key, row) != mac:
        seen.found("AUDIT.ROW", "audit_event", seq, _suspect(row, trial, stream), "The entry was changed after it was written.")
    texts = _values(seen, seq, row, found[_COUNT + 8 :])
    if sealed is not None:
        _rows(key, seen, seq, event_id, sealed, sealed_mac)
    if row[_AT["entity"]] == "form" and row[_AT["action"]] in OF_FORMS:
        seen.items.setdefault(row[_AT["entity_id"]], {})[row[_AT["field"]]] = texts
    if index is None:
        return True
    if audit.leaf(seq, row, mac, sealed_mac or "") != leaf_hash:
        seen.found("AUDIT.LEAF", "audit_event", seq, "", "The entry, or the seal of its rows, is not the one that was sealed.")
    elif (trial, stream) != (row[_AT["trial_id"]], row[_AT["stream"]]):
        seen.found("AUDIT.LEAF", "audit_leaf", f"{trial} {stream} {index}", "", "The entry was sealed in another tree.")
    seen.report.leaves += 1
    return False


def _suspect(row: tuple[str, ...], trial: str | None, stream: str | None) -> str:
    """The field that was changed, where the place of its leaf tells."""
    if trial is not None and row[_AT["trial_id"]] != trial:
        return "trial_id"
    return "stream" if stream is not None and row[_AT["stream"]] != stream else ""


def _values(seen: _Reading, seq: int, row: tuple[str, ...], stored: tuple[Any, ...]) -> str | None:
    """Check the values of an entry against their commitments; gives the new one, or `_GONE`."""
    new: str | None = None
    for number, (which, name) in enumerate(_VALUES):
        salt, text = stored[2 * number : 2 * number + 2]
        commitment = row[_AT[name]]
        if salt is None:
            if commitment and (row[0], which) in seen.removed:
                seen.report.redacted += 1
                new = _GONE if which == "new" else new
            elif commitment:
                seen.found("AUDIT.VALUE", "audit_value", seq, which, f"The {which} value of entry {seq} is gone.")
            continue
        seen.report.values += 1
        if audit.commit_text(salt, text) != commitment:
            seen.found("AUDIT.VALUE", "audit_value", seq, which, f"The {which} value of entry {seq} was changed.")
        if which == "new":
            new = text
    return new


#: Stands for a value that two people removed.
_GONE = "redacted"


def _rows(key: bytes, seen: _Reading, seq: int, event_id: str, text: str, mac: str) -> None:
    """Take in what rows held after an entry."""
    if audit.authenticate_rows(key, event_id, text) != mac:
        seen.found("AUDIT.SEAL", "row_seal", seq, "", f"The seal of the rows of entry {seq} was changed.")
        return
    for seal in row_seals.from_text(text):
        seen.newest[seal.table, json.dumps(seal.key)] = (seal.digests, seq)


# --- what has no entry -----------------------------------------------------------------------------------------------


def _beside(unit: Unit, seen: _Reading) -> None:
    """Values, seals and leaves that belong to no entry."""
    owned: tuple[tuple[Any, tuple[Any, ...], str], ...] = (
        (AuditValue, (AuditValue.event_id, AuditValue.which), "The value belongs to no entry."),
        (RowSeal, (RowSeal.event_id,), "The entry that these rows were sealed with is gone."),
        (AuditLeaf, (AuditLeaf.trial_id, AuditLeaf.stream, AuditLeaf.leaf_index), "The entry that was sealed here is gone."),
    )
    for table, key, message in owned:
        lonely = select(*key).join(AuditEvent, AuditEvent.event_id == table.event_id, isouter=True).where(AuditEvent.event_id.is_(None))
        for found in unit.session.execute(lonely):
            seen.found("AUDIT.ORPHAN", table.__tablename__, " ".join(map(str, found)), "", message)
    for event_id in unit.session.scalars(select(RedactionPermit.event_id)):
        seen.found("AUDIT.ORPHAN", "redaction_permit", event_id, "", "Somebody let the guards pass outside of a removal.")
    strange = select(AuditValue.event_id, AuditValue.which).where(AuditValue.which.not_in([which for which, _ in _VALUES]))
    for event_id, which in unit.session.execute(strange):
        seen.found("AUDIT.ORPHAN", "audit_value", f"{event_id} {which}", "which", "No entry has such a value.")


# --- trees and checkpoints -------------------------------------------------------------------------------------------


def _wanted(unit: Unit, given_away: Sequence[str]) -> dict[Tree, set[int]]:
    """The sizes of each tree whose roots are to be compared."""
    sizes: dict[Tree, set[int]] = {}
    for trial, stream, size in unit.session.execute(select(Checkpoint.trial_id, Checkpoint.stream, Checkpoint.size)):
        sizes.setdefault((trial, stream), set()).add(size)
    public = signing.public_key(unit.keys.sealing)
    for checkpoint, _, _ in _readable(given_away):
        tree = _tree_of(public, checkpoint)
        if tree:
            sizes.setdefault(tree, set()).add(checkpoint.size)
    return sizes


def _trees(unit: Unit, seen: _Reading, sizes: dict[Tree, set[int]]) -> dict[tuple[str, str, int], bytes]:
    """Grow every tree again from its leaves; gives the root at each of the sizes that it has."""
    roots: dict[tuple[str, str, int], bytes] = {(*tree, 0): EMPTY for tree in sizes}
    wanted = select(AuditLeaf.trial_id, AuditLeaf.stream, AuditLeaf.leaf_index, AuditLeaf.leaf_hash)
    wanted = wanted.order_by(AuditLeaf.trial_id, AuditLeaf.stream, AuditLeaf.leaf_index)
    here: Tree | None = None
    tree, broken = Frontier(), False
    for trial, stream, index, hashed in unit.session.execute(wanted.execution_options(yield_per=_AT_ONCE)):
        if (trial, stream) != here:
            here, tree, broken = (trial, stream), Frontier(), False
        if index != tree.size and not broken:
            broken = True
            seen.found("AUDIT.GAP", "audit_leaf", f"{trial} {stream} {tree.size}", "leaf_index", "A leaf of the tree is missing.")
        tree.append(hashed)
        if not broken and tree.size in sizes.get(here, ()):
            roots[trial, stream, tree.size] = tree.root
        if not broken:
            seen.grown[here] = tree.size
    return roots


def _checkpoints(unit: Unit, seen: _Reading, roots: dict[tuple[str, str, int], bytes]) -> None:
    """Every checkpoint: its signature, its root, and that it follows the one before and covers every leaf.

    All roots are grown from the same leaves, so that a tree with the root of each checkpoint holds every earlier one.
    """
    public = signing.public_key(unit.keys.sealing)
    before: dict[Tree, Checkpoint] = {}
    for row in unit.session.scalars(select(Checkpoint).order_by(Checkpoint.trial_id, Checkpoint.stream, Checkpoint.size)):
        seen.report.checkpoints += 1
        tree, key = (row.trial_id, row.stream), f"{row.trial_id} {row.stream} {row.size}"
        last = before.get(tree)
        if roots.get((*tree, row.size), b"").hex() != row.root:
            seen.found("AUDIT.ROOT", "checkpoint", key, "root", "The sealed entries do not lead to this root.")
        if (row.prev_size, row.prev) != ((last.size, last.root) if last else (0, "")):
            seen.found("AUDIT.CHECKPOINT", "checkpoint", key, "prev", "The checkpoint before this one is gone, or was changed.")
        try:
            sealing.standing(unit, row)
        except Exception:  # whatever a changed row makes of it
            seen.found("AUDIT.CHECKPOINT", "checkpoint", key, "signature", "The checkpoint is not the one that was signed.")
        if row.key_id != notes.key_id(public).hex():
            seen.found("AUDIT.CHECKPOINT", "checkpoint", key, "key_id", "The checkpoint names another key.")
        before[tree] = row
    for tree, size in seen.grown.items():
        if tree not in before or size > before[tree].size:
            seen.found("AUDIT.CHECKPOINT", "checkpoint", " ".join(tree), "", "The checkpoint of the last leaves is gone.")


# --- anchors ---------------------------------------------------------------------------------------------------------


def _readable(texts: Sequence[str]) -> Iterator[tuple[notes.Checkpoint, bytes, str]]:
    for text in texts:
        for one in notes.apart(text):
            try:
                yield notes.read(one)
            except ValueError:
                continue


def _tree_of(public: str, checkpoint: notes.Checkpoint) -> Tree | None:
    """The trial and stream that a checkpoint of this instance is about; None for one of another instance."""
    start = notes.origin(public, "", "").split("/")[0] + "/"
    if not checkpoint.origin.startswith(start):
        return None
    trial, _, stream = checkpoint.origin.removeprefix(start).rpartition("/")
    return trial, stream


def _anchors(unit: Unit, seen: _Reading, texts: Sequence[str], roots: dict[tuple[str, str, int], bytes]) -> None:
    """Compare what was given away with the trees: an older database, or one that lost its newest entries, does not reach it."""
    public = signing.public_key(unit.keys.sealing)
    for number, text in enumerate(texts, 1):
        named = [line.split(" ")[1:] for line in text.split("\n") if line.startswith("sealed ")]
        if not notes.apart(text) and not named:
            seen.report.open.append(f"Anchor {number} holds no checkpoint.")
        _named(unit, seen, named)
    for checkpoint, _, signature in _readable(texts):
        tree = _tree_of(public, checkpoint)
        if tree is None or not signing.signed(public, checkpoint.text(), signature):
            seen.report.open.append(f"The anchor of {checkpoint.origin} at {checkpoint.size} was not signed by this instance.")
            continue
        seen.report.anchors += 1
        grown, key = seen.grown.get(tree, 0), f"{tree[0]} {tree[1]} {checkpoint.size}"
        if grown < checkpoint.size:
            lost = f"{checkpoint.size} entries were sealed by {checkpoint.at.isoformat(timespec='seconds')}; {grown} are there."
            seen.found("AUDIT.ANCHOR", "audit_leaf", key, "", f"The trail has lost entries: {lost}")
        elif roots.get((*tree, checkpoint.size)) != checkpoint.root:
            seen.found("AUDIT.ANCHOR", "audit_leaf", key, "", "The entries are not those that were sealed when this was given away.")
    known = {tuple(row) for row in unit.session.execute(select(Checkpoint.trial_id, Checkpoint.stream, Checkpoint.size))}
    for row in unit.session.execute(select(Anchor.trial_id, Anchor.stream, Anchor.size)):
        if tuple(row) not in known:
            seen.found("AUDIT.ANCHOR", "anchor", " ".join(map(str, row)), "", "The checkpoint that was given away is gone.")


def _named(unit: Unit, seen: _Reading, named: Sequence[Sequence[str]]) -> None:
    """Checkpoints that were given away by their digest alone: each must be one that still stands here."""
    if not named:
        return
    public = signing.public_key(unit.keys.sealing)
    standing = {anchors.digest(sealing.as_note(public, row)) for row in unit.session.scalars(select(Checkpoint))}
    for line in named:
        seen.report.anchors += 1
        if len(line) != 2 or line[1].strip() not in standing:
            seen.found("AUDIT.ANCHOR", "checkpoint", line[0], "", "The checkpoint that was given away is gone, or was changed.")


# --- the tables ------------------------------------------------------------------------------------------------------


def _tables(unit: Unit, seen: _Reading) -> None:
    """Compare every row of every table of record with its newest seal, in both directions."""
    if not seen.newest and seen.report.entries:
        seen.report.open.append("No rows are sealed yet: run 'migrate'.")
        return
    for table, kind in rows.of_record().items():
        with _readably(seen, table):
            _table(unit, seen, table, rows.shape(kind), kind)
        seen.say(f"\r{seen.report.rows} rows compared")
    for (table, name), (digests, seq) in seen.newest.items():
        if digests:
            seen.found("AUDIT.GONE", table, _shown(name), "", f"The row that entry {seq} accounts for is gone.")


@contextmanager
def _readably(seen: _Reading, table: str) -> Iterator[None]:
    """Reading of a table; a cell that holds what its column never does is a finding, and ends the reading of that table alone."""
    try:
        yield
    except (ValueError, TypeError, DataError) as problem:
        seen.found("AUDIT.UNREADABLE", table, "", "", f"A row of it cannot be read: {type(problem).__name__}.")


def _table(unit: Unit, seen: _Reading, table: str, shape: rows.Shape, kind: Any) -> None:
    at = [shape.names.index(column) for column in shape.key]
    for found in unit.session.execute(select(kind.__table__).execution_options(yield_per=_AT_ONCE)):
        seen.report.rows += 1
        key = tuple(found[position] for position in at)
        _row(unit.keys.audit, seen, table, key, dict(zip(shape.names, found, strict=True)))


def _row(key: bytes, seen: _Reading, table: str, primary: tuple[Any, ...], values: dict[str, Any]) -> None:
    name = json.dumps(primary)
    digests, seq = seen.newest.pop((table, name), (b"", 0))
    if not digests:
        told = f"Entry {seq} says that it was removed." if seq else "No entry accounts for the row."
        seen.found("AUDIT.UNACCOUNTED", table, _shown(name), "", told)
        return
    found = row_seals.digests(key, table, primary, values)
    if found == digests:
        return
    columns = row_seals.differing(digests, found, list(values))
    columns += [c for c, default in rows.later_defaults(table, row_seals.sealed_columns(digests)) if values[c] != default]
    for column in columns:
        seen.found("AUDIT.REPLAY", table, _shown(name), column, f"It does not hold what it held with entry {seq}.")


def _shown(key: str) -> str:
    """A primary key in words."""
    return " ".join(map(str, json.loads(key)))


def _forms(unit: Unit, seen: _Reading) -> None:
    """Compare the newest version of every form, item by item, with what the entries about it say."""
    wanted = (
        select(FormInstance.trial_id, FormInstance.id, FormVersion.data)
        .join(
            FormVersion,
            and_(
                FormVersion.trial_id == FormInstance.trial_id,
                FormVersion.instance_id == FormInstance.id,
                FormVersion.seq == FormInstance.seq,
            ),
        )
        .execution_options(yield_per=_AT_ONCE)
    )
    for trial, ident, data in unit.session.execute(wanted):
        seen.report.forms += 1
        said = {name: text for name, text in seen.items.get(ident, {}).items() if name not in ("", "status") and text is not None}
        try:
            holds = _answers(data)
        except (ValueError, AttributeError):
            seen.found("AUDIT.REPLAY", "form_version", f"{trial} {ident}", "data", "It cannot be read any more.")
            continue
        for name in sorted(said.keys() | holds.keys()):
            if said.get(name) != holds.get(name) and said.get(name) != _GONE:
                seen.found("AUDIT.REPLAY", "form_version", f"{trial} {ident}", name, "The answer is not the one that the trail leads to.")


def _answers(data: str) -> dict[str, str]:
    """What a version of a form holds, as the trail would say it."""
    document = json.loads(data)
    found = {name: value for name, value in document.get("answers", {}).items() if value is not None}
    found |= {name: {"missing": reason} for name, reason in document.get("missing", {}).items()}
    return {name: audit.canonical(value).decode() for name, value in found.items()}
