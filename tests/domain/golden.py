"""The golden table of the expression language (`tests/spec/expressions.yaml`), made ready for both evaluators."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.spec import table
from trialdm.domain import values
from trialdm.domain.expressions import KINDS, Expression, Name, parse

TABLE = table("expressions")
TYPES: dict[str, str] = TABLE["names"]
NAMES = {name: Name(KINDS[type_name], frozenset(TABLE["codes"].get(name, ())) or None) for name, type_name in TYPES.items()}
NAMES |= {name: Name("number", frozenset({0, 1})) for name, type_name in TYPES.items() if type_name == "yn"}
PARAMS = {name: Decimal(value) for name, value in TABLE["params"].items()}
TABLES = {name: {Decimal(str(key)): Decimal(value) for key, value in rows.items()} for name, rows in TABLE["tables"].items()}


@dataclass(frozen=True)
class Case:
    """One line of the table, with what its section gives to all its lines."""

    id: str
    source: str
    given: Mapping[str, Any]
    rows: list[Mapping[str, Any]]
    gives: Any = None
    refused: str = ""


def cases() -> list[Case]:
    return [
        Case(
            f"{section['title']}: {case['source']} [{number}]",
            case["source"],
            {**section.get("given", {}), **case.get("given", {})},
            case.get("rows", section.get("rows", [])),
            case.get("gives"),
            case.get("refused", ""),
        )
        for section in TABLE["sections"]
        for number, case in enumerate(section["cases"], 1)
    ]


EVALUATED = [case for case in cases() if not case.refused]
REFUSED = [case for case in cases() if case.refused]


def expression(source: str) -> Expression:
    return parse(source, NAMES, tables=TABLES, params=PARAMS)


def typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Answers as the evaluator gets them: names without an answer are absent."""
    read = {name: values.read(TYPES[name], raw) for name, raw in given.items()}
    return {name: value for name, value in read.items() if value is not None}


def shown(result: Any) -> Any:
    """A result as the table writes it."""
    if result is None:
        return "missing"
    if isinstance(result, bool):
        return result
    if isinstance(result, date):
        return result.isoformat()
    return str(Fraction(result)) if isinstance(result, int | Fraction) else str(result)


def expected(case: Case) -> Any:
    return case.gives if isinstance(case.gives, bool) else str(case.gives)
