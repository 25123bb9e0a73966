"""Reports of the treatment pathway: the dashboard and its file (RP-17), the appraisal report (RP-18), the review pack (RP-19).

A clinician reads the own cases beside those of the organisation, a governance lead all of the organisation, sponsor and inspector
all. Counts below five are not shown; surgeons are never ranked; nothing here compares the arms of a trial.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

from trialdm.documents.page import Block, Document, Facts, Rows, Section, Words
from trialdm.domain import outcomes, roles, values
from trialdm.domain.errors import Forbidden
from trialdm.domain.outcomes import Changed, Funnel, Outcome, Tally
from trialdm.domain.protocol import Protocol
from trialdm.services import cases, governance, register
from trialdm.services.cases import Known
from trialdm.services.governance import Organisation
from trialdm.services.unit import LONDON, Unit, needed

#: What stands on every report.
LABEL = "Not for use to compare arms of the trial."


# --- the dashboard ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Outcomes of one set of cases. `within` is a smaller set that is shown beside it, so that nobody subtracts small numbers."""

    title: str
    cases: Sequence[Outcome]
    months: Sequence[int]
    closes: Mapping[int, int]
    on: date
    within: Sequence[Outcome] | None = None

    @property
    def changes(self) -> list[Changed]:
        return outcomes.changes(self.cases, self.months, beside=self.within)

    @property
    def returned(self) -> dict[int, Tally]:
        return outcomes.returned(self.cases, self.closes, self.on)

    @property
    def safety(self) -> list[tuple[str, str, int]]:
        """Each of the safety five and any of them: name, count as it may be shown, and of how many cases."""
        rows = {**outcomes.safety(self.cases), "Any of these": outcomes.any_harm(self.cases)}
        inner = {**outcomes.safety(self.within), "Any of these": outcomes.any_harm(self.within)} if self.within is not None else {}
        return [(name, outcomes.shown(t.events, beside=inner[name].events if name in inner else None), t.cases) for name, t in rows.items()]


@dataclass(frozen=True)
class Course:
    """The CUSUM of one organisation, case by case; `signals` are the numbers of the cases at which it signals."""

    site: str
    values: Sequence[float]

    @property
    def signals(self) -> list[int]:
        return [i + 1 for i, value in enumerate(self.values) if value >= outcomes.SIGNAL]


@dataclass(frozen=True)
class Dashboard:
    """What a reader sees of the outcomes."""

    parts: Sequence[Part]
    organisations: Sequence[Organisation]
    funnel: Funnel
    courses: Sequence[Course]
    expected: Fraction | None
    operates: Sequence[tuple[str, int, str]]


def dashboard(unit: Unit, trial: str) -> Dashboard:
    """The outcomes as the reader may see them; raises WrongState for a trial."""
    protocol = cases.require_pathway(unit, trial)
    found = cases.known(unit, trial)
    sites = [site.code for site in governance.organisations(unit, trial)]
    everything = [one.outcome for one in found]
    funnel = outcomes.funnel(everything, [site.code for site in protocol.sites])
    expected = _expected(protocol, funnel)
    parts = list(_parts(unit, protocol, found, sites))
    return Dashboard(
        parts,
        [governance.organisation(unit, trial, site) for site in sites],
        outcomes.without(funnel, _given_away(parts)),
        [course for site in sites if sees_all(unit, trial, site) and (course := _course(everything, site, expected))],
        expected,
        _operates(unit, trial, sites),
    )


def sees_all(unit: Unit, trial: str, site: str) -> bool:
    """Whether the reader sees every case of an organisation, and not their own only."""
    return unit.may("case.see", trial, site) and not roles.own_cases_only(unit.actor.grants, trial, site)


def _parts(unit: Unit, protocol: Protocol, found: Sequence[Known], sites: Sequence[str]) -> Iterator[Part]:
    for site in sites:
        here = [one for one in found if one.participant.site == site]
        within = None
        if not sees_all(unit, protocol.id, site):
            within = [one.outcome for one in here if cases.own(unit, protocol.id, one.participant, unit.actor.id)]
            yield _part(unit, protocol, f"Your cases at {site}", within)
        yield _part(unit, protocol, f"All cases of {protocol.site(site).name} ({site})", [one.outcome for one in here], within)


def _part(unit: Unit, protocol: Protocol, title: str, found: Sequence[Outcome], within: Sequence[Outcome] | None = None) -> Part:
    scheduled = [visit for visit in protocol.visits if visit.kind == "scheduled" and visit.target is not None]
    closes = {visit.number: (visit.target or 0) + visit.after for visit in scheduled}
    return Part(title, found, list(closes), closes, unit.today, within)


def _given_away(parts: Sequence[Part]) -> set[str]:
    """Organisations whose count beside the reader's own cases would tell of fewer than five others."""
    return {part.cases[0].site for part in parts if part.within is not None and part.cases and part.safety[-1][1] == outcomes.FEWER}


def _expected(protocol: Protocol, funnel: Funnel) -> Fraction | None:
    """The proportion that the CUSUM expects: the parameter `expected_percent`, or that of all organisations together."""
    stated = protocol.param("expected_percent", 0)
    rate = Fraction(stated, 100) if stated else funnel.pooled.rate
    return rate if rate is not None and 0 < rate < 1 else None


def _course(everything: Sequence[Outcome], site: str, expected: Fraction | None) -> Course | None:
    events = outcomes.events_of(case for case in everything if case.site == site)
    if expected is None or len(events) < outcomes.FUNNEL_FROM:
        return None
    return Course(site, outcomes.cusum(events, expected))


def _operates(unit: Unit, trial: str, sites: Sequence[str]) -> list[tuple[str, int, str]]:
    """Operators whose appraisal report the reader may open: oneself, and everybody of an organisation for its lead."""
    held = register.read(unit, trial).credentials
    mine = [c for c in held if c.site in sites and (c.person == unit.actor.id or unit.may("review.hold", trial, c.site))]
    return sorted({(c.site, c.surgeon, c.name) for c in mine})


# --- RP-17: the audit minimum set as a file --------------------------------------------------------------------------

#: Column of the file -> item of the form about the procedure.
SET: Mapping[str, str] = {
    "audit_id": "au_id",
    "procedure_date": "au_date",
    "timing": "au_timing",
    "governance_lead_informed": "au_gov_date",
    "shared_decision": "au_sdm_date",
    "uncertainty_explained": "au_uncert",
    "team_selected": "au_mdt",
    "months_of_pain": "au_pain_mo",
    "treatments_tried": "au_tried",
    "limb": "au_limb",
    "level": "au_level",
    "cause": "au_aetiol",
    "rlp_before": "au_rlp0",
    "plp_before": "au_plp0",
    "eq_vas_before": "au_eq0",
}

#: Column for each follow-up, after `m3_` and so on -> item of the form about the outcome.
SET_LATER: Mapping[str, str] = {
    "date": "au2_date",
    "rlp": "au2_rlp",
    "plp": "au2_plp",
    "eq_vas": "au2_eq",
    "ome": "au2_ome",
    "bleeding": "au2_bleed",
    "infection": "au2_infx",
    "reoperation": "au2_reop",
    "new_neuroma": "au2_newneuroma",
    "pain_worse": "au2_painworse",
}


def minimum_set(unit: Unit, trial: str) -> str:
    """The audit minimum set of the cases that the reader sees, as CSV; that it was written is recorded."""
    protocol = cases.require_pathway(unit, trial)
    unit.require("case.report", trial)
    months = [visit.number for visit in protocol.visits if visit.kind == "scheduled"]
    rows = [one for one in cases.known(unit, trial) if _may_read(unit, trial, one)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["organisation", *SET, *(f"m{month}_{column}" for month in months for column in SET_LATER)])
    for one in rows:
        later = (one.follow_ups.get(month, {}).get(item) for month in months for item in SET_LATER.values())
        writer.writerow([one.participant.site, *(_cell(one.answers.get(item)) for item in SET.values()), *(_cell(v) for v in later)])
    _note(unit, trial, "RP-17", rows=len(rows))
    return text.getvalue()


def _may_read(unit: Unit, trial: str, one: Known) -> bool:
    return unit.may("case.see", trial, one.participant.site) and cases.seen(unit, trial, one.participant)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(str(code) for code in value) if isinstance(value, tuple) else str(values.write(value))


def _note(unit: Unit, trial: str, name: str, site: str = "", **about: int) -> None:
    words = " ".join(("report", name, *(f"{k} {v}" for k, v in about.items())))
    unit.record("report.read", trial=trial, entity="trial", entity_id=trial, reason_text=words, site=site)


# --- RP-18: for the annual appraisal ---------------------------------------------------------------------------------


def appraisal(unit: Unit, trial: str, surgeon: int) -> Document:
    """An operator's outcomes beside those of the organisation, for the operator and the governance lead there; recorded."""
    protocol = cases.require_pathway(unit, trial)
    unit.require("case.report", trial)
    held = needed(
        next((c for c in register.read(unit, trial).credentials if c.surgeon == surgeon), None),
        f"Nobody operates under number {surgeon}.",
        code="PATHWAY.SURGEON",
    )
    if held.person != unit.actor.id and not unit.may("review.hold", trial, held.site):
        raise Forbidden("This is somebody else's appraisal.", code="PATHWAY.OWN_APPRAISAL", needs="The operator, or the governance lead.")
    here = [one for one in cases.known(unit, trial) if one.participant.site == held.site]
    mine = [one.outcome for one in here if one.surgeon == surgeon]
    parts = (
        _part(unit, protocol, "Your cases", mine),
        _part(unit, protocol, "Organisation", [one.outcome for one in here], mine),
    )
    due = [d for d in governance.organisation(unit, trial, held.site).deadlines if d.rule == "GOV-58" and d.person == held.person]
    _note(unit, trial, "RP-18", held.site, surgeon=surgeon)
    return Document(
        f"{protocol.short_title}: outcomes for the annual appraisal of {held.name}",
        f"{protocol.site(held.site).name}, as of {_now(unit)}. {LABEL}",
        (
            Section("Cases", (_facts(parts), *_returned(parts))),
            Section("Pain and quality of life", tuple(_changes(parts))),
            Section("Safety since the procedure", (_safety(parts), Words(f"Counts below {outcomes.FEWEST} are not shown."))),
            Section("Appraisals", (Rows("Discussed at the annual appraisal", ("Due", "Discussed"), [_due(d) for d in due]),)),
            Section("To discuss", (Words("What went well, what did not, what I learned, and what I will change."),)),
        ),
        ("Operator, date\n\n", "Appraiser, date\n\n"),
    )


def _due(due: Any) -> tuple[str, str]:
    return due.due.isoformat(), due.done.isoformat() if due.done else "open"


# --- RP-19: for a review at an organisation --------------------------------------------------------------------------


def review_pack(unit: Unit, trial: str, site: str) -> Document:
    """What a review of outcomes and safety at an organisation needs, for whoever sees all of its cases; recorded."""
    protocol = cases.require_pathway(unit, trial)
    found = governance.organisation(unit, trial, site)
    if not sees_all(unit, trial, site):
        raise Forbidden("A review looks at every case.", code="PATHWAY.REVIEW_PACK", needs="The clinical governance lead.")
    part = _part(unit, protocol, "Organisation", [one.outcome for one in cases.known(unit, trial) if one.participant.site == site])
    followed = governance.followed(unit, protocol)
    late = [due for due in found.deadlines if due.done is None and due.late(unit.today)]
    _note(unit, trial, "RP-19", site)
    return Document(
        f"{protocol.short_title}: review of outcomes and safety, {found.site.name}",
        f"As of {_now(unit)}, by {followed.version.title} ({followed.version.status}). {LABEL}",
        (
            Section("Agenda", tuple(Words(f"{i}. {words}") for i, words in enumerate(_AGENDA, 1))),
            Section("Open actions", (_actions(found),)),
            Section("Overdue", (Rows("What is overdue", ("Due", "Rule", "What"), [(d.due.isoformat(), d.rule, d.title) for d in late]),)),
            Section("Is everybody audited?", (_months(found), *_returned((part,)))),
            Section("Pain and quality of life", tuple(_changes((part,)))),
            Section("Safety since the procedure", (_safety((part,)), Words(f"Counts below {outcomes.FEWEST} are not shown."))),
        ),
        ("Clinical governance lead, date\n\n",),
    )


_AGENDA = (
    "Minutes of the last review, and its open actions",
    "Whether everybody who had the procedure is audited",
    "Change of pain and quality of life",
    "Safety: bleeding, infection, reoperation, new neuroma, pain that is worse",
    "Cases that were flagged: procedures before the notice, lapses of information or shared decision",
    "The guidance that is followed, and whether it changed",
    "Actions, each with a person and a day; the day of the next review",
)


def _actions(found: Organisation) -> Block:
    rows = [(f"{review.number}.{action.number}", action.agreed_on.isoformat(), action.words) for review in found.reviews
            for action in review.open_actions]  # fmt: skip
    return Rows("Actions that are open", ("Number", "Agreed on", "Action"), rows) if rows else Words("No action is open.")


def _months(found: Organisation) -> Block:
    rows = [(m.month, "no list" if m.procedures is None else str(m.procedures), str(m.audited), str(m.gap)) for m in found.months]
    return Rows("Procedures by month", ("Month", "Procedures", "Audited", "Without audit entry"), rows)


# --- pieces of both --------------------------------------------------------------------------------------------------


def _now(unit: Unit) -> str:
    return f"{unit.now.astimezone(LONDON):%d %B %Y}"


def _facts(parts: Sequence[Part]) -> Block:
    return Facts([(part.title, f"{len(part.cases)} audited procedures") for part in parts])


def _returned(parts: Sequence[Part]) -> Iterator[Block]:
    for part in parts:
        rows = [(f"{month} months", str(t.events), str(t.cases)) for month, t in part.returned.items()]
        yield Rows(f"{part.title}: follow-ups", ("Follow-up", "Recorded", "Expected by now"), rows)


def _changes(parts: Sequence[Part]) -> Iterator[Block]:
    said: Callable[[Fraction | None], str] = outcomes.decimal
    for part in parts:
        rows = [
            (f"{c.measure}, {c.month} months", outcomes.shown(c.cases), said(c.before), said(c.after), said(c.change)) for c in part.changes
        ]
        yield Rows(f"{part.title}: means of cases with both values", ("Measure", "Cases", "Before", "After", "Change"), rows)


def _safety(parts: Sequence[Part]) -> Block:
    names = [name for name, _, _ in parts[0].safety]
    columns = [f"{part.title} (of {part.safety[0][2]})" for part in parts]
    rows = [(name, *(part.safety[i][1] for part in parts)) for i, name in enumerate(names)]
    return Rows("Events reported at any follow-up", ("Event", *columns), rows)
