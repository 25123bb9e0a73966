"""Who a person is at another sign-in service: known by issuer and subject, and linked by the person alone, who is signed in here.

Never by an e-mail address: whoever runs a service can call anybody by any address.
"""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import select

from trialdm.domain.errors import Conflict, Forbidden, Missing
from trialdm.services import notices
from trialdm.services.sessions import digest, has_factor, start
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import Account, OutsideIdentity, OutsideWay

#: How long the way to another service and back may take.
_LONGEST_WAY = timedelta(minutes=10)


def leave(unit: Unit, state: str, nonce: str, verifier: str, target: str) -> None:
    """Note a way to another service. A signed-in person goes there to link their account, anybody else to sign in."""
    row = OutsideWay(id=digest(state), account_id=unit.actor.id, nonce=nonce, verifier=verifier, target=target, at=unit.now, used_at=None)
    unit.add(row)


def come_back(unit: Unit, state: str) -> OutsideWay:
    """The way that this state belongs to, once. Raises Forbidden for one that is unknown, used, too old, or somebody else's."""
    row = unit.session.get(OutsideWay, digest(state), with_for_update=True, populate_existing=True)
    if row is None or not _open(row, unit.now) or row.account_id != unit.actor.id:
        raise Forbidden("This way from the other service is not open.", code="AUTH.OUTSIDE", needs="Start again from the sign-in page.")
    row.used_at = unit.now
    return row


def _open(row: OutsideWay, now: datetime) -> bool:
    return row.used_at is None and now - row.at <= _LONGEST_WAY


def of(unit: Unit, account: str) -> list[OutsideIdentity]:
    """The links of an account."""
    held = (OutsideIdentity.account_id == account, OutsideIdentity.ended_at.is_(None))
    return list(unit.session.scalars(select(OutsideIdentity).where(*held).order_by(OutsideIdentity.created_at)))


def link(unit: Unit, issuer: str, subject: str) -> None:
    """Link the actor's own account. Raises Conflict for a person of the other service who is linked already."""
    unit.require_somebody()
    unit.require_proof()
    unit.session.execute(select(Account.id).order_by(Account.staff_no).limit(1).with_for_update())  # links are made one after another
    if _known(unit, issuer, subject) is not None:
        raise Conflict(
            "This person of the other service is linked to an account already.", code="AUTH.LINKED", needs="End that link first."
        )
    row = OutsideIdentity(id=uuid.uuid4().hex, issuer=issuer, subject=subject, account_id=unit.actor.id, created_at=unit.now, ended_at=None)
    unit.add(row)
    unit.record("outside.link", row, trial="*", entity="account", entity_id=unit.actor.id, changes=[Change("issuer", None, issuer)])
    notices.tell_account(unit, unit.actor.id, "sign-in", "Your account was linked to another sign-in service.")


def unlink(unit: Unit, ident: str) -> None:
    """End one of the actor's own links. Raises Missing for another's."""
    unit.require_proof()
    row = next((row for row in of(unit, unit.actor.id) if row.id == ident), None)
    if row is None:
        raise Missing("There is no such link of yours.", code="AUTH.LINKED", needs="Open the page again.")
    row.ended_at = unit.now
    unit.record("outside.unlink", row, trial="*", entity="account", entity_id=unit.actor.id, changes=[Change("issuer", row.issuer, None)])


def end_all(unit: Unit, account: str) -> None:
    """End every link of an account that its person lost hold of."""
    for row in of(unit, account):
        row.ended_at = unit.now
        unit.record("outside.unlink", row, trial="*", entity="account", entity_id=account, changes=[Change("issuer", row.issuer, None)])


def _known(unit: Unit, issuer: str, subject: str) -> OutsideIdentity | None:
    wanted = (OutsideIdentity.issuer == issuer, OutsideIdentity.subject == subject, OutsideIdentity.ended_at.is_(None))
    return unit.session.scalars(select(OutsideIdentity).where(*wanted)).first()


def sign_in(unit: Unit, issuer: str, subject: str, *, strong: bool, second_needed: bool, agent: str = "") -> str | None:
    """The secret of a session of whoever is linked, or None. Where the other service asked for no second factor, ours is asked for."""
    found = _known(unit, issuer, subject)
    account = unit.session.get(Account, found.account_id) if found else None
    if account is None or account.state != "active":
        return None
    stage = "full" if strong else "second" if has_factor(unit, account.id) else "enrol" if second_needed else "full"
    unit.record("sign-in.outside", trial="*", entity="account", entity_id=account.id)
    return start(unit, account, stage, agent, proved=False)
