"""Rules about safety, halts and the end of a study: GOV-27 to 31, 33, 34, 36, 37, 39, 48."""

from collections.abc import Iterator

from trialdm.domain.ethics.case import Against, Case
from trialdm.domain.ethics.dates import add_days, add_months
from trialdm.domain.ethics.rules import Judgement, Rule

Found = Iterator[Against]


def _urgent_measure_notice(case: Case) -> Found:
    days = case.param("usm_days_ctimp" if case.protocol.study_type == "ctimp" else "usm_days")
    for measure in case.register.of("usm", case.on):
        if not case.register.done(f"usm:{measure.entry}", case.on):
            due = add_days(measure.on, days).isoformat()
            yield Against(f"Written notice to REC due {due}.", "The notice sent, and its day recorded with the deadline.")


def _halt_notice(case: Case) -> Found:
    due = add_days(case.halted_on or case.on, case.param("halt_notice_days")).isoformat()
    yield Against(f"Notify REC of halt by {due}.", "The notice sent, and its day recorded with the deadline.")


def _end_declaration(case: Case) -> Found:
    early = case.ended_on is not None and case.trial_state != "locked"
    ended = case.ended_on or case.on
    due = add_days(ended, case.param("end_early_days" if early else "end_declaration_days")).isoformat()
    report = add_months(ended, case.param("final_report_months")).isoformat()
    yield Against(f"End-of-study declaration due {due}.", "The declaration sent, and its day recorded with the deadline.")
    yield Against(f"Final report with a plain-language summary due {report}.", "The report sent, and its day recorded.")


def _review_triggers(case: Case) -> Found:
    """What calls for a review by the committees: pooled numbers only, never by arm."""
    randomised, deaths = case.counts.get("randomised", 0), case.counts.get("died", 0)
    most = case.param("trigger_deaths_percent")
    if randomised and 100 * deaths > most * randomised:
        yield Against(
            f"{deaths} of {randomised} randomised participants have died: more than {most}%.", "A review by the data monitoring committee."
        )
    expected = case.counts.get("expected", 0)
    least = case.param("trigger_recruitment_percent")
    if expected and 100 * randomised < least * expected:
        yield Against(
            f"{randomised} participants are randomised where {expected} were expected: less than {least}%.",
            "A review by the trial steering committee.",
        )
    if case.register.of("identity-breach", case.on):
        yield Against("Somebody's identity has become known.", "A review by the sponsor and its data protection officer.")


RULES = (
    Rule(
        "GOV-27", "Urgent safety measure: act at once, written notice to the committee within days", "HRA, non-CTIMP safety reporting",
        "HRA expectation", (Judgement(("pause-trial", "review-safety"), _urgent_measure_notice, severity="clock"),),
        pack="non-ctimp", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-28", "Urgent safety measure of a CTIMP: committee and MHRA within 7 days", "HRA, CTIMP safety reporting", "law",
        (Judgement(("pause-trial", "review-safety"), _urgent_measure_notice, severity="clock"),),
        pack="ctimp", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-29", "A serious adverse event meets a criterion of seriousness", "HRA, safety reporting; ICH E2A", "HRA expectation",
        elsewhere="form",
    ),
    Rule(
        "GOV-30", "The site tells the sponsor of a serious adverse event without delay", "ICH GCP", "sponsor policy",
        severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-31", "A related and unexpected serious event reaches the committee within 15 days", "HRA, non-CTIMP safety reporting",
        "HRA expectation", pack="non-ctimp", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-33", "SUSAR to the MHRA: 7 days where fatal or life-threatening, otherwise 15", "HRA, CTIMP safety reporting", "law",
        pack="ctimp", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-34", "The sponsor may raise the investigator's causality, never lower it", "ICH GCP; HRA", "GCP", elsewhere="form",
    ),
    Rule(
        "GOV-36", "A temporary halt or early end is notified within 15 days", "HRA, safety and progress reports", "HRA expectation",
        (Judgement(("pause-trial",), _halt_notice, severity="clock"),), severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-37", "End of study declared within 90 days (15 if early), final report within 12 months", "HRA, ending your project",
        "HRA expectation", (Judgement(("end-trial",), _end_declaration, severity="clock"),), severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-39", "A potential serious breach is reviewed by the sponsor", "HRA standard procedures; law for a CTIMP", "sponsor policy",
        severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-48", "What calls for a review by the committees", "Protocol; DAMOCLES charter", "protocol",
        (Judgement(("review-safety",), _review_triggers, severity="warn"),), severity="warn",
    ),
)  # fmt: skip
