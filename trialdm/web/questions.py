"""A form as questions on a page: what each one shows, what stands in it, and what was wrong with it. Pure; knows no request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from trialdm.domain import values
from trialdm.domain.crf import Answers, Context, Form, Item, limits
from trialdm.domain.errors import Detail
from trialdm.domain.expressions import Expression
from trialdm.domain.protocol import BUILT_IN_FACTS, Protocol
from trialdm.services.records import View
from trialdm.web import wording
from trialdm.web.typed import Typed

#: With more choices than this, a list to choose from takes the place of buttons.
_MOST_BUTTONS = 8

_INPUT_MODES = {"int": "numeric", "dec": "decimal", "date": "text", "time": "text"}

_HINTS = {
    "date": "Day, month and year, such as 7/3/2026",
    "pdate": "As far as it is known: 7/3/2026, or 3/2026, or 2026",
    "dtm": "Day and time on the 24-hour clock, such as 7/3/2026 09:05",
    "time": "On the 24-hour clock, such as 09:05",
    "multi": "Choose all that apply",
}

#: Places outside the questions to which a problem may point.
_ELSEWHERE = {"reason": "reason"}

#: Functions for which a missing answer decides something, so that nothing can be said before the answers are there.
_LENIENT = {"answered", "missing", "count", "mean", "total", "least", "greatest"}


@dataclass(frozen=True)
class Question:
    """One question as the template shows it. `value` is text, `chosen` the codes that are chosen."""

    item: Item
    control: str
    words: str = ""
    value: str = ""
    chosen: frozenset[str] = frozenset()
    choices: tuple[tuple[str, str], ...] = ()
    missing: str = ""
    hints: tuple[str, ...] = ()
    condition: str = ""
    applies: bool = True
    errors: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"q-{self.item.name}"

    @property
    def grouped(self) -> bool:
        """Whether several controls make up the answer."""
        return self.control in ("radios", "checkboxes")

    @property
    def buttons(self) -> Iterator[tuple[str, str, str, bool]]:
        """Each choice of a grouped question: the id of its control (the question's own for the first), code, words, whether chosen."""
        for number, (code, words) in enumerate(self.choices, 1):
            yield (self.id if number == 1 else f"{self.id}-{number}"), code, words, code in self.chosen

    @property
    def described_by(self) -> str:
        parts = [("condition", self.condition), ("hint", self.hints), ("error", self.errors)]
        return " ".join(f"{self.id}-{part}" for part, there in parts if there)

    @property
    def width(self) -> str:
        """The class that makes a field as wide as what belongs into it."""
        item = self.item
        if item.type in ("int", "dec", "time"):
            return "field-short"
        if item.type in ("date", "pdate", "dtm"):
            return "field-date"
        return "field-medium" if item.length <= 60 else "field-long"


@dataclass(frozen=True)
class Problem:
    """What keeps a form from being saved, for one or several questions: where the link in the summary leads."""

    message: str
    target: str
    code: str = ""


@dataclass(frozen=True)
class Sheet:
    """A form as one person sees it now: what stands in the fields, and what they may read."""

    view: View
    context: Context
    typed: Typed
    applying: frozenset[str]
    calculated: Answers
    blinded: bool
    details: Sequence[Detail] = field(default_factory=tuple)

    @property
    def form(self) -> Form:
        return self.view.place.form

    @cached_property
    def items(self) -> list[Item]:
        """The items on the page: those that the reader may see, and that can apply here or hold an answer."""
        answered = {*self.typed.answers, *self.typed.missing}
        never = self._never
        seen = (item for item in self.form.items if item.name not in self.view.hidden_from_reader)
        return [item for item in seen if item.name not in never or (item.typed_in and item.name in answered)]

    @cached_property
    def _never(self) -> frozenset[str]:
        """Items that cannot apply here, whatever is answered on the page: their condition is decided by facts alone."""
        never: set[str] = set()
        facts = {**dict.fromkeys(self.form.by_name), **self.context.facts}
        for _ in self.form.items:
            more = {item.name for item in self.form.items if item.name not in never and self._ruled_out(item, never, facts)}
            if not more:
                break
            never |= more
        return frozenset(never)

    def _ruled_out(self, item: Item, never: set[str], facts: Mapping[str, Any]) -> bool:
        condition = item.show_if
        if condition is None:
            return False
        if not (condition.names & self.form.by_name.keys()) - never:
            return not condition.holds(facts, self.context.rows)
        lenient = any(f"{name}(" in condition.source for name in _LENIENT) or condition.uses_rows
        return not lenient and condition.evaluate(facts, self.context.rows) is False

    # --- what the template shows -------------------------------------------------------------------------------------

    @cached_property
    def questions(self) -> list[Question]:
        return [self._question(item) for item in self.items]

    @property
    def sections(self) -> Iterator[tuple[str, list[Question]]]:
        """Headings with their questions, in the order of the form."""
        for heading, found in groupby(self.questions, key=lambda question: question.item.section):
            yield heading, list(found)

    @property
    def to_confirm(self) -> list[Detail]:
        """Soft findings that wait for somebody to say that the answers are right."""
        return [detail for detail in self.details if detail.severity == "soft"]

    @property
    def problems(self) -> list[Problem]:
        """The entries of the error summary."""
        on_page = {question.item.name for question in self.questions}
        found = []
        for detail in self.details:
            place = next((name for name in detail.place.split(",") if name in on_page), "")
            asked = f"q-{place}" if place else _ELSEWHERE.get(detail.place, "form")
            found.append(Problem(detail.message, f"confirm-{detail.code}" if detail.severity == "soft" else asked, detail.code))
        return found

    def _errors(self, name: str) -> Iterator[str]:
        for detail in self.details:
            if detail.severity != "soft" and name == detail.place.split(",")[0]:
                yield _beside(self.form.by_name[name], detail.message)

    def _question(self, item: Item) -> Question:
        given = self.typed.answers.get(item.name, "") if item.typed_in else ""
        choices = tuple((str(code), label) for code, label in self._choices(item).items())
        theirs = item.name in self.view.of_others
        return Question(
            item,
            "output" if theirs else _control(item, len(choices)),
            words=self.words(item),
            value="" if isinstance(given, list) else given,
            chosen=frozenset(given) if isinstance(given, list) else frozenset([given.strip()]),
            choices=choices,
            missing=self.typed.missing.get(item.name, ""),
            hints=() if theirs else tuple(_hints(item)) if item.typed_in else (item.help,) if item.help else (),
            condition=wording.condition(item, self.form, self._readable, self.context.registers, blinded=self.blinded),
            applies=item.name in self.applying,
            errors=tuple(self._errors(item.name)),
        )

    def _choices(self, item: Item) -> dict[int, str]:
        return wording.choices(item, self.context.registers, blinded=self.blinded)

    @cached_property
    def _readable(self) -> frozenset[str]:
        return frozenset(self.form.by_name) - self.view.hidden_from_reader

    def words(self, item: Item) -> str:
        """The answer in words, as it would be stored."""
        return wording.answer(item, self.calculated.values.get(item.name), self.context.registers, blinded=self.blinded)

    # --- what the browser works out ----------------------------------------------------------------------------------

    def live(self, protocol: Protocol) -> dict[str, Any]:
        """Conditions and calculations as trees, with the facts that they name: only what this reader may know."""
        readable = {item.name for item in self.items} | (self._never - self.view.hidden_from_reader)
        types = {**BUILT_IN_FACTS, **_fact_types(protocol, blinded=self.blinded)}
        known = readable | types.keys()

        def tree(expression: Expression | None) -> Any:
            return expression.tree if expression and expression.names <= known and not expression.uses_rows else None

        expressions = [e for item in self.items for e in (item.show_if, item.value) if e and tree(e)]
        named = {name for expression in expressions for name in expression.names}
        order = {item.name: i for i, item in enumerate(self.form.calculations)}
        return {
            "items": [
                {
                    "name": item.name,
                    "type": item.holds,
                    "decimals": item.decimals,
                    "typed": item.typed_in and item.name not in self.view.of_others,
                    "show": tree(item.show_if),
                    "applies": item.name in self.applying,
                    "value": tree(item.value),
                    "stored": values.write(self.calculated.values.get(item.name)),
                    "labels": self._choices(item) if item.calculated else {},
                    "unit": item.unit,
                }
                for item in sorted(self.items, key=lambda item: order.get(item.name, -1))
            ],
            "facts": {
                name: [types[name], values.write(self.context.facts.get(name))]
                for name in sorted(named & types.keys())
                if name not in self.form.by_name
            },
        }


def _beside(item: Item, message: str) -> str:
    """A message as it stands beside its question: without the question's words, which are there already."""
    said = message.removeprefix(f"{item.label}: ")
    return said[0].upper() + said[1:]


def _fact_types(protocol: Protocol, *, blinded: bool) -> dict[str, str]:
    """The type of every declared fact that the reader may know."""
    found = {}
    for fact in protocol.context:
        form = protocol.form(fact.form)
        item = form.by_name[fact.item]
        if not (blinded and form.restricts(item)):
            found[fact.name] = item.holds
    return found


def _control(item: Item, choices: int) -> str:
    if not item.typed_in:
        return "output"
    if item.type == "multi":
        return "checkboxes"
    if item.type in ("yn", "code"):
        return "radios" if choices <= _MOST_BUTTONS else "select"
    return "area" if item.type == "text" and (item.lines > 1 or item.length > 200) else "input"


def _hints(item: Item) -> Iterable[str]:
    if item.help:
        yield item.help
    if item.type in _HINTS and not (item.type == "multi" and "all that apply" in item.help):
        yield _HINTS[item.type]
    if item.type in ("int", "dec") and not (item.minimum is None and item.maximum is None):
        said = limits(item.minimum, item.maximum, "")
        yield said[0].upper() + said[1:]
    if item.type == "dec":
        yield f"Up to {item.decimals} decimal place{'' if item.decimals == 1 else 's'}"
    if item.type == "text" and item.length != 200:
        yield f"Up to {item.length} characters"
    if item.scan:
        yield "No names, dates of birth or other details that identify a person"
