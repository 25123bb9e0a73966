"""How often one person may do what takes data away or floods others: counted in the database, whichever process answers (ASVS 2.4.1)."""

import uuid
from datetime import timedelta

from sqlalchemy import select

from trialdm.domain.errors import TooMany
from trialdm.services.sessions import digest, hold
from trialdm.services.unit import Unit
from trialdm.store.tables import Spent

#: What is counted -> how often, in what time, and its name for people.
BUDGETS = {
    "export": (30, timedelta(hours=1), "packages"),
    "import": (120, timedelta(hours=1), "imports"),
    "invitation": (100, timedelta(hours=1), "invitations and resets"),
}

#: The command line is where whole trials are worked on: what acts there holds the database anyway.
_COUNTED_DOORS = ("web", "api")


def spend(unit: Unit, what: str) -> None:
    """Count one act of the actor's. Raises TooMany with the seconds to wait, and counts nothing then."""
    if unit.actor.door not in _COUNTED_DOORS:
        return
    most, within, words = BUDGETS[what]
    hold(unit, unit.actor.id)
    subject = digest(f"{what}|{unit.actor.id}")
    times = unit.session.scalars(select(Spent.at).where(Spent.subject == subject, Spent.at > unit.now - within).order_by(Spent.at)).all()
    if len(times) >= most:
        wait = int((times[-most] + within - unit.now).total_seconds()) + 1
        minutes = -(-wait // 60)
        raise TooMany(
            f"You asked for {most} {words} within {int(within.total_seconds()) // 60} minutes.",
            code=f"BUDGET.{what.upper()}",
            needs=f"Wait {minutes} minute{'' if minutes == 1 else 's'}.",
            shows={"retry_after": wait},
        )
    unit.add(Spent(id=uuid.uuid4().hex, subject=subject, at=unit.now))
