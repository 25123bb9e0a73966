"""Delivering mails: what waits in the outbox goes to the mail server of the settings, and a failure is kept and tried again.

A try is claimed in one transaction, made outside of any, and noted in another: a slow server holds up nobody, and two
workers never make the same try.
"""

import smtplib
import ssl
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

from sqlalchemy import CursorResult, func, select, update

from trialdm.services import tickets
from trialdm.services.unit import SYSTEM, Unit, Units
from trialdm.settings import Mail
from trialdm.store.tables import Outgoing

#: When each try may be made, counted from the writing of the mail; after the last one it has failed.
TRIES = tuple(timedelta(minutes=minutes) for minutes in (0, 1, 5, 30, 180))

_PATIENCE_SECONDS = 20
_LONGEST_MESSAGE = 500


def deliver(units: Units, server: Mail, address: str = "") -> int:
    """Make every try that is due; gives how many mails were sent. `address` is where people reach the service."""
    return sum(_try(units, server, ident, tries, address) for ident, tries in _due(units))


def _due(units: Units) -> list[tuple[str, int]]:
    with units.reading(SYSTEM) as unit:
        waiting = unit.session.execute(
            select(Outgoing.id, Outgoing.tries, Outgoing.made_at).where(Outgoing.state == "waiting").order_by(Outgoing.made_at)
        ).all()
        return [(ident, tries) for ident, tries, made_at in waiting if _is_due(unit.now, tries, made_at)]


def _is_due(now: datetime, tries: int, made_at: datetime) -> bool:
    return tries < len(TRIES) and made_at + TRIES[tries] <= now


def _try(units: Units, server: Mail, ident: str, tries: int, address: str) -> bool:
    mail = units.run(SYSTEM, lambda unit: _claim(unit, ident, tries))
    if mail is None:
        return False
    try:
        _send(server, mail, tickets.filled(mail.body, address, units.keys.accounts))
    except (OSError, smtplib.SMTPException) as problem:
        said = f"{type(problem).__name__}: {problem}"[:_LONGEST_MESSAGE]
        state = "failed" if tries + 1 == len(TRIES) else "waiting"
        units.run(SYSTEM, lambda unit: _note(unit, ident, state, said))
        return False
    units.run(SYSTEM, lambda unit: _note(unit, ident, "sent", ""))
    return True


def _claim(unit: Unit, ident: str, tries: int) -> Outgoing | None:
    """Count this try; None where another worker has made it."""
    claimed: CursorResult[Any] = unit.session.execute(  # type: ignore[assignment]
        update(Outgoing).where(Outgoing.id == ident, Outgoing.tries == tries, Outgoing.state == "waiting").values(tries=tries + 1)
    )
    return unit.session.get(Outgoing, ident) if claimed.rowcount == 1 else None


def _note(unit: Unit, ident: str, state: str, message: str) -> None:
    row = unit.session.get_one(Outgoing, ident)
    row.state, row.message = state, message
    row.sent_at = unit.now if state == "sent" else None


def _send(server: Mail, mail: Outgoing, text: str) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = server.sender, mail.to, mail.subject
    letter["Message-ID"] = f"<{mail.id}@trialdm>"
    letter.set_content(text)
    with smtplib.SMTP(server.host, server.port, timeout=_PATIENCE_SECONDS) as line:
        if server.starttls:
            line.starttls(context=ssl.create_default_context())
        line.send_message(letter)


def status(unit: Unit) -> dict[str, Any]:
    """How many mails wait, were sent, or failed, and what the newest failure said."""
    counts = {key: value for key, value in unit.session.execute(select(Outgoing.state, func.count()).group_by(Outgoing.state))}
    newest = unit.session.scalar(select(Outgoing.message).where(Outgoing.message != "").order_by(Outgoing.made_at.desc()).limit(1))
    return {**{state: counts.get(state, 0) for state in ("waiting", "sent", "failed")}, "last_error": newest or ""}
