"""Accounts, roles, sign-in sessions and tokens. What people may do with a role is in the delegation log (`delegations`).

Passwords are Argon2id. A session or token is kept as the hash of its secret only. Failed sign-ins slow the next ones down
and are answered alike whether or not the account exists.
"""

import hashlib
import secrets
import threading
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import func, select

from trialdm.domain import roles
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, SignedOut
from trialdm.domain.roles import Grant
from trialdm.services import studies
from trialdm.services.unit import Actor, Change, Unit
from trialdm.store.tables import Account, ApiToken, RoleGrant, SignInFailure, Trial, WebSession

#: OWASP's floor for Argon2id; the number of hashes computed at once is capped so that a flood cannot take all memory.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_AT_ONCE = threading.BoundedSemaphore(4)
_NOBODYS_HASH = _HASHER.hash(secrets.token_hex(16))

SHORTEST_PASSWORD = 12
IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)

_FREE_TRIES = 5
_SLOWEST = timedelta(minutes=15)


def digest(secret: str) -> str:
    """What is kept of a session or token: SHA-256 of its 256-bit secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


# --- accounts --------------------------------------------------------------------------------------------------------


def first(unit: Unit, email: str, name: str, password: str) -> Account:
    """The first account of an instance, with the role of system administrator for every trial."""
    if unit.session.scalar(select(func.count()).select_from(Account)):
        raise Conflict("This instance has accounts already.", code="PEOPLE.EXISTS")
    account = _create(unit, email, name, password)
    _grant(unit, account, "system-administrator", "*", "")
    return account


def add(unit: Unit, email: str, name: str, password: str, held: Iterable[tuple[str, str]] = (), *, trial: str = "*") -> Account:
    """A new account with roles as (role, site). Nobody adds a role to their own account."""
    unit.require("people.manage", trial)
    account = _create(unit, email, name, password)
    for role, site in held:
        give(unit, account, role, trial, site)
    return account


def _create(unit: Unit, email: str, name: str, password: str) -> Account:
    if len(password) < SHORTEST_PASSWORD:
        raise Invalid(f"A password has at least {SHORTEST_PASSWORD} characters.", code="PEOPLE.PASSWORD")
    if "@" not in email or email.startswith("@") or any(char.isspace() for char in email):
        raise Invalid(f"'{email}' is not an e-mail address.", code="PEOPLE.EMAIL")
    if unit.session.scalar(select(Account.id).where(Account.email == email.lower())):
        raise Conflict("There is an account with this e-mail address already.", code="PEOPLE.EXISTS", needs="Use another address.")
    with _AT_ONCE:
        hashed = _HASHER.hash(password)
    account = Account(
        id=uuid.uuid4().hex,
        email=email.lower(),
        name=name,
        staff_no=(unit.session.scalar(select(func.max(Account.staff_no))) or 100) + 1,
        password_hash=hashed,
        state="active",
        created_at=unit.now,
        created_by=unit.actor.id,
    )
    unit.add(account)
    unit.record(
        "account.create",
        account,
        trial="*",
        entity="account",
        entity_id=account.id,
        changes=[Change("email", None, account.email), Change("name", None, name)],
    )
    unit.session.flush()
    return account


def give(unit: Unit, account: Account, role: str, trial: str, site: str = "") -> None:
    """Give a role. Raises Forbidden for one's own account and Conflict for roles that one person may not join."""
    unit.require("people.manage", trial)
    if account.id == unit.actor.id:
        raise Forbidden("Nobody gives a role to their own account.", code="PEOPLE.OWN_ROLE", needs="Ask another person who may.")
    if role not in roles.ROLES:
        raise Invalid(f"There is no role '{role}'.", code="PEOPLE.ROLE", needs=f"One of: {', '.join(roles.ROLES)}.")
    if roles.ROLES[role][1] != bool(site):
        need = "works at one site: name it" if roles.ROLES[role][1] else "works for the whole trial: name no site"
        raise Invalid(f"A {roles.ROLES[role][0].lower()} {need}.", code="PEOPLE.ROLE_SITE")
    _place_exists(unit, trial, site)
    held = grants(unit, account.id)
    clash = roles.clash([role, *(grant.role for grant in held if grant.trial in ("*", trial) or trial == "*")])
    if clash:
        raise Conflict(
            f"One person cannot be {roles.ROLES[clash[0]][0].lower()} and {roles.ROLES[clash[1]][0].lower()} in a trial.",
            code="PEOPLE.SEPARATION",
            needs="Another person.",
        )
    before = roles.knew(role, _ended(unit, account.id, trial))
    if before:
        raise Conflict(
            f"{account.name} has been {roles.ROLES[before][0].lower()} in this trial and cannot be {roles.ROLES[role][0].lower()}.",
            code="PEOPLE.SEPARATION",
            needs="Another person.",
        )
    _grant(unit, account, role, trial, site)


def _ended(unit: Unit, account: str, trial: str) -> set[str]:
    """Roles in a trial that ended for this person."""
    had = select(RoleGrant.role, RoleGrant.trial_id).where(RoleGrant.account_id == account, RoleGrant.state == "ended")
    return {role for role, where in unit.session.execute(had) if trial == "*" or where in ("*", trial)}


def _place_exists(unit: Unit, trial: str, site: str) -> None:
    """Raises Missing for a trial or site that the instance does not know; before the first trial any site may be named."""
    if trial != "*":
        protocol = studies.protocol(unit, trial)
        if site:
            protocol.site(site)
    elif site:
        known = [s.code for ident in unit.session.scalars(select(Trial.id)) for s in studies.protocol(unit, ident).sites]
        if known and site not in known:
            raise Missing(f"No trial of this instance has a site '{site}'.", code="SITE.UNKNOWN")


def _grant(unit: Unit, account: Account, role: str, trial: str, site: str, state: str = "given") -> None:
    earlier = unit.session.scalar(select(func.count()).select_from(RoleGrant).where(RoleGrant.account_id == account.id))
    row = RoleGrant(
        id=uuid.uuid4().hex,
        trial_id=trial,
        account_id=account.id,
        seq=(earlier or 0) + 1,
        role=role,
        site=site,
        state=state,
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(row)
    unit.record(
        f"role.{'give' if state == 'given' else 'end'}",
        row,
        trial=trial,
        entity="account",
        entity_id=account.id,
        changes=[Change("role", None if state == "given" else role, role if state == "given" else None)],
        site=site,
    )
    unit.session.flush()


def end_role(unit: Unit, account: Account, role: str, trial: str, site: str = "") -> None:
    """End a role at once: the person's next request is refused."""
    unit.require("people.manage", trial)
    if Grant(role, trial, site) not in grants(unit, account.id):
        raise Missing(f"{account.name} does not hold this role.", code="PEOPLE.ROLE")
    _grant(unit, account, role, trial, site, "ended")


def grants(unit: Unit, account: str) -> tuple[Grant, ...]:
    """Roles held now."""
    rows = unit.session.scalars(select(RoleGrant).where(RoleGrant.account_id == account).order_by(RoleGrant.seq))
    return tuple(grant for _, grant in held(rows))


def grants_at(unit: Unit, account: str, moment: datetime) -> tuple[Grant, ...]:
    """Roles held at a moment; what ended at that very moment was held."""
    rows = unit.session.scalars(select(RoleGrant).where(RoleGrant.account_id == account, RoleGrant.at <= moment).order_by(RoleGrant.seq))
    return tuple(grant for _, grant in held(row for row in rows if row.state == "given" or row.at < moment))


def held(rows: Iterable[RoleGrant]) -> list[tuple[str, Grant]]:
    """What is held by rows in the order of giving and ending: account and role."""
    newest = {(row.account_id, Grant(row.role, row.trial_id, row.site)): row.state for row in rows}
    return [found for found, state in newest.items() if state == "given"]


def by_email(unit: Unit, email: str) -> Account:
    """The account of an address. Raises Missing."""
    found = unit.session.scalars(select(Account).where(Account.email == email.lower())).first()
    if found is None:
        raise Missing(f"There is no account '{email}'.", code="PEOPLE.UNKNOWN")
    return found


def everybody(unit: Unit) -> list[tuple[Account, tuple[Grant, ...]]]:
    """Every account with the roles held now."""
    rows: dict[str, list[RoleGrant]] = {}
    for row in unit.session.scalars(select(RoleGrant).order_by(RoleGrant.seq)):
        rows.setdefault(row.account_id, []).append(row)
    accounts = unit.session.scalars(select(Account).order_by(Account.staff_no))
    return [(account, tuple(grant for _, grant in held(rows.get(account.id, ())))) for account in accounts]


def actor(unit: Unit, account: Account, door: str, request_id: str = "") -> Actor:
    """The person as somebody who acts. Raises SignedOut for a closed account."""
    if account.state != "active":
        raise SignedOut("This account is closed.")
    return Actor(account.id, account.name, account.email, account.staff_no, grants(unit, account.id), door, request_id)


# --- signing in ------------------------------------------------------------------------------------------------------


def sign_in(unit: Unit, email: str, password: str) -> str | None:
    """The secret of a new session, or None where address or password are wrong or too many tries came before.

    The caller commits either way: a failure is counted. The answer takes as long for an unknown address.
    """
    subject = digest(email.strip().lower())
    account = unit.session.scalars(select(Account).where(Account.email == email.strip().lower())).first()
    slowed = _slowed(unit, subject)
    right = _password_fits(account, password)
    if slowed or not right or account is None:
        unit.add(SignInFailure(id=uuid.uuid4().hex, subject=subject, at=unit.now))
        unit.record("sign-in.fail", trial="*", entity="account", entity_id=account.id if account else "unknown")
        return None
    unit.record("sign-in", trial="*", entity="account", entity_id=account.id)
    secret = secrets.token_urlsafe(32)
    unit.add(WebSession(id=digest(secret), account_id=account.id, csrf=secrets.token_urlsafe(24), created_at=unit.now, seen_at=unit.now))
    return secret


def proves(unit: Unit, password: str) -> bool:
    """Whether the actor proves once more who they are, as a signature asks. The caller commits either way: a failure is counted."""
    subject = digest(unit.actor.email)
    account = unit.session.get(Account, unit.actor.id)
    if not _slowed(unit, subject) and _password_fits(account, password):
        return True
    unit.add(SignInFailure(id=uuid.uuid4().hex, subject=subject, at=unit.now))
    unit.record("sign.fail", trial="*", entity="account", entity_id=unit.actor.id)
    return False


def _password_fits(account: Account | None, password: str) -> bool:
    with _AT_ONCE:
        try:
            _HASHER.verify(account.password_hash if account else _NOBODYS_HASH, password)
        except (VerificationError, InvalidHashError):
            return False
    return account is not None and account.state == "active"


def _slowed(unit: Unit, subject: str) -> bool:
    """Whether this address must wait: after five failures in a row of minutes, twice as long for each one more."""
    since = unit.now - _SLOWEST
    times = unit.session.scalars(
        select(SignInFailure.at).where(SignInFailure.subject == subject, SignInFailure.at > since).order_by(SignInFailure.at)
    ).all()
    if len(times) < _FREE_TRIES:
        return False
    wait = min(timedelta(seconds=2 ** (len(times) - _FREE_TRIES)), _SLOWEST)
    return unit.now - times[-1] < wait


def session_of(unit: Unit, secret: str) -> tuple[WebSession, Account] | None:
    """The living session of a secret, and its person."""
    row = unit.session.get(WebSession, digest(secret))
    if row is None or row.ended_at or unit.now - row.seen_at > IDLE or unit.now - row.created_at > ABSOLUTE:
        return None
    account = unit.session.get(Account, row.account_id)
    return (row, account) if account and account.state == "active" else None


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


def create_token(unit: Unit, account: Account, label: str) -> str:
    """A token for programs, shown once. People make their own: with somebody else's one would act as them.

    Raises Forbidden for another account.
    """
    if account.id != unit.actor.id:
        raise Forbidden(
            f"A token of {account.name} is made by {account.name}.",
            code="PEOPLE.OWN_TOKEN",
            needs="Everybody makes a token for their own account only.",
        )
    secret = f"trialdm_{secrets.token_urlsafe(32)}"
    row = ApiToken(id=digest(secret), account_id=account.id, label=label, created_at=unit.now)
    unit.add(row)
    unit.record("token.create", row, trial="*", entity="account", entity_id=account.id, changes=[Change("label", None, label)])
    return secret


def token_account(unit: Unit, secret: str) -> Account:
    """The person of a token. Raises SignedOut for one that is unknown or ended."""
    row = unit.session.get(ApiToken, digest(secret))
    account = unit.session.get(Account, row.account_id) if row and row.ended_at is None else None
    if account is None:
        raise SignedOut("The token is unknown or has ended.", code="AUTH.TOKEN")
    return account


# --- showing ---------------------------------------------------------------------------------------------------------


def describe(account: Account, held: Iterable[Grant]) -> Mapping[str, Any]:
    """An account as lists and the API show it."""
    return {
        "email": account.email,
        "name": account.name,
        "staff_no": account.staff_no,
        "state": account.state,
        "roles": [{"role": g.role, "trial": g.trial, "site": g.site} for g in held],
    }
