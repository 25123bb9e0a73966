"""The gate: what may be done here, today, by this person, and every reason why not.

The register (approvals, documents, delegation, training, credentials) is data with dates; each rule is a small function
over one `Case` that answers None or the reasons against it, in the words of `RULES`. `gate` asks every rule of an action
and returns all reasons at once. Rules that need a participant, a person or a site that the case does not name are listed as
not evaluated. Days are days in Europe/London.

Sources: NICE interventional procedures guidance on TMR (consultation 2025, sections 1.1-1.6; final IPG804), the UK Policy
Framework, HRA pages and CONSORT 2025, named with each rule. Sponsor policy is called so, never law.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

from trialdm.domain import roles
from trialdm.domain.crf import Form
from trialdm.domain.errors import Detail, Refused
from trialdm.domain.lifecycle import label
from trialdm.domain.protocol import NATIONS, Protocol, Site
from trialdm.domain.roles import Grant

#: Acts that the gate decides, with their names for people.
ACTIONS = {
    "open-trial": "open the trial to recruitment",
    "activate-site": "activate the site",
    "consent": "take consent",
    "randomise": "randomise",
    "operate": "operate",
    "save-form": "save a form",
    "export-blinded": "export blinded data",
    "export-unblinded": "export data with the allocation",
}

#: Bodies that approve, with the statuses that each can give; the first of each tuple of good ones stand in `GOOD`.
BODIES: Mapping[str, tuple[str, ...]] = {
    "rec": (
        "not_submitted",
        "submitted",
        "valid",
        "further_information",
        "favourable",
        "favourable_with_conditions",
        "unfavourable",
        "withdrawn",
        "suspended",
    ),
    "hra_hcrw": ("submitted", "granted", "refused", "withdrawn", "suspended"),
    "nrs": ("submitted", "granted", "refused", "withdrawn", "suspended"),
    "hsc": ("submitted", "granted", "refused", "withdrawn", "suspended"),
    "registry": ("registered", "withdrawn"),
    "insurance": ("in_force", "withdrawn"),
    "dpia": ("signed", "withdrawn"),
    "sponsor": ("confirmed", "withdrawn"),
    "sap": ("signed", "withdrawn"),
    "site_cc": ("confirmed", "refused", "withdrawn", "suspended"),
    "site_greenlight": ("granted", "withdrawn", "suspended"),
}

#: Statuses by which an approval stands.
GOOD = frozenset({"favourable", "favourable_with_conditions", "granted", "registered", "in_force", "signed", "confirmed"})

#: Bodies whose approval covers one site.
SITE_BODIES = frozenset({"site_cc", "site_greenlight"})

#: The body whose permission each nation needs beside the ethics opinion, and its name.
NATIONAL_BODY = {
    "ENG": ("hra_hcrw", "HRA and HCRW approval"),
    "WAL": ("hra_hcrw", "HRA and HCRW approval"),
    "SCO": ("nrs", "NHS Scotland management permission"),
    "NIR": ("hsc", "HSC permission"),
}

DOCUMENT_KINDS = ("PROTOCOL", "PIS", "ICF", "GP", "QUESTIONNAIRE")

#: Kinds of form that may be entered before consent, or about somebody who allows no further data collection.
BEFORE_CONSENT = frozenset({"screening", "consent", "deviation", "status", "system"})
AFTER_FULL_WITHDRAWAL = frozenset({"status", "deviation", "system"})

Severity = Literal["block", "warn", "clock"]


# --- the register ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """A condition of an approval; one that must be met before the start blocks until there is evidence."""

    text: str
    pre_start: bool = False
    met_on: date | None = None
    evidence: str = ""


@dataclass(frozen=True)
class Approval:
    """One decision of one body, in force from a day. Append-only: a later row supersedes an earlier one."""

    body: str
    status: str
    ref: str = ""
    nations: tuple[str, ...] = ()
    site: str = ""
    submitted_on: date | None = None
    valid_on: date | None = None
    decided_on: date | None = None
    effective_from: date | None = None
    effective_to: date | None = None
    agreement_signed_on: date | None = None
    conditions: tuple[Condition, ...] = ()
    recorded_by: str = ""
    second_check_by: str = ""

    @property
    def starts(self) -> date | None:
        """The first day of this status. What only has been asked for stands from that day; a good decision never does."""
        return self.effective_from or self.decided_on or (None if self.status in GOOD else self.submitted_on)


@dataclass(frozen=True)
class Document:
    """A version of a document. `sites` names the day on which a site takes it up, where that differs."""

    kind: str
    code: int
    version: str
    dated: date
    approved_on: date | None
    effective_from: date
    superseded_on: date | None = None
    nations: tuple[str, ...] = tuple(NATIONS)
    sites: Mapping[str, date] = field(default_factory=dict)

    def starts_at(self, site: Site) -> date:
        return self.sites.get(site.code, self.effective_from)

    @property
    def title(self) -> str:
        return f"{self.kind} v{self.version} ({self.dated.isoformat()})"


@dataclass(frozen=True)
class Delegation:
    """A line of the delegation log: what a person may do at a site (all sites where empty), from when to when."""

    person: str
    site: str
    tasks: frozenset[str]
    start: date
    end: date | None = None
    signed_by_pi: bool = True

    def covers(self, person: str, site: str, task: str, on: date) -> bool:
        """Whether this line allows the task there on that day."""
        here = self.person == person and self.site in ("", site) and task in self.tasks and self.signed_by_pi
        return here and self.start <= on and (self.end is None or on <= self.end)


@dataclass(frozen=True)
class Training:
    person: str
    kind: str
    on: date
    valid_to: date | None = None


@dataclass(frozen=True)
class Credential:
    """A surgeon's credential for the procedure: number used in forms, cases so far, days of validity."""

    surgeon: int
    person: str
    name: str
    site: str
    valid_from: date
    valid_to: date | None
    cases: int


@dataclass(frozen=True)
class Register:
    """Everything on record that the gate looks at, in the order of recording."""

    approvals: tuple[Approval, ...] = ()
    documents: tuple[Document, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    trainings: tuple[Training, ...] = ()
    credentials: tuple[Credential, ...] = ()

    def latest(self, body: str, on: date, *, nation: str = "", site: str = "") -> Approval | None:
        """The newest row of a body that has begun by that day, in force or not."""
        rows = [
            (approval.starts, order, approval)
            for order, approval in enumerate(self.approvals)
            if approval.body == body
            and approval.starts is not None
            and approval.starts <= on
            and (not approval.nations or not nation or nation in approval.nations)
            and approval.site == site
        ]
        return max(rows, key=lambda row: (row[0], row[1]))[2] if rows else None

    def standing(self, body: str, on: date, *, nation: str = "", site: str = "") -> Approval | None:
        """The approval in force on that day, or None."""
        newest = self.latest(body, on, nation=nation, site=site)
        if newest is None or newest.status not in GOOD:
            return None
        return None if newest.effective_to and newest.effective_to < on else newest

    def current_document(self, kind: str, site: Site, on: date) -> Document | None:
        """The version of a document that is to be used at a site on a day."""
        begun = [
            document
            for document in self.documents
            if document.kind == kind
            and site.nation in document.nations
            and document.approved_on is not None
            and document.approved_on <= on
            and document.starts_at(site) <= on
        ]
        newest = max(begun, key=lambda document: (document.starts_at(site), document.code), default=None)
        if newest and newest.superseded_on and newest.superseded_on <= on:
            later = (d for d in self.documents if d.kind == kind and site.nation in d.nations and d.code > newest.code)
            return newest if any(d.starts_at(site) > on for d in later) else None
        return newest

    def delegated(self, person: str, site: str, task: str, on: date) -> bool:
        """Whether a signed line of the log lets the person do the task there on that day."""
        return any(line.covers(person, site, task, on) for line in self.delegations)

    def trained(self, person: str, kind: str, on: date) -> bool:
        """Whether a training of this kind is on record and has not run out by that day."""
        return any(
            t.person == person and t.kind == kind and t.on <= on and (t.valid_to is None or on <= t.valid_to) for t in self.trainings
        )

    def credential(self, surgeon: int, on: date, *, site: str = "") -> Credential | None:
        """The surgeon's credential valid on that day at that site, or at any site where none is named."""
        held = (c for c in reversed(self.credentials) if c.surgeon == surgeon and site in ("", c.site))
        return next((c for c in held if c.valid_from <= on and (c.valid_to is None or on <= c.valid_to)), None)


# --- the case --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """Who wants to act."""

    id: str
    name: str
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True)
class ConsentGiven:
    """The consent on record: when, and on which versions of the documents (their codes)."""

    at: datetime
    documents: Mapping[str, int]


@dataclass(frozen=True)
class Standing:
    """What is known of a participant when somebody wants to act for them; `later` for a randomisation after the first one."""

    id: str
    state: str
    consent: ConsentGiven | None = None
    eligibility_complete: bool = False
    eligibility_failures: tuple[str, ...] = ()
    eligibility_signed: bool = False
    baseline_missing: tuple[str, ...] = ()
    factors_missing: tuple[str, ...] = ()
    factors_changed: tuple[str, ...] = ()
    randomised: bool = False
    surgery_planned: date | None = None
    surgeon_planned: int | None = None
    withdrawal_level: int = 0
    later: bool = False


@dataclass(frozen=True)
class Case:
    """One act that somebody wants to do: everything that a rule may look at."""

    action: str
    on: date
    protocol: Protocol
    register: Register
    trial_state: str
    site: Site | None = None
    site_state: str = ""
    person: Person | None = None
    participant: Standing | None = None
    form: Form | None = None
    visit: str = ""
    form_day: date | None = None
    randomised_count: int = 0
    unblinded: bool = False


@dataclass(frozen=True)
class Reason:
    """Why not (`block`), or what to watch (`warn`, `clock`), and what would allow it."""

    rule: str
    severity: Severity
    message: str
    needs: str


@dataclass(frozen=True)
class Answer:
    """The gate's answer, to be shown and to be stored with the act."""

    action: str
    on: date
    reasons: tuple[Reason, ...]
    not_evaluated: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        return not any(reason.severity == "block" for reason in self.reasons)

    def to_json(self) -> dict[str, object]:
        """The answer as commands and the API give it."""
        return {
            "allowed": self.allowed,
            "action": self.action,
            "on": self.on.isoformat(),
            "reasons": [vars(reason) for reason in self.reasons],
            "not_evaluated": list(self.not_evaluated),
        }

    def require(self) -> None:
        """Raises Refused with every blocking reason, and one code where only one rule refuses."""
        against = [reason for reason in self.reasons if reason.severity == "block"]
        if not against:
            return
        first = against[0].rule
        details = [Detail(f"GATE.{r.rule}", r.message, needs=r.needs, severity=r.severity) for r in self.reasons]
        raise Refused(
            f"Not allowed on {self.on.isoformat()}: {ACTIONS[self.action]}. " + " ".join(r.message for r in against),
            code=f"GATE.{first}",
            needs=" ".join(dict.fromkeys(r.needs for r in against)),
            details=details,
        )


# --- the rules -------------------------------------------------------------------------------------------------------

Found = Iterator[tuple[str, str]]
Judge = Callable[[Case], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Rule:
    """A governance rule: which acts it decides, what it needs to know, where it comes from, and the function that judges.

    The judge yields (message, what would allow it) for every reason against the act. Without what it `needs` a rule is not
    evaluated; without what it `looks_at` it says what it can and is listed as not (fully) evaluated.
    """

    id: str
    title: str
    actions: tuple[str, ...]
    judge: Judge
    source: str
    status: str
    severity: Severity = "block"
    needs: tuple[str, ...] = ()
    looks_at: tuple[str, ...] = ()


def _words(status: str) -> str:
    return status.replace("_", " ")


def _preventive_needs_opinion(case: Case) -> Found:
    if case.protocol.pathway == "primary" and not case.register.standing("rec", case.on):
        yield (
            "Preventive TMR may only be done inside a study with a favourable ethics opinion.",
            "A favourable opinion of a research ethics committee, in force on this day.",
        )
    yield from _open_conditions(case)


def _open_conditions(case: Case) -> Found:
    opinion = case.register.standing("rec", case.on)
    if opinion is None or opinion.status != "favourable_with_conditions":
        return
    unmet = [c for c in opinion.conditions if c.pre_start and not (c.evidence and c.met_on and c.met_on <= case.on)]
    if unmet:
        yield (
            f"{len(unmet)} ethics condition(s) that must be met before the start have no evidence: " + "; ".join(c.text for c in unmet),
            "Evidence for each condition, recorded in the approvals register.",
        )


def _opinion_status(case: Case) -> Found:
    newest = case.register.latest("rec", case.on)
    if case.register.standing("rec", case.on):
        return
    status = "not submitted" if newest is None else _words(newest.status)
    if newest and newest.status in GOOD:
        status = f"expired on {newest.effective_to}"
    yield (
        f"Ethics opinion is '{status}'. Recruitment cannot open.",
        "A favourable opinion of a research ethics committee, in force on this day.",
    )


def _national_permission(case: Case) -> Found:
    if case.site is not None and not _permitted(case, case.site.nation):
        yield _no_permission(case.site.nation)


def _permission_of_any_nation(case: Case) -> Found:
    nations = list(dict.fromkeys(site.nation for site in case.protocol.sites))
    if not any(_permitted(case, nation) for nation in nations):
        yield from map(_no_permission, nations)


def _permitted(case: Case, nation: str) -> bool:
    return case.register.standing(NATIONAL_BODY[nation][0], case.on, nation=nation) is not None


def _no_permission(nation: str) -> tuple[str, str]:
    permission = NATIONAL_BODY[nation][1]
    return f"No {permission} is in force for {NATIONS[nation]}.", f"{permission} for {NATIONS[nation]}, in force on this day."


def _capacity_confirmed(case: Case) -> Found:
    if case.site is None:
        return
    confirmed = case.register.standing("site_cc", case.on, site=case.site.code)
    if confirmed is None or not (confirmed.agreement_signed_on and confirmed.agreement_signed_on <= case.on):
        yield (
            f"Site {case.site.code} has not confirmed capacity and capability.",
            "The site's confirmation of capacity and capability, with the signed agreement.",
        )


def _site_open(case: Case) -> Found:
    if case.site is None:
        return
    green = case.register.standing("site_greenlight", case.on, site=case.site.code)
    if case.site_state != "open" or green is None:
        state = label(case.site_state) if case.site_state != "open" else "without the sponsor's green light on that day"
        yield (
            f"Site {case.site.code} was not open on {case.on.isoformat()}: it is {state}.",
            "Management permission and the sponsor's green light for this site, and the site opened.",
        )


def _registered(case: Case) -> Found:
    if not case.register.standing("registry", case.on):
        yield (
            "The trial must be registered before the first participant.",
            "The identifier and date of a public registry, in the approvals register.",
        )


def _registration_clock(case: Case) -> Found:
    opinion = case.register.standing("rec", case.on)
    if opinion and opinion.decided_on and not case.register.standing("registry", case.on):
        due = opinion.decided_on + timedelta(days=90)
        yield (f"Registration is due by {due.isoformat()}.", "Register the trial and record the identifier.")


def _documents_current(case: Case) -> Found:
    if case.site is None:
        return
    for kind in ("PIS", "ICF"):
        if not case.register.current_document(kind, case.site, case.on):
            yield (
                f"No {kind} is approved for use at site {case.site.code} on {case.on.isoformat()}.",
                f"An approved {kind} that this site has taken up.",
            )
    given = case.participant.consent if case.participant else None
    if given is not None:
        yield from _consented_on(case.register, case.site, given)


def _consented_on(register: Register, site: Site, given: ConsentGiven) -> Found:
    """The consent was given on the versions in use at that site on that day."""
    day = given.at.date()
    for kind, code in given.documents.items():
        current = register.current_document(kind, site, day)
        if current is not None and current.code == code:
            continue
        used = next((d for d in register.documents if d.kind == kind and d.code == code), None)
        mend = f"Re-consent with {current.title}." if current else f"An approved {kind} for this site."
        if used is None:
            yield f"{kind} {code} is not on record.", f"The version recorded in the documents register. {mend}"
        else:
            yield f"{kind} v{used.version} was not approved for use at this site on {day.isoformat()}.", mend


def _consent_first(case: Case) -> Found:
    if case.form is not None and case.form.kind in BEFORE_CONSENT:
        return
    if case.participant is None:
        return
    given = case.participant.consent
    if given is None:
        yield ("No consent is on record for this participant.", "A complete consent form.")
    elif case.action != "save-form" and given.at.date() > case.on:
        yield (
            f"Consent is dated {given.at.date().isoformat()}, after {case.on.isoformat()}.",
            "Consent before any trial procedure.",
        )


def _task(case: Case) -> str:
    if case.action == "save-form":
        return roles.FORM_TASK.get(case.form.kind, "crf") if case.form else "crf"
    return {"consent": "consent", "randomise": "randomise", "operate": "operate"}[case.action]


def _delegated(case: Case) -> Found:
    if case.person is None or case.site is None:
        return
    task = _task(case)
    on = case.on
    if not case.register.delegated(case.person.id, case.site.code, task, on):
        yield (
            f"{case.person.name} is not delegated for {roles.TASKS[task]} at site {case.site.code} on {on.isoformat()}.",
            "A line of the delegation log for this task, signed by the principal investigator and in force on this day.",
        )
    if not case.register.trained(case.person.id, "gcp", on):
        yield (
            f"{case.person.name} has no valid training in good clinical practice on {on.isoformat()}.",
            "A training certificate within the sponsor's interval (sponsor policy).",
        )


def _insured(case: Case) -> Found:
    if not case.register.standing("insurance", case.on):
        newest = case.register.latest("insurance", case.on)
        ended = f" It ended on {newest.effective_to}." if newest and newest.effective_to else ""
        yield (f"No insurance or indemnity is in force.{ended}", "Insurance or indemnity in force on this day.")


def _withdrawal(case: Case) -> Found:
    if case.participant is None or case.form is None or case.form.kind in AFTER_FULL_WITHDRAWAL:
        return
    if case.participant.withdrawal_level >= 3:
        yield (
            "The participant allows no further data collection (full withdrawal).",
            "Nothing: data to date are kept, and no new data may be recorded.",
        )


def _ready_to_randomise(case: Case) -> Found:
    if case.participant is not None and case.participant.later:
        yield from _ready_again(case, case.participant)
        return
    if case.trial_state != "open":
        yield (f"The trial is {label(case.trial_state)}.", "The trial open to recruitment.")
    if case.site is not None and case.site_state != "open":
        yield (f"Site {case.site.code} is {label(case.site_state)}.", "The site open.")
    if case.randomised_count >= case.protocol.target_participants:
        yield (
            f"The target of {case.protocol.target_participants} participants has been reached.",
            "A higher target, by an approved modification.",
        )
    if case.participant is not None:
        yield from _participant_ready(case, case.participant)


def _ready_again(case: Case, participant: Standing) -> Found:
    """A later randomisation of somebody who is in the trial already: recruitment may be over."""
    if case.trial_state not in ("open", "closed_recruitment", "follow_up"):
        yield (f"The trial is {label(case.trial_state)}.", "The trial open, or in follow-up.")
    yield from _in_the_trial(participant)
    yield from _answers_complete(participant)


def _participant_ready(case: Case, participant: Standing) -> Found:
    yield from _in_the_trial(participant)
    if not participant.eligibility_complete:
        yield ("The eligibility form is not complete.", "A complete eligibility form.")
    elif participant.eligibility_failures:
        failed = "; ".join(participant.eligibility_failures)
        yield (f"Eligibility is not met: {failed}.", "All eligibility criteria met.")
    elif not participant.eligibility_signed:
        yield (
            "Eligibility has not been confirmed by a doctor.",
            "The eligibility form saved as complete by the principal investigator or a sub-investigator.",
        )
    yield from _answers_complete(participant)
    if participant.factors_changed:
        yield (
            f"Changed since a doctor confirmed eligibility: {', '.join(participant.factors_changed)}.",
            "The eligibility form saved again by the principal investigator or a sub-investigator, with a reason.",
        )
    planned = participant.surgery_planned
    days = case.protocol.param("rand_window_days", 14)
    if planned is not None and planned < case.on:
        yield (f"Surgery was planned for {planned.isoformat()}, which has passed.", "A planned date from today on.")
    elif planned is not None and (planned - case.on).days > days:
        yield (
            f"Surgery is planned for {planned.isoformat()}, more than {days} days ahead.",
            f"Randomise within {days} days of the planned operation.",
        )


def _in_the_trial(participant: Standing) -> Found:
    if participant.randomised:
        yield ("The participant has been randomised already.", "Nothing: one participant is randomised once.")
    if participant.state in ("withdrawn", "died", "lost"):
        yield (f"The participant is recorded as {label(participant.state)}.", "A participant in the trial.")
    if participant.consent is None:
        yield ("No valid consent is on record.", "A complete consent form.")


def _answers_complete(participant: Standing) -> Found:
    if participant.baseline_missing:
        yield (f"Baseline is not complete: {', '.join(participant.baseline_missing)}.", "These forms complete.")
    if participant.factors_missing:
        yield (
            f"The allocation needs answers to: {', '.join(participant.factors_missing)}.",
            "An answer to each (a missing reason will not do).",
        )


def _blinded(case: Case) -> Found:
    if case.person is None or roles.sees_allocations(case.person.grants, case.protocol.id, None):
        return
    if not (case.unblinded and roles.may(case.person.grants, "export.unblinded", case.protocol.id)):
        yield (
            "Hidden to keep you blinded.",
            "An unblinded role in this trial; a blinded statistician waits for the unblinding of the whole trial.",
        )


def _analysis_ready(case: Case) -> Found:
    if not case.register.standing("sap", case.on):
        yield (
            "The statistical analysis plan is not signed.",
            "Sign the SAP, and record it in the approvals register.",
        )
    if case.trial_state not in ("locked", "ended", "archived"):
        yield (f"The database is not locked: the trial is {label(case.trial_state)}.", "Lock the database first.")


def _surgeon_credentialed(case: Case) -> Found:
    if case.participant is None or case.participant.later:
        return
    surgeon, planned = case.participant.surgeon_planned, case.participant.surgery_planned
    if surgeon is None:
        yield ("No nerve surgeon is named for the operation.", "A credentialed surgeon in the planned-operation form.")
        return
    on = planned or case.on
    credential = case.register.credential(surgeon, on, site=case.site.code if case.site else "")
    least = case.protocol.param("min_tmr_cases", 5)
    if credential is None:
        yield (
            f"Surgeon {surgeon} is not credentialed for TMR on {on.isoformat()}.",
            "A credential valid on the planned date (sponsor policy).",
        )
    elif credential.cases < least:
        yield (
            f"{credential.name} has {credential.cases} supervised TMR cases; {least} are needed.",
            f"{least} supervised cases on record (sponsor policy).",
        )


RULES: tuple[Rule, ...] = (
    Rule(
        "GOV-02",
        "Preventive TMR only in research that an ethics committee approved",
        ("consent", "randomise", "operate"),
        _preventive_needs_opinion,
        "NICE consultation 1.5; IPG804 1.6",
        "NICE recommendation; REC condition",
    ),
    Rule("GOV-03", "The ethics opinion is favourable", ("open-trial",), _opinion_status, "HRA; REC letters", "REC condition"),
    Rule(
        "GOV-04",
        "Conditions of the opinion met before the start",
        ("open-trial",),
        _open_conditions,
        "REC favourable opinion letter",
        "REC condition",
    ),
    Rule(
        "GOV-05",
        "Permission of the nation beside the ethics opinion",
        ("activate-site", "consent", "randomise"),
        _national_permission,
        "HRA approval; NHS Scotland; HSC",
        "REC condition",
        needs=("site",),
    ),
    Rule(
        "GOV-05",
        "Permission of one nation at least beside the ethics opinion",
        ("open-trial",),
        _permission_of_any_nation,
        "HRA approval; NHS Scotland; HSC",
        "REC condition",
    ),
    Rule(
        "GOV-06",
        "Capacity and capability confirmed, agreement signed",
        ("activate-site",),
        _capacity_confirmed,
        "HRA site set-up",
        "HRA expectation",
        needs=("site",),
    ),
    Rule(
        "GOV-08",
        "The site was open on the day",
        ("consent", "randomise"),
        _site_open,
        "REC favourable opinion, management permission",
        "REC condition",
        needs=("site",),
    ),
    Rule(
        "GOV-09",
        "Registered before the first participant",
        ("consent", "randomise"),
        _registered,
        "HRA research transparency",
        "REC condition",
    ),
    Rule(
        "GOV-09",
        "Registration is due within 90 days of approval",
        ("open-trial",),
        _registration_clock,
        "HRA research transparency",
        "REC condition",
        severity="clock",
    ),
    Rule(
        "GOV-12",
        "Information sheet and consent form current at that site on that day",
        ("consent", "randomise"),
        _documents_current,
        "HRA modifications",
        "REC condition",
        needs=("site",),
    ),
    Rule(
        "GOV-13",
        "Consent before any trial procedure",
        ("randomise", "operate", "save-form"),
        _consent_first,
        "ICH GCP",
        "GCP",
        needs=("participant",),
    ),
    Rule(
        "GOV-14",
        "Only delegated and trained staff",
        ("consent", "randomise", "operate", "save-form"),
        _delegated,
        "ICH GCP; HRA and MHRA statement on training",
        "GCP; training interval is sponsor policy",
        needs=("person", "site"),
    ),
    Rule(
        "GOV-40",
        "Insurance or indemnity in force",
        ("open-trial", "consent", "randomise"),
        _insured,
        "HRA approval",
        "REC condition",
    ),
    Rule(
        "GOV-43",
        "Withdrawal decides what may still be collected",
        ("save-form",),
        _withdrawal,
        "UK GDPR; protocol",
        "protocol",
        needs=("participant",),
    ),
    Rule(
        "GOV-44",
        "Ready to randomise",
        ("randomise",),
        _ready_to_randomise,
        "CONSORT 2025 item 12; protocol",
        "protocol",
        looks_at=("participant", "site"),
    ),
    Rule(
        "GOV-45",
        "Blinded people stay blinded",
        ("export-unblinded",),
        _blinded,
        "Protocol, blinding",
        "protocol",
        needs=("person",),
    ),
    Rule(
        "GOV-49",
        "Analysis plan signed and database locked before the allocation is revealed",
        ("export-unblinded",),
        _analysis_ready,
        "CONSORT and SPIRIT 2025",
        "GCP",
    ),
    Rule(
        "GOV-52",
        "The surgeon is credentialed for the procedure",
        ("randomise", "operate"),
        _surgeon_credentialed,
        "NICE consultation 3.7; CONSORT 2025 item 12b",
        "sponsor policy",
        needs=("participant",),
    ),
)


def gate(case: Case, rules: Sequence[Rule] = RULES) -> Answer:
    """Every reason for and against one act. A historical trial is not gated: its acts lie in the past."""
    if case.protocol.historical:
        return Answer(case.action, case.on, (), tuple(dict.fromkeys(r.id for r in rules if case.action in r.actions)))
    known = {
        "participant": case.participant is not None,
        "person": case.person is not None,
        "site": case.site is not None,
    }
    reasons: list[Reason] = []
    skipped: list[str] = []
    for rule in rules:
        if case.action not in rule.actions:
            continue
        if not all(known[need] for need in rule.needs):
            skipped.append(rule.id)
            continue
        if not all(known[part] for part in rule.looks_at):
            skipped.append(rule.id)
        reasons += [Reason(rule.id, rule.severity, message, needs) for message, needs in rule.judge(case)]
    return Answer(case.action, case.on, tuple(dict.fromkeys(reasons)), tuple(dict.fromkeys(skipped)))
