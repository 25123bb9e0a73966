"""Invitations and resets: codes by which people set their own password. Nobody sets another's, and an administrator only starts it.

A code is derived from its number with a key that is not in the database, so that a copy of the database opens no account. It is typed on
a page and stands in no address.
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta

from sqlalchemy import select

from trialdm.domain.errors import Forbidden, Invalid, Missing, Refused
from trialdm.services import budgets, notices, outside, passwords, people, second_factors, sessions, tokens
from trialdm.services.unit import Unit
from trialdm.store.tables import Account, Ticket

#: What a code is for -> how long it lasts.
KINDS = {"invitation": timedelta(days=7), "reset": timedelta(hours=24), "reset with second factors": timedelta(hours=24)}

#: What stands in a waiting mail in place of the code; it is put in when the mail is sent (`filled`).
_MARK = re.compile(r"\[\[code ([0-9a-f]+)\]\]")

_MAILS = {
    "invitation": "You have an account in trialdm. Within seven days, go to [[address]]/password/set and give this code: [[code {}]]\n",
    "reset": "Somebody asked for a new password of yours in trialdm. Within a day, go to [[address]]/password/set and give this code: "
    "[[code {}]]\nIf it was not you, ring the trial's office.\n",
}


def issue(unit: Unit, account: Account, kind: str, reason: str = "", *, trial: str = "*", by_mail: bool = True) -> str:
    """A new code for an account, sent to its address; earlier ones are worth nothing. Gives the code.

    A reset that takes the second factors away needs a reason. In a live instance a code that alone opens an account in use goes
    `by_mail` only. Nobody starts one for themselves: that is what `ask_reset` is for.
    """
    unit.require("people.manage", trial)
    if kind not in KINDS:
        raise Invalid(f"There is no code for '{kind}'.", code="AUTH.TICKET", needs=f"One of: {', '.join(KINDS)}.")
    if account.id == unit.actor.id:
        raise Forbidden("Nobody resets their own account.", code="PEOPLE.OWN_ACCOUNT", needs="Ask for a new password on the sign-in page.")
    if kind == "reset with second factors" and not reason.strip():
        raise Invalid("Say how you know that the second factor is lost.", code="PEOPLE.REASON", needs="A reason.")
    if kind != "invitation" or account.state == "closed":
        unit.require("people.manage", "*")
    takes_over = kind == "reset with second factors" or (kind == "reset" and not sessions.has_factor(unit, account.id))
    if takes_over and not by_mail and unit.world == "live":
        raise Refused(
            "Whoever sees this code could take the account over: it goes to its person by mail only.",
            code="AUTH.NO_MAIL",
            needs="A table [mail] and the address in the settings.",
        )
    if account.state == "closed":
        people.move(unit, account, "reopen", reason)
    if kind == "invitation" and account.state != "invited":
        raise Invalid("This account is in use already.", code="AUTH.TICKET", needs="A reset.")
    budgets.spend(unit, "invitation")
    return _make(unit, account, kind, reason.strip())


def ask_reset(unit: Unit, email: str) -> None:
    """Send a code to an address that somebody typed on the sign-in page; does as much for an unknown one, and says nothing of either."""
    typed = email.strip().lower()
    subject = sessions.digest(f"reset|{typed}")
    account = unit.session.scalars(select(Account).where(Account.email == typed)).first()
    slow = sessions.slowed(unit, subject)
    sessions.fail(unit, subject, "reset.ask", account.id if account else "unknown", slow=slow)
    if account is not None and account.state == "active" and not slow:
        _make(unit, account, "reset", "")


def _make(unit: Unit, account: Account, kind: str, reason: str) -> str:
    earlier = [one for one in _living(unit, account.id) if unit.actor.id or not one.created_by]  # a visitor ends no administrator's
    for one in earlier:
        one.ended_at = unit.now
    row = Ticket(
        id=secrets.token_hex(8),
        account_id=account.id,
        kind=kind,
        created_at=unit.now,
        created_by=unit.actor.id,
        expires_at=unit.now + KINDS[kind],
        used_at=None,
        ended_at=None,
    )
    unit.add(row)
    unit.record(f"account.{kind.replace(' ', '-')}", row, *earlier, trial="*", entity="account", entity_id=account.id, reason_text=reason)
    text = _MAILS["invitation" if kind == "invitation" else "reset"].format(row.id)
    notices.tell_account(unit, account.id, "sign-in", text)
    return secret_of(unit.keys.accounts, row.id)


def _living(unit: Unit, account: str) -> list[Ticket]:
    free = (Ticket.account_id == account, Ticket.used_at.is_(None), Ticket.ended_at.is_(None))
    return list(unit.session.scalars(select(Ticket).where(*free)))


def secret_of(key: bytes, ident: str) -> str:
    """The code that a person is sent: its number, and a code over that."""
    return f"{ident}-{hmac.digest(key, b'ticket|' + ident.encode(), hashlib.sha256).hex()[:32]}"


def filled(text: str, address: str, key: bytes) -> str:
    """A mail as it is sent: with the address of this service, and with its code."""
    return _MARK.sub(lambda found: secret_of(key, found[1]), text.replace("[[address]]", address or "the address of trialdm, and there"))


def open_ticket(unit: Unit, secret: str) -> tuple[Ticket, Account]:
    """What a code stands for, and its account. Raises Missing for one that is unknown, used, replaced or too old, alike."""
    ident = secret.partition("-")[0]
    right = hmac.compare_digest(secret_of(unit.keys.accounts, ident).encode(), secret.encode())
    row = unit.session.get(Ticket, ident, with_for_update=not unit.only_reads, populate_existing=True) if right else None
    account = unit.session.get(Account, row.account_id) if row else None
    if row is None or account is None or account.state == "closed" or not _lives(row, unit.now):
        raise Missing(
            "This code is not good, or not any more.",
            code="AUTH.TICKET",
            needs="Ask for a new one on the sign-in page, or the trial's office.",
        )
    return row, account


def _lives(row: Ticket, now: datetime) -> bool:
    return row.used_at is None and row.ended_at is None and now < row.expires_at


def use(unit: Unit, secret: str, password: str) -> Account:
    """Set the person's own password by their code, once; all their sessions end. Raises Missing, and Invalid for a bad password."""
    row, account = open_ticket(unit, secret)
    passwords.require_good(password, (account.email, account.name))
    row.used_at = unit.now
    if account.state == "invited":
        people.move(unit, account, "accept")
    _set(unit, account, password, row)
    if row.kind == "reset with second factors":
        second_factors.remove_all(unit, account.id)
        tokens.end_all(unit, account.id)
        outside.end_all(unit, account.id)
    sessions.end_all(unit, account.id)
    return account


def change_password(unit: Unit, old: str, new: str, *, but: str = "") -> bool:
    """The actor's own new password, or False where the old one is wrong; all sessions end but the one with the secret `but`.

    The caller commits either way: a failure is counted. Raises Invalid for a new password that would be guessed.
    """
    account = unit.session.get_one(Account, unit.actor.id)
    if not sessions.proves(unit, old):
        return False
    passwords.require_good(new, (account.email, account.name))
    waiting = _living(unit, account.id)
    for one in waiting:
        one.ended_at = unit.now
    _set(unit, account, new, *waiting)
    sessions.end_all(unit, account.id, but=but)
    return True


def _set(unit: Unit, account: Account, password: str, *things: Ticket) -> None:
    account.password_hash = passwords.hashed(password)
    unit.record("account.password", account, *things, trial="*", entity="account", entity_id=account.id)
    notices.tell_account(unit, account.id, "password", "The password of your account was set. If it was not you, ring the trial's office.")
