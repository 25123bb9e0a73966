"""Casebooks as they stood at a moment: the newest version that every form had then, of everybody who was known then."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, func, select

from trialdm.domain.protocol import Protocol
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import Unit
from trialdm.store.tables import Allocation, AllocationNote, FormInstance, FormVersion, Participant, Status, Transfer


def last_change(unit: Unit, protocol: Protocol, *, blinded: bool) -> datetime:
    """The moment of the last change to the trial's data, which is what an export is as of unless it says otherwise.

    For a blinded one, what happens to restricted forms is no change: its moment would tell that something was entered there.
    """
    trial = protocol.id
    forms = (FormInstance.trial_id == FormVersion.trial_id) & (FormInstance.id == FormVersion.instance_id)
    saved = select(func.max(FormVersion.saved_at)).where(FormVersion.trial_id == trial)
    moved = select(func.max(Status.at)).where(Status.trial_id == trial)
    if blinded:
        open_forms = [form.code for form in protocol.forms if not form.restricted]
        saved = saved.join(FormInstance, forms).where(FormInstance.restricted == 0, FormInstance.form.in_(open_forms))
        moved = moved.where(~Status.subject.startswith("form:"))
    others = [
        select(func.max(column)).where(table.trial_id == trial)
        for table, column in ((Allocation, Allocation.at), (AllocationNote, AllocationNote.at), (Transfer, Transfer.at))
    ]
    known = [moment for moment in (unit.session.scalar(wanted) for wanted in (saved, moved, *others)) if moment is not None]
    return max(known) if known else datetime(2000, 1, 1, tzinfo=UTC)


def newest(trial: str, forms: Iterable[str], as_of: datetime) -> Select[*tuple[Any, ...]]:
    """The version of every instance of these forms that was the newest at a moment; none of a row that was removed then."""
    latest = (
        select(FormVersion.instance_id, func.max(FormVersion.seq).label("seq"))
        .join(FormInstance, (FormInstance.trial_id == FormVersion.trial_id) & (FormInstance.id == FormVersion.instance_id))
        .where(FormVersion.trial_id == trial, FormInstance.form.in_(list(forms)), FormVersion.saved_at <= as_of)
        .group_by(FormVersion.instance_id)
        .subquery()
    )
    return (
        select(
            FormInstance.participant_id,
            Participant.enrolled_site,
            FormInstance.visit,
            FormInstance.form,
            FormInstance.row,
            FormVersion.status,
            FormVersion.seq,
            FormVersion.saved_at,
            FormVersion.data,
            FormInstance.restricted,
        )
        .join(latest, latest.c.instance_id == FormInstance.id)
        .join(
            FormVersion,
            (FormVersion.trial_id == FormInstance.trial_id)
            & (FormVersion.instance_id == FormInstance.id)
            & (FormVersion.seq == latest.c.seq),
        )
        .join(Participant, (Participant.trial_id == FormInstance.trial_id) & (Participant.id == FormInstance.participant_id))
        .where(FormInstance.trial_id == trial, FormVersion.status != "removed")
    )


def books(unit: Unit, protocol: Protocol, as_of: datetime, forms: Iterable[str] = ()) -> list[Casebook]:
    """The casebook of every participant as it stood at a moment, by site and number; with these forms only, where some are named."""
    trial = protocol.id
    known = Participant.trial_id == trial, Participant.added_at <= as_of
    people = unit.session.scalars(select(Participant).where(*known).order_by(Participant.enrolled_site, Participant.number))
    found = {person.id: Casebook(person) for person in people}
    for row in unit.session.execute(newest(trial, forms or [form.code for form in protocol.forms], as_of)):
        instance = FormInstance(visit=row.visit, form=row.form, row=row.row, status=row.status, restricted=row.restricted)
        found[row.participant_id].forms[(row.visit, row.form, row.row)] = Stored(instance, row.data, "", row.saved_at)
    allocations_made = select(Allocation).where(Allocation.trial_id == trial, Allocation.at <= as_of).order_by(Allocation.at.desc())
    for allocated in unit.session.scalars(allocations_made):
        if allocated.participant_id in found:
            found[allocated.participant_id].allocated_at = allocated.at
    return list(found.values())
