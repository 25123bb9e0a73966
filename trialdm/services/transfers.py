"""Moving a participant to another site: from then on its staff look after them, and only its staff see them.

Nobody moves out of what is frozen or locked, or into it: a hold of a site covers whoever is there. Nothing of the allocation, of
the number or of the keys of an export changes: they stand on the site that enrolled the participant.
"""

from datetime import date

from sqlalchemy import func, select

from trialdm.domain import lifecycle
from trialdm.domain.errors import Conflict, Invalid, WrongState
from trialdm.domain.protocol import Protocol, Site
from trialdm.services import holds, notices, participants, register, studies
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store.tables import FormInstance, FormVersion, Participant, Status, Transfer

#: States of a participant in which there is something left for another site to do. Before randomisation the other site enrols them.
_MOVABLE = ("randomised", "operated", "not_operated", "follow_up", "lost")

_MOST = 300


def transfer(unit: Unit, trial: str, participant: str, site: str, day: date, reason: str) -> Participant:
    """Record that a participant moved to another site on a day, and tell the principal investigators of both.

    Raises Forbidden; WrongState unless the participant is randomised and not at an end, the trial running, nothing held on either
    side, the site open, and its version of the protocol no older than the answers; Conflict where they are there already; Invalid
    for a day that cannot be, or no reason.
    """
    protocol = studies.protocol(unit, trial)
    person = participants.find(unit, trial, participant, "participant.transfer")
    unit.attempt(trial, "participant.transfer", site=person.site)
    register.lock(unit, trial)
    unit.session.refresh(person, ["site"])
    protocol.site(site)
    before = person.site
    if site == before:
        raise Conflict(f"Participant {person.id} is at site {site} already.", code="TRANSFER.ALREADY", needs="Another site, or nothing.")
    problem = hindrance(unit, protocol, person)
    if problem is not None:
        raise problem
    _receives(unit, protocol, person, site)
    words = _reason(reason)
    _possible(unit, person, day)
    row = Transfer(
        trial_id=trial,
        participant_id=person.id,
        seq=len(participants.transfers(unit, person)) + 1,
        site=site,
        day=day,
        reason=words,
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(row)
    for place in (before, site):
        unit.record(
            "participant.transfer",
            row,
            trial=trial,
            entity="participant",
            entity_id=person.id,
            changes=[Change("site", before, site), Change("transferred_on", None, day.isoformat())] if place == site else (),
            reason_text=words,
            site=place,
        )
    unit.session.flush()
    unit.session.refresh(person, ["site"])
    unit.remembered.clear()
    _tell(unit, person, before, site, day)
    return person


def may_receive(unit: Unit, protocol: Protocol, person: Participant) -> list[Site]:
    """Sites to which a participant could be transferred now."""
    states, newest = studies.states(unit, protocol.id, "site"), _entered_under(unit, person)
    others = [site for site in protocol.sites if site.code != person.site and states.get(site.code) == "open"]
    free = [site for site in others if holds.over_site(unit, protocol.id, site.code) is None]
    return [site for site in free if studies.definition_at(unit, protocol.id, site.code).seq >= newest]


def waits(unit: Unit, protocol: Protocol, person: Participant) -> bool:
    """Whether the actor could transfer this participant now."""
    return unit.may("participant.transfer", protocol.id, person.site) and hindrance(unit, protocol, person) is None


def hindrance(unit: Unit, protocol: Protocol, person: Participant) -> WrongState | None:
    """Why a participant is not transferred now, whichever the other site; None where nothing stands against it."""
    state = participants.state(unit, protocol.id, person)
    if protocol.historical or state not in _MOVABLE:
        return WrongState(
            f"Participant {person.id} is {lifecycle.label(state)}: nothing is transferred.",
            code="STATE.PARTICIPANT",
            needs="A randomised participant of a running trial. Before that, they are added at the other site, and consent there.",
        )
    found = studies.state(unit, protocol.id)
    if found not in lifecycle.RECORDING:
        return WrongState(
            f"The trial is {lifecycle.label(found)}: nothing is transferred.", code="STATE.TRIAL", needs="The trial open or in follow-up."
        )
    return holds.against_change(holds.over(unit, protocol.id, person))


def _receives(unit: Unit, protocol: Protocol, person: Participant, site: str) -> None:
    """Raises WrongState unless the site is open, not held, and can hold what was entered."""
    found = studies.state(unit, protocol.id, "site", site)
    if found != "open":
        raise WrongState(f"Site {site} is {lifecycle.label(found)}: it receives nobody.", code="STATE.SITE", needs=f"Site {site} open.")
    holds.require_site_free(unit, protocol.id, site)
    newest, there = _entered_under(unit, person), studies.definition_at(unit, protocol.id, site)
    if newest > there.seq:
        version = next(row.version for row in studies.loaded(unit, protocol.id) if row.seq == newest)
        raise WrongState(
            f"Site {site} works with protocol {there.version}; forms of participant {person.id} were entered under {version}.",
            code="TRANSFER.VERSION",
            needs=f"Site {site} takes up version {version} first.",
        )


def _entered_under(unit: Unit, person: Participant) -> int:
    """The newest loaded version of the protocol under which a form of the participant was saved."""
    wanted = (
        select(func.max(FormVersion.definition_seq))
        .join(FormInstance, (FormInstance.trial_id == FormVersion.trial_id) & (FormInstance.id == FormVersion.instance_id))
        .where(FormInstance.trial_id == person.trial_id, FormInstance.participant_id == person.id)
    )
    return unit.session.scalar(wanted) or 0


def _reason(given: str) -> str:
    words = given.strip()
    if not words:
        raise Invalid("Say why the participant is transferred.", code="TRANSFER.REASON", needs="A sentence without names.")
    if len(words) > _MOST:
        raise Invalid(f"The reason is longer than {_MOST} characters.", code="TRANSFER.REASON", needs="A shorter one.")
    return words


def _possible(unit: Unit, person: Participant, day: date) -> None:
    """Raises Invalid for a day that lies in the future, or before the participant was randomised or moved last."""
    randomised = unit.session.scalar(
        select(Status.at)
        .where(
            Status.trial_id == person.trial_id,
            Status.machine == "participant",
            Status.subject == person.id,
            Status.event.in_(lifecycle.RANDOMISING),
        )
        .order_by(Status.seq)
        .limit(1)
    )
    moves = participants.transfers(unit, person)
    first = moves[-1].day if moves else randomised.astimezone(LONDON).date() if randomised else unit.today
    if not first <= day <= unit.today:
        raise Invalid(
            f"The transfer cannot have happened on {day.isoformat()}.",
            code="TRANSFER.DAY",
            needs=f"A day from {first.isoformat()} until today.",
        )


def _tell(unit: Unit, person: Participant, before: str, site: str, day: date) -> None:
    for place, words in (
        (before, f"Your site no longer looks after them, and no longer sees their forms. Site {site} does."),
        (site, "Your site looks after them now. Open the participant to see which visits are expected."),
    ):
        notices.tell(
            unit,
            person.trial_id,
            notices.holders(unit, person.trial_id, ("principal-investigator",), place),
            "transfer",
            f"Participant {person.id} was transferred",
            f"Participant {person.id} was transferred from site {before} to site {site} on {day.isoformat()}. {words}",
            person.id if place == site else "",
        )
