"""Allocations that went wrong: marked and explained, never undone. The place stays taken, and the arm stays allocated.

What is done about each kind follows Yelland 2015 and the intention-to-treat principle: keep the participant in the arm, keep
the true values beside those that were used, and let the analysis decide.
"""

from collections.abc import Mapping

from trialdm.domain.errors import Conflict, Invalid, WrongState
from trialdm.domain.protocol import Protocol, Scheme
from trialdm.services import allocations, casebooks, deviations, factors, participants, studies
from trialdm.services.factors import Values
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import Allocation, AllocationNote

#: Why an allocation was in error: code -> (words, type of the deviation that it opens).
ERRORS: Mapping[int, tuple[str, int]] = {
    1: ("Not eligible", 1),
    2: ("Randomised twice: the same person under another number", 3),
    3: ("Randomised by mistake", 3),
    4: ("The wrong participant was randomised", 3),
    96: ("Another error", 3),
}

_TWICE = 2


def in_error(unit: Unit, trial: str, participant: str, code: int, reason: str, *, other: str = "", name: str = "") -> AllocationNote:
    """Mark an allocation as made in error, with a reason. `other` is the person's other number where they were randomised twice.

    The allocation stands, its place is never freed, and a deviation is opened. Raises Conflict where it was marked before.
    """
    protocol = studies.protocol(unit, trial)
    person = participants.find(unit, trial, participant, "allocation.correct")
    made = _made(unit, protocol, person.id, name)
    if code not in ERRORS:
        raise Invalid("There is no such kind of error.", code="ALLOC.ERROR", needs=_choices())
    if len(reason.strip()) < 10:
        raise Invalid("Say what happened, in a sentence.", code="ALLOC.REASON", needs="A reason of at least ten characters.")
    if any(held.kind == "in_error" for held in factors.notes(unit, trial, name=made.scheme, participant=person.id)):
        raise Conflict(f"The allocation of {person.id} was marked as an error before.", code="ALLOC.ERROR_ALREADY", needs="Nothing.")
    said: dict[str, int | str] = {"code": code}
    if code == _TWICE:
        said["other"] = _other(unit, protocol, person.id, other, name)
    event = allocations.chain_event(unit, protocol, person.id, "in_error", said, name=name)
    changes = [Change("in_error", None, ERRORS[code][0]), *([Change("other_number", None, said["other"])] if "other" in said else [])]
    row = factors.note(unit, made, "in_error", event=event, changes=changes, code=str(code), text=reason.strip())
    words, deviation = ERRORS[code]
    book = casebooks.read(unit, trial, person)
    twin = f" ({said['other']})" if "other" in said else ""
    message = f"{words}{twin}. The allocation stands and its place stays taken. {reason.strip()}"
    deviations.open_one(unit, protocol, book, deviation, f"ALLOC-02 at randomisation {made.number}", message, unit.today)
    return row


def _other(unit: Unit, protocol: Protocol, participant: str, typed: str, name: str) -> str:
    if not typed.strip():
        raise Invalid("Name the other number of this person.", code="ALLOC.OTHER", needs="The participant under the other number.")
    other = participants.known(unit, protocol.id, typed).id
    if other == participant:
        raise Invalid("The other number must be another participant.", code="ALLOC.OTHER")
    _made(unit, protocol, other, name)
    return other


def _made(unit: Unit, protocol: Protocol, participant: str, name: str) -> Allocation:
    made = unit.session.get(Allocation, (protocol.id, protocol.scheme_named(name).name, participant))
    if made is None:
        raise WrongState(f"Participant {participant} has not been randomised.", code="ALLOC.NONE", needs="Nothing.")
    return made


def verify(unit: Unit, trial: str, participant: str, levels: Mapping[str, str], *, name: str = "") -> list[Values]:
    """What a monitor read in the source for each factor. Values that differ from the allocation's open a deviation.

    Raises Invalid naming each factor that is absent, unknown, or has no such level.
    """
    protocol = studies.protocol(unit, trial)
    person = participants.find(unit, trial, participant, "allocation.verify")
    scheme = protocol.scheme_named(name)
    made = _made(unit, protocol, person.id, name)
    _whole(scheme, levels)
    before = {value.factor: value for value in factors.side_by_side(unit, protocol, person.id, name=name)}
    changes = [Change(factor, before[factor].verified or None, level) for factor, level in levels.items()]
    factors.note(unit, made, "verified", levels=levels, changes=changes)
    found = factors.side_by_side(unit, protocol, person.id, name=name)
    wrong = [value.label for value in found if value.verified != (value.corrected or value.randomised)]
    if wrong:
        message = f"The source says otherwise about: {', '.join(wrong)}. Correct the form; the allocation stands."
        book = casebooks.read(unit, trial, person)
        deviations.open_one(unit, protocol, book, 3, f"ALLOC-03 at randomisation {made.number}", message, unit.today)
    return found


def _whole(scheme: Scheme, levels: Mapping[str, str]) -> None:
    """Raises Invalid unless every factor of the scheme, and nothing else, has one of its levels."""
    names = [factor.name for factor in scheme.factors]
    unknown = [f"'{name}'" for name in sorted(set(levels) - set(names))]
    if unknown:
        raise Invalid(f"There is no factor {', '.join(unknown)}.", code="ALLOC.LEVEL", needs=f"The factors: {', '.join(names)}.")
    absent = [name for name in names if not levels.get(name, "").strip()]
    if absent:
        said = f"Name every factor: {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing."
        raise Invalid(said, code="ALLOC.LEVEL", needs="A level for each, as the source has it.")
    for factor in scheme.factors:
        if levels[factor.name] not in factor.levels:
            raise Invalid(
                f"'{levels[factor.name]}' is not a level of '{factor.name}'.",
                code="ALLOC.LEVEL",
                needs=f"One of {', '.join(factor.levels)}.",
            )


def _choices() -> str:
    return "; ".join(f"{code} {words}" for code, (words, _) in ERRORS.items()) + "."
