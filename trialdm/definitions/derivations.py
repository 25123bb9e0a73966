"""derivations.yaml to derived items: each expression read against what its place may name, each fault said with its line.

Whether a derived item is restricted is not written down anywhere: it follows from what it reads (`domain.derivations.closed`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from typing import Any

from trialdm.definitions.kinds import RESULT_KINDS, as_name
from trialdm.definitions.sources import Place
from trialdm.domain import naming
from trialdm.domain.crf import Codelist, Form, Item
from trialdm.domain.derivations import ROW_FACTS, VISIT_FACTS, named
from trialdm.domain.expressions import KINDS, Expression, ExpressionError, Name, at_visit, parse
from trialdm.domain.protocol import ARM_FACT, BUILT_IN_FACTS, VISITS, Derivation, Fact, Visit

#: Built-in facts that a derived item may name: nothing that depends on today.
_FACTS = ("rand_date", "rand_dtm")

#: What a derived item takes over rows, and whether `value` says of what.
_TAKES_DAY = {"any": False, "count": False, "earliest": True, "latest": True}

#: The type that each way of taking gives.
_GIVES = {"any": ("yn",), "count": ("int",), "earliest": ("date",), "latest": ("date",)}


@dataclass(frozen=True)
class Casebook:
    """What derived items are read against. `say` notes a problem at a place of the file, `choices` finds the codes of an entry."""

    forms: Mapping[str, Form]
    visits: Sequence[Visit]
    facts: Sequence[Fact]
    arms: Name
    tables: Mapping[str, Mapping[Decimal, Decimal]]
    params: Mapping[str, Decimal]
    say: Callable[[Place, str], None]
    choices: Callable[[Place, Mapping[str, Any]], Codelist | None]


def derivations_of(casebook: Casebook, entries: Sequence[Mapping[str, Any]]) -> list[Derivation]:
    """The derived items of these entries, in their order; what is wrong with them has been said."""
    items = [_item(casebook, ("derivations", i), entry) for i, entry in enumerate(entries)]
    _names_free(casebook, items)
    reader = _Reader(casebook, entries, items)
    found = [reader.derivation(i) for i in range(len(entries))]
    _no_circle(casebook, found)
    return found


def _item(casebook: Casebook, place: Place, entry: Mapping[str, Any]) -> Item:
    kind = entry["type"]
    for wrong in _misfits(entry):
        casebook.say(place, f"'{entry['name']}': {wrong}")
    return Item(
        name=entry["name"],
        label=entry["label"],
        type="calc",
        result=kind,
        help=f"{entry['meaning']} Source: {entry['source']}.",
        unit=entry.get("unit", ""),
        decimals=entry.get("decimals", 1 if kind == "dec" else 0),
        codelist=casebook.choices(place, entry),
        required=False,
    )


def _misfits(entry: Mapping[str, Any]) -> Iterator[str]:
    """What does not fit together within one entry."""
    kind, over, take = entry["type"], entry.get("over", ""), entry.get("take", "")
    if kind == "code" and not {"codelist", "codes"} & entry.keys():
        yield "its choices are missing: give 'codelist' or 'codes'"
    if {"codelist", "codes"} <= entry.keys():
        yield "give one of 'codelist' and 'codes'"
    if kind != "code" and {"codelist", "codes"} & entry.keys():
        yield f"a {kind} takes no choices"
    if kind not in ("int", "dec") and "unit" in entry:
        yield f"a unit belongs to a number, not to a {kind}"
    if kind != "dec" and "decimals" in entry:
        yield "'decimals' belongs to a dec"
    if bool(over) != bool(take):
        yield "'over' and 'take' go together"
    if not over and "where" in entry:
        yield "'where' says which rows count: give 'over' and 'take'"
    if over == VISITS and entry["per"] == "visit":
        yield "a value per visit cannot go over the visits"
    if take and kind not in _GIVES[take]:
        yield f"'{take}' gives a {' or '.join(_GIVES[take])}, not a {kind}"
    if ("value" in entry) != (_TAKES_DAY[take] if take else True):
        yield f"'{take}' takes no 'value': 'where' says which rows count" if "value" in entry else "'value' is missing"


def _names_free(casebook: Casebook, items: Sequence[Item]) -> None:
    """No name stands for something else already: an item, one of its columns, a fact, a key of exports, a word of a package."""
    taken = dict.fromkeys((*naming.KEYS, *naming.ROW_COLUMNS), "a key column of exports")
    taken |= dict.fromkeys((*BUILT_IN_FACTS, *VISIT_FACTS, ARM_FACT), "a built-in fact")
    for form in casebook.forms.values():
        for item in (*form.items, *form.summary):
            taken |= dict.fromkeys((item.name, *naming.columns_of(item)), f"item '{item.name}' of form {form.code}")
    taken |= {fact.name: "a context fact" for fact in casebook.facts if fact.name not in taken}
    taken |= dict.fromkeys(naming.RESERVED, "a reserved word of SPSS, Stata, SAS or R")
    for i, item in enumerate(items):
        if item.name in taken:
            casebook.say(("derivations", i, "name"), f"'{item.name}' is already {taken[item.name]}")
        taken.setdefault(item.name, "another derived item")


def _no_circle(casebook: Casebook, found: Sequence[Derivation]) -> None:
    places = {one.name: i for i, one in reversed(list(enumerate(found)))}
    try:
        TopologicalSorter({one.name: sorted(named(one) & places.keys()) for one in found}).prepare()
    except CycleError as circle:
        names: list[str] = list(circle.args[1])
        casebook.say(("derivations", places[names[0]]), f"the derivations go in a circle: {' -> '.join(names)}")


class _Reader:
    """Reads the expressions of all entries, each against the names that its place may see."""

    def __init__(self, casebook: Casebook, entries: Sequence[Mapping[str, Any]], items: Sequence[Item]) -> None:
        self.casebook, self.entries, self.items = casebook, entries, items
        own = {"participant": dict[str, Name](), "visit": dict[str, Name]()}
        for entry, item in zip(entries, items, strict=True):
            own[entry["per"]][item.name] = as_name(item)
        of_visit, at_visits = _answers(casebook)
        at_visits |= {at_visit(name, v.code): kind for name, kind in own["visit"].items() for v in casebook.visits if v.kind != "repeating"}
        known = {**own["participant"], **_facts(casebook), **at_visits}
        facts = {name: Name(KINDS[kind]) for name, kind in VISIT_FACTS.items()}
        self.names = {"participant": known, "visit": {**known, **own["visit"], **of_visit, **facts}}

    def derivation(self, i: int) -> Derivation:
        entry, item, place = self.entries[i], self.items[i], ("derivations", i)
        over, take, per = entry.get("over", ""), entry.get("take", ""), entry["per"]
        within = self._within(place, over, self.names[per])
        kinds = RESULT_KINDS[entry["type"]] if not take else {"date"} if _TAKES_DAY[take] else set()
        return Derivation(
            item=item,
            per=per,
            meaning=entry["meaning"],
            source=entry["source"],
            value=self._expression((*place, "value"), entry.get("value"), within, kinds),
            applies_if=self._expression((*place, "applies_if"), entry.get("applies_if"), self.names[per], {"truth"}),
            over=over,
            take=take,
            where=self._expression((*place, "where"), entry.get("where"), within, {"truth"}),
        )

    def _within(self, place: Place, over: str, names: Mapping[str, Name]) -> Mapping[str, Name]:
        """What the expressions of a row may name."""
        if over == VISITS:
            return self.names["visit"]
        if not over:
            return names
        form = self.casebook.forms.get(over)
        if form is None:
            self.casebook.say((*place, "over"), f"there is no form '{over}'")
            return names
        rows = {item.name: as_name(item) for item in form.items if item.system != ARM_FACT}
        return {**names, **rows, **{name: Name(KINDS[kind]) for name, kind in ROW_FACTS.items()}}

    def _expression(self, place: Place, text: str | None, names: Mapping[str, Name], kinds: set[str]) -> Expression | None:
        if text is None:
            return None
        try:
            expression = parse(text, names, tables=self.casebook.tables, params=self.casebook.params, rows={})
        except ExpressionError as problem:
            said = str(problem).replace("an item of this form nor a declared context fact", "a derived item nor a fact")
            self.casebook.say(place, f"{said}{self._hint(said)}")
            return None
        if kinds and expression.kind not in kinds:
            wanted = " or ".join(sorted(kinds))
            self.casebook.say(place, f"the expression gives a {expression.kind}, but a {wanted} is needed")
        return expression

    def _hint(self, problem: str) -> str:
        """How answers are named, where one was meant."""
        form = next((code for code in self.casebook.forms if f"{code}." in problem), "")
        if not form or not problem.endswith(("cannot be read here", "is not part of the expression language")):
            return ""
        if self.casebook.forms[form].repeating:
            return f" (form {form} has rows: read its summary, or go 'over' it)"
        return f" (an answer of {form} at a visit at which it is filled: 'at(\"VISIT\", {form}.ITEM)'; in a value per visit '{form}.ITEM')"


def _facts(casebook: Casebook) -> dict[str, Name]:
    """Facts about the participant, the allocation among them: naming it makes a derived item restricted."""
    found = {name: Name(KINDS[BUILT_IN_FACTS[name]]) for name in _FACTS}
    for fact in casebook.facts:
        item = casebook.forms[fact.form].by_name.get(fact.item) if fact.form in casebook.forms else None
        if item is not None:
            found[fact.name] = as_name(item)
    return {**found, ARM_FACT: casebook.arms}


def _answers(casebook: Casebook) -> tuple[dict[str, Name], dict[str, Name]]:
    """Answers of the visit in question, and answers at named visits. Of a form with rows only what it sums up."""
    here: dict[str, Name] = {}
    there: dict[str, Name] = {}
    once = {visit.code for visit in casebook.visits if visit.kind != "repeating"}
    for form in casebook.forms.values():
        for item in form.summary if form.repeating else form.items:
            if item.system != ARM_FACT:
                name, kind = f"{form.code}.{item.name}", as_name(item)
                here[name] = kind
                there |= {at_visit(name, visit): kind for visit in form.visits if visit in once}
    return here, there
