"""Tokens for programs: made by their own person, for named purposes, until a day."""

import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from trialdm.domain.errors import Forbidden, Invalid, Missing, SignedOut
from trialdm.services.sessions import digest
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import Account, ApiToken

#: What a token may be for.
SCOPES = {
    "read": "Read whatever its person may read",
    "enter": "Enter and change: forms, queries, signatures, approvals",
    "randomise": "Randomise and prepare the allocation",
    "unblind": "Reveal allocations and restricted items",
    "export": "Ask for packages and fetch them",
    "identity": "Enter, look at and ask for identities",
}

#: Days after which a token ends, unless others are named.
DAYS = 90
_MOST_DAYS = 366


def create(unit: Unit, account: Account, label: str, scopes: Collection[str] = tuple(SCOPES), days: int = _MOST_DAYS) -> str:
    """A token for programs, shown once. People make their own: with somebody else's one would act as them.

    Raises Forbidden for another account, and Invalid for an unknown purpose or too many days.
    """
    if account.id != unit.actor.id:
        raise Forbidden(
            f"A token of {account.name} is made by {account.name}.",
            code="PEOPLE.OWN_TOKEN",
            needs="Everybody makes a token for their own account only.",
        )
    unit.require_proof()
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        named = f"'{unknown[0]}' is not something a token can be for" if unknown else "A token is for something"
        raise Invalid(f"{named}.", code="AUTH.SCOPE", needs=f"One or more of: {', '.join(SCOPES)}.")
    if not 1 <= days <= _MOST_DAYS:
        raise Invalid(f"A token lasts from 1 to {_MOST_DAYS} days.", code="AUTH.DAYS", needs="Another number of days.")
    secret = f"trialdm_{secrets.token_urlsafe(32)}"
    kept = " ".join(scope for scope in SCOPES if scope in scopes)
    row = ApiToken(
        id=digest(secret),
        account_id=account.id,
        label=label,
        created_at=unit.now,
        scopes=kept,
        expires_at=unit.now + timedelta(days=days),
    )
    unit.add(row)
    unit.record(
        "token.create",
        row,
        trial="*",
        entity="account",
        entity_id=account.id,
        changes=[Change("label", None, label), Change("scopes", None, kept)],
    )
    return secret


def account_of(unit: Unit, secret: str) -> tuple[Account, frozenset[str]]:
    """The person of a token, and what it is for. Raises SignedOut for one that is unknown or ended."""
    row = unit.session.get(ApiToken, digest(secret))
    lives = row is not None and row.ended_at is None and (row.expires_at is None or unit.now < row.expires_at)
    account = unit.session.get(Account, row.account_id) if row is not None and lives else None
    if row is None or account is None:
        raise SignedOut("The token is unknown or has ended.", code="AUTH.TOKEN")
    return account, frozenset(row.scopes.split())


def own(unit: Unit) -> list[ApiToken]:
    """The living tokens of the actor, the newest first."""
    unit.require_somebody()
    mine = select(ApiToken).where(ApiToken.account_id == unit.actor.id, ApiToken.ended_at.is_(None)).order_by(ApiToken.created_at.desc())
    return [row for row in unit.session.scalars(mine) if row.expires_at is None or unit.now < row.expires_at]


def describe(row: ApiToken) -> dict[str, Any]:
    """A token as lists show it: by the start of its hash, never by its secret."""
    ends = row.expires_at.isoformat(timespec="seconds") if row.expires_at else None
    return {"id": row.id[:12], "label": row.label, "scopes": row.scopes.split(), "expires_at": ends}


def end_all(unit: Unit, account: str) -> None:
    """End every token of an account that its person lost hold of."""
    for row in unit.session.scalars(select(ApiToken).where(ApiToken.account_id == account, ApiToken.ended_at.is_(None))):
        row.ended_at = unit.now
        unit.record("token.end", row, trial="*", entity="account", entity_id=account, changes=[Change("label", row.label, None)])


def end(unit: Unit, ident: str) -> None:
    """End one of the actor's own tokens, named by the start of its hash. Raises Missing for another's."""
    row = next((row for row in own(unit) if len(ident) >= len(describe(row)["id"]) and row.id.startswith(ident)), None)
    if row is None:
        raise Missing("There is no such token of yours.", code="AUTH.TOKEN", needs="The name that the list shows.")
    row.ended_at = unit.now
    unit.record("token.end", row, trial="*", entity="account", entity_id=unit.actor.id, changes=[Change("label", row.label, None)])
