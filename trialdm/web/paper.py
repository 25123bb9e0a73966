"""Forms on paper, as documents: blank to be filled in by hand, filled with what is saved, and annotated with their definition.

A blinded reader gets no restricted form, item, choice or check. Questions of a questionnaire whose wording is not shipped stand
as Q1, Q2 .. with the name of their item.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from trialdm.documents.page import Ask, Block, Document, Facts, Rows, Section, Words
from trialdm.domain import lifecycle, naming
from trialdm.domain.crf import HIDDEN, Check, Form, Item, limits
from trialdm.domain.errors import Missing
from trialdm.domain.expressions import Expression
from trialdm.domain.protocol import ARM_FACT, Protocol, Visit
from trialdm.domain.signing import Act
from trialdm.domain.values import MISSING_REASONS
from trialdm.exports import codebook, dataset
from trialdm.services import casebooks, overview, participants, places, records, register, signatures, studies, trail
from trialdm.services.places import Place
from trialdm.services.records import View
from trialdm.services.unit import Unit
from trialdm.store.tables import FormVersion
from trialdm.web import forms, wording

#: Characters that a person writes on one line of paper.
_PER_LINE = 80

#: The most lines that a question gets.
_MOST_LINES = 8

_PATTERNS = {"date": "__/__/____", "pdate": "__/__/____", "dtm": "__/__/____  __:__", "time": "__:__"}

_NOTES = {
    "date": "Day, month, year",
    "pdate": "Day, month, year, as far as it is known",
    "dtm": "Day, month, year, and time on the 24-hour clock",
    "time": "24-hour clock",
    "multi": "Tick all that apply",
}

_TYPES = {
    "int": "whole number",
    "dec": "number",
    "code": "one choice",
    "yn": "yes or no",
    "multi": "several choices",
    "date": "date",
    "pdate": "date, in part",
    "dtm": "date and time",
    "time": "time",
    "text": "text",
}


# --- who may have what -----------------------------------------------------------------------------------------------


def blinded(unit: Unit, protocol: Protocol) -> bool:
    """Whether the reader is blinded at every site, so that no restricted part of a definition is for them."""
    return not any(unit.sees_allocations(protocol.id, site) for site in (None, *(site.code for site in protocol.sites)))


def readable_forms(unit: Unit, trial: str) -> tuple[Protocol, list[Form]]:
    """The protocol with the forms that the reader may know, in its order. Raises Forbidden for somebody without a role in the trial."""
    protocol = studies.protocol(unit, trial)
    unit.require("trial.see", trial)
    hides = blinded(unit, protocol)
    return protocol, [form for form in protocol.forms if not (hides and form.restricted)]


def chosen(found: Sequence[Form], code: str) -> list[Form]:
    """One of these forms by its code, or all of them where none is named. Raises Missing, in the same words for what is hidden."""
    named = [form for form in found if form.code == code.upper()] if code else list(found)
    if not named:
        raise Missing(f"There is no form '{code}' for you to read.", code="CRF.NO_FORM")
    return named


# --- questions -------------------------------------------------------------------------------------------------------


def labels(protocol: Protocol, form: Form) -> dict[str, str]:
    """How each item is called on paper: by its label, or as Qn where it belongs to a questionnaire whose wording is not shipped.

    To the questionnaire belong the questions from which a calculated item of the form is worked out.
    """
    names = {item.name: item.label for item in form.items}
    if any(one.form == form.code and one.wording != "shipped" for one in protocol.instruments):
        read = {name for item in form.calculations if item.value for name in item.value.names}
        asked = [item.name for item in form.items if item.typed_in and item.name in read]
        names |= {name: f"Q{number} ({name})" for number, name in enumerate(asked, 1)}
    return names


def _unworded(form: Form, names: dict[str, str]) -> set[str]:
    """Items whose wording does not go on paper."""
    return {item.name for item in form.items if names[item.name] != item.label}


def _condition(item: Item, form: Form, names: dict[str, str], hides: bool) -> str:
    hidden = {i.name for i in form.items if hides and form.restricts(i)}
    return wording.condition(item, form, frozenset(form.by_name) - hidden - _unworded(form, names), {}, blinded=hides)


def _range(item: Item) -> str:
    if item.minimum is None and item.maximum is None:
        return ""
    said = limits(item.minimum, item.maximum, item.unit)
    return said[0].upper() + said[1:]


# --- blank -----------------------------------------------------------------------------------------------------------

_RULES = (
    "For entry on paper. Write the participant's number and nothing else that identifies a person: no name, no date of birth. "
    "Cross out a mistake with one line, and write date and initials beside it."
)


def blank(unit: Unit, trial: str, form: str = "", visit: str = "") -> Document:
    """One form to be filled in by hand, the forms of a visit, or all forms. Raises Missing."""
    protocol, found = readable_forms(unit, trial)
    at = protocol.visit(visit) if visit else None
    wanted = (
        [one for one in chosen(found, form) if any(offered is one for offered, _ in protocol.forms_at(at))] if at else chosen(found, form)
    )
    wanted = [one for one in wanted if any(item.typed_in for item in one.items)]
    if not wanted:
        raise Missing(f"There is no such form at visit {visit}.", code="CRF.NOT_AT_VISIT")
    hides = blinded(unit, protocol)
    title = f"{wanted[0].code}: {wanted[0].title}" if form else f"Forms of {at.label}" if at else "Forms"
    sections = [section for one in wanted for section in _blank(protocol, one, at, hides)]
    codes = "; ".join(f"{code} {words.lower()}" for code, words in MISSING_REASONS.items())
    rules = Section("How to fill them in", [Words(_RULES), Words(f"Where there is no answer, write why: {codes}.")])
    return Document(f"{protocol.short_title}. {title}", f"Protocol version {protocol.version}. Blank.", [rules, *sections])


def _blank(protocol: Protocol, form: Form, visit: Visit | None, hides: bool) -> Iterator[Section]:
    visits = [visit.label] if visit else [protocol.visit(code).label for code in form.visits if code != "U"]
    head: list[Block] = [
        Facts([("Form", f"{form.code}, protocol version {protocol.version}")]),
        Ask("Participant number", boxes="____-____-__"),
        Ask("Visit", choices=visits),
    ]
    if form.repeating:
        head.append(Ask("Row", ["Use one sheet for each row."], boxes="___"))
    head += [Ask("Filled in on", [_NOTES["date"]], boxes=_PATTERNS["date"]), Ask("Initials of whoever fills it in", boxes="____")]
    if form.introduction:
        head.append(Words(form.introduction))
    yield Section(f"{form.code}: {form.title}", [replace(part, none=False) if isinstance(part, Ask) else part for part in head])
    names = labels(protocol, form)
    asked = [item for item in form.items if item.typed_in and not (hides and form.restricts(item))]
    for heading, items in groupby(asked, key=lambda item: item.section):
        yield Section(f"{form.code}: {heading or 'Questions'}", [_ask(item, form, names, hides) for item in items])


def _ask(item: Item, form: Form, names: dict[str, str], hides: bool) -> Ask:
    worded = names[item.name] == item.label
    given = [_condition(item, form, names, hides), item.help if worded else "", _NOTES.get(item.type, ""), _range(item)]
    if not item.required:
        given.append("May be left empty")
    if item.source:
        return Ask(names[item.name], [*filter(None, given), "Number in the site's list"], boxes="____")
    notes = tuple(filter(None, given))
    if item.type in ("code", "yn", "multi"):
        found = wording.choices(item, {}, blinded=hides)
        return Ask(names[item.name], notes, [words if worded or item.type == "yn" else str(code) for code, words in found.items()])
    if item.type == "text":
        return Ask(names[item.name], notes, lines=min(_MOST_LINES, max(item.lines, -(-item.length // _PER_LINE))))
    return Ask(names[item.name], notes, boxes=_PATTERNS.get(item.type) or _number_boxes(item), unit=item.unit)


def _number_boxes(item: Item) -> str:
    """A box for each digit that the number can have, and for its sign where it can be negative."""
    ends = [abs(end) for end in (item.minimum, item.maximum) if end is not None]
    digits = len(str(int(max(ends)))) if item.maximum is not None else 6
    sign = "_" if item.minimum is None or item.minimum < 0 else ""
    return sign + "_" * digits + ("." + "_" * item.decimals if item.holds == "dec" and item.decimals else "")


# --- filled ----------------------------------------------------------------------------------------------------------


def filled(
    unit: Unit, trial: str, participant: str, *, visit: str = "", form: str = "", row: int | None = None, audit: bool = False
) -> Document:
    """What is saved of a participant, in words: one form or row, a visit, or the casebook; with `audit` the trail at the end of each.

    Raises Missing where nothing of it is saved for this reader.
    """
    person = participants.find(unit, trial, participant, "form.see")
    protocol = studies.protocol_at(unit, trial, person.site)
    sections: list[Section] = []
    for line in overview.grid(unit, protocol, person):
        for cell in line["cells"]:
            if visit in ("", line["code"]) and form.upper() in ("", cell["form"].code):
                for stored in cell["saved"]:
                    if row in (None, stored.instance.row):
                        place = places.locate(unit, trial, person.id, line["code"], cell["form"].code, stored.instance.row)
                        sections.append(_filled(unit, place, audit))
    if not sections:
        raise Missing("Nothing of this has been saved.", code="CRF.BLANK")
    what = " ".join(filter(None, (form.upper(), f"at {visit}" if visit else "", f"row {row}" if row else ""))) or "Casebook"
    lead = f"Site {person.site}. Printed {wording.moment(unit.now)}. Protocol version {protocol.version}."
    signed = signatures.of_casebook(unit, trial, person.id).signature if not (visit or form) else None
    whole = [Section("Signature under the casebook", [Facts(_signature(signed))])] if signed else []
    return Document(f"{protocol.short_title}. Participant {person.id}: {what}", lead, [*sections, *whole])


def _filled(unit: Unit, place: Place, audit: bool) -> Section:
    view = records.view(unit, place)
    names = labels(place.protocol, place.form)
    hides = not unit.sees_allocations(place.protocol.id, place.participant.site)
    blocks: list[Block] = [Facts(list(_about(unit, view)))]
    shown = [i for i in place.form.items if i.name not in view.hidden_from_reader and _stands(view, i)]
    registers = register.choices(unit, place.protocol.id)
    row = f", row {place.row}" if place.protocol.rows_at(place.form, place.visit) else ""
    named = f"{place.form.code} at {place.visit_code}{row}"
    for heading, items in groupby(shown, key=lambda item: item.section):
        rows = [(names[item.name], _answer(view, item, registers, hides)) for item in items]
        blocks.append(Rows(f"{named}: {heading or 'answers'}", ("Question", "Answer"), rows))
    confirmed = [(name, words) for name, words in _confirmed(unit, view, names)]
    if confirmed:
        blocks.append(Rows(f"{named}: confirmed as right", ("Check", "What it asked"), confirmed))
    if audit:
        blocks.append(_trail(unit, view, names, registers, hides, f"{named}: audit trail"))
    return Section(f"{place.form.code}: {place.form.title}. {place.visit.label} ({place.visit_code}){row}", blocks)


def _stands(view: View, item: Item) -> bool:
    return item.name in view.shown or item.name in view.answers.values or item.name in view.answers.missing


def _answer(view: View, item: Item, registers: wording.Registers, hides: bool) -> str:
    if item.name in view.answers.missing:
        reason = view.answers.missing[item.name]
        return f"No answer: {MISSING_REASONS.get(reason, reason).lower()}"
    return wording.answer(item, view.answers.values.get(item.name), registers, blinded=hides) or "–"


def _about(unit: Unit, view: View) -> Iterator[tuple[str, str]]:
    trial = view.place.protocol.id
    yield "State", lifecycle.label(view.status).capitalize()
    yield "Version", str(view.version)
    by = casebooks.names(unit, [view.saved_by]).get(view.saved_by, "")
    yield "Saved", f"{wording.moment(view.saved_at)} by {by}"
    marks = signatures.marks(unit, trial, view.instance)
    if marks.verified_by:
        yield "Compared with the source", f"{marks.verified_by.name}, {wording.moment(marks.verified_by.at)}"
    if marks.signature:
        yield from _signature(marks.signature)
    if marks.voided:
        yield "Signature that is void", f"{marks.voided[0].name}, {wording.moment(marks.voided[0].at)}: {marks.voided[1].text}"


def _signature(act: Act) -> list[tuple[str, str]]:
    return [("Signed", f"{act.name}, {act.role}, {wording.moment(act.at)}: {act.meaning}")]


def _confirmed(unit: Unit, view: View, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The soft findings that somebody confirmed with this version, as far as the reader may know them."""
    form = view.place.form
    kept = unit.session.get(FormVersion, (view.place.protocol.id, view.instance, view.version))
    checks = {check.id: check for check in form.checks}
    for ident in json.loads(kept.confirmed) if kept and kept.confirmed else ():
        check, item = checks.get(ident), ident.rpartition(".")[2]
        if check is not None:
            if not set(check.items) & view.hidden_from_reader and not check.when.names & view.hidden_from_reader:
                yield ident, check.message
        elif item in form.by_name and item not in view.hidden_from_reader:
            yield ident, f"{names[item]}: unusual"
        elif ident == HIDDEN:
            yield ident, "Answers to questions that no longer applied were removed"


def _trail(unit: Unit, view: View, names: dict[str, str], registers: wording.Registers, hides: bool, caption: str) -> Rows:
    rows = []
    for line in trail.of_form(unit, view.place):
        item = view.place.form.by_name.get(line.field)
        if line.field in view.hidden_from_reader:
            continue
        old, new = (
            wording.stored(item, raw, registers, blinded=hides) if item else "" if raw is None else str(raw) for raw in (line.old, line.new)
        )
        what = names.get(line.field, line.field)
        rows.append(
            (wording.moment(line.at), line.person, forms.ACTS.get(line.action, line.action), what, old, new, wording.reason(line.reason))
        )
    return Rows(caption, ("When", "Who", "What", "Question", "Before", "After", "Why"), rows)


# --- annotated -------------------------------------------------------------------------------------------------------


def annotated(unit: Unit, trial: str, form: str = "") -> Document:
    """Forms with what stands behind each question: item, type, choices, limits, condition, export columns, and the checks."""
    protocol, found = readable_forms(unit, trial)
    hides = blinded(unit, protocol)
    wanted = chosen(found, form)
    title = f"{wanted[0].code}: {wanted[0].title}, annotated" if form else "Annotated forms"
    sections = [_annotated(protocol, one, hides) for one in wanted]
    return Document(f"{protocol.short_title}. {title}", f"Protocol version {protocol.version}.", sections)


def _annotated(protocol: Protocol, form: Form, hides: bool) -> Section:
    names, hidden = labels(protocol, form), _hidden_names(protocol, form) if hides else frozenset[str]()
    visits = ", ".join(f"{code} ({how})" for code, how in form.visits.items())
    about = [("Kind", form.kind), ("Visits", visits), ("Rows", "Any number, each saved by itself" if form.repeating else "One")]
    if not hides:
        about.append(("Restricted", _restricted_in_words(form)))
    items = [item for item in (*form.items, *form.summary) if not (hides and form.restricts(item))]
    rows = [_row(item, names.get(item.name, item.label), hidden, hides) for item in items]
    columns = ("Question", "Item", "Type", "Choices", "Limits", "Required", "Condition or calculation", "Export columns")
    blocks: list[Block] = [Facts(about), Rows(f"Items of {form.code}", (*columns, *(() if hides else ("Restricted",))), rows)]
    checks = [check for check in form.checks if not {*check.items, *check.when.names} & hidden]
    if checks:
        said = [_check_row(check) for check in checks]
        blocks.append(Rows(f"Checks of {form.code}", ("Check", "Severity", "Items", "Fires when", "Message"), said))
    return Section(f"{form.code}: {form.title}", blocks)


def _hidden_names(protocol: Protocol, form: Form) -> frozenset[str]:
    """Items and facts of which a blinded reader learns nothing."""
    own = {item.name for item in (*form.items, *form.summary) if form.restricts(item)}
    facts = {fact.name for fact in protocol.context if _restricted_fact(protocol, fact.form, fact.item)}
    return frozenset({*own, *facts, ARM_FACT})


def _restricted_fact(protocol: Protocol, form: str, item: str) -> bool:
    found = protocol.form(form)
    return found.restricts(found.by_name[item])


def _restricted_in_words(form: Form) -> str:
    if form.restricted:
        return "The whole form"
    return f"Rows for which {form.restricted_when.source}" if form.restricted_when else "Items marked below" if _some(form) else "Nothing"


def _some(form: Form) -> bool:
    return any(item.restricted or (item.codelist and any(c.restricted or c.blinded for c in item.codelist.codes)) for item in form.items)


def _row(item: Item, label: str, hidden: frozenset[str], hides: bool) -> tuple[str, ...]:
    parts = (
        label,
        item.name,
        f"{'calculated ' if item.calculated else 'filled by the system, ' if item.system else ''}{_TYPES.get(item.holds, item.holds)}",
        _codes(item, hides),
        _limits(item),
        "Yes" if item.required and item.typed_in else "No",
        "; ".join(filter(None, (_source("if", item.show_if, hidden), _source("=", item.value, hidden)))),
        ", ".join(naming.columns_of(item)) if item.exported else "not exported",
    )
    return parts if hides else (*parts, _mark(item))


def _codes(item: Item, hides: bool) -> str:
    if item.source:
        return f"from the register {item.source}"
    return "; ".join(f"{code} {words}" for code, words in wording.choices(item, {}, blinded=hides).items())


def _limits(item: Item) -> str:
    hard = limits(item.minimum, item.maximum, item.unit) if (item.minimum, item.maximum) != (None, None) else item.unit
    soft = limits(item.soft_minimum, item.soft_maximum, item.unit) if (item.soft_minimum, item.soft_maximum) != (None, None) else ""
    places = f"{item.decimals} decimal place{'s' * (item.decimals != 1)}" if item.holds == "dec" else ""
    length = f"at most {item.length} characters" if item.holds == "text" and item.typed_in else ""
    return "; ".join(filter(None, (hard, f"usual {soft}" if soft else "", places, length)))


def _source(sign: str, rule: Expression | None, hidden: frozenset[str]) -> str:
    if rule is None:
        return ""
    return "depends on what is hidden" if rule.names & hidden else f"{sign} {rule.source}"


def _mark(item: Item) -> str:
    codes = [str(c.value) for c in item.codelist.codes if c.restricted or c.blinded] if item.codelist else []
    return "Yes" if item.restricted else f"choices {', '.join(codes)}" if codes else ""


def _check_row(check: Check) -> tuple[str, ...]:
    return check.id, check.severity, ", ".join(check.items), check.when.source, check.message


# --- codebook --------------------------------------------------------------------------------------------------------


def described(unit: Unit, trial: str) -> Document:
    """The columns of every form in an export for this reader, before anything is exported."""
    protocol, _ = readable_forms(unit, trial)
    tables = dataset.form_tables(protocol, blinded=blinded(unit, protocol))
    sections = [Section(f"{table.name}: {table.title}", [_columns(table)]) for table in tables]
    return Document(f"{protocol.short_title}. Codebook", f"Protocol version {protocol.version}. One table for each form.", sections)


def _columns(table: dataset.Table) -> Rows:
    rows = [
        (c.name, c.label, codebook.type_in_words(c), c.unit, "; ".join(f"{code} {words}" for code, words in c.value_labels.items()))
        for c in table.columns
    ]
    return Rows(f"Columns of {table.name}", ("Column", "Label", "Type", "Unit", "Values"), rows)
