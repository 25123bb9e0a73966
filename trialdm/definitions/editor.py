"""JSON Schemas for editors, made from the very schemas that check the files.

`protocols/schema/*.json` is what an editor such as VS Code uses to complete keys and to mark mistakes while typing. A test
fails when a file is older than the definition.
"""

import json
from pathlib import Path
from typing import Any

from marshmallow import Schema, fields

from trialdm.definitions import schemas

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: File name of each schema.
FILES: dict[str, type[Schema]] = {
    "protocol.schema.json": schemas.ProtocolSchema,
    "form.schema.json": schemas.FormSchema,
    "derivations.schema.json": schemas.DerivationsSchema,
    "approvals.schema.json": schemas.ApprovalsSchema,
    "documents.schema.json": schemas.DocumentsSchema,
    "people.schema.json": schemas.PeopleSchema,
    "source.schema.json": schemas.SourceSchema,
}


def write(folder: Path) -> list[str]:
    """Write every schema into the folder; gives the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in FILES.items():
        (folder / name).write_text(text(schema), "utf-8")
    return list(FILES)


def text(schema: type[Schema]) -> str:
    """The JSON Schema of one kind of file."""
    document = {"$schema": _DIALECT, "title": (schema.__doc__ or schema.__name__).strip(), **_object(schema())}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _object(schema: Schema) -> dict[str, Any]:
    properties = {name: _field(found) for name, found in schema.fields.items()}
    required = [name for name, found in schema.fields.items() if found.required]
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _field(found: fields.Field[Any]) -> dict[str, Any]:
    description = found.metadata.get("description")
    return {**({"description": description} if description else {}), **_type(found), **_limits(found)}


def _type(found: fields.Field[Any]) -> dict[str, Any]:
    match found:
        case fields.Nested():
            return _object(found.schema)
        case fields.List():
            return {"type": "array", "items": _field(found.inner)}
        case fields.Dict():
            inner = found.value_field
            return {"type": "object", "additionalProperties": _field(inner) if inner else True}
        case schemas.Choice():
            return {"anyOf": [{"type": "string"}, _object(schemas.ChoiceSchema())]}
        case fields.Integer():
            return {"type": "integer"}
        case schemas.Number():
            return {"type": "number"}
        case fields.Boolean():
            return {"type": "boolean"}
        case fields.Date():
            return {"type": "string", "format": "date"}
        case fields.String():
            return {"type": "string"}
    return {}


def _limits(found: fields.Field[Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for rule in found.validators:
        choices, regex, least = (getattr(rule, name, None) for name in ("choices", "regex", "min"))
        if choices is not None:
            limits["enum"] = list(choices)
        elif regex is not None and isinstance(found, schemas.Text):
            limits["pattern"] = regex.pattern.replace("\\Z", "$")
        elif least is not None and isinstance(found, fields.Integer):
            limits["minimum"] = least
    return limits
