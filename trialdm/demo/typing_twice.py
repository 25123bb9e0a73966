"""Double entry in the demonstration: the office types the paper a second time, and a sub-investigator settles what differs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select

from trialdm.domain.crf import Form
from trialdm.domain.ethics.withdrawal import COLLECTS
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, double_entry, holds, participants, places, records
from trialdm.services.double_entry import Line
from trialdm.services.records import Submission
from trialdm.services.unit import Actor, Unit, Units
from trialdm.store.tables import FormEntry

#: The paper comes to the office once a week. Everybody is so many forms behind: with second entries, and with settling.
_WEEK = 7
_BEHIND: Mapping[str, int] = {"second": 4, "settle": 2}

#: One in so many second entries has a slip.
_SLIPS = 4


@dataclass
class Typing:
    """Second entries and third persons, as the days go by. `count` is how many second entries there were."""

    units: Units
    protocol: Protocol
    last: date
    actor: Callable[[str, str], Actor]
    count: int = 0

    def day(self, today: date) -> int:
        """Type and settle what is due; gives how many acts there were."""
        if (self.last - today).days % _WEEK:
            return 0
        office = self.actor("data-manager", "")
        with self.units.reading(office) as unit:
            found = double_entry.listed(unit, self.protocol.id)
            found = [one for one in found if self._may(unit, one)]
        due = [one for step, left in _BEHIND.items() for one in [line for line in found if line.next == step][:-left]]
        for line in due:
            second = line.next == "second"
            who = office if second else self.actor("sub-investigator", line.site)
            self.units.run(who, lambda unit, line=line, second=second: self._type(unit, line, slips=second and self._slips()))
        return len(due)

    def _may(self, unit: Unit, line: Line) -> bool:
        """Whether the form can still be entered: not where a casebook is frozen, or somebody has withdrawn."""
        person = participants.find(unit, self.protocol.id, line.participant)
        level = participants.withdrawal_level(self.protocol, casebooks.read(unit, self.protocol.id, person))
        return self.protocol.form(line.form).kind in COLLECTS[level] and holds.over(unit, self.protocol.id, person) is None

    def _slips(self) -> bool:
        self.count += 1
        return self.count % _SLIPS == 2

    def _type(self, unit: Unit, line: Line, *, slips: bool) -> None:
        """What stands on the paper is what was typed first; one answer of it is typed wrongly where somebody slips."""
        first = (FormEntry.participant_id == line.participant, FormEntry.visit == line.visit, FormEntry.form == line.form)
        wanted = select(FormEntry.data).where(FormEntry.trial_id == self.protocol.id, *first, FormEntry.row == line.row, FormEntry.seq == 1)
        paper = json.loads(unit.session.scalars(wanted).one())
        place = places.locate(unit, self.protocol.id, line.participant, line.visit, line.form, line.row)
        typed = {item.name for item in place.form.items if item.typed_in}
        answers = {name: value for name, value in paper["answers"].items() if name in typed}
        if slips:
            answers |= _slip(place.form, answers)
        records.save(unit, place, Submission(answers, paper.get("missing", {}), complete=True))


def _slip(form: Form, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The last number that was typed, one off."""
    numbers = [item for item in form.items if item.holds == "int" and item.name in answers and item.maximum is not None]
    return {item.name: answers[item.name] + (1 if answers[item.name] < item.maximum else -1) for item in numbers[-1:] if item.maximum}
