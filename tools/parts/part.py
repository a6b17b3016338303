"""What a part is, and how it is found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.parts import cache


class PartError(Exception):
    """A part cannot be had; the message says why."""


def _nowhere() -> Iterable[Path]:
    return ()


@dataclass(frozen=True)
class Part:
    """One real thing that tests run against, and the one way in which it comes here."""

    name: str
    version: str
    binaries: tuple[str, ...]
    """What it is found by; the first is the main one."""
    how_to_get: str
    """One line for a person who does not have it."""
    debian: tuple[str, ...] = ()
    """Debian packages that it consists of, or that its `install` needs."""
    install: Callable[[Path], None] | None = None
    """Fills the folder it is handed, programs in its `bin`; that becomes `folder` once the probe ends well.

    It runs after the Debian packages are there. Without it, the packages are the part.
    """
    folders: Callable[[], Iterable[Path]] = _nowhere
    """Where else its binaries may be, best first; PATH comes last."""
    on_request: bool = False
    """Whether it comes only when it is asked for by name: it takes long, and few tests need it."""
    probe: tuple[str, ...] = ("--version",)
    """Arguments with which its main binary ends well at once: run once, when it is installed."""

    @property
    def folder(self) -> Path:
        """Its place in the cache: a new version never meets the files of an old one."""
        return cache.root() / f"{self.name}-{self.version}"

    def find(self) -> Found | None:
        """Where it is, or None. All of its binaries come from one folder, or all from PATH."""
        for folder in (self.folder / "bin", *self.folders()):
            here = {name: folder / name for name in self.binaries}
            if all(path.is_file() and os.access(path, os.X_OK) for path in here.values()):
                return Found(self, here)
        on_path = {name: Path(path) for name in self.binaries if (path := shutil.which(name))}
        return Found(self, on_path) if len(on_path) == len(self.binaries) else None

    def is_present(self) -> bool:
        """Whether every binary of it is here."""
        return self.find() is not None


@dataclass(frozen=True)
class Found:
    """A part that is here: `found.path` is its main binary, `found["initdb"]` another."""

    part: Part
    binaries: Mapping[str, Path]

    @property
    def path(self) -> Path:
        """The main binary."""
        return self.binaries[self.part.binaries[0]]

    def __getitem__(self, binary: str) -> Path:
        return self.binaries[binary]
