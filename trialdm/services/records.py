"""Forms: reading one as a person may see it, saving the next version of one, and what follows from a save.

A save is refused only for what cannot be (wrong types, impossible values), for a right or an approval that is lacking, and
for a version that somebody else has replaced. What is true but irregular is saved, flagged, and opens a deviation.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from trialdm.domain import audit, crf, ethics, identifiers, lifecycle, roles, signing, values
from trialdm.domain.crf import Answers, Finding, Form, Verdict
from trialdm.domain.errors import Detail, Forbidden, Invalid, Refused, Stale, Unanswered, Unconditional, WrongState
from trialdm.domain.protocol import ARM_FACT
from trialdm.domain.words import counted
from trialdm.services import (
    alerts,
    allocations,
    answering,
    casebooks,
    cases,
    contradictions,
    deviations,
    disclosures,
    double_entry,
    factors,
    gates,
    holds,
    identities,
    notices,
    participants,
    participation,
    queries,
    register,
    seriousness,
    signatures,
    staffing,
    studies,
)
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.places import Place, about, context, numbered, require_seen, stream_of
from trialdm.services.unit import LONDON, Change, Unit
from trialdm.store.tables import Account, FormInstance, FormVersion, TheatreCheck

#: Letters of a reason that is no code.

#: Characters of what is said to a prompt.
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class Submission:
    """What somebody wants to save. `answers` and `missing` are as sent; `version` is the one that it starts from.

    `confirm` names the soft findings whose answers are right after all, and `notes` says why, by the name of the finding.

    `definition` is the loaded version of the protocol under which the form was opened, where the sender says it.
    """

    answers: Mapping[str, Any]
    missing: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False
    reason: str = ""
    confirm: tuple[str, ...] = ()
    version: int | None = None
    definition: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


_BODY = {"answers": dict, "missing": dict, "complete": bool, "reason": str, "confirm": list, "notes": dict, "definition": int}


def submission(body: Any, version: int | None = None) -> Submission:
    """A submission from the JSON body of the API or a file. Raises Invalid for what does not belong there."""
    if not isinstance(body, dict):
        raise Invalid('A form is sent as an object: {"answers": {..}, "missing": {..}}.', code="CRF.BODY")
    wrong = [Detail("CRF.BODY", f"'{name}' is not part of a form", str(name)) for name in body if name not in _BODY]
    wrong += [
        Detail("CRF.BODY", f"'{name}' must be {_NAMES[kind]}", name)
        for name, kind in _BODY.items()
        if name in body and (not isinstance(body[name], kind) or (kind is int and isinstance(body[name], bool)))
    ]
    for name in ("missing", "confirm", "notes"):
        inner = body.get(name, ())
        if not wrong and any(not isinstance(part, str) for part in (inner.values() if isinstance(inner, dict) else inner)):
            wrong.append(Detail("CRF.BODY", f"'{name}' holds something that is not text", name))
    if wrong:
        raise Invalid("The form was not sent as expected: " + "; ".join(d.message for d in wrong) + ".", code="CRF.BODY", details=wrong)
    return Submission(
        body.get("answers", {}),
        body.get("missing", {}),
        body.get("complete", False),
        body.get("reason", ""),
        tuple(body.get("confirm", ())),
        version,
        body.get("definition"),
        body.get("notes", {}),
    )


_NAMES = {dict: "an object", bool: "true or false", str: "text", list: "a list", int: "a whole number"}


@dataclass(frozen=True)
class View:
    """A form as one person may see it."""

    place: Place
    status: str
    version: int
    answers: Answers
    shown: frozenset[str]
    hidden_from_reader: frozenset[str]
    alerts: tuple[Finding, ...] = ()
    saved_at: datetime | None = None
    saved_by: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)
    instance: str = ""
    entries: double_entry.Standing | None = None
    of_others: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """The form as the API and the command line give it."""
        place = self.place
        return {
            "participant": place.participant.id,
            "visit": place.visit_code,
            "form": place.form.code,
            "row": place.row,
            "status": self.status,
            "version": self.version,
            "definition": place.definition,
            **self.answers.to_json(),
            "summary": {name: values.write(value) for name, value in self.summary.items()},
            **({"double_entry": self.entries.to_json()} if self.entries else {}),
            "alerts": [{"id": f.id, "message": f.message, "items": list(f.items)} for f in self.alerts],
        }


# --- reading ---------------------------------------------------------------------------------------------------------


def view(unit: Unit, place: Place) -> View:
    """A form as the reader may see it: empty where nothing has been saved. Restricted answers are left out for a blinded reader."""
    book = casebooks.read(unit, place.protocol.id, place.participant)
    stored = book.get(*place.key) or book.removed.get(place.key)
    beside = context(unit, place, book)
    answers = stored.answers(place.form) if stored else Answers(dict(beside.system), {})
    blinded = not unit.sees_allocations(place.protocol.id, place.participant.site)
    require_seen(unit, place, stored)
    full = _with_arm(unit, place, answers, book)
    hidden = frozenset(i.name for i in place.form.items if blinded and place.form.restricts(i))
    return View(
        place,
        stored.status if stored else lifecycle.INITIAL["form"],
        stored.instance.seq if stored else 0,
        _without(full, hidden),
        crf.conditions(place.form, full.values, beside),
        hidden,
        tuple(_flagged(unit, place, stored)),
        saved_at=stored.saved_at if stored else None,
        saved_by=stored.saved_by if stored else "",
        summary=_summary(place, book, beside, blinded) if place.form.repeating else {},
        instance=stored.instance.id if stored else "",
        entries=_entries(unit, place, hidden) if place.form.double_entry and not stored else None,
        of_others=answering.others(unit, place, stored),
    )


def _entries(unit: Unit, place: Place, hidden: frozenset[str]) -> double_entry.Standing:
    """How far the double entry is, as the reader may know it."""
    found = double_entry.standing(unit, place.participant, place.form, place.key)
    return replace(found, differ=tuple(name for name in found.differ if name not in hidden))


def _flagged(unit: Unit, place: Place, stored: Stored | None) -> list[Finding]:
    """What the gate said to watch when the record of a procedure was saved."""
    if stored is None or not cases.is_procedure(place.form):
        return []
    kept = unit.session.get(FormVersion, (place.protocol.id, stored.instance.id, stored.instance.seq))
    return cases.flags(place.form, json.loads(kept.gate)["reasons"]) if kept and kept.gate else []


def answered(unit: Unit, place: Place, view: View) -> list[tuple[str, str]]:
    """The prompts that were confirmed with the version that stands, each with what was said to it, as the reader may see them."""
    book = casebooks.read(unit, place.protocol.id, place.participant)
    stored = book.get(*place.key)
    kept = unit.session.get(FormVersion, (place.protocol.id, stored.instance.id, stored.instance.seq)) if stored else None
    if stored is None or kept is None or not kept.confirmed:
        return []
    notes, full = casebooks.confirmed(kept), stored.answers(place.form).to_json()
    verdict = crf.validate(
        place.form, full["answers"], full["missing"], context(unit, place, book), complete=stored.finished, confirmed=tuple(notes)
    )
    return [(f.message, notes[f.id]) for f in verdict.confirmed if not f.items or not set(f.items) <= view.hidden_from_reader]


def _summary(place: Place, book: Casebook, beside: crf.Context, blinded: bool) -> dict[str, Any]:
    """Values over the rows that the reader may see, without restricted ones."""
    rows = [s.answers(place.form).values for s in book.rows(place.form.code, place.visit_code) if not (blinded and s.instance.restricted)]
    hidden = {item.name for item in place.form.summary if blinded and place.form.restricts(item)}
    return {name: value for name, value in crf.summarise(place.form, rows, beside).items() if name not in hidden}


def _without(answers: Answers, names: frozenset[str]) -> Answers:
    if not names:
        return answers
    return Answers(
        {n: v for n, v in answers.values.items() if n not in names}, {n: r for n, r in answers.missing.items() if n not in names}
    )


def _with_arm(unit: Unit, place: Place, answers: Answers, book: Casebook) -> Answers:
    """The allocation record holds no arm: it is taken from the sealed allocation for a reader who may see it and has asked for it."""
    arm_items = [item.name for item in place.form.items if item.system == ARM_FACT]
    if not arm_items or book.get(*place.key) is None:
        return answers
    trial, person = place.protocol.id, place.participant
    if not unit.sees_allocations(trial, person.site) or not disclosures.knows(unit, trial, person.id, unit.actor.id):
        return answers
    arm = allocations.arm_of(unit, place.protocol, place.participant.id)
    return answers if arm is None else Answers({**answers.values, **dict.fromkeys(arm_items, arm)}, answers.missing)


# --- saving ----------------------------------------------------------------------------------------------------------


def save(unit: Unit, place: Place, sent: Submission, *, imported: bool = False) -> View:
    """Save the next version of a form, and what follows from it.

    An import may also be made by a data manager, who is on no delegation log. An answer that only others may give stays as it
    is, and keeps the form a draft where it is still awaited.

    Raises Forbidden or Refused (who, approval, another version of the protocol), WrongState (trial locked), Unconditional and
    Stale (somebody else saved), Invalid with one detail for each hard finding, and Unanswered with one for each soft finding
    that nobody confirmed.
    """
    book, gate = entered(unit, place, imported=imported)
    stored = book.get(*place.key)
    require_seen(unit, place, stored)
    _require_there(place, book)
    _same_definition(unit, place, sent.definition)
    same_version(stored, sent.version)
    kept = _kept_from_blinded(unit, place, stored, sent)
    theirs = answering.others(unit, place, stored, whole=imported)
    of_others = answering.kept(place, stored, sent, theirs)
    finished = sent.complete or (stored is not None and stored.finished)
    answers = {**of_others.values, **kept.values, **sent.answers}
    verdict = crf.validate(
        place.form,
        answers,
        {**of_others.missing, **kept.missing, **sent.missing},
        seriousness.against(place, stored.answers(place.form) if stored else Answers({}, {}), answers, context(unit, place, book)),
        complete=finished,
        confirmed=sent.confirm,
    )
    before = stored.answers(place.form) if stored else Answers({}, {})
    if not place.protocol.historical:
        verdict = replace(verdict, findings=(*verdict.findings, *contradictions.found(place, book, before, verdict.answers)))
    identities.require_unnamed(unit, place, (sent.reason, *sent.notes.values()))
    own, answered_own = identities.findings(unit, place, verdict.answers.values, sent.confirm)
    verdict = replace(verdict, findings=(*verdict.findings, *own), confirmed=(*verdict.confirmed, *answered_own))
    verdict, awaited = answering.judged(place, verdict, theirs)
    _judge(unit, place, verdict)
    place = numbered(place, book, stored, verdict.answers)
    if place.form.double_entry and stored is None and imported:
        double_entry.require_none(double_entry.standing(unit, place.participant, place.form, place.key))
    if place.form.double_entry and stored is None and not imported:
        found = double_entry.standing(unit, place.participant, place.form, place.key)
        double_entry.require_whole(sent.complete)
        if found.next != "settle":
            found = double_entry.enter(unit, place.participant, place.form, place.key, verdict.answers, found)
            if found.next == "second" or found.differ:
                return view(unit, place)
    if awaited:
        sent = replace(sent, complete=False)
    warned: list[Finding] = []
    if cases.is_procedure(place.form):
        gate, warned = cases.require(unit, place.protocol, place.form, place.participant.site, verdict.answers, complete=finished)
    return _write(unit, place, book, stored, sent, verdict, gate, warned)


def entered(unit: Unit, place: Place, *, imported: bool = False) -> tuple[Casebook, dict[str, Any]]:
    """The casebook, held for this act, and the gate's answer. Raises what `require_entry` raises."""
    register.lock(unit, place.protocol.id, shared=True)
    book = casebooks.hold(unit, place.participant)
    return book, require_entry(unit, place, book, imported=imported)


def require_entry(unit: Unit, place: Place, book: Casebook, *, imported: bool = False) -> dict[str, Any]:
    """The gate's answer, to be kept. Raises Forbidden, WrongState or Refused unless the actor may enter this form now.

    A blinded assessor who has learned the allocation enters no outcome of that participant any more: another one does.
    """
    protocol, form, site = place.protocol, place.form, place.participant.site
    stored = book.get(*place.key)
    twice = form.double_entry and stored is None and not imported
    importer = answering.types_twice(unit, place, stored) or (imported and unit.may("form.import", protocol.id, site))
    if not importer and not answering.enters(unit, place, stored):
        who = ", ".join(sorted(roles.ROLES[role][0] for role in roles.FORM_ENTRY[form.kind])) or "the system only"
        raise Forbidden(
            f"{unit.actor.name} ({unit.actor.role_names(protocol.id)}) may not enter form {form.code} at site {site}.",
            code="ROLE.FORM",
            needs=f"One of these roles: {who}.",
        )
    if roles.assesses(unit.actor.grants, form.kind, protocol.id, site):
        disclosures.require_blind(unit, protocol.id, place.participant.id)
    if twice:
        double_entry.require_turn(unit, double_entry.standing(unit, place.participant, form, place.key))
    if protocol.historical:
        return {}
    if form.kind == "outcome" and not importer:
        _require_no_surgeon(unit, place, book)
    state = studies.state(unit, protocol.id)
    if state not in lifecycle.RECORDING:
        raise WrongState(
            f"The trial is {lifecycle.label(state)}: no form can be saved.",
            code="STATE.TRIAL",
            needs="The trial open or in follow-up.",
        )
    holds.require_free(unit, protocol.id, place.participant, stored.instance if stored else None)
    standing = participants.standing(unit, protocol, book)
    if answering.only_beside(unit, place, stored):  # a code or an assessment of what was collected: nothing is asked of anybody
        standing = replace(standing, withdrawal_level=0)
    unit.attempt(protocol.id, "save-form", site=site)
    case = gates.case(unit, protocol.id, "save-form", site=site, participant=standing, form=form, visit=place.visit_code)
    if importer or not answering.starts(unit, place):
        case = replace(case, person=None)
    answer = ethics.gate(case)
    answer.require()
    return gates.kept(unit, case, answer)


def _require_there(place: Place, book: Casebook) -> None:
    """Raises WrongState for a row that was removed: its number is not used again."""
    if place.key in book.removed:
        raise WrongState(
            f"Row {place.row} of form {place.form.code} was removed.", code="CRF.REMOVED", needs="Restore it, or add another row."
        )


def _require_no_surgeon(unit: Unit, place: Place, book: Casebook) -> None:
    """Raises Forbidden where the actor is named as a surgeon of the participant's operation: whoever operated assesses nothing."""
    if unit.actor.id in staffing.operated(unit, place.protocol, book):
        raise Forbidden(
            f"You operated on participant {place.participant.id}: another assessor is needed.",
            code="ROLE.OPERATED",
            needs="Somebody at this site who did not operate enters the outcome.",
        )


def _same_definition(unit: Unit, place: Place, opened: int | None) -> None:
    """Raises Refused where the form was opened under another version of the protocol than the site works with now."""
    if opened is None or opened == place.definition:
        return
    trial, site = place.protocol.id, place.participant.site
    version = next((row.version for row in studies.loaded(unit, trial) if row.seq == opened), "")
    since = studies.used_since(unit, trial, site)
    raise Refused(
        f"This form was opened under {f'protocol version {version}' if version else 'an unknown version of the protocol'}; "
        f"site {site} works with {place.protocol.version} since {since.isoformat()}.",
        code="GATE.GOV-25",
        needs="Open the form again and enter the change there.",
    )


def same_version(stored: Stored | None, version: int | None) -> None:
    current = stored.instance.seq if stored else 0
    if stored is None and not version:
        return
    if version is None:
        raise Unconditional(
            "Say which version the change starts from.",
            needs=f"The version that you read: this form stands at version {current}.",
        )
    if version != current:
        raise Stale(
            f"Somebody else saved this form in the meantime (it stands at version {current}, yours started from {version}).",
            needs="Open it again, look at what was saved, and enter your change once more.",
        )


def _kept_from_blinded(unit: Unit, place: Place, stored: Stored | None, sent: Submission) -> Answers:
    """Restricted answers, which a blinded person neither sees nor changes: they stay as they are."""
    if unit.sees_allocations(place.protocol.id, place.participant.site):
        return Answers({}, {})
    restricted = {item.name for item in place.form.items if place.form.restricts(item)}
    touched = sorted(restricted & ({*sent.answers} | {*sent.missing}))
    if touched:
        raise Refused(f"Hidden to keep you blinded: {', '.join(touched)}.", code="GATE.GOV-45", needs="An unblinded role at this site.")
    if stored is None:
        return Answers({}, {})
    answers = stored.answers(place.form)
    kept = {name: values.write(value) for name, value in answers.values.items() if name in restricted}
    return Answers(kept, {name: reason for name, reason in answers.missing.items() if name in restricted})


def _judge(unit: Unit, place: Place, verdict: Verdict) -> None:
    blinded = not unit.sees_allocations(place.protocol.id, place.participant.site)
    hard = [f for f in verdict.of("hard") if not (blinded and _only_restricted(place.form, f))]
    if hard:
        raise Invalid(
            f"To be put right in form {place.form.code}: {counted(len(hard), 'answer')}.", code=hard[0].code, details=_details(hard)
        )
    soft = [f for f in verdict.of("soft") if not (blinded and _only_restricted(place.form, f))]
    if soft:
        raise Unanswered(
            f"To be checked and confirmed in form {place.form.code}: {counted(len(soft), 'answer')}.",
            details=_details(soft),
            needs="Correct the answers, or save again and confirm: " + ", ".join(f.id for f in soft) + ".",
        )


def _only_restricted(form: Form, finding: Finding) -> bool:
    return all(name in form.by_name and form.restricts(form.by_name[name]) for name in finding.items)


def _details(findings: Iterable[Finding]) -> list[Detail]:
    return [Detail(f.id if f.severity == "soft" else f.code, f.message, ",".join(f.items), severity=f.severity) for f in findings]


def _write(
    unit: Unit,
    place: Place,
    book: Casebook,
    stored: Stored | None,
    sent: Submission,
    verdict: Verdict,
    gate: Mapping[str, Any],
    warned: Sequence[Finding] = (),
) -> View:
    before = stored.answers(place.form) if stored else Answers({}, {})
    status = stored.status if stored else lifecycle.INITIAL["form"]
    amended = stored is not None and stored.finished
    changes = casebooks.changes(place.form, before, verdict.answers, stored is not None and bool(stored.instance.restricted))
    beside = bool(changes) and {change.field for change in changes} <= signing.beside(place.form)
    event = ("annotate" if beside and status == "signed" else "amend") if amended else "finish" if sent.complete else "save"
    confirms = place.form.kind == "eligibility" and amended and not changes and _confirms(unit, place, stored)
    again = confirms or (place.form.kind == "eligibility" and bool(sent.reason.strip()))
    if stored and not changes and (amended or event == "save") and not again:
        return view(unit, place)
    if not place.protocol.historical:
        changed = [change.field for change in changes]
        factors.require_another_hand(unit, place.protocol, place.participant.id, place.form.code, place.visit_code, changed, row=place.row)
    again_complete = not amended and _once_complete(unit, stored)
    if confirms and not sent.reason.strip():
        sent = replace(sent, reason=_CONFIRMED)
    if (amended or again_complete) and not sent.reason.strip():
        raise Invalid(
            "This form is complete: say why it is changed.",
            code="CRF.REASON_NEEDED",
            needs="A reason for the change.",
            details=[Detail("CRF.REASON_NEEDED", "Give the reason for the change.", "reason")],
        )
    code, text = reason_of(sent.reason) if amended or again_complete else ("", "")
    lowered = [] if place.protocol.historical else seriousness.lowered(place, before, verdict, sent.reason)
    if lowered and not code:
        code, text = reason_of(sent.reason)
    restricted = place.form.row_restricted(verdict.answers.values)
    confirmed = {f.id: _note(sent.notes.get(f.id, "")) for f in verdict.confirmed}
    new = lifecycle.move("form", status, event)
    ends = participation.said(place.protocol, book) if participation.concerns(place.protocol, place.form) else None
    instance, version = casebooks.write(
        unit, book, place.key, new, verdict.answers, restricted=restricted, reason=(code, text), confirmed=confirmed, gate=gate
    )
    aside = bool(changes) and all(change.stream == "unblinded" for change in changes)  # and so is the reason that goes with them
    shown_changes = [Change("status", status, new, "unblinded" if aside else "open")] if status != new else []
    unit.record(
        f"form.{event}",
        instance,
        version,
        trial=place.protocol.id,
        entity="form",
        entity_id=instance.id,
        changes=[*shown_changes, *changes],
        reason_code=code,
        reason_text=text,
        site=place.participant.site,
    )
    changed = [change.field for change in changes]
    why = _why_void(unit, place, instance, changed)
    signatures.void(unit, place.protocol, book, book.forms[place.key], changed, why, beside=beside)
    broken = [*lowered, *_rules_broken(unit, place, book, {finding.rule for finding in verdict.of("alert")})]
    if not place.protocol.historical:
        broken += seriousness.after_death(place, place.protocol, book)
    _note_findings(unit, place, instance, verdict, [*warned, *broken], confirmed)
    broken += _factors_changed(unit, place, book)
    if ends is not None:
        participation.follow(unit, place.protocol, book, ends, sent.reason)
    _follow(unit, place, book, (*verdict.of("alert"), *broken))
    alerts.tell(unit, place, instance, stored, (*verdict.of("alert"), *broken), {change.field for change in changes})
    queries.follow(unit, place, book, verdict)
    seen = view(unit, place)
    shown = [f for f in (*verdict.of("alert"), *broken, *warned) if not set(f.items) & seen.hidden_from_reader]
    return replace(seen, alerts=tuple(shown))


#: What stands in the trail where a doctor saves the eligibility form as somebody else completed it.
_CONFIRMED = "other: confirmed by a doctor, unchanged"


def _confirms(unit: Unit, place: Place, stored: Stored | None) -> bool:
    """Whether this is the doctor's confirmation of an eligibility form that somebody else completed."""
    trial, site = place.protocol.id, place.participant.site
    mine = any(grant.role in roles.MEDICAL and grant.covers(trial, site) for grant in unit.actor.grants)
    return mine and stored is not None and not casebooks.saved_by_doctor(unit, trial, site, stored)


def _once_complete(unit: Unit, stored: Stored | None) -> bool:
    """Whether a draft was complete before: a row that was removed and put back, whose changes need a reason like those of any other."""
    if stored is None or stored.status != "draft":
        return False
    one = stored.instance
    earlier = (FormVersion.trial_id == one.trial_id, FormVersion.instance_id == one.id, FormVersion.status.in_(lifecycle.FINISHED))
    return unit.session.scalar(select(FormVersion.seq).where(*earlier).limit(1)) is not None


def _why_void(unit: Unit, place: Place, instance: FormInstance, changed: Sequence[str]) -> str:
    """What made signatures void, for people."""
    labels = [f"'{place.form.by_name[name].label}'" if name in place.form.by_name else name for name in changed[:3]]
    what = ", ".join(labels) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "") if changed else "the form"
    return f"{unit.actor.name} changed {what if stream_of(place, instance) == 'open' else 'the form'}"


def reason_of(given: str) -> tuple[str, str]:
    """A reason for change as code and words: a known code stands alone or before a colon; anything else is `other`.

    Raises Invalid for one that says nothing, and for one that identifies a person: the trail keeps it for good.
    """
    identifiers.require_none(given, "reason")
    code, _, text = given.strip().partition(":")
    known = code.strip() in audit.CHANGE_REASONS
    found = (code.strip(), text.strip()) if known else ("other", given.strip())
    audit.require_words(*found)
    return found


def _note(given: str) -> str:
    """Why answers that look wrong are right. Raises Invalid for words that are too many, or that identify a person."""
    text = given.strip()
    if len(text) > _LONGEST_NOTE:
        raise Invalid(f"A note has at most {_LONGEST_NOTE} characters.", code="CRF.NOTE", needs="Fewer words.")
    identifiers.require_none(text, "note")
    return text


def _note_findings(
    unit: Unit, place: Place, instance: FormInstance, verdict: Verdict, warned: Sequence[Finding], notes: Mapping[str, str]
) -> None:
    """The prompts that somebody answered, each with what was said, and the alerts that arose, as entries of the trail."""
    told, stream = {"trial": place.protocol.id, **about(place, instance)}, stream_of(place, instance)
    if verdict.confirmed:
        said = [Change(f.id, None, f"{f.message} Answer: {notes[f.id]}" if notes[f.id] else f.message, stream) for f in verdict.confirmed]
        unit.record("form.confirm", changes=said, **told)
    alerts = [*verdict.of("alert"), *warned]
    if alerts:
        unit.record("form.alert", changes=[Change(f.id, None, f.message, stream) for f in alerts], **told)


# --- what follows ----------------------------------------------------------------------------------------------------


#: Facts that the gate judges after they happened: meaning of the item that dates them, act, and type of the deviation.
_FACTS = (("consent_at", "consent", 2), ("surgery_date", "operate", 96))


def _rules_broken(unit: Unit, place: Place, book: Casebook, said: Collection[str]) -> list[Finding]:
    """Rules that a consent or an operation broke on its day: the fact is kept, flagged, and becomes a deviation.

    Those that a check of the form has `said` already are not said twice.
    """
    stored = book.get(*place.key)
    if stored is None or not stored.finished or place.protocol.historical:
        return []
    found: list[Finding] = []
    for meaning, action, deviation in _FACTS:
        item = next((i for i in place.form.items if i.means == meaning), None)
        day = casebooks.as_day(stored.answers(place.form).values.get(item.name)) if item else None
        if item is None or day is None:
            continue
        ready = participants.readiness(unit, place.protocol, book)
        site = participants.site_on(unit, place.participant, day)
        answer, kept = gates.judge(unit, place.protocol.id, action, site=site, on=day, participant=ready)
        gates.keep(unit, place.protocol.id, kept, stream=stream_of(place, stored.instance), **about(place, stored.instance))
        against = [r for r in answer.reasons if r.severity == "block" and r.rule not in said]
        found += [
            Finding(r.rule, f"GATE.{r.rule}", "alert", f"{r.message} {r.needs}", (item.name,), deviation=deviation, rule=r.rule)
            for r in against
        ]
    return [*found, *_not_reconfirmed(unit, place, stored)]


def _not_reconfirmed(unit: Unit, place: Place, stored: Stored) -> list[Finding]:
    """An operation on a day on which nobody compared side, limb and level with the patient (`theatre.confirm`)."""
    item = next((i for i in place.form.items if i.means == "surgery_date"), None)
    day = casebooks.as_day(stored.answers(place.form).values.get(item.name)) if item else None
    if item is None or day is None or place.protocol.meaning("planned_side") is None:
        return []
    checks = unit.session.scalars(
        select(TheatreCheck.at).where(
            TheatreCheck.trial_id == place.protocol.id, TheatreCheck.participant_id == place.participant.id, TheatreCheck.agrees == 1
        )
    )
    if any(at.astimezone(LONDON).date() == day for at in checks):
        return []
    message = (
        f"Side, limb and level were not re-confirmed on the day of surgery ({day.isoformat()}). If the check was made on paper only, "
        "say so on the deviation form."
    )
    return [Finding("THEATRE-01", "THEATRE.NOT_CONFIRMED", "alert", message, (item.name,), deviation=96)]


def _factors_changed(unit: Unit, place: Place, book: Casebook) -> list[Finding]:
    """Answers that an allocation used and that are different now: the allocation stands, the correction is kept beside it."""
    found = []
    for change in factors.follow(unit, place.protocol, book, place.form.code):
        message = (
            f"{change.label} was changed after randomisation {change.number}. The allocation stands; both values are kept "
            "and go into exports."
        )
        item = (change.item,) if change.item in place.form.by_name else ()
        found.append(Finding("ALLOC-01", "ALLOC.CORRECTED", "alert", message, item, ("trial-manager",), deviation=3))
    return found


def _follow(unit: Unit, place: Place, book: Casebook, alerts: Sequence[Finding]) -> None:
    """The steps that a form causes once it is complete: states of the participant, and deviations."""
    stored = book.get(*place.key)
    if not stored or not stored.finished:
        return
    participation.lead_on(unit, place, book)
    _note_unblinding(unit, place, stored.answers(place.form).values)
    deviations.settle(unit, place, book, {finding.id for finding in alerts})
    for finding in alerts:
        if finding.deviation is not None:
            deviations.open_for(unit, place, book, finding)


def _note_unblinding(unit: Unit, place: Place, answers: Mapping[str, Any]) -> None:
    """An unblinding that somebody recorded by hand: whoever is named there knows the allocation from now on."""
    given = {item.means: answers.get(item.name) for item in place.form.items if item.means}
    account = unit.session.scalars(select(Account).where(Account.staff_no == given.get("unblinding_by"))).first()
    if account is None:
        return
    trial, person = place.protocol.id, place.participant
    if any(row.kind not in ("look", "drill") for row in disclosures.of(unit, trial, person.id, account.id)):
        return
    code, at = str(given.get("unblinding_reason") or ""), given.get("unblinding_at")
    when = at.replace(tzinfo=LONDON).astimezone(UTC) if isinstance(at, datetime) else None
    row = disclosures.note(unit, trial, person.id, account.id, "accidental", reason_code=code, at=when)
    about = {"trial": trial, "entity": "participant", "entity_id": person.id, "site": person.site}
    unit.record("allocation.learned", row, changes=[Change("learned_by", None, account.staff_no)], reason_code=code, **about)
    notices.tell(
        unit,
        trial,
        notices.holders(unit, trial, ("chief-investigator", "trial-manager"), person.site),
        "accidental",
        f"Participant {person.id}: somebody learned the allocation",
        f"{unit.actor.name} recorded that {account.name} learned the allocation of participant {person.id} at site {person.site}. "
        f"If {account.name} is an assessor, another one is needed for this participant.",
        person.id,
    )
