"""Dates, states, answers and conditions in the words that people read. Pure; knows no page."""

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from trialdm.domain import lifecycle, values
from trialdm.domain.audit import CHANGE_REASONS
from trialdm.domain.crf import Form, Item
from trialdm.domain.values import MISSING_REASONS, PartialDate, Value
from trialdm.services.unit import LONDON

YES_NO = {1: "Yes", 0: "No"}

#: Doors through which something was done, as the audit trail shows them.
DOORS = {
    "web": "Pages",
    "api": "API",
    "cli": "Command line",
    "worker": "Background work",
    "system": "System",
    "demo": "Demonstration",
    "demonstration": "Demonstration",
}

Registers = Mapping[str, Mapping[int, str]]


def day(value: date | None) -> str:
    """A day, such as 7 March 2026."""
    return f"{value.day} {value:%B %Y}" if value else ""


def moment(value: datetime | None) -> str:
    """A stored instant as wall time in Europe/London, such as 7 March 2026, 09:05."""
    return f"{day(value.astimezone(LONDON).date())}, {value.astimezone(LONDON):%H:%M}" if value else ""


def month(text: str) -> str:
    """A month such as 2026-03 as Mar 2026."""
    return f"{date.fromisoformat(text + '-01'):%b %Y}"


def state(value: str) -> str:
    """A state of a trial, site or participant, with a capital first."""
    return lifecycle.label(value).capitalize()


def reason(text: str) -> str:
    """A reason for a change as the trail keeps it (`source: the letter`) in words."""
    code, _, said = text.partition(":")
    return ": ".join(part for part in (CHANGE_REASONS[code], said.strip()) if part) if code in CHANGE_REASONS else text


def choices(item: Item, registers: Registers, *, blinded: bool) -> dict[int, str]:
    """What an item can be answered with, as the reader may see it; empty where it is typed."""
    if item.holds == "yn":
        return YES_NO
    if item.source:
        return dict(registers.get(item.source, {}))
    return item.codelist.shown_to(blinded=blinded) if item.codelist else {}


def answer(item: Item, value: Value | None, registers: Registers, *, blinded: bool) -> str:
    """A typed answer in words; empty where there is none."""
    known = choices(item, registers, blinded=blinded)
    match value:
        case None:
            return ""
        case tuple():
            return "; ".join(known.get(code, str(code)) for code in value)
        case int() if known:
            return known.get(value, str(value))
        case int() | Decimal():
            return f"{values.write(value)} {item.unit}".strip()
        case datetime():
            return f"{day(value.date())}, {value:%H:%M}"
        case date():
            return day(value)
        case time():
            return f"{value:%H:%M}"
        case PartialDate():
            return _partial(value)
    return str(value)


def _partial(value: PartialDate) -> str:
    if value.day:
        return day(value.earliest())
    return f"{value.earliest():%B %Y}" if value.month else str(value.year)


def stored(item: Item, raw: Any, registers: Registers, *, blinded: bool) -> str:
    """A value of the audit trail in words: the JSON form of an answer, or the reason why there is none."""
    if isinstance(raw, dict) and "missing" in raw:
        return f"No answer: {MISSING_REASONS.get(raw['missing'], raw['missing'])}"
    try:
        return answer(item, values.read(item.holds, raw), registers, blinded=blinded)
    except values.NotAValue:
        return str(raw)


# --- conditions ------------------------------------------------------------------------------------------------------

_SIGNS = {"==": "is", "!=": "is not", "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least"}


class _Unworded(Exception):
    """This part of a condition has no plain words."""


def condition(item: Item, form: Form, readable: frozenset[str], registers: Registers, *, blinded: bool) -> str:
    """When a question is asked, such as `Answer if "Smoking" is Yes`; only items that the reader may see are named."""
    if item.show_if is None:
        return ""
    words = _Words(form, readable, registers, blinded)
    try:
        said = words.of(item.show_if.tree)
    except _Unworded:
        return "Answer only if it applies."
    return f"Answer if {said}." if said else ""


class _Words:
    """Turns the tree of a condition into words. Parts that name facts only are left out: the server has decided them."""

    def __init__(self, form: Form, readable: frozenset[str], registers: Registers, blinded: bool) -> None:
        self.form, self.readable, self.registers, self.blinded = form, readable, registers, blinded

    def of(self, tree: list[Any]) -> str:
        match tree:
            case ["and" | "or" as joined, parts]:
                return self._joined(joined, parts)
            case ["cmp", [sign], [["name", name], other]] if self._asks(name):
                return f"{self._label(name)} {_SIGNS[sign]} {self._value(name, other)}"
            case ["in", ["name", name], options] if self._asks(name):
                return f"{self._label(name)} is {' or '.join(self._value(name, option) for option in options)}"
            case ["call", "has", [["name", name], option]] if self._asks(name):
                return f"{self._label(name)} includes {self._value(name, option)}"
            case ["call", "answered", [["name", name]]] if self._asks(name):
                return f"{self._label(name)} is answered"
            case ["cmp", _, operands]:
                return self._about_facts(*operands)
            case ["in", of, _]:
                return self._about_facts(of)
        raise _Unworded

    def _joined(self, joined: str, parts: list[list[Any]]) -> str:
        """Parts with `and` or `or` between them. Both signs in one sentence, or a fact beside an `or`, have no plain words."""
        said = [self.of(part) for part in parts]
        if any(part[0] in ("and", "or") for part in parts) or (joined == "or" and not all(said)):
            raise _Unworded
        return f" {joined} ".join(filter(None, said))

    def _about_facts(self, *trees: list[Any]) -> str:
        """Nothing to say about a fact or a number; anything else has no plain words."""
        for tree in trees:
            if tree[0] not in ("num", "text", "day") and not (tree[0] == "name" and tree[1] not in self.form.by_name):
                raise _Unworded
        return ""

    def _asks(self, name: str) -> bool:
        if name in self.form.by_name and name not in self.readable:
            raise _Unworded
        return name in self.form.by_name

    def _label(self, name: str) -> str:
        return f"“{self.form.by_name[name].label.rstrip('?')}”"

    def _value(self, name: str, tree: list[Any]) -> str:
        if tree[0] != "num":
            raise _Unworded
        known, said = choices(self.form.by_name[name], self.registers, blinded=self.blinded), str(tree[1])
        return known.get(int(said), said) if said.isdigit() else said
