"""YAML with the place of every key and value.

A file is read through PyYAML's node graph into the tree of `_merge`, so that a problem found much later is
still shown where it was written. Plain scalars are typed by the core schema of YAML 1.2: `no` and `02:30`
are words, and so is `0644`, which some readers take for 420 and some for 644.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, cast

import yaml

from ops_pipelines.stack._merge import Entry, Items, Node, Position, Scalar, Table, Value
from ops_pipelines.stack._problems import Problem

MAX_BYTES = 2**20
MAX_DEPTH = 100

_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"  # our own tag: no quotes, and no tag in the file
_STANDARD = {_PLAIN, *(_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))}
_ANCHOR, _ALIAS = re.compile(r"&[\w-]"), re.compile(r"\*[\w-]")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,300})")
_BASED = {"0o": (8, re.compile(r"0o[0-7]{1,100}")), "0x": (16, re.compile(r"0x[0-9a-fA-F]{1,100}"))}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ALIASED = 10_000  # values that aliases may add; a whole stack has some hundreds
_QUIET = 500  # with no line longer and no more brackets, nesting cannot hurt the reader


# The C reader is some ten times faster; a PyYAML without it still works.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves plain scalars to `typed`: PyYAML's own guess is YAML 1.1, and takes longer than the parsing."""

    def resolve(self, kind: type[yaml.Node], _value: object, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else f"{_TAG}str"
        return f"{_TAG}map" if kind is yaml.MappingNode else f"{_TAG}seq"


class Document(NamedTuple):
    """What one file holds. `complete` is False where a problem hides a part of it."""

    root: Table
    problems: tuple[Problem, ...]
    complete: bool


class _Stop(Exception):
    """The way out of reading a file that cannot be read on; no caller sees it."""

    def __init__(self, at: Position, found: str, breaks: str, remedy: str) -> None:
        super().__init__(found)
        self.problem = Problem(*at, "", found, breaks, remedy)


def typed(text: str) -> Value:
    """The value of a plain scalar, by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text)
    base, form = _BASED.get(text[:2], (0, _INT))
    if base and form.fullmatch(text):
        return int(text[2:], base)
    return float(text) if len(text) <= 300 and _FLOAT.fullmatch(text) else text


def parse(data: bytes, file: str) -> Document:
    """The document of a file's bytes. Nothing is raised: what is wrong with it is in the answer."""
    start = Position(file, 1, 1)
    try:
        root = _compose(_decoded(data, start), start)
        reader = _Reader(file)
        table = reader.table(root, ())
        return Document(table, tuple(reader.problems), complete=not reader.problems)
    except _Stop as stop:
        return Document(Table({}, start), (stop.problem,), complete=False)
    except RecursionError:
        return Document(Table({}, start), (_too_deep(start).problem,), complete=False)


def _too_deep(at: Position) -> _Stop:
    return _Stop(at, "values nested too deeply", "the file is not read", f"keep to {MAX_DEPTH} levels")


def _decoded(data: bytes, start: Position) -> str:
    if len(data) > MAX_BYTES:
        raise _Stop(
            start, f"a file of more than {MAX_BYTES} bytes", "it is not read", "split it with `include:`"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        at = Position(start.file, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        byte = f"a byte that is not UTF-8 (0x{data[error.start]:02x})"
        raise _Stop(at, byte, "the file cannot be read", "save the file as UTF-8") from None


def _compose(text: str, start: Position) -> yaml.MappingNode:
    try:
        _check_depth(text, start)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _syntax(error, text, start) from None
    if root is None:
        raise _Stop(
            start, "an empty file", "it declares nothing", "write `key: value` lines, or remove the file"
        )
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        at = _position(root, start.file)
        raise _Stop(at, f"{kind} at the top of the file", "keys are needed here", "write `key: value` lines")
    if _ALIAS.search(text) and _ANCHOR.search(text):
        _check_aliases(root, start.file)
    return root


def _check_depth(text: str, start: Position) -> None:
    # libyaml's composer recurses on the C stack without a limit: `[[[[…` would end the whole process.
    if text.count("[") + text.count("{") <= _QUIET and max(map(len, text.splitlines()), default=0) <= _QUIET:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(_position(event, start.file))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_aliases(root: yaml.Node, file: str) -> None:
    """Refuse aliases that hold themselves, and those that blow up when written out (a billion laughs)."""
    sizes: dict[int, tuple[int, int]] = {}  # values, and levels, of a collection when written out
    entered: set[int] = set()
    written = 1  # values in the file itself

    def size(node: yaml.Node) -> tuple[int, int]:
        nonlocal written
        if (known := sizes.get(id(node))) is not None:
            return known
        if id(node) in entered:
            at = _position(node, file)
            raise _Stop(
                at, "an anchor that holds itself", "written out it has no end", "remove the alias in it"
            )
        entered.add(id(node))
        below = _children(node)
        collections = [child for child in below if not isinstance(child, yaml.ScalarNode)]
        written += len(below)
        count, levels = 1 + len(below) - len(collections), 1 if below else 0
        for child in collections:
            more, depth = size(child)
            count, levels = count + more, max(levels, depth)
        if levels >= MAX_DEPTH:
            raise _too_deep(_position(node, file))
        sizes[id(node)] = count, levels + 1
        entered.discard(id(node))
        return count, levels + 1

    if size(root)[0] - written > _ALIASED:
        found = f"aliases that add more than {_ALIASED} values"
        raise _Stop(
            _position(root, file), found, "written out, they fill the memory", "use fewer aliases (`*name`)"
        )


def _children(node: yaml.Node) -> list[yaml.Node]:
    """What a collection holds directly, keys included."""
    return (
        [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    )


def _syntax(error: yaml.YAMLError, text: str, start: Position) -> _Stop:
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a character that YAML forbids; PyYAML gives its index only
        index = int(getattr(error, "position", 0))
        at = Position(start.file, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))
        found, remedy = "a control character", "remove it, or write it as an escape in double quotes"
    else:
        lines = text.splitlines() or [""]
        at = Position(start.file, mark.line + 1, mark.column + 1)
        if at.line > len(lines):  # the end of the file: the last line is what a reader can look at
            at = Position(start.file, len(lines), len(lines[-1]) + 1)
        found, remedy = _advice(str(getattr(error, "problem", "")), text, at.line)
    return _Stop(at, found, "the file is not YAML", remedy)


def _advice(problem: str, text: str, line: int) -> tuple[str, str]:
    written = (text.splitlines() + [""] * line)[line - 1]
    found = f"a syntax error ({problem})"
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "a tab in the indentation", "indent with spaces"
    if "expected ',' or" in problem:
        return (
            found,
            "close every bracket; inside { } and [ ], put a text that holds a bracket, a comma or ${NAME} in quotes",
        )
    if "another document" in problem:
        return "a second document (`---`)", "keep one document in one file"
    if "mapping values" in problem:
        return found, "check the indentation, and put a text that holds `: ` in quotes"
    if "alias" in problem:
        return found, "define the anchor (`&name`) above its alias (`*name`), in the same file"
    return found, "check indentation, quotes and brackets of this line and the one above"


def _position(node: Any, file: str) -> Position:
    mark = node.start_mark
    return Position(file, mark.line + 1, mark.column + 1)


class _Reader:
    """Turns the node graph of one file into our tree, and notes what is wrong on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.seen: dict[int, Node] = {}  # an aliased node is read once, and shared

    def node(self, node: yaml.Node, path: tuple[str, ...]) -> Node:
        known = self.seen.get(id(node))
        if known is not None:
            return known
        if len(path) > MAX_DEPTH:
            raise _too_deep(_position(node, self.file))
        if node.tag not in _STANDARD:
            self._note(
                node, path, f"the tag `{node.tag}`", "a declaration builds no objects", "remove the tag"
            )
        result: Node
        if isinstance(node, yaml.MappingNode):
            result = self.table(node, path)
        elif isinstance(node, yaml.SequenceNode):
            items = [self.node(item, (*path, str(index))) for index, item in enumerate(node.value)]
            result = Items(tuple(items), _position(node, self.file))
        else:
            result = self._scalar(cast("yaml.ScalarNode", node))
        self.seen[id(node)] = result
        return result

    def table(self, node: yaml.MappingNode, path: tuple[str, ...]) -> Table:
        entries: dict[str, Entry] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._note(key, path, "a key that is a mapping or a list", "a key is a word", "write a word")
            elif key.value == "<<" and key.tag == _PLAIN:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif key.value in entries:
                lines = f"lines {entries[key.value].key_at.line} and {key.start_mark.line + 1}"
                found, remedy = f"`{key.value}` twice, on {lines}", "remove one of them, or join them"
                self._note(key, (*path, key.value), found, "one of the two would be lost", remedy)
            else:
                below = self.node(value, (*path, key.value))
                entries[key.value] = Entry(_position(key, self.file), below)
        for base in merged:
            self._merge(base, entries, path)
        return Table(entries, _position(node, self.file))

    def _merge(self, base: yaml.Node, entries: dict[str, Entry], path: tuple[str, ...]) -> None:
        table = self.node(base, path)
        if isinstance(table, Table):
            for key, entry in table.entries.items():
                entries.setdefault(key, entry)
        else:
            found, remedy = (
                "a `<<` of something that has no keys",
                "name the anchor of a mapping: `<<: *name`",
            )
            self._note(base, (*path, "<<"), found, "there is nothing to merge", remedy)

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        at, text = _position(node, self.file), node.value
        quoted = bool(node.style) or node.tag == f"{_TAG}str"  # a style is quotes, `|` or `>`
        return Scalar(text if quoted else typed(text), text, quoted, at)

    def _note(self, node: yaml.Node, path: tuple[str, ...], found: str, breaks: str, remedy: str) -> None:
        self.problems.append(Problem(*_position(node, self.file), ".".join(path), found, breaks, remedy))
