"""Deadlines: what is due by which day or hour, who owes it, and whether it was met.

A deadline follows from what is on record: approvals, modifications, steps of the trial, serious adverse events, deviations,
dated facts. Nothing is entered as a deadline; what ends one is an approval, a form, a step, or the fact that it was done.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta

from trialdm.domain import pathway
from trialdm.domain.ethics.dates import add_days, add_months
from trialdm.domain.ethics.deadline import STATES, Clock, Deadline, SeriousEvent, Situation
from trialdm.domain.ethics.modifications import WAITS, Modification
from trialdm.domain.ethics.register import GOOD

_OFFICE = ("trial-manager", "sponsor")
_SAFETY = ("chief-investigator", "safety-reviewer", "sponsor")


def _registration(at: Situation) -> Iterator[Deadline]:
    opinion = next((a for a in at.register.decisions("rec", at.on) if a.status.startswith("favourable") and a.decided_on), None)
    if opinion is None or opinion.decided_on is None:
        return
    latest = add_days(opinion.decided_on, at.param("registry_days"))
    due = min(latest, at.first_consent) if at.first_consent else latest
    registered = at.register.decisions("registry", at.on)
    done = registered[0].starts if registered else None
    rule = "GOV-10" if at.medicine else "GOV-09"
    yield Deadline("registration", rule, "Register the trial on a public registry", opinion.decided_on, due, _OFFICE, done)


def _lapse(at: Situation) -> Iterator[Deadline]:
    approved = at.register.latest("mhra", at.on)
    if at.medicine and approved and approved.starts:
        due = add_months(approved.starts, at.param("lapse_months"))
        yield Deadline("lapse", "GOV-11", "First participant in the United Kingdom, or the approval lapses", approved.starts, due,
                       _OFFICE, at.first_participant)  # fmt: skip


def _modifications(at: Situation) -> Iterator[Deadline]:
    for modification in at.register.modifications:
        if modification.kind == "substantial":
            yield from _committee(at, modification)
        if modification.category in WAITS:
            yield from _sites(at, modification)


#: (the step that starts it, parameter, title, steps that end it, owners)
_COMMITTEE = (
    ("submit", "validation_days", "Validation of modification {}", ("validate", "withdraw"), _OFFICE),
    ("validate", "decision_days", "Decision on modification {}", ("favourable", "unfavourable", "ask", "withdraw"), _OFFICE),
    ("ask", "answer_days", "Answer to the committee about modification {}", ("answer", "withdraw"), _OFFICE),
    ("answer", "final_days", "Final decision on modification {}", ("favourable", "unfavourable", "withdraw"), _OFFICE),
)


def _committee(at: Situation, modification: Modification) -> Iterator[Deadline]:
    for start, days, title, ends, owners in _COMMITTEE:
        begun = modification.when(start)
        if begun is None or begun > at.on:
            continue
        done = min((day for day in map(modification.when, ends) if day is not None and day >= begun), default=None)
        key = f"modification:{modification.ref}:{start}"
        yield Deadline(key, "GOV-22", title.format(modification.ref), begun, add_days(begun, at.param(days)), owners, done)


def _sites(at: Situation, modification: Modification) -> Iterator[Deadline]:
    for site in at.protocol.sites:
        told = modification.when("notify", site.code)
        if told is None or told > at.on:
            continue
        answers = (modification.when(event, site.code) for event in ("agree", "object", "implement"))
        done = min((day for day in answers if day is not None), default=None)
        due = add_days(told, at.param("site_objection_days"))
        title = f"Objection of site {site.code} to modification {modification.ref}, if any"
        passed = due if done is None and at.on > due else done  # silence is no objection
        yield Deadline(
            f"objection:{modification.ref}:{site.code}", "GOV-24", title, told, due, ("principal-investigator",), passed, site.code
        )


def _urgent_measures(at: Situation) -> Iterator[Deadline]:
    rule, days = ("GOV-28", "usm_days_ctimp") if at.medicine else ("GOV-27", "usm_days")
    for measure in at.register.of("usm", at.on):
        key = f"usm:{measure.entry}"
        title = "Written notice of an urgent safety measure to the committee" + (" and the MHRA" if at.medicine else "")
        yield Deadline(key, rule, title, measure.on, add_days(measure.on, at.param(days)), _SAFETY, at.done(key), measure.site)


def _serious(at: Situation) -> Iterator[Deadline]:
    for event in at.serious:
        about = f"{event.participant}:{event.row}"
        if event.aware is not None:
            due = event.aware + timedelta(hours=at.param("sae_sponsor_hours"))
            title = f"Serious adverse event {event.row} to the sponsor"
            yield Deadline(f"sae:{about}", "GOV-30", title, event.aware.date(), due, ("principal-investigator", "safety-reviewer"),
                           event.reported, event.site, event.participant)  # fmt: skip
        started = event.ci_aware or (event.reported.date() if event.reported else None)
        if event.related and event.unexpected and started is not None:
            yield _expedited(at, event, about, started)


def _expedited(at: Situation, event: SeriousEvent, about: str, started: date) -> Deadline:
    if at.medicine:
        days = at.param("susar_fatal_days" if event.fatal else "susar_days")
        title, rule = f"SUSAR {event.row} to the MHRA", "GOV-33"
    else:
        days, rule = at.param("rec_sae_days"), "GOV-31"
        title = f"Related and unexpected event {event.row} to the ethics committee"
    due = add_days(started, days)
    return Deadline(f"rec:{about}", rule, title, started, due, _SAFETY, event.sent, event.site, event.participant)


def _section_251(at: Situation) -> Iterator[Deadline]:
    support = at.register.standing("cag", at.on)
    if support is None or support.starts is None:
        return
    year = 0
    while (starts := add_months(support.starts, 12 * year)) <= at.on:
        key, due = f"cag:{starts.year}", add_months(starts, at.param("cag_months"))
        yield Deadline(key, "GOV-35", "Yearly review of section 251 support", starts, due, _OFFICE, at.done(key))
        year += 1


def _halts(at: Situation) -> Iterator[Deadline]:
    for event, day in at.moved("pause", "terminate"):
        key = f"{event}:{day.isoformat()}"
        title = "Notice of a temporary halt to the committee" if event == "pause" else "Notice of the early end to the committee"
        yield Deadline(key, "GOV-36", title, day, add_days(day, at.param("halt_notice_days")), _OFFICE, at.done(key))


def _end(at: Situation) -> Iterator[Deadline]:
    for event, day in at.moved("end", "terminate")[:1]:
        days = at.param("end_early_days" if event == "terminate" else "end_declaration_days")
        yield Deadline("end:declaration", "GOV-37", "Declaration of the end of the study", day, add_days(day, days), _OFFICE,
                       at.done("end:declaration"))  # fmt: skip
        due = add_months(day, at.param("final_report_months"))
        title = "Final report with a plain-language summary"
        yield Deadline("end:report", "GOV-37", title, day, due, ("chief-investigator", "sponsor"), at.done("end:report"))
        if at.medicine:
            results = add_months(day, at.param("results_months"))
            yield Deadline("end:results", "GOV-10", "Summary of results in the registry", day, results, _OFFICE, at.done("end:results"))


def _breaches(at: Situation) -> Iterator[Deadline]:
    for breach in at.breaches:
        key = f"breach:{breach.participant}:{breach.row}"
        due = add_days(breach.found, at.param("serious_breach_days"))
        title = f"Sponsor's review of a potential serious breach (deviation {breach.row})"
        yield Deadline(key, "GOV-39", title, breach.found, due, ("sponsor",), at.done(key), breach.site, breach.participant)


def _insurance(at: Situation) -> Iterator[Deadline]:
    """The cover that began last is renewed by its last day; done by a cover on record that goes on from it without a gap."""
    cover = at.register.latest("insurance", at.on)
    ended = any(event in ("end", "terminate", "archive") for event, _ in at.moves)
    if ended or cover is None or cover.status not in GOOD or cover.effective_to is None or add_days(at.on, 60) < cover.effective_to:
        return
    last = cover.effective_to
    renewals = [
        min(renewal.decided_on or renewal.starts, last)
        for renewal in at.register.approvals
        if renewal.body == "insurance" and renewal.status in GOOD
        and renewal.starts is not None and at.on < renewal.starts <= add_days(last, 1)
        and (renewal.effective_to is None or renewal.effective_to > last)
    ]  # fmt: skip
    key = f"insurance:{last.isoformat()}"
    yield Deadline(key, "GOV-40", "Renewal of insurance or indemnity", add_days(last, -60), last, _OFFICE, min(renewals, default=None))


def _training(at: Situation) -> Iterator[Deadline]:
    """Training of people on the delegation log that ends within the sponsor's days of warning (sponsor policy)."""
    if not at.param("gcp_policy"):
        return
    team = {line.person: line.site for line in at.register.delegations if line.signed and (line.end is None or line.end >= at.on)}
    for person, site in team.items():
        ends = at.register.trained_until(person, "gcp", at.on, at.param("gcp_months"))
        if ends is not None and add_days(ends, -at.param("gcp_warn_days")) <= at.on:
            yield Deadline(f"gcp:{person}:{ends.isoformat()}", "GOV-16", "Training in good clinical practice, again (sponsor policy)",
                           add_days(ends, -at.param("gcp_warn_days")), ends, (), None, site, person=person)  # fmt: skip


#: Every clock of a trial.
CLOCKS: tuple[Clock, ...] = (
    _registration,
    _lapse,
    _modifications,
    _urgent_measures,
    _serious,
    _section_251,
    _halts,
    _end,
    _breaches,
    _insurance,
    _training,
    *pathway.CLOCKS,
)


def deadlines(at: Situation, clocks: Iterable[Clock] = CLOCKS) -> list[Deadline]:
    """Every deadline that has begun, those that are due first at the top. A historical trial has none."""
    if at.protocol.historical:
        return []
    return sorted((d for clock in clocks for d in clock(at)), key=lambda d: (d.done is not None, d.last_day, d.key))


def counted(found: Iterable[Deadline], now: datetime) -> Mapping[str, int]:
    """How many deadlines are in each state."""
    states = [deadline.state(now) for deadline in found]
    return {state: states.count(state) for state in STATES if state in states}
