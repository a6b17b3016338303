"""The JSON Schema of a stack file, for editors and for checks outside of Python.

It follows the rules by which a file is read: `${NAME}` may stand for a value, and what includes and
profiles lay over one another may leave out what the model requires.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.references import REFERENCE

_FILLED = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}
_NARROWED = {"pattern", "enum", "format", "minLength", "maxLength"}
_NOTES = ("title", "description", "default", "examples", "deprecated")
_OVERRIDE = "Override"
_OWN_KEYS: dict[str, Any] = {
    "include": {
        "description": "Files that this one is laid over, relative to it; later ones win.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    },
    "profile": {"description": "The profile that holds where none is asked for.", "type": ["string", "null"]},
    "profiles": {
        "description": "Overrides by profile: mappings merge, lists and values replace, null removes.",
        "type": "object",
        "additionalProperties": {"anyOf": [{"$ref": f"#/$defs/{_OVERRIDE}"}, {"type": "null"}]},
    },
}
_EXTENDS = {"description": "The profile that this one is laid over.", "type": "string"}


def stack_schema(model: type[BaseModel] = Stack) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a stack file.

    `${NAME}` may stand for a number or a switch, except where a reference to a secret is asked for. A file
    with includes or profiles may leave to them what the model requires.
    """
    schema = model.model_json_schema()
    inner = schema.pop("$defs", {})
    whole = _opened(schema, loose=False)
    override = _opened(schema, loose=True)
    definitions = {name: _opened(each, loose=False) for name, each in inner.items()}
    definitions |= {name + _OVERRIDE: _opened(each, loose=True) for name, each in inner.items()}
    profile = {"extends": _EXTENDS, **override["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": schema.get("title", ""),
        "description": schema.get("description", ""),
        "type": "object",
        "properties": {**override["properties"], **_OWN_KEYS},
        "additionalProperties": False,
        "if": {"anyOf": [{"required": ["include"]}, {"required": ["profiles"]}]},
        "else": {"properties": whole["properties"], "required": whole.get("required", [])},
        "$defs": {**definitions, _OVERRIDE: {**override, "title": "Profile", "properties": profile}},
    }


def _opened(schema: Any, *, loose: bool) -> Any:
    """A schema that takes `${NAME}`. `loose` is for what is merged: nothing is required, null removes."""
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {**schema, "$ref": schema["$ref"] + (_OVERRIDE if loose else "")}
    if _may_be_filled(schema):
        notes = {key: schema[key] for key in _NOTES if key in schema}
        bare = {key: value for key, value in schema.items() if key not in _NOTES}
        return {**notes, "anyOf": [bare, _FILLED]}
    opened = dict(schema)
    for key in ("properties", "patternProperties"):
        if key in schema:
            opened[key] = {name: _below(each, loose=loose) for name, each in schema[key].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        opened["additionalProperties"] = _below(schema["additionalProperties"], loose=loose)
    elif "patternProperties" in schema:
        opened.setdefault("additionalProperties", False)
    if "items" in schema:  # a list replaces as a whole, so its items are whole too
        opened["items"] = _opened(schema["items"], loose=False)
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in schema:
            opened[key] = [_opened(each, loose=loose and key != "prefixItems") for each in schema[key]]
    return _loosened(opened) if loose else opened


def _loosened(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in schema.items() if k not in ("required", "minProperties", "discriminator")}
    if "oneOf" in kept:  # without its tag, an override may fit several forms
        kept["anyOf"] = kept.pop("oneOf")
    return kept


def _may_be_filled(schema: dict[str, Any]) -> bool:
    if "const" in schema:
        return False
    if schema.get("type") == "string":  # a text that is free takes `${NAME}` anyway
        return bool(_NARROWED & schema.keys()) and schema.get("pattern") != REFERENCE
    return schema.get("type") in ("integer", "number", "boolean")


def _below(schema: Any, *, loose: bool) -> Any:
    opened = _opened(schema, loose=loose)
    return {"anyOf": [opened, {"type": "null"}]} if loose else opened
