"""YAML files to plain data in which every place knows its file and line.

Stricter than YAML: no key twice, no anchors, no bare yes/no/on/off (which YAML reads as true or false), exact decimals.
Knows nothing about what the files define.
"""

import copy
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from marshmallow import Schema, ValidationError

from trialdm.domain.errors import Detail, Invalid

Place = tuple[str | int, ...]

_TRUE_FALSE = {"true": True, "false": False}
_LARGEST = 1_000_000


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a definition file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class BadDefinition(Invalid):
    """The files cannot be used; `problems` holds everything that is wrong with them."""

    default_code = "DEFINITION.INVALID"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        details = [Detail("DEFINITION.INVALID", p.message, place=f"{p.file}:{p.line}") for p in self.problems]
        super().__init__(f"{len(self.problems)} problem(s) in the definition files.", details=details)


@dataclass
class Source:
    """One file: its data, and the line of every place in it (a path of keys and positions)."""

    file: str
    data: Any
    lines: dict[Place, int] = field(default_factory=dict)

    def problem(self, place: Place, message: str) -> Problem:
        """A problem at a place, or at the nearest place around it that has a line."""
        while place and place not in self.lines:
            place = place[:-1]
        return Problem(self.file, self.lines.get(place, 1), message)


def read(file: str, text: str) -> tuple[Source, list[Problem]]:
    """The data of one file. With problems the data may be incomplete."""
    if len(text) > _LARGEST:
        return Source(file, None), [Problem(file, 1, "the file is larger than one megabyte")]
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        for token in yaml.scan(text, Loader=yaml.CSafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                line = token.start_mark.line + 1
                return Source(file, None), [Problem(file, line, "anchors and aliases (& and *) are not used here: write it out")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return Source(file, None), [Problem(file, mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")]
    except yaml.YAMLError as error:
        return Source(file, None), [Problem(file, 1, f"not YAML: {error}")]
    source, problems = Source(file, None), list[Problem]()
    source.data = _plain(node, (), source, problems) if node is not None else None
    if source.data is None and not problems:
        problems.append(Problem(file, 1, "the file is empty"))
    return source, problems


def _plain(node: yaml.Node, place: Place, source: Source, problems: list[Problem]) -> Any:
    line = node.start_mark.line + 1
    source.lines.setdefault(place, line)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*place, i), source, problems) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node, source, problems)
            if key in found:
                problems.append(Problem(source.file, key_node.start_mark.line + 1, f"'{key}' is given twice"))
            source.lines[(*place, key)] = key_node.start_mark.line + 1
            found[key] = _plain(value_node, (*place, key), source, problems)
        return found
    return _scalar(node, source, problems)


def _scalar(node: yaml.Node, source: Source, problems: list[Problem]) -> Any:
    text: str = node.value if isinstance(node, yaml.ScalarNode) else ""
    line = node.start_mark.line + 1
    match node.tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            if text.lower() not in _TRUE_FALSE:
                problems.append(Problem(source.file, line, f'bare {text} is read as true or false by YAML: write "{text}" in quotes'))
            return _TRUE_FALSE.get(text.lower(), text)
        case "int":
            try:
                return int(text.replace("_", ""))
            except ValueError:
                problems.append(Problem(source.file, line, f'"{text}" is read as a number by YAML: write it in quotes'))
                return None
        case "float":
            try:
                return Decimal(text.replace("_", ""))
            except ArithmeticError:
                problems.append(Problem(source.file, line, f"'{text}' is not a number"))
                return None
        case "timestamp":
            try:
                return date.fromisoformat(text)
            except ValueError:
                problems.append(Problem(source.file, line, f"'{text}' is not a date such as 2026-03-01"))
                return None
        case "str":
            return text
    problems.append(Problem(source.file, line, "a text, number, list or map is expected here"))
    return None


_UNKNOWN = "Unknown field."


def check(source: Source, schema: Schema) -> tuple[dict[str, Any], list[Problem]]:
    """The data as the schema reads them, and a problem for every place that does not fit.

    Unknown keys are reported and passed over, so that everything else is still checked; other misfits give no data.
    """
    data = source.data if isinstance(source.data, dict) else {}
    try:
        return _loaded(schema, data), []
    except ValidationError as error:
        found = list(_flatten(error.normalized_messages(), ()))
        problems = [source.problem(place, _sentence(place, text, schema)) for place, text in found]
    try:
        return _loaded(schema, _without(data, [place for place, text in found if text == _UNKNOWN])), problems
    except ValidationError:
        return {}, problems


def _loaded(schema: Schema, data: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = schema.load(data)
    return loaded


def _without(data: Any, places: list[Place]) -> Any:
    """A copy without the keys at these places."""
    copied = copy.deepcopy(data)
    for place in places:
        inner = copied
        for step in place[:-1]:
            inner = inner[step]
        inner.pop(place[-1], None)
    return copied


def _flatten(messages: Mapping[Any, Any], place: Place) -> Iterable[tuple[Place, str]]:
    """Every message with its place. Errors of map entries stand under "key" and "value": both belong to the entry."""
    for key, inner in messages.items():
        here = place if key == "_schema" or (key in ("key", "value") and place) else (*place, key)
        if isinstance(inner, Mapping):
            yield from _flatten(inner, here)
        else:
            yield from ((here, str(text)) for text in inner)


def _sentence(place: Place, text: str, schema: Schema) -> str:
    key = str(place[-1]) if place else "file"
    if text == _UNKNOWN:
        close = difflib.get_close_matches(key, _every_key(schema), n=1)
        return f"unknown key '{key}'" + (f": did you mean '{close[0]}'?" if close else "")
    if text == "Missing data for required field.":
        return f"'{key}' is missing"
    return f"{key}: {text[:1].lower()}{text[1:].rstrip('.')}"


def _every_key(schema: Schema) -> set[str]:
    """Names of all keys of a schema and of those nested in it."""
    keys: set[str] = set()
    waiting: list[Schema] = [schema]
    while waiting:
        current = waiting.pop()
        for name, definition in current.fields.items():
            if name not in keys:
                keys.add(name)
                inner = getattr(definition, "inner", definition)
                nested = getattr(inner, "schema", None)
                if isinstance(nested, Schema):
                    waiting.append(nested)
    return keys


def read_folder(folder: Path) -> dict[str, str]:
    """The texts of all YAML files of a folder, by their path below its parent (`pre-tmr/forms/pain.yaml`)."""
    if not folder.is_dir():
        raise BadDefinition([Problem(str(folder), 1, "there is no such folder")])
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*.yaml")):
        name = str(path.relative_to(folder.parent))
        try:
            texts[name] = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise BadDefinition([Problem(name, 1, "the file is not UTF-8 text")]) from None
    if not texts:
        raise BadDefinition([Problem(str(folder), 1, "the folder holds no YAML file")])
    return texts
