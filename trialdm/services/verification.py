"""Source data verification: what the monitor compares with the source, marking it, and how far it has come.

A mark stands until the answer changes (`signatures.void`). A form is verified once everything that the sampling rules name of
it is, or once the monitor has verified it as a whole.
"""

import hmac
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from trialdm.domain import lifecycle, signing
from trialdm.domain import verification as sampling
from trialdm.domain.crf import Form
from trialdm.domain.errors import Invalid, Refused, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.signing import Act, Marks
from trialdm.services import casebooks, holds, participants, register, signatures, studies
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import FormAct, Participant


def wanted(unit: Unit, protocol: Protocol, person: Participant, form: Form, stored: Stored) -> frozenset[str]:
    """The items of a saved form that are to be verified: those that hold an answer, or a reason why there is none.

    A restricted item of an otherwise open form counts only where a rule names it.
    """
    answers = stored.answers(form)
    held = {*answers.values, *answers.missing}
    items = [item for item in form.items if item.typed_in and item.name in held]
    named = {name for rule in protocol.verification for name in rule.items}
    open_ones = [item.name for item in items if form.restricted or item.name in named or not item.restricted]
    draw = _draw(unit, protocol.id, person.id)
    return sampling.wanted(protocol.verification, form.code, stored.instance.visit, open_ones, number=person.number, draw=draw)


def _draw(unit: Unit, trial: str, participant: str) -> int:
    """From 0 to 99, the same for a participant each time: nobody without the key can tell who is in a sample."""
    digest = hmac.digest(unit.keys.audit, f"sdv {trial} {participant}".encode(), "sha256")
    return int.from_bytes(digest[:8], "big") % 100


def readable(unit: Unit, protocol: Protocol, person: Participant, form: Form, stored: Stored) -> list[str]:
    """The items of a saved form that the reader may compare with the source: a blinded one sees no restricted item."""
    answers = stored.answers(form)
    sees = unit.sees_allocations(protocol.id, person.site)
    held = {*answers.values, *answers.missing}
    return [i.name for i in form.items if i.typed_in and i.name in held and (sees or not form.restricts(i, answers.values))]


def verify(
    unit: Unit, protocol: Protocol, book: Casebook, at: signatures.Place, chosen: Collection[str] | None = None, *, seen: int | None = None
) -> str:
    """Mark items (None: everything that the person may read) as compared with the source; gives the state of the form.

    `seen` is the version that was compared, where that is known. Raises Forbidden without the right, Stale where the form was changed
    since, WrongState for one that is not finished or is locked, Invalid for an item that holds nothing, and Refused for one that
    would unblind.
    """
    trial, person = protocol.id, book.participant
    unit.require("form.verify", trial, person.site)
    register.lock(unit, trial, shared=True)
    stored = signatures.as_seen(casebooks.hold(unit, person), at, seen)
    holds.require_unlocked(unit, trial, person, stored.instance, "verified")
    if not stored.finished:
        raise WrongState(
            f"The form is {lifecycle.label(stored.status)}: only a finished one is verified.", code="STATE.FORM", needs="The form complete."
        )
    forms = studies.protocol_at(unit, trial, person.site)
    form, one = forms.form(stored.instance.form), stored.instance
    may = readable(unit, forms, person, form, stored)
    _require_readable(form, may, chosen)
    everything = chosen is None and len(may) == len([i for i in form.items if i.typed_in and _holds(stored, form, i.name)])
    names = [""] if everything else list(may if chosen is None else chosen)
    marks = signatures.marks(unit, trial, one.id)
    rows = [signatures.note(unit, one, "verify", item=name) for name in names if not name or not marks.verified(name)]
    was = one.status
    now = signatures.marks(unit, trial, one.id)
    needed = wanted(unit, forms, person, form, stored)
    if lifecycle.may("form", was, "verify") and ((now.whole and not now.again) or (needed and now.covers(needed))):
        one.status = lifecycle.move("form", was, "verify")
    stream = "unblinded" if stored.restricted(form) else "open"
    changes = [Change("status", was, one.status, stream)] if one.status != was else []
    changes += signatures.by_stream(form, stored, [row.item for row in rows if row.item], done=True)
    changes += [Change("verified", None, "the whole form", stream)] if any(not row.item for row in rows) else []
    if changes:
        unit.record("form.verify", one, *rows, trial=trial, entity="form", entity_id=one.id, changes=changes, site=person.site)
    return one.status


def _holds(stored: Stored, form: Form, item: str) -> bool:
    answers = stored.answers(form)
    return item in answers.values or item in answers.missing


def _require_readable(form: Form, may: Collection[str], chosen: Collection[str] | None) -> None:
    unknown = [name for name in chosen or () if name not in form.by_name]
    if unknown or (chosen is not None and not chosen):
        raise Invalid(
            f"{', '.join(unknown) or 'Nothing'} cannot be verified on form {form.code}.",
            code="VERIFY.ITEM",
            needs="Items of the form that hold an answer.",
        )
    hidden = [name for name in chosen or () if name not in may and form.by_name[name].restricted]
    if hidden or (form.restricted and not may):
        raise Refused("Hidden to keep you blinded.", code="GATE.GOV-45", needs="An unblinded role at this site.")
    empty = [name for name in chosen or () if name not in may]
    if empty:
        raise Invalid(f"{', '.join(empty)}: nothing has been answered.", code="VERIFY.ITEM", needs="Items that hold an answer.")


# --- how far it has come ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waiting:
    """A form of which something is to be verified still: where it is, and how many items of how many are left."""

    participant: str
    site: str
    visit: str
    form: str
    row: int
    left: int
    items: int


def knows_sample(unit: Unit, trial: str) -> bool:
    """Whether the person may know which forms are in the sample."""
    return unit.may("form.verify", trial) or unit.may("hold.move", trial)


def progress(unit: Unit, trial: str, site: str = "") -> tuple[dict[str, tuple[int, int]], list[Waiting]]:
    """By site, how many forms are verified of how many are to be; and those that wait, for whoever verifies or cleans the data.

    Nobody else is told which forms they are: a site that knew the sample could prepare for it.
    """
    done: dict[str, tuple[int, int]] = {}
    waiting: list[Waiting] = []
    marks, told = _all_marks(unit, trial), knows_sample(unit, trial)
    for book, protocol in _books(unit, trial, site):
        person = book.participant
        sees = unit.sees_allocations(trial, person.site)
        for (visit, code, row), stored in sorted(book.forms.items()):
            form = protocol.form(code)
            if not stored.finished or (not sees and stored.restricted(form)):
                continue
            needed = wanted(unit, protocol, person, form, stored)
            if not needed:
                continue
            known = marks.get(stored.instance.id, Marks())
            left = sum(not known.verified(name) for name in needed)
            verified, all_of_them = done.get(person.site, (0, 0))
            done[person.site] = (verified + (not left), all_of_them + 1)
            if left and told:
                waiting.append(Waiting(person.id, person.site, visit, code, row, left, len(needed)))
    return done, waiting


def _books(unit: Unit, trial: str, site: str) -> Iterator[tuple[Casebook, Protocol]]:
    people = [person for person, _ in participants.listed(unit, trial) if not site or person.site == site]
    for book in casebooks.whole(unit, trial, people).values():
        yield book, studies.protocol_at(unit, trial, book.participant.site)


def _all_marks(unit: Unit, trial: str) -> Mapping[str, Marks]:
    acts: dict[str, list[Act]] = {}
    for row in unit.session.scalars(select(FormAct).where(FormAct.trial_id == trial).order_by(FormAct.instance_id, FormAct.n)):
        acts.setdefault(row.instance_id, []).append(Act(row.act, row.item, row.version, row.name, row.role, at=row.at, by=row.by))
    return {ident: signing.fold(found) for ident, found in acts.items()}
