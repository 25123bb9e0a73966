"""Steps of a trial and of its sites: which were taken, which lead on from here, and what the gate says to each today.

`gates.move_trial` and `gates.move_site` take them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trialdm.domain import lifecycle
from trialdm.domain.ethics import Answer
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, gates, studies
from trialdm.services.unit import Unit


@dataclass(frozen=True)
class Taken:
    """A step that was taken."""

    event: str
    state: str
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True)
class Possible:
    """A step that leads on from here: where to, whether the reader's role takes it, and the gate's answer where it decides.

    A trial is locked once a second person confirms the lock that was asked for.
    """

    event: str
    state: str
    mine: bool
    answer: Answer | None


@dataclass(frozen=True)
class Course:
    """Where a trial (`site` empty) or a site of it stands, how it came there, the newest step first, and how it can go on.

    `hold` says whether the trial is frozen or locked, or a lock of it asked for; empty for a site.
    """

    site: str
    state: str
    taken: Sequence[Taken]
    possible: Sequence[Possible]
    hold: str = ""

    def to_json(self) -> dict[str, Any]:
        """The course as the API gives it."""
        return {
            "site": self.site,
            "state": self.state,
            "hold": self.hold,
            "taken": [{**vars(step), "at": step.at.isoformat(timespec="seconds")} for step in self.taken],
            "possible": [
                {"event": step.event, "state": step.state, "allowed": step.mine and (step.answer is None or step.answer.allowed)}
                for step in self.possible
            ],
        }


#: Steps that have been taken already for one person's part, by the state of the hold: the second person does the rest elsewhere.
_ASKED = {("lock", "lock_asked"), ("lock", "unlock_asked")}


def course(unit: Unit, trial: str, site: str = "") -> Course:
    """The course of the trial, or of one of its sites. Raises Missing for an unknown one."""
    unit.require("trial.see", trial)
    protocol = studies.protocol(unit, trial)
    machine, subject = ("site", protocol.site(site).code) if site else ("trial", trial)
    state = studies.state(unit, trial, machine, subject)
    history = studies.history(unit, trial, machine, subject)
    names = casebooks.names(unit, (row.by for row in history))
    hold = "" if site else studies.state(unit, trial, "hold", f"trial:{trial}")
    return Course(
        site,
        state,
        [Taken(row.event, row.state, row.at, names.get(row.by, ""), row.reason) for row in reversed(history)],
        []
        if protocol.historical
        else [_possible(unit, protocol, site, state, event) for event in lifecycle.events(machine, state) if (event, hold) not in _ASKED],
        hold,
    )


def _possible(unit: Unit, protocol: Protocol, site: str, state: str, event: str) -> Possible:
    machine = "site" if site else "trial"
    action = gates.GATED.get((machine, event))
    answer = gates.ask(unit, protocol.id, action, site=site) if action else None
    mine = event != "unlock" and all(unit.may(right, protocol.id) for right in gates.rights(machine, event))
    return Possible(event, lifecycle.move(machine, state, event), mine, answer)
