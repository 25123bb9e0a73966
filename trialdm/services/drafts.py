"""What somebody has typed into a form and not saved yet: kept for them alone, sealed, until they save or discard it.

It is no version of the form: no rule, no list and no export sees it, and nobody but the person who typed it.
"""

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from trialdm.domain.errors import Broken, Invalid
from trialdm.services.places import Place
from trialdm.services.unit import Unit
from trialdm.store import keys
from trialdm.store.tables import FormDraft

#: The row under which the table of all rows of a form is kept: rows are counted from 1.
TABLE = 0

#: The largest draft, in characters of its JSON text.
LARGEST = 300_000


@dataclass(frozen=True)
class Draft:
    """Fields of the page as they were typed (name -> values), the version of the form that they start from, and since when."""

    fields: Mapping[str, Sequence[str]]
    version: int
    at: datetime


def keep(unit: Unit, place: Place, fields: Mapping[str, Sequence[str]], version: int) -> None:
    """Keep what was typed, in place of what was kept before. Raises Invalid for more than a form can hold."""
    text = json.dumps({name: list(given) for name, given in fields.items()}, ensure_ascii=False)
    if len(text) > LARGEST:
        raise Invalid("This is more than a form can hold.", code="CRF.DRAFT", needs=f"At most {LARGEST} characters.")
    row = _row(unit, place)
    sealed = base64.b64encode(keys.seal(_key(unit), text.encode("utf-8", "replace"), bound_to=_bound(unit, place))).decode()
    if row is None:
        unit.add(FormDraft(**_where(unit, place), version=version, data=sealed, at=unit.now))
    else:
        row.version, row.data, row.at = version, sealed, unit.now


def of(unit: Unit, place: Place) -> Draft | None:
    """What the actor typed into a form and has not saved; None where there is nothing, or nothing that can be read any more."""
    row = _row(unit, place)
    if row is None:
        return None
    try:
        text = keys.unseal(_key(unit), base64.b64decode(row.data), bound_to=_bound(unit, place))
    except Broken:
        return None
    return Draft(json.loads(text), row.version, row.at)


def drop(unit: Unit, place: Place) -> None:
    """Forget it: it was saved, or is not wanted."""
    row = _row(unit, place)
    if row is not None:
        unit.session.delete(row)


def mine(unit: Unit, trial: str) -> list[FormDraft]:
    """Where the actor has typed something that is not saved, newest first; without what it is."""

    wanted = select(FormDraft).where(FormDraft.trial_id == trial, FormDraft.account_id == unit.actor.id)
    return list(unit.session.scalars(wanted.order_by(FormDraft.at.desc())))


def sealed_for(unit: Unit, account: str, text: str) -> str:
    """What somebody typed before their session ended, for the page to carry until they sign in again: nobody else reads it there."""
    return base64.b64encode(keys.seal(_key(unit), text.encode("utf-8", "replace"), bound_to=f"carried|{account}")).decode()


def carried(unit: Unit, sealed: str) -> str | None:
    """What the actor typed and a page has carried; None where somebody else typed it, and for anything else."""
    try:
        return keys.unseal(_key(unit), base64.b64decode(sealed, validate=True), bound_to=f"carried|{unit.actor.id}").decode()
    except (Broken, ValueError):
        return None


def _row(unit: Unit, place: Place) -> FormDraft | None:
    return unit.session.get(FormDraft, tuple(_where(unit, place).values()))


def _where(unit: Unit, place: Place) -> dict[str, Any]:
    return {
        "trial_id": place.protocol.id,
        "account_id": unit.actor.id,
        "participant_id": place.participant.id,
        "visit": place.visit_code,
        "form": place.form.code,
        "row": place.row,
    }


def _key(unit: Unit) -> bytes:
    return hmac.digest(unit.keys.audit, b"drafts of forms", "sha256")


def _bound(unit: Unit, place: Place) -> str:
    return "|".join(str(part) for part in _where(unit, place).values())
