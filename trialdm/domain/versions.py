"""What differs between two versions of a protocol, in words, and what each difference means for answers that are there already.

Knows definitions only. Refuses to know participants, sites that use a version, and who approves one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeVar

from trialdm.domain.crf import Check, Code, Codelist, Form, Item
from trialdm.domain.expressions import Expression
from trialdm.domain.protocol import (
    Arm,
    Derivation,
    ExpectedEvents,
    Fact,
    Factor,
    Instrument,
    Parameter,
    Protocol,
    Scheme,
    Site,
    Term,
    Visit,
)
from trialdm.domain.verification import Sample

Effect = Literal["none", "adds", "alters", "breaks"]

#: What each effect means, from the least to the most.
EFFECTS: Mapping[Effect, str] = {
    "none": "Wording or order only: no answer is affected",
    "adds": "Something new: earlier answers stay as they are",
    "alters": "Earlier answers may not meet it, or may be read differently",
    "breaks": "Something that answers may stand in is gone or of another kind",
}

#: Kinds of differences that no version of the forms may bring: the allocation has its own way, the rest is another trial.
FIXED = ("allocation", "unblinding", "identity")

#: Class -> field -> (words, effect of a change). A field that is not named is compared in a way of its own.
_FIELDS: Mapping[type, Mapping[str, tuple[str, Effect]]] = {
    Protocol: {
        "version": ("version", "none"),
        "short_title": ("short title", "none"),
        "title": ("title", "none"),
        "study_type": ("type of study", "alters"),
        "target_participants": ("target of participants", "alters"),
        "target_months": ("months of recruitment", "alters"),
        "guidance": ("guidance", "none"),
    },
    Site: {
        "name": ("name", "none"),
        "nation": ("nation", "alters"),
        "target": ("target", "none"),
        "attributes": ("attributes", "alters"),
    },
    Visit: {
        "number": ("number", "alters"),
        "label": ("label", "none"),
        "kind": ("kind", "breaks"),
        "anchor": ("day from which it counts", "alters"),
        "fallback": ("day from which it counts otherwise", "alters"),
        "target": ("target day", "alters"),
        "before": ("days before the target", "alters"),
        "after": ("days after the target", "alters"),
        "mode": ("where it takes place", "none"),
        "blinded_assessor": ("blinded assessor", "alters"),
    },
    Form: {
        "title": ("title", "none"),
        "kind": ("kind", "alters"),
        "repeating": ("rows", "breaks"),
        "double_entry": ("entered twice", "alters"),
        "restricted": ("hidden from blinded roles", "alters"),
        "restricted_when": ("rows hidden from blinded roles", "alters"),
        "applies_if": ("whom it is expected of", "alters"),
        "instrument": ("instrument", "none"),
        "introduction": ("introduction", "none"),
        "previous": ("answers of the visit before at hand", "none"),
    },
    Item: {
        "label": ("label", "none"),
        "type": ("type", "breaks"),
        "result": ("type of the result", "breaks"),
        "source": ("register of its choices", "breaks"),
        "section": ("section", "none"),
        "help": ("help", "none"),
        "unit": ("unit", "alters"),
        "minimum": ("smallest value", "alters"),
        "maximum": ("largest value", "alters"),
        "soft_minimum": ("smallest usual value", "alters"),
        "soft_maximum": ("largest usual value", "alters"),
        "decimals": ("decimal places", "alters"),
        "length": ("characters", "alters"),
        "lines": ("lines of the field", "none"),
        "required": ("required", "alters"),
        "show_if": ("condition", "alters"),
        "value": ("calculation", "alters"),
        "restricted": ("hidden from blinded roles", "alters"),
        "exported": ("exported", "alters"),
        "scan": ("looked through for names", "none"),
        "system": ("filled by the system", "alters"),
        "means": ("meaning", "alters"),
        "passes": ("answer that meets the criterion", "alters"),
        "unblinds": ("tells about the allocation", "alters"),
        "by": ("roles that alone give it", "none"),
    },
    Check: {
        "severity": ("severity", "alters"),
        "when": ("condition", "alters"),
        "items": ("items", "none"),
        "message": ("message", "none"),
        "notify": ("who is told", "none"),
        "deviation": ("type of the deviation", "alters"),
        "deviation_class": ("class of the deviation", "alters"),
        "rule": ("rule", "none"),
    },
    Code: {"blinded": ("label for blinded roles", "none"), "restricted": ("hidden from blinded roles", "alters")},
    dict: {},
    Fact: {"form": ("form", "alters"), "visit": ("visit", "alters"), "item": ("item", "alters")},
    Sample: {"source": ("source", "none")},
    ExpectedEvents: {
        "since": ("first day", "none"),
        "expected": ("expected", "alters"),
        "unexpected": ("not expected", "none"),
        "source": ("source", "none"),
    },
    Derivation: {
        "per": ("one for each", "alters"),
        "value": ("calculation", "alters"),
        "applies_if": ("condition", "alters"),
        "over": ("rows that it goes over", "alters"),
        "take": ("what is taken", "alters"),
        "where": ("rows that count", "alters"),
        "meaning": ("meaning", "none"),
        "source": ("source", "none"),
    },
    Term: {"term": ("term", "alters"), "up": ("broader term", "none")},
    Parameter: {"value": ("value", "alters"), "source": ("source", "none")},
    Instrument: {
        "form": ("form", "none"),
        "wording": ("wording", "none"),
        "licence": ("licence", "none"),
        "scoring": ("scoring", "none"),
    },
}

#: Fields of the trial that no version changes, by the kind of their differences.
_FIXED_FIELDS: Mapping[str, Mapping[str, str]] = {
    "identity": {"id": "identifier", "origin": "origin", "pathway": "pathway", "identity": "how participants are identified"},
    "unblinding": {"participant_told_after": "visit after which participants are told their allocation"},
}

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Difference:
    """One difference between two versions.

    `kind` is what differs (trial, site, visit, form, item, code, check, context, primary outcome, parameter, table,
    derived item, instrument, or one of FIXED),
    `place` the code of it (`PAIN`, `PAIN.rlp_worst`, `CL_ASSIST.3`, `V04`), `what` names the part in words. `before` is empty for
    something new, `after` for something that is gone.
    """

    kind: str
    place: str
    what: str
    before: str
    after: str
    effect: Effect

    @property
    def form(self) -> str:
        """The form that it belongs to; empty where it belongs to none, or to several."""
        code = self.place.partition(".")[0]
        return code if self.kind in ("form", "item", "check", "code") and not code.startswith("CL_") else ""

    @property
    def words(self) -> str:
        """The difference as a sentence."""
        subject = f"{self.kind.capitalize()} {self.place}".strip()
        if not self.before:
            return f"{subject}: {self.what} is new: {self.after}."
        if not self.after:
            return f"{subject}: {self.what} is gone: {self.before}."
        return f"{subject}: {self.what} was {self.before}, and is {self.after}."

    def to_json(self) -> dict[str, str]:
        return {**vars(self), "form": self.form, "words": self.words}


def compare(old: Protocol, new: Protocol) -> tuple[Difference, ...]:
    """Everything that differs, in the order of the protocol: the trial, its schedule, its forms, its choices, its allocation."""
    return tuple(_compare(old, new))


def fixed(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Differences that no version of the forms may bring."""
    return tuple(found for found in differences if found.kind in FIXED)


def _compare(old: Protocol, new: Protocol) -> Iterator[Difference]:
    yield from _fields("trial", "", old, new)
    yield from _parts("site", _by(old.sites, "code"), _by(new.sites, "code"), lambda site: site.name)
    yield from _parts("visit", _by(old.visits, "code"), _by(new.visits, "code"), lambda visit: visit.label)
    yield from _parts("context", _by(old.context, "name"), _by(new.context, "name"), _of_fact, gone="alters")
    primary = _by(old.primary_outcome, "name"), _by(new.primary_outcome, "name")
    yield from _parts("primary outcome", *primary, _of_fact, gone="alters")
    rules = _by(old.verification, "words"), _by(new.verification, "words")
    yield from _parts("verification rule", *rules, lambda rule: rule.words, gone="none")
    lists = _by(old.expected_events, "name"), _by(new.expected_events, "name")
    yield from _parts("expected events", *lists, lambda one: ", ".join(one.expected), gone="none")
    yield from _parts("event term", _by(old.event_terms, "code"), _by(new.event_terms, "code"), lambda one: one.term, gone="alters")
    yield from _parts("parameter", old.params, new.params, lambda parameter: f"{parameter.value:f}", gone="alters")
    yield from _tables(old, new)
    yield from _parts("form", _by(old.forms, "code"), _by(new.forms, "code"), lambda form: form.title)
    yield from _order("trial", "", "order of the forms", [form.code for form in old.forms], [form.code for form in new.forms])
    for form in old.forms:
        after = next((f for f in new.forms if f.code == form.code), None)
        if after is not None:
            yield from _form(form, after, {*old.codelists} & {*new.codelists})
    for name in _both(old.codelists, new.codelists):
        yield from _codes(name, old.codelists.get(name), new.codelists.get(name))
    yield from _derivations(_by(old.derivations, "name"), _by(new.derivations, "name"))
    yield from _parts("instrument", _by(old.instruments, "id"), _by(new.instruments, "id"), lambda one: one.form, gone="none")
    yield from _allocation(old, new)


# --- pieces of any kind ----------------------------------------------------------------------------------------------


def _by(things: Sequence[Thing], key: str) -> dict[str, Thing]:
    return {str(getattr(thing, key)): thing for thing in things}


def _both(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> list[Any]:
    """The names in either, in order."""
    return list(dict.fromkeys([*old, *new]))


def _parts(
    kind: str,
    old: Mapping[str, Thing],
    new: Mapping[str, Thing],
    words: Callable[[Thing], str],
    *,
    within: str = "",
    gone: Effect = "breaks",
) -> Iterator[Difference]:
    """Things that came or went, and the fields of those that are in both."""
    for name in _both(old, new):
        place = f"{within}.{name}" if within else name
        before, after = old.get(name), new.get(name)
        if before is None and after is not None:
            yield Difference(kind, place, f"this {kind}", "", words(after) or name, "adds")
        elif after is None and before is not None:
            yield Difference(kind, place, f"this {kind}", words(before) or name, "", gone)
        else:
            yield from _fields(kind, place, before, after)


def _fields(kind: str, place: str, old: Any, new: Any) -> Iterator[Difference]:
    for field, (words, effect) in _FIELDS[type(old)].items():
        before, after = getattr(old, field), getattr(new, field)
        if _same(before, after):
            continue
        said = _said(before), _said(after)
        if said[0] == said[1]:
            said = said[0], f"{said[1]} (with another parameter or table)"
        yield Difference(kind, place, words, *said, effect)


def _same(before: Any, after: Any) -> bool:
    """Whether two values mean the same. An expression is its source and what its parameters and tables made of it."""
    if isinstance(before, Expression) and isinstance(after, Expression):
        return (before.source, before.tree) == (after.source, after.tree)
    return bool(before == after)


def _said(value: Any) -> str:
    """A value in words; `none` where there is nothing, so that no side of a change is empty."""
    if value is None or value in ("", ()) or value == {}:
        return "none"
    match value:
        case bool():
            return "yes" if value else "no"
        case Expression():
            return value.source
        case Decimal():
            return f"{value:f}"
        case tuple():
            return ", ".join(_said(one) for one in value)
        case Mapping():
            return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
    return str(value)


def _order(kind: str, place: str, what: str, old: Sequence[str], new: Sequence[str]) -> Iterator[Difference]:
    """Another order of what is in both."""
    before, after = [name for name in old if name in new], [name for name in new if name in old]
    if before != after:
        yield Difference(kind, place, what, ", ".join(before), ", ".join(after), "none")


# --- forms -----------------------------------------------------------------------------------------------------------


def _form(old: Form, new: Form, shared: set[str]) -> Iterator[Difference]:
    for visit in _both(old.visits, new.visits):
        before, after = old.visits.get(visit, ""), new.visits.get(visit, "")
        if before != after:
            effect: Effect = "adds" if not before else "alters" if after else "breaks"
            yield Difference("form", old.code, f"at visit {visit}", before, after, effect)
    for items, others in ((old.items, new.items), (old.summary, new.summary)):
        before_items, after_items = _by(items, "name"), _by(others, "name")
        yield from _parts("item", before_items, after_items, lambda item: item.label, within=old.code)
        yield from _order("form", old.code, "order of the items", list(before_items), list(after_items))
        for name in [name for name in before_items if name in after_items]:
            yield from _choices(f"{old.code}.{name}", before_items[name], after_items[name], shared)
    yield from _parts("check", _by(old.checks, "id"), _by(new.checks, "id"), lambda check: check.message, within=old.code, gone="alters")


def _choices(place: str, old: Item, new: Item, shared: set[str]) -> Iterator[Difference]:
    """The choices of one item, unless both versions take them from one list, which is compared once for all."""
    before, after = old.codelist, new.codelist
    if before and after and before.name == after.name and before.name in shared:
        return
    yield from _codes(place, before, after)


def _codes(place: str, old: Codelist | None, new: Codelist | None) -> Iterator[Difference]:
    before = {str(code.value): code for code in old.codes} if old else {}
    after = {str(code.value): code for code in new.codes} if new else {}
    yield from _parts("code", before, after, lambda code: code.label, within=place)
    for value in [value for value in before if value in after]:
        a, b = before[value].label, after[value].label
        if a != b:
            effect: Effect = "none" if a.casefold().split() == b.casefold().split() else "alters"
            yield Difference("code", f"{place}.{value}", "meaning", a, b, effect)
    yield from _order("code", place, "order of the choices", list(before), list(after))


# --- the trial -------------------------------------------------------------------------------------------------------


def _of_fact(fact: Fact) -> str:
    return f"{fact.form}.{fact.item} at {fact.visit}"


def _derivations(old: Mapping[str, Derivation], new: Mapping[str, Derivation]) -> Iterator[Difference]:
    """Nothing of a derived item is stored: one that is gone takes no answer with it."""
    yield from _parts("derived item", old, new, lambda one: one.item.label, gone="alters")
    for name in (name for name in old if name in new):
        before, after = old[name].item, new[name].item
        yield from (replace(found, effect="alters") if found.effect == "breaks" else found for found in _of_item(name, before, after))


def _of_item(name: str, before: Item, after: Item) -> Iterator[Difference]:
    for found in _fields("derived item", name, before, after):
        if found.what != _FIELDS[Item]["help"][0]:  # meaning and source, which are compared as such
            yield found
    if (before.codelist, after.codelist) != (None, None) and before.codelist != after.codelist:
        yield Difference("derived item", name, "choices", _said_codes(before.codelist), _said_codes(after.codelist), "alters")


def _said_codes(codelist: Codelist | None) -> str:
    return ", ".join(f"{code} {label}" for code, label in codelist.labels.items()) if codelist else "none"


def _tables(old: Protocol, new: Protocol) -> Iterator[Difference]:
    yield from _parts("table", _rows(old), _rows(new), _said, gone="alters")
    for name, rows in old.tables.items():
        after = new.tables.get(name, rows)
        for key in _both(rows, after):
            if rows.get(key) != after.get(key):
                yield Difference("table", name, f"value of {key}", _said(rows.get(key)), _said(after.get(key)), "alters")


def _rows(protocol: Protocol) -> dict[str, dict[str, Any]]:
    """The tables by name, each row by its key as text."""
    return {name: {str(key): value for key, value in rows.items()} for name, rows in protocol.tables.items()}


def _allocation(old: Protocol, new: Protocol) -> Iterator[Difference]:
    for kind, fields in _FIXED_FIELDS.items():
        for field, words in fields.items():
            before, after = getattr(old, field), getattr(new, field)
            if before != after:
                yield Difference(kind, "", words, _said(before), _said(after), "breaks")
    for before_arms, after_arms, place in _arms(old, new):
        if before_arms != after_arms:
            yield Difference("allocation", place, "arms", _said_arms(before_arms), _said_arms(after_arms), "breaks")
    before_schemes, after_schemes = _by(old.schemes, "name"), _by(new.schemes, "name")
    for name in _both(before_schemes, after_schemes):
        before, after = (_said_scheme(found.get(name)) for found in (before_schemes, after_schemes))
        for part in _both(before, after):
            if before.get(part) != after.get(part):
                yield Difference("allocation", name, part, before.get(part, ""), after.get(part, ""), "breaks")


def _arms(old: Protocol, new: Protocol) -> Iterator[tuple[tuple[Arm, ...], tuple[Arm, ...], str]]:
    yield old.arms, new.arms, ""
    later = _by(new.later_schemes, "name")
    for scheme in old.later_schemes:
        if scheme.name in later:
            yield scheme.arms, later[scheme.name].arms, scheme.name


def _said_arms(arms: Sequence[Arm]) -> str:
    return ", ".join(f"{arm.code} {arm.name} ({arm.label}) x {arm.ratio}{', closed' if arm.closed else ''}" for arm in arms) or "none"


def _said_scheme(scheme: Scheme | None) -> dict[str, str]:
    """A scheme in words, part by part. The sites are levels of the factor `site`, and a site may be added."""
    if scheme is None:
        return {}
    ready = _of_fact(scheme.ready) if scheme.ready else "none"
    return {
        "method": scheme.method,
        "factors": ", ".join(_said_factor(factor) for factor in scheme.factors) or "none",
        "parameters": _said(dict(scheme.parameters)),
        "visit that must be complete": scheme.baseline or "none",
        "what is allocated": scheme.unit,
        "randomisation before it": scheme.after or "none",
        "answer that must be yes": ready,
        "sizes of the fallback blocks": _said(scheme.fallback_sizes),
    }


def _said_factor(factor: Factor) -> str:
    where = f" {factor.form}.{factor.item} at {factor.visit}" if factor.form else ""
    levels = "" if factor.name == "site" else f" [{', '.join(factor.levels)}]"
    return f"{factor.name}{where}{levels} x {factor.weight}"
