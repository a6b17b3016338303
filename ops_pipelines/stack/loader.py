"""From `stack.yaml` to a `Stack`: includes, profile, environment, validation, all problems in one go."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ValidationError

from ops_pipelines.errors import DeclarationError
from ops_pipelines.stack._explain import explain
from ops_pipelines.stack._includes import Reading, Work, assembled
from ops_pipelines.stack._merge import Position, Scalar, Table, find, plain
from ops_pipelines.stack._problems import Problem, in_order
from ops_pipelines.stack._profiles import profiled
from ops_pipelines.stack.model import Stack
from ops_pipelines.stack.references import fill_tree

__all__ = ["BrokenStack", "Loaded", "LoadedStack", "Position", "Problem", "load_all", "load_stack"]

_FILES = re.compile(r"(.+\.)?stack\.ya?ml")

ProfileOf = Callable[[str], str | None]
"""Name of a stack -> the profile chosen for it, or None where its file decides."""


@dataclass(frozen=True)
class LoadedStack:
    """A declaration that holds together."""

    stack: Stack
    path: Path
    profile: str | None
    profiles: tuple[str, ...]
    """Profiles that the file offers."""
    sources: tuple[Path, ...]
    """Every file that was read for it, itself first."""
    digest: str
    """SHA-256 over what is declared, with the profile and the environment worked in, without any secret."""
    warnings: tuple[Problem, ...] = ()
    tree: Table = field(repr=False, compare=False, default=Table({}, Position("", 1, 1)))

    def position(self, path: str) -> Position:
        """Where a dotted path is written; for what is left to its default, where it would belong."""
        words = path.split(".") if path else []
        found = (find(self.tree, ".".join(words[:size])) for size in range(len(words), -1, -1))
        return next(position for position in found if position is not None)


@dataclass(frozen=True)
class BrokenStack:
    """A file that declares no stack as it is. `name` is a guess, and unique among all that were loaded."""

    path: Path
    name: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Loaded:
    """What folders hold. `problems` are those of the folders themselves."""

    stacks: tuple[LoadedStack, ...]
    broken: tuple[BrokenStack, ...]
    problems: tuple[Problem, ...] = ()


def load_stack(
    path: Path, *, profile: str | None = None, environ: Mapping[str, str], model: type[BaseModel] = Stack
) -> LoadedStack:
    """The stack of one file. `profile` beats the file's own. Raises DeclarationError with all problems."""
    return _load(path, Reading(environ), lambda _: profile, model)


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """What is read stays: to look through it for garbage, again and again, takes longer than to read it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()  # whatever it was: two threads that restored it for each other could leave it off


@collector_at_rest()
def load_all(
    dirs: Iterable[Path],
    *,
    environ: Mapping[str, str],
    profile_of: ProfileOf = lambda _: None,
    model: type[BaseModel] = Stack,
) -> Loaded:
    """Every stack file in some folders, and one level below. A broken file stops no other."""
    reading, first = Reading(environ), dict[str, LoadedStack]()
    stacks, broken, problems = list[LoadedStack](), list[BrokenStack](), list[Problem]()
    for path in _stack_files(dirs, problems):
        try:
            loaded = _load(path, reading, profile_of, model)
            name = _name(loaded.tree)
            if name in first:
                raise DeclarationError([_twice(loaded, name, first[name])])
            first[name] = loaded
            stacks.append(loaded)
        except DeclarationError as error:
            found = cast("tuple[Problem, ...]", error.problems)
            broken.append(BrokenStack(path, _guess(path, reading), found))
    return Loaded(tuple(stacks), _with_own_names(broken, set(first)), tuple(problems))


def _stack_files(dirs: Iterable[Path], problems: list[Problem]) -> list[Path]:
    found: dict[Path, Path] = {}  # by real path: folders may overlap
    for folder in dirs:
        if not folder.is_dir():
            remedy = "make the folder, or take it out of the list of folders"
            problems.append(
                Problem(str(folder), 1, 1, "", "no such folder", "no stack is read from it", remedy)
            )
            continue
        below = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
        files = [entry for entry in below if _FILES.fullmatch(entry.name)]
        for inner in (entry for entry in below if entry.is_dir()):
            files += [inner / name for name in ("stack.yaml", "stack.yml") if (inner / name).exists()]
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _twice(loaded: LoadedStack, name: str, other: LoadedStack) -> Problem:
    at = loaded.position("stack")
    return Problem(*at, "stack", f"a second stack named `{name}`", f"{other.path} declares it already",
                   "give one of them another name, or remove one")  # fmt: skip


def _guess(path: Path, reading: Reading) -> str:
    """The name that a broken file most likely declares."""
    named = _name(reading.document(path).root)
    by_file = path.name.partition(".stack.")[0] if ".stack." in path.name else path.resolve().parent.name
    return named if re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", named) else _as_name(by_file)


def _as_name(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-") or "stack"


def _with_own_names(broken: list[BrokenStack], taken: set[str]) -> tuple[BrokenStack, ...]:
    # The guess becomes an asset key, where two of a kind would take down the whole code location.
    result = []
    for item in broken:
        name = item.name
        if name in taken:
            name = _as_name(item.path.resolve().parent.name)
        number = 2
        while name in taken:
            name, number = f"{item.name}-{number}", number + 1
        taken.add(name)
        result.append(BrokenStack(item.path, name, item.problems))
    return tuple(result)


def _load(path: Path, reading: Reading, profile_of: ProfileOf, model: type[BaseModel]) -> LoadedStack:
    work = Work(reading)
    whole = assembled(path, work, ())
    profile, known, tree = profiled(whole, profile_of(_name(whole)), work)
    tree, mistakes = fill_tree(tree, reading.environ)
    work.problems += mistakes
    declared = plain(tree)
    stack = _validated(declared, tree, work, model)
    errors = [problem for problem in work.problems if problem.severity == "error"]
    if errors or stack is None:
        raise DeclarationError(in_order(errors, str(path)))
    return LoadedStack(
        stack=cast("Stack", stack), path=path, profile=profile, profiles=known, sources=tuple(work.sources),
        digest=_digest(declared), warnings=in_order(work.problems, str(path)), tree=tree,
    )  # fmt: skip


def _name(tree: Table) -> str:
    entry = tree.entries.get("stack")
    return entry.node.text if entry and isinstance(entry.node, Scalar) else ""


def _validated(declared: object, tree: Table, work: Work, model: type[BaseModel]) -> BaseModel | None:
    # As JSON: there pydantic's strict mode still takes a list for a tuple and a text for a date.
    try:
        return model.model_validate_json(json.dumps(declared), strict=True)
    except ValidationError as error:
        told = {problem.at for problem in work.problems}
        found = explain(error, tree, model, complete=work.complete)
        work.problems += [problem for problem in found if problem.at not in told]
        return None


def _digest(declared: object) -> str:
    canonical = json.dumps(declared, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
