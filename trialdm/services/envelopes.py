"""Envelopes for a time when the system is away: a small sealed block list for each site, and what became of each envelope.

Opening one is a fact that happened: it is always recorded, as an `external` event that later allocations count, and whatever
was irregular about it becomes a deviation. Each envelope is accounted for once, which the database itself enforces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import ethics, lifecycle
from trialdm.domain.errors import Conflict, Detail, Invalid, Missing, Unanswered, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.randomisation import ledger
from trialdm.domain.randomisation.blocks import Blocks
from trialdm.domain.randomisation.commitment import Keys
from trialdm.domain.randomisation.schemes import fake_arms
from trialdm.domain.roles import sites_seen
from trialdm.services import (
    allocations,
    casebooks,
    chains,
    deviations,
    gates,
    holds,
    notices,
    participants,
    register,
    schemes,
    studies,
)
from trialdm.services.allocations import Allocated
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store import keys as sealing
from trialdm.store.tables import Allocation, Envelope, EnvelopeUse, Participant, Scheme

_MOST = 100


@dataclass(frozen=True)
class Printed:
    """One envelope as it goes to print: its number, and what is inside."""

    site: str
    number: int
    arm: str
    label: str


@dataclass(frozen=True)
class Account:
    """What became of one envelope, without its content. `fault` says what is wrong with the order, in words.

    `in_order` is false where an earlier one had not been accounted for when this one was entered.
    """

    site: str
    number: int
    state: str
    printed_at: datetime
    participant: str = ""
    opened_at: datetime | None = None
    entered_at: datetime | None = None
    note: str = ""
    in_order: bool = True
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(self).items()}


def prepare(unit: Unit, trial: str, site: str, count: int) -> list[Printed]:
    """Make the next envelopes of a site, to be printed, sealed and kept there. Their order follows blocks of hidden sizes.

    Only the unblinded statistician makes them, and sees inside. Raises Invalid for a number that makes no sense.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.envelopes", trial)
    protocol.site(site)
    definition = protocol.scheme
    if definition.unit != "participant":
        raise WrongState("Where sites are allocated there are no envelopes.", code="ALLOC.UNIT", needs="Nothing.")
    if not 1 <= count <= _MOST:
        raise Invalid(f"A site gets 1 to {_MOST} envelopes at a time.", code="ALLOC.ENVELOPES")
    config = {"method": "pbr", "arms": [[arm.name, arm.ratio] for arm in definition.arms], "sizes": list(definition.fallback_sizes)}
    blocks, names = Blocks(Keys(config, unit.entropy(32)), site), fake_arms(config)
    scheme = schemes.held(unit, schemes.needed(unit, protocol))
    if schemes.state(unit, scheme) not in ("live", "paused"):
        raise WrongState("The scheme is not in use yet.", code="ALLOC.NOT_SIGNED", needs="Its specification signed by a second person.")
    first = (unit.session.scalar(select(func.max(Envelope.number)).where(Envelope.trial_id == trial, Envelope.site == site)) or 0) + 1
    longest = max(len(name.encode()) for name in names)
    made: list[Printed] = []
    for place in range(count):
        number, arm = first + place, names[blocks.arm(place)]
        row = Envelope(
            trial_id=trial,
            site=site,
            number=number,
            scheme=definition.name,
            arm_sealed=sealing.seal(unit.keys.allocation, arm.encode().ljust(longest), _bound(trial, site, number)),
            printed_at=unit.now,
            printed_by=unit.actor.id,
        )
        unit.add(row)
        unit.covered(row)
        made.append(Printed(site, number, arm, protocol.arm_named(arm).label))
    unit.record(
        "allocation.envelopes",
        trial=trial,
        entity="site",
        entity_id=site,
        changes=[Change("envelopes", None, f"{first} to {first + count - 1}")],
        site=site,
    )
    unit.session.flush()
    return made


def _bound(trial: str, site: str, number: int) -> str:
    return f"v1|{trial}|envelope|{site}|{number}"


# --- reconciling -----------------------------------------------------------------------------------------------------


def reconcile(
    unit: Unit, trial: str, site: str, number: int, participant: str, opened_at: datetime, *, confirmed: bool = False
) -> Allocated:
    """Enter an envelope that was opened for a participant while the system was away. The same again gives the same answer.

    Raises Missing for an envelope that was never printed, Conflict for one that is accounted for or a participant who is
    randomised already, Invalid for a time that cannot be or answers that the allocation needs, and Unanswered where an earlier
    envelope of the site has not been accounted for and nobody confirmed that it is still sealed.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.reconcile", trial, site)
    person = participants.find(unit, trial, participant, "allocation.reconcile")
    if person.enrolled_site != site:
        raise Conflict(
            f"Participant {person.id} belongs to site {person.enrolled_site}.", code="ALLOC.ENVELOPE_SITE", needs="The right envelope."
        )
    schemes.locked(unit, protocol, protocol.scheme.name)
    register.lock(unit, trial, shared=True)
    entered = _entered(unit, protocol, person, number, opened_at)
    if entered is not None:
        return entered
    envelope = _unused(unit, trial, site, number)
    _possible(unit, envelope, opened_at)
    existing = unit.session.get(Allocation, (trial, protocol.scheme.name, person.id))
    if existing is not None:
        raise Conflict(
            f"Participant {person.id} was randomised already, as {existing.number}.",
            code="ALLOC.ALREADY",
            needs="If this envelope was opened as well, enter it as spoilt and say so.",
        )
    earlier = _open_before(unit, envelope)
    if earlier and not confirmed:
        raise Unanswered(
            f"Envelope {earlier[0]} of site {site} comes before this one and has not been accounted for.",
            details=[Detail("ALLOC.ENVELOPE_ORDER", f"Envelope {n} has not been accounted for", str(n), severity="soft") for n in earlier],
            needs="Enter the earlier ones first, as used or spoilt; or confirm that they are still sealed.",
        )
    book = casebooks.hold(unit, person)
    lacking = participants.readiness(unit, protocol, book).factors_missing
    if lacking:
        raise Invalid(
            f"The allocation needs answers to: {', '.join(lacking)}.",
            code="ALLOC.LEVEL",
            needs="Complete these forms, then enter the envelope.",
        )
    return _place(unit, protocol, envelope, person, book, opened_at, in_order=not earlier)


def _entered(unit: Unit, protocol: Protocol, person: Participant, number: int, opened_at: datetime) -> Allocated | None:
    """The allocation by this envelope, where it was entered before for this participant with the same time."""
    use = unit.session.get(EnvelopeUse, (protocol.id, person.enrolled_site, number))
    made = unit.session.get(Allocation, (protocol.id, protocol.scheme.name, person.id))
    if use is None or made is None or (use.what, use.participant_id, use.opened_at) != ("used", person.id, opened_at):
        return None
    arm = chains.unseal_arm(unit, made) if unit.sees_allocations(protocol.id, person.site) else None
    return Allocated(person.id, made.number, made.at.isoformat(timespec="seconds"), arm)


def _unused(unit: Unit, trial: str, site: str, number: int) -> Envelope:
    envelope = unit.session.get(Envelope, (trial, site, number))
    if envelope is None:
        raise Missing(f"Site {site} has no envelope {number}.", code="ALLOC.NO_ENVELOPE", needs="The number printed on the envelope.")
    used = unit.session.get(EnvelopeUse, (trial, site, number))
    if used is not None:
        whom = f" for participant {used.participant_id}" if used.participant_id else ""
        when = f"{used.opened_at.astimezone(LONDON):%d %B %Y %H:%M}"
        raise Conflict(
            f"Envelope {number} of site {site} was entered before, as {used.what}{whom}, {when}.",
            code="ALLOC.ENVELOPE_USED",
            needs="Look at the number on the envelope again; an envelope is used once.",
        )
    return envelope


def _possible(unit: Unit, envelope: Envelope, opened_at: datetime) -> None:
    if not envelope.printed_at <= opened_at <= unit.now:
        raise Invalid(
            "The envelope cannot have been opened at this time.",
            code="ALLOC.ENVELOPE_TIME",
            needs=f"A time from {envelope.printed_at.astimezone(LONDON):%d %B %Y %H:%M} until now.",
        )


def _open_before(unit: Unit, envelope: Envelope) -> list[int]:
    """Lower numbers of the site that have not been accounted for."""
    numbers = unit.session.scalars(
        select(Envelope.number).where(
            Envelope.trial_id == envelope.trial_id, Envelope.site == envelope.site, Envelope.number < envelope.number
        )
    )
    done = set(
        unit.session.scalars(select(EnvelopeUse.number).where(EnvelopeUse.trial_id == envelope.trial_id, EnvelopeUse.site == envelope.site))
    )
    return sorted(set(numbers) - done)


def _place(
    unit: Unit,
    protocol: Protocol,
    envelope: Envelope,
    person: Participant,
    book: Casebook,
    opened_at: datetime,
    *,
    in_order: bool,
) -> Allocated:
    trial, site = protocol.id, person.enrolled_site
    arm = sealing.unseal(unit.keys.allocation, envelope.arm_sealed, _bound(trial, site, envelope.number)).decode().rstrip()
    row = _epoch_with(unit, protocol, arm)
    asked = gates.case(unit, trial, "randomise", site=site, participant=participants.readiness(unit, protocol, book))
    answer = ethics.gate(asked)
    levels = participants.levels(protocol, book, protocol.scheme)
    known = ledger.levels_of(schemes.config(row), levels)
    if known is None:
        raise Invalid("The factors are not those of the scheme in use.", code="ALLOC.LEVEL", needs="The amended scheme signed.")
    placed = chains.running(unit, row).allocator.placed_elsewhere(known, arm)
    made = allocations.place(
        unit,
        protocol,
        protocol.scheme,
        row,
        placed,
        kind="external",
        at=chains.moment(unit, row),
        arm=arm,
        subject=person.id,
        site=site,
        levels=levels,
        key=f"envelope-{site}-{envelope.number}",
        gate=gates.kept(unit, asked, answer),
        envelope=f"{site}-{envelope.number}",
        opened_at=opened_at.isoformat(timespec="seconds"),
    )
    _use(unit, envelope, "used", person.id, opened_at, in_order=in_order, note="")
    state = participants.state(unit, trial, person)
    event = "randomise" if lifecycle.may("participant", state, "randomise") else "record-randomisation"
    studies.move(unit, trial, "participant", person.id, event, gate=gates.kept(unit, asked, answer), site=site)
    allocations.write_record(unit, protocol, person, made.number, levels, opened_at)
    book.allocated_at = unit.now
    irregular = [f"{reason.message}" for reason in answer.reasons if reason.severity == "block"]
    held = holds.over(unit, trial, person)
    if held is not None:
        irregular.append(f"{held.words} since {held.at:%-d %B %Y}: the envelope was entered all the same.")
    if not in_order:
        irregular.append(f"Envelope {envelope.number} was opened while an earlier one was still sealed.")
    for number, words in enumerate(irregular, 1):
        where = f"ALLOC-04.{number} at envelope {site}-{envelope.number}"
        deviations.open_one(unit, protocol, book, 3, where, words, opened_at.astimezone(LONDON).date())
    if not in_order:
        _tell(unit, trial, site, f"Envelope {envelope.number} of site {site} was opened out of order")
    notices.announce(unit, protocol, person)
    return Allocated(person.id, made.number, made.at.isoformat(timespec="seconds"), arm if unit.sees_allocations(trial, site) else None)


def _epoch_with(unit: Unit, protocol: Protocol, arm: str) -> Scheme:
    """The newest epoch in use that has this arm: an envelope of an arm that was dropped since belongs to the one before."""
    rows = [
        row
        for row in schemes.epochs(unit, protocol.id, protocol.scheme.name)
        if schemes.state(unit, row) not in schemes.PENDING and arm in [code for code, _ in schemes.config(row)["arms"]]
    ]
    return schemes.held(unit, rows[-1])


def spoil(unit: Unit, trial: str, site: str, number: int, opened_at: datetime, note: str) -> None:
    """Account for an envelope that was opened for nobody in the trial, damaged or lost. Its place is not used again."""
    studies.protocol(unit, trial)
    unit.require("allocation.reconcile", trial, site)
    envelope = _unused(unit, trial, site, number)
    _possible(unit, envelope, opened_at)
    if len(note.strip()) < 10:
        raise Invalid("Say what happened to the envelope, in a sentence.", code="ALLOC.REASON", needs="At least ten characters.")
    _use(unit, envelope, "spoilt", "", opened_at, in_order=not _open_before(unit, envelope), note=note.strip())
    _tell(unit, trial, site, f"Envelope {number} of site {site} was entered as spoilt")


def _use(unit: Unit, envelope: Envelope, what: str, participant: str, opened_at: datetime, *, in_order: bool, note: str) -> None:
    row = EnvelopeUse(
        trial_id=envelope.trial_id,
        site=envelope.site,
        number=envelope.number,
        what=what,
        participant_id=participant,
        opened_at=opened_at,
        in_order=int(in_order),
        note=note,
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(row)
    unit.record(
        "allocation.envelope",
        row,
        trial=envelope.trial_id,
        entity="site",
        entity_id=envelope.site,
        changes=[Change(f"envelope_{envelope.number}", None, what), Change("participant", None, participant or None)],
        reason_text=note,
        site=envelope.site,
    )
    unit.session.flush()


def _tell(unit: Unit, trial: str, site: str, subject: str) -> None:
    people = notices.holders(unit, trial, ("trial-manager", "statistician-unblinded"), site)
    notices.tell(unit, trial, people, "envelope", subject, f"{subject}. The account of envelopes shows when, and who entered it.")


# --- the account -----------------------------------------------------------------------------------------------------


def account(unit: Unit, trial: str) -> list[Account]:
    """What became of every envelope at the sites that the person works for, with whatever is wrong with the order."""
    studies.protocol(unit, trial)
    makes = unit.may("allocation.envelopes", trial) and not unit.may("allocation.reconcile", trial)
    action = "allocation.envelopes" if makes else "allocation.reconcile"
    unit.require(action, trial)
    sites = sites_seen(unit.actor.grants, action, trial)
    return [entry for entry in everything(unit, trial) if sites is None or entry.site in sites]


def everything(unit: Unit, trial: str) -> list[Account]:
    """What became of every envelope of a trial; the caller has checked the right to it."""
    envelopes = unit.session.scalars(select(Envelope).where(Envelope.trial_id == trial).order_by(Envelope.site, Envelope.number))
    uses = {(use.site, use.number): use for use in unit.session.scalars(select(EnvelopeUse).where(EnvelopeUse.trial_id == trial))}
    found = [_account(envelope, uses.get((envelope.site, envelope.number))) for envelope in envelopes]
    return [_with_fault(entry, found) for entry in found]


def _account(envelope: Envelope, use: EnvelopeUse | None) -> Account:
    if use is None:
        return Account(envelope.site, envelope.number, "sealed", envelope.printed_at)
    return Account(
        envelope.site,
        envelope.number,
        use.what,
        envelope.printed_at,
        use.participant_id,
        use.opened_at,
        use.at,
        use.note,
        bool(use.in_order),
    )


def _with_fault(entry: Account, everything: Sequence[Account]) -> Account:
    """Opened before an envelope with a lower number, or while one was sealed: both break the order.

    Times are told to the minute: of two opened in one minute the entry that was out of order is taken to be the first.
    """
    if entry.opened_at is None:
        return entry
    minute = _minute(entry.opened_at)
    lower = [other for other in everything if other.site == entry.site and other.number < entry.number]
    sealed = [str(other.number) for other in lower if other.opened_at is None]
    late = [str(other.number) for other in lower if other.opened_at is not None and other.opened_at > entry.opened_at]
    words = [f"{', '.join(sealed)} still sealed"] if sealed else []
    words += [f"opened before {', '.join(late)}"] if late else []
    if not entry.in_order:
        timed = [(str(other.number), other.opened_at) for other in lower if other.opened_at is not None]
        same = [number for number, at in timed if number not in late and _minute(at) == minute]
        words += [f"opened in the same minute as {', '.join(same)}"] if same else []
    return Account(**{**vars(entry), "fault": "; ".join(words)})


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def to_json(found: Sequence[Account]) -> dict[str, Any]:
    """The account as one document: every envelope, and whether the order held."""
    return {"in_order": not any(entry.fault for entry in found), "envelopes": [entry.to_json() for entry in found]}
