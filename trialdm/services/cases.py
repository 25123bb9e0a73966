"""Cases of the treatment pathway: who sees which, what the gate says to the record of a procedure, and all of them for counting.

Reports and counts read what the forms ask by the names of the items, here and in `services/outcomes.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import select

from trialdm.domain import ethics, roles
from trialdm.domain.crf import Answers, Finding, Form
from trialdm.domain.errors import WrongState
from trialdm.domain.ethics import Answer, AuditCase
from trialdm.domain.ethics.deadline import Audited
from trialdm.domain.outcomes import SAFETY, Followed, Outcome
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, gates, register, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import LONDON, Unit, remember
from trialdm.store.tables import Participant

#: Forms of the audit: the procedure, an outcome, the end of follow-up.
PROCEDURE, FOLLOW_UP, END = "AUD1", "AUD2", "AUD3"

#: The visits at which the first and the last one are filled.
AT_PROCEDURE, AT_END = "PROC", "END"

#: Meaning of an item -> what the gate reads it as.
_OF_THE_GATE = {
    "case_date": "on",
    "case_timing": "timing",
    "case_uncertainty": "uncertainty",
    "case_shared_decision": "shared_decision_on",
    "case_team": "mdt",
    "case_surgeon": "surgeon",
    "case_lapse_reported": "lapse_reported_on",
}

#: Rules that speak about what has not been asked yet, while the record is a draft.
_WAIT_FOR_THE_END = frozenset({"GOV-54", "GOV-55"})


@dataclass(frozen=True)
class Known:
    """One case as reports read it: whose, where, by whom, and its outcomes."""

    participant: Participant
    outcome: Outcome
    surgeon: int | None
    answers: Mapping[str, Any]
    follow_ups: Mapping[int, Mapping[str, Any]]


# --- who sees which --------------------------------------------------------------------------------------------------


def require_pathway(unit: Unit, trial: str) -> Protocol:
    """The protocol of a study of the treatment pathway. Raises WrongState for a trial, which is never pooled with it."""
    protocol = studies.protocol(unit, trial)
    if not protocol.treats:
        raise WrongState(
            f"{protocol.short_title} is a trial: its participants are never pooled with the audit of the treatment pathway.",
            code="PATHWAY.TRIAL",
            needs="A study of the treatment pathway (pathway: secondary).",
        )
    return protocol


def seen(unit: Unit, trial: str, row: Participant) -> bool:
    """Whether the actor may see this one: clinicians of the treatment pathway see what they entered or operated on."""
    if not studies.protocol(unit, trial).treats or not roles.own_cases_only(unit.actor.grants, trial, row.site):
        return True
    return own(unit, trial, row, unit.actor.id)


def own(unit: Unit, trial: str, row: Participant, account: str) -> bool:
    """Whether somebody entered a case or operated on it."""
    return row.added_by == account or _operators(unit, trial).get(row.id) in numbers(unit, trial, account)


def numbers(unit: Unit, trial: str, account: str) -> set[int]:
    """The numbers under which an account operates."""
    return {held.surgeon for held in register.read(unit, trial).credentials if held.person == account}


def _operators(unit: Unit, trial: str) -> dict[str, int | None]:
    return remember(unit, ("operators", trial), lambda: {one.participant.id: one.surgeon for one in known(unit, trial)})


# --- the record of a procedure ---------------------------------------------------------------------------------------


def is_procedure(form: Form) -> bool:
    """Whether the form records a procedure of the treatment pathway."""
    return any(item.means == "case_date" for item in form.items)


def require(
    unit: Unit, protocol: Protocol, form: Form, site: str, given: Answers, *, complete: bool
) -> tuple[dict[str, Any], list[Finding]]:
    """The gate's answer to the record of a procedure, as it is kept, and what it says to watch. Raises Refused.

    A draft is refused only for what no later answer mends on the form: the notice to the lead, and a preventive procedure.
    """
    read: dict[str, Any] = {
        _OF_THE_GATE[i.means]: given.values[i.name] for i in form.items if i.means in _OF_THE_GATE and i.name in given.values
    }
    unknown = tuple(i.means for i in form.items if i.means and i.name in given.missing) if complete else ()
    unit.attempt(protocol.id, "audit-case", site=site)
    case = gates.case(unit, protocol.id, "audit-case", site=site, audit=AuditCase(**read, unknown=unknown))
    answer = ethics.gate(case)
    (answer if complete else _of_a_draft(answer)).require()
    kept = gates.kept(unit, case, answer)
    return kept, flags(form, kept["reasons"])


def _of_a_draft(answer: Answer) -> Answer:
    return replace(answer, reasons=tuple(reason for reason in answer.reasons if reason.rule not in _WAIT_FOR_THE_END))


def flags(form: Form, reasons: Iterable[Mapping[str, str]]) -> list[Finding]:
    """What the gate says to watch, as alerts of the form."""
    dated = tuple(item.name for item in form.items if item.means == "case_date")
    watch = [reason for reason in reasons if reason["severity"] == "warn"]
    return [
        Finding(r["rule"], f"GATE.{r['rule']}", "alert", f"{r['message']} {r['needs']} ({r['rule']})", dated, rule=r["rule"]) for r in watch
    ]


# --- all of them -----------------------------------------------------------------------------------------------------


def known(unit: Unit, trial: str) -> list[Known]:
    """Every case whose procedure has been recorded as complete, by day and number; asks nobody's right."""

    def find() -> list[Known]:
        people = list(unit.session.scalars(select(Participant).where(Participant.trial_id == trial)))
        books = casebooks.some_forms(unit, trial, people, (PROCEDURE, FOLLOW_UP, END))
        found = [one for person in people if (one := _known(studies.protocol_at(unit, trial, person.site), books[person.id]))]
        return sorted(found, key=lambda one: (one.outcome.on, one.participant.site, one.participant.number))

    return remember(unit, ("cases", trial), find)


def _known(protocol: Protocol, book: Casebook) -> Known | None:
    form, follow_up = protocol.form(PROCEDURE), protocol.form(FOLLOW_UP)
    stored = book.get(AT_PROCEDURE, form.code, 1)
    answers = stored.answers(form).values if stored and stored.finished else {}
    on = answers.get("au_date")
    if stored is None or not isinstance(on, date):
        return None
    later = {
        visit.number: found.answers(follow_up).values
        for visit in protocol.visits
        if (found := book.get(visit.code, follow_up.code, 1)) and found.finished
    }
    outcome = Outcome(
        site=book.participant.site,
        on=on,
        baseline=_measured(answers, "au_rlp0", "au_plp0", "au_eq0"),
        followed={month: _followed(values) for month, values in later.items()},
        ended_on=_ended(protocol, book),
    )
    surgeon = answers.get("au_surgeon")
    return Known(book.participant, outcome, surgeon if isinstance(surgeon, int) else None, answers, later)


def _ended(protocol: Protocol, book: Casebook) -> date | None:
    stored = book.get(AT_END, END, 1)
    answers = stored.answers(protocol.form(END)).values if stored and stored.finished else {}
    day = answers.get("au3_date") if answers.get("au3_reason") else None
    return day if isinstance(day, date) else None


def _measured(values: Mapping[str, Any], *names: str) -> tuple[int | None, int | None, int | None]:
    first, second, third = (values.get(name) for name in names)
    return first, second, third


def _followed(values: Mapping[str, Any]) -> Followed:
    harms = frozenset(name for name in SAFETY if values.get(name) == 1)
    asked = frozenset(name for name in SAFETY if name in values)
    return Followed(_measured(values, "au2_rlp", "au2_plp", "au2_eq"), harms, asked)


def audited(unit: Unit, trial: str) -> list[Audited]:
    """Every audited procedure as deadlines count it."""
    return [
        Audited(one.participant.site, one.outcome.on, one.participant.added_at.astimezone(LONDON).date(), one.surgeon)
        for one in known(unit, trial)
    ]
