"""Rules of the treatment pathway (NICE special arrangements), beside the trial and never pooled with it: GOV-53 to 59."""

from collections.abc import Iterator

from trialdm.domain.ethics.case import Against, Case, Severity
from trialdm.domain.ethics.rules import Judgement, Rule

Found = Iterator[Against]

#: Codes of the timing of a procedure.
PRIMARY = 1


def _lead_informed(case: Case) -> Found:
    """Nobody audits a case before the lead has confirmed the notice; a procedure that came before is saved and flagged."""
    if case.site is None:
        return
    seen = case.register.of("governance-seen", case.on, site=case.site.code)
    if not seen:
        told = case.register.of("governance-notice", case.on, site=case.site.code)
        yield Against(
            "Inform the clinical governance lead first." if not told else "The clinical governance lead has not confirmed the notice.",
            "The notice to the clinical governance lead of this organisation, and the lead's confirmation, each with its true date, "
            "on the page of the organisation; then the case can be saved.",
        )
    elif case.audit and case.audit.on and seen[0].on > case.audit.on:
        yield Against(
            f"The procedure of {case.audit.on.isoformat()} came before the clinical governance lead confirmed the notice "
            f"({seen[0].on.isoformat()}).",
            "The case at the next review of outcomes.",
            "warn",
        )


def _decision_shared(case: Case) -> Found:
    """A case without explanation or shared decision is saved once the lapse has been reported, and flagged."""
    audit = case.audit
    if audit is None:
        return
    reported = audit.lapse_reported_on
    severity: Severity = "warn" if reported is not None else "block"
    mend = "The case at the next review of outcomes." if reported is not None else _MEND
    if audit.uncertainty != 1:
        yield Against("The uncertainty about benefit and harm has not been explained.", mend, severity)
    late = audit.shared_decision_on and audit.on and audit.shared_decision_on > audit.on
    if audit.shared_decision_on is None or late:
        told = "The shared decision conversation did not take place before the procedure."
        yield Against("Record the shared decision conversation." if reported is None else told, mend, severity)


_MEND = (
    "Information, uncertainty and the day of the conversation, before the procedure. Where it did not take place: the day on which that "
    "was reported to the clinical governance lead, on the same form."
)


def _team_selected(case: Case) -> Found:
    if case.guidance_final and case.audit is not None and case.audit.mdt != 1:
        yield Against("MDT selection not recorded.", "Selection by a multidisciplinary team (IPG804, 1.4).")


def _not_preventive(case: Case) -> Found:
    if case.audit is not None and "case_timing" in case.audit.unknown:
        yield Against("The timing of the procedure is not recorded.", "Its timing (a missing reason will not do).")
    if case.audit is not None and case.audit.timing == PRIMARY:
        yield Against(
            "Preventive use belongs in an approved study.",
            "Enter the person in the trial; only secondary procedures are audited here (NICE consultation 1.5; IPG804 1.6). A preventive "
            "procedure that was done outside a study is an incident: report it to the clinical governance lead.",
        )


RULES = (
    Rule(
        "GOV-53", "The clinical governance lead is informed before the first case", "NICE consultation 1.2", "NICE recommendation",
        (Judgement(("audit-case",), _lead_informed, needs=("site",)),), pack="audit",
    ),
    Rule(
        "GOV-54", "Information, uncertainty and shared decision recorded for each case", "NICE consultation 1.2", "NICE recommendation",
        (Judgement(("audit-case",), _decision_shared, needs=("audit",)),), pack="audit",
    ),
    Rule(
        "GOV-55", "Selection by a multidisciplinary team (final guidance)", "IPG804 1.4", "NICE recommendation",
        (Judgement(("audit-case",), _team_selected, needs=("audit",), severity="warn"),), pack="audit", severity="warn",
    ),
    Rule(
        "GOV-56", "Everybody is audited: procedures compared with audit records", "NICE consultation 1.2, 1.3", "NICE recommendation",
        pack="audit", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-57", "The organisation reviews outcomes and safety regularly", "NICE consultation 1.3", "NICE recommendation",
        pack="audit", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-58", "Each operator discusses outcomes at the annual appraisal", "NICE consultation 1.2", "NICE recommendation",
        pack="audit", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-59", "Preventive use is refused and pointed to the trial", "NICE consultation 1.5; IPG804 1.6", "NICE recommendation",
        (Judgement(("audit-case",), _not_preventive, needs=("audit",)),), pack="audit",
    ),
)  # fmt: skip
