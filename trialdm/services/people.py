"""Accounts and roles. What people may do with a role is in the delegation log (`delegations`); how they sign in, in `sessions`."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import lifecycle, roles
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, SignedOut
from trialdm.domain.roles import Grant
from trialdm.services import passwords, sessions, studies
from trialdm.services.unit import Actor, Change, Unit, needed
from trialdm.store.tables import Account, RoleGrant, Trial

# --- accounts --------------------------------------------------------------------------------------------------------


def first(unit: Unit, email: str, name: str, password: str) -> Account:
    """The first account of an instance, with the role of system administrator for every trial."""
    if unit.session.scalar(select(func.count()).select_from(Account)):
        raise Conflict("This instance has accounts already.", code="PEOPLE.EXISTS")
    account = _create(unit, email, name, password)
    _grant(unit, account, "system-administrator", "*", "")
    return account


def add(unit: Unit, email: str, name: str, password: str = "", held: Iterable[tuple[str, str]] = (), *, trial: str = "*") -> Account:
    """A new account with roles as (role, site). Nobody adds a role to their own account.

    Without a password it is invited: its person sets one (`tickets`). Only a demonstration gives passwords to others.
    """
    unit.require("people.manage", trial)
    account = _create(unit, email, name, password)
    for role, site in held:
        give(unit, account, role, trial, site)
    return account


def _create(unit: Unit, email: str, name: str, password: str) -> Account:
    if "@" not in email or email.startswith("@") or any(char.isspace() for char in email):
        raise Invalid(f"'{email}' is not an e-mail address.", code="PEOPLE.EMAIL")
    if unit.session.scalar(select(Account.id).where(Account.email == email.lower())):
        raise Conflict("There is an account with this e-mail address already.", code="PEOPLE.EXISTS", needs="Use another address.")
    account = Account(
        id=uuid.uuid4().hex,
        email=email.lower(),
        name=name,
        staff_no=(unit.session.scalar(select(func.max(Account.staff_no))) or 100) + 1,
        password_hash=passwords.hashed(password) if password else "",
        state="active" if password else lifecycle.INITIAL["account"],
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


def move(unit: Unit, account: Account, event: str, reason: str = "") -> None:
    """Take a step of an account's lifecycle. One that is closed is signed out everywhere, and its tokens are worth nothing."""
    before = account.state
    account.state = lifecycle.move("account", before, event)
    if event == "close":
        sessions.end_all(unit, account.id)
    changes = [Change("state", before, account.state)]
    unit.record(f"account.{event}", account, trial="*", entity="account", entity_id=account.id, changes=changes, reason_text=reason)


def close(unit: Unit, account: Account, reason: str) -> None:
    """Close an account at once. Nobody closes their own. It is kept, as everything that its person did is."""
    unit.require("people.manage", "*")
    if account.id == unit.actor.id:
        raise Forbidden("Nobody closes their own account.", code="PEOPLE.OWN_ACCOUNT", needs="Ask another person who may.")
    if not reason.strip():
        raise Invalid("Say why the account is closed.", code="PEOPLE.REASON", needs="A reason.")
    move(unit, account, "close", reason.strip())


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


def by_ident(unit: Unit, ident: str) -> Account:
    """The account of an identifier. Raises Missing."""
    return needed(unit.session.get(Account, ident), "There is no such account.", code="PEOPLE.UNKNOWN")


def everybody(unit: Unit) -> list[tuple[Account, tuple[Grant, ...]]]:
    """Every account with the roles held now."""
    rows: dict[str, list[RoleGrant]] = {}
    for row in unit.session.scalars(select(RoleGrant).order_by(RoleGrant.seq)):
        rows.setdefault(row.account_id, []).append(row)
    accounts = unit.session.scalars(select(Account).order_by(Account.staff_no))
    return [(account, tuple(grant for _, grant in held(rows.get(account.id, ())))) for account in accounts]


def actor(unit: Unit, account: Account, door: str, request_id: str = "", proved_at: datetime | None = None) -> Actor:
    """The person as somebody who acts. Raises SignedOut for an account that is closed, or invited only."""
    if account.state != "active":
        raise SignedOut(f"This account is {lifecycle.label(account.state)}.")
    held = grants(unit, account.id)
    return Actor(account.id, account.name, account.email, account.staff_no, held, door, request_id, proved_at)


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
