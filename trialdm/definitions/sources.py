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
from marshmallow import Schema, ValidationError, fields

from trialdm.domain.errors import Detail, Invalid
from trialdm.domain.words import counted

Place = tuple[str | int, ...]

#: What a place of a file is checked against.
Shape = Schema | fields.Field[Any] | None

_TRUE_FALSE = {"true": True, "false": False}
_LARGEST = 1_000_000
_DEEPEST = 50
_STARTS = (yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken, yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
_ENDS = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


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
        super().__init__(f"{counted(len(self.problems), 'problem')} in the definition files.", details=details)


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
    """The data of one file, None where it cannot be read. With problems the data may be incomplete."""
    source = Source(file, None)
    if len(text) > _LARGEST:
        return source, [Problem(file, 1, "the file is larger than one megabyte")]
    try:
        for refused in _refused(file, text):
            return source, [refused]
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return source, [Problem(file, mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")]
    except yaml.YAMLError as error:
        return source, [Problem(file, 1, f"not YAML: {str(error).splitlines()[0]}")]
    problems = list[Problem]()
    source.data = _plain(node, (), source, problems) if node is not None else None
    if source.data is None and not problems:
        problems.append(Problem(file, 1, "the file is empty"))
    return source, problems


def _refused(file: str, text: str) -> Iterable[Problem]:
    """Anchors, aliases, and lists and maps so deep that reading them could exhaust the stack."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.CSafeLoader):
        depth += isinstance(token, _STARTS) - isinstance(token, _ENDS)
        if depth > _DEEPEST:
            yield Problem(file, token.start_mark.line + 1, "lists and maps are nested too deeply")
        if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
            yield Problem(file, token.start_mark.line + 1, "anchors and aliases (& and *) are not used here: write it out")


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
    data = source.data
    if not isinstance(data, dict):
        return {}, [source.problem((), "keys with their values are expected here")]
    try:
        return _loaded(schema, data), []
    except ValidationError as error:
        found = list(_flatten(error.messages_dict, (), schema))
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


def _flatten(messages: Any, place: Place, shape: Shape) -> Iterable[tuple[Place, str]]:
    """Every message with its place. The messages of an entry of a map are told apart by "key" and "value": both belong to it."""
    if not isinstance(messages, Mapping):
        yield from ((place, str(text)) for text in messages)
        return
    for key, inner in messages.items():
        if key == "_schema" and _UNKNOWN not in inner:
            yield from _flatten(inner, place, shape)
        elif isinstance(shape, fields.Dict):
            for part in inner.values() if isinstance(inner, Mapping) else (inner,):
                yield from _flatten(part, (*place, key), shape.value_field)
        else:
            yield from _flatten(inner, (*place, key), _below(shape, key))


def _below(shape: Shape, key: Any) -> Shape:
    """What stands in a place of this shape under a key or position."""
    match shape:
        case Schema():
            return shape.fields.get(key)
        case fields.Nested():
            return _below(shape.schema, key)
        case fields.List():
            return shape.inner
    return None


def _sentence(place: Place, text: str, schema: Schema) -> str:
    key = next((str(step) for step in reversed(place) if isinstance(step, str)), "file")
    if text == _UNKNOWN:
        known = _every_key(schema)
        close = [] if key in known else difflib.get_close_matches(key, known, n=1)
        return f"unknown key '{key}'" + (f": did you mean '{close[0]}'?" if close else "")
    if text == "Missing data for required field.":
        return f"'{key}' is missing"
    return f"{key}: {text[:1].lower()}{text[1:].rstrip('.')}"


def _every_key(shape: Shape) -> set[str]:
    """Names of all keys of a schema and of those nested in it."""
    match shape:
        case Schema():
            return set(shape.fields).union(*map(_every_key, shape.fields.values()))
        case fields.Nested():
            return _every_key(shape.schema)
        case fields.List():
            return _every_key(shape.inner)
        case fields.Dict():
            return _every_key(shape.value_field)
    return set()


def read_letters(folder: Path) -> dict[str, bytes]:
    """The contents of all other files of a folder (letters, certificates), by their path below it."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".yaml")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


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
