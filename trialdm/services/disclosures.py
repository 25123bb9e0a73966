"""Who has learned a participant's allocation: one row for each time, never changed, and what it takes away."""

import uuid
from datetime import datetime

from sqlalchemy import select

from trialdm.domain.errors import Forbidden
from trialdm.services.unit import Unit
from trialdm.store.tables import Disclosure

#: How somebody can learn an allocation. In a `drill` nobody learns anything.
KINDS = {
    "emergency": "Emergency unblinding",
    "planned": "Planned unblinding",
    "accidental": "Accidental unblinding",
    "look": "Allocation read",
    "drill": "Drill",
}


def note(
    unit: Unit,
    trial: str,
    participant: str,
    account: str,
    kind: str,
    *,
    visit: str = "",
    reason_code: str = "",
    reason_text: str = "",
    at: datetime | None = None,
) -> Disclosure:
    """The row of a disclosure. The caller records the act that it belongs to."""
    row = Disclosure(
        trial_id=trial,
        id=uuid.uuid4().hex,
        participant_id=participant,
        account_id=account,
        kind=kind,
        visit=visit,
        reason_code=reason_code,
        reason_text=reason_text,
        at=at or unit.now,
        by=unit.actor.id,
    )
    unit.add(row)
    return row


def of(unit: Unit, trial: str, participant: str, account: str = "") -> list[Disclosure]:
    """Every disclosure of a participant's allocation (to one account), oldest first."""
    wanted = select(Disclosure).where(Disclosure.trial_id == trial, Disclosure.participant_id == participant)
    if account:
        wanted = wanted.where(Disclosure.account_id == account)
    return list(unit.session.scalars(wanted.order_by(Disclosure.at, Disclosure.id)))


def knows(unit: Unit, trial: str, participant: str, account: str) -> bool:
    """Whether the person has learned this allocation in any way; a drill teaches nothing."""
    return any(row.kind != "drill" for row in of(unit, trial, participant, account))


def known_to(unit: Unit, trial: str, account: str) -> set[str]:
    """The participants whose allocation the person has learned."""
    wanted = (Disclosure.trial_id == trial, Disclosure.account_id == account, Disclosure.kind != "drill")
    return set(unit.session.scalars(select(Disclosure.participant_id).where(*wanted)))


def require_blind(unit: Unit, trial: str, participant: str) -> None:
    """Raises Forbidden where the actor knows the allocation: then another assessor is needed."""
    if knows(unit, trial, participant, unit.actor.id):
        raise Forbidden(
            f"You know the allocation of participant {participant}: another assessor is needed.",
            code="ROLE.UNBLINDED_ASSESSOR",
            needs="An assessor at this site who does not know the allocation enters it.",
        )
