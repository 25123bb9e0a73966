"""The expression language of checks, conditions and calculations.

A Python-like grammar, cut down to a whitelist and type-checked when a definition is loaded: what loads can be evaluated.
Missing answers are None and contagious: arithmetic and comparison with a missing value are unknown; `and`, `or` and `not`
follow Kleene's three-valued logic; a condition holds only when it is True. Numbers are exact (integers and fractions).

Where an expression may read a whole casebook (`derivations`), `PAIN.rlp_any` names the answer of a form at the visit in question
and `at("V07", PAIN.rlp_any)` that of a named visit. To the tree both are names like any other.

An expression is kept as a plain tree of lists, numbers and texts (`Expression.tree`), which is also what the browser gets:
`static/expressions.js` evaluates the same tree, and one table of cases is run by both.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from threading import Lock
from typing import Any

from trialdm.domain.words import counted

#: What an answer of each type is to an expression.
KINDS = {
    "int": "number",
    "dec": "number",
    "code": "number",
    "yn": "number",
    "multi": "codes",
    "date": "date",
    "pdate": "partial date",
    "time": "time",
    "dtm": "date-time",
    "text": "text",
}

Tree = list[Any]
Row = Mapping[str, Any]
Evaluator = Callable[[Row, Sequence[Row]], Any]

_MAX_NODES = 400

#: A literal has the size of the largest answer: 15 digits before the point and 12 after it.
_LITERAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?", re.ASCII)

#: How many answers and literals may be multiplied with one another: no result then grows beyond a few thousand digits.
_MAX_FACTORS = 100

#: Kinds that have no order and no equality; and those that have no words of their own.
_NOT_COMPARED = ("codes", "truth", "partial date")
_NOT_WRITTEN = ("codes", "truth")


class ExpressionError(ValueError):
    """The expression cannot be used; the message says what is wrong and, where it can, the mend."""


@dataclass(frozen=True)
class Name:
    """What an expression may name: its kind, and the codes that it can take where it has a codelist."""

    kind: str
    codes: frozenset[int] | None = None


@dataclass(frozen=True)
class Expression:
    """A checked expression: its source, its tree, the kind of its result and the names that it reads."""

    source: str
    tree: Tree
    kind: str
    names: frozenset[str]
    uses_rows: bool
    evaluate: Evaluator

    def holds(self, values: Row, rows: Sequence[Row] = ()) -> bool:
        """Whether it is True: unknown is not."""
        return self.evaluate(values, rows) is True


# --- functions -------------------------------------------------------------------------------------------------------


def round_half_away(number: Fraction | int | Decimal, places: int) -> Fraction:
    """Round as clinicians expect: halves go away from zero (2.5 to 3, -2.5 to -3)."""
    scale = Fraction(10) ** places
    whole = floor(abs(Fraction(number)) * scale + Fraction(1, 2))
    return (whole if number >= 0 else -whole) / scale


def _years(born: date, on: date) -> int:
    """Completed years; somebody born on 29 February has the birthday on 1 March of other years."""
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def _minutes(start: time, end: time) -> int:
    return ((end.hour * 60 + end.minute) - (start.hour * 60 + start.minute)) % 1440


def _add_days(day: date, days: int | Fraction) -> date | None:
    """The day so many days later, or missing where that lies outside the calendar."""
    try:
        return day + timedelta(days=int(days))
    except OverflowError:
        return None


def _hours(start: datetime, end: datetime) -> Fraction:
    return Fraction(int((end - start).total_seconds()), 3600)


def _answered(numbers: Sequence[Any]) -> list[Any]:
    return [number for number in numbers if number is not None]


def _mean(least: int | None, *numbers: Any) -> Any:
    known = _answered(numbers)
    return Fraction(sum(known)) / len(known) if known and least is not None and len(known) >= least else None


def _total(least: int | None, *numbers: Any) -> Any:
    known = _answered(numbers)
    return sum(known) if least is not None and len(known) >= least else None


def _extreme(choose: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    return lambda *numbers: choose(_answered(numbers)) if _answered(numbers) else None


def decimal_text(number: Fraction | int | Decimal, places: int) -> str:
    """A number with exactly so many decimal places, halves rounded away from zero; no digit is lost, however many there are."""
    units = int(round_half_away(number, places) * 10**places)
    digits = f"{abs(units):0{places + 1}d}"
    point = len(digits) - places
    return ("-" if units < 0 else "") + digits[:point] + (f".{digits[point:]}" if places else "")


def as_text(value: Any) -> str:
    """A value inside a text: whole numbers without a point, fractions as the shortest decimal up to six places, times as HH:MM."""
    match value:
        case Fraction(denominator=1):
            return str(value.numerator)
        case Fraction():
            return decimal_text(value, 6).rstrip("0").rstrip(".")
        case datetime() | time():
            return value.isoformat(timespec="minutes")
    return str(value)


@dataclass(frozen=True)
class _Function:
    """Kinds of the arguments, the kind of the result and the rule. "any" admits all kinds, "words" those that can be written
    inside a text; a trailing "*" repeats.

    A strict function is unknown as soon as one argument is; the others receive None and decide.
    """

    arguments: tuple[str, ...]
    result: str
    rule: Callable[..., Any]
    strict: bool = True


FUNCTIONS: dict[str, _Function] = {
    "days": _Function(("date", "date"), "number", lambda a, b: (b - a).days),
    "years": _Function(("date", "date"), "number", _years),
    "hours": _Function(("date-time", "date-time"), "number", _hours),
    "minutes": _Function(("time", "time"), "number", _minutes),
    "date": _Function(("date-time",), "date", lambda moment: moment.date()),
    "add_days": _Function(("date", "number"), "date", _add_days),
    "answered": _Function(("any",), "truth", lambda value: value is not None, strict=False),
    "missing": _Function(("any",), "truth", lambda value: value is None, strict=False),
    "has": _Function(("codes", "number"), "truth", lambda codes, code: code in codes),
    "count_codes": _Function(("codes",), "number", len),
    "sum": _Function(("number*",), "number", lambda *numbers: sum(numbers)),
    "mean": _Function(("number", "number*"), "number", _mean, strict=False),
    "total": _Function(("number", "number*"), "number", _total, strict=False),
    "count": _Function(("any*",), "number", lambda *values: len(_answered(values)), strict=False),
    "least": _Function(("number*",), "number", _extreme(min), strict=False),
    "greatest": _Function(("number*",), "number", _extreme(max), strict=False),
    "round": _Function(("number", "number"), "number", lambda x, n: round_half_away(x, int(n))),
    "floor": _Function(("number",), "number", floor),
    "abs": _Function(("number",), "number", abs),
    "text": _Function(("words*",), "text", lambda *parts: "".join(map(as_text, parts))),
}

#: Functions over the rows of a repeating form at one visit; the last argument is the item's name.
ROW_FUNCTIONS: dict[str, tuple[int, str, Callable[[list[Any], Any], Any]]] = {
    "sum_rows": (0, "number", lambda values, _: sum(_answered(values)) if _answered(values) else None),
    "count_rows": (0, "number", lambda values, _: len(_answered(values))),
    "mean_rows": (1, "number", lambda values, least: _mean(least, *values)),
    "max_rows": (0, "number", lambda values, _: max(_answered(values), default=None)),
}


# --- from source to tree ---------------------------------------------------------------------------------------------

_COMPARISONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class _Reader:
    """Turns one parsed source into a checked tree. Every method returns (tree, kind)."""

    def __init__(
        self,
        source: str,
        names: Mapping[str, Name],
        tables: Mapping[str, Mapping[Decimal, Decimal]],
        params: Mapping[str, Decimal],
        rows: Mapping[str, Name],
    ) -> None:
        self.source, self.names, self.tables, self.params, self.rows = source, names, tables, params, rows
        self.used: set[str] = set()
        self.uses_rows = False

    def read(self, node: ast.expr) -> tuple[Tree, str]:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise ExpressionError(f"'{self._text(node)}' is not part of the expression language")
        result: tuple[Tree, str] = method(node)
        return result

    def _text(self, node: ast.expr) -> str:
        return ast.get_source_segment(self.source, node) or self.source

    def _expect(self, node: ast.expr, kind: str) -> Tree:
        tree, found = self.read(node)
        if kind == "words":
            if found in _NOT_WRITTEN:
                raise ExpressionError(f"'{self._text(node)}' is a {found}, which cannot be written inside a text")
        elif kind != "any" and found != kind:
            mend = f"; write '{self._text(node)} == 1'" if (kind, found) == ("truth", "number") else ""
            raise ExpressionError(f"'{self._text(node)}' is a {found}, but a {kind} is needed here{mend}")
        return tree

    def _constant(self, node: ast.Constant) -> tuple[Tree, str]:
        if isinstance(node.value, str):
            return ["text", node.value], "text"
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise ExpressionError(f"'{self._text(node)}' is not a number or a text")
        text = self._text(node)
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text, re.ASCII):
            raise ExpressionError(f"write the number '{text}' with digits and a point only")
        return ["num", self._sized(text)], "number"

    def _sized(self, text: str) -> str:
        """The digits of a number that is no larger and no finer than an answer can be."""
        if not _LITERAL.fullmatch(text.removeprefix("-")):
            raise ExpressionError("a number has at most 15 digits before the point and 12 after it")
        return text

    def _name(self, node: ast.Name) -> tuple[Tree, str]:
        if node.id not in self.names:
            raise ExpressionError(f"'{node.id}' is neither an item of this form nor a declared context fact")
        return self._named(node.id)

    def _attribute(self, node: ast.Attribute) -> tuple[Tree, str]:
        name = _reference(node)
        if name not in self.names:
            raise ExpressionError(f"'{self._text(node)}' is not part of the expression language")
        return self._named(name)

    def _call_at(self, node: ast.Call) -> tuple[Tree, str]:
        name = _reference(node)
        if name not in self.names:
            raise ExpressionError(f"'{self._text(node)}' cannot be read here")
        return self._named(name)

    def _named(self, name: str) -> tuple[Tree, str]:
        self.used.add(name)
        return ["name", name], self.names[name].kind

    def _boolop(self, node: ast.BoolOp) -> tuple[Tree, str]:
        return ["and" if isinstance(node.op, ast.And) else "or", [self._expect(v, "truth") for v in node.values]], "truth"

    def _unaryop(self, node: ast.UnaryOp) -> tuple[Tree, str]:
        if isinstance(node.op, ast.Not):
            return ["not", self._expect(node.operand, "truth")], "truth"
        if isinstance(node.op, ast.USub):
            return ["neg", self._expect(node.operand, "number")], "number"
        raise ExpressionError(f"'{self._text(node)}' is not part of the expression language")

    def _binop(self, node: ast.BinOp) -> tuple[Tree, str]:
        if isinstance(node.op, ast.Pow):
            exponent = node.right.value if isinstance(node.right, ast.Constant) else None
            if type(exponent) is not int or not 0 <= exponent <= 9:
                raise ExpressionError("a power must be a whole number from 0 to 9")
            return ["**", self._expect(node.left, "number"), exponent], "number"
        sign = _ARITHMETIC.get(type(node.op))
        if sign is None:
            raise ExpressionError(f"'{self._text(node)}' is not part of the expression language")
        return [sign, self._expect(node.left, "number"), self._expect(node.right, "number")], "number"

    def _ifexp(self, node: ast.IfExp) -> tuple[Tree, str]:
        then, kind = self.read(node.body)
        return ["if", self._expect(node.test, "truth"), then, self._expect(node.orelse, kind)], kind

    def _compare(self, node: ast.Compare) -> tuple[Tree, str]:
        if isinstance(node.ops[0], ast.In | ast.NotIn):
            if len(node.ops) > 1:
                raise ExpressionError(f"'{self._text(node)}': write one 'in' at a time")
            return self._membership(node)
        left, kind = self.read(node.left)
        signs, operands = [], [left]
        previous = node.left
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            sign = _COMPARISONS.get(type(operator))
            right, right_kind = self.read(right_node)
            if sign is None:
                raise ExpressionError(f"'{self._text(node)}' is not part of the expression language")
            if right_kind != kind:
                raise ExpressionError(f"'{self._text(node)}' compares a {kind} with a {right_kind}")
            if kind in _NOT_COMPARED or (kind == "text" and sign not in ("==", "!=")):
                raise ExpressionError(f"'{self._text(node)}': a {kind} cannot be compared in this way")
            self._known_code(previous, right_node)
            self._known_code(right_node, previous)
            signs.append(sign)
            operands.append(right)
            previous = right_node
        return ["cmp", signs, operands], "truth"

    def _membership(self, node: ast.Compare) -> tuple[Tree, str]:
        left, kind = self.read(node.left)
        choices = node.comparators[0]
        if not isinstance(choices, ast.Tuple | ast.List):
            raise ExpressionError(f"'{self._text(node)}': give the choices in brackets, such as (1, 2)")
        if not choices.elts:
            raise ExpressionError(f"'{self._text(node)}': give at least one choice")
        if kind in _NOT_COMPARED:
            raise ExpressionError(f"'{self._text(node)}': a {kind} cannot be compared in this way")
        trees = [self._expect(choice, kind) for choice in choices.elts]
        for choice in choices.elts:
            self._known_code(node.left, choice)
        tree: Tree = ["in", left, trees]
        return (["not", tree] if isinstance(node.ops[0], ast.NotIn) else tree), "truth"

    def _known_code(self, item: ast.expr, literal: ast.expr) -> None:
        """Refuse a comparison of a coded item with a number that is not one of its codes."""
        number, name = _written_number(literal), _reference(item)
        codes = self.names[name].codes if name in self.names else None
        if codes is not None and number is not None and number not in codes:
            raise ExpressionError(f"{self._text(literal)} is not one of the codes of '{self._text(item)}'")

    def _call(self, node: ast.Call) -> tuple[Tree, str]:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise ExpressionError(f"'{self._text(node)}' is not part of the expression language")
        name = node.func.id
        special = getattr(self, f"_call_{name}", None)
        if special is not None:
            result: tuple[Tree, str] = special(node)
            return result
        if name in ROW_FUNCTIONS or name == "same_rows":
            return self._over_rows(name, node)
        function = FUNCTIONS.get(name)
        if function is None:
            raise ExpressionError(f"there is no function '{name}'")
        return ["call", name, self._arguments(name, function.arguments, node.args)], function.result

    def _call_has(self, node: ast.Call) -> tuple[Tree, str]:
        arguments = self._arguments("has", FUNCTIONS["has"].arguments, node.args)
        self._known_code(*node.args)
        return ["call", "has", arguments], "truth"

    def _call_round(self, node: ast.Call) -> tuple[Tree, str]:
        arguments = self._arguments("round", FUNCTIONS["round"].arguments, node.args)
        if not re.fullmatch("[0-9]", self._text(node.args[1])):
            raise ExpressionError("'round' takes the number of decimal places as a digit from 0 to 9")
        return ["call", "round", arguments], "number"

    def _arguments(self, name: str, kinds: tuple[str, ...], nodes: Sequence[ast.expr]) -> list[Tree]:
        repeated = kinds[-1].endswith("*")
        fixed = len(kinds) - repeated
        if len(nodes) < fixed + repeated or (len(nodes) > fixed and not repeated):
            wanted = f"at least {counted(fixed + 1, 'argument')}" if repeated else counted(fixed, "argument")
            raise ExpressionError(f"'{name}' takes {wanted}, not {len(nodes)}")
        wanted_kinds = [*kinds[:fixed], *[kinds[-1].rstrip("*")] * (len(nodes) - fixed)]
        return [self._expect(argument, kind) for argument, kind in zip(nodes, wanted_kinds, strict=True)]

    def _string(self, node: ast.Call, count: int) -> str:
        first = node.args[0] if len(node.args) == count else None
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            raise ExpressionError(f"'{self._text(node)}' starts with a name in quotes and takes {counted(count, 'argument')}")
        return first.value

    def _call_param(self, node: ast.Call) -> tuple[Tree, str]:
        name = self._string(node, 1)
        if name not in self.params:
            raise ExpressionError(f"there is no parameter '{name}' under 'params'")
        return ["num", self._sized(f"{self.params[name]:f}")], "number"

    def _call_day(self, node: ast.Call) -> tuple[Tree, str]:
        text = self._string(node, 1)
        try:
            day = date.fromisoformat(text).isoformat()
        except ValueError:
            day = ""
        if day != text:
            raise ExpressionError(f"'{text}' is not a date such as 2026-03-01")
        return ["day", day], "date"

    def _call_lookup(self, node: ast.Call) -> tuple[Tree, str]:
        name = self._string(node, 2)
        if name not in self.tables:
            raise ExpressionError(f"there is no table '{name}' under 'tables'")
        rows = [[self._sized(f"{key:f}"), self._sized(f"{value:f}")] for key, value in self.tables[name].items()]
        return ["lookup", rows, self._expect(node.args[1], "number")], "number"

    def _call_or_else(self, node: ast.Call) -> tuple[Tree, str]:
        if len(node.args) != 2:
            raise ExpressionError("'or_else' takes 2 arguments")
        value, kind = self.read(node.args[0])
        return ["or_else", value, self._expect(node.args[1], kind)], kind

    def _over_rows(self, name: str, node: ast.Call) -> tuple[Tree, str]:
        leading, kind = (0, "truth") if name == "same_rows" else ROW_FUNCTIONS[name][:2]
        if len(node.args) != leading + 1 or not isinstance(node.args[-1], ast.Name):
            raise ExpressionError(f"'{name}' takes {counted(leading + 1, 'argument')}, the last one an item of the rows")
        item = node.args[-1].id
        if item not in self.rows:
            raise ExpressionError(f"'{item}' is not an item of the rows of this form")
        if name not in ("same_rows", "count_rows") and self.rows[item].kind != "number":
            raise ExpressionError(f"'{name}' needs an item that holds a number")
        least = self._expect(node.args[0], "number") if leading else ["num", "0"]
        self.uses_rows = True
        self.used.add(item)
        return ["rows", name, least, item], kind


def at_visit(name: str, visit: str) -> str:
    """The name of what `at(VISIT, NAME)` reads."""
    return f"{name}@{visit}"


def _reference(node: ast.expr) -> str:
    """The name that a reference stands for: `rlp_any`, `PAIN.rlp_any`, or either of them at a visit; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=form), attr=item):
            return f"{form}.{item}"
        case ast.Call(func=ast.Name(id="at"), args=[ast.Constant(value=str(visit)), (ast.Name() | ast.Attribute()) as of], keywords=[]):
            return at_visit(_reference(of), visit)
    return ""


def _written_number(node: ast.expr) -> Fraction | None:
    """The number that stands there as a literal, with or without a minus."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _written_number(node.operand)
        return None if number is None else -number
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(node.value)
    return None


def _factors(tree: Any) -> int:
    """How many answers and literals are at most multiplied with one another; a sum of fractions multiplies what they are divided by."""
    match tree:
        case ["num" | "name" | "day" | "text" | "rows" | "lookup", *_]:
            return 1
        case ["**", base, exponent]:
            return _factors(base) * max(int(exponent), 1)
        case [*parts]:
            return sum(_factors(part) for part in parts)
    return 0


# --- from tree to evaluator ------------------------------------------------------------------------------------------


def _number(text: str) -> Fraction | int:
    return int(text) if text.isdigit() else Fraction(text)


def _plain(value: Any) -> Any:
    return Fraction(value) if isinstance(value, Decimal) else value


def _compile(tree: Tree) -> Evaluator:
    make: Callable[..., Evaluator] = _NODES.get(tree[0], _binary)
    return make(*tree) if make is _binary else make(*tree[1:])


def _literal(value: Any) -> Evaluator:
    return lambda values, rows: value


def _and(parts: list[Tree]) -> Evaluator:
    evaluators = [_compile(part) for part in parts]

    def run(values: Row, rows: Sequence[Row]) -> Any:
        unknown = False
        for evaluate in evaluators:
            truth = evaluate(values, rows)
            if truth is False:
                return False
            unknown = unknown or truth is None
        return None if unknown else True

    return run


def _not(part: Tree) -> Evaluator:
    evaluate = _compile(part)

    def run(values: Row, rows: Sequence[Row]) -> Any:
        truth = evaluate(values, rows)
        return None if truth is None else not truth

    return run


def _or(parts: list[Tree]) -> Evaluator:
    return _not(["and", [["not", part] for part in parts]])


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _comparison(signs: list[str], operands: list[Tree]) -> Evaluator:
    if len(signs) > 1:
        return _and([["cmp", [sign], operands[i : i + 2]] for i, sign in enumerate(signs)])
    left, right, order = _compile(operands[0]), _compile(operands[1]), _ORDER[signs[0]]

    def run(values: Row, rows: Sequence[Row]) -> Any:
        a, b = left(values, rows), right(values, rows)
        return None if a is None or b is None else order(a, b)

    return run


def _membership(item: Tree, choices: list[Tree]) -> Evaluator:
    return _or([["cmp", ["=="], [item, choice]] for choice in choices])


def _condition(test: Tree, then: Tree, otherwise: Tree) -> Evaluator:
    check, yes, no = _compile(test), _compile(then), _compile(otherwise)

    def run(values: Row, rows: Sequence[Row]) -> Any:
        truth = check(values, rows)
        return None if truth is None else (yes if truth else no)(values, rows)

    return run


def _divide(a: Any, b: Any) -> Any:
    return Fraction(a) / b if b else None


_ARITHMETIC_RULES: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
}


def _strict(rule: Callable[..., Any], *arguments: Tree) -> Evaluator:
    evaluators = [_compile(argument) for argument in arguments]

    def run(values: Row, rows: Sequence[Row]) -> Any:
        known = [evaluate(values, rows) for evaluate in evaluators]
        return None if any(value is None for value in known) else rule(*known)

    return run


def _binary(sign: str, left: Tree, right: Tree) -> Evaluator:
    return _strict(_ARITHMETIC_RULES[sign], left, right)


def _function(name: str, arguments: list[Tree]) -> Evaluator:
    function = FUNCTIONS[name]
    if function.strict:
        return _strict(function.rule, *arguments)
    evaluators = [_compile(argument) for argument in arguments]
    return lambda values, rows: function.rule(*[evaluate(values, rows) for evaluate in evaluators])


def _over_rows(name: str, least: Tree, item: str) -> Evaluator:
    if name == "same_rows":

        def same(values: Row, rows: Sequence[Row]) -> Any:
            own = values.get(item)
            return None if own is None else sum(row.get(item) == own for row in rows) > 1

        return same
    rule, minimum = ROW_FUNCTIONS[name][2], _compile(least)
    return lambda values, rows: rule([_plain(row.get(item)) for row in rows], minimum(values, rows))


def _lookup(table: list[list[str]], key: Tree) -> Evaluator:
    found = {Fraction(k): Fraction(v) for k, v in table}
    return _strict(lambda value: found.get(Fraction(value)), key)


def _or_else(value: Tree, otherwise: Tree) -> Evaluator:
    first, second = _compile(value), _compile(otherwise)

    def run(values: Row, rows: Sequence[Row]) -> Any:
        known = first(values, rows)
        return second(values, rows) if known is None else known

    return run


_NODES: dict[str, Callable[..., Evaluator]] = {
    "num": lambda text: _literal(_number(text)),
    "text": _literal,
    "day": lambda text: _literal(date.fromisoformat(text)),
    "name": lambda name: lambda values, rows: _plain(values.get(name)),
    "and": _and,
    "or": _or,
    "not": _not,
    "neg": lambda part: _strict(lambda number: -number, part),
    "**": lambda base, exponent: _strict(lambda number: number**exponent, base),
    "if": _condition,
    "cmp": _comparison,
    "in": _membership,
    "call": _function,
    "rows": _over_rows,
    "lookup": _lookup,
    "or_else": _or_else,
}


#: Python 3.11 keeps one count of depth for all threads that read a syntax tree, and fails where two of them read at once.
_ONE_READER = Lock()


def parse(
    source: str,
    names: Mapping[str, Name],
    *,
    tables: Mapping[str, Mapping[Decimal, Decimal]] | None = None,
    params: Mapping[str, Decimal] | None = None,
    rows: Mapping[str, Name] | None = None,
) -> Expression:
    """Check `source` against the names it may use and compile it once.

    `rows` are the names over which row functions may go: all names where left out. `tables` and `params` are the protocol's
    look-up tables and numbers; they are resolved here, so that the tree stands alone. Raises ExpressionError with the place
    and, where possible, the mend.
    """
    try:
        with _ONE_READER:
            parsed = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"'{source}' cannot be read as an expression") from None
    if sum(1 for _ in ast.walk(parsed)) > _MAX_NODES:
        raise ExpressionError("the expression is too long; split it into calculated items")
    reader = _Reader(source.strip(), names, tables or {}, params or {}, names if rows is None else rows)
    tree, kind = reader.read(parsed.body)
    if _factors(tree) > _MAX_FACTORS:
        raise ExpressionError("the powers make the number too large; use smaller ones")
    return Expression(source.strip(), tree, kind, frozenset(reader.used), reader.uses_rows, _compile(tree))
