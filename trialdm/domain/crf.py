"""Case report forms: items, conditions, calculations, checks, and `validate`, the one judge of a form's answers.

Knows a form's definition, its answers and the context that is handed in. Refuses to know where answers are stored, who
gives them, or what happens to a finding.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from trialdm.domain import identifiers, values
from trialdm.domain.expressions import Expression, decimal_text, round_half_away
from trialdm.domain.values import MISSING_REASONS, NotAValue, Value

Severity = Literal["hard", "soft", "alert"]

#: What decides who may enter a form (the roles of each kind stand in `roles.FORM_ENTRY`).
FORM_KINDS = (
    "screening",
    "consent",
    "eligibility",
    "baseline",
    "outcome",
    "operative",
    "discharge",
    "safety",
    "deviation",
    "status",
    "unblinding",
    "visit",
    "system",
    "audit",
)

#: What an item may mean to the system beyond its form: the gate, the schedule and the states look for these.
MEANINGS = {
    "consent_at": "date and time of consent",
    "consent_pis": "version of the information sheet given",
    "consent_icf": "version of the consent form signed",
    "consent_route": "route of consent: 1 written, 2 witnessed, 3 personal and 4 nominated consultee, 5 electronic, 6 Scotland",
    "consent_capacity": "whether the person was judged to have capacity",
    "consent_witness": "whether an independent witness was present",
    "consent_consultee_team": "whether the consultee is connected with the study",
    "consent_no_personal": "why there is no personal consultee",
    "consent_linkage": "whether linkage was agreed to",
    "consent_sharing": "whether sharing was agreed to",
    "capacity_lost": "day on which capacity was lost",
    "capacity_plan": "what was planned for somebody who lost capacity",
    "capacity_regained": "day on which capacity was regained",
    "other_trial": "registration number of another trial that the person takes part in",
    "screened_on": "day of screening",
    "screened_eligible": "whether somebody who was screened looked eligible",
    "screened_approached": "whether somebody who was screened was approached",
    "screened_consented": "whether somebody who was screened consented",
    "screened_reason": "why somebody who was screened did not enter",
    "age": "age at consent, in years",
    "event_term": "what an adverse event was, in words",
    "event_code": "code of an adverse event in a dictionary",
    "event_interest": "why an adverse event is of special interest: code 0 is not",
    "event_start": "day on which an adverse event began",
    "event_end": "day on which an adverse event ended",
    "event_severity": "how severe an adverse event was",
    "event_serious": "whether an adverse event was serious",
    "event_outcome": "how an adverse event ended: codes 1, 2 and 5 are final, and 5 is fatal",
    "serious_event": "number of the adverse event that was serious",
    "serious_aware": "when the site became aware of a serious adverse event",
    "serious_reported": "when a serious adverse event was reported to the sponsor",
    "serious_criteria": "why an event is serious: code 1 is death, 2 a threat to life",
    "serious_ci_aware": "day on which the chief investigator became aware",
    "serious_related": "relatedness by the site: 3 and more is related",
    "serious_related_sponsor": "relatedness by the sponsor: 3 and more is related",
    "serious_expected": "whether the event was expected",
    "serious_list": "list of expected events that the judgement was made against",
    "serious_sent": "day on which the committee was told",
    "eligible": "whether all eligibility criteria are met",
    "surgery_planned": "planned day of the operation",
    "surgeon_planned": "planned surgeon",
    "surgeon_operated": "surgeon who operated",
    "consent_taker": "who took the consent",
    "planned_side": "side that is planned to be operated on",
    "planned_limb": "limb that is planned to be operated on",
    "planned_level": "level that is planned",
    "surgery_done": "whether the operation took place",
    "surgery_date": "day of the operation",
    "withdrawal": "change of participation: codes 1 to 3 and 7 are levels of withdrawal, 4 is lost to follow-up, 5 a clinician's decision, "
    "6 a consultee's advice",
    "withdrawal_date": "day of a change of participation",
    "death_date": "day of death",
    "visit_date": "day of the visit",
    "visit_done": "whether the visit took place",
    "row_date": "day of the event that a row describes",
    "deviation_type": "type of a deviation",
    "deviation_class": "class of a deviation: code 0 says that it is none after all",
    "deviation_date": "day on which a deviation occurred",
    "deviation_found": "day on which a deviation was found",
    "deviation_text": "what a deviation was",
    "unblinding_reason": "why somebody learned the allocation: codes 1 and 2 are emergencies, 3 an accident, 5 the planned end",
    "unblinding_by": "who learned the allocation (staff number)",
    "unblinding_at": "date and time at which somebody learned the allocation",
    "case_date": "day of a procedure that is audited",
    "case_timing": "whether the procedure prevents pain (1) or treats it (2)",
    "case_uncertainty": "whether the uncertainty about benefit and harm was explained",
    "case_shared_decision": "day of the shared decision conversation",
    "case_team": "whether a multidisciplinary team selected the patient",
    "case_surgeon": "who operated (number of the surgeon)",
    "case_lapse_reported": "day on which a lapse of the special arrangements was reported to the governance lead",
    "case_end": "why the follow-up of a case ends: code 1 is death",
}

#: The finding that asks what to do with answers to questions that no longer apply.
HIDDEN = "CRF.HIDDEN"


@dataclass(frozen=True)
class Code:
    """One choice. `blinded` is what a blinded role reads instead; a restricted choice is never shown to one."""

    value: int
    label: str
    blinded: str = ""
    restricted: bool = False


@dataclass(frozen=True)
class Codelist:
    """Named choices, in the order in which they are offered."""

    name: str
    codes: tuple[Code, ...]

    @cached_property
    def labels(self) -> dict[int, str]:
        """Label of each code, as an unblinded role reads it."""
        return {code.value: code.label for code in self.codes}

    def shown_to(self, *, blinded: bool) -> dict[int, str]:
        """Labels as a blinded or an unblinded role reads them."""
        if not blinded:
            return self.labels
        return {code.value: code.blinded or code.label for code in self.codes if not code.restricted}


@dataclass(frozen=True)
class Item:
    """One question or calculated value of a form. Limits are in the item's unit.

    `passes` is the answer with which an eligibility criterion is met; `means` one of `MEANINGS`. `unblinds` is False where
    a restricted item tells nothing about the allocation, so that rules of open forms may name it. `by` names the roles that
    alone give it; where it names none, whoever enters the form does.
    """

    name: str
    label: str
    type: str
    section: str = ""
    help: str = ""
    unit: str = ""
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    soft_minimum: Decimal | None = None
    soft_maximum: Decimal | None = None
    decimals: int = 0
    length: int = 200
    lines: int = 1
    codelist: Codelist | None = None
    source: str = ""
    required: bool = True
    show_if: Expression | None = None
    value: Expression | None = None
    result: str = ""
    restricted: bool = False
    exported: bool = True
    scan: bool = False
    system: str = ""
    means: str = ""
    passes: int | None = None
    unblinds: bool = True
    by: tuple[str, ...] = ()

    @property
    def holds(self) -> str:
        """The type of the stored value: the result's type for a calculated item."""
        return self.result or self.type

    @property
    def subject(self) -> str:
        """The label as it starts a message: without a question mark."""
        return self.label.rstrip(" ?")

    @property
    def calculated(self) -> bool:
        return self.value is not None

    @property
    def typed_in(self) -> bool:
        """Whether a person gives it: neither calculated nor filled by the system."""
        return not self.calculated and not self.system


@dataclass(frozen=True)
class Check:
    """An edit check: fires when its condition is True. A hard one refuses, a soft one asks, an alert tells.

    `deviation` is the type of the deviation that it opens, and `deviation_class` its class: 1 minor, 2 major.
    """

    id: str
    severity: Severity
    when: Expression
    items: tuple[str, ...]
    message: str
    notify: tuple[str, ...] = ()
    deviation: int | None = None
    rule: str = ""
    deviation_class: int = 1


@dataclass(frozen=True)
class Form:
    """A form as one version of the protocol defines it. A repeating form is saved row by row, one of `double_entry` typed by two people.

    `previous` says that the answers of the visit before may be read beside the questions: where continuity matters, and
    nobody's rating is to be led by the last one.
    """

    code: str
    title: str
    kind: str
    items: tuple[Item, ...]
    visits: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    summary: tuple[Item, ...] = ()
    repeating: bool = False
    double_entry: bool = False
    restricted: bool = False
    restricted_when: Expression | None = None
    applies_if: Expression | None = None
    instrument: str = ""
    introduction: str = ""
    previous: bool = False

    @cached_property
    def by_name(self) -> dict[str, Item]:
        return {item.name: item for item in self.items}

    @cached_property
    def calculations(self) -> tuple[Item, ...]:
        """Calculated items, each after those that it reads. The loader has refused circles."""
        return tuple(in_order_of_need(self.items))

    @cached_property
    def summaries(self) -> tuple[Item, ...]:
        """Items over all rows of a visit, each after those that it reads."""
        return tuple(in_order_of_need(self.summary))

    def applies(self, facts: Mapping[str, Any]) -> bool:
        """Whether the form is expected of a participant of whom these facts are known; while nothing is known, it is."""
        return self.applies_if is None or self.applies_if.evaluate(facts, ()) is not False

    def restricts(self, item: Item, answers: Mapping[str, Any] | None = None) -> bool:
        """Whether a blinded role may not see this item (of this row, where the row decides)."""
        return self.restricted or item.restricted or self.row_restricted(answers)

    def row_restricted(self, answers: Mapping[str, Any] | None) -> bool:
        """Whether the whole row is hidden from blinded roles because of its own answers."""
        return self.restricted or bool(answers and self.restricted_when and self.restricted_when.holds(answers))


@dataclass(frozen=True)
class Context:
    """What a rule may see beside its own form.

    `facts` are the declared facts about the participant and the visit, `rows` the sibling rows of a repeating form,
    `registers` the registers that give codes (documents, staff, surgeons), `system` the values of items that the system fills.
    """

    facts: Mapping[str, Value | None] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Value | None]] = ()
    registers: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    system: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """Typed answers of one form, and the reason codes that stand where an answer is missing."""

    values: Mapping[str, Value]
    missing: Mapping[str, str]

    def to_json(self) -> dict[str, dict[str, Any]]:
        """`{"answers": .., "missing": ..}` with values in their JSON forms."""
        return {"answers": {name: values.write(v) for name, v in self.values.items()}, "missing": dict(self.missing)}


@dataclass(frozen=True)
class Finding:
    """What a rule found. `code` is permanent; a soft finding is answered by naming its `id` when saving again."""

    id: str
    code: str
    severity: Severity
    message: str
    items: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    deviation: int | None = None
    rule: str = ""
    deviation_class: int = 1


@dataclass(frozen=True)
class Verdict:
    """The outcome of `validate`: the answers as they would be stored, what was found, and which items apply.

    `confirmed` holds the soft findings that somebody has answered.
    """

    answers: Answers
    findings: tuple[Finding, ...]
    shown: frozenset[str]
    summary: Mapping[str, Value]
    confirmed: tuple[Finding, ...] = ()

    def of(self, *severities: Severity) -> tuple[Finding, ...]:
        """Findings of these severities, in the order of the form."""
        return tuple(finding for finding in self.findings if finding.severity in severities)


def in_order_of_need(items: Iterable[Item]) -> list[Item]:
    """Calculated items ordered so that each comes after those that its calculation reads.

    Raises ValueError naming the items of a circle.
    """
    waiting = {item.name: item for item in items if item.value is not None}
    ordered: list[Item] = []
    while waiting:
        ready = [item for item in waiting.values() if item.value and not (item.value.names & waiting.keys())]
        if not ready:
            raise ValueError(" -> ".join(sorted(waiting)))
        for item in ready:
            ordered.append(waiting.pop(item.name))
    return ordered


def circle_of_conditions(items: Iterable[Item]) -> list[str]:
    """Items each of which must be known before it is known whether the next one applies, or its value; empty without a circle.

    The last one is the first one again.
    """
    needs: dict[str, list[str]] = {}
    for item in items:
        named = {name for expression in (item.show_if, item.value) if expression for name in expression.names}
        needs[item.name] = sorted(named)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as circle:
        return list(circle.args[1])
    return []


def stored(item: Item, raw: Any) -> Value | None:
    """The result of a calculation as the item stores it: rounded half away from zero to the item's decimals.

    What is stored can be read again as it stands. A result that no answer of the type could hold (a number or a day out of
    range, a text that is too long) is missing; a text loses the blanks around it, as a typed one does.
    """
    try:
        return values.read(item.holds, _json(item, raw))
    except NotAValue:
        return None


def _json(item: Item, raw: Any) -> Any:
    """The JSON form of a result, numbers with the decimals of the item."""
    if isinstance(raw, bool):
        return int(raw)
    if not isinstance(raw, int | Fraction):
        return values.write(raw)
    if not -values.LARGEST_INTEGER <= raw <= values.LARGEST_INTEGER:
        raise NotAValue("the number is too large")
    return decimal_text(raw, item.decimals) if item.holds == "dec" else int(round_half_away(raw, 0))


def load(form: Form, document: Mapping[str, Any]) -> Answers:
    """Stored JSON back to typed answers; items that the form no longer has are left out."""
    answers = document.get("answers", {})
    read: dict[str, Value] = {}
    for name, raw in answers.items():
        item = form.by_name.get(name)
        value = values.read(item.holds, raw) if item else None
        if value is not None:
            read[name] = value
    return Answers(read, {n: r for n, r in document.get("missing", {}).items() if n in form.by_name})


def with_former(form: Form, document: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A document with what an earlier one holds about items that the form no longer has: it is kept, and neither shown nor judged."""
    parts = ("answers", "missing")
    former = {part: {name: raw for name, raw in before.get(part, {}).items() if name not in form.by_name} for part in parts}
    return {part: {**former[part], **document.get(part, {})} for part in parts}


def validate(
    form: Form,
    answers: Mapping[str, Any],
    missing: Mapping[str, str],
    context: Context,
    *,
    complete: bool = True,
    confirmed: Iterable[str] = (),
) -> Verdict:
    """Judge the answers of one form (or of one row of a repeating form).

    `answers` and `missing` are as sent: JSON values or text. `complete` says that the form claims to be finished, so that
    required items count. `confirmed` holds the ids of soft findings that somebody has answered: they are reported no
    more, and answers to hidden questions are removed once `CRF.HIDDEN` is among them.
    """
    agreed = frozenset(confirmed)
    typed, reasons, findings = _read(form, answers, missing)
    unread = {name for finding in findings for name in finding.items}
    typed.update(context.system)
    answered: list[Finding] = []
    if HIDDEN in agreed:
        shown, known = _apply_conditions(form, typed, context)
        answered += _hidden(form, {*typed, *reasons, *unread}, shown)
        unread &= shown
        typed = {name: value for name, value in typed.items() if name in shown}
        reasons = {name: reason for name, reason in reasons.items() if name in shown}
    shown, known = _apply_conditions(form, typed, context)
    for name in form.by_name:
        if name in known and name not in typed:
            typed[name] = known[name]
    rows = _rows_with(form, context, known)
    summary = summarise(form, rows, context)
    findings = [f for f in findings if shown.issuperset(f.items) or f.code == "CRF.UNKNOWN_ITEM"]
    findings += _hidden(form, {*typed, *reasons, *unread}, shown)
    findings += _limits(form, typed, shown, context)
    findings += _identifying(form, typed)
    if complete:
        findings += [f for f in _required(form, typed, reasons, shown) if not unread.issuperset(f.items)]
    findings += _checks(form, {**context.facts, **dict.fromkeys(form.by_name), **known, **summary}, rows)
    answered += [f for f in findings if f.severity == "soft" and f.id in agreed]
    left = tuple(f for f in findings if f.severity != "soft" or f.id not in agreed)
    in_form_order = {name: typed[name] for name in form.by_name if name in typed}
    return Verdict(Answers(in_form_order, reasons), left, frozenset(shown), summary, tuple(answered))


def _identifying(form: Form, typed: Mapping[str, Value]) -> Iterator[Finding]:
    """Direct identifiers in free text (GOV-41): a valid NHS number is refused, what only looks like one is asked about."""
    for item in form.items:
        text = typed.get(item.name)
        if item.scan and isinstance(text, str):
            for found in identifiers.search(text):
                message = f"{item.label}: this looks like {found.words}. Remove it."
                severity: Severity = "hard" if found.severity == "block" else "soft"
                yield Finding(f"GOV-41.{item.name}", "GATE.GOV-41", severity, message, (item.name,), rule="GOV-41")


def conditions(form: Form, typed: Mapping[str, Value], context: Context) -> frozenset[str]:
    """Names of the items that apply, given these answers."""
    return frozenset(_apply_conditions(form, dict(typed), context)[0])


def summarise(form: Form, rows: Sequence[Mapping[str, Value | None]], context: Context) -> dict[str, Value]:
    """Values calculated over all rows of the form at one visit."""
    found: dict[str, Value] = {}
    for item in form.summaries:
        if item.value is not None:
            value = stored(item, item.value.evaluate({**context.facts, **found}, rows))
            if value is not None:
                found[item.name] = value
    return found


def _rows_with(form: Form, context: Context, own: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*context.rows, own] if form.repeating else []


def _finding(item: Item, code: str, severity: Severity, message: str, *, ident: str = "") -> Finding:
    return Finding(ident or code, code, severity, message, (item.name,))


def _read(form: Form, answers: Mapping[str, Any], missing: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str], list[Finding]]:
    """Typed values and reasons, with a hard finding for everything that cannot be read."""
    typed: dict[str, Value] = {}
    reasons: dict[str, str] = {}
    findings: list[Finding] = []
    sent = {**answers, **missing}
    for name in (*(n for n in sent if n not in form.by_name), *(n for n in form.by_name if n in sent)):
        item = form.by_name.get(name)
        if item is None:
            message = f"'{name}' is not an item of form {form.code}."
            findings.append(Finding("CRF.UNKNOWN_ITEM", "CRF.UNKNOWN_ITEM", "hard", message, (str(name),)))
            continue
        reason = missing.get(name)
        if not item.typed_in:
            continue
        try:
            value = values.read(item.type, answers.get(name))
        except NotAValue as problem:
            findings.append(_finding(item, "CRF.TYPE", "hard", f"{item.subject}: {problem}."))
            continue
        if value is not None and reason:
            message = f"{item.subject}: give either an answer or a reason why it is missing, not both."
            findings.append(_finding(item, "CRF.REASON", "hard", message))
        elif reason and (not isinstance(reason, str) or reason not in MISSING_REASONS):
            message = f"{item.subject}: the missing reason must be one of {', '.join(MISSING_REASONS)}."
            findings.append(_finding(item, "CRF.REASON", "hard", message))
        elif reason:
            reasons[name] = reason
        elif value is not None:
            typed[name] = value
    return typed, reasons, findings


def _apply_conditions(form: Form, typed: dict[str, Value], context: Context) -> tuple[set[str], dict[str, Value]]:
    """The items that apply and the values that count: answers to hidden questions are as if missing."""
    shown = set(form.by_name)
    for _ in range(len(form.items) + 1):
        known = {name: value for name, value in typed.items() if name in shown}
        scope: dict[str, Any] = {**context.facts, **dict.fromkeys(form.by_name), **known}
        for item in form.calculations:
            if item.value is not None and item.name in shown:
                value = stored(item, item.value.evaluate(scope, context.rows))
                if value is not None:
                    known[item.name] = scope[item.name] = value
        now = {item.name for item in form.items if item.show_if is None or item.show_if.holds(scope, context.rows)}
        if now == shown:
            break
        shown = now
    return shown, known


def _hidden(form: Form, given: set[str], shown: set[str]) -> list[Finding]:
    """One question about all that was given, readable or not, to questions that no longer apply: it is kept until somebody decides."""
    left = [i for i in form.items if i.name in given and i.name not in shown and i.typed_in]
    if not left:
        return []
    labels = "; ".join(item.label for item in left)
    message = f"No longer asked because of another answer, but still answered: {labels}. Confirm to remove these answers."
    return [Finding(HIDDEN, HIDDEN, "soft", message, tuple(item.name for item in left))]


def _limits(form: Form, typed: Mapping[str, Value], shown: set[str], context: Context) -> list[Finding]:
    findings: list[Finding] = []
    for name, item in form.by_name.items():
        if name in shown and name in typed:
            findings += _limits_of(item, typed[name], context)
    return findings


def _limits_of(item: Item, value: Value, context: Context) -> list[Finding]:
    if item.holds in ("code", "multi"):
        return _codes(item, value, context)
    if isinstance(value, str):
        if item.typed_in and len(value) > item.length:
            message = f"{item.subject}: at most {item.length} characters are kept; this has {len(value)}."
            return [_finding(item, "CRF.LENGTH", "hard", message)]
        return []
    if not isinstance(value, int | Decimal) or item.holds == "yn":
        return []
    if isinstance(value, Decimal) and item.typed_in and value != round_half_away(value, item.decimals):
        message = f"{item.subject}: at most {item.decimals} decimal place{'' if item.decimals == 1 else 's'}."
        return [_finding(item, "CRF.DECIMALS", "hard", message)]
    if outside(value, item.minimum, item.maximum):
        return [_finding(item, "CRF.RANGE", "hard", f"{item.subject}: must be {limits(item.minimum, item.maximum, item.unit)}.")]
    if outside(value, item.soft_minimum, item.soft_maximum):
        usual = limits(item.soft_minimum, item.soft_maximum, item.unit)
        message = f"{item.subject}: {values.write(value)} is unusual (expected {usual}). Check it, and confirm it if it is right."
        return [_finding(item, "CRF.SOFT_RANGE", "soft", message, ident=f"CRF.SOFT_RANGE.{item.name}")]
    return []


def outside(value: int | Decimal, low: Decimal | None, high: Decimal | None) -> bool:
    """Whether a number lies outside limits of which either may be open."""
    return (low is not None and value < low) or (high is not None and value > high)


def limits(low: Decimal | None, high: Decimal | None, unit: str) -> str:
    """Limits in words: "from 0 to 10", "at least 18 years"."""
    unit = f" {unit}" if unit else ""
    if low is None:
        return f"at most {high}{unit}"
    return f"at least {low}{unit}" if high is None else f"from {low} to {high}{unit}"


#: Who the people of a register are, said to whoever names another.
_AMONG = {
    "assessors": " (people of this site who enter outcomes, cannot see the allocation, have not learned it and did not operate; if "
    "somebody else did assess, give a missing reason and record a deviation of blinding)",
    "site-staff": " (people who work at this site or stand in its delegation log; if somebody else did it, give a missing reason)",
}


def _codes(item: Item, value: Value, context: Context) -> list[Finding]:
    known = context.registers.get(item.source, {}) if item.source else item.codelist.labels if item.codelist else {}
    given = value if isinstance(value, tuple) else (value,)
    unknown = [str(code) for code in given if code not in known]
    if not unknown:
        return []
    message = f"{item.subject}: {', '.join(unknown)} is not one of the choices{_AMONG.get(item.source, '')}."
    return [_finding(item, "CRF.CODE", "hard", message)]


def _required(form: Form, typed: Mapping[str, Value], reasons: Mapping[str, str], shown: set[str]) -> list[Finding]:
    return [
        _finding(item, "CRF.REQUIRED", "hard", f"{item.subject}: answer it, or give the reason why it is missing.")
        for item in form.items
        if item.required and item.typed_in and item.name in shown and item.name not in typed and item.name not in reasons
    ]


def _checks(form: Form, scope: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Finding]:
    return [
        Finding(c.id, c.id, c.severity, c.message, c.items, c.notify, c.deviation, c.rule, c.deviation_class)
        for c in form.checks
        if c.when.holds(scope, rows)
    ]
