"""Signing in: the password, the stages of a session, and proving once more who one is.

A session is kept as the hash of its secret only, and its secret changes with every rise in what it allows. Failures slow the next
tries down and are answered alike whether or not the account exists.
"""

import hashlib
import secrets
import uuid
from datetime import datetime, timedelta

from sqlalchemy import select

from trialdm.domain.errors import Missing, SignedOut
from trialdm.services import passwords
from trialdm.services.unit import Unit
from trialdm.store.tables import Account, SecondFactor, SignInFailure, WebSession

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)

#: How long a sign-in may wait for its second factor.
_HALF_WAY = timedelta(minutes=10)

_FREE_TRIES = 5
_SLOWEST = timedelta(minutes=15)
_LONGEST_AGENT = 200


def digest(secret: str) -> str:
    """What is kept of a session or token: SHA-256 of its 256-bit secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def sign_in(unit: Unit, email: str, password: str, *, second_needed: bool = False, agent: str = "") -> str | None:
    """The secret of a new session, or None where address or password are wrong or too many tries came before.

    The session waits for the second factor where the account has one; where it has none and `second_needed`, one is set up first. The
    caller commits either way: a failure is counted. The answer takes as long for an unknown address.
    """
    subject = digest(email.strip().lower())
    account = unit.session.scalars(select(Account).where(Account.email == email.strip().lower())).first()
    slow = slowed(unit, subject)
    right = password_fits(account, password)
    if slow or not right or account is None:
        fail(unit, subject, "sign-in.fail", account.id if account else "unknown", slow=slow)
        return None
    stage = "second" if has_factor(unit, account.id) else "enrol" if second_needed else "full"
    unit.record("sign-in" if stage == "full" else "sign-in.password", trial="*", entity="account", entity_id=account.id)
    return start(unit, account, stage, agent)


def start(unit: Unit, account: Account, stage: str = "full", agent: str = "", *, proved: bool = True) -> str:
    """A new session, of which only the hash is kept; gives its secret. `proved` says that its person proved here who they are."""
    secret = secrets.token_urlsafe(32)
    row = WebSession(
        id=digest(secret),
        account_id=account.id,
        csrf=secrets.token_urlsafe(24),
        created_at=unit.now,
        seen_at=unit.now,
        stage=stage,
        proved_at=unit.now if stage == "full" and proved else None,
        challenge="",
        agent=agent[:_LONGEST_AGENT],
    )
    unit.add(row)
    return secret


def has_factor(unit: Unit, account: str) -> bool:
    """Whether an account has a second factor."""
    held = (SecondFactor.account_id == account, SecondFactor.ended_at.is_(None))
    return unit.session.scalar(select(SecondFactor.id).where(*held).limit(1)) is not None


def hold(unit: Unit, account: str) -> None:
    """Wait until nobody else proves, guesses or counts for this account: what works once must not work for two at the same moment."""
    unit.session.execute(select(Account.id).where(Account.id == account).with_for_update())


def raised(unit: Unit, secret: str) -> str:
    """The session goes on under a new secret, signed in fully and proved just now; the old secret is worth nothing.

    Raises SignedOut for a session that has ended meanwhile.
    """
    row = unit.session.get(WebSession, digest(secret), with_for_update=True, populate_existing=True)
    if row is None or not _lives(row, unit.now):
        raise SignedOut("Your session has ended. Sign in again.")
    row.ended_at = unit.now
    fresh = start(unit, unit.session.get_one(Account, row.account_id), "full", row.agent)
    if row.stage == "full":  # the absolute limit counts from signing in
        unit.session.flush()
        unit.session.get_one(WebSession, digest(fresh)).created_at = row.created_at
    unit.record("sign-in" if row.stage != "full" else "sign-in.proved", trial="*", entity="account", entity_id=row.account_id)
    return fresh


def proves(unit: Unit, password: str) -> bool:
    """Whether the actor proves once more who they are, as a signature asks. The caller commits either way: a failure is counted."""
    subject = digest(f"proof|{unit.actor.id}")
    hold(unit, unit.actor.id)
    account = unit.session.get(Account, unit.actor.id)
    slow = slowed(unit, subject)
    if not slow and password_fits(account, password):
        return True
    fail(unit, subject, "sign.fail", unit.actor.id, slow=slow)
    return False


def password_fits(account: Account | None, password: str) -> bool:
    """Whether this is the password of an account that may sign in; takes as long where there is none."""
    fits = passwords.fits(account.password_hash if account else "", password)
    return fits and account is not None and account.state == "active"


def fail(unit: Unit, subject: str, action: str, account: str, *, slow: bool = False) -> None:
    """Put a failed try on record, and count it, so that the next ones are slower.

    A try that came too early counts for nothing: otherwise whoever goes on trying would keep somebody out for ever.
    """
    if not slow:
        unit.add(SignInFailure(id=uuid.uuid4().hex, subject=subject, at=unit.now))
    unit.record(action, trial="*", entity="account", entity_id=account)


def slowed(unit: Unit, subject: str) -> bool:
    """Whether this address must wait: after five failures in a row of minutes, twice as long for each one more."""
    since = unit.now - _SLOWEST
    times = unit.session.scalars(
        select(SignInFailure.at).where(SignInFailure.subject == subject, SignInFailure.at > since).order_by(SignInFailure.at)
    ).all()
    if len(times) < _FREE_TRIES:
        return False
    wait = min(timedelta(seconds=2 ** (len(times) - _FREE_TRIES)), _SLOWEST)
    return unit.now - times[-1] < wait


def session_of(unit: Unit, secret: str, *, idle: timedelta = IDLE) -> tuple[WebSession, Account] | None:
    """The living session of a secret, at whatever stage, and its person."""
    row = unit.session.get(WebSession, digest(secret))
    if row is None or not _lives(row, unit.now, idle):
        return None
    account = unit.session.get(Account, row.account_id)
    return (row, account) if account and account.state == "active" else None


def _lives(row: WebSession, now: datetime, idle: timedelta = IDLE) -> bool:
    longest = ABSOLUTE if row.stage == "full" else _HALF_WAY
    return row.ended_at is None and now - row.seen_at <= idle and now - row.created_at <= longest


def seen(unit: Unit, secret: str) -> None:
    """Note that a session is in use."""
    row = unit.session.get(WebSession, digest(secret))
    if row is not None:
        row.seen_at = unit.now


def sign_out(unit: Unit, secret: str) -> None:
    """End a session on the server: its cookie is worth nothing from now on."""
    row = unit.session.get(WebSession, digest(secret))
    if row is not None and row.ended_at is None:
        row.ended_at = unit.now
        unit.record("sign-out", trial="*", entity="account", entity_id=row.account_id)


def own(unit: Unit) -> list[WebSession]:
    """The living sessions of the actor, the newest first."""
    unit.require_somebody()
    return [row for row in _of(unit, unit.actor.id) if row.stage == "full" and _lives(row, unit.now)]


def _of(unit: Unit, account: str) -> list[WebSession]:
    held = (WebSession.account_id == account, WebSession.ended_at.is_(None))
    return list(unit.session.scalars(select(WebSession).where(*held).order_by(WebSession.created_at.desc(), WebSession.id)))


def end(unit: Unit, ident: str) -> None:
    """End one of the actor's own sessions. Raises Missing for another's."""
    row = next((row for row in own(unit) if row.id == ident), None)
    if row is None:
        raise Missing("There is no such session of yours.", code="AUTH.SESSION", needs="Open the page again.")
    row.ended_at = unit.now
    unit.record("session.end", trial="*", entity="account", entity_id=unit.actor.id)


def end_unfinished(unit: Unit, account: str) -> None:
    """End the sessions of an account that wait for a second factor, or for one to be set up."""
    for row in _of(unit, account):
        if row.stage != "full":
            row.ended_at = unit.now


def end_all(unit: Unit, account: str, *, but: str = "") -> int:
    """End every session of an account, but for the one with this secret; gives how many ended."""
    rows = [row for row in _of(unit, account) if not but or row.id != digest(but)]
    for row in rows:
        row.ended_at = unit.now
    if rows:
        unit.record("session.end", trial="*", entity="account", entity_id=account)
    return len(rows)
