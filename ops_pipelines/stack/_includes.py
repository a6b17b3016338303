"""One file over the fragments that it includes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops_pipelines.stack._merge import Items, Position, Scalar, Table, lay_over
from ops_pipelines.stack._problems import Problem, nearest, shown
from ops_pipelines.stack._yaml import MAX_BYTES, Document, parse
from ops_pipelines.stack.references import fill

_MAX_INCLUDES = 100


class Reading:
    """Files that were read so far (a shared fragment is parsed once), and the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self._documents: dict[str, Document] = {}

    def document(self, path: Path) -> Document:
        key = os.path.abspath(path)
        if key not in self._documents:
            self._documents[key] = _read(path)
        return self._documents[key]


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            return parse(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        why = error.strerror or type(error).__name__
        problem = Problem(
            str(path), 1, 1, "", "a file that cannot be read", why, "check its path and its rights"
        )
        return Document(Table({}, Position(str(path), 1, 1)), (problem,), complete=False)


@dataclass
class Work:
    """What is known while one file is loaded."""

    reading: Reading
    problems: list[Problem] = field(default_factory=list)
    sources: dict[Path, None] = field(default_factory=dict)
    includes: int = 0
    complete: bool = True

    def note(self, at: Position, where: str, found: str, breaks: str, remedy: str) -> None:
        self.problems.append(Problem(*at, where, found, breaks, remedy))


def assembled(path: Path, work: Work, above: tuple[Path, ...]) -> Table:
    """A file over the fragments that it includes."""
    document = work.reading.document(path)
    work.sources[path] = None
    work.problems += document.problems
    work.complete &= document.complete
    base = Table({}, document.root.at)
    for scalar in _include_items(document.root, work):
        fragment = _included(scalar, path, work, above)
        if fragment is not None:
            base = lay_over(base, fragment)
    own = {key: entry for key, entry in document.root.entries.items() if key != "include"}
    return lay_over(base, Table(own, document.root.at)) if base.entries else Table(own, document.root.at)


def _include_items(root: Table, work: Work) -> list[Scalar]:
    entry = root.entries.get("include")
    nodes = entry.node.items if entry and isinstance(entry.node, Items) else [entry.node] if entry else []
    for node in nodes:
        if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
            remedy = "write a list of paths, relative to this file"
            work.note(node.at, "include", shown(node, ("include",)), "a path is needed here", remedy)
            work.complete = False
    return [node for node in nodes if isinstance(node, Scalar) and isinstance(node.value, str) and node.value]


def _included(scalar: Scalar, path: Path, work: Work, above: tuple[Path, ...]) -> Table | None:
    text, mistakes = fill(scalar.text, work.reading.environ)
    target = Path(os.path.normpath(path.parent / text))
    chain = (*above, path)
    work.includes += 1
    if mistakes:
        work.note(scalar.at, "include", *mistakes[0])
    elif any(_same(target, open_) for open_ in chain):
        found = f"files that include each other: {' → '.join(step.name for step in (*chain, target))}"
        work.note(scalar.at, "include", found, "they have no end", "take one include out of the circle")
    elif not target.is_file():
        names = sorted(item.name for item in target.parent.iterdir()) if target.parent.is_dir() else []
        guess = nearest(target.name, names)
        remedy = f"did you mean `{guess}`?" if guess else f"paths are relative to {path.parent or '.'}"
        work.note(scalar.at, "include", f"no file {target}", "what it declares is missing", remedy)
    elif work.includes > _MAX_INCLUDES:
        if work.includes == _MAX_INCLUDES + 1:
            found = f"more than {_MAX_INCLUDES} includes"
            work.note(scalar.at, "include", found, "the rest is not read", "include each fragment once")
    else:
        return assembled(target, work, chain)
    work.complete = False
    return None


def _same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()
