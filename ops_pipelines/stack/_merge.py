"""The tree of a declaration, every value with its place, and how one tree is laid over another.

Mappings merge key by key, lists and scalars replace, and `null` removes a key (Helm's way); a mapping of
another `kind` replaces. What is left of either tree keeps the place where it was written. `schema`
says the same as a JSON Schema.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, cast


class Position(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int


Value: TypeAlias = "str | int | float | bool | None"


class Scalar(NamedTuple):
    """One value. `origin` is the text before `${NAME}` was filled in, or None where nothing was."""

    value: Value
    text: str
    quoted: bool
    at: Position
    origin: str | None = None


class Items(NamedTuple):
    """A list."""

    items: tuple[Node, ...]
    at: Position


class Entry(NamedTuple):
    """A value under a key, and where that key stands."""

    key_at: Position
    node: Node

    @property
    def at(self) -> Position:
        """Where a reader looks for it: the value itself, or the key above a mapping or a list."""
        return self.node.at if isinstance(self.node, Scalar) else self.key_at


class Table(NamedTuple):
    """A mapping of keys."""

    entries: dict[str, Entry]
    at: Position


Node: TypeAlias = "Scalar | Items | Table"

Removal = tuple[str, Position]
"""The dotted path and the place of a `null` that removed nothing."""


def plain(node: Node) -> Any:
    """The bare Python value of a node."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key: plain(entry.node) for key, entry in node.entries.items()}


def child(node: Node, rest: tuple[str, ...]) -> tuple[Entry, int] | None:
    """The entry that the first words of `rest` lead to, and how many words that took."""
    if isinstance(node, Items):
        index = int(rest[0]) if rest[0].isdecimal() else len(node.items)
        return (Entry(node.items[index].at, node.items[index]), 1) if index < len(node.items) else None
    if isinstance(node, Scalar):
        return None
    for size in range(len(rest), 0, -1):  # a key may hold dots itself: the longest that is there is meant
        entry = node.entries.get(".".join(rest[:size]))
        if entry is not None:
            return entry, size
    return None


def find(root: Node, path: str) -> Position | None:
    """Where a dotted path stands (`components.ollama.ports.http`, `owners.0`). None: it is not written."""
    node, at, rest = root, root.at, tuple(path.split(".")) if path else ()
    while rest:
        step = child(node, rest)
        if step is None:
            return None
        (entry, size) = step
        node, at, rest = entry.node, entry.at, rest[size:]
    return at


def lay_over(fragment: Table, file: Table) -> Table:
    """A file over a fragment that it includes: the file wins, and its places are the ones shown."""
    merged = _merge(fragment, file, (), base_shown=False, idle=[])
    mine, theirs = file.entries.get("profiles"), fragment.entries.get("profiles")
    if mine and theirs and isinstance(mine.node, Table) and isinstance(theirs.node, Table):
        # A `null` in a profile is meant for the declaration below, not for the fragment's own profile.
        profiles = _merge(theirs.node, mine.node, (), base_shown=False, idle=None)
        merged.entries["profiles"] = Entry(mine.key_at, profiles)
    return merged


def apply_profile(base: Table, override: Table) -> tuple[Table, list[Removal]]:
    """A profile's overrides over the declaration, and the removals that found nothing to remove."""
    idle: list[Removal] = []
    return _merge(base, override, (), base_shown=True, idle=idle), idle


def _merge(
    base: Table, over: Table, path: tuple[str, ...], *, base_shown: bool, idle: list[Removal] | None
) -> Table:
    """`idle` collects removals of nothing; None keeps every `null` as a value."""
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below, here = base.entries.get(key), (*path, key)
        if idle is not None and isinstance(entry.node, Scalar) and entry.node.value is None:
            if below is None:
                idle.append((".".join(here), entry.at))
                if not base_shown:  # a file's own `null`, with nothing under it, is a value like any other
                    entries[key] = entry
            else:
                del entries[key]
        elif below is not None and _merges(below.node, entry.node):
            table = _merge(
                cast("Table", below.node), cast("Table", entry.node), here, base_shown=base_shown, idle=idle
            )
            entries[key] = Entry(below.key_at if base_shown else entry.key_at, table)
        else:
            entries[key] = entry
    return Table(entries, base.at if base_shown else over.at)


def _merges(below: Node, over: Node) -> bool:
    if not isinstance(below, Table) or not isinstance(over, Table):
        return False
    # What says another `kind` is another thing: the keys of the old one would mean nothing there.
    kinds = [table.entries["kind"].node for table in (below, over) if "kind" in table.entries]
    return len({kind.text for kind in kinds if isinstance(kind, Scalar)}) < 2
