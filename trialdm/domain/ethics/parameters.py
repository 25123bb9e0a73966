"""The numbers of the rules: each with its default and where the default comes from. A protocol may set any of them.

`law/REC condition`, `HRA expectation` and `sponsor policy` are kept apart: a sponsor's policy is never worded as law.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trialdm.domain.protocol import Protocol


@dataclass(frozen=True)
class Default:
    """A number that a rule uses where the protocol does not set it: value, unit, and source."""

    value: int
    unit: str
    source: str


PARAMETERS: Mapping[str, Default] = {
    "registry_days": Default(90, "days", "HRA research transparency: registered within 90 days of the opinion (GOV-09)"),
    "results_months": Default(12, "months", "HRA research transparency for clinical trials: summary 12 months after the end (GOV-10)"),
    "lapse_months": Default(24, "months", "HRA: approval of a CTIMP lapses without a UK participant within 2 years (GOV-11)"),
    "consent_entry_days": Default(7, "days", "Sponsor policy: a consent is recorded within this time (GOV-13)"),
    "gcp_months": Default(36, "months", "Sponsor policy: interval of training in good clinical practice; no law sets one (GOV-16)"),
    "gcp_warn_days": Default(60, "days", "Sponsor policy: warning before training runs out (GOV-16)"),
    "gcp_policy": Default(2, "0 off, 1 warn, 2 block", "Sponsor policy: what training that is too old does (GOV-16)"),
    "protocol_training": Default(1, "0 off, 1 warn, 2 block", "Sponsor policy: training in the protocol before a task (GOV-14)"),
    "site_initiation": Default(1, "0 no, 1 yes", "Sponsor policy: a site initiation visit before the green light (GOV-07)"),
    "consultee_route": Default(0, "0 no, 1 yes", "Protocol: adults who lack capacity may be included (GOV-17)"),
    "validation_days": Default(7, "days", "HRA, modifications: validated within 1 working day, 7 days at most to put right (GOV-22)"),
    "decision_days": Default(35, "days", "HRA, modifications: decision within 35 days of validation (GOV-22)"),
    "answer_days": Default(60, "days", "HRA, modifications: the sponsor answers a request within 60 days (GOV-22)"),
    "final_days": Default(10, "days", "HRA, modifications: decision within 10 days of the answer (GOV-22)"),
    "site_objection_days": Default(35, "days", "IRAS help: days for a site to object, categories A and B (GOV-24)"),
    "usm_days": Default(3, "days", "HRA, non-CTIMP safety reporting: written notice of an urgent safety measure (GOV-27)"),
    "usm_days_ctimp": Default(7, "days", "HRA, CTIMP safety reporting from 28 April 2026 (GOV-28)"),
    "sae_sponsor_hours": Default(24, "hours", "Sponsor policy: serious adverse events reach the sponsor (GOV-30)"),
    "rec_sae_days": Default(15, "days", "HRA, non-CTIMP: from the chief investigator's awareness (GOV-31)"),
    "susar_fatal_days": Default(7, "days", "HRA, CTIMP: fatal or life-threatening SUSAR to the MHRA (GOV-33)"),
    "susar_days": Default(15, "days", "HRA, CTIMP: other SUSAR to the MHRA (GOV-33)"),
    "cag_months": Default(11, "months", "HRA: review of section 251 support before each anniversary (GOV-35)"),
    "halt_notice_days": Default(15, "days", "HRA: temporary halt or early end notified (GOV-36)"),
    "end_declaration_days": Default(90, "days", "HRA: declaration of the end of the study (GOV-37)"),
    "end_early_days": Default(15, "days", "HRA: declaration of an early end (GOV-37)"),
    "final_report_months": Default(12, "months", "HRA: final report with plain-language summary (GOV-37)"),
    "serious_breach_days": Default(7, "days", "Sponsor policy for a non-CTIMP, law for a CTIMP: a potential serious breach (GOV-39)"),
    "trigger_deaths_percent": Default(20, "%", "Sponsor policy: deaths among randomised that call for a review (GOV-48)"),
    "trigger_recruitment_percent": Default(70, "%", "Sponsor policy: recruitment against plan below which it is reviewed (GOV-48)"),
    "retention_months": Default(300, "months", "Sponsor policy: records kept after the archive; statutory for a CTIMP (GOV-51)"),
    "min_tmr_cases": Default(5, "cases", "Sponsor policy: supervised TMR cases (NICE consultation document 3.7; GOV-52)"),
    "reconcile_months": Default(1, "months", "Organisation's policy: procedures compared with audit records (GOV-56)"),
    "review_months": Default(6, "months", "Organisation's policy: review of outcomes and safety (NICE consultation 1.3; GOV-57)"),
    "appraisal_months": Default(12, "months", "NICE consultation 1.2: outcomes discussed at annual appraisal (GOV-58)"),
    "rand_window_days": Default(14, "days", "Protocol: randomised at most this long before the planned operation (GOV-44)"),
}


def param(protocol: Protocol, name: str) -> int:
    """A number of the rules, as the protocol sets it or by default."""
    return protocol.param(name, PARAMETERS[name].value)
