"""One act that somebody wants to do, everything that a rule may look at, and the gate's answer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from trialdm.domain.crf import Form
from trialdm.domain.errors import Detail, Refused
from trialdm.domain.ethics.modifications import Modification
from trialdm.domain.ethics.parameters import param
from trialdm.domain.ethics.register import Register
from trialdm.domain.protocol import Protocol, Site
from trialdm.domain.roles import Grant

#: Acts that the gate decides, with their names for people.
ACTIONS = {
    "configure-trial": "finish setting up the trial",
    "open-trial": "open the trial to recruitment",
    "activate-site": "activate the site",
    "consent": "take consent",
    "randomise": "randomise",
    "operate": "operate",
    "save-form": "save a form",
    "unblind": "unblind a participant",
    "delegate": "delegate a task",
    "propose-modification": "submit a modification",
    "implement-modification": "put a modification into practice",
    "pause-trial": "halt the trial",
    "resume-trial": "restart the trial after a halt",
    "end-trial": "end the trial",
    "review-safety": "go on without a review of safety",
    "export-blinded": "export blinded data",
    "export-unblinded": "export data with the allocation",
    "export-sharing": "export data for sharing",
    "destroy-records": "destroy the records",
    "audit-case": "audit a secondary procedure",
}

#: Kinds of form that may be entered before consent.
BEFORE_CONSENT = frozenset({"screening", "consent", "deviation", "status", "system"})

Severity = Literal["block", "warn", "clock"]

#: Routes of consent, by their code in forms (domain: a person for themselves; a consultee's advice; Scotland).
OWN_CONSENT = frozenset({1, 2, 5})
CONSULTEE = frozenset({3, 4})
NOMINATED = 4
WITNESSED = 2
SCOTLAND = 6


@dataclass(frozen=True)
class Person:
    """Who wants to act."""

    id: str
    name: str
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True)
class ConsentGiven:
    """The consent on record: when, on which versions of the documents (their codes), and by which route.

    `at` is the first consent, `documents` those of the newest one, `renewed` its day; None for what the form does not ask.
    `taken_by` is the account of whoever took it.
    `unknown` names what it asks and what was answered with a missing reason (meanings of items, such as consent_route).
    """

    at: datetime
    documents: Mapping[str, int]
    route: int | None = None
    capacity: int | None = None
    witnessed: int | None = None
    consultee_on_team: int | None = None
    no_personal_consultee: str = ""
    recorded_on: date | None = None
    renewed: date | None = None
    taken_by: str = ""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Capacity:
    """Loss of capacity after consent: since when, whether a plan is on record, when regained, whether consent was renewed."""

    lost_on: date
    plan: bool = False
    regained_on: date | None = None
    renewed: bool = False


@dataclass(frozen=True)
class Standing:
    """What is known of a participant when somebody wants to act for them; `later` for a randomisation after the first one.

    `consent_refused` holds what spoke against taking consent at the site on the day of the consent.
    """

    id: str
    state: str
    consent: ConsentGiven | None = None
    consent_refused: tuple[str, ...] = ()
    capacity: Capacity | None = None
    eligibility_complete: bool = False
    eligibility_failures: tuple[str, ...] = ()
    eligibility_signed: bool = False
    baseline_missing: tuple[str, ...] = ()
    factors_missing: tuple[str, ...] = ()
    factors_changed: tuple[str, ...] = ()
    randomised: bool = False
    surgery_planned: date | None = None
    surgeon_planned: int | None = None
    surgeon_operated: int | None = None
    procedure_on: date | None = None
    other_trial: str = ""
    withdrawal_level: int = 0
    later: bool = False


@dataclass(frozen=True)
class AuditCase:
    """A secondary procedure, as far as it has been described: None for what has not been answered.

    `lapse_reported_on` is the day on which it was reported to the governance lead that a step before the procedure was left out;
    `unknown` names what was answered with a missing reason when the record was finished (meanings of items).
    """

    on: date | None = None
    timing: int | None = None
    uncertainty: int | None = None
    shared_decision_on: date | None = None
    mdt: int | None = None
    surgeon: int | None = None
    lapse_reported_on: date | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One act that somebody wants to do: everything that a rule may look at.

    `versions` are the protocol versions of a form that is saved and of the site; `line_of` whose line of the delegation log
    is signed; `halted_on` since when the trial has been halted; `counts` numbers
    over the whole trial, by name; `lock_confirmed` that a second person confirmed the lock of its database.
    """

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
    randomised_count: int = 0
    unblinded: bool = False
    assesses: bool = False
    knows_allocation: bool = False
    reason: str = ""
    texts: tuple[str, ...] = ()
    versions: tuple[str, str] = ("", "")
    line_of: str = ""
    line_start: date | None = None
    modification: Modification | None = None
    audit: AuditCase | None = None
    guidance_final: bool = True
    halted_on: date | None = None
    lock_confirmed: bool = True
    ended_on: date | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def param(self, name: str) -> int:
        """A number of the rules, as the protocol sets it or by default."""
        return param(self.protocol, name)

    @property
    def nation(self) -> str:
        """The nation of the site that the act is about; empty where it is about none."""
        return self.site.nation if self.site else ""


class Against(NamedTuple):
    """A reason against an act and what would allow it; `severity` where it differs from the rule's."""

    message: str
    needs: str
    severity: Severity | None = None


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


# --- keeping a case, so that its answer can be given again -----------------------------------------------------------


def basis(case: Case) -> dict[str, Any]:
    """What an answer stood on apart from protocol and register, as JSON: `case_of` makes the same case again."""
    plain = {
        name: getattr(case, name)
        for name in ("action", "trial_state", "site_state", "visit", "randomised_count", "unblinded", "lock_confirmed", "assesses",
                     "knows_allocation", "reason", "texts", "versions", "line_of", "guidance_final")
    }  # fmt: skip
    days = {name: getattr(case, name) for name in ("on", "halted_on", "ended_on", "line_start")}
    found = {
        **{name: day.isoformat() if day else None for name, day in days.items()},
        "site": case.site.code if case.site else "",
        "form": case.form.code if case.form else "",
        "person": asdict(case.person) if case.person else None,
        "participant": _written(asdict(case.participant)) if case.participant else None,
        "modification": case.modification.ref if case.modification else "",
        "audit": _written(asdict(case.audit)) if case.audit else None,
        "counts": dict(case.counts),
    }
    usual = Case("", case.on, case.protocol, case.register, "")
    said = {name: value for name, value in plain.items() if value != getattr(usual, name)}
    return said | {name: value for name, value in found.items() if value not in ("", None, {})}


def _written(raw: dict[str, Any]) -> dict[str, Any]:
    """Days and moments as text; what says nothing is left out."""
    return {
        key: _written(value) if isinstance(value, dict) else value.isoformat() if isinstance(value, date) else value
        for key, value in raw.items()
        if value is not None and value is not False and value not in ("", ())
    }


def case_of(kept: Mapping[str, Any], protocol: Protocol, register: Register) -> Case:
    """The case of which `basis` gave `kept`, with the protocol and the register of that moment."""
    raw: dict[str, Any] = dict(kept)
    dated = [name for name in ("on", "halted_on", "ended_on", "line_start") if name in raw]
    days: dict[str, Any] = {name: date.fromisoformat(raw.pop(name)) for name in dated}
    person, participant, audit = raw.pop("person", None), raw.pop("participant", None), raw.pop("audit", None)
    site, form, modification = raw.pop("site", ""), raw.pop("form", ""), raw.pop("modification", "")
    for name in ("texts", "versions"):
        if name in raw:
            raw[name] = tuple(raw[name])
    return Case(
        protocol=protocol,
        register=register,
        site=protocol.site(site) if site else None,
        form=protocol.form(form) if form else None,
        person=Person(person["id"], person["name"], tuple(Grant(**g) for g in person["grants"])) if person else None,
        participant=_standing(participant) if participant else None,
        modification=register.modification(modification) if modification else None,
        audit=_audit(audit) if audit is not None else None,
        **({"trial_state": ""} | raw | days),
    )


def _audit(raw: Mapping[str, Any]) -> AuditCase:
    found = _days(raw, "on", "shared_decision_on", "lapse_reported_on")
    return AuditCase(**found | {"unknown": tuple(found.get("unknown", ()))})


def _days(raw: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: date.fromisoformat(value) if key in names else value for key, value in raw.items()}


def _standing(raw: Mapping[str, Any]) -> Standing:
    found: dict[str, Any] = _days(raw, "surgery_planned", "procedure_on")
    if "consent" in found:
        given = _days(found["consent"], "recorded_on", "renewed")
        given |= {"unknown": tuple(given.get("unknown", ()))}
        given |= {"at": datetime.fromisoformat(given["at"]), "documents": given.get("documents", {})}
        found["consent"] = ConsentGiven(**given)
    if "capacity" in found:
        found["capacity"] = Capacity(**_days(found["capacity"], "lost_on", "regained_on"))
    read: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Standing(**read)
