"""From pydantic's errors to problems: where the value was written, in a user's words, no secret echoed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from ops_pipelines.stack._merge import Node, Position, Scalar, Table, child
from ops_pipelines.stack._problems import SHOWN, Problem, or_known, showable, shown
from ops_pipelines.stack._schema_at import fields_at, tags_at

_NEEDED = {
    "int": ("a whole number", "write a whole number, without quotes"),
    "float": ("a number", "write a number, without quotes"),
    "bool": ("true or false", "write `true` or `false`, without quotes"),
    "string": ("a text", "write a text"),
    "model": ("a mapping of keys", "write `key: value` lines below it"),
    "dict": ("a mapping of keys", "write `key: value` lines below it"),
    "list": ("a list", "write `- item` lines below it"),
    "tuple": ("a list", "write `- item` lines below it"),
    "set": ("a list", "write `- item` lines below it"),
}
_KIND = re.compile(r"([a-z]+?)(_attributes)?_(type|parsing|from_float)")
_QUOTED = re.compile(r"'([^']*)'")
_BOOLS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


@dataclass(frozen=True)
class _Finding:
    """One of pydantic's errors, brought to its place in the tree."""

    kind: str
    message: str
    context: dict[str, Any]
    path: tuple[str, ...]
    at: Position
    node: Node
    found: str
    text: str
    """The text itself, empty where it may not be shown."""
    forms: tuple[tuple[tuple[str, ...], str], ...]
    """Where choices of several forms begin, and which form was tried at each."""
    instead: tuple[str, ...] = ()
    """Kinds of the errors that the other forms gave, where none of them fits better."""


def explain(
    error: ValidationError, root: Table, model: type[BaseModel], *, complete: bool = True
) -> list[Problem]:
    """A problem for each of pydantic's errors.

    Where not `complete`, what is missing may stand in a part that could not be read, and is not told.
    """
    findings = [_located(item, root) for item in error.errors(include_url=False, include_input=False)]
    schema = _schema(model)
    problems = []
    for item in _best_forms(findings):
        if item.kind == "missing" and not complete:
            continue
        found, breaks, remedy = _words(item, fields_at(schema, root, item.path[:-1]))
        if item.kind == "union_tag_not_found":
            remedy += ", ".join(f"`{tag}`" for tag in tags_at(schema, root, item.path))
        problems.append(Problem(*item.at, ".".join(item.path), found, breaks, remedy))
    return problems


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _located(error: Any, root: Table) -> _Finding:
    """The node that an error is about. What pydantic adds to `loc`, the form of a union, is skipped."""
    words = tuple(str(word) for word in error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    of_key, absent = words[-1:] == ("[key]",), words[-1:] if kind == "missing" else ()
    path: tuple[str, ...] = ()
    node: Node = root
    at, forms = root.at, list[tuple[tuple[str, ...], str]]()
    for word in words[: len(words) - bool(absent) - of_key]:
        step = child(node, (word,))
        if step is None:
            forms.append((path, word))
            continue
        node, path = step[0].node, (*path, word)
        at = step[0].key_at if of_key or kind == "extra_forbidden" else step[0].at
    found, text = shown(node, path), node.text if isinstance(node, Scalar) and showable(node, path) else ""
    if of_key:
        found, text = f"the key `{path[-1]}`", path[-1]
    elif kind == "union_tag_invalid" and (step := child(node, (context["discriminator"].strip("'"),))):
        node, at, path = step[0].node, step[0].at, (*path, context["discriminator"].strip("'"))
        found, text = shown(node, path), context["tag"] if showable(node, path) else ""
    return _Finding(kind, error["msg"], context, (*path, *absent), at, node, found, text, tuple(forms))


def _best_forms(findings: list[_Finding]) -> list[_Finding]:
    """Of a value that may take several forms, only the errors of the form that it comes nearest to."""
    tried: dict[tuple[str, ...], dict[str, list[_Finding]]] = {}
    for item in findings:
        for place, form in item.forms:
            tried.setdefault(place, {}).setdefault(form, []).append(item)
    kept = {id(item): item for item in findings}
    for place, forms in tried.items():
        # Where a value has the shape of a form, that form's errors lie deeper than the value itself.
        shaped = [items for items in forms.values() if any(len(item.path) > len(place) for item in items)]
        best = min(shaped or forms.values(), key=len)
        others = [item for items in forms.values() if items is not best for item in items]
        for item in others:
            kept.pop(id(item), None)
        if others and not shaped:
            kept[id(best[0])] = replace(best[0], instead=tuple(item.kind for item in others))
    return list(kept.values())


def _needed(item: _Finding) -> list[str]:
    """What could stand at a place where something of another type was found."""
    kinds = [match[1] for kind in (item.kind, *item.instead) if (match := _KIND.fullmatch(kind))]
    return [kind for kind in dict.fromkeys(kinds) if kind in _NEEDED]


def _words(item: _Finding, fields: dict[str, Any]) -> tuple[str, str, str]:
    """What was found, what it breaks, what mends it."""
    name = item.path[-1] if item.path else ""
    if item.kind == "missing":
        about = str(fields.get(name, {}).get("description", "")).partition("\n")[0].rstrip(".")
        return (
            f"`{name}` is missing",
            "it has no default" + (f" ({about})" if about else ""),
            f"add `{name}: …`",
        )
    if item.kind == "extra_forbidden":
        return f"unknown key `{name}`", "it would set nothing", or_known(name, fields)
    if item.kind == "union_tag_not_found":
        chooser = item.context["discriminator"].strip("'")
        return f"`{chooser}` is missing", "it says which form is meant", f"add `{chooser}: …`, one of "
    if item.kind in ("union_tag_invalid", "literal_error", "enum"):
        known = _QUOTED.findall(item.context.get("expected_tags") or item.context.get("expected", ""))
        return item.found, f"only {_either(known)} can stand here", or_known(item.text, known)
    needed = _needed(item)
    if needed:
        words = " or ".join(dict.fromkeys(_NEEDED[kind][0] for kind in needed))
        return item.found, f"{words} is needed here", _type_remedy(item, needed[0])
    if item.kind in ("value_error", "assertion_error"):
        reason = item.message.partition(", ")[2] or item.message
        return item.found, "the stack cannot be loaded", _without_echo(item, reason)
    if item.kind == "string_pattern_mismatch":
        return item.found, "it has not the form that is needed here", _form_remedy(item)
    message = item.message.replace("Input should", "it should")
    return item.found, _without_echo(item, message[:1].lower() + message[1:]), "write such a value"


def _without_echo(item: _Finding, message: str) -> str:
    """A validator's own words, unless they hold a value that may not be shown."""
    told = isinstance(item.node, Scalar) and any(
        v in message for v in (item.node.text, str(item.node.value)) if v
    )
    if told and not item.text:
        return "write another value (the reason is left out, as it would show this one)"
    return message


def _either(words: list[str]) -> str:
    return " or ".join(f"`{word}`" for word in words) if words else "…"


def _type_remedy(item: _Finding, kind: str) -> str:
    if kind == "string" and isinstance(item.node, Scalar) and item.node.value is not None:
        return f'put it in quotes: "{item.text}"' if item.text else "put it in quotes"
    if kind == "bool" and item.text.lower() in _BOOLS:
        return f"write `{_BOOLS[item.text.lower()]}`"
    return _NEEDED[kind][1]


def _form_remedy(item: _Finding) -> str:
    pattern = str(item.context.get("pattern", ""))
    guess = re.sub(r"[^a-z0-9_]+", "-", item.text.lower()).strip("-_")
    if guess and re.search(pattern, guess):
        return f"write it like `{guess[:SHOWN]}`"
    return f"write a text of the form `{pattern}`"
