"""What may be done here, today, by this person, and every reason why not.

The register (`register`, `modifications`) is data with dates; a `Case` is one act that somebody wants to do; each rule
(`rules`) is a small function over the case that answers with the reasons against it; `gate` asks every rule of an act and
returns all reasons at once. Rules that need a participant, a person or a site that the case does not name are listed as not
evaluated. `clocks` counts the days. Days are days in Europe/London.

Sources: NICE interventional procedures guidance on TMR (consultation 2025, sections 1.1-1.6; final IPG804), the UK Policy
Framework, HRA pages, the Mental Capacity Act and CONSORT 2025, named with each rule. Sponsor policy is called so, never law.
"""

from trialdm.domain.ethics.case import (
    ACTIONS,
    Against,
    Answer,
    AuditCase,
    Capacity,
    Case,
    ConsentGiven,
    Person,
    Reason,
    Severity,
    Standing,
    basis,
    case_of,
)
from trialdm.domain.ethics.gate import RULES, gate, holds
from trialdm.domain.ethics.modifications import Modification, Step
from trialdm.domain.ethics.parameters import PARAMETERS, param
from trialdm.domain.ethics.register import (
    BODIES,
    BODY_NAMES,
    COVERS,
    DOCUMENT_KINDS,
    DOCUMENT_NAMES,
    FACTS,
    GOOD,
    NATIONAL_BODY,
    SITE_BODIES,
    TRAININGS,
    TWO_PERSON,
    Approval,
    Condition,
    Credential,
    Delegation,
    Document,
    Fact,
    Register,
    Training,
)
from trialdm.domain.ethics.rules import PACKS, Judgement, Rule

__all__ = [
    "ACTIONS", "BODIES", "BODY_NAMES", "COVERS", "DOCUMENT_KINDS", "DOCUMENT_NAMES", "FACTS", "GOOD", "NATIONAL_BODY", "PACKS",
    "PARAMETERS", "RULES", "SITE_BODIES", "TRAININGS", "TWO_PERSON",
    "Against", "Answer", "Approval", "AuditCase", "Capacity", "Case", "Condition", "ConsentGiven", "Credential", "Delegation",
    "Document", "Fact", "Judgement", "Modification", "Person", "Reason", "Register", "Rule", "Severity", "Standing", "Step",
    "Training", "basis", "case_of", "gate", "holds", "param",
]  # fmt: skip
