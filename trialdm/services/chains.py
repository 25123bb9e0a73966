"""The chain of a scheme's events: adding one, reading the state that they lead to, and checking them on the way.

Every event that was not read before is checked when the next allocation needs it: it must continue the chain, its arm must be
the one committed to, and the one that the rule gives. Arms are sealed and opened here and nowhere else.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from trialdm.domain.errors import Broken, WrongState
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.randomisation import commitment, ledger
from trialdm.domain.randomisation.carried import Carried
from trialdm.domain.randomisation.ledger import Head
from trialdm.domain.randomisation.schemes import Allocator, Placed
from trialdm.services import schemes, studies
from trialdm.services.schemes import config, epochs, keys
from trialdm.services.unit import Unit
from trialdm.store import keys as sealing
from trialdm.store.tables import Allocation, AllocationNote, Scheme, SchemeAct, SchemeEvent


def advance(unit: Unit, row: Scheme, event: Mapping[str, Any]) -> int:
    """Store an event, and the head that it leads to; the caller holds the row. Gives the event's number."""
    after = ledger.append(head(row), event)
    entry = SchemeEvent(
        trial_id=row.trial_id,
        scheme=row.name,
        epoch=row.epoch,
        i=after.events,
        data=commitment.canonical(dict(event)).decode(),
        hash=after.hash.hex(),
    )
    unit.add(entry)
    row.events, row.places, row.head = after.events, after.places, after.hash.hex()
    unit.covered(entry, row)
    unit.session.flush()
    return after.events


def head(row: Scheme) -> Head:
    return Head(row.events, bytes.fromhex(row.head), row.places)


def moment(unit: Unit, row: Scheme) -> str:
    """The time of the next event. Raises WrongState where the clock stands before the last one, and Broken where that was changed."""
    at = unit.now.isoformat(timespec="microseconds")
    last = unit.session.get(SchemeEvent, (row.trial_id, row.name, row.epoch, row.events)) if row.events else None
    if row.events and (last is None or last.hash != row.head):
        raise _tampered(row)
    if last is not None and json.loads(last.data)["at"] > at:
        raise WrongState(
            "The clock of this server stands before the last allocation: nothing is allocated.",
            code="ALLOC.CLOCK",
            needs="Set the server's clock right.",
        )
    return at


def _tampered(row: Scheme) -> Broken:
    return Broken(
        f"The allocation events of {row.trial_id} do not lead to their head: nothing is allocated.",
        code="ALLOC.CHAIN",
        needs="Find out what was changed ('audit verify', 'allocation verify'); restore the database from a backup.",
    )


def events(unit: Unit, row: Scheme, after: int = 0) -> Iterable[SchemeEvent]:
    """The events of an epoch in order."""
    return unit.session.scalars(
        select(SchemeEvent)
        .where(SchemeEvent.trial_id == row.trial_id, SchemeEvent.scheme == row.name, SchemeEvent.epoch == row.epoch, SchemeEvent.i > after)
        .order_by(SchemeEvent.i)
    )


@dataclass
class Running:
    """An epoch as far as its events have been read: the state for the next allocation, and the hash that it stands on."""

    allocator: Allocator
    reached: Head
    places: dict[int, Placed]


#: Schemes that were read, kept in memory only: a state is used again only where the chain still holds the hash it stands on.
_RUNNING: dict[tuple[str, str, str, int], Running] = {}


def running(unit: Unit, row: Scheme) -> Running:
    """The state after all events so far; the caller holds the row.

    Every event that was not read before is checked: it must continue the chain, its arm must be the one committed to, and
    the one that the rule gives. Raises Broken where one does not.
    """
    where = (str(unit.session.get_bind().engine.url), row.trial_id, row.name, row.epoch)
    made = keys(unit, row)
    found = _RUNNING.get(where)
    if found is None or not _stands(unit, row, found.reached):
        found = Running(_first(unit, row, made), ledger.start(made.genesis), {})
    found.allocator.keys = made
    arms = arms_since(unit, row, found.reached.places)
    for event in events(unit, row, found.reached.events):
        _follow(made, found, event, row, arms)
    if found.reached.hash.hex() != row.head:
        _RUNNING.pop(where, None)
        raise _tampered(row)
    _RUNNING[where] = found
    return found


def read_again(unit: Unit, row: Scheme) -> Running:
    """As `running`, with every event checked from the first one on, whatever was read before."""
    _RUNNING.pop((str(unit.session.get_bind().engine.url), row.trial_id, row.name, row.epoch), None)
    return running(unit, row)


def _first(unit: Unit, row: Scheme, made: commitment.Keys) -> Allocator:
    """The allocator before the first place of an epoch, with the counts that the epoch was started with."""
    if started(unit, row) is None:
        return Allocator(made)
    taken, first = carried(unit, row), unit.session.get(SchemeEvent, (row.trial_id, row.name, row.epoch, 1))
    if first is not None and json.loads(first.data).get("counts_commit") != made.counts_commitment(1, taken.to_json()):
        raise _tampered(row)
    return Allocator(made, taken.state(made.config))


def _stands(unit: Unit, row: Scheme, reached: Head) -> bool:
    if not reached.events:
        return reached.hash == keys(unit, row).genesis
    event = unit.session.get(SchemeEvent, (row.trial_id, row.name, row.epoch, reached.events))
    return event is not None and event.hash == reached.hash.hex()


def arms_since(unit: Unit, row: Scheme, places: int) -> dict[int, str]:
    """The arm of each event that took a place, from this place on; the caller has checked the right to it."""
    rows = unit.session.scalars(
        select(Allocation).where(
            Allocation.trial_id == row.trial_id,
            Allocation.scheme == row.name,
            Allocation.epoch == row.epoch,
            Allocation.seq >= places,
        )
    )
    return {allocation.event: unseal_arm(unit, allocation) for allocation in rows}


def _follow(made: commitment.Keys, found: Running, stored: SchemeEvent, row: Scheme, arms: Mapping[int, str]) -> None:
    event = json.loads(stored.data)
    found.reached = ledger.append(found.reached, event)
    if found.reached.hash.hex() != stored.hash:
        raise _tampered(row)
    if event["kind"] in ledger.TAKES_A_PLACE:
        placed = _placed(made, found.allocator, event, arms.get(stored.i, ""))
        if placed is None:
            raise _tampered(row)
        found.allocator.take(placed)
        found.places[stored.i] = placed
    elif made.config.get("counts") == "as_corrected":
        ledger.recount(found.allocator, made.config, found.places, event)


def _placed(made: commitment.Keys, allocator: Allocator, event: Mapping[str, Any], arm: str) -> Placed | None:
    """The place of an event, or None where its arm is not the one committed to or not the one that the rule gives."""
    levels = ledger.levels_of(made.config, event["levels"])
    if levels is None or made.arm_commitment(event["i"], arm) != event["arm_commit"]:
        return None
    if event["kind"] == "external":
        return allocator.placed_elsewhere(levels, arm)
    placed = allocator.next(levels)
    return placed if allocator.arm(placed) == arm else None


def seal_arm(unit: Unit, scheme: Definition, trial: str, epoch: int, participant: str, arm: str) -> bytes:
    """An arm, sealed and bound to its allocation; all arms of a scheme have the same length sealed."""
    longest = max(len(a.name.encode()) for a in scheme.arms)
    return sealing.seal(unit.keys.allocation, arm.encode().ljust(longest), schemes.bound(trial, scheme.name, epoch, "arm", participant))


def unseal_arm(unit: Unit, row: Allocation) -> str:
    """The name of the arm of an allocation; the caller has checked the right to it.

    Where the key that sealed it was lost and the master was recovered since, the arm is the one that the event commits to.
    """
    bound = schemes.bound(row.trial_id, row.scheme, row.epoch, "arm", row.participant_id)
    try:
        return sealing.unseal(unit.keys.allocation, row.arm_sealed, bound).decode().rstrip()
    except Broken:
        arm = _committed(unit, row)
        if arm is None:
            raise
        return arm


def _committed(unit: Unit, row: Allocation) -> str | None:
    """The arm to which the event of an allocation commits, where the master was recovered after it; None elsewhere."""
    scheme = unit.session.get_one(Scheme, (row.trial_id, row.scheme, row.epoch))
    if not any(act.act == "recover" and act.at >= row.at for act in schemes.acts(unit, scheme)):
        return None
    stored = unit.session.get_one(SchemeEvent, (row.trial_id, row.scheme, row.epoch, row.event))
    made, commit = keys(unit, scheme), json.loads(stored.data)["arm_commit"]
    return next((code for code, _ in made.config["arms"] if made.arm_commitment(row.event, code) == commit), None)


def verify_chain(unit: Unit, trial: str) -> int:
    """Check that the stored events of every scheme lead to its head; gives their number. Raises Broken."""
    protocol, found = studies.protocol(unit, trial), 0
    for name in [scheme.name for scheme in protocol.schemes]:
        for row in epochs(unit, trial, name):
            stored = [json.loads(event.data) for event in events(unit, row)]
            if not ledger.verify_chain(keys(unit, row).genesis, stored, bytes.fromhex(row.head)):
                raise Broken(f"The allocation events of {trial} do not lead to their head.", code="ALLOC.CHAIN")
            found += len(stored)
    return found


# --- what an epoch takes over ------------------------------------------------------------------------------------------


def carried(unit: Unit, row: Scheme) -> Carried:
    """What an epoch takes over: counted from every place of the epochs before it."""
    return Carried.counted(config(row), history(unit, row.trial_id, row.name, before=row.epoch, known=_known_at_start(unit, row)))


def ends(unit: Unit, row: Scheme) -> dict[str, int]:
    """How many events each epoch before this one has: what is known of their places now."""
    return {str(earlier.epoch): earlier.events for earlier in epochs(unit, row.trial_id, row.name) if earlier.epoch < row.epoch}


def _known_at_start(unit: Unit, row: Scheme) -> dict[str, int]:
    """What was known of earlier places when the epoch started: what is found about them later changes none of its counts."""
    start = started(unit, row)
    return json.loads(start.data)["known"] if start else ends(unit, row)


def started(unit: Unit, row: Scheme) -> SchemeAct | None:
    """The start of an epoch that took over from another one; None for a first epoch, and before it went live."""
    return next((act for act in schemes.acts(unit, row) if act.act == "start"), None)


def history(unit: Unit, trial: str, name: str, *, before: int, known: Mapping[str, int]) -> list[tuple[dict[str, str], str]]:
    """Levels and arm of every place before an epoch; as corrected where the epoch of the place counts so.

    `known` says up to which event of each epoch a correction or an error counts.
    """
    rows = unit.session.scalars(
        select(Allocation)
        .where(Allocation.trial_id == trial, Allocation.scheme == name, Allocation.epoch < before)
        .order_by(Allocation.epoch, Allocation.seq)
    )
    following = {row.epoch for row in epochs(unit, trial, name) if config(row).get("counts") == "as_corrected"}
    notes = unit.session.scalars(
        select(AllocationNote).where(AllocationNote.trial_id == trial, AllocationNote.scheme == name).order_by(AllocationNote.seq)
    )
    about: dict[str, list[AllocationNote]] = {}
    for note in notes:
        about.setdefault(note.participant_id, []).append(note)
    found = []
    for row in rows:
        held = about.get(row.participant_id, []) if row.epoch in following else []
        levels = _levels_known(row, [note for note in held if note.event <= known[str(row.epoch)]])
        if levels is not None:
            found.append((levels, unseal_arm(unit, row)))
    return found


def _levels_known(row: Allocation, notes: Iterable[AllocationNote]) -> dict[str, str] | None:
    """The levels of a place after its notes; None once it was in error, whatever is corrected afterwards."""
    levels: dict[str, str] = json.loads(row.levels)
    for note in notes:
        if note.kind == "in_error":
            return None
        if note.kind == "corrected":
            levels = json.loads(note.levels)
    return levels
