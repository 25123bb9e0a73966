"""What leaves the instance about a scheme: signed heads, the ledger, the reveal at the end, and the shares of its custodians."""

import json
from typing import Any

from sqlalchemy import func, select

from trialdm.domain.errors import Broken, Forbidden, Invalid, Missing, Refused
from trialdm.domain.lifecycle import label
from trialdm.domain.protocol import Protocol
from trialdm.domain.randomisation import commitment, escrow, ledger
from trialdm.services import chains, notices, schemes, studies
from trialdm.services.schemes import MACHINE, config, held, keys, subject
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store import keys as sealing
from trialdm.store.tables import Scheme, SchemeHead

#: States of a trial in which the master of a live scheme may be revealed, once two people have locked its database.
_AFTER_LOCK = ("locked", "ended", "archived", "early_terminated")


def sign_head(unit: Unit, row: Scheme) -> SchemeHead | None:
    """Sign where the chain stands now; None where nothing has been added since the last signature."""
    last = unit.session.scalar(
        select(func.max(SchemeHead.i)).where(
            SchemeHead.trial_id == row.trial_id, SchemeHead.scheme == row.name, SchemeHead.epoch == row.epoch
        )
    )
    if row.events <= (last or 0):
        return None
    signature = sealing.sign(unit.keys.signing, ledger.head_line(config(row), row.events, row.head))
    signed = SchemeHead(
        trial_id=row.trial_id, scheme=row.name, epoch=row.epoch, i=row.events, hash=row.head, at=unit.now, signature=signature
    )
    unit.add(signed)
    unit.record(
        "allocation.head",
        signed,
        trial=row.trial_id,
        entity=MACHINE,
        entity_id=subject(row),
        changes=[Change("head", None, f"{row.events} {row.head}")],
    )
    unit.session.flush()
    return signed


def due(unit: Unit) -> list[tuple[str, str, int]]:
    """Schemes in use (trial, name, epoch) whose head has not been signed today."""
    found = []
    for row in unit.session.scalars(select(Scheme).order_by(Scheme.trial_id, Scheme.name, Scheme.epoch)).all():
        latest = unit.session.scalar(
            select(func.max(SchemeHead.at)).where(
                SchemeHead.trial_id == row.trial_id, SchemeHead.scheme == row.name, SchemeHead.epoch == row.epoch
            )
        )
        if schemes.state(unit, row) in ("live", "paused") and (latest is None or latest.astimezone(LONDON).date() < unit.today):
            found.append((row.trial_id, row.name, row.epoch))
    return found


def sign_daily(unit: Unit, trial: str, name: str, epoch: int) -> bool:
    """Check every event of a scheme from the first one on, and sign its head. False where there is nothing to sign.

    Where an event is not what was written, nothing is signed: the trial manager and the unblinded statistician are told.
    """
    row = held(unit, unit.session.get_one(Scheme, (trial, name, epoch)))
    try:
        chains.read_again(unit, row)
    except Broken as problem:
        people = notices.holders(unit, trial, ("trial-manager", "statistician-unblinded"))
        subject = f"The allocation chain of scheme {name} does not hold"
        if not notices.told_today(unit, trial, "ledger"):
            notices.tell(unit, trial, people, "ledger", subject, f"{problem.message} {problem.needs}")
        return False
    return sign_head(unit, row) is not None


def ledger_file(unit: Unit, trial: str, *, name: str = "", epoch: int | None = None) -> dict[str, Any]:
    """The ledger of an epoch (the newest one), with its head signed now. No secret is in it.

    It holds the configuration, block sizes included: raises Forbidden for people who recruit.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.ledger", trial)
    if schemes.recruits(unit, trial):
        raise Forbidden(
            "The ledger holds block sizes and probabilities: it is not for people who recruit.",
            code="ROLE.SPECIFICATION",
            needs="A role that reads the ledger, and none by which somebody recruits.",
        )
    row = _epoch(unit, protocol, name, epoch)
    sign_head(unit, held(unit, row))
    unit.record("allocation.ledger", trial=trial, entity=MACHINE, entity_id=subject(row))
    heads = unit.session.scalars(
        select(SchemeHead)
        .where(SchemeHead.trial_id == trial, SchemeHead.scheme == row.name, SchemeHead.epoch == row.epoch)
        .order_by(SchemeHead.i)
    )
    return {
        "format": ledger.FORMAT,
        "config": config(row),
        "commit": row.commit,
        "contribution": row.contribution,
        "public_key": sealing.public_key(unit.keys.signing),
        "events": [json.loads(event.data) for event in chains.events(unit, row)],
        "heads": [{"i": h.i, "hash": h.hash, "at": h.at.isoformat(timespec="microseconds"), "signature": h.signature} for h in heads],
    }


def _epoch(unit: Unit, protocol: Protocol, name: str, epoch: int | None) -> Scheme:
    rows = schemes.standing(unit, protocol.id, protocol.scheme_named(name).name)
    found = [row for row in rows if epoch is None or row.epoch == epoch]
    if not found:
        if rows:
            raise Missing(f"There is no epoch {epoch} of this scheme.", code="ALLOC.NO_EPOCH", needs=f"One of 0 to {rows[-1].epoch}.")
        return schemes.needed(unit, protocol, name)
    return found[-1]


def reveal(unit: Unit, trial: str, *, name: str = "", epoch: int | None = None) -> dict[str, Any]:
    """The master and every arm of an epoch, by which anybody can derive all allocations again.

    In a live world only once the database is locked; the scheme is closed with it. A test world may be revealed at any time.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.reveal", trial)
    row = held(unit, _epoch(unit, protocol, name, epoch))
    if row.world == "live":
        found = studies.state(unit, trial)
        if found not in _AFTER_LOCK or not studies.locked(unit, trial):
            raise Refused(
                f"The trial is {label(found)}: whoever has the master can predict every allocation that is still to come.",
                code="ALLOC.REVEAL",
                needs="The database locked by two people.",
            )
        _close_and_reveal(unit, row)
    schemes.act(unit, row, "reveal", events=row.events)
    arms = {str(event): arm for event, arm in sorted(chains.arms_since(unit, row, 0).items())}
    found_keys = keys(unit, row)
    carried = {"counts": chains.carried(unit, row).to_json()} if chains.started(unit, row) else {}
    return {"format": ledger.REVEAL_FORMAT, "master": found_keys.master.hex(), "arms": arms, **carried}


def _close_and_reveal(unit: Unit, row: Scheme) -> None:
    found = schemes.state(unit, row)
    if found in ("live", "paused"):
        studies.move(unit, row.trial_id, MACHINE, subject(row), "close", reason="revealed after the database was locked")
    if found != "revealed":
        studies.move(unit, row.trial_id, MACHINE, subject(row), "reveal")


# --- escrow ----------------------------------------------------------------------------------------------------------


def draw_share(unit: Unit, trial: str, *, name: str = "") -> tuple[Scheme, int, str]:
    """One written share of the master, for the custodian who draws it; gives its number (1 or 2) too. Either share alone says nothing.

    The second one is somebody else's: nobody ever holds both. Whoever drew the first one and draws again starts a new pair.
    Chief investigator, sponsor, trial manager and unblinded statistician are told each time.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.custody", trial)
    row = held(unit, schemes.needed(unit, protocol, name))
    drawn = [act for act in schemes.acts(unit, row) if act.act == "escrow"]
    last = json.loads(drawn[-1].data) if drawn else {}
    bound = schemes.bound(trial, row.name, row.epoch, "share")
    if last.get("number") == 1 and drawn[-1].by != unit.actor.id:
        number, random = 2, sealing.unseal(unit.keys.allocation, bytes.fromhex(last["sealed"]), bound)
        schemes.act(unit, row, "escrow", number=number)
    else:
        number, random = 1, sealing.fresh(32)
        schemes.act(unit, row, "escrow", number=number, sealed=sealing.seal(unit.keys.allocation, random, bound).hex())
    share = escrow.split(keys(unit, row).master, random)[number - 1]
    people = notices.holders(unit, trial, ("chief-investigator", "sponsor", "trial-manager", "statistician-unblinded"))
    subject_ = f"{unit.actor.name} drew share {number} of 2 of the allocation master"
    text = f"{subject_}: scheme {row.name}, epoch {row.epoch}. Both shares together open it."
    notices.tell(unit, trial, people, "escrow", subject_, text)
    return row, number, escrow.written(share)


def recover(unit: Unit, trial: str, first: str, second: str, *, name: str = "") -> Scheme:
    """Put the master of two shares back, sealed anew under this instance's key: after the key of the instance was lost.

    Raises Invalid where a share was copied wrongly, and Broken where together they are not the master committed to.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.prepare", trial)
    row = held(unit, schemes.needed(unit, protocol, name))
    try:
        master = escrow.join(escrow.read(first), escrow.read(second))
    except ValueError as problem:
        raise Invalid(f"The share cannot be read: {problem}.", code="ALLOC.SHARE") from None
    if commitment.Keys(config(row), master).commit.hex() != row.commit:
        raise Broken(
            "These two shares together are not the master that was committed to.",
            code="ALLOC.SHARE",
            needs="The two shares of this scheme and epoch, made at the same time.",
        )
    row.master_sealed = sealing.seal(unit.keys.allocation, master, schemes.master_bound(row))
    schemes.act(unit, row, "recover", commit=row.commit)
    return row
