"""Rules about who sees what, and what leaves the system: GOV-45, 46, 49 to 51."""

from collections.abc import Iterator

from trialdm.domain import roles
from trialdm.domain.ethics.case import Against, Case
from trialdm.domain.ethics.dates import add_months
from trialdm.domain.ethics.rules import Judgement, Rule
from trialdm.domain.lifecycle import label

Found = Iterator[Against]


def _blinded(case: Case) -> Found:
    if case.person is None or roles.sees_allocations(case.person.grants, case.protocol.id, None):
        return
    if not (case.unblinded and roles.may(case.person.grants, "export.unblinded", case.protocol.id)):
        yield Against(
            "Hidden to keep you blinded.",
            "An unblinded role in this trial; a blinded statistician waits for the unblinding of the whole trial.",
        )


def _reason_given(case: Case) -> Found:
    if not case.reason.strip():
        yield Against(
            "Say why the allocation has to be known now.", "A reason: it is logged, and the chief investigator and trial manager are told."
        )


def _assessor_blind(case: Case) -> Found:
    if case.assesses and case.knows_allocation:
        yield Against(
            "You have learned this participant's allocation: somebody else assesses the outcome.", "Another blinded assessor at the site."
        )


def _analysis_ready(case: Case) -> Found:
    if not case.register.standing("sap", case.on):
        yield Against("The statistical analysis plan is not signed.", "Sign the SAP, and record it in the approvals register.")
    if case.trial_state not in ("locked", "ended", "archived"):
        yield Against(
            f"The database is not locked: the trial is {label(case.trial_state)}.",
            "Lock the database first: one person asks for it, and another one confirms.",
        )
    elif not case.lock_confirmed:
        yield Against(
            "The lock of the database has not been confirmed.",
            "A second person confirms it: the data manager, where the trial manager asked.",
        )


def _sharing_consent(case: Case) -> Found:
    excluded = case.counts.get("not_sharing", 0)
    if excluded:
        yield Against(f"{excluded} participants excluded: no sharing consent.", "Nothing: their rows stay out of a set that is shared.")


def _retention(case: Case) -> Found:
    if case.ended_on is None:
        yield Against("Records are under retention: the trial has not ended.", "The end of the study, and the years of retention after it.")
        return
    until = add_months(case.ended_on, case.param("retention_months"))
    if case.on < until:
        yield Against(f"Records are under retention until {until.isoformat()}.", f"{until.isoformat()}, and the sponsor's decision.")


RULES = (
    Rule(
        "GOV-45", "Blinded people stay blinded", "Protocol, blinding", "protocol",
        (Judgement(("export-unblinded",), _blinded, needs=("person",)),), elsewhere="role",
    ),
    Rule(
        "GOV-46", "Unblinding is logged with its reason; an assessor who learned the allocation assesses no more", "Protocol, blinding",
        "protocol", (Judgement(("unblind",), _reason_given), Judgement(("save-form",), _assessor_blind)), elsewhere="role",
    ),
    Rule(
        "GOV-49", "Analysis plan signed and database locked before the allocation is revealed", "CONSORT and SPIRIT 2025", "GCP",
        (Judgement(("export-unblinded",), _analysis_ready),),
    ),
    Rule(
        "GOV-50", "Only those who agreed to sharing are in a shared set", "Consent form; UK GDPR", "consent",
        (Judgement(("export-sharing",), _sharing_consent, severity="warn"),), severity="warn", elsewhere="role",
    ),
    Rule(
        "GOV-51", "Records are kept until the end of retention", "MHRA, archiving and retention", "sponsor policy; law for a CTIMP",
        (Judgement(("destroy-records",), _retention),),
    ),
)  # fmt: skip
