"""Which saved forms a difference between two versions of a protocol reaches, and which versions can go live beside what is saved.

Knows definitions as they were read, and the newest version of every saved form. Refuses to know who uses which version.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from trialdm.domain import versions
from trialdm.domain.crf import Form, Item
from trialdm.domain.errors import Detail, Invalid
from trialdm.domain.protocol import UNSCHEDULED, Protocol
from trialdm.domain.versions import Difference
from trialdm.services.unit import Unit
from trialdm.store.tables import FormInstance, FormVersion, Participant

#: Parts of an item that decide about forms without an answer to it as well.
_WHOLE_FORM = frozenset({"required", "condition", "calculation", "exported", "meaning", "filled by the system"})


@dataclass(frozen=True)
class Saved:
    """The newest version of one saved form (or row), with its document."""

    participant: str
    site: str
    visit: str
    form: str
    row: int
    status: str
    restricted: bool
    document: Mapping[str, Any]

    def holds(self, item: str) -> bool:
        """Whether it has an answer to an item, or a reason why there is none."""
        return item in self.document.get("answers", {}) or item in self.document.get("missing", {})

    def chose(self, item: str, code: int) -> bool:
        """Whether the answer to an item is this code, or has it among others."""
        given = self.document.get("answers", {}).get(item)
        return code in given if isinstance(given, list) else given == code


def saved(unit: Unit, trial: str) -> list[Saved]:
    """Every saved form of a trial, by site, participant, visit, form and row."""
    rows = unit.session.execute(
        select(FormInstance, Participant.site, FormVersion.data)
        .join(Participant, (Participant.trial_id == FormInstance.trial_id) & (Participant.id == FormInstance.participant_id))
        .join(
            FormVersion,
            (FormVersion.trial_id == FormInstance.trial_id)
            & (FormVersion.instance_id == FormInstance.id)
            & (FormVersion.seq == FormInstance.seq),
        )
        .where(FormInstance.trial_id == trial, FormInstance.status != "removed")
        .order_by(Participant.site, Participant.enrolled_site, Participant.number, FormInstance.visit, FormInstance.form, FormInstance.row)
    )
    return [
        Saved(one.participant_id, site, one.visit, one.form, one.row, one.status, bool(one.restricted), json.loads(data))
        for one, site, data in rows
    ]


def reaches(found: Difference, old: Protocol) -> Callable[[Saved], bool]:
    """Which saved forms a difference is about: those that it may make incomplete, unreadable or otherwise read."""
    is_new, code = not found.before, found.place.partition(".")[0]
    match found.kind:
        case "site":
            return lambda one: one.site == found.place
        case "visit":
            return lambda one: one.visit == found.place or (found.place == UNSCHEDULED and one.visit[:1] == UNSCHEDULED)
        case "form" if found.what.startswith("at visit "):
            return lambda one: one.form == code and one.visit == found.what.removeprefix("at visit ")
        case "form" | "check":
            return lambda one: one.form == code
        case "item":
            name = found.place.partition(".")[2]
            if is_new or found.what in _WHOLE_FORM:
                return lambda one: one.form == code
            return lambda one: one.form == code and one.holds(name)
        case "code" if not is_new:
            places, _, value = found.place.rpartition(".")
            items = list(_items_of(old, places))
            return lambda one: any(one.form == form and one.chose(item, int(value)) for form, item in items)
        case "context":
            forms = {form.code for form in old.forms if found.place in _names(form)}
            return lambda one: one.form in forms
    return lambda one: False


def _items_of(protocol: Protocol, choices: str) -> Iterator[tuple[str, str]]:
    """Form and item of everything that takes its choices from a list, or has them of its own."""
    for form in protocol.forms:
        for item in form.items:
            if choices == f"{form.code}.{item.name}" or (item.codelist and item.codelist.name == choices):
                yield form.code, item.name


def _names(form: Form) -> set[str]:
    """Everything that the expressions of a form name."""
    parts: list[Item] = [*form.items, *form.summary]
    expressions = [e for item in parts for e in (item.show_if, item.value)] + [check.when for check in form.checks] + [form.applies_if]
    return {name for expression in expressions if expression for name in expression.names}


# --- what can go live ------------------------------------------------------------------------------------------------

_MEND = {
    "site": "Keep the site; one that takes part no more is closed.",
    "visit": "Keep the visit as it is.",
    "form": "Keep the form where it is saved already; it can be made optional, or expected of nobody ('applies_if').",
    "item": "Keep the item as it is; it can be made optional or hidden ('show_if'), and a new item can take its place.",
    "code": "Keep the code; a further one can be added.",
}

_FIXED_MEND = {
    "allocation": "Keep arms and allocation as they are; they are changed by 'allocation amend'.",
    "unblinding": "Keep when participants are told: this is fixed once the trial runs.",
    "identity": "Keep it: it is fixed once the trial runs.",
}


def require_proposable(unit: Unit, now: Protocol, alive: Sequence[Protocol], known: Iterable[str], new: Protocol) -> None:
    """Raises Invalid unless a version can go live on a running trial.

    `now` is the trial's protocol, `alive` every version in use, `known` the names of all versions that were ever loaded.
    """
    if new.version in known:
        raise Invalid(
            f"There is a version {new.version} of trial {new.id} already, with other files.",
            code="PROTOCOL.VERSION",
            needs="Another version under 'trial' in protocol.yaml.",
        )
    fixed = [
        Detail("PROTOCOL.BREAKS", found.words, found.place, _FIXED_MEND[found.kind]) for found in versions.fixed(versions.compare(now, new))
    ]
    _refuse(new, [*fixed, *_broken(unit, alive, new)])


def require_readable(unit: Unit, alive: Sequence[Protocol], new: Protocol, site: str = "") -> None:
    """Raises Invalid where something saved (at a site, where one is named) has no place in a version that goes live."""
    _refuse(new, _broken(unit, alive, new, site))


def _broken(unit: Unit, alive: Sequence[Protocol], new: Protocol, site: str = "") -> list[Detail]:
    """What of a version breaks answers that are saved, once for each place."""
    found = {d.place + d.what: (d, old) for old in alive for d in versions.compare(old, new) if d.effect == "breaks" and d.kind in _MEND}
    if not found:
        return []
    forms = [one for one in saved(unit, new.id) if site in ("", one.site)]
    people = unit.session.execute(select(Participant.enrolled_site, Participant.site).where(Participant.trial_id == new.id))
    added = {code for both in people for code in both}
    return [
        Detail("PROTOCOL.BREAKS", f"{d.words} But answers are saved there.", d.place, _MEND[d.kind])
        for d, old in found.values()
        if any(map(reaches(d, old), forms)) or (d.kind == "site" and d.place in added)
    ]


def _refuse(new: Protocol, details: Sequence[Detail]) -> None:
    if details:
        raise Invalid(
            f"Version {new.version} cannot go live on a running trial: {len(details)} of its differences cannot be.",
            code="PROTOCOL.BREAKS",
            needs="Change these places in the files, and load the version again.",
            details=details,
        )
