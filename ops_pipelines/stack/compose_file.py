"""A Compose file as it is written: its services with every value's place, `extends` laid out.

How Compose merges a service over the one it extends: https://docs.docker.com/reference/compose-file/services/#extends
(mappings by key, `environment` by variable, the lists of ports, volumes and the like joined, the rest replaced).
Nothing is validated here and nothing is raised: what cannot be read is among the problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ops_pipelines.stack._merge import Entry, Items, Node, Position, Scalar, Table
from ops_pipelines.stack._problems import Problem
from ops_pipelines.stack._yaml import Document, parse

__all__ = [
    "ComposeFile", "Document", "Entry", "Items", "Node", "Position", "Scalar", "Service", "Table", "filled",
    "is_compose", "parse", "read_compose", "unset_variables",
]  # fmt: skip

Reader = Callable[[str, str], Document | None]
"""(the file that names another, that name) -> the other file, or None where it cannot be read."""

_SERVICES = re.compile(rb"^services[ \t]*:", re.MULTILINE)
_STACK = re.compile(rb"^stack[ \t]*:", re.MULTILINE)
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:?[-?+])((?:[^{}]|\{[^{}]*\})*))?\}|(\w+))")
_JOINED = frozenset({
    "ports", "volumes", "expose", "cap_add", "cap_drop", "security_opt", "devices", "tmpfs", "dns", "secrets",
    "configs", "group_add", "external_links", "links", "extra_hosts", "env_file", "profiles",
})  # fmt: skip
_BY_NAME = frozenset({"environment", "labels", "depends_on", "networks"})
_RESET, _OVERRIDE = "`!reset`", "`!override`"
_DEEP = 20


@dataclass(frozen=True)
class Service:
    """One service. Its keys hold what it extends too."""

    name: str
    at: Position
    table: Table
    extends_at: Position | None = None
    """Where it says that it extends another; None where it does not."""
    unread: bool = False
    """It extends or is laid over something that is not read: what is missing here may be there."""

    def entry(self, *keys: str) -> Entry | None:
        """The value at a path of keys."""
        node: Node = self.table
        entry: Entry | None = None
        for key in keys:
            entry = node.entries.get(key) if isinstance(node, Table) else None
            if entry is None:
                return None
            node = entry.node
        return entry

    def text(self, *keys: str) -> str:
        """A single value as text, variables filled in by their defaults; '' where there is none."""
        entry = self.entry(*keys)
        return filled(entry.node.text) if entry and isinstance(entry.node, Scalar) else ""

    def items(self, *keys: str) -> tuple[Node, ...]:
        """The items of a list; a single value counts as a list of one."""
        entry = self.entry(*keys)
        if entry is None:
            return ()
        return entry.node.items if isinstance(entry.node, Items) else (entry.node,)

    @cached_property
    def environment(self) -> Mapping[str, Scalar]:
        """Variables with their values, from a mapping or a list of `NAME=value`."""
        entry = self.entry("environment")
        return dict(_variables(entry.node)) if entry else {}

    @cached_property
    def command(self) -> tuple[Scalar, ...]:
        """The words of entrypoint and command. A command in one text is split at blanks."""
        words: list[Scalar] = []
        for key in ("entrypoint", "command"):
            whole = self.entry(key)
            for item in self.items(key):
                if not isinstance(item, Scalar):
                    continue
                split = whole is not None and not isinstance(whole.node, Items)
                words += [item._replace(text=word) for word in item.text.split()] if split else [item]
        return tuple(words)

    def flag(self, *names: str) -> Scalar | None:
        """The value of an option of the command, `--name=value` or `--name value`."""
        for index, word in enumerate(self.command):
            option, given, value = word.text.partition("=")
            if option in names:
                if given:
                    return word._replace(text=value)
                return self.command[index + 1] if index + 1 < len(self.command) else word._replace(text="")
        return None

    @cached_property
    def image(self) -> str:
        """The image; '' where it is built, or not said."""
        return "" if self.entry("build") else self.text("image")

    @cached_property
    def profiles(self) -> frozenset[str]:
        """Profiles that switch it on; none: it is always on."""
        return frozenset(item.text for item in self.items("profiles") if isinstance(item, Scalar))


@dataclass(frozen=True)
class ComposeFile:
    """One Compose file."""

    path: str
    root: Table
    services: Mapping[str, Service]
    problems: tuple[Problem, ...]
    partial: bool
    """Whether it is laid over or put together with others, so that what is missing may be there."""

    def names(self, kind: str) -> frozenset[str]:
        """Names under `volumes`, `networks`, `secrets` or `configs`."""
        entry = self.root.entries.get(kind)
        return frozenset(entry.node.entries) if entry and isinstance(entry.node, Table) else frozenset()


def is_compose(data: bytes) -> bool:
    """Whether bytes look like a Compose file: `services:` at the top, and no stack file."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    return bool(_SERVICES.search(data)) and not _STACK.search(data)


def filled(text: str) -> str:
    """A text with each variable replaced by its default, or by nothing where it has none."""

    def instead(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return filled(match[3] or "") if (match[2] or "").endswith("-") else ""

    return _VARIABLE.sub(instead, text) if "$" in text else text


def unset_variables(text: str) -> tuple[str, ...]:
    """Variables of a text that may be blank: without a default, or with an empty one, and not required (`:?`)."""
    found = (
        (match[1] or match[4])
        for match in _VARIABLE.finditer(text)
        if (match[1] or match[4])
        and (match[2] in (None, "?") or (match[2] in ("-", ":-") and not filled(match[3] or "")))
    )
    return tuple(found) if "$" in text else ()


def read_compose(data: bytes, path: str, other: Reader, *, laid_over: bool = False) -> ComposeFile:
    """A Compose file of bytes. `other` reads files that services extend; `laid_over`: it is an override of another."""
    document = parse(data, path)
    tags = {(each.at, tag) for each in document.problems for tag in (_RESET, _OVERRIDE) if tag in each.found}
    problems = [
        each for each in document.problems if not any(tag in each.found for tag in (_RESET, _OVERRIDE))
    ]
    reset = {at for at, tag in tags if tag == _RESET}
    source = _Source(path, document, other, frozenset(at for at, _ in tags))
    written = document.root.entries.get("services")
    services: dict[str, Service] = {}
    if written is not None and isinstance(written.node, Table):
        for name, entry in written.node.entries.items():
            if isinstance(entry.node, Table):
                services[name] = _service(name, entry, source, problems)
            elif entry.node.at not in reset:
                words = (
                    "a service without keys",
                    "Compose refuses the file",
                    "give it an image, or remove it",
                )
                problems.append(Problem(*entry.at, f"services.{name}", *words))
    elif document.complete and (written is not None or "include" not in document.root.entries):
        at = written.at if written else Position(path, 1, 1)
        words = ("`services` without services", "there is nothing to start", "write services under it")
        problems.append(Problem(*at, "services", *words))
    laid = (
        laid_over
        or bool(reset)
        or ".override." in path.rpartition("/")[2]
        or any(map(_bare, services.values()))
    )
    if laid:
        services = {name: replace(each, unread=True) for name, each in services.items()}
    return ComposeFile(
        path, document.root, services, tuple(problems), partial=laid or "include" in document.root.entries
    )


def _bare(service: Service) -> bool:
    return not any(service.entry(key) for key in ("image", "build", "extends", "provider"))


@dataclass(frozen=True)
class _Source:
    """What services of one file are put together from."""

    path: str
    document: Document
    other: Reader
    replacing: frozenset[Position]
    """Places of values that replace what they are laid over: tagged `!override` or `!reset`."""


def _service(name: str, entry: Entry, source: _Source, problems: list[Problem]) -> Service:
    table, extends, unread = entry.node, None, False
    assert isinstance(table, Table)  # noqa: S101 - the caller asked
    if (said := table.entries.get("extends")) is not None:
        extends = said.at
        laid = _extended(table, source, ())
        if isinstance(laid, str):
            unread = True
            words = (laid, "Compose refuses the file", "name a service that is there, and its file")
            problems.append(Problem(*said.at, f"services.{name}.extends", *words))
        else:
            table = laid
    return Service(name, entry.key_at, table, extends, unread)


def _extended(table: Table, source: _Source, seen: tuple[tuple[str, str], ...]) -> Table | str:
    """The keys of a service over those that it extends, or what is wrong."""
    said = table.entries.get("extends")
    if said is None:
        return table
    node = said.node
    keys = (
        {key: entry.node for key, entry in node.entries.items()}
        if isinstance(node, Table)
        else {"service": node}
    )
    words = {key: filled(each.text) for key, each in keys.items() if isinstance(each, Scalar)}
    name, file = words.get("service", ""), words.get("file")
    there: Document | None = source.document
    path = source.path
    if file:
        there = source.other(path, file)
        if there is None:
            return f"extends a service of `{file}`, which cannot be read"
        path = there.root.at.file
    if (path, name) in seen or len(seen) > _DEEP:
        return f"extends `{name}`, which leads back to itself"
    services = there.root.entries.get("services") if there else None
    base = services.node.entries.get(name) if services and isinstance(services.node, Table) else None
    if there is None or base is None or not isinstance(base.node, Table):
        return f"extends `{name}`, which is not in {file or 'this file'}"
    below = _extended(base.node, replace(source, path=path, document=there), (*seen, (path, name)))
    return below if isinstance(below, str) else _over(below, table, source.replacing)


def _over(base: Table, over: Table, replacing: frozenset[Position], path: tuple[str, ...] = ()) -> Table:
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = base.entries.get(key)
        if below is None or entry.node.at in replacing:
            entries[key] = entry
        else:
            entries[key] = Entry(entry.key_at, _laid(key, below.node, entry.node, replacing, path))
    return Table(entries, over.at)


def _laid(key: str, base: Node, over: Node, replacing: frozenset[Position], path: tuple[str, ...]) -> Node:
    if not path and key in _BY_NAME:
        base, over = _named(base), _named(over)
    if isinstance(base, Table) and isinstance(over, Table):
        return _over(base, over, replacing, (*path, key))
    if not path and key in _JOINED and isinstance(base, Items) and isinstance(over, Items):
        # One place in a container holds one volume: the later one.
        taken = {_mounted(item) for item in over.items} if key == "volumes" else set()
        return Items((*(item for item in base.items if _mounted(item) not in taken), *over.items), over.at)
    return over


def _mounted(item: Node) -> str:
    """Path in the container of a volume."""
    if isinstance(item, Scalar):
        parts = filled(item.text).split(":")
        return parts[1] if len(parts) > 1 else parts[0]
    target = item.entries.get("target") if isinstance(item, Table) else None
    return target.node.text if target and isinstance(target.node, Scalar) else ""


def _named(node: Node) -> Node:
    """A list of `NAME=value` or names as a mapping."""
    if not isinstance(node, Items):
        return node
    return Table({name: Entry(value.at, value) for name, value in _variables(node)}, node.at)


def _variables(node: Node) -> Iterator[tuple[str, Scalar]]:
    if isinstance(node, Table):
        for name, entry in node.entries.items():
            if isinstance(entry.node, Scalar):
                yield name, entry.node._replace(at=entry.key_at)
    elif isinstance(node, Items):
        for item in node.items:
            if isinstance(item, Scalar):
                name, given, value = item.text.partition("=")
                yield name.strip(), item._replace(text=value, value=value if given else None)
