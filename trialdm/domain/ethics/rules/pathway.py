"""Rules of the treatment pathway (NICE special arrangements), beside the trial and never pooled with it: GOV-53 to 59."""

from collections.abc import Iterator

from trialdm.domain.ethics.case import Against, Case
from trialdm.domain.ethics.rules import Judgement, Rule

Found = Iterator[Against]

#: Codes of the timing of a procedure.
PRIMARY = 1


def _lead_informed(case: Case) -> Found:
    if case.site is None:
        return
    on = case.audit.on if case.audit and case.audit.on else case.on
    seen = case.register.of("governance-seen", on, site=case.site.code)
    if not seen:
        told = case.register.of("governance-notice", on, site=case.site.code)
        yield Against(
            "Inform the clinical governance lead first." if not told else "The clinical governance lead has not confirmed the notice.",
            "The notice to the clinical governance lead of this organisation, and the lead's confirmation, before the first procedure.",
        )


def _decision_shared(case: Case) -> Found:
    audit = case.audit
    if audit is None:
        return
    if audit.uncertainty == 0:
        yield Against(
            "The uncertainty about benefit and harm has not been explained.", "Information, uncertainty and the shared decision recorded."
        )
    late = audit.shared_decision_on and audit.on and audit.shared_decision_on > audit.on
    if audit.shared_decision_on is None or late:
        yield Against("Record the shared decision conversation.", "The day of the conversation, before the procedure.")


def _team_selected(case: Case) -> Found:
    if case.guidance_final and case.audit is not None and case.audit.mdt != 1:
        yield Against("MDT selection not recorded.", "Selection by a multidisciplinary team (IPG804, 1.4).")


def _not_preventive(case: Case) -> Found:
    if case.audit is not None and case.audit.timing == PRIMARY:
        yield Against(
            "Preventive use belongs in an approved study.",
            "Enter the person in the trial; only secondary procedures are audited here (NICE consultation 1.5; IPG804 1.6).",
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
