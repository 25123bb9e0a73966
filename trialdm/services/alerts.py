"""Alerts that reach their role: whoever a check names is told in the act by which the alert arises.

An alert about something restricted reaches only people who read allocations at the participant's site.
"""

from collections.abc import Collection, Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from sqlalchemy import select

from trialdm.domain.crf import Finding
from trialdm.services import notices
from trialdm.services.casebooks import Stored
from trialdm.services.unit import Unit
from trialdm.store.tables import AuditEvent, FormInstance

if TYPE_CHECKING:  # saving a form stands on this room
    from trialdm.services.places import Place


def _said(unit: Unit, stored: Stored) -> frozenset[str]:
    """Ids of the alerts that arose when the form was saved last."""
    rows = unit.session.scalars(
        select(AuditEvent.field).where(
            AuditEvent.trial_id == stored.instance.trial_id,
            AuditEvent.entity == "form",
            AuditEvent.entity_id == stored.instance.id,
            AuditEvent.action == "form.alert",
            AuditEvent.at_utc == stored.saved_at.astimezone(UTC).isoformat(timespec="microseconds"),
        )
    )
    return frozenset(rows)


def tell(
    unit: Unit, place: "Place", instance: FormInstance, before: Stored | None, found: Sequence[Finding], changed: Collection[str]
) -> None:
    """A notice to everybody who holds a role that an alert names: for the trial, or at the participant's site.

    An alert that arose in the version `before` is told again only where one of its answers has changed.
    """
    telling = [finding for finding in found if finding.notify]
    if place.protocol.historical or not telling:
        return
    known = _said(unit, before) if before else frozenset()
    form, person = place.form, place.participant
    for finding in telling:
        if finding.id in known and not set(finding.items) & set(changed):
            continue
        named = [form.by_name[name] for name in finding.items if name in form.by_name]
        restricted = form.restricted or bool(instance.restricted) or any(form.restricts(item) for item in named)
        where = f"{place.visit.label}, {form.title}" + (f", row {place.row}" if place.row > 1 else "")
        notices.tell(
            unit,
            place.protocol.id,
            notices.holders(unit, place.protocol.id, finding.notify, person.site),
            "alert",
            f"Alert: {form.title}, participant {person.id}",
            f"{finding.message} Participant {person.id} at site {person.site}: {where}.",
            person.id,
            restricted=restricted,
        )
