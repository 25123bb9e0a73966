"""Modifications of an approved study: proposing one, its way through the committee, and putting it into practice site by site."""

from dataclasses import replace
from datetime import date
from typing import Any

from trialdm.domain.errors import Conflict, Forbidden, Invalid, Refused
from trialdm.domain.ethics import Modification, Step, modifications, param
from trialdm.domain.ethics.dates import add_days
from trialdm.domain.ethics.modifications import CATEGORIES, CHANGES, CLASSES, SITE_STEPS, WAITS
from trialdm.services import approvals, gates, notices, register, studies, versions
from trialdm.services.approvals import Letter
from trialdm.services.unit import Unit, needed
from trialdm.store.tables import Evidence, RegisterEntry


def propose(unit: Unit, trial: str, new: Modification, tool: Letter | None = None) -> int:
    """Record a modification with its class and the Modification Tool's output; gives its number in the register.

    Raises Refused by GOV-21; GOV-23 warns of a class that is lighter than usual until it is justified.
    """
    unit.require("modification.propose", trial)
    if tool is not None:
        new = replace(new, tool=approvals.keep(unit, trial, tool.name, tool.content, tool.sha256))
    unit.attempt(trial, "modification.propose")
    register.lock(unit, trial)
    proposed = replace(new, created_on=unit.today, steps=())
    _fits(unit, trial, proposed)
    answer = gates.require(unit, trial, "propose-modification", modification=proposed)
    usual = modifications.suggested(proposed.changes)
    if modifications.lighter(proposed.kind, usual) and not proposed.justification.strip():
        raise Invalid(
            f"These changes usually count as {CLASSES[usual]}. Confirm or justify.",
            code="GATE.GOV-23",
            needs="Why the class is a lighter one, in a sentence; or the usual class.",
        )
    return register.note(unit, trial, "modification", {**register.written(proposed), "gate": answer})


def _fits(unit: Unit, trial: str, new: Modification) -> None:
    """Raises Invalid or Conflict for what cannot be a modification of this trial."""
    if not new.ref.strip() or not new.title.strip():
        raise Invalid("A modification has a reference and a title.", code="MODIFICATION.NAME", needs="For example SM02 and what changes.")
    if register.read(unit, trial).modification(new.ref):
        raise Conflict(f"There is a modification {new.ref} already.", code="MODIFICATION.TWICE", needs="Another reference.")
    if not new.changes or set(new.changes) - set(CHANGES):
        raise Invalid("Say what is changed.", code="MODIFICATION.CHANGES", needs=f"One or more of: {', '.join(CHANGES)}.")
    if new.category not in CATEGORIES:
        raise Invalid("Give the category of the sites.", code="MODIFICATION.CATEGORY", needs="A, B or C.")
    if new.proposes and new.proposes not in {row.version for row in versions.proposed(unit, trial)}:
        message = f"No version {new.proposes} of the protocol waits to go live."
        raise Invalid(message, code="MODIFICATION.VERSION", needs="Load it first ('protocol load').")
    if new.tool and unit.session.get(Evidence, (trial, new.tool)) is None:
        message = "The output of the Modification Tool is not kept under this digest."
        raise Invalid(message, code="MODIFICATION.TOOL", needs="The file itself.")
    for kind, code in new.documents:
        _waits(unit, trial, kind, code)


def _waits(unit: Unit, trial: str, kind: str, code: int) -> None:
    """Raises Invalid unless this document is on record and waits for a modification to approve it."""
    on_record = register.read(unit, trial)
    found = on_record.document(kind, code)
    if found is None:
        raise Invalid(f"There is no {kind} {code} on record.", code="MODIFICATION.DOCUMENT", needs="Record the document first.")
    came_with = on_record.came_with(found)
    if found.approved_on is not None or came_with is not None:
        why = f"comes with modification {came_with.ref}" if came_with else "is approved already"
        raise Invalid(f"{found.title} {why}.", code="MODIFICATION.DOCUMENT", needs="The next version of the document.")


def step(unit: Unit, trial: str, ref: str, taken: Step) -> None:
    """Record what happened to a modification: at the committee, or at one site.

    Raises Forbidden, WrongState, and Refused by GOV-22 and GOV-24 for putting it into practice too early.
    """
    at_site = taken.event in SITE_STEPS
    if at_site != bool(taken.site):
        raise Invalid(
            "This step is taken at a site: name it." if at_site else "This step is not taken at a site.", code="MODIFICATION.SITE"
        )
    unit.require("modification.site" if at_site else "modification.propose", trial, taken.site or None)
    unit.attempt(trial, f"modification.{taken.event}", site=taken.site)
    register.lock(unit, trial)
    found = one(unit, trial, ref)
    if taken.site:
        studies.protocol(unit, trial).site(taken.site)
    if taken.on > unit.today and taken.event != "implement":
        raise Refused("The step lies in the future.", code="REGISTER.FUTURE", needs="The day on which it happened.")
    modifications.check_step(found, taken, param(studies.protocol(unit, trial), "site_objection_days"))
    if taken.event == "favourable" or (taken.event == "implement" and found.kind == "minor" and found.proposes):
        _second_person(unit, trial, found, taken.event)
    if taken.event in _ANSWERS and not unit.may("documents.take-up", trial, taken.site) and not taken.note.strip():
        raise Invalid(
            "The site answers for itself.",
            code="MODIFICATION.ANSWER",
            needs="The principal investigator records it; whoever records it for them notes the site's letter: its day and who wrote it.",
        )
    data: dict[str, Any] = {"ref": ref, "event": taken.event, "on": taken.on.isoformat(), "site": taken.site}
    data |= {"evidence": taken.evidence, "note": taken.note}
    if taken.event == "implement":
        asked = min(taken.on, unit.today)  # a day to come is planned only once nothing stands against it: a site may object until then
        data["gate"] = gates.require(unit, trial, "implement-modification", site=taken.site, on=asked, modification=found)
    if taken.event == "notify":
        _tell_site(unit, trial, found, taken)
    register.note(unit, trial, "step", {key: value for key, value in data.items() if value}, site=taken.site)
    if taken.event == "implement":
        _put_into_practice(unit, trial, found, taken)


#: Answers of a site to a modification.
_ANSWERS = frozenset({"agree", "object"})


def _second_person(unit: Unit, trial: str, found: Modification, event: str) -> None:
    """A favourable opinion is recorded, and a protocol version that no committee sees is put into practice, by somebody else than
    whoever proposed the modification."""
    what = "record its favourable opinion" if event == "favourable" else "put its protocol version into practice"
    if unit.session.get_one(RegisterEntry, (trial, found.entry)).recorded_by == unit.actor.id:
        raise Forbidden(
            f"Whoever proposed a modification does not {what}.",
            code="REGISTER.OWN",
            needs="Another person who may do so.",
        )


def _tell_site(unit: Unit, trial: str, found: Modification, taken: Step) -> None:
    """A notice to the principal investigators of a site that was told of a modification: silence counts as no objection."""
    free = add_days(taken.on, param(studies.protocol(unit, trial), "site_objection_days"))
    until = f" The site may object before {free.isoformat()}; silence counts as no objection." if found.category in WAITS else ""
    told = notices.holders(unit, trial, ("principal-investigator",), taken.site)
    text = f"Site {taken.site} was told of modification {found.ref}, {found.title}.{until} Say on its page whether the site agrees."
    notices.tell(unit, trial, told, "modification", f"Modification {found.ref} reached your site", text)


def _put_into_practice(unit: Unit, trial: str, found: Modification, taken: Step) -> None:
    """The site takes up the documents that it does not use yet, and the protocol version that come with the modification."""
    on_record, site = register.read(unit, trial), studies.protocol(unit, trial).site(taken.site)
    for document in on_record.documents:
        came_with = on_record.came_with(document)
        used = register.used_since(unit, trial, document, site)
        if came_with is not None and came_with.ref == found.ref and (used is None or used > taken.on):
            data = {"kind": document.kind, "code": document.code, "site": taken.site, "on": taken.on.isoformat()}
            register.note(unit, trial, "uptake", data, site=taken.site)
    if found.proposes:
        row = next(r for r in versions.listed(unit, trial) if r.version == found.proposes)
        versions.use(unit, trial, row.seq, taken.site, taken.on, found.ref)


def one(unit: Unit, trial: str, ref: str) -> Modification:
    """The modification of this reference. Raises Missing."""
    found = register.read(unit, trial).modification(ref)
    return needed(found, f"There is no modification {ref}.", code="MODIFICATION.UNKNOWN")


def describe(found: Modification, on: date, sites: list[str]) -> dict[str, Any]:
    """A modification as commands and the API give it, on a day."""
    return {
        "ref": found.ref,
        "title": found.title,
        "class": found.kind,
        "legacy_class": found.legacy,
        "category": found.category,
        "changes": list(found.changes),
        "state": found.state(on),
        "approved": found.approved(on),
        "version": found.proposes,
        "sites": {site: found.site_state(site, on) for site in sites},
    }


def listed(unit: Unit, trial: str) -> list[dict[str, Any]]:
    """Every modification of a trial as it stands today."""
    unit.require("approvals.see", trial)
    sites = [site.code for site in studies.protocol(unit, trial).sites]
    return [describe(m, unit.today, sites) for m in register.read(unit, trial).modifications]
