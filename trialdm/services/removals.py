"""Rows that were entered by mistake: taken out, and put back. They stay in the trail."""

from trialdm.domain import lifecycle, roles
from trialdm.domain.errors import Detail, Forbidden, Invalid, Missing, WrongState
from trialdm.domain.protocol import UNSCHEDULED
from trialdm.services import answering, casebooks, contradictions, participants, participation, signatures
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.places import Place, about, require_seen, stream_of
from trialdm.services.records import entered, reason_of, same_version
from trialdm.services.unit import Change, Unit

#: Kinds of forms whose rows can be removed. What was consented to, operated on, reported or judged is corrected instead.
_REMOVABLE = frozenset({"baseline", "outcome", "operative", "discharge", "safety", "visit"})


def _closes(place: Place) -> bool:
    """Whether the form says that a participation has ended."""
    return place.form.code in participants.closing_forms(place.protocol)


def removable(place: Place) -> bool:
    """Whether a row entered by mistake can be taken out: rows, and forms of an unscheduled visit."""
    loose = place.protocol.rows_at(place.form, place.visit) or place.visit.code == UNSCHEDULED
    meanings = {item.means for item in place.form.items}
    return loose and (_closes(place) or (place.form.kind in _REMOVABLE and not meanings & {"serious_aware", "surgery_done"}))


def remove(unit: Unit, place: Place, reason: str, version: int | None = None) -> None:
    """Take out a row that was entered by mistake. It stays in the trail and can be restored; lists, rules and exports pass it by.

    `version` is the one that was read, where that is known. Raises Stale where it is another one by now.
    """
    book, _ = entered(unit, place)
    stored = book.get(*place.key)
    _require_loose(unit, place, stored, reason)
    contradictions.require_unnamed(place, book)
    same_version(stored, version if version is not None or stored is None else stored.instance.seq)
    _strike(unit, place, book, stored, "remove", reason)


def restore(unit: Unit, place: Place, reason: str, version: int | None = None) -> None:
    """Put a row back that was removed, as a draft to be finished again; `version` as in `remove`."""
    book, _ = entered(unit, place)
    stored = book.removed.get(place.key)
    _require_loose(unit, place, stored, reason)
    same_version(stored, version if version is not None or stored is None else stored.instance.seq)
    _strike(unit, place, book, stored, "restore", reason)


def _require_loose(unit: Unit, place: Place, stored: Stored | None, reason: str) -> None:
    if not answering.starts(unit, place):
        raise Forbidden(
            f"You may not remove a row of form {place.form.code}.",
            code="ROLE.FORM",
            needs=f"One of these roles: {', '.join(roles.ROLES[role][0] for role in sorted(roles.FORM_ENTRY[place.form.kind]))}.",
        )
    if stored is None:
        raise Missing(f"There is no such row of form {place.form.code} at {place.visit_code}.", code="CRF.NO_ROW")
    if not removable(place):
        raise WrongState(
            f"{place.form.title} is not removed: it has consequences that a removal would hide.",
            code="CRF.NOT_REMOVABLE",
            needs="Correct the answers, with a reason.",
        )
    if not reason.strip():
        detail = Detail("CRF.REASON_NEEDED", "Say why.", "reason")
        raise Invalid("Say why the row is removed or restored.", code="CRF.REASON_NEEDED", needs="A reason.", details=[detail])
    require_seen(unit, place, stored)


def _strike(unit: Unit, place: Place, book: Casebook, stored: Stored | None, event: str, reason: str) -> None:
    assert stored is not None
    was = stored.status
    new = lifecycle.move("form", was, event)
    code, text = reason_of(reason)
    ends = participation.said(place.protocol, book) if participation.concerns(place.protocol, place.form) else None
    instance, version = casebooks.write(unit, book, place.key, new, stored.answers(place.form), reason=(code, text))
    change = Change("status", was, new, stream_of(place, instance))
    told = {"trial": place.protocol.id, **about(place, instance)}
    unit.record(f"form.{event}", instance, version, changes=[change], reason_code=code, reason_text=text, **told)
    kept = book.forms.get(place.key) or book.removed[place.key]
    signatures.void(unit, place.protocol, book, kept, [], f"{unit.actor.name} {'removed' if event == 'remove' else 'restored'} a row")
    if ends is not None:
        participation.follow(unit, place.protocol, book, ends, reason)
