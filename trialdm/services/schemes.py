"""Allocation schemes: committing to one, making it fit to use, keeping its chain, and revealing it at the end.

A scheme is frozen and committed to by one person, may get a contribution from another, and goes live when a second person has
signed its specification. A change starts a new epoch, which counts what came before. Future allocations of a derived scheme
exist nowhere; those of an imported list are sealed one by one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import roles
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Refused, WrongState
from trialdm.domain.lifecycle import label
from trialdm.domain.protocol import Protocol
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.randomisation import commitment
from trialdm.services import lists, studies
from trialdm.services.unit import SYSTEM, Change, Unit, remember
from trialdm.store import keys as sealing
from trialdm.store.tables import Account, ListSlot, Scheme, SchemeAct

MACHINE = "scheme"


# --- finding ---------------------------------------------------------------------------------------------------------


def subject(row: Scheme) -> str:
    """The scheme's name among states: each epoch has its own."""
    return f"{row.name}/{row.epoch}"


def state(unit: Unit, row: Scheme) -> str:
    return studies.state(unit, row.trial_id, MACHINE, subject(row))


def epochs(unit: Unit, trial: str, name: str) -> list[Scheme]:
    """Every epoch of a scheme, the first one first."""
    return list(unit.session.scalars(select(Scheme).where(Scheme.trial_id == trial, Scheme.name == name).order_by(Scheme.epoch)))


def standing(unit: Unit, trial: str, name: str) -> list[Scheme]:
    """Every epoch of a scheme but those that were withdrawn before they went live."""
    return [row for row in epochs(unit, trial, name) if state(unit, row) != "withdrawn"]


def newest(unit: Unit, protocol: Protocol, name: str = "") -> Scheme | None:
    """The newest epoch of a scheme (of the trial's first one where none is named) that was not withdrawn before it went live."""
    found = standing(unit, protocol.id, protocol.scheme_named(name).name)
    return found[-1] if found else None


#: States of an epoch that has not gone live.
PENDING = ("draft", "committed", "contributed", "withdrawn")


def in_use(unit: Unit, protocol: Protocol, name: str = "") -> Scheme | None:
    """The newest epoch that went live, whether it still allocates or not."""
    found = [row for row in epochs(unit, protocol.id, protocol.scheme_named(name).name) if state(unit, row) not in PENDING]
    return found[-1] if found else None


def needed(unit: Unit, protocol: Protocol, name: str = "") -> Scheme:
    row = newest(unit, protocol, name)
    if row is None:
        raise WrongState(
            "The allocation has not been prepared.",
            code="ALLOC.NOT_PREPARED",
            needs="The trial manager or the unblinded statistician commits to it ('allocation commit').",
        )
    return row


def locked(unit: Unit, protocol: Protocol, name: str) -> Scheme:
    """The scheme's row, held until the end: nobody else allocates meanwhile. The newest epoch, or the one that it would follow."""
    rows = list(
        unit.session.scalars(
            select(Scheme)
            .where(Scheme.trial_id == protocol.id, Scheme.name == name)
            .order_by(Scheme.epoch.desc())
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    )
    if not rows:
        return needed(unit, protocol, name)
    unit.turn_has_come()
    return next((row for row in rows if state(unit, row) not in PENDING), rows[0])


def locked_live(unit: Unit, protocol: Protocol, name: str) -> Scheme:
    """The scheme's row, held, of an epoch that may allocate now (see `require_live`)."""
    return require_live(unit, locked(unit, protocol, name))


def require_live(unit: Unit, row: Scheme) -> Scheme:
    """The same row, where it may allocate now. Raises WrongState naming what is lacking."""
    found = state(unit, row)
    if row.world != unit.world:
        raise WrongState(
            f"The scheme was made for a {row.world} world, this instance is {unit.world}: nothing is allocated.",
            code="ALLOC.WORLD",
            needs=f"A scheme that was committed to in a {unit.world} instance.",
        )
    if found != "live":
        code, needs = _LACKING.get(found, ("ALLOC.CLOSED", "A new epoch of the scheme, as an amendment."))
        raise WrongState(f"The allocation scheme is {label(found)}: nothing is allocated.", code=code, needs=needs)
    return row


def hindrance(unit: Unit, protocol: Protocol, name: str = "") -> WrongState | None:
    """Why a scheme cannot allocate now, apart from the participant and the approvals; None where it can."""
    definition = protocol.scheme_named(name)
    rows = epochs(unit, protocol.id, definition.name)
    states = [state(unit, row) for row in rows]
    if "live" in states and rows[states.index("live")].world == unit.world:
        return None
    try:
        require_live(unit, rows[-1] if rows else needed(unit, protocol, name))
    except WrongState as problem:
        return problem
    return None


_SIGN = "Its specification is signed by a second person ('allocation sign')."
_LACKING = {
    "committed": ("ALLOC.NOT_SIGNED", _SIGN),
    "contributed": ("ALLOC.NOT_SIGNED", _SIGN),
    "withdrawn": ("ALLOC.NOT_SIGNED", "A new commitment, and a second person's signature."),
    "paused": ("ALLOC.PAUSED", "The scheme is resumed ('allocation resume')."),
}


def bound(trial: str, name: str, epoch: int, *what: str | int) -> str:
    """What a sealed value of a scheme is bound to. The scheme `main` goes without its name, as it did when it was the only one."""
    return "|".join(str(part) for part in ("v1", trial, epoch, *what, *([] if name == "main" else [name])))


def master_bound(row: Scheme) -> str:
    return bound(row.trial_id, row.name, row.epoch, "master")


def keys(unit: Unit, row: Scheme) -> commitment.Keys:
    """The keys of an epoch, with its master opened for this unit of work."""

    def opened() -> commitment.Keys:
        master = sealing.unseal(unit.keys.allocation, row.master_sealed, master_bound(row))
        return commitment.Keys(config(row), master, bytes.fromhex(row.contribution))

    return remember(unit, ("scheme keys", row.trial_id, row.name, row.epoch, row.contribution), opened)


def config(row: Scheme) -> dict[str, Any]:
    """The configuration that was committed to."""
    found: dict[str, Any] = json.loads(row.config)
    return found


# --- committing ------------------------------------------------------------------------------------------------------


def config_of(protocol: Protocol, scheme: Definition, epoch: int = 0, *, amends: bool = False, **more: Any) -> dict[str, Any]:
    """The configuration that is committed to, as the allocation protocol writes it. One that amends another has no burn-in."""
    found: dict[str, Any] = {
        "v": 1,
        "trial": protocol.id,
        "scheme": scheme.name,
        "epoch": epoch,
        "method": scheme.method,
        "arms": [[arm.name, arm.ratio] for arm in scheme.arms],
        **scheme.parameters,
        **more,
    }
    if amends:
        found.pop("burn_in", None)
    if scheme.factors:
        weighted = scheme.method == "minimisation"
        found["factors"] = [
            {"name": f.name, "levels": list(f.levels), **({"weight": f.weight} if weighted else {})} for f in scheme.factors
        ]
    return found


def prepare(unit: Unit, trial: str, *, name: str = "", seed: bytes | None = None) -> Scheme:
    """Freeze the scheme of the protocol, draw its master, seal it, and commit. Gives the one that exists if there is one.

    Whoever commits has signed for the specification as the one who prepared it. A `seed` in place of a drawn master is for
    test worlds only: raises Refused in a live one.
    """
    protocol = studies.protocol(unit, trial)
    definition = protocol.scheme_named(name)
    unit.require("allocation.prepare", trial)
    if definition.method == "list":
        raise WrongState("The protocol takes its allocation from a list: import it.", code="ALLOC.LIST", needs="'allocation import'.")
    if seed is not None and unit.world != "test":
        raise Refused(
            "A seed that somebody knows would let them predict every allocation: it is refused in a live instance.",
            code="ALLOC.TEST_SEED",
            needs="Commit without a seed, or use a test instance ('init --test').",
        )
    number = len(epochs(unit, trial, definition.name))
    return newest(unit, protocol, name) or make(unit, protocol, config_of(protocol, definition, number), seed)


def make(unit: Unit, protocol: Protocol, found: Mapping[str, Any], seed: bytes | None = None, **said: Any) -> Scheme:
    master = seed if seed is not None else unit.entropy(32)
    if len(master) != 32:
        raise Invalid("A master has 32 bytes: 64 hexadecimal digits.", code="ALLOC.SEED")
    made = commitment.Keys(found, master)
    row = Scheme(
        trial_id=protocol.id,
        name=found["scheme"],
        epoch=found["epoch"],
        world=unit.world,
        config=json.dumps(found, sort_keys=True),
        commit=made.commit.hex(),
        contribution="",
        master_sealed=b"",
        events=0,
        places=0,
        head=made.genesis.hex(),
        created_at=unit.now,
        created_by=unit.actor.id,
    )
    row.master_sealed = sealing.seal(unit.keys.allocation, master, master_bound(row))
    unit.add(row)
    unit.session.flush()
    act(unit, row, "prepare", commit=row.commit, world=row.world, **said)
    studies.move(unit, protocol.id, MACHINE, subject(row), "commit")
    return row


def act(unit: Unit, row: Scheme, act: str, **data: Any) -> None:
    """Note what somebody did to a scheme, in its own log and in the trail."""
    last = unit.session.scalar(
        select(func.max(SchemeAct.seq)).where(
            SchemeAct.trial_id == row.trial_id, SchemeAct.scheme == row.name, SchemeAct.epoch == row.epoch
        )
    )
    entry = SchemeAct(
        trial_id=row.trial_id,
        scheme=row.name,
        epoch=row.epoch,
        seq=(last or 0) + 1,
        act=act,
        data=json.dumps(data, sort_keys=True, ensure_ascii=False),
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(entry)
    shown = {name: value for name, value in data.items() if isinstance(value, str | int) and name not in ("texts", "sealed")}
    unit.record(
        f"allocation.{act}",
        row,
        entry,
        trial=row.trial_id,
        entity=MACHINE,
        entity_id=subject(row),
        changes=[Change(name, None, value) for name, value in shown.items()],
    )
    unit.session.flush()


def acts(unit: Unit, row: Scheme) -> list[SchemeAct]:
    """What people did to an epoch, oldest first."""
    return list(
        unit.session.scalars(
            select(SchemeAct)
            .where(SchemeAct.trial_id == row.trial_id, SchemeAct.scheme == row.name, SchemeAct.epoch == row.epoch)
            .order_by(SchemeAct.seq)
        )
    )


def contribute(unit: Unit, trial: str, typed: str, *, dice: bool = False, source: str = "", name: str = "") -> Scheme:
    """Add what an independent party gives after having seen the commitment, so that neither side can steer the allocations.

    `source` says where the value comes from (dice thrown before witnesses, a value named beforehand). Raises Forbidden for
    the person who committed, and WrongState once the specification is signed.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.contribute", trial)
    row = held(unit, needed(unit, protocol, name))
    if row.created_by == unit.actor.id:
        raise Forbidden(
            "Whoever committed to the scheme cannot contribute to it: the contribution is there so that they cannot steer.",
            code="ALLOC.OWN_CONTRIBUTION",
            needs="Somebody else contributes.",
        )
    try:
        given = commitment.read_contribution(typed, dice=dice)
    except ValueError as problem:
        raise Invalid(f"The contribution cannot be read: {problem}.", code="ALLOC.CONTRIBUTION") from None
    if not given:
        raise Invalid("The contribution is empty.", code="ALLOC.CONTRIBUTION", needs="A value in hexadecimal, or what dice showed.")
    studies.move(unit, trial, MACHINE, subject(row), "contribute")
    row.contribution = given.hex()
    row.head = keys(unit, row).genesis.hex()
    act(unit, row, "contribute", contribution=row.contribution, source=source or ("dice" if dice else "value given"))
    return row


def held(unit: Unit, row: Scheme) -> Scheme:
    """The same row, held until the end: nobody else changes it meanwhile."""
    unit.session.refresh(row, with_for_update=True)
    unit.turn_has_come()
    return row


# --- a list made elsewhere --------------------------------------------------------------------------------------------


def import_list(unit: Unit, trial: str, text: str, *, name: str = "") -> Scheme:
    """Seal a list made elsewhere (see `lists.read`); whoever imports it has signed for it as the one who prepared it.

    Raises Invalid with one detail for each place that does not fit; nothing is kept then.
    """
    protocol = studies.protocol(unit, trial)
    definition = protocol.scheme_named(name)
    unit.require("allocation.prepare", trial)
    if definition.method != "list":
        raise WrongState(f"The protocol allocates by {definition.method}, not by a list.", code="ALLOC.LIST")
    before = newest(unit, protocol, name)
    if before is not None:
        raise Conflict(
            "There is an allocation list already.",
            code="ALLOC.ALREADY",
            needs="One that is not signed can be withdrawn; after that a longer list is an amendment.",
        )
    slots = lists.read(definition, text)
    number = len(epochs(unit, trial, definition.name))
    return seal_list(unit, protocol, definition, slots, hashlib.sha256(text.encode()).hexdigest(), number)


def seal_list(
    unit: Unit, protocol: Protocol, definition: Definition, slots: Sequence[tuple[str, str]], sha256: str, epoch: int = 0
) -> Scheme:
    """Keep the places of a list as (stratum, arm) in order, each sealed with a nonce of its own and bound to its place."""
    row = make(unit, protocol, config_of(protocol, definition, epoch, list_sha256=sha256, slots=len(slots)))
    longest = max(len(arm.name.encode()) for arm in definition.arms)
    counts: Counter[str] = Counter()
    for stratum, arm in slots:
        slot = counts[stratum]
        counts[stratum] += 1
        sealed = sealing.seal(unit.keys.allocation, arm.encode().ljust(longest), _slot_bound(row, stratum, slot))
        place = ListSlot(trial_id=protocol.id, scheme=row.name, epoch=row.epoch, stratum=stratum, slot=slot, arm_sealed=sealed)
        unit.add(place)
        unit.covered(place)
    unit.session.flush()
    return row


def _slot_bound(row: Scheme, stratum: str, slot: int) -> str:
    return bound(row.trial_id, row.name, row.epoch, "slot", stratum, slot)


def from_list(unit: Unit, row: Scheme, stratum: str, slot: int) -> str:
    """The arm at a place of an imported list. Raises WrongState where the list has none left."""
    place = unit.session.get(ListSlot, (row.trial_id, row.name, row.epoch, stratum, slot))
    if place is None:
        raise WrongState(
            f"The allocation list has no place left in stratum '{stratum}'.",
            code="ALLOC.EXHAUSTED",
            needs="A longer list, as an amendment.",
        )
    return sealing.unseal(unit.keys.allocation, place.arm_sealed, _slot_bound(row, stratum, slot)).decode().rstrip()


# --- steps and status -------------------------------------------------------------------------------------------------


def specification_hash(row: Scheme) -> str:
    """What the two signatures stand for: the hash of configuration, commitment and contribution."""
    return hashlib.sha256(commitment.lp(commitment.canonical(config(row)), row.commit, row.contribution)).hexdigest()


def move(unit: Unit, trial: str, event: str, *, name: str = "", reason: str = "") -> str:
    """Pause, resume or close a scheme."""
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.move", trial)
    if event not in ("pause", "resume", "close", "withdraw"):
        raise Invalid(f"There is no step '{event}' for a person to take.", code="STATE.SCHEME", needs="pause, resume, close or withdraw.")
    row = held(unit, needed(unit, protocol, name)) if event == "withdraw" else locked(unit, protocol, protocol.scheme_named(name).name)
    return studies.move(unit, trial, MACHINE, subject(row), event, reason=reason)


def may_see_specification(unit: Unit, trial: str) -> bool:
    """Whether the actor may know block sizes and every other setting: a role that rehearses or signs, and none by which
    somebody recruits or works at a site, where knowing them helps to guess the next arm."""
    return not recruits(unit, trial) and (unit.may("rehearsal.run", trial) or unit.may("rehearsal.sign", trial))


def recruits(unit: Unit, trial: str) -> bool:
    """Whether the actor recruits or works at a site, whatever other role they hold."""
    held = {grant.role for grant in unit.actor.grants if grant.covers(trial, None)}
    return any(roles.ROLES[role][1] or role in roles.ACTIONS["participant.randomise"] for role in held)


def status(unit: Unit, trial: str) -> dict[str, Any]:
    """What may be known of the schemes by everybody: method, state, commitment, signed head. No arm, no count by arm."""
    protocol = studies.protocol(unit, trial)
    if unit.actor is not SYSTEM:
        unit.require("trial.see", trial)
    found = [_standing(unit, protocol, scheme.name) for scheme in protocol.schemes if newest(unit, protocol, scheme.name) is not None]
    if not found:
        needed(unit, protocol)
    return {"trial": trial, **found[0], "later_schemes": found[1:]}


def _standing(unit: Unit, protocol: Protocol, name: str) -> dict[str, Any]:
    """The epoch in use, and the one that waits to take over (`next`), if any; the newest one where none is in use."""
    used, last = in_use(unit, protocol, name), needed(unit, protocol, name)
    if used is None or used.epoch == last.epoch:
        return {**described(unit, last), "next": None}
    return {**described(unit, used), "next": described(unit, last)}


def described(unit: Unit, row: Scheme) -> dict[str, Any]:
    """What everybody in the trial may know of one epoch; the caller has checked that the person is one of them."""
    done = {act.act: act for act in acts(unit, row)}
    return {
        "scheme": row.name,
        "epoch": row.epoch,
        "world": row.world,
        "method": config(row)["method"],
        "state": state(unit, row),
        "commit": row.commit,
        "contribution": row.contribution,
        "prepared_by": _name(unit, row.created_by),
        "signed_by": _name(unit, done["sign"].by) if "sign" in done else None,
        "escrowed": any(json.loads(act.data).get("number") == 2 for act in acts(unit, row) if act.act == "escrow"),
        "events": row.events,
        "places": row.places,
        "head": row.head,
        "public_key": sealing.public_key(unit.keys.signing),
    }


def _name(unit: Unit, ident: str) -> str:
    account = unit.session.get(Account, ident)
    return account.name if account else ident
