"""Safety in the demonstration: two events that somebody reports, the assessments of doctors and the sponsor's side, and the codes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select

from trialdm.domain.errors import Unanswered
from trialdm.domain.protocol import Protocol
from trialdm.services import dictionaries, places, records, safety, studies
from trialdm.services.places import Place
from trialdm.services.records import Submission
from trialdm.services.safety import Serious
from trialdm.services.unit import LONDON, Actor, Unit, Units
from trialdm.store.tables import Participant

#: Everybody who assesses comes together once a week, last so many days before today; what came later still waits.
_WEEK, _LAST = 7, 4

#: Codes are given until so many days before today.
_CODED_UNTIL = 18

#: Days before today -> an event that is reported then: what it was, and whether it was expected.
EVENTS: Mapping[int, tuple[str, bool]] = {34: ("Pneumonia", True), 13: ("Loss of knee extension", False)}

#: States in which a participant has been operated on and is looked after.
_OPERATED = ("operated", "follow_up")


#: No answer that is missing for a reason.
NOTHING: Mapping[str, str] = {}


@dataclass
class Watching:
    """What happens about safety, as the days go by."""

    units: Units
    protocol: Protocol
    last: date
    actor: Callable[[str, str], Actor]

    def day(self, today: date) -> int:
        """Report, assess and code what is due; gives how many acts there were."""
        left = (self.last - today).days
        acts = self._report(today, *EVENTS[left]) if left in EVENTS else 0
        if left >= _LAST and left % _WEEK == _LAST:
            acts += self._assess(today) + (self._code() if left >= _CODED_UNTIL else 0)
        return acts

    def _report(self, today: date, term: str, expected: bool) -> int:
        """A serious event of the first participant who is looked after, as the nurse enters it."""
        with self.units.reading(self.actor("trial-manager", "")) as unit:
            states = studies.states(unit, self.protocol.id, "participant")
            people = unit.session.scalars(
                select(Participant)
                .where(Participant.trial_id == self.protocol.id)
                .order_by(Participant.site, Participant.enrolled_site, Participant.number)
            )
            cared = [(person.id, person.site) for person in people if states.get(person.id) in _OPERATED]
        if not cared:
            return 0
        ident, site = cared[0 if expected else -1]
        nurse = self.actor("research-nurse", site)

        def work(unit: Unit) -> None:
            now = unit.now.astimezone(LONDON).replace(tzinfo=None, second=0, microsecond=0)
            place = places.locate(unit, self.protocol.id, ident, "EV", "AE")
            row = places.next_row(places.book(unit, place), self.protocol.form("AE"), "EV")
            event = {"ae_term": term, "ae_aesi": 0 if expected else 6, "ae_start": (today - timedelta(days=2)).isoformat(), "ae_ongoing": 1}
            event |= {"ae_sev": 3, "ae_cd": 3, "ae_ser": 1, "ae_outc": 3}
            say(unit, replace(place, row=row), event)
            place = places.locate(unit, self.protocol.id, ident, "EV", "SAE")
            number = places.next_row(places.book(unit, place), self.protocol.form("SAE"), "EV")
            aware = (now - timedelta(hours=3)).isoformat(timespec="minutes")
            report = {"sae_ae_no": row, "sae_crit": [3 if expected else 4], "sae_aware": aware}
            say(unit, replace(place, row=number), {**report, "sae_reported": now.isoformat(timespec="minutes")})

        self.units.run(nurse, work)
        return 2

    def _assess(self, today: date) -> int:
        """The doctor at the site judges what is new, and the sponsor's side what a doctor has judged."""
        acts = 0
        for line in self._lines("new"):
            given = {"sae_rel_pi": 3, "sae_proc": [1], "sae_narr": "Seen on the ward and treated; the course is followed."}
            self._saved("principal-investigator", line.site, line, given)
            acts += 1
        for line in self._lines("pi_assessed"):
            unexpected = any(line.event == term for term, expected in EVENTS.values() if not expected)
            judged = {"sae_ci_aware": today.isoformat(), "sae_rel_ci": 3, "sae_exp": 0 if unexpected else 1}
            pending = {"sae_rec_sent": "PE"} if unexpected else {}
            self._saved("chief-investigator" if unexpected else "safety-reviewer", "", line, judged, pending)
            acts += 1
        return acts

    def _lines(self, state: str) -> list[Serious]:
        with self.units.reading(self.actor("safety-reviewer", "")) as unit:
            return [line for line in safety.serious(unit, self.protocol.id) if line.state == state]

    def _saved(self, role: str, site: str, line: Serious, given: Mapping[str, Any], missing: Mapping[str, str] = NOTHING) -> None:
        def work(unit: Unit) -> None:
            say(unit, places.locate(unit, self.protocol.id, line.participant, "EV", line.form, line.row), given, missing)

        self.units.run(self.actor(role, site), work)

    def _code(self) -> int:
        """The data manager codes the events that a term fits."""
        manager = self.actor("data-manager", "")
        with self.units.reading(manager) as unit:
            waiting = [one for one in dictionaries.uncoded(unit, self.protocol.id) if one.suggestions]
        for one in waiting:
            code = one.suggestions[0].code
            self.units.run(manager, lambda unit, w=one, c=code: dictionaries.give(unit, self.protocol.id, w.participant, w.row, c))
        return len(waiting)


def say(unit: Unit, place: Place, given: Mapping[str, Any], missing: Mapping[str, str] = NOTHING, *, reason: str = "") -> None:
    """Save what somebody answers on a form, beside what stands there."""
    view = records.view(unit, place)
    own = {name for name, item in place.form.by_name.items() if item.typed_in} - view.of_others
    stored = view.to_json()
    answers = {name: value for name, value in stored["answers"].items() if name in own}
    held = {name: code for name, code in stored["missing"].items() if name in own and name not in given}
    sent = Submission({**answers, **given}, {**held, **missing}, complete=True, reason=reason, version=view.version or None)
    try:
        records.save(unit, place, sent)
    except Unanswered as asked:
        records.save(unit, place, replace(sent, confirm=tuple(detail.code for detail in asked.details)))
