"""Allocation: making a scheme, randomising one participant exactly once, and who may read the result.

An allocation holds the scheme's row, so that events come one after another; the event, its hash, the allocation, the
answer's key and the audit entries are one transaction, and the arm leaves the process only after it has committed. Future
allocations of a derived scheme exist nowhere; those of an imported list are sealed one by one.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import lifecycle
from trialdm.domain.errors import Broken, Conflict, Detail, Invalid, Missing, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.randomisation import commitment, ledger, schemes
from trialdm.domain.randomisation.ledger import Head
from trialdm.domain.randomisation.schemes import Margins
from trialdm.services import approvals, casebooks, participants, studies
from trialdm.services.unit import LONDON, Change, Unit, remember
from trialdm.store import keys as sealing
from trialdm.store.tables import Allocation, FormInstance, FormVersion, Idempotency, ListSlot, Participant, Scheme, SchemeEvent

ROUTE = "randomise"
METHOD_VERSION = "trial-rand/v1"

_LIST_STRATUM = "list"


@dataclass(frozen=True)
class Allocated:
    """One allocation, for whoever asked; `arm` is None for somebody who may not see it."""

    participant: str
    number: str
    at: str
    arm: str | None = None

    def to_json(self) -> dict[str, str]:
        answer = {"participant": self.participant, "number": self.number, "at": self.at}
        return answer if self.arm is None else {**answer, "arm": self.arm}


# --- the scheme ------------------------------------------------------------------------------------------------------


def config_of(protocol: Protocol, epoch: int = 0, **more: Any) -> dict[str, Any]:
    """The configuration that is committed to, as the allocation protocol writes it."""
    scheme = protocol.scheme
    config: dict[str, Any] = {
        "v": 1,
        "trial": protocol.id,
        "scheme": scheme.name,
        "epoch": epoch,
        "method": scheme.method,
        "arms": [[arm.name, arm.ratio] for arm in protocol.arms],
        **scheme.parameters,
        **more,
    }
    if scheme.factors:
        weighted = scheme.method == "minimisation"
        config["factors"] = [
            {"name": f.name, "levels": list(f.levels), **({"weight": f.weight} if weighted else {})} for f in scheme.factors
        ]
    return config


def prepare(unit: Unit, trial: str, *, world: str = "live") -> Scheme:
    """Make the scheme of the protocol: draw its master, seal it, and commit. Gives the one that exists if there is one."""
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.prepare", trial)
    if protocol.scheme.method == "list":
        raise WrongState("The protocol takes its allocation from a list: import it.", code="ALLOC.LIST", needs="allocation import")
    found = _scheme(unit, protocol)
    return found or _make(unit, protocol, config_of(protocol), world)


def _scheme(unit: Unit, protocol: Protocol) -> Scheme | None:
    return unit.session.scalars(
        select(Scheme).where(Scheme.trial_id == protocol.id, Scheme.name == protocol.scheme.name).order_by(Scheme.epoch.desc()).limit(1)
    ).first()


def _make(unit: Unit, protocol: Protocol, config: Mapping[str, Any], world: str) -> Scheme:
    master = unit.entropy(32)
    keys = commitment.Keys(config, master)
    row = Scheme(
        trial_id=protocol.id,
        name=protocol.scheme.name,
        epoch=config["epoch"],
        world=world,
        config=json.dumps(config, sort_keys=True),
        commit=keys.commit.hex(),
        contribution="",
        master_sealed=sealing.seal(unit.keys.allocation, master, _bound(protocol.id, config["epoch"], "master")),
        events=0,
        places=0,
        head=keys.genesis.hex(),
        created_at=unit.now,
        created_by=unit.actor.id,
    )
    unit.add(row)
    unit.record(
        "allocation.commit",
        row,
        trial=protocol.id,
        entity="scheme",
        entity_id=row.name,
        changes=[Change("commit", None, row.commit), Change("world", None, world)],
    )
    unit.session.flush()
    return row


def _bound(trial: str, epoch: int, *what: str | int) -> str:
    """What a sealed value of a scheme is bound to."""
    return "|".join(str(part) for part in ("v1", trial, epoch, *what))


def _keys(unit: Unit, scheme: Scheme) -> commitment.Keys:
    def open_master() -> commitment.Keys:
        master = sealing.unseal(unit.keys.allocation, scheme.master_sealed, _bound(scheme.trial_id, scheme.epoch, "master"))
        return commitment.Keys(json.loads(scheme.config), master, bytes.fromhex(scheme.contribution))

    return remember(unit, ("scheme keys", scheme.trial_id, scheme.name, scheme.epoch), open_master)


# --- an imported list ------------------------------------------------------------------------------------------------


def import_list(unit: Unit, trial: str, text: str) -> Scheme:
    """Seal a list made elsewhere: CSV with columns `number` (from 1 within the stratum), `arm`, and one for each factor.

    Raises Invalid with one detail for each row that does not fit; nothing is kept then.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.prepare", trial)
    if protocol.scheme.method != "list":
        raise WrongState(f"The protocol allocates by {protocol.scheme.method}, not by a list.", code="ALLOC.LIST")
    if _scheme(unit, protocol) is not None:
        raise Conflict("There is an allocation list already.", code="ALLOC.ALREADY")
    slots = _read_list(protocol, text)
    return seal_list(unit, protocol, slots, hashlib.sha256(text.encode()).hexdigest())


def seal_list(unit: Unit, protocol: Protocol, slots: Sequence[tuple[str, str]], sha256: str, *, world: str = "live") -> Scheme:
    """Keep the places of a list as (stratum, arm) in order, each sealed with a nonce of its own and bound to its place."""
    scheme = _make(unit, protocol, config_of(protocol, list_sha256=sha256, slots=len(slots)), world)
    longest = max(len(arm.name.encode()) for arm in protocol.arms)
    counts: Counter[str] = Counter()
    for stratum, arm in slots:
        slot = counts[stratum]
        counts[stratum] += 1
        bound = _bound(protocol.id, scheme.epoch, "slot", stratum, slot)
        sealed = sealing.seal(unit.keys.allocation, arm.encode().ljust(longest), bound)
        row = ListSlot(trial_id=protocol.id, scheme=scheme.name, epoch=scheme.epoch, stratum=stratum, slot=slot, arm_sealed=sealed)
        unit.add(row)
        unit.covered(row)
    unit.session.flush()
    return scheme


def _read_list(protocol: Protocol, text: str) -> list[tuple[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    factors = [factor.name for factor in protocol.scheme.factors]
    wanted = ["number", "arm", *factors]
    if sorted(reader.fieldnames or []) != sorted(wanted):
        raise Invalid(f"The list must have exactly the columns {', '.join(wanted)}.", code="ALLOC.LIST_HEADER")
    levels = {factor.name: set(factor.levels) for factor in protocol.scheme.factors}
    arms = {arm.name for arm in protocol.arms}
    slots: list[tuple[str, str]] = []
    wrong: list[Detail] = []
    counts: Counter[str] = Counter()
    for line, row in enumerate(reader, 2):
        stratum = schemes.stratum_label(row[name] or "" for name in factors) or _LIST_STRATUM
        counts[stratum] += 1
        for name in factors:
            if row[name] not in levels[name]:
                wrong.append(Detail("ALLOC.LEVEL", f"'{row[name]}' is not a level of {name}", f"row {line}"))
        if row["arm"] not in arms:
            wrong.append(Detail("ALLOC.ARM", "this is not the name of an arm", f"row {line}"))
        if row["number"] != str(counts[stratum]):
            wrong.append(Detail("ALLOC.ORDER", f"number {counts[stratum]} is expected here, not '{row['number']}'", f"row {line}"))
        slots.append((stratum, row["arm"] or ""))
    if not slots:
        raise Invalid("The list is empty.", code="ALLOC.LIST_EMPTY")
    if wrong:
        raise Invalid(f"{len(wrong)} place(s) of the list do not fit; nothing was kept.", code="ALLOC.LIST", details=wrong)
    return slots


# --- randomising -----------------------------------------------------------------------------------------------------


def randomise(unit: Unit, trial: str, participant: str, key: str) -> tuple[Allocated, bool]:
    """Randomise one participant once; gives the allocation as the caller may see it, and whether it is new.

    The same key gives the same answer again, whoever sends it. Raises Refused with every reason of the gate, and Conflict
    where the key was used for somebody else or the participant is randomised already.
    """
    protocol = studies.protocol(unit, trial)
    person = participants.find(unit, trial, participant, "participant.randomise")
    if not key or len(key) > 200:
        raise Invalid("Randomising needs an idempotency key of 1 to 200 characters.", code="ALLOC.KEY_NEEDED")
    approvals.lock(unit, trial, shared=True)
    scheme = _locked(unit, protocol)
    earlier = unit.session.scalars(
        select(Idempotency).where(Idempotency.trial_id == trial, Idempotency.route == ROUTE, Idempotency.key == key).limit(1)
    ).first()
    if earlier is not None and earlier.subject != person.id:
        raise Conflict("This key was used to randomise another participant.", code="ALLOC.KEY_USED", needs="A new key.")
    existing = unit.session.get(Allocation, (trial, protocol.scheme.name, person.id))
    if earlier is not None and existing is not None:
        return _as_seen(unit, protocol, existing, person.site), False
    if existing is not None:
        seen = _as_seen(unit, protocol, existing, person.site)
        raise Conflict(
            f"Participant {person.id} was randomised already, as {existing.number}.",
            code="ALLOC.ALREADY",
            needs="Nothing: one participant is randomised once.",
            details=[Detail("ALLOC.ALREADY", json.dumps(seen.to_json()), person.id)],
        )
    book = casebooks.read(unit, trial, person)
    answer = approvals.ask(unit, trial, "randomise", site=person.site, participant=participants.readiness(unit, protocol, book))
    answer.require()
    return _allocate(unit, protocol, scheme, person, participants.levels(protocol, book), key, answer.to_json()), True


def record_historical(unit: Unit, protocol: Protocol, person: Participant) -> None:
    """The allocation of a participant of a finished trial: the next place of its list."""
    _allocate(unit, protocol, _locked(unit, protocol), person, {}, f"history-{person.id}", {"historical": True})


def _locked(unit: Unit, protocol: Protocol) -> Scheme:
    """The scheme's row, held until the end: nobody else allocates meanwhile."""
    row = unit.session.scalars(
        select(Scheme)
        .where(Scheme.trial_id == protocol.id, Scheme.name == protocol.scheme.name)
        .order_by(Scheme.epoch.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()
    if row is None:
        raise WrongState("The allocation has not been prepared.", code="ALLOC.NOT_PREPARED", needs="The trial manager prepares it.")
    return row


def _allocate(
    unit: Unit,
    protocol: Protocol,
    scheme: Scheme,
    person: Participant,
    levels: Mapping[str, str],
    key: str,
    gate: Mapping[str, Any],
) -> Allocated:
    trial, keys = protocol.id, _keys(unit, scheme)
    head = Head(scheme.events, bytes.fromhex(scheme.head), scheme.places)
    listed = scheme_method(scheme) == "list"
    stratum = schemes.stratum_of(keys.config, tuple(levels.values())) or _LIST_STRATUM
    slot = _next_slot(unit, scheme, stratum)
    if listed:
        arm = _from_list(unit, scheme, stratum, slot)
    else:
        state = _margins(unit, scheme, keys) if scheme_method(scheme) == "minimisation" else None
        arm = schemes.fake_arms(keys.config)[schemes.allocate(keys, head.places, slot, tuple(levels.values()), state)]
    at = unit.now.isoformat(timespec="microseconds")
    event = ledger.placing_event(
        keys,
        head,
        kind="external" if listed else "allocated",
        stratum=stratum,
        levels=levels,
        participant=person.id,
        at=at,
        arm=arm,
    )
    after = ledger.append(head, event)
    site_no = _next_at_site(unit, protocol, person.site)
    number = f"{person.site}-{site_no:04d}"
    row = Allocation(
        trial_id=trial,
        scheme=scheme.name,
        participant_id=person.id,
        epoch=scheme.epoch,
        event=event["i"],
        kind=event["kind"],
        seq=head.places,
        stratum=stratum,
        slot=slot,
        levels=json.dumps(dict(levels)),
        site=person.site,
        site_no=site_no,
        number=number,
        arm_sealed=_seal_arm(unit, protocol, scheme.epoch, person.id, arm),
        at=unit.now,
        by=unit.actor.id,
        gate=json.dumps(gate),
    )
    entry = SchemeEvent(
        trial_id=trial,
        scheme=scheme.name,
        epoch=scheme.epoch,
        i=event["i"],
        data=commitment.canonical(event).decode(),
        hash=after.hash.hex(),
    )
    answered = Idempotency(trial_id=trial, route=ROUTE, account_id=unit.actor.id, key=key, subject=person.id, created_at=unit.now)
    unit.add(row, entry, answered)
    scheme.events, scheme.places, scheme.head = after.events, after.places, after.hash.hex()
    unit.record(
        "participant.randomise",
        scheme,
        row,
        entry,
        trial=trial,
        entity="participant",
        entity_id=person.id,
        changes=[Change("number", None, number), Change("arm", None, arm, "unblinded")],
        site=person.site,
    )
    unit.session.flush()
    if not protocol.historical:
        studies.move(unit, trial, "participant", person.id, "randomise", gate=gate, site=person.site)
    _write_record(unit, protocol, person, row, levels)
    book = casebooks.read(unit, trial, person)
    book.allocated_at = unit.now
    return _as_seen(unit, protocol, row, person.site)


def scheme_method(scheme: Scheme) -> str:
    """The method that the scheme was committed with."""
    return str(json.loads(scheme.config)["method"])


def _next_slot(unit: Unit, scheme: Scheme, stratum: str) -> int:
    last = unit.session.scalar(
        select(func.max(Allocation.slot)).where(
            Allocation.trial_id == scheme.trial_id,
            Allocation.scheme == scheme.name,
            Allocation.epoch == scheme.epoch,
            Allocation.stratum == stratum,
        )
    )
    return 0 if last is None else last + 1


def _from_list(unit: Unit, scheme: Scheme, stratum: str, slot: int) -> str:
    row = unit.session.get(ListSlot, (scheme.trial_id, scheme.name, scheme.epoch, stratum, slot))
    if row is None:
        raise WrongState(
            f"The allocation list has no place left in stratum '{stratum}'.",
            code="ALLOC.EXHAUSTED",
            needs="A longer list, as an amendment.",
        )
    bound = _bound(scheme.trial_id, scheme.epoch, "slot", stratum, slot)
    return sealing.unseal(unit.keys.allocation, row.arm_sealed, bound).decode().rstrip()


#: Margins of minimised schemes as they stood after some committed event: (events, hash, places, margins).
_COUNTED: dict[tuple[str, str, str, int], tuple[int, str, int, Margins]] = {}


def _margins(unit: Unit, scheme: Scheme, keys: commitment.Keys) -> Margins:
    """The margins after all events so far: what is already counted is used again where the chain still holds its hash."""
    where = (str(unit.session.get_bind().engine.url), scheme.trial_id, scheme.name, scheme.epoch)
    arms = schemes.fake_arms(keys.config)
    events, reached, places, counted = _COUNTED.get(where, (0, "", 0, Margins(len(arms))))
    if events and not _chain_holds(unit, scheme, events, reached):
        places, counted = 0, Margins(len(arms))
    rows = unit.session.scalars(
        select(Allocation)
        .where(
            Allocation.trial_id == scheme.trial_id,
            Allocation.scheme == scheme.name,
            Allocation.epoch == scheme.epoch,
            Allocation.seq >= places,
        )
        .order_by(Allocation.seq)
    )
    counted = Margins(counted.arms, {place: list(counts) for place, counts in counted.counts.items()})
    for row in rows:
        arm = _unseal_arm(unit, row)
        fake = arms.index(arm) if arms.count(arm) == 1 else _fake_arm_again(keys, counted, row)
        counted.add(tuple(json.loads(row.levels).values()), fake)
    _COUNTED[where] = (scheme.events, scheme.head, scheme.places, counted)
    return counted


def _chain_holds(unit: Unit, scheme: Scheme, events: int, reached: str) -> bool:
    row = unit.session.get(SchemeEvent, (scheme.trial_id, scheme.name, scheme.epoch, events))
    return row is not None and row.hash == reached


def _fake_arm_again(keys: commitment.Keys, counted: Margins, row: Allocation) -> int:
    """Which of the equal fake arms of an arm was drawn: the same draw once more, from the history up to here."""
    return schemes.minimise(keys, counted, row.seq, tuple(json.loads(row.levels).values()))


def _next_at_site(unit: Unit, protocol: Protocol, site: str) -> int:
    last = unit.session.scalar(
        select(func.max(Allocation.site_no)).where(
            Allocation.trial_id == protocol.id, Allocation.scheme == protocol.scheme.name, Allocation.site == site
        )
    )
    return (last or 0) + 1


def _seal_arm(unit: Unit, protocol: Protocol, epoch: int, participant: str, arm: str) -> bytes:
    longest = max(len(a.name.encode()) for a in protocol.arms)
    return sealing.seal(unit.keys.allocation, arm.encode().ljust(longest), _bound(protocol.id, epoch, "arm", participant))


def _unseal_arm(unit: Unit, row: Allocation) -> str:
    bound = _bound(row.trial_id, row.epoch, "arm", row.participant_id)
    return sealing.unseal(unit.keys.allocation, row.arm_sealed, bound).decode().rstrip()


def _as_seen(unit: Unit, protocol: Protocol, row: Allocation, site: str) -> Allocated:
    arm = None
    if unit.sees_allocations(protocol.id, site):
        arm = _unseal_arm(unit, row)
    return Allocated(row.participant_id, row.number, row.at.isoformat(timespec="seconds"), arm)


def _write_record(unit: Unit, protocol: Protocol, person: Participant, row: Allocation, levels: Mapping[str, str]) -> None:
    """The allocation record in the casebook, without the arm."""
    form = next((f for f in protocol.forms if f.kind == "system" and any(i.system == "rand_arm" for i in f.items)), None)
    if form is None:
        return
    visit = next(iter(form.visits))
    local = row.at.astimezone(LONDON).replace(tzinfo=None).isoformat(timespec="minutes")
    given = {"rand_no": row.number, "rand_dtm": local, "rand_by": unit.actor.name, "rand_method": METHOD_VERSION}
    answers: dict[str, Any] = {}
    for item in form.items:
        if item.system in given:
            answers[item.name] = given[item.system]
        elif item.system.startswith("factor."):
            answers[item.name] = int(levels[item.system.removeprefix("factor.")])
    instance = FormInstance(
        trial_id=protocol.id,
        id=hashlib.sha256(f"{protocol.id}|{person.id}|{form.code}".encode()).hexdigest()[:32],
        participant_id=person.id,
        visit=visit,
        form=form.code,
        row=1,
        status=lifecycle.move("form", "blank", "finish"),
        seq=1,
        restricted=int(form.restricted),
    )
    unit.add(instance)
    unit.session.flush()
    data = json.dumps({"answers": answers, "missing": {}}, separators=(",", ":"))
    version = FormVersion(
        trial_id=protocol.id,
        instance_id=instance.id,
        seq=1,
        definition_seq=studies.definition(unit, protocol.id).seq,
        status=instance.status,
        data=data,
        saved_at=unit.now,
        saved_by=unit.actor.id,
        reason_code="",
        reason_text="",
        confirmed="",
    )
    unit.add(version)
    unit.record(
        "form.finish",
        instance,
        version,
        trial=protocol.id,
        entity="form",
        entity_id=instance.id,
        changes=[Change(name, None, value, "unblinded") for name, value in answers.items()],
        site=person.site,
    )
    book = casebooks.read(unit, protocol.id, person)
    book.forms[(visit, form.code, 1)] = casebooks.Stored(instance, data, unit.actor.id, unit.now)


# --- reading ---------------------------------------------------------------------------------------------------------


def arm_of(unit: Unit, protocol: Protocol, participant: str) -> int | None:
    """The arm's code, for rules of restricted forms and for readers whose right has been checked."""
    row = unit.session.get(Allocation, (protocol.id, protocol.scheme.name, participant))
    if row is None:
        return None
    name = _unseal_arm(unit, row)
    return next(arm.code for arm in protocol.arms if arm.name == name)


def shown(unit: Unit, protocol: Protocol, person: Participant) -> Allocated | None:
    """The allocation of a participant as the reader may see it."""
    row = unit.session.get(Allocation, (protocol.id, protocol.scheme.name, person.id))
    return _as_seen(unit, protocol, row, person.site) if row else None


def all_arms(unit: Unit, protocol: Protocol) -> dict[str, int]:
    """The arm's code of every randomised participant; the caller has checked the right to it."""
    codes = {arm.name: arm.code for arm in protocol.arms}
    rows = unit.session.scalars(select(Allocation).where(Allocation.trial_id == protocol.id, Allocation.scheme == protocol.scheme.name))
    return {row.participant_id: codes[_unseal_arm(unit, row)] for row in rows}


def status(unit: Unit, trial: str) -> dict[str, Any]:
    """What may be known of the scheme by everybody: method, commitment, how many places are taken. No arm, no count by arm."""
    protocol = studies.protocol(unit, trial)
    scheme = _scheme(unit, protocol)
    if scheme is None:
        raise Missing("The allocation has not been prepared.", code="ALLOC.NOT_PREPARED")
    return {
        "trial": trial,
        "scheme": scheme.name,
        "epoch": scheme.epoch,
        "world": scheme.world,
        "commit": scheme.commit,
        "contribution": scheme.contribution,
        "events": scheme.events,
        "head": scheme.head,
    }


def verify_chain(unit: Unit, trial: str) -> int:
    """Check that the stored events lead to the stored head; gives their number. Raises Broken."""
    protocol = studies.protocol(unit, trial)
    scheme = _scheme(unit, protocol)
    if scheme is None:
        return 0
    rows = unit.session.scalars(
        select(SchemeEvent)
        .where(SchemeEvent.trial_id == trial, SchemeEvent.scheme == scheme.name, SchemeEvent.epoch == scheme.epoch)
        .order_by(SchemeEvent.i)
    )
    events = [json.loads(row.data) for row in rows]
    if not ledger.verify_chain(_keys(unit, scheme), events, bytes.fromhex(scheme.head)):
        raise Broken(f"The allocation events of {trial} do not lead to their head.", code="ALLOC.CHAIN")
    return len(events)
