"""The rows of the guide's table of rules as cases that run: the usual case, and what a row says is different."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.registers import load_ethics
from trialdm.definitions.sources import read_folder
from trialdm.domain.ethics import (
    Approval,
    AuditCase,
    Capacity,
    Case,
    ConsentGiven,
    Credential,
    Delegation,
    Fact,
    Modification,
    Person,
    Register,
    Standing,
    Step,
    Training,
)
from trialdm.domain.ethics.deadline import Audited, Breach, SeriousEvent, Situation
from trialdm.domain.protocol import Parameter, Protocol
from trialdm.domain.roles import TASKS, Grant

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 4, 20)
ROWS: list[dict[str, Any]] = yaml.safe_load((ROOT / "trialdm" / "web" / "help" / "rules.yaml").read_text("utf-8"))

_LONG_AGO = date(2025, 5, 1)


@cache
def protocol() -> Protocol:
    return load_protocol(read_folder(ROOT / "protocols" / "pre-tmr"))


@cache
def shipped() -> Register:
    """The register that the ethics folder records, with a person and a surgeon who may do everything."""
    found = load_ethics(read_folder(ROOT / "ethics" / "pre-tmr"), protocol())
    trainings = (Training("p1", "gcp", _LONG_AGO, date(2028, 5, 1)), Training("p1", "protocol", _LONG_AGO))
    return Register(
        approvals=found.approvals,
        documents=found.documents,
        delegations=(line("p1"),),
        trainings=trainings,
        credentials=(Credential(7, "p7", "Ms Seven", "S01", _LONG_AGO, date(2027, 5, 1), 12),),
    )


def line(person: str, site: str = "", tasks: frozenset[str] = frozenset(TASKS), start: date = _LONG_AGO, **more: Any) -> Delegation:
    """A line of the log that both have signed before it starts."""
    return Delegation(person, site, tasks, start, **{"signed_on": _LONG_AGO, "countersigned_on": _LONG_AGO, **more})


NURSE = Person("p1", "Nurse One", (Grant("research-nurse", "pre-tmr", "S01"),))
UNBLINDED = Person("p2", "Statistician", (Grant("statistician-unblinded", "pre-tmr"),))
CONSENT = ConsentGiven(datetime(2026, 4, 13, 10, 0), {"PIS": 2, "ICF": 2}, route=1, capacity=1)
STANDING = Standing(
    id="K7QF",
    state="eligible",
    consent=CONSENT,
    eligibility_complete=True,
    eligibility_signed=True,
    surgery_planned=date(2026, 4, 30),
    surgeon_planned=7,
)
SAP = Approval("sap", "signed", decided_on=date(2026, 4, 1))
AUDIT = AuditCase(TODAY, 2, 1, date(2026, 4, 1), 1, 7)
LEAD_KNOWS = Fact("governance-seen", date(2026, 1, 10), "S01")

#: Acts that have no participant, and those that have no site.
_NOBODY = ("configure-trial", "open-trial", "activate-site", "consent", "pause-trial", "resume-trial", "end-trial", "review-safety",
           "propose-modification", "implement-modification", "delegate", "destroy-records", "audit-case")  # fmt: skip
_NOWHERE = ("configure-trial", "open-trial", "pause-trial", "resume-trial", "end-trial", "review-safety", "destroy-records")


def case(action: str, **more: Any) -> Case:
    """An act to which nothing stands opposed, unless `more` says so."""
    usual: dict[str, Any] = {
        "on": TODAY,
        "protocol": protocol(),
        "register": shipped(),
        "trial_state": "open",
        "site": protocol().site("S01"),
        "site_state": "open",
        "person": NURSE,
        "participant": STANDING,
    }
    if action in _NOBODY or action.startswith("export"):
        usual["participant"] = None
    if action in _NOWHERE or action.startswith("export"):
        usual["site"] = None
    if action == "save-form":
        usual["form"] = protocol().form("CLIN")
    if action == "unblind":
        usual["reason"] = "needed for anaesthesia"
    if action == "audit-case":
        usual |= {
            "protocol": replace(protocol(), pathway="secondary"),
            "audit": AUDIT,
            "register": replace(shipped(), facts=(LEAD_KNOWS,)),
        }
    if action == "delegate":
        usual["line_of"] = "p2"
    if action.endswith("-modification"):
        usual["modification"] = modification({"kind": "minor", "tool": "abc", "category": "C"})
        usual["register"] = having(modifications=(usual["modification"],))
    if action == "destroy-records":
        usual |= {"on": date(2060, 1, 1), "ended_on": TODAY}
    if action == "export-unblinded":
        usual |= {"trial_state": "locked", "register": having(approvals=(*shipped().approvals, SAP)), "person": UNBLINDED}
    return Case(action=action, **{**usual, **more})


def having(**parts: Any) -> Register:
    return replace(shipped(), **parts)


def modification(raw: Mapping[str, Any]) -> Modification:
    usual = {"ref": "SM02", "title": "A change", "changes": ("wording",), "kind": "minor", "category": "C", "created_on": date(2026, 3, 1)}
    steps = tuple(Step(**step) for step in raw.get("steps", ()))
    return Modification(**{**usual, **raw, "changes": tuple(raw.get("changes", usual["changes"])), "steps": steps})


# --- a row of the table ----------------------------------------------------------------------------------------------


def register_of(row: Mapping[str, Any], usual: Register) -> Register:
    """The register that a row describes."""
    approvals = [a for a in usual.approvals if a.body not in row.get("without", ())]
    for raw in row.get("add", ()):
        checked = raw.get("checked", True)
        fields = {key: value for key, value in raw.items() if key != "checked"}
        approvals.append(Approval(**fields, recorded_by="one", second_check_by="two" if checked else ""))
    if "covers" in row:
        approvals = [replace(a, covers=tuple(row["covers"])) if a.body == "rec" else a for a in approvals]
    parts: dict[str, Any] = {"approvals": tuple(approvals)}
    if "facts" in row:
        parts["facts"] = tuple(Fact(**fact) for fact in row["facts"])
    elif "audit" not in row and row.get("act") == "audit-case" and "message" in row:
        parts["facts"] = ()
    if "lines" in row:
        parts["delegations"] = tuple(line("p1", tasks=frozenset(raw["tasks"])) for raw in row["lines"])
    if "trainings" in row:
        parts["trainings"] = tuple(Training("p1", raw["kind"], raw["on"]) for raw in row["trainings"])
    if "credentials" in row:
        parts["credentials"] = tuple(replace(usual.credentials[0], **raw) for raw in row["credentials"])
    if "modification" in row:
        parts["modifications"] = (modification(row["modification"]),)
    if "reconsent" in row:
        parts["documents"] = tuple(replace(d, reconsent=row["reconsent"]) if d.code == 2 else d for d in usual.documents)
    return replace(usual, **parts)


def protocol_of(row: Mapping[str, Any], usual: Protocol) -> Protocol:
    params = {name: Parameter(name, value) for name, value in row.get("params", {}).items()}
    return replace(usual, **row.get("protocol", {}), params={**usual.params, **params})


def case_of_row(row: Mapping[str, Any]) -> Case:
    """The case of a row that names an act."""
    found = case(row["act"])
    more: dict[str, Any] = {"protocol": protocol_of(row, found.protocol), "register": register_of(row, found.register)}
    more |= {
        key: row[key] for key in ("on", "site_state", "halted_on", "ended_on", "line_of", "line_start", "reason", "counts") if key in row
    }
    if row["act"] == "unblind" and "reason" not in row:
        more["reason"] = ""
    if "site" in row:
        more["site"] = found.protocol.site(row["site"])
    if "form" in row:
        more["form"] = found.protocol.form(row["form"])
    if "modification" in row and row["act"] != "resume-trial":
        more["modification"] = modification(row["modification"])
        more["site"] = found.site or found.protocol.site("S01")
    if row.get("person") == "nurse":
        more["person"] = NURSE
    for key in ("texts", "versions"):
        if key in row:
            more[key] = tuple(row[key])
    if "audit" in row:
        more["audit"] = replace(AUDIT, **row["audit"])
    if {"participant", "consent", "capacity"} & set(row):
        more["participant"] = _standing(row)
    return replace(found, **more)


def _standing(row: Mapping[str, Any]) -> Standing:
    given = dict(row.get("consent", {}))
    if "at" in given:
        given["at"] = datetime.fromisoformat(given["at"])
    capacity = Capacity(**row["capacity"]) if "capacity" in row else None
    return replace(STANDING, consent=replace(CONSENT, **given), capacity=capacity, **row.get("participant", {}))


def situation_of_row(row: Mapping[str, Any]) -> tuple[Situation, datetime]:
    """What the deadlines of a row follow from, and the moment at which it looks at them."""
    now = datetime.fromisoformat(row["now"])
    usual = protocol()
    event = {k: datetime.fromisoformat(v) if isinstance(v, str) else v for k, v in row.get("serious", {}).items()}
    return Situation(
        on=now.date(),
        protocol=protocol_of(row, usual),
        register=register_of(row, replace(shipped(), delegations=())),
        moves=tuple((step, day) for step, day in row.get("moves", ())),
        serious=(SeriousEvent("K7QF", "S01", 1, **event),) if event else (),
        breaches=(Breach("K7QF", "S01", "1", row["breach"]),) if "breach" in row else (),
        audited=tuple(Audited("S01", day, day, 7) for day in row.get("audited", ())),
    ), now
