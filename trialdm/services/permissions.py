"""What of each participant's data may leave: from withdrawals and consent, as they stood at a moment (GOV-43).

Nothing is taken out of the database here: what may not be exported is left out of a package, and counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select

from trialdm.domain.crf import Code, Codelist, Form, Item
from trialdm.domain.ethics.withdrawal import LEVELS, Withdrawal, exported
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, participants
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import LONDON, Unit
from trialdm.store.tables import FormInstance, FormVersion

#: Participant, visit, form and row.
Place = tuple[str, str, str, int]


@dataclass(frozen=True)
class Permission:
    """One participant's withdrawals, oldest first, and the answers about linkage and sharing (None: not asked, or not answered)."""

    withdrawals: tuple[Withdrawal, ...] = ()
    linkage: int | None = None
    sharing: int | None = None

    @property
    def level(self) -> int:
        return max((one.level for one in self.withdrawals), default=0)

    @property
    def withdrawn_on(self) -> date | None:
        """The day on which the level was reached."""
        return next((one.on for one in self.withdrawals if one.level == self.level), None)

    @property
    def may_link(self) -> bool:
        return self.linkage == 1 and LEVELS[self.level].linked

    @property
    def may_share(self) -> bool:
        return self.sharing == 1 and LEVELS[self.level].shared

    @property
    def used(self) -> bool:
        """Whether data to date are used."""
        return LEVELS[self.level].used


@dataclass
class Permissions:
    """Everybody's permission, the places of forms that are not exported, and how many rows were left out of each table so far.

    `asked` are the columns of `items`.
    """

    of: Mapping[str, Permission] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    left_out: frozenset[Place] = frozenset()
    rows: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)

    def allow(self, form: str, participant: str, visit: str, row: int) -> bool:
        """Whether a row is exported; one that is not is counted."""
        if (participant, visit, form, row) not in self.left_out:
            return True
        self.rows[form.lower()] += 1
        self.people.add(participant)
        return False

    def to_json(self) -> dict[str, Any]:
        """What the manifest says: participants at each level, and what was left out for it."""
        found: dict[str, Any] = {}
        if "withdrawal" in self.asked:
            levels = Counter(one.level for one in self.of.values())
            found["withdrawals"] = {LEVELS[level].words: levels[level] for level in LEVELS if level and levels[level]}
            found["participants_with_rows_left_out"] = len(self.people)
            found["rows_left_out"] = dict(sorted(self.rows.items()))
        if "may_link" in self.asked:
            found["participants_not_linked"] = sum(not one.may_link for one in self.of.values())
        if "may_share" in self.asked:
            found["participants_not_shared"] = sum(not one.may_share for one in self.of.values())
        return found


def read(unit: Unit, protocol: Protocol, books: Iterable[Casebook], as_of: datetime) -> Permissions:
    """The permissions by these casebooks, which are as they stood at the moment."""
    held = {book.participant.id: permission(protocol, book) for book in books}
    withdrawn = [book for book in books if held[book.participant.id].withdrawals]
    first = _first_saved(unit, protocol.id, [book.participant.id for book in withdrawn], as_of)
    left_out = {
        (ident, *place)
        for book in withdrawn
        for place, stored in book.forms.items()
        if not exported(
            held[(ident := book.participant.id)].withdrawals,
            protocol.form(place[1]).kind,
            _collected(protocol, book, place, stored, first.get((ident, *place), stored.saved_at)),
        )
    }
    return Permissions(held, frozenset(item.name for item in items(protocol)), frozenset(left_out))


def forms(protocol: Protocol) -> set[str]:
    """Codes of the forms that permissions read: consent, withdrawal, and the days of visits."""
    asked = ("consent_at", "withdrawal", "visit_date")
    return {found[0].code for meaning in asked if (found := protocol.meaning(meaning))}


def without(books: Iterable[Casebook], found: Permissions) -> list[Casebook]:
    """The casebooks without what is not exported."""
    return [
        Casebook(
            book.participant,
            {place: stored for place, stored in book.forms.items() if (book.participant.id, *place) not in found.left_out},
            allocated_at=book.allocated_at,
        )
        for book in books
    ]


def permission(protocol: Protocol, book: Casebook) -> Permission:
    """The permission of one participant by their casebook; the newest consent counts."""
    given = participants.consents(protocol, book)
    found = protocol.meaning("consent_at")
    said: dict[str, Any] = {}
    if found and given:
        answers = given[-1][1].answers(found[0]).values
        said = {item.means: answers.get(item.name) for item in found[0].items if item.means}
    return Permission(tuple(participants.withdrawals(protocol, book)), said.get("consent_linkage"), said.get("consent_sharing"))


def _collected(protocol: Protocol, book: Casebook, place: tuple[str, str, int], stored: Stored, first: datetime) -> date:
    """The day on which the answers were collected: that of the row, or of the visit, or on which they were first saved."""
    form, dated = protocol.form(place[1]), protocol.meaning("visit_date")
    own = casebooks.as_day(_row_date(form, stored))
    visited = casebooks.as_day(book.answer(dated[0], place[0], dated[1].name)) if dated else None
    return own or visited or first.astimezone(LONDON).date()


def _row_date(form: Form, stored: Stored) -> Any:
    item = next((item for item in form.items if item.means == "row_date"), None)
    return stored.answers(form).values.get(item.name) if item else None


def _first_saved(unit: Unit, trial: str, people: Sequence[str], as_of: datetime) -> dict[Place, datetime]:
    """When each form of these participants was saved first."""
    if not people:
        return {}
    joined = (FormVersion.trial_id == FormInstance.trial_id) & (FormVersion.instance_id == FormInstance.id)
    place = (FormInstance.participant_id, FormInstance.visit, FormInstance.form, FormInstance.row)
    wanted = (
        select(*place, func.min(FormVersion.saved_at))
        .join(FormVersion, joined)
        .where(FormInstance.trial_id == trial, FormInstance.participant_id.in_(people), FormVersion.saved_at <= as_of)
        .group_by(*place)
    )
    return {(person, visit, form, row): at for person, visit, form, row, at in unit.session.execute(wanted)}


# --- columns ---------------------------------------------------------------------------------------------------------


def items(protocol: Protocol) -> list[Item]:
    """Columns of the participants: what the protocol asks about withdrawal, linkage and sharing, and no others."""
    levels = Codelist("CL_LEVEL", tuple(Code(level, allows.words.capitalize()) for level, allows in LEVELS.items()))
    wanted = [
        ("withdrawal", Item("withdrawal", "Level of withdrawal", "code", codelist=levels)),
        ("withdrawal", Item("withdrawn_on", "Day of the withdrawal to this level", "date")),
        ("consent_linkage", Item("may_link", "May be linked with routine health data", "yn")),
        ("consent_sharing", Item("may_share", "May be in a shared data set", "yn")),
    ]
    return [item for meaning, item in wanted if protocol.meaning(meaning)]


def answers(held: Permission, asked: frozenset[str]) -> dict[str, Any]:
    """What stands in these columns for one participant."""
    said = {
        "withdrawal": held.level,
        "withdrawn_on": held.withdrawn_on.isoformat() if held.withdrawn_on else None,
        "may_link": int(held.may_link),
        "may_share": int(held.may_share),
    }
    return {name: value for name, value in said.items() if name in asked and value is not None}
