"""Versions of a protocol that wait to go live: what differs, what of it touches what is saved, and which site uses which.

A version is proposed by `studies.load`. Who approves it, and that a site may take it up, is decided by the caller of `use`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from sqlalchemy import select

from trialdm.domain import crf, lifecycle, schedule, versions
from trialdm.domain.crf import Context, Finding, Form
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.roles import ACTIONS, ROLES, sites_seen
from trialdm.domain.versions import Difference
from trialdm.exports.dataset import Column, Table
from trialdm.services import allocations, casebooks, packages, reach, register, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.reach import Saved
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import Definition, DefinitionUse, Participant

#: Either right lets somebody read what waits and what it would touch.
_READ = ("trial.configure", "approvals.see")


@dataclass(frozen=True)
class Version:
    """One loaded version: `state` is `in_force`, `proposed`, `in_use` (at some sites), or `replaced`; `sites` the day of each site."""

    seq: int
    version: str
    state: str
    loaded_at: datetime
    loaded_by: str
    sites: Mapping[str, date]

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "version": self.version,
            "state": self.state,
            "loaded_at": self.loaded_at.isoformat(timespec="seconds"),
            "loaded_by": self.loaded_by,
            "sites": {site: day.isoformat() for site, day in self.sites.items()},
        }


@dataclass(frozen=True)
class Where:
    """One form (or row) of one participant."""

    participant: str
    site: str
    visit: str
    form: str
    row: int = 1


@dataclass(frozen=True)
class Touched:
    """What a difference touches: saved forms by form and site, and the participants. None where the reader may not know."""

    difference: Difference
    forms: int | None = None
    by_form: Mapping[str, int] | None = None
    by_site: Mapping[str, int] | None = None
    participants: int | None = None
    people: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unmet:
    """A complete form that would not pass under the new version, and why."""

    where: Where
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Exported:
    """A table or column (empty for the table) of an export that is `added`, `altered` or `removed`."""

    table: str
    column: str
    change: str
    words: str


@dataclass(frozen=True)
class Impact:
    """What a version would change, and what of it touches what is saved, for one reader.

    `against` is the version that it is compared with. Counts cover the sites that the reader sees; participants are named
    where the reader may see them. `withheld` is the number of differences that a blinded reader does not see.
    """

    version: Version
    against: str
    touched: tuple[Touched, ...]
    unmet: tuple[Unmet, ...]
    unmet_by_form: Mapping[str, int]
    owed: tuple[Where, ...]
    owed_by_form: Mapping[str, int]
    exports: tuple[Exported, ...]
    withheld: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.to_json(),
            "against": self.against,
            "differences": [{**t.difference.to_json(), "touches": _touched_json(t)} for t in self.touched],
            "withheld": self.withheld,
            "would_not_pass": {
                "forms": sum(self.unmet_by_form.values()),
                "by_form": dict(self.unmet_by_form),
                "list": [{**vars(one.where), "problems": list(one.problems)} for one in self.unmet],
            },
            "owed": {
                "forms": sum(self.owed_by_form.values()),
                "by_form": dict(self.owed_by_form),
                "list": [vars(one) for one in self.owed],
            },
            "exports": [vars(one) for one in self.exports],
        }


def _touched_json(touched: Touched) -> dict[str, Any] | None:
    if touched.forms is None:
        return None
    counts = {"forms": touched.forms, "by_form": dict(touched.by_form or {}), "by_site": dict(touched.by_site or {})}
    return {**counts, "participants": touched.participants, "people": list(touched.people)}


# --- what is loaded --------------------------------------------------------------------------------------------------


def listed(unit: Unit, trial: str) -> list[Version]:
    """Every version of the trial's protocol, newest first. Raises Forbidden for a role that reads neither approvals nor protocol."""
    studies.definition(unit, trial)
    _require_reader(unit, trial)
    rows = studies.loaded(unit, trial)
    names = casebooks.names(unit, [row.loaded_by for row in rows])
    return [_version(unit, row, names) for row in reversed(rows)]


def proposed(unit: Unit, trial: str) -> list[Version]:
    """The versions that wait: proposed, and not taken up by every site yet. Newest first."""
    return [found for found in listed(unit, trial) if found.state in ("proposed", "in_use")]


def _version(unit: Unit, row: Definition, names: Mapping[str, str]) -> Version:
    taken = {use.site: use.from_day for use in studies.uses(unit, row.trial_id) if use.seq == row.seq}
    return Version(
        row.seq, row.version, _state(unit, row), row.loaded_at, names.get(row.loaded_by, row.loaded_by), dict(sorted(taken.items()))
    )


def _state(unit: Unit, row: Definition) -> str:
    """Where a version stands today, from what each site works with."""
    trial = row.trial_id
    rows = studies.loaded(unit, trial)
    everywhere = max(one.seq for one in rows if one.state == studies.IN_FORCE)
    if row.seq < everywhere:
        return "replaced"
    working = {studies.definition_at(unit, trial, site.code).seq for site in studies.protocol(unit, trial).sites}
    if working == {row.seq}:
        return "in_force"
    if row.seq in working:
        return "in_use"
    return "replaced" if row.seq < min(working) or row.state == studies.IN_FORCE else "proposed"


def _require_reader(unit: Unit, trial: str) -> None:
    if not any(unit.may(action, trial) for action in _READ):
        allowed = ", ".join(name for role, (name, _) in ROLES.items() if any(role in ACTIONS[action] for action in _READ))
        raise Forbidden(
            f"{unit.actor.name} ({unit.actor.role_names(trial) or 'no role in this trial'}) may not read versions of the protocol.",
            code="ROLE.VERSIONS",
            needs=f"One of these roles: {allowed}.",
        )


def _row(unit: Unit, trial: str, seq: int) -> Definition:
    studies.definition(unit, trial)
    found = next((row for row in studies.loaded(unit, trial) if row.seq == seq), None)
    if found is None:
        raise Missing(f"Trial {trial} has no version number {seq}.", code="VERSION.UNKNOWN", needs="The page of versions lists them.")
    return found


# --- going live at a site --------------------------------------------------------------------------------------------


def use(unit: Unit, trial: str, seq: int, site: str, from_day: date, modification: str) -> DefinitionUse:
    """Note that a site uses a version from a day on. The caller has asked the gate whether it may, and names the modification.

    Raises Missing for an unknown version or site, WrongState for a version older than what the site uses, Conflict where the
    site has taken it up already, and Invalid for a day before the one already recorded, or answers without a place in it.
    """
    row = _row(unit, trial, seq)
    protocol = studies.parsed(row)
    place = protocol.site(site)
    held = [use for use in studies.uses(unit, trial) if use.site == place.code]
    _newer_than_now(unit, row, place.code, held)
    last = max((use.from_day for use in held), default=None)
    if last is not None and from_day < last:
        raise Invalid(
            f"Site {site} uses a version from {last.isoformat()} on already: a later version starts on that day or after it.",
            code="VERSION.DAY",
            needs=f"A day from {last.isoformat()} on.",
        )
    in_use = any(use.seq == seq for use in studies.uses(unit, trial))
    reach.require_readable(unit, studies.alive(unit, trial), protocol, place.code if in_use else "")
    taken = DefinitionUse(
        trial_id=trial, site=place.code, seq=seq, from_day=from_day, modification=modification, at=unit.now, by=unit.actor.id
    )
    unit.add(taken)
    unit.record(
        "protocol.use",
        taken,
        trial=trial,
        entity="site",
        entity_id=place.code,
        changes=[
            Change("version", studies.definition_at(unit, trial, place.code).version, row.version),
            Change("from_day", None, from_day.isoformat()),
            Change("modification", None, modification),
        ],
        site=place.code,
    )
    unit.session.flush()
    unit.remembered.clear()
    studies.new_sites(unit, protocol)
    return taken


def _newer_than_now(unit: Unit, row: Definition, site: str, held: Sequence[DefinitionUse]) -> None:
    """Raises where the site uses this version, or a newer one, from some day on."""
    rows = {one.seq: one for one in studies.loaded(unit, row.trial_id)}
    everywhere = [seq for seq, one in rows.items() if one.state == studies.IN_FORCE]
    newest = max([*everywhere, *(use.seq for use in held)])
    if any(use.seq == row.seq for use in held) or (row.state == studies.IN_FORCE and row.seq == newest):
        raise Conflict(f"Site {site} uses version {row.version} already.", code="VERSION.ALREADY", needs="Nothing.")
    if row.seq < newest:
        raise WrongState(
            f"Version {row.version} is older than version {rows[newest].version}, which site {site} uses.",
            code="VERSION.OLDER",
            needs="A version that was loaded later. Load what is still wanted of this one again, under a new name.",
        )


# --- what would be affected ------------------------------------------------------------------------------------------


def impact(unit: Unit, trial: str, seq: int) -> Impact:
    """What a version differs in from the one before it that is in use, and what of that touches what is saved.

    Raises as `listed` does, and Missing for an unknown version.
    """
    studies.definition(unit, trial)
    _require_reader(unit, trial)
    row = _row(unit, trial, seq)
    before = _before(unit, row)
    return _Reader(unit, before, row).impact()


def _before(unit: Unit, row: Definition) -> Definition:
    """The newest version loaded before one that was in use; for the first one, itself."""
    rows = studies.loaded(unit, row.trial_id)
    used = {use.seq for use in studies.uses(unit, row.trial_id)}
    earlier = [one for one in rows if one.seq < row.seq and (one.state == studies.IN_FORCE or one.seq in used)]
    return earlier[-1] if earlier else row


class _Reader:
    """The two versions, everything saved that the reader may count, and the reader's view of it."""

    def __init__(self, unit: Unit, before: Definition, after: Definition) -> None:
        self.unit, self.trial, self.row, self.before = unit, after.trial_id, after, before
        self.old, self.new = studies.parsed(before), studies.parsed(after)
        self.sees = unit.sees_allocations(self.trial, None)
        self.sites = sites_seen(unit.actor.grants, "trial.see", self.trial)
        self.named = unit.sites("participant.see", self.trial)
        counted = [one for one in reach.saved(unit, self.trial) if self.sites is None or one.site in self.sites]
        self.saved = [one for one in counted if self.sees or not self._hidden(one)]
        self.books = _books(unit, self.trial, counted)

    def _hidden(self, one: Saved) -> bool:
        return one.restricted or _restricts(self.old, one.form) or _restricts(self.new, one.form)

    def may_name(self, site: str) -> bool:
        return self.named is None or site in self.named

    def impact(self) -> Impact:
        found = versions.compare(self.old, self.new)
        told = [one for one in found if self.sees or self.unit.may("trial.configure", self.trial) or not self._closed(one)]
        unmet = list(self._unmet(found))
        owed = list(self._owed())
        names = casebooks.names(self.unit, [self.row.loaded_by])
        return Impact(
            _version(self.unit, self.row, names),
            self.before.version,
            tuple(self._touched(one) for one in told),
            tuple(one for one in unmet if self.may_name(one.where.site)),
            Counter(one.where.form for one in unmet),
            tuple(one for one in owed if self.may_name(one.site)),
            Counter(one.form for one in owed),
            tuple(_exports(packages.plan(self.old, not self.sees), packages.plan(self.new, not self.sees))),
            len(found) - len(told),
        )

    def _closed(self, found: Difference) -> bool:
        """Whether a difference is about something that a blinded role does not see in the forms."""
        if found.kind in ("form", "item", "check", "code"):
            return any(_closes(protocol, found) for protocol in (self.old, self.new))
        return False

    def _touched(self, found: Difference) -> Touched:
        if found.effect == "none" or (self._closed(found) and not self.sees):
            return Touched(found)
        forms = list(filter(reach.reaches(found, self.old), self.saved))
        people = {one.participant: one.site for one in forms}
        return Touched(
            found,
            len(forms),
            dict(Counter(one.form for one in forms)),
            dict(Counter(one.site for one in forms)),
            len(people),
            tuple(sorted(person for person, site in people.items() if self.may_name(site))),
        )

    # --- forms that would not pass

    def _unmet(self, found: Sequence[Difference]) -> Iterator[Unmet]:
        """Complete forms that pass today and would not pass under the new version."""
        wanted = self._forms_to_judge(found)
        registers = register.choices(self.unit, self.trial)
        arms = allocations.all_arms(self.unit, self.old) if self.sees else {}
        for one in self.saved:
            if one.status not in lifecycle.FINISHED or one.form not in wanted or one.form not in {form.code for form in self.new.forms}:
                continue
            judge = partial(self._judge, one, registers, arms.get(one.participant))
            after = judge(self.new)
            if after:
                known = {(f.code, f.items) for f in judge(self.old)}
                problems = tuple(f.message for f in after if (f.code, f.items) not in known)
                if problems:
                    yield Unmet(Where(one.participant, one.site, one.visit, one.form, one.row), problems)

    def _forms_to_judge(self, found: Sequence[Difference]) -> set[str]:
        """Forms of which a difference may change the judgement; all of them where facts or days differ."""
        serious = [one for one in found if one.effect != "none"]
        if any(one.kind in ("visit", "context") for one in serious):
            return {form.code for form in self.new.forms}
        lists = {one.place.partition(".")[0] for one in serious if one.kind == "code"}
        shared = {f.code for f in self.new.forms for i in f.items if i.codelist and i.codelist.name in lists}
        return {one.form for one in serious if one.form} | shared

    def _judge(self, one: Saved, registers: Any, arm: int | None, protocol: Protocol) -> list[Finding]:
        """The hard findings about one saved form by one version, as this reader may know them."""
        form = next((f for f in protocol.forms if f.code == one.form), None)
        visit = _visit(protocol, one.visit)
        if form is None or visit is None:
            return []
        beside = casebooks.context(
            self.unit, protocol, self.books[one.participant], form, visit, one.visit, one.row, registers=registers, arm=arm
        )
        kept = {name: raw for name, raw in one.document.get("answers", {}).items() if name in form.by_name}
        missing = {name: raw for name, raw in one.document.get("missing", {}).items() if name in form.by_name}
        system = {name: value for name, value in crf.load(form, {"answers": kept}).values.items() if form.by_name[name].system}
        verdict = crf.validate(form, kept, missing, Context(beside.facts, beside.rows, beside.registers, system))
        return [f for f in verdict.of("hard") if self.sees or not _about_restricted(form, f)]

    # --- forms that would be owed

    def _owed(self) -> Iterator[Where]:
        """Forms that become required at visits that participants have reached, and that nobody has saved there."""
        states = studies.states(self.unit, self.trial, self.new.machine)
        for book in self.books.values():
            if states.get(book.participant.id) in lifecycle.OVER:
                continue
            facts = book.facts(self.new)
            for visit in self.new.visits:
                reached = any(at == visit.code for at, _, _ in book.forms) or self._due(visit, facts)
                new = [form for form, how in self.new.forms_at(visit) if reached and how == "required" and self._newly(form, visit.code)]
                for form in new:
                    if form.applies(facts) and not book.rows(form.code, visit.code) and (self.sees or not form.restricted):
                        yield Where(book.participant.id, book.participant.site, visit.code, form.code)

    def _due(self, visit: Any, facts: Mapping[str, Any]) -> bool:
        return visit.kind == "scheduled" and schedule.due(self.unit.today, visit, facts) in ("due", "overdue")

    def _newly(self, form: Form, visit: str) -> bool:
        return not any(old.code == form.code and old.visits.get(visit) == "required" for old in self.old.forms)


def _books(unit: Unit, trial: str, saved: Iterable[Saved]) -> dict[str, Casebook]:
    """The casebooks of everybody who has a saved form that counts here."""
    wanted = {one.participant for one in saved}
    people = [row for row in unit.session.scalars(select(Participant).where(Participant.trial_id == trial)) if row.id in wanted]
    return casebooks.some_forms(unit, trial, people, {one.form for one in saved})


def _restricts(protocol: Protocol, code: str) -> bool:
    return any(form.code == code and form.restricted for form in protocol.forms)


def _visit(protocol: Protocol, code: str) -> Any:
    try:
        return protocol.visit(code)
    except Missing:
        return None


def _about_restricted(form: Form, found: Finding) -> bool:
    return bool(found.items) and all(name in form.by_name and form.restricts(form.by_name[name]) for name in found.items)


def _closes(protocol: Protocol, found: Difference) -> bool:
    """Whether the form, item, check or choices of a difference are hidden from blinded roles in this version."""
    code, _, name = found.place.partition(".")
    form = next((one for one in protocol.forms if one.code == code), None)
    if found.kind == "code":
        places = found.place.rpartition(".")[0] or found.place
        takers = [(f, i) for f in protocol.forms for i in f.items if i.codelist and places in (i.codelist.name, f"{f.code}.{i.name}")]
        hidden = {str(c.value) for _, i in takers if i.codelist for c in i.codelist.codes if c.restricted or c.blinded}
        return bool(takers) and (all(f.restricts(i) for f, i in takers) or found.place.rpartition(".")[2] in hidden)
    if form is None:
        return False
    if form.restricted or found.kind == "form":
        return form.restricted
    if found.kind == "check":
        checks = [check for check in form.checks if check.id == name]
        return any(all(item in form.by_name and form.by_name[item].restricted for item in check.items) for check in checks)
    return any(item.restricted for item in (*form.items, *form.summary) if item.name == name)


# --- export columns --------------------------------------------------------------------------------------------------

#: Parts of a column that a reader of a file notices.
_COLUMN_WORDS = {
    "label": "label",
    "kind": "type",
    "width": "width",
    "decimals": "decimal places",
    "value_labels": "value labels",
    "unit": "unit",
}


def _exports(old: Sequence[Table], new: Sequence[Table]) -> Iterator[Exported]:
    before, after = {table.name: table for table in old}, {table.name: table for table in new}
    for name in dict.fromkeys([*before, *after]):
        if name not in before:
            yield Exported(name, "", "added", f"{after[name].title}, {len(after[name].columns)} columns")
        elif name not in after:
            yield Exported(name, "", "removed", before[name].title)
        else:
            yield from _columns(name, before[name].columns, after[name].columns)


def _columns(table: str, old: Sequence[Column], new: Sequence[Column]) -> Iterator[Exported]:
    before, after = {column.name: column for column in old}, {column.name: column for column in new}
    for name in dict.fromkeys([*before, *after]):
        if name not in before:
            yield Exported(table, name, "added", after[name].label)
        elif name not in after:
            yield Exported(table, name, "removed", before[name].label)
        else:
            words = [w for part, w in _COLUMN_WORDS.items() if getattr(before[name], part) != getattr(after[name], part)]
            if words:
                yield Exported(table, name, "altered", ", ".join(words))
