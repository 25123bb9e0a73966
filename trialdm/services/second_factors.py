"""Second factors: security keys and passkeys (WebAuthn), authenticator apps (TOTP, RFC 6238), and recovery codes for their loss.

Nothing works twice: a code of an app counts for one step of time, a signature of a key with a growing counter for one challenge, a recovery
code for one sign-in. Whoever adds or removes one has proved who they are just now, and is told by mail.
"""

import json
import secrets
import uuid
from typing import Any

import pyotp
import webauthn
from sqlalchemy import select
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import AuthenticatorSelectionCriteria, PublicKeyCredentialDescriptor, UserVerificationRequirement

from trialdm.domain.errors import Broken, Invalid, Missing, SignedOut, WrongState
from trialdm.services import notices, sessions
from trialdm.services.sessions import digest
from trialdm.services.unit import Change, Unit
from trialdm.store import keys
from trialdm.store.tables import Account, RecoveryCode, SecondFactor, WebSession

KINDS = {"webauthn": "Security key or passkey", "totp": "Authenticator app"}

_CODES = 10
_STEP_SECONDS = 30
_MOST = 10
_LONGEST_LABEL = 60

#: What a recovery code is made of: no letter that is misread.
_SIGNS = "23456789abcdefghjkmnpqrstuvwxyz"


def of(unit: Unit, account: str) -> list[SecondFactor]:
    """The second factors of an account, the oldest first."""
    held = select(SecondFactor).where(SecondFactor.account_id == account, SecondFactor.ended_at.is_(None))
    newest = held.order_by(SecondFactor.created_at, SecondFactor.id).execution_options(populate_existing=True)
    return list(unit.session.scalars(newest))


def _bound(ident: str) -> str:
    return f"second factor|{ident}"


# --- authenticator apps ----------------------------------------------------------------------------------------------


def new_secret() -> str:
    """A secret for an authenticator app, in base 32."""
    return pyotp.random_base32()


def address_of(secret: str, email: str) -> str:
    """The secret as authenticator apps read it from a picture."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="trialdm")


def sealed(unit: Unit, secret: str) -> str:
    """A secret that is not confirmed yet, for the page that asks for its first code: of use to nobody else."""
    return keys.seal(unit.keys.accounts, secret.encode(), f"new factor|{unit.actor.id}").hex()


def opened(unit: Unit, text: str) -> str:
    """The secret of a page again. Raises Invalid for anything else."""
    try:
        return keys.unseal(unit.keys.accounts, bytes.fromhex(text), f"new factor|{unit.actor.id}").decode()
    except (ValueError, Broken):
        raise Invalid("This page is not yours, or too old.", code="AUTH.FACTOR", needs="Start again.") from None


def require_none(unit: Unit) -> None:
    """Raises SignedOut where the actor has a second factor by now: a sign-in that began before goes on with that."""
    sessions.hold(unit, unit.actor.id)
    if sessions.has_factor(unit, unit.actor.id):
        raise SignedOut("This account has a second factor by now. Sign in with it.")


def add_app(unit: Unit, secret: str, code: str, label: str) -> list[str]:
    """An authenticator app, confirmed by its first code; gives recovery codes where it is the first factor. Raises Invalid."""
    step = _step_of(unit, secret, code, after=0)
    if step is None:
        raise _wrong()
    ident = uuid.uuid4().hex
    return _add(unit, ident, "totp", label, "", keys.seal(unit.keys.accounts, secret.encode(), _bound(ident)), step)


def _step_of(unit: Unit, secret: str, code: str, *, after: int) -> int | None:
    """The step of time that a code belongs to: the present one or a neighbour, and none that was used."""
    typed = "".join(code.split())
    now = int(unit.now.timestamp()) // _STEP_SECONDS
    app = pyotp.TOTP(secret)
    fits = [
        step for step in (now - 1, now, now + 1) if step > after and secrets.compare_digest(app.generate_otp(step).encode(), typed.encode())
    ]
    return fits[0] if fits else None


def _wrong() -> Invalid:
    return Invalid("The code does not fit.", code="AUTH.CODE", needs="The six digits that the app shows now, or a recovery code.")


# --- security keys and passkeys --------------------------------------------------------------------------------------


def offer_key(unit: Unit, session: WebSession, host: str) -> str:
    """What a browser asks a new security key or passkey for, as JSON; its challenge is kept with the session."""
    account = unit.session.get_one(Account, session.account_id)
    options = webauthn.generate_registration_options(
        rp_id=host,
        rp_name="trialdm",
        user_id=bytes.fromhex(account.id),
        user_name=account.email,
        user_display_name=account.name,
        authenticator_selection=AuthenticatorSelectionCriteria(user_verification=UserVerificationRequirement.PREFERRED),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=base64url_to_bytes(f.credential)) for f in of(unit, account.id) if f.credential
        ],
    )
    session.challenge = bytes_to_base64url(options.challenge)
    return webauthn.options_to_json(options)


def add_key(unit: Unit, session: WebSession, answer: str, label: str, *, host: str, origin: str) -> list[str]:
    """A security key or passkey, by the browser's answer; gives recovery codes where it is the first factor. Raises Invalid."""
    challenge = _taken(session)
    try:
        found = webauthn.verify_registration_response(
            credential=_json(answer), expected_challenge=challenge, expected_rp_id=host, expected_origin=origin
        )
    except WebAuthnException:
        raise Invalid(
            "The key was not accepted.", code="AUTH.KEY", needs="Try again, with a key that this account does not have yet."
        ) from None
    credential = bytes_to_base64url(found.credential_id)
    if unit.session.scalar(select(SecondFactor.id).where(SecondFactor.credential == credential, SecondFactor.ended_at.is_(None))):
        raise Invalid("This key is in use already.", code="AUTH.KEY", needs="Another key.")
    return _add(unit, uuid.uuid4().hex, "webauthn", label, credential, found.credential_public_key, found.sign_count)


def ask_key(unit: Unit, session: WebSession, host: str) -> str:
    """What a browser asks a known key to sign, as JSON; its challenge is kept with the session."""
    known = [f for f in of(unit, session.account_id) if f.kind == "webauthn"]
    options = webauthn.generate_authentication_options(
        rp_id=host,
        allow_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(f.credential)) for f in known],
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    session.challenge = bytes_to_base64url(options.challenge)
    return webauthn.options_to_json(options)


def _taken(session: WebSession) -> bytes:
    """The challenge of a session, which is good for one answer."""
    challenge, session.challenge = session.challenge, ""
    if not challenge:
        raise Invalid("The key was not asked for.", code="AUTH.KEY", needs="Start again.")
    return base64url_to_bytes(challenge)


def _json(answer: str) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Invalid("The key's answer cannot be read.", code="AUTH.KEY", needs="Try again.")
    return found


# --- proving ---------------------------------------------------------------------------------------------------------


def proved_by_key(unit: Unit, session: WebSession, answer: str, *, host: str, origin: str) -> bool:
    """Whether a known key of the session's person signed its challenge. The caller commits either way: a failure is counted."""
    subject = digest(f"second|{session.account_id}")
    sessions.hold(unit, session.account_id)
    unit.session.refresh(session)
    slow = sessions.slowed(unit, subject)
    try:
        challenge, sent = _taken(session), _json(answer)
        row = next((f for f in of(unit, session.account_id) if f.kind == "webauthn" and f.credential == sent.get("id")), None)
        if row is None or slow:
            raise Invalid("unknown", code="AUTH.KEY")
        found = webauthn.verify_authentication_response(
            credential=sent,
            expected_challenge=challenge,
            expected_rp_id=host,
            expected_origin=origin,
            credential_public_key=row.secret,
            credential_current_sign_count=row.counter,
        )
    except (WebAuthnException, Invalid):
        sessions.fail(unit, subject, "sign-in.fail", session.account_id, slow=slow)
        return False
    return _used(unit, row, found.new_sign_count)


def proved_by_code(unit: Unit, session: WebSession, code: str) -> bool:
    """Whether this is a code of the person's app, or one of their recovery codes. The caller commits either way: a failure is counted."""
    subject, account = digest(f"second|{session.account_id}"), session.account_id
    sessions.hold(unit, account)
    slow = sessions.slowed(unit, subject)
    if not slow:
        for row in of(unit, account):
            if row.kind == "totp":
                secret = keys.unseal(unit.keys.accounts, row.secret, _bound(row.id)).decode()
                step = _step_of(unit, secret, code, after=row.counter)
                if step is not None:
                    return _used(unit, row, step)
        if _recovered(unit, account, code):
            return True
    sessions.fail(unit, subject, "sign-in.fail", account, slow=slow)
    return False


def _used(unit: Unit, row: SecondFactor, counter: int) -> bool:
    row.counter, row.used_at = counter, unit.now
    unit.record("factor.use", row, trial="*", entity="account", entity_id=row.account_id)
    return True


# --- recovery codes --------------------------------------------------------------------------------------------------


def codes_left(unit: Unit, account: str) -> int:
    """How many recovery codes an account has left."""
    return len(_codes(unit, account))


def _codes(unit: Unit, account: str) -> list[RecoveryCode]:
    free = (RecoveryCode.account_id == account, RecoveryCode.used_at.is_(None), RecoveryCode.ended_at.is_(None))
    return list(unit.session.scalars(select(RecoveryCode).where(*free)))


def _plain(code: str) -> str:
    return "".join(sign for sign in code.lower() if sign in _SIGNS)


def _kept(unit: Unit, account: str, code: str) -> str:
    """What is kept of a recovery code: a keyed hash, so that a copy of the database is no help in guessing one."""
    return keys.label(unit.keys.accounts, f"recovery|{account}|{_plain(code)}")


def new_codes(unit: Unit) -> list[str]:
    """Ten new recovery codes, shown once; earlier ones are worth nothing."""
    unit.require_proof()
    return _new_codes(unit)


def _new_codes(unit: Unit) -> list[str]:
    account = unit.actor.id
    ended = _codes(unit, account)
    for row in ended:
        row.ended_at = unit.now
    made = ["".join(secrets.choice(_SIGNS) for _ in range(12)) for _ in range(_CODES)]
    rows = [
        RecoveryCode(id=_kept(unit, account, code), account_id=account, created_at=unit.now, used_at=None, ended_at=None) for code in made
    ]
    unit.add(*rows)
    unit.record("factor.codes", *rows, *ended, trial="*", entity="account", entity_id=account)
    return [f"{code[:4]}-{code[4:8]}-{code[8:]}" for code in made]


def _recovered(unit: Unit, account: str, code: str) -> bool:
    row = unit.session.get(RecoveryCode, _kept(unit, account, code), with_for_update=True, populate_existing=True)
    if row is None or row.used_at is not None or row.ended_at is not None:
        return False
    row.used_at = unit.now
    unit.record("factor.recovery", row, trial="*", entity="account", entity_id=account)
    left = codes_left(unit, account)
    notices.tell_account(unit, account, "recovery code", f"A recovery code of your account was used. {left} are left.")
    return True


# --- adding and removing ---------------------------------------------------------------------------------------------


def _add(unit: Unit, ident: str, kind: str, label: str, credential: str, secret: bytes, counter: int) -> list[str]:
    before = of(unit, unit.actor.id)
    if len(before) >= _MOST:
        raise Invalid(f"An account has at most {_MOST} second factors.", code="AUTH.FACTOR", needs="Remove one first.")
    name = label.strip()[:_LONGEST_LABEL] or KINDS[kind]
    row = SecondFactor(
        id=ident,
        account_id=unit.actor.id,
        kind=kind,
        label=name,
        credential=credential,
        secret=secret,
        counter=counter,
        created_at=unit.now,
        used_at=None,
        ended_at=None,
    )
    unit.add(row)
    sessions.end_unfinished(unit, unit.actor.id)
    changes = [Change("factor", None, f"{KINDS[kind]}: {name}")]
    unit.record("factor.add", row, trial="*", entity="account", entity_id=unit.actor.id, changes=changes)
    notices.tell_account(unit, unit.actor.id, "second factor", f"A second factor was added to your account: {KINDS[kind]}.")
    return [] if before else _new_codes(unit)


def remove(unit: Unit, ident: str, *, needed: bool) -> None:
    """Take a second factor away from the actor's account; the last one only where none is `needed`."""
    unit.require_proof()
    held = of(unit, unit.actor.id)
    row = next((row for row in held if row.id == ident), None)
    if row is None:
        raise Missing("There is no such second factor of yours.", code="AUTH.FACTOR", needs="Open the page again.")
    if needed and len(held) == 1:
        raise WrongState("This is your last second factor.", code="AUTH.LAST_FACTOR", needs="Add another one first.")
    _end(unit, row)


def _end(unit: Unit, row: SecondFactor) -> None:
    row.ended_at = unit.now
    changes = [Change("factor", f"{KINDS[row.kind]}: {row.label}", None)]
    unit.record("factor.remove", row, trial="*", entity="account", entity_id=row.account_id, changes=changes)
    notices.tell_account(unit, row.account_id, "second factor", f"A second factor was removed from your account: {KINDS[row.kind]}.")


def remove_all(unit: Unit, account: str) -> None:
    """All second factors and recovery codes of somebody who lost them: part of a reset that another person started."""
    for row in of(unit, account):
        _end(unit, row)
    for code in _codes(unit, account):
        code.ended_at = unit.now
        unit.covered(code)
