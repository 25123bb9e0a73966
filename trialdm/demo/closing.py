"""What becomes of finished forms in the demonstration: the monitor visits, investigators sign, whole casebooks are frozen.

It happens at the first sites only, so that both can be seen: what is signed, and what waits for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from trialdm.demo.watching import say
from trialdm.domain import lifecycle
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, holds, participants, places, signatures, studies, verification
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import Actor, Unit, Units

#: How many sites are visited by the monitor, and how many of their investigators sign.
_VISITED, _SIGNED = 3, 2

#: Days before today on which each of it happens.
_VISIT, _SIGNING, _FREEZE, _CORRECTION = 26, 24, 22, 9

#: What the nurse corrects once it is signed: which form, and the answer.
_CORRECTED = ("V01", "DEMO", {"weight_kg": "81.5"})


@dataclass
class Closing:
    """What happens to finished forms, as the days go by."""

    units: Units
    protocol: Protocol
    last: date
    actor: Callable[[str, str], Actor]
    password: str

    def day(self, today: date) -> int:
        """Visit, sign, freeze or correct, as it is due; gives how many acts there were."""
        acts = {_VISIT: self._visit, _SIGNING: self._sign, _FREEZE: self._freeze, _CORRECTION: self._correct}
        due = acts.get((self.last - today).days)
        return due() if due else 0

    def _casebooks(self, unit: Unit, sites: int) -> Iterator[Casebook]:
        """The casebooks at the first sites, by site and number."""
        chosen = {site.code for site in self.protocol.sites[:sites]}
        people = [person for person, _ in participants.listed(unit, self.protocol.id) if person.site in chosen]
        for person in people:
            yield casebooks.read(unit, self.protocol.id, person)

    def _visit(self) -> int:
        """The monitors compare with the source what the sampling rules name: two of them, one of whom reads what is restricted."""
        return sum(self.units.run(self.actor(role, ""), self._compare) for role in ("monitor", "unblinded-data-manager"))

    def _compare(self, unit: Unit) -> int:
        acts = 0
        for book in self._casebooks(unit, _VISITED):
            for stored in list(book.forms.values()):
                form = self.protocol.form(stored.instance.form)
                if not stored.finished or stored.status == "verified":
                    continue
                wanted = verification.wanted(unit, self.protocol, book.participant, form, stored)
                chosen = wanted & set(verification.readable(unit, self.protocol, book.participant, form, stored))
                if chosen:
                    verification.verify(unit, self.protocol, book, stored.key, chosen)
                    acts += 1
        return acts

    def _sign(self) -> int:
        """The investigators sign whole casebooks where nothing more is to come and nothing is open, and finished forms elsewhere."""
        return sum(
            self.units.run(self.actor("principal-investigator", site.code), lambda unit, site=site.code: self._sign_site(unit, site))
            for site in self.protocol.sites[:_SIGNED]
        )

    def _sign_site(self, unit: Unit, site: str) -> int:
        acts = 0
        states = studies.states(unit, self.protocol.id, "participant")
        for book in self._casebooks(unit, _SIGNED):
            if book.participant.site != site:
                continue
            over = states.get(book.participant.id) in lifecycle.OVER - {"ineligible"}
            if over and not signatures.against_casebook(unit, self.protocol, book):
                acts += signatures.sign_casebook(unit, self.protocol, book, self.password) is not None
                continue
            ready = [s for s in signatures.to_sign(unit, self.protocol, book) if not self._queried(unit, s)]
            if ready:
                acts += len(signatures.sign(unit, self.protocol, book, {s.key: s.instance.seq for s in ready}, self.password) or ())
        return acts

    def _queried(self, unit: Unit, stored: Stored) -> bool:
        one = stored.instance
        return signatures.open_queries(unit, self.protocol.id, one.participant_id, (one.visit, one.form, one.row)) > 0

    def _freeze(self) -> int:
        """The data manager freezes the casebooks that are signed."""

        def work(unit: Unit) -> int:
            trial = self.protocol.id
            signed = [b for b in self._casebooks(unit, _SIGNED) if signatures.of_casebook(unit, trial, b.participant.id).signature]
            for book in signed:
                holds.move(unit, holds.target(unit, trial, "participant", book.participant.id), "freeze")
            return len(signed)

        return self.units.run(self.actor("data-manager", ""), work)

    def _correct(self) -> int:
        """The nurse of the first site corrects an answer of a form that is signed: the signature goes, and says so."""
        visit, form, answers = _CORRECTED

        def work(unit: Unit) -> int:
            for book in self._casebooks(unit, 1):
                stored = book.get(visit, form, 1)
                if stored and stored.status == "signed" and holds.over(unit, self.protocol.id, book.participant) is None:
                    say(
                        unit,
                        places.locate(unit, self.protocol.id, book.participant.id, visit, form),
                        answers,
                        reason="source: the scales were read again",
                    )
                    return 1
            return 0

        return self.units.run(self.actor("research-nurse", self.protocol.sites[0].code), work)
