"""Telling people: a notice in the inbox of each person, and a mail that only says that there is one.

A notice never names an arm, and a mail names no participant either. A restricted notice (the kind by which the surgical team
learns that there is an allocation to look up) reaches only people who read allocations at the participant's site.
"""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from trialdm.domain import roles
from trialdm.domain.protocol import Protocol
from trialdm.domain.roles import UNBLINDED, Grant
from trialdm.services import people, studies
from trialdm.services.unit import LONDON, Change, Unit, needed
from trialdm.store.tables import Account, Notice, Outgoing, Participant, RoleGrant

#: kind -> what it is about, as inbox and mail say it.
KINDS = {
    "escrow": "a share of the allocation master",
    "ledger": "the allocation chain",
    "envelope": "an envelope for a time when the system is away",
    "emergency": "emergency unblinding",
    "drill": "DRILL: emergency unblinding",
    "planned": "planned unblinding",
    "accidental": "accidental unblinding",
    "blinding": "unblinding of the trial",
    "allocation": "a new allocation",
    "theatre": "check in theatre",
    "alert": "an alert from a form",
    "deadline": "a deadline",
    "delegation": "the delegation log",
    "modification": "a modification",
    "transfer": "a transfer between sites",
    "identity": "an identity that somebody asked to see",
    "participation": "a change of participation",
}


@dataclass(frozen=True)
class Message:
    """A notice as its reader sees it."""

    id: str
    trial: str
    kind: str
    subject: str
    text: str
    participant: str
    made_at: datetime
    read_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "made_at": self.made_at.isoformat(timespec="seconds"),
            "read_at": self.read_at.isoformat(timespec="seconds") if self.read_at else None,
        }


# --- sending ---------------------------------------------------------------------------------------------------------


def holders(unit: Unit, trial: str, wanted: Collection[str], site: str = "") -> list[str]:
    """Ids of the open accounts that hold one of these roles now: for the whole trial, or at the site."""
    held = _held(unit, RoleGrant.role.in_(wanted), RoleGrant.trial_id.in_(("*", trial)))
    return list(dict.fromkeys(account for account, grant in held if grant.site in ("", site)))


def _unblinded(unit: Unit, accounts: Collection[str], trial: str, site: str) -> set[str]:
    """Those of the accounts that read allocations at the site by their roles; none where there is no site."""
    held = _held(unit, RoleGrant.account_id.in_(accounts)) if site else []
    return {account for account, grant in held if roles.sees_allocations([grant], trial, site)}


def _held(unit: Unit, *wanted: ColumnElement[bool]) -> list[tuple[str, Grant]]:
    """The roles that open accounts hold now, by staff number."""
    rows = unit.session.scalars(
        select(RoleGrant)
        .join(Account, Account.id == RoleGrant.account_id)
        .where(Account.state == "active", *wanted)
        .order_by(Account.staff_no, RoleGrant.seq)
    )
    return people.held(rows)


def tell(
    unit: Unit,
    trial: str,
    recipients: Iterable[str],
    kind: str,
    subject: str,
    text: str,
    participant: str = "",
    *,
    restricted: bool = False,
) -> int:
    """A notice and a mail for each of these accounts, once for each; gives how many were told.

    `text` names no arm. A restricted notice leaves out everybody who does not read allocations at the participant's site.
    """
    person = unit.session.get(Participant, (trial, participant)) if participant else None
    site = person.site if person else ""
    accounts = list(dict.fromkeys(recipients))
    if restricted:
        unblinded = _unblinded(unit, accounts, trial, site)
        accounts = [account for account in accounts if account in unblinded]
    if not accounts:
        return 0
    title = studies.protocol(unit, trial).short_title
    addresses = {key: value for key, value in unit.session.execute(select(Account.id, Account.email).where(Account.id.in_(accounts)))}
    made = [
        Notice(
            trial_id=trial,
            id=uuid.uuid4().hex,
            account_id=account,
            kind=kind,
            subject=subject,
            text=text,
            participant_id=participant,
            restricted=int(restricted),
            made_at=unit.now,
            read_at=None,
        )
        for account in accounts
    ]
    stream = "unblinded" if restricted else "open"
    unit.add(*made, *(_mail(unit, trial, title, kind, addresses[account]) for account in accounts))
    unit.record(
        "notice.send",
        *made,
        trial=trial,
        entity="participant" if participant else "trial",
        entity_id=participant or trial,
        changes=[
            Change("notice", None, KINDS[kind], stream),
            Change("told", None, [addresses[account] for account in accounts], stream),
        ],
        site=site,
    )
    unit.session.flush()
    return len(made)


def _mail(unit: Unit, trial: str, title: str, kind: str, address: str) -> Outgoing:
    drill = "DRILL: " if kind == "drill" else ""
    return Outgoing(
        id=uuid.uuid4().hex,
        trial_id=trial,
        to=address,
        subject=f"{drill}trialdm: a notice about trial {title}",
        body=f"There is a new notice in trialdm about trial {title} ({KINDS[kind]}). Sign in to read it.\n",
        state="waiting",
        tries=0,
        message="",
        made_at=unit.now,
        sent_at=None,
    )


def tell_account(unit: Unit, account: str, about: str, text: str) -> None:
    """A mail to the person of an account about the account itself."""
    mail = Outgoing(
        id=uuid.uuid4().hex,
        trial_id="*",
        to=unit.session.get_one(Account, account).email,
        subject=f"trialdm: your account ({about})",
        body=text,
        state="waiting",
        tries=0,
        message="",
        made_at=unit.now,
        sent_at=None,
    )
    unit.add(mail)


def told_today(unit: Unit, trial: str, kind: str) -> bool:
    """Whether somebody has been told of this today."""
    latest = unit.session.scalar(select(func.max(Notice.made_at)).where(Notice.trial_id == trial, Notice.kind == kind))
    return latest is not None and latest.astimezone(LONDON).date() >= unit.today


def announce(unit: Unit, protocol: Protocol, person: Participant) -> None:
    """Tell the unblinded team of the site that a participant was randomised: where to look, not what was allocated."""
    at_site = [role for role in UNBLINDED if roles.ROLES[role][1]]
    tell(
        unit,
        protocol.id,
        holders(unit, protocol.id, at_site, person.site),
        "allocation",
        f"Participant {person.id} has been randomised",
        f"Participant {person.id} at site {person.site} has been randomised. Open the participant to read the allocation; each reading "
        "is recorded. On the day of surgery, check side, limb and level against the patient and the consent form first. Tell nobody who "
        "is blinded.",
        person.id,
        restricted=True,
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def inbox(unit: Unit) -> list[Message]:
    """The notices of whoever is signed in, newest first."""
    unit.require_somebody()
    rows = unit.session.scalars(
        select(Notice).where(Notice.account_id == unit.actor.id).order_by(Notice.made_at.desc(), Notice.id).limit(_MOST)
    )
    return [_message(row) for row in rows if _still_for(unit, row)]


_MOST = 500


def unread_count(unit: Unit, account: str = "") -> int:
    """How many notices the person has not read yet."""
    wanted = select(func.count()).select_from(Notice).where(Notice.account_id == (account or unit.actor.id), Notice.read_at.is_(None))
    return unit.session.scalar(wanted) or 0


def read(unit: Unit, ident: str) -> Message:
    """Note that the person has read one of their own notices. Raises Missing for somebody else's."""
    unit.require_somebody()
    row = unit.session.scalars(select(Notice).where(Notice.id == ident, Notice.account_id == unit.actor.id)).first()
    found = needed(row if row and _still_for(unit, row) else None, "There is no such notice in your inbox.", code="NOTICE.UNKNOWN")
    if found.read_at is None:
        found.read_at = unit.now
        unit.record("notice.read", found, trial=found.trial_id, entity="notice", entity_id=found.id)
        unit.session.flush()
    return _message(found)


def _still_for(unit: Unit, row: Notice) -> bool:
    """Whether the reader may still see a notice: a restricted one goes with the right to read allocations."""
    if not row.restricted:
        return True
    person = unit.session.get(Participant, (row.trial_id, row.participant_id))
    return person is not None and unit.sees_allocations(row.trial_id, person.site)


def _message(row: Notice) -> Message:
    return Message(row.id, row.trial_id, row.kind, row.subject, row.text, row.participant_id, row.made_at, row.read_at)
