"""The balance and fidelity report: how the arms turned out, and whether allocation, consent and operation happened in order.

By arm, so for the unblinded statistician and the data monitoring committee only. Every allocation is derived again on the
way: a report of tampered allocations is refused rather than written.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from statistics import median

from sqlalchemy import select

from trialdm.documents.page import Document, Facts, Rows, Section, Words
from trialdm.domain.protocol import Protocol
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.words import counted
from trialdm.services import casebooks, chains, envelopes, factors, schemes, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import LONDON, Unit
from trialdm.store.tables import Allocation, Participant


@dataclass(frozen=True)
class Course:
    """What happened to one participant, and when: consent, randomisation and operation as days in Europe/London."""

    participant: str
    site: str
    number: str
    arm: str
    levels: dict[str, str]
    randomised: datetime
    consented: datetime | None = None
    operated: date | None = None

    @property
    def wait(self) -> int | None:
        """Days from randomisation to the operation."""
        return (self.operated - self.randomised.astimezone(LONDON).date()).days if self.operated else None


def report(unit: Unit, trial: str, *, name: str = "") -> Document:
    """The balance and fidelity report of a scheme; that it was read is recorded.

    Raises Broken where an allocation is not the one that the rule gave.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.balance", trial)
    definition = protocol.scheme_named(name)
    unit.record("allocation.balance", trial=trial, entity="trial", entity_id=trial)
    courses = _courses(unit, protocol, definition)
    arms = list(dict.fromkeys([*(arm.name for arm in definition.arms), *(course.arm for course in courses)]))
    return Document(
        f"{protocol.short_title}: balance and fidelity of the allocation",
        f"By arm: for the unblinded statistician and the data monitoring committee only. {len(courses)} allocated by scheme "
        f"{definition.name}, as of {unit.now.astimezone(LONDON):%d %B %Y, %H:%M}.",
        (
            Section("Balance", tuple(_balance(protocol, definition, courses, arms))),
            Section("Ledger against allocations", tuple(_ledger(unit, protocol, definition, courses))),
            Section("From randomisation to surgery", tuple(_waits(protocol, courses, arms))),
            Section("Order of consent, randomisation and operation", tuple(_order(protocol, courses))),
            Section("Corrections and errors", tuple(_corrections(unit, protocol, definition))),
        ),
    )


def _courses(unit: Unit, protocol: Protocol, definition: Definition) -> list[Course]:
    rows = unit.session.scalars(
        select(Allocation)
        .where(Allocation.trial_id == protocol.id, Allocation.scheme == definition.name)
        .order_by(Allocation.epoch, Allocation.seq)
    ).all()
    people = {person.id: person for person in unit.session.scalars(select(Participant).where(Participant.trial_id == protocol.id))}
    wanted = {found[0].code for meaning in ("consent_at", "surgery_date", "surgery_done") if (found := protocol.meaning(meaning))}
    books = casebooks.some_forms(unit, protocol.id, list(people.values()), wanted)
    return [_course(unit, protocol, row, books.get(row.participant_id)) for row in rows]


def _course(unit: Unit, protocol: Protocol, row: Allocation, book: Casebook | None) -> Course:
    consent = book.meaning(protocol, "consent_at") if book else None
    operated = book.meaning(protocol, "surgery_date") if book and book.meaning(protocol, "surgery_done") in (1, None) else None
    return Course(
        row.participant_id,
        row.site,
        row.number,
        chains.unseal_arm(unit, row),
        json.loads(row.levels),
        row.at,
        consent.replace(tzinfo=LONDON) if isinstance(consent, datetime) else None,
        casebooks.as_day(operated),
    )


# --- balance ---------------------------------------------------------------------------------------------------------


def _balance(protocol: Protocol, definition: Definition, courses: Sequence[Course], arms: Sequence[str]) -> Iterator[Rows]:
    ratio = {arm.name: arm.ratio for arm in definition.arms}
    columns = ("", *arms, "Difference")
    yield Rows("All participants", columns, [_counted("All", courses, arms, ratio)])
    for factor in definition.factors:
        if factor.name == "site":
            continue
        rows = [
            _counted(factors.level_label(protocol, factor, level), [c for c in courses if c.levels.get(factor.name) == level], arms, ratio)
            for level in factor.levels
        ]
        yield Rows(factors.label_of(protocol, factor), columns, rows)
    sites = [_counted(site.code, [c for c in courses if c.site == site.code], arms, ratio) for site in protocol.sites]
    yield Rows("Sites", columns, [row for row in sites if any(cell != "0" for cell in row[1:])])


def _counted(name: str, courses: Sequence[Course], arms: Sequence[str], ratio: dict[str, int]) -> list[str]:
    """The counts by arm, and the largest less the smallest of count over share."""
    counts = Counter(course.arm for course in courses)
    shares = [Fraction(counts[arm], ratio[arm]) for arm in arms if arm in ratio]
    spread = max(shares) - min(shares)
    return [name, *(str(counts[arm]) for arm in arms), str(spread) if spread.denominator == 1 else f"{float(spread):.1f}"]


# --- the ledger ------------------------------------------------------------------------------------------------------


def _ledger(unit: Unit, protocol: Protocol, definition: Definition, courses: Sequence[Course]) -> Iterator[Facts]:
    events, places = 0, 0
    for row in schemes.epochs(unit, protocol.id, definition.name):
        chains.read_again(unit, schemes.held(unit, row))
        events, places = events + row.events, places + row.places
    used = [entry for entry in envelopes.everything(unit, protocol.id) if entry.state == "used"]
    outside = sum(1 for entry in used if entry.fault)
    yield Facts(
        (
            ("Events in the chain", f"{events}; the chain holds, and every arm is the one committed to"),
            ("Places taken and allocations", f"{places} and {len(courses)}{'' if places == len(courses) else ': THEY DIFFER'}"),
            ("Derived again", "every allocation of the system is the one that the rule gives"),
            ("Envelopes", f"{len(used)} used, {outside} of them out of order"),
        )
    )


# --- fidelity --------------------------------------------------------------------------------------------------------


def _waits(protocol: Protocol, courses: Sequence[Course], arms: Sequence[str]) -> Iterator[Rows]:
    limit = protocol.param("rand_window_days", 14)
    columns = ("Arm", "Operated", "Median days", "Shortest", "Longest", f"More than {limit} days", "Not operated yet")
    rows = []
    for arm in arms:
        mine = [course for course in courses if course.arm == arm]
        waits = [course.wait for course in mine if course.wait is not None]
        spread = [f"{median(waits):g}", str(min(waits)), str(max(waits))] if waits else ["", "", ""]
        rows.append([arm, str(len(waits)), *spread, str(sum(wait > limit for wait in waits)), str(len(mine) - len(waits))])
    yield Rows("Days from randomisation to surgery", columns, rows)


def _order(protocol: Protocol, courses: Sequence[Course]) -> Iterator[Rows | Words]:
    wrong = []
    for course in courses:
        if course.consented is None and not protocol.historical and protocol.scheme.unit == "participant":
            wrong.append((course.number, "randomised without a consent on record"))
        elif course.consented is not None and course.consented > course.randomised:
            wrong.append((course.number, f"randomised before consent ({course.consented:%d %B %Y %H:%M})"))
        if course.wait is not None and course.wait < 0:
            wrong.append((course.number, f"operated {counted(-course.wait, 'day')} before randomisation"))
    if wrong:
        yield Rows("Out of order", ("Randomisation number", "What"), wrong)
    else:
        yield Words("For everybody consent came before randomisation, and randomisation before the operation.")


_NOTES = {"in_error": "in error", "corrected": "factor corrected", "verified": "verified against the source"}


def _corrections(unit: Unit, protocol: Protocol, definition: Definition) -> Iterator[Rows | Words]:
    numbers = {
        row.participant_id: row.number
        for row in unit.session.scalars(select(Allocation).where(Allocation.trial_id == protocol.id, Allocation.scheme == definition.name))
    }
    rows = []
    for note in factors.notes(unit, protocol.id, name=definition.name):
        rows.append(
            (
                numbers.get(note.participant_id, ""),
                _NOTES.get(note.kind, note.kind),
                note.reason_text,
                f"{note.at.astimezone(LONDON):%d %B %Y}",
            )
        )
    if rows:
        yield Rows("What was found afterwards", ("Randomisation number", "What", "Why", "When"), rows)
    else:
        yield Words("No allocation was corrected or marked as an error.")
