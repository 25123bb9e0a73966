"""Deadlines of a trial as the database knows them: the list, recording that one was met, and reminding whoever owes it."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from sqlalchemy import select

from trialdm.domain.crf import Form
from trialdm.domain.errors import Conflict, Missing
from trialdm.domain.ethics import Fact
from trialdm.domain.ethics.clocks import deadlines
from trialdm.domain.ethics.deadline import Breach, Deadline, SeriousEvent, Situation
from trialdm.domain.protocol import Protocol
from trialdm.domain.roles import sites_seen
from trialdm.services import approvals, casebooks, cases, notices, register, studies
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import LONDON, Unit
from trialdm.store.tables import Allocation, Participant, Reminder, Trial

#: Code of the class of a deviation that may be a serious breach.
SERIOUS_BREACH = 3

#: Codes of relatedness from which an event counts as related, and of seriousness that means death or a threat to life.
RELATED_FROM = 3
FATAL = frozenset({1, 2})


def now(unit: Unit) -> datetime:
    """The moment as deadlines count it: wall time in Europe/London."""
    return unit.now.astimezone(LONDON).replace(tzinfo=None)


# --- what they follow from -------------------------------------------------------------------------------------------


def situation(unit: Unit, trial: str) -> Situation:
    """Everything that the deadlines of a trial follow from, today."""
    protocol = studies.protocol(unit, trial)
    history = studies.history(unit, trial, "trial", trial)
    books = _books(unit, protocol)
    return Situation(
        on=unit.today,
        protocol=protocol,
        register=register.read(unit, trial),
        moves=tuple((row.event, row.at.astimezone(LONDON).date()) for row in history),
        first_consent=min(_consents(protocol, books), default=None),
        first_participant=_first_participant(unit, trial),
        serious=tuple(_serious(protocol, books)),
        breaches=tuple(_breaches(protocol, books)),
        audited=tuple(cases.audited(unit, trial)) if protocol.treats else (),
    )


_MEANINGS = ("consent_at", "serious_aware", "deviation_class")


def _books(unit: Unit, protocol: Protocol) -> list[Casebook]:
    forms = {found[0].code for name in _MEANINGS if (found := protocol.meaning(name))}
    people = unit.session.scalars(
        select(Participant).where(Participant.trial_id == protocol.id).order_by(Participant.enrolled_site, Participant.number)
    )
    return list(casebooks.some_forms(unit, protocol.id, people, forms).values())


def _rows(protocol: Protocol, books: list[Casebook], meaning: str) -> Iterator[tuple[Casebook, Stored, dict[str, Any]]]:
    """Every form that holds an item of this meaning, with its answers by meaning."""
    found = protocol.meaning(meaning)
    if found is None:
        return
    form: Form = found[0]
    for book in books:
        for stored in book.all_of(form.code):
            values = stored.answers(form).values
            yield book, stored, {item.means: values.get(item.name) for item in form.items if item.means}


def _consents(protocol: Protocol, books: list[Casebook]) -> Iterator[date]:
    for _, stored, said in _rows(protocol, books, "consent_at"):
        day = casebooks.as_day(said["consent_at"])
        if day and stored.finished:
            yield day


def _first_participant(unit: Unit, trial: str) -> date | None:
    first = unit.session.scalar(select(Allocation.at).where(Allocation.trial_id == trial).order_by(Allocation.at).limit(1))
    return first.astimezone(LONDON).date() if first else None


def _serious(protocol: Protocol, books: list[Casebook]) -> Iterator[SeriousEvent]:
    for book, stored, said in _rows(protocol, books, "serious_aware"):
        grades = [said.get(name) for name in ("serious_related", "serious_related_sponsor")]
        criteria = said.get("serious_criteria") or ()
        aware, reported = said.get("serious_aware"), said.get("serious_reported")
        yield SeriousEvent(
            book.participant.id,
            book.participant.site,
            stored.instance.row,
            aware if isinstance(aware, datetime) else None,
            reported if isinstance(reported, datetime) else None,
            casebooks.as_day(said.get("serious_ci_aware")),
            related=any(isinstance(grade, int) and grade >= RELATED_FROM for grade in grades),
            unexpected=said.get("serious_expected") == 0,
            fatal=bool(FATAL & set(criteria)),
            sent=casebooks.as_day(said.get("serious_sent")),
        )


def _breaches(protocol: Protocol, books: list[Casebook]) -> Iterator[Breach]:
    for book, stored, said in _rows(protocol, books, "deviation_class"):
        found = casebooks.as_day(said.get("deviation_found"))
        if said.get("deviation_class") == SERIOUS_BREACH and found:
            instance = stored.instance
            yield Breach(book.participant.id, book.participant.site, instance.id, found, restricted=bool(instance.restricted))


# --- the list --------------------------------------------------------------------------------------------------------


def listed(unit: Unit, trial: str) -> list[Deadline]:
    """The deadlines that the reader may see: those of the trial, of their sites, and of themselves.

    A restricted one is for those who read allocations at its site, and for whoever owes it.
    """
    unit.require("approvals.see", trial)
    sites = sites_seen(unit.actor.grants, "approvals.see", trial)
    people = unit.may("people.see", trial)
    return [
        d
        for d in deadlines(situation(unit, trial))
        if (sites is None or not d.site or d.site in sites) and (not d.person or people or owes(unit, trial, d)) and _open(unit, trial, d)
    ]


def _open(unit: Unit, trial: str, deadline: Deadline) -> bool:
    """Whether the reader's blinding allows them a deadline."""
    return not deadline.restricted or unit.sees_allocations(trial, deadline.site) or owes(unit, trial, deadline)


def owes(unit: Unit, trial: str, deadline: Deadline) -> bool:
    """Whether a deadline is the reader's to meet: theirs alone, or of a role that they hold there."""
    if deadline.person == unit.actor.id:
        return True
    return any(grant.role in deadline.owners and grant.covers(trial, deadline.site or None) for grant in unit.actor.grants)


def ended_by_hand(deadline: Deadline) -> bool:
    """Whether somebody records that it was met; the others end with an approval, a step or a form."""
    return deadline.key.partition(":")[0] in ("usm", "cag", "pause", "terminate", "end", "breach")


def meet(unit: Unit, trial: str, key: str, on: date, text: str) -> None:
    """Record that a deadline was met on a day, and how. Raises Missing for an unknown one, Conflict for one that was met."""
    unit.require("facts.record", trial)
    register.lock(unit, trial)
    found = next((d for d in deadlines(situation(unit, trial)) if d.key == key and _open(unit, trial, d)), None)
    if found is None or not ended_by_hand(found):
        raise Missing("There is no such deadline to be recorded as met.", code="CLOCK.UNKNOWN", needs="The list of deadlines.")
    if found.done is not None:
        raise Conflict(f"It was recorded as met on {found.done.isoformat()}.", code="CLOCK.MET")
    approvals.state(unit, trial, Fact("done", on, found.site, about=key, text=text.strip()))


def describe(deadline: Deadline, at: datetime) -> dict[str, Any]:
    """A deadline as the API and the command line give it."""
    return {
        "key": deadline.key,
        "rule": deadline.rule,
        "title": deadline.title,
        "due": deadline.due.isoformat(),
        "state": deadline.state(at),
        "met_on": deadline.done.isoformat() if deadline.done else None,
        "owners": list(deadline.owners),
        "site": deadline.site,
        "participant": deadline.participant,
    }


# --- reminding -------------------------------------------------------------------------------------------------------


def remind_all(unit: Unit) -> int:
    """Remind the owners of every trial's deadlines; gives how many reminders were sent."""
    return sum(remind(unit, trial) for trial in unit.session.scalars(select(Trial.id).order_by(Trial.id)).all())


def remind(unit: Unit, trial: str) -> int:
    """Tell the owners of deadlines whose day of reminding has come, once for each day; what was missed is told once.

    The notice names the deadline and its day, nothing that identifies or unblinds anybody.
    """
    sent = {(row.deadline, row.due, row.day) for row in unit.session.scalars(select(Reminder).where(Reminder.trial_id == trial))}
    told = 0
    for deadline in deadlines(situation(unit, trial)):
        if deadline.done is not None:
            continue
        due = deadline.due.isoformat()
        come = [day for day in deadline.reminders() if day <= unit.today and (deadline.key, due, day) not in sent]
        if not come:
            continue
        unit.add(*(Reminder(trial_id=trial, deadline=deadline.key, due=due, day=day) for day in come))
        told += bool(_tell(unit, trial, deadline))
    unit.session.flush()
    return told


def _tell(unit: Unit, trial: str, deadline: Deadline) -> int:
    state = deadline.state(now(unit))
    words = {"overdue": "Overdue since", "today": "Due today,"}.get(state, "Due on")
    people = [deadline.person] if deadline.person else notices.holders(unit, trial, deadline.owners, deadline.site)
    hour = f", {deadline.due:%H:%M}" if isinstance(deadline.due, datetime) else ""
    where = f" Site {deadline.site}." if deadline.site else ""
    subject = f"{deadline.title}: {words.lower()} {deadline.last_day.isoformat()}"
    text = f"{deadline.title}. {words} {deadline.due:%d %B %Y}{hour}.{where}"
    return notices.tell(unit, trial, people, "deadline", subject, text)
