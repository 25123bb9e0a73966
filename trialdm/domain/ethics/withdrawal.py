"""Levels of withdrawal and what each still allows: collecting, scheduling, linking, exporting (GOV-43).

Codes are those of the item that means `withdrawal`. Data collected before are kept in the database at every level; the last one
takes what has not been analysed yet out of every later export. A participant never has to give a reason. Source: UK GDPR with
research safeguards; HRA, participants who withdraw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from trialdm.domain.crf import FORM_KINDS

#: Kinds of form that say what became of somebody in the trial: exported at every level.
_ACCOUNT = frozenset({"status", "deviation"})

_ALWAYS = _ACCOUNT | {"system"}
_ROUTINE = frozenset(FORM_KINDS) - {"outcome", "visit"}


@dataclass(frozen=True)
class Level:
    """What a participation status allows: kinds of form, whether visits are still due, linkage, sharing, and use of data to date."""

    words: str
    collects: frozenset[str]
    scheduled: bool
    linked: bool
    shared: bool
    used: bool = True


#: Code of the change of participation -> level: a clinician ends the treatment, a consultee's advice to withdraw ends all.
LEVEL_OF = {1: 1, 2: 2, 3: 3, 5: 1, 6: 3, 7: 4}

#: Code of the change of participation by which somebody is lost to follow-up.
LOST = 4

#: Level -> what it allows. 0 is full participation.
LEVELS: Mapping[int, Level] = {
    0: Level("takes part fully", frozenset(FORM_KINDS), scheduled=True, linked=True, shared=True),
    1: Level("withdrew from treatment only: follow-up continues", frozenset(FORM_KINDS), scheduled=True, linked=True, shared=True),
    2: Level("stopped visits and questionnaires: routine data continue", _ROUTINE, scheduled=False, linked=True, shared=True),
    3: Level("withdrew fully: data to date are kept", _ALWAYS, scheduled=False, linked=False, shared=True),
    4: Level("withdrew fully: data not analysed yet are not used", _ALWAYS, scheduled=False, linked=False, shared=False, used=False),
}

#: Level -> kinds of form that may still be saved.
COLLECTS = {level: allows.collects for level, allows in LEVELS.items()}


@dataclass(frozen=True)
class Withdrawal:
    """A change of participation to a level on a day."""

    level: int
    on: date


def level_of(code: int, *, keeps_data: bool = True) -> int:
    """The level of a code. Where the protocol keeps no data after a full withdrawal, that is the last level."""
    found = LEVEL_OF.get(code, 0)
    return 4 if found == 3 and not keeps_data else found


def exported(withdrawals: Sequence[Withdrawal], kind: str, collected: date) -> bool:
    """Whether what was collected on a form of a kind on a day goes into exports.

    Not, where a level took it all back, and with it what the system noted from forms; nor where it was collected after the day
    from which that kind was no longer allowed.
    """
    return all(
        kind in _ACCOUNT or (LEVELS[one.level].used and (kind in LEVELS[one.level].collects or collected <= one.on)) for one in withdrawals
    )
