"""Recording what was decided: approvals and their conditions, documents and where they are used, letters, dated facts.

One person records, and for an ethics opinion and a green light another one checks. A row is never changed.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select

from trialdm.definitions.registers import FORMATS, fits, load_ethics
from trialdm.domain import audit, ethics
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused
from trialdm.domain.ethics import Approval, Document, Fact, Register
from trialdm.domain.pathway import FACTS
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, register, studies
from trialdm.services.unit import Unit, needed
from trialdm.store.tables import Evidence, RegisterEntry

#: The largest file that is taken.
MOST_BYTES = 10_000_000

#: States of a trial in which a register on paper is taken over with its signatures.
SET_UP = frozenset({"draft", "configured", "submitted"})

#: Endings of files that are taken, with their media types.
MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".eml": "message/rfc822",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


#: What a file of each kind begins with; texts and mails hold no zero byte and are UTF-8 or Latin text.
_BEGINS = {".pdf": b"%PDF", ".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".docx": b"PK\x03\x04"}


def _is_kind(ending: str, content: bytes) -> bool:
    """Whether a file is what its name says, as far as its first bytes tell."""
    return content.startswith(_BEGINS[ending]) if ending in _BEGINS else b"\0" not in content


@dataclass(frozen=True)
class Letter:
    """A file that comes with what is recorded; `sha256` is its digest as its sender gave it, if at all."""

    name: str
    content: bytes
    sha256: str = ""


# --- files -----------------------------------------------------------------------------------------------------------


def keep(unit: Unit, trial: str, name: str, content: bytes, sha256: str = "") -> str:
    """Keep a letter or certificate; gives the SHA-256 of its content. The same content is kept once.

    Raises Invalid for a kind or size that is not taken, and Refused where the digest that was given is another one.
    """
    unit.attempt(trial, "evidence.keep")
    ending = f".{name.rpartition('.')[2].lower()}" if "." in name else ""
    if ending not in MEDIA_TYPES:
        raise Invalid(f"'{name}' cannot be kept.", code="FILE.TYPE", needs=f"A file that ends in {', '.join(MEDIA_TYPES)}.")
    if not content or len(content) > MOST_BYTES:
        raise Invalid(f"'{name}' is {'empty' if not content else 'too large'}.", code="FILE.SIZE", needs="A file of at most 10 MB.")
    if not _is_kind(ending, content):
        raise Invalid(f"'{name}' is no {ending[1:].upper()} file.", code="FILE.TYPE", needs="A file that is what its name says.")
    digest = hashlib.sha256(content).hexdigest()
    given = "".join(sha256.split()).lower()
    if given and given != digest:
        raise Refused(
            f"The letter '{name}' is not the one that was named: its SHA-256 is {digest}, {given} was given.",
            code="REGISTER.HASH",
            needs="The file that the digest was made from, or the digest of this file.",
        )
    if unit.session.get(Evidence, (trial, digest)) is None:
        row = Evidence(
            trial_id=trial, sha256=digest, name=name, media_type=MEDIA_TYPES[ending], content=content, at=unit.now, by=unit.actor.id
        )
        unit.add(row)
        unit.record("evidence.keep", row, trial=trial, entity="evidence", entity_id=digest)
        unit.session.flush()
    return digest


def file(unit: Unit, trial: str, sha256: str) -> Evidence:
    """A kept file, whose content still has its digest. Raises Missing, and Conflict for a file that was changed."""
    unit.require("approvals.see", trial)
    row = needed(unit.session.get(Evidence, (trial, sha256)), "There is no such file.", code="FILE.UNKNOWN")
    if hashlib.sha256(row.content).hexdigest() != sha256:
        raise Conflict("The file is not what was kept: its content has been changed.", code="FILE.CHANGED", needs="The original letter.")
    return row


def files(unit: Unit, trial: str) -> dict[str, str]:
    """Names of the kept files by digest."""
    return {key: name for key, name in unit.session.execute(select(Evidence.sha256, Evidence.name).where(Evidence.trial_id == trial))}


# --- recording -------------------------------------------------------------------------------------------------------


def load(
    unit: Unit, trial: str, texts: Mapping[str, str], *, shift: timedelta = timedelta(0), letters: Mapping[str, bytes] | None = None
) -> int:
    """Add the approvals and documents of an ethics folder that are not on record yet; gives how many were added.

    A file is a copy of a register that two people keep. While the trial is set up, who recorded and who checked is as the file
    says; later that is kept as text only, and what needs a check waits for that of a second account. `letters` are the files
    below the folder, by the paths that it names. Raises BadDefinition with every problem of the files.
    """
    unit.require("approvals.record", trial)
    unit.attempt(trial, "register.load")
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in (letters or {}).items()}
    found = load_ethics(
        texts, studies.protocol(unit, trial), shift=shift, letters=digests if letters is not None else None, today=unit.today
    )
    register.lock(unit, trial)
    rows = unit.session.scalars(
        select(RegisterEntry).where(RegisterEntry.trial_id == trial, RegisterEntry.kind.in_(("approval", "document")))
    )
    known = [_unsigned(register.kept_entry(row)) for row in rows]
    read: list[Approval | Document] = [*found.approvals, *found.documents]
    new = [entry for entry in read if _unsigned(entry) not in known]
    for path in sorted({e.letter if isinstance(e, Approval) else e.file for e in new} & {*(letters or {})}):
        keep(unit, trial, path.rpartition("/")[2], (letters or {})[path])
    on_paper = studies.state(unit, trial) in SET_UP
    for entry in new:
        if on_paper or isinstance(entry, Document):
            register.add(unit, trial, entry)
        else:
            _add_unchecked(unit, trial, entry)
    return len(new)


def _unsigned(entry: Approval | Document) -> Approval | Document:
    """The entry without who recorded and who checked it."""
    return entry if isinstance(entry, Document) else replace(entry, recorded_by="", second_check_by="")


def _add_unchecked(unit: Unit, trial: str, entry: Approval) -> None:
    """Add a decision of a file as recorded by who loads it; the names that the file gives are kept beside it."""
    said = {"recorded_by": entry.recorded_by, "second_check_by": entry.second_check_by}
    taken = register.written(replace(entry, recorded_by=unit.actor.id, second_check_by=""))
    register.note(unit, trial, "approval", {**taken, "said": said}, site=entry.site)


def record(unit: Unit, trial: str, entry: Approval | Document, letter: Letter | None = None) -> int:
    """Add one decision or document version to the register, with its letter or file; gives its number.

    Raises Refused for what lies in the future, overlaps with a decision in force, or has another digest than was given, Invalid
    for what does not fit together, and Conflict for what is on record already.
    """
    site = entry.site if isinstance(entry, Approval) else ""
    unit.require("approvals.record", trial)
    if letter is not None:
        entry = _with(unit, trial, entry, letter)
    unit.attempt(trial, "register.record", site=site)
    register.lock(unit, trial)
    if isinstance(entry, Document):
        _new_version(unit, trial, entry)
        return register.add(unit, trial, entry)
    _possible(unit, trial, entry)
    return register.add(unit, trial, replace(entry, recorded_by=unit.actor.id, second_check_by=""))


def _with(unit: Unit, trial: str, entry: Approval | Document, letter: Letter) -> Approval | Document:
    """The entry with its letter, which is kept."""
    if not letter.content and not letter.name:
        raise Invalid("A digest was given without its letter.", code="REGISTER.HASH", needs="The letter.")
    digest = keep(unit, trial, letter.name, letter.content, letter.sha256)
    if isinstance(entry, Document):
        return replace(entry, file=letter.name, sha256=digest)
    return replace(entry, letter=letter.name, sha256=digest)


#: Bodies whose good decision counts by the reference that it has.
_NAMED = frozenset({"rec", "registry"})


def _possible(unit: Unit, trial: str, entry: Approval) -> None:
    protocol = studies.protocol(unit, trial)
    if entry.body not in ethics.BODIES or entry.status not in ethics.BODIES[entry.body]:
        choices = ", ".join(ethics.BODIES.get(entry.body, ethics.BODIES))
        raise Invalid(f"'{entry.status or entry.body}' is no decision of this body.", code="REGISTER.STATUS", needs=f"One of: {choices}.")
    if (entry.body in ethics.SITE_BODIES) != bool(entry.site):
        what, needs = ("name no site", "No site.") if entry.site else ("name the site", "The site that it is about.")
        raise Invalid(f"{ethics.BODY_NAMES[entry.body]}: {what}.", code="REGISTER.SITE", needs=needs)
    if entry.site:
        protocol.site(entry.site)
    if entry.ref and not fits(entry.body, entry.ref):
        raise Invalid(f"'{entry.ref}' is not a reference of this body.", code="REGISTER.REF", needs=FORMATS[entry.body][1])
    if entry.body in _NAMED and entry.status in ethics.GOOD and not entry.ref:
        needs = f"The reference on the letter: {FORMATS[entry.body][1]}" if entry.body in FORMATS else "The reference on the letter."
        raise Invalid(f"{ethics.BODY_NAMES[entry.body]}: name its reference.", code="REGISTER.REF", needs=needs)
    decided = [day for day in (entry.submitted_on, entry.valid_on, entry.decided_on, entry.agreement_signed_on) if day]
    if any(day > unit.today for day in decided):
        raise Refused(
            f"The decision of {ethics.BODY_NAMES[entry.body]} is dated {max(decided).isoformat()}, which is in the future.",
            code="REGISTER.FUTURE",
            needs="The day on the letter; a decision that is in force only later has 'in force from'.",
        )
    if entry.starts is None:
        raise Invalid("A decision needs its day.", code="REGISTER.DAY", needs="The day of the decision.")
    if entry.effective_from and entry.decided_on and entry.effective_from < entry.decided_on:
        message = f"In force from {entry.effective_from.isoformat()}, decided on {entry.decided_on.isoformat()}."
        raise Invalid(message, code="REGISTER.DAY", needs="The day of the decision, or a later one, as the first day in force.")
    if entry.effective_to and entry.effective_to < entry.starts:
        raise Invalid("It ends before it begins.", code="REGISTER.DAY", needs="A last day after the first.")
    on_record = register.read(unit, trial)
    twice = next((old for old in on_record.approvals if _said(old) == _said(entry)), None)
    if twice is not None:
        raise Conflict(f"This decision is on record already, as number {twice.entry}.", code="REGISTER.TWICE", needs="Nothing.")
    other = on_record.overlapping(entry)
    if other is not None:
        raise Refused(
            f"{ethics.BODY_NAMES[entry.body]} {other.ref or 'without reference'} is in force over the same days.",
            code="REGISTER.OVERLAP",
            needs=f"Say that this decision supersedes {other.ref or 'it'}, or correct its days.",
        )


def _said(decision: Approval) -> Approval:
    """What a decision says, without who recorded and checked it and what was met since."""
    conditions = tuple(replace(condition, met_on=None, evidence="") for condition in decision.conditions)
    return replace(decision, entry=0, recorded_by="", second_check_by="", conditions=conditions)


def _new_version(unit: Unit, trial: str, entry: Document) -> None:
    if entry.kind not in ethics.DOCUMENT_KINDS:
        raise Invalid(f"There is no kind of document '{entry.kind}'.", code="REGISTER.KIND", needs=", ".join(ethics.DOCUMENT_KINDS))
    known = [d for d in register.read(unit, trial).documents if d.kind == entry.kind]
    if any(d.code == entry.code or d.version == entry.version for d in known):
        message = f"{entry.kind} v{entry.version} or code {entry.code} is on record already."
        raise Conflict(message, code="REGISTER.TWICE", needs="The next version and code.")
    if not re.fullmatch(r"\d+\.\d+", entry.version):
        raise Invalid(f"'{entry.version}' is not a version.", code="REGISTER.VERSION", needs="Two numbers, such as 2.0.")
    if entry.modification and register.read(unit, trial).modification(entry.modification) is None:
        message = f"There is no modification {entry.modification} with which the document could have come."
        raise Invalid(message, code="REGISTER.MODIFICATION", needs="The modification recorded first, or the document without it.")
    if entry.modification and entry.approved_on is not None:
        message = f"The document comes with modification {entry.modification} and is approved when that is."
        raise Invalid(message, code="REGISTER.MODIFICATION", needs="The document without a day of approval of its own.")
    if (entry.approved_on or entry.dated) > unit.today or entry.dated > unit.today:
        raise Refused("The document is dated in the future.", code="REGISTER.FUTURE", needs="The day on the document.")
    if entry.approved_on is not None and _opened(unit, trial):
        raise Refused(
            f"The trial has opened: {entry.kind} v{entry.version} is not approved by itself.",
            code="GATE.GOV-22",
            needs="Record the modification that it comes with, and the document without a day of approval of its own.",
        )
    for site in entry.sites:
        studies.protocol(unit, trial).site(site)


def _opened(unit: Unit, trial: str) -> bool:
    """Whether the trial has ever been opened."""
    return any(row.event == "open" for row in studies.history(unit, trial, "trial", trial))


def check(unit: Unit, trial: str, number: int) -> Approval:
    """Confirm, as the second person, what somebody else recorded. Raises Forbidden for one's own entry."""
    unit.require("approvals.check", trial)
    unit.attempt(trial, "register.check")
    register.lock(unit, trial)
    approval = one(unit, trial, number)
    if recorded_by_me(unit, trial, number):
        needs = "Another person who may check approvals."
        raise Forbidden("Nobody checks what they recorded themselves.", code="REGISTER.OWN", needs=needs)
    if not approval.waits_for_check:
        raise Conflict("This entry does not wait for a check.", code="REGISTER.CHECKED")
    register.note(unit, trial, "check", {"entry": number}, site=approval.site)
    return approval


def meet(unit: Unit, trial: str, number: int, condition: int, met_on: date, evidence: str, letter: Letter | None = None) -> None:
    """Record how a condition of an approval was met: `evidence` in words, with the letter where there is one.

    Raises Conflict for one that was met before, Refused for a day to come.
    """
    unit.require("approvals.record", trial)
    unit.attempt(trial, "register.condition-met")
    register.lock(unit, trial)
    approval = one(unit, trial, number)
    if not 0 <= condition < len(approval.conditions):
        raise Missing("The approval has no such condition.", code="REGISTER.CONDITION")
    if not evidence.strip() and letter is None:
        raise Invalid("Say what shows that the condition is met.", code="REGISTER.EVIDENCE", needs="The letter, its day, or its file.")
    if met_on > unit.today:
        raise Refused("The condition is met in the future.", code="REGISTER.FUTURE", needs="The day on which it was met.")
    if approval.conditions[condition].met_on is not None:
        day = approval.conditions[condition].met_on
        raise Conflict(f"The condition was recorded as met on {day}.", code="REGISTER.MET", needs="Nothing.")
    data = {"entry": number, "condition": condition, "met_on": met_on.isoformat(), "evidence": evidence.strip()}
    if letter is not None:
        digest = keep(unit, trial, letter.name, letter.content, letter.sha256)
        data["evidence"] = f"{evidence.strip()} ({letter.name}, SHA-256 {digest})".strip()
    register.note(unit, trial, "condition-met", data)


def recorded_by_me(unit: Unit, trial: str, number: int) -> bool:
    """Whether the actor recorded this entry."""
    return unit.session.get_one(RegisterEntry, (trial, number)).recorded_by == unit.actor.id


def one(unit: Unit, trial: str, number: int) -> Approval:
    """The decision with this number in the register. Raises Missing."""
    found = next((a for a in register.read(unit, trial).approvals if a.entry == number), None)
    return needed(found, f"There is no approval {number}.", code="REGISTER.UNKNOWN")


def take_up(unit: Unit, trial: str, kind: str, code: int, site: str, on: date) -> None:
    """Record from which day a site uses a version of a document: by the sponsor's office, or the principal investigator there.

    Raises Refused by GOV-12 for a version that is not approved or was revoked, by GOV-24 while the site may object, and Conflict
    for one that the site has used since a day before: the days on which it did stay as they were.
    """
    if not unit.may("approvals.record", trial):
        unit.require("documents.take-up", trial, site)
    place = studies.protocol(unit, trial).site(site)
    unit.attempt(trial, "register.uptake", site=site)
    register.lock(unit, trial)
    found = document(unit, trial, kind, code)
    _usable(unit, trial, found, site, on)
    used = register.used_since(unit, trial, found, place)
    if used is not None and used <= on:
        raise Conflict(
            f"Site {site} has used {found.title} since {used.isoformat()}.",
            code="REGISTER.UPTAKE",
            needs="Nothing; or a day before that one.",
        )
    register.note(unit, trial, "uptake", {"kind": kind, "code": code, "site": site, "on": on.isoformat()}, site=site)


def _usable(unit: Unit, trial: str, found: Document, site: str, on: date) -> None:
    """Raises Refused unless a site may use this version from a day on: approved, not revoked, its days to object over."""
    on_record = register.read(unit, trial)
    approved = on_record.approved_on(found)
    if approved is None or approved > on:
        raise Refused(
            f"{found.title} is not approved on {on.isoformat()}.", code="GATE.GOV-12", needs="A day from the day of its approval on."
        )
    if found.revoked_on is not None and found.revoked_on <= on:
        raise Refused(
            f"{found.title} was revoked on {found.revoked_on.isoformat()}.",
            code="GATE.GOV-12",
            needs="A version that is approved and not revoked.",
        )
    came_with = on_record.came_with(found)
    days = ethics.param(studies.protocol(unit, trial), "site_objection_days")
    free = came_with.free_at(site, days) if came_with else None
    if came_with is not None and (free is None or free > min(on, unit.today)):
        raise Refused(
            f"{found.title} comes with modification {came_with.ref}, to which site {site} may object"
            + (f" until {free.isoformat()}." if free else "."),
            code="GATE.GOV-24",
            needs=f"The site's agreement, or a day from {free.isoformat()} on."
            if free
            else "The sponsor's notice, and the site's agreement.",
        )


def revoke(unit: Unit, trial: str, kind: str, code: int, on: date, reason: str) -> None:
    """Take a version of a document out of use from a day on, everywhere.

    Raises Conflict for one that is revoked already, and Refused for a day in the past: what was done on it then was right.
    """
    unit.require("approvals.record", trial)
    unit.attempt(trial, "register.revocation")
    register.lock(unit, trial)
    before = document(unit, trial, kind, code).revoked_on
    if before is not None:
        raise Conflict(f"It was revoked on {before.isoformat()} already.", code="REGISTER.REVOKED", needs="Nothing.")
    if not reason.strip():
        raise Invalid("Say why the document is revoked.", code="REGISTER.REASON", needs="A reason.")
    audit.require_words("", reason)
    if on < unit.today:
        message = f"{on.isoformat()} is past: what was done on this version until today stays as it was."
        raise Refused(message, code="REGISTER.PAST", needs="From today on.")
    register.note(unit, trial, "revocation", {"kind": kind, "code": code, "on": on.isoformat(), "reason": reason.strip()})


def state(unit: Unit, trial: str, fact: Fact) -> int:
    """Record a dated fact: an urgent safety measure, a deadline met. Raises Refused for one in the future."""
    unit.require("facts.record", trial, fact.site or None)
    if fact.kind not in ethics.FACTS:
        raise Invalid(f"There is no fact '{fact.kind}'.", code="REGISTER.KIND", needs=f"One of: {', '.join(ethics.FACTS)}.")
    if fact.kind in FACTS:
        raise Refused(
            f"'{ethics.FACTS[fact.kind]}' is recorded by the organisation whose fact it is.",
            code="REGISTER.KIND",
            needs="The audit clinician or the governance lead there, on the page of the organisation.",
        )
    return register.add(unit, trial, fact)


def document(unit: Unit, trial: str, kind: str, code: int) -> Document:
    """The version of a document with this code. Raises Missing."""
    return needed(register.read(unit, trial).document(kind, code), f"There is no {kind} {code}.", code="REGISTER.UNKNOWN")


def next_code(unit: Unit, trial: str, kind: str) -> int:
    """The code that the next version of a document gets in consent forms."""
    return max((d.code for d in register.read(unit, trial).documents if d.kind == kind), default=0) + 1


# --- reading ---------------------------------------------------------------------------------------------------------


def waiting(unit: Unit, trial: str) -> Sequence[Approval]:
    """Approvals that wait for a second person's check."""
    return [a for a in register.read(unit, trial).approvals if a.waits_for_check]


def as_of(unit: Unit, trial: str, on: date, site: str = "") -> list[dict[str, Any]]:
    """The state of every body and document on a day: for status pages and the command line."""
    protocol, on_record = studies.protocol(unit, trial), register.read(unit, trial)
    if site:
        protocol.site(site)
    rows: list[dict[str, Any]] = []
    for body in ethics.BODIES:
        places = [s.code for s in protocol.sites if not site or s.code == site] if body in ethics.SITE_BODIES else [""]
        for place in places:
            newest = on_record.latest(body, on, site=place)
            standing = on_record.standing(body, on, site=place)
            rows.append(
                {
                    "body": body,
                    "site": place,
                    "status": newest.status if newest else "not recorded",
                    "in_force": standing is not None,
                    "ref": newest.ref if newest else "",
                    "from": newest.starts.isoformat() if newest and newest.starts else None,
                    "to": newest.effective_to.isoformat() if newest and newest.effective_to else None,
                }
            )
    for at in protocol.sites:
        if site and at.code != site:
            continue
        for kind in ethics.DOCUMENT_KINDS:
            current = on_record.current_document(kind, at, on)
            if current:
                rows.append(
                    {
                        "body": kind,
                        "site": at.code,
                        "status": f"version {current.version}",
                        "in_force": True,
                        "ref": current.title,
                    }
                )
    return rows


def listed(unit: Unit, trial: str) -> list[dict[str, Any]]:
    """Every decision on record, in the order of recording, as commands and the API give it."""
    unit.require("approvals.see", trial)
    return [describe(unit, approval) for approval in register.read(unit, trial).approvals]


def describe(unit: Unit, approval: Approval) -> dict[str, Any]:
    """A decision as commands and the API give it; conditions count from 1."""
    names = casebooks.names(unit, [who for who in (approval.recorded_by, approval.second_check_by) if who])
    return {
        "number": approval.entry,
        "body": approval.body,
        "status": approval.status,
        "ref": approval.ref,
        "site": approval.site,
        "nations": list(approval.nations),
        "submitted_on": _iso(approval.submitted_on),
        "decided_on": _iso(approval.decided_on),
        "from": _iso(approval.starts),
        "to": _iso(approval.effective_to),
        "agreement_signed_on": _iso(approval.agreement_signed_on),
        "conditions": [
            {"number": number, "text": c.text, "pre_start": c.pre_start, "met_on": _iso(c.met_on), "evidence": c.evidence}
            for number, c in enumerate(approval.conditions, start=1)
        ],
        "supersedes": approval.supersedes,
        "covers": list(approval.covers),
        "letter": approval.letter,
        "sha256": approval.sha256,
        "recorded_by": names.get(approval.recorded_by, approval.recorded_by),
        "checked_by": names.get(approval.second_check_by, approval.second_check_by),
        "waits_for_check": approval.waits_for_check,
    }


def documents(unit: Unit, trial: str) -> list[dict[str, Any]]:
    """Every version of a document, with the day from which each site uses it (null where it is not known yet)."""
    unit.require("approvals.see", trial)
    protocol, on_record = studies.protocol(unit, trial), register.read(unit, trial)
    return [describe_document(on_record, protocol, found) for found in on_record.documents]


def describe_document(on_record: Register, protocol: Protocol, found: Document) -> dict[str, Any]:
    """A version of a document as commands and the API give it."""
    came_with = on_record.came_with(found)
    return {
        "kind": found.kind,
        "code": found.code,
        "version": found.version,
        "dated": found.dated.isoformat(),
        "approved_on": _iso(on_record.approved_on(found)),
        "from": found.effective_from.isoformat(),
        "modification": came_with.ref if came_with else "",
        "reconsent": found.reconsent,
        "revoked_on": _iso(found.revoked_on),
        "file": found.file,
        "sha256": found.sha256,
        "sites": {site.code: _iso(on_record.starts_at(found, site)) for site in protocol.sites if site.nation in found.nations},
    }


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None
