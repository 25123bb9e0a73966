"""Levels of withdrawal and what each still allows: collecting, scheduling, linking, exporting (GOV-43).

Codes are those of the item that means `withdrawal`. Data collected before are kept at every level; a participant never has to
give a reason. Source: UK GDPR with research safeguards; HRA, participants who withdraw.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trialdm.domain.crf import FORM_KINDS

_ALWAYS = frozenset({"status", "deviation", "system"})
_ROUTINE = frozenset(FORM_KINDS) - {"outcome", "visit"}


@dataclass(frozen=True)
class Level:
    """What a participation status allows: kinds of form, whether visits are still due, linkage, and sharing of data."""

    words: str
    collects: frozenset[str]
    scheduled: bool
    linked: bool
    shared: bool


#: Code of the change of participation -> level: a clinician ends the treatment, a consultee's advice to withdraw ends all.
LEVEL_OF = {1: 1, 2: 2, 3: 3, 5: 1, 6: 3}

#: Level -> what it allows. 0 is full participation.
LEVELS: Mapping[int, Level] = {
    0: Level("takes part fully", frozenset(FORM_KINDS), scheduled=True, linked=True, shared=True),
    1: Level("withdrew from treatment only: follow-up continues", frozenset(FORM_KINDS), scheduled=True, linked=True, shared=True),
    2: Level("stopped visits and questionnaires: routine data continue", _ROUTINE, scheduled=False, linked=True, shared=True),
    3: Level("withdrew fully: data to date are kept", _ALWAYS, scheduled=False, linked=False, shared=True),
}

#: Level -> kinds of form that may still be saved.
COLLECTS = {level: allows.collects for level, allows in LEVELS.items()}
