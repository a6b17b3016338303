"""Where lint finds stack files, Compose files, manifests and charts, and how it reads Compose files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ops_pipelines.errors import UsageError
from ops_pipelines.stack.compose_file import ComposeFile, Document, is_compose, parse, read_compose
from ops_pipelines.wiring.lint_charts import is_chart, manifest

_ENDS = (".yaml", ".yml")
_BASES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OVERRIDE = re.compile(r"(docker-)?compose[.-].+\.ya?ml")
_STACK = re.compile(r"(.+\.)?stack\.ya?ml")
_SKIPPED = frozenset({"node_modules", "__pycache__", "vendor"})


def compose(file: Path) -> bool:
    """Whether a file is a Compose file, by its name or what it holds; one that cannot be read is none."""
    try:
        return file.suffix in _ENDS and (is_compose(file.read_bytes()) or file.name in _BASES)
    except OSError:
        return False


@dataclass(frozen=True)
class Unit:
    """What is looked at as a whole."""

    kind: Literal["stack", "compose", "manifests", "chart"]
    file: Path
    """The file, or the chart's folder."""
    beside: tuple[Path, ...] = ()
    """Files of manifests in the same folder: they are applied together."""


def units(path: Path) -> list[Unit]:
    """What there is to look at in a path. Raises UsageError for one that is not there or holds nothing of the kind."""
    if path.is_file():
        return [Unit(_kind(path), path)]
    if not path.exists():
        raise UsageError(f"{path} is not there", remedy="name a file, a chart, or a folder that holds some")
    found = units_below(path)
    if not found:
        raise UsageError(
            f"no stack file, Compose file, manifest or chart is in {path}",
            remedy="stack files are named stack.yaml or NAME.stack.yaml, in the folder or one level below it; "
            "Compose files are YAML files with `services:` at the top, manifests have `apiVersion:` and `kind:`, "
            "a chart is a folder with Chart.yaml and templates",
        )
    return found


def units_below(folder: Path) -> list[Unit]:
    """The same of a folder; hidden folders are left out, and none is no fault."""
    stacks = _stacks(folder)
    found = [Unit("stack", file) for file in stacks]
    manifests: dict[Path, list[Path]] = {}
    for file in _yaml(folder):
        if file in stacks:
            continue
        if file.name == "Chart.yaml" and is_chart(file.parent):
            found.append(Unit("chart", file.parent))
        elif compose(file):
            found.append(Unit("compose", file))
        elif manifest(file):
            manifests.setdefault(file.parent, []).append(file)
    return [*found, *(Unit("manifests", first, tuple(rest)) for first, *rest in manifests.values())]


def _kind(file: Path) -> Literal["stack", "compose", "manifests"]:
    if compose(file):
        return "compose"
    named = _STACK.fullmatch(file.name) is not None
    return "manifests" if not named and manifest(file) else "stack"


def _stacks(folder: Path) -> list[Path]:
    """The stack files that the loader would take from a folder."""
    here = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    inner = [
        each / name
        for each in here
        if each.is_dir()
        for name in ("stack.yaml", "stack.yml")
        if (each / name).exists()
    ]
    return [entry for entry in here if entry.is_file() and _STACK.fullmatch(entry.name)] + inner


def read_compose_file(file: Path) -> ComposeFile:
    """A Compose file with what its services extend. What cannot be read is among its problems.

    `compose.gpu.yaml` beside a `compose.yaml` is taken for an override of that one.
    """
    over = _OVERRIDE.fullmatch(file.name) is not None and any(
        (file.parent / base).exists() for base in _BASES
    )
    return read_compose(file.read_bytes(), str(file), _other, laid_over=over)


def _other(asking: str, name: str) -> Document | None:
    """A file that another names, relative to that one."""
    path = Path(os.path.normpath(Path(asking).parent / name))
    try:
        return parse(path.read_bytes(), str(path))
    except (OSError, ValueError):
        return None


def _yaml(folder: Path) -> Iterator[Path]:
    for where, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in _SKIPPED)
        for name in sorted(names):
            if name.endswith(_ENDS) and not name.startswith("."):
                yield Path(where) / name
