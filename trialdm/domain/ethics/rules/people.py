"""Rules about who does what: GOV-14, 15, 16, 52."""

from collections.abc import Iterator
from datetime import date

from trialdm.domain import roles
from trialdm.domain.ethics.case import Against, Case, Severity
from trialdm.domain.ethics.dates import add_days
from trialdm.domain.ethics.register import TRAININGS
from trialdm.domain.ethics.rules import Judgement, Rule

Found = Iterator[Against]


def _task(case: Case) -> str:
    if case.action == "save-form":
        return roles.FORM_TASK.get(case.form.kind, "crf") if case.form else "crf"
    return {"consent": "consent", "randomise": "randomise", "operate": "operate"}[case.action]


def _delegated(case: Case) -> Found:
    if case.person is None or case.site is None:
        return
    task, person, on = _task(case), case.person, case.on
    if not case.register.delegated(person.id, case.site.code, task, on):
        yield Against(
            f"{person.name} is not delegated for {roles.TASKS[task]} at site {case.site.code} on {on.isoformat()}.",
            "A line of the delegation log for this task, signed by the principal investigator and in force on this day.",
        )
    yield from _trained(case)


def _taker_delegated(case: Case) -> Found:
    """Whoever took the consent was on the log for it on that day."""
    given = case.participant.consent if case.participant else None
    if given is None or case.site is None:
        return
    mend = "Consent taken by somebody who is on the delegation log for it on the day."
    if "consent_taker" in given.unknown:
        yield Against("It is not recorded who took the consent.", mend)
    elif given.taken_by:
        on = given.renewed or given.at.date()
        if not case.register.delegated_then(given.taken_by, case.site.code, "consent", on):
            yield Against(f"Whoever took the consent is not delegated for it at site {case.site.code} on {on.isoformat()}.", mend)


def _operator_delegated(case: Case) -> Found:
    """Whoever operated was on the log for it on that day."""
    operated = case.participant.surgeon_operated if case.participant else None
    if operated is None or case.site is None:
        return
    held = case.register.credential(operated, case.on, site=case.site.code)
    if held and not case.register.delegated_then(held.person, case.site.code, "operate", case.on):
        yield Against(
            f"Surgeon {operated} is not delegated for operating at site {case.site.code} on {case.on.isoformat()}.",
            "A line of the delegation log for operating, in force on the day.",
        )


def _trained(case: Case) -> Found:
    if case.person is None:
        return
    person, on = case.person, case.on
    if not case.register.trained(person.id, "gcp", on):
        yield Against(
            f"{person.name} has no valid training in {TRAININGS['gcp']} on {on.isoformat()}.",
            "A training certificate within the sponsor's interval (sponsor policy).",
        )
    policy = _severity(case.param("protocol_training"))
    if policy and not case.register.trained(person.id, "protocol", on):
        yield Against(
            f"{person.name} has no training in the protocol on record on {on.isoformat()}.",
            "The day of the training in the protocol (sponsor policy).",
            policy,
        )


def training(case: Case) -> Found:
    """What the person of a case lacks in training on its day, whatever the act: GOV-14 and the interval of GOV-16."""
    yield from _trained(case)
    yield from _training_interval(case)


def _severity(policy: int) -> Severity | None:
    """What a sponsor's policy does: nothing, warn or block."""
    return {1: "warn", 2: "block"}.get(policy)  # type: ignore[return-value]


def _training_interval(case: Case) -> Found:
    policy = _severity(case.param("gcp_policy"))
    if case.person is None or policy is None:
        return
    months = case.param("gcp_months")
    ends = case.register.trained_until(case.person.id, "gcp", case.on, months)
    if ends is None:
        return
    if ends < case.on:
        yield Against(
            f"Training is older than the sponsor's {months}-month policy: that of {case.person.name} ended on {ends.isoformat()}.",
            "Training in good clinical practice within the interval (sponsor policy).",
            policy,
        )
    elif add_days(ends, -case.param("gcp_warn_days")) <= case.on:
        yield Against(
            f"The training of {case.person.name} in {TRAININGS['gcp']} ends on {ends.isoformat()} (sponsor policy).",
            "Training before then.",
            "warn",
        )


def _line_signed(case: Case) -> Found:
    """A line is countersigned by somebody else, before the task starts."""
    if case.person is not None and case.person.id == case.line_of:
        yield Against(
            "Nobody countersigns their own line of the delegation log.",
            "The principal investigator's signature; for the principal investigator's own line the chief investigator's, and for the "
            "chief investigator's the sponsor's.",
        )
    elif not case.line_of:
        yield Against("PI has not signed this delegation.", "The principal investigator's signature before the task starts.")
    if case.line_start is not None and case.line_start < case.on:
        yield Against(
            f"The line starts on {case.line_start.isoformat()}, before it was signed: it counts from {case.on.isoformat()} on.",
            "A start from the day of the signature on.",
            "warn",
        )


def _surgeon_credentialed(case: Case) -> Found:
    if case.participant is None or case.participant.later:
        return
    surgeon, planned = case.participant.surgeon_planned, case.participant.surgery_planned
    if case.action == "operate" and case.participant.surgeon_operated is not None:
        surgeon, planned = case.participant.surgeon_operated, case.on
    if surgeon is None:
        yield Against("No nerve surgeon is named for the operation.", "A credentialed surgeon in the planned-operation form.")
        return
    yield from _credential(case, surgeon, case.site.code if case.site else "", planned or case.on)


def credentialed(case: Case) -> Found:
    """What the person of a case lacks for operating themselves at its site on its day (GOV-52)."""
    if case.person is None:
        return
    own = next((c.surgeon for c in reversed(case.register.credentials) if c.person == case.person.id), None)
    if own is None:
        yield Against(f"{case.person.name} has no credential for TMR on record.", "A credential valid on the day (sponsor policy).")
    else:
        yield from _credential(case, own, case.site.code if case.site else "", case.on)


def _credential(case: Case, surgeon: int, site: str, on: date) -> Found:
    credential = case.register.credential(surgeon, on, site=site)
    least = case.param("min_tmr_cases")
    if credential is None:
        yield Against(
            f"Surgeon {surgeon} is not credentialed for TMR on {on.isoformat()}.",
            "A credential valid on that day (sponsor policy).",
        )
    elif credential.cases < least:
        yield Against(
            f"Surgeon {surgeon} has {credential.cases} supervised TMR cases; {least} are needed.",
            f"{least} supervised cases on record (sponsor policy).",
        )


def _audit_surgeon(case: Case) -> Found:
    if case.audit is not None and "case_surgeon" in case.audit.unknown:
        yield Against("The surgeon is not recorded.", "The surgeon who operated: outcomes are audited for each operator.")
    if case.audit is not None and case.audit.surgeon is not None:
        yield from _credential(case, case.audit.surgeon, case.site.code if case.site else "", case.audit.on or case.on)


RULES = (
    Rule(
        "GOV-14", "Only delegated and trained staff", "ICH GCP; HRA and MHRA statement on training",
        "GCP; training interval is sponsor policy",
        (
            Judgement(("consent", "randomise", "operate", "save-form"), _delegated, needs=("person", "site")),
            Judgement(("consent", "randomise"), _taker_delegated),
            Judgement(("operate",), _operator_delegated),
        ),
    ),
    Rule(
        "GOV-15", "A line of the delegation log is signed by the person and the principal investigator before the task starts",
        "ICH GCP", "GCP", (Judgement(("delegate",), _line_signed),),
    ),
    Rule(
        "GOV-16", "Training in good clinical practice within the sponsor's interval",
        "HRA and MHRA joint statement: no law sets an interval",
        "sponsor policy", (Judgement(("consent", "randomise", "operate", "save-form"), _training_interval, needs=("person",)),),
        pack="non-ctimp", elsewhere="deadline",
    ),
    Rule(
        "GOV-52", "The surgeon is credentialed for the procedure", "NICE consultation 3.7; CONSORT 2025 item 12b", "sponsor policy",
        (
            Judgement(("randomise", "operate"), _surgeon_credentialed, needs=("participant",)),
            Judgement(("audit-case",), _audit_surgeon, needs=("audit",), severity="warn"),
        ),
    ),
)  # fmt: skip
