"""The day of surgery: side, limb and level as the team reads them from patient and consent form, compared with the plan.

Only what agrees leads to the allocation. A check that does not agree is kept and told, and shows nothing: neither the
allocation nor what was planned, so that nobody copies the plan into the check.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trialdm.domain.crf import Item
from trialdm.domain.errors import Detail, Invalid, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, gates, notices, participants, register, studies, unblinding
from trialdm.services.casebooks import Casebook
from trialdm.services.unblinding import Unblinded
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import Participant, TheatreCheck

#: What is read from the patient, with its name for people; `planned_NAME` is the meaning of the item that plans it.
PARTS = {"side": "side", "limb": "limb", "level": "level"}


@dataclass(frozen=True)
class Outcome:
    """How a check ended: the parts that differ, or the allocation where all agree."""

    participant: str
    differs: tuple[str, ...]
    allocated: Unblinded | None = None

    @property
    def agrees(self) -> bool:
        return not self.differs

    def require(self) -> Unblinded:
        """The allocation. Raises WrongState naming what differs; what was kept of the check stays."""
        if self.allocated is not None:
            return self.allocated
        named = " and ".join(self.differs)
        raise WrongState(
            f"Stop: the {named} that you read {'differs' if len(self.differs) == 1 else 'differ'} from the plan.",
            code=f"THEATRE.WRONG_{self.differs[0].upper()}",
            needs="Look at patient, consent form and notes again. The principal investigator and the trial manager have been told.",
            details=[Detail(f"THEATRE.WRONG_{part.upper()}", f"The {part} differs from the plan.", part) for part in self.differs],
        )


def confirm(unit: Unit, trial: str, participant: str, found: Mapping[str, Any]) -> Outcome:
    """Compare what the team reads with the plan, keep the check, and give the allocation where all agree.

    Raises Forbidden or Refused (who, and the gate's `operate`), WrongState without a randomisation or a plan, and Invalid for
    something that cannot be read. A check that differs raises nothing, so that it is kept: see `Outcome.require`.
    """
    register.lock(unit, trial, shared=True)
    person = participants.find(unit, trial, participant, "theatre.confirm")
    protocol = studies.protocol_at(unit, trial, person.site)
    book = casebooks.read(unit, trial, person)
    readiness = participants.readiness(unit, protocol, book)
    answer = gates.require(unit, trial, "operate", site=person.site, participant=readiness)
    if not readiness.randomised:
        raise WrongState(f"Participant {person.id} has not been randomised.", code="ALLOC.NONE", needs="Randomisation first.")
    read = _read(protocol, found)
    planned = _planned(protocol, book)
    differs = tuple(part for part in PARTS if read[part] != planned[part])
    row = TheatreCheck(
        trial_id=trial,
        id=uuid.uuid4().hex,
        participant_id=person.id,
        found=json.dumps(read),
        planned=json.dumps(planned),
        agrees=int(not differs),
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(row)
    changes = [Change("agrees", None, not differs), *(Change(part, None, code) for part, code in read.items())]
    unit.record("theatre.check", row, trial=trial, entity="participant", entity_id=person.id, changes=changes, site=person.site)
    gates.keep(unit, trial, answer, entity="participant", entity_id=person.id, site=person.site)
    unit.session.flush()
    if differs:
        _raise_alarm(unit, trial, person, differs)
        return Outcome(person.id, differs)
    return Outcome(person.id, (), unblinding.look(unit, trial, person.id))


def choices(protocol: Protocol) -> dict[str, dict[int, str]]:
    """What side, limb and level can be; empty where the protocol plans none of them."""
    items = _items(protocol)
    return {part: item.codelist.labels if item.codelist else {} for part, item in items.items()}


def waits(unit: Unit, protocol: Protocol, person: Participant) -> bool:
    """Whether the participant is randomised and not operated yet, and there is a plan to check against."""
    return participants.state(unit, protocol.id, person) == "randomised" and bool(_items(protocol))


def _items(protocol: Protocol) -> dict[str, Item]:
    found = {part: protocol.meaning(f"planned_{part}") for part in PARTS}
    return {part: place[1] for part, place in found.items() if place is not None}


def _read(protocol: Protocol, found: Mapping[str, Any]) -> dict[str, int]:
    """What was read, as codes: given as a code or in the words of its label."""
    read: dict[str, int] = {}
    wrong: list[Detail] = []
    for part, labels in choices(protocol).items():
        given = str(found.get(part, "") or "").strip().casefold()
        code = next((code for code, label in labels.items() if given in (str(code), label.casefold())), None)
        if code is None:
            options = ", ".join(f"{code} ({label})" for code, label in labels.items())
            wrong.append(Detail("THEATRE.READ", f"Say which {PARTS[part]} you read from the patient.", part, needs=f"One of: {options}."))
        else:
            read[part] = code
    if wrong:
        raise Invalid("The check is not complete.", code="THEATRE.READ", details=wrong)
    return read


def _planned(protocol: Protocol, book: Casebook) -> dict[str, int]:
    planned = {part: book.meaning(protocol, f"planned_{part}") for part in PARTS}
    absent = [part for part, code in planned.items() if code is None]
    if absent:
        raise WrongState(
            f"No planned {' and '.join(absent)} is on record.", code="THEATRE.NO_PLAN", needs="The form that plans the operation."
        )
    return planned


def _raise_alarm(unit: Unit, trial: str, person: Participant, differs: tuple[str, ...]) -> None:
    named = " and ".join(differs)
    notices.tell(
        unit,
        trial,
        notices.holders(unit, trial, ("principal-investigator", "trial-manager"), person.site),
        "theatre",
        f"Check in theatre does not agree: participant {person.id}",
        f"{unit.actor.name} checked participant {person.id} at site {person.site} before surgery, and the {named} differs from the plan. "
        "Nothing was shown. Compare the planned operation in trialdm with notes and consent form at once, and correct the wrong entry.",
        person.id,
    )
