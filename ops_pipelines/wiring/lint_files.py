"""Where lint finds Compose files, and how it reads them with the files that they extend."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ops_pipelines.stack.compose_file import ComposeFile, Document, is_compose, parse, read_compose

_ENDS = (".yaml", ".yml")
_BASES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_OVERRIDE = re.compile(r"(docker-)?compose[.-].+\.ya?ml")
_SKIPPED = frozenset({"node_modules", "__pycache__", "vendor"})


def compose(file: Path) -> bool:
    """Whether a file is a Compose file, by its name or what it holds; one that cannot be read is none."""
    try:
        return file.suffix in _ENDS and (is_compose(file.read_bytes()) or file.name in _BASES)
    except OSError:
        return False


def compose_below(folder: Path) -> list[Path]:
    """The Compose files in a folder and all below it, whatever their names. Hidden folders are left out."""
    return [file for file in _yaml(folder) if compose(file)]


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
