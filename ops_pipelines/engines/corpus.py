"""The texts of a folder, cut into pieces, and what of it could not be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import structlog

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.chunking import OVERLAP, SIZE, Chunk, chunk

_log = structlog.get_logger()
SUFFIXES = (".md", ".rst", ".txt")
LARGEST = 8 * 2**20
"""Bytes of a file that is read; a larger one is skipped with a note."""


@dataclass(frozen=True)
class Skipped:
    """A file that was not read, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """What a folder holds."""

    chunks: tuple[Chunk, ...]
    sources: tuple[str, ...]
    """Files that were read, the empty ones included."""
    skipped: tuple[Skipped, ...]
    folders: frozenset[str] = frozenset()
    """Folders that were listed, by their path inside it; its own is `.`."""
    unread: frozenset[str] = frozenset()
    """Folders that could not be listed, and those above them."""

    def is_gone(self, source: str) -> bool:
        """Whether a file was taken out of the folder, and is not only out of reach just now.

        It is gone where its folder, or the nearest one above it that is there, still gives a text. A folder that
        is there and gives none may be a disk that is not mounted: it says nothing.
        """
        if source in self.sources or any(one.source == source for one in self.skipped):
            return False
        path = PurePosixPath(source)
        if path.is_absolute() or ".." in path.parts:
            return False
        above = next((up for up in path.parents if str(up) in self.folders), None)
        return above is not None and str(above) in self.giving and str(above) not in self.unread

    @cached_property
    def giving(self) -> frozenset[str]:
        """Folders that a text was read from, or from below them."""
        return frozenset(str(up) for source in self.sources for up in PurePosixPath(source).parents)


def read_corpus(folder: Path, *, size: int = SIZE, overlap: int = OVERLAP, largest: int = LARGEST) -> Corpus:
    """Read and cut every text of a folder, in order of its path. Raises UsageError where it is no folder."""
    if not folder.is_dir():
        raise UsageError(
            f"the corpus {folder} is not a folder",
            remedy="set `corpus.folder` (or OPS_DEMO_CORPUS) to a folder of .md, .rst or .txt files",
        )
    chunks: list[Chunk] = []
    sources: list[str] = []
    skipped: list[Skipped] = []
    found, folders, unread = _texts(folder)
    for path in found:
        source = path.relative_to(folder).as_posix()
        text = _read(path, largest)
        if isinstance(text, Skipped):
            skipped.append(Skipped(source, text.reason))
            _log.warning("text skipped", source=source, reason=text.reason)
            continue
        sources.append(source)
        chunks += chunk(source, text, size=size, overlap=overlap)
    return Corpus(tuple(chunks), tuple(sources), tuple(skipped), folders, unread)


def _texts(folder: Path) -> tuple[list[Path], frozenset[str], frozenset[str]]:
    """The texts below a folder, the folders that were listed, and those that could not be, with those above."""
    found: list[Path] = []
    listed: set[str] = set()
    unread: set[str] = set()

    def note(error: OSError) -> None:
        where = Path(error.filename).relative_to(folder).as_posix()
        unread.update((where, *(str(up) for up in PurePosixPath(where).parents)))
        _log.warning("folder not read", folder=where, reason=error.strerror)

    for here, folders, files in os.walk(folder, onerror=note):
        listed.add(Path(here).relative_to(folder).as_posix())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(here, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                found.append(path)
    return found, frozenset(listed), frozenset(unread)


def _read(path: Path, largest: int) -> str | Skipped:
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            return Skipped("", f"it is larger than {largest} bytes")
        if b"\0" in content:
            return Skipped("", "it is binary")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Skipped("", f"it is not UTF-8 (byte {error.start})")
    except OSError as error:
        return Skipped("", f"it cannot be read ({error.strerror})")
