"""Kubernetes manifests as they are written: the documents of a file, every value with its place.

Nothing is validated here and nothing is raised: what cannot be read is among the problems. Templates of a chart
that nobody rendered are read as text: what `{{ ... }}` would put there is taken from the chart's values, or is a word
that no rule holds against the file.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops_pipelines.stack._merge import Items, Node, Position, Scalar, Table
from ops_pipelines.stack._problems import Problem
from ops_pipelines.stack._yaml import parse

__all__ = [
    "UNKNOWN", "Items", "Manifest", "Manifests", "Node", "Position", "Scalar", "Table", "at", "is_manifest", "look",
    "read_manifests", "text", "untemplated",
]  # fmt: skip

UNKNOWN = "0.0.0-unknown-"
"""How a word begins that stands for what a template would put there. As an image's tag it is an exact one."""
_API = re.compile(rb"^apiVersion[ \t]*:", re.MULTILINE)
_KIND = re.compile(rb"^kind[ \t]*:", re.MULTILINE)
_DIVIDER = re.compile(r"^---(\s.*)?$")
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_ALONE = re.compile(r"^[ \t]*(\{\{.*?\}\}[ \t]*)+(#.*)?$")
_VALUE = re.compile(r"\.Values\.([\w.]+)(\s*\|\s*(quote|toString|int|trim))*$")
_DEFAULT = re.compile(r"\.Values\.([\w.]+)\s*\|\s*default\s+\"?([^\"|]+?)\"?(\s*\|\s*quote)?$")


@dataclass(frozen=True)
class Manifest:
    """One object of a file."""

    api: str
    kind: str
    name: str
    namespace: str
    root: Table

    @property
    def at(self) -> Position:
        """Where it begins."""
        kind = self.root.entries.get("kind")
        return kind.key_at if kind else self.root.at


@dataclass(frozen=True)
class Manifests:
    """All objects of a file."""

    path: str
    objects: tuple[Manifest, ...]
    problems: tuple[Problem, ...] = ()


def is_manifest(data: bytes) -> bool:
    """Whether bytes look like Kubernetes objects: `apiVersion:` and `kind:` at the top."""
    return bool(_API.search(data)) and bool(_KIND.search(data))


def read_manifests(data: bytes, path: str) -> Manifests:
    """The objects of a file of one or more documents; `kind: List` is laid out."""
    objects: list[Manifest] = []
    problems: list[Problem] = []
    for part in _documents(data.decode("utf-8-sig", "replace")):
        document = parse(part.encode(), path)
        problems += document.problems
        objects += _objects(document.root)
    return Manifests(path, tuple(objects), tuple(problems))


def _documents(text: str) -> Iterator[str]:
    """Each document with empty lines before it, so that its places are those of the file."""
    begun, lines = 0, text.splitlines(keepends=True)
    for number, line in enumerate([*lines, "---"]):
        if _DIVIDER.match(line.rstrip("\r\n")):
            part = lines[begun:number]
            if any(one.strip() and not one.lstrip().startswith("#") for one in part):
                yield "\n" * begun + "".join(part)
            begun = number + 1


def _objects(root: Table) -> Iterator[Manifest]:
    if text(root, "kind") == "List":
        items = look(root, "items")
        for item in items.items if isinstance(items, Items) else ():
            if isinstance(item, Table):
                yield from _objects(item)
    elif text(root, "kind"):
        yield Manifest(
            text(root, "apiVersion"),
            text(root, "kind"),
            text(root, "metadata", "name"),
            text(root, "metadata", "namespace"),
            root,
        )


def look(node: Node | None, *keys: str) -> Node | None:
    """What stands at a path of keys; None where nothing does."""
    for key in keys:
        entry = node.entries.get(key) if isinstance(node, Table) else None
        if entry is None:
            return None
        node = entry.node
    return node


def text(node: Node | None, *keys: str) -> str:
    """A single value as text; '' where there is none."""
    found = look(node, *keys)
    return found.text if isinstance(found, Scalar) else ""


def at(node: Table, *keys: str) -> Position:
    """Where a path of keys stands, or the last part of it that is there."""
    here, place = node, node.at
    for key in keys:
        entry = here.entries.get(key)
        if entry is None:
            break
        place = entry.at
        if not isinstance(entry.node, Table):
            break
        here = entry.node
    return place


def untemplated(template: str, values: Mapping[str, Any]) -> str:
    """A chart's template as YAML without being rendered, line by line."""
    lines = []
    inside = False
    for line in template.split("\n"):
        if inside or (line.count("{{") > line.count("}}")):  # an action over several lines
            inside = "}}" not in line
            lines.append("")
        elif _ALONE.match(line):
            lines.append("")
        else:
            lines.append(_ACTION.sub(lambda match: _put(match[1], values), line))
    return "\n".join(lines)


def _put(action: str, values: Mapping[str, Any]) -> str:
    default = _DEFAULT.match(action)
    named = default or _VALUE.match(action)
    found = _value(values, named[1]) if named else None
    if found is None and default:
        return default[2]
    if found is None or isinstance(found, dict | list):
        return f"{UNKNOWN}{zlib.crc32(action.encode()):x}"
    return str(found).lower() if isinstance(found, bool) else str(found).replace("\n", " ")


def _value(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
