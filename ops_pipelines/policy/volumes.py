"""What was read of a volume, and which of its files are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from re import Pattern

from ops_pipelines.policy.manifest import FileEntry, FolderEntry


@dataclass(frozen=True)
class VolumeFile:
    """One file or link: its entry, with its path in percent form, and where its bytes are to be had."""

    entry: FileEntry
    source: Path | None
    """None for a link."""


@dataclass(frozen=True)
class VolumeReading:
    """One replica of a volume, as it was read."""

    root: str
    exists: bool
    files: tuple[VolumeFile, ...] = ()
    folders: tuple[FolderEntry, ...] = ()
    unreadable: tuple[str, ...] = ()
    """What is there and could not be read, each with the reason."""
    unsettled: tuple[str, ...] = ()
    """Files that changed each time they were read, and are not accepted so."""
    fuzzy: tuple[str, ...] = ()
    """Files that changed each time, kept as they were found."""
    grown: tuple[str, ...] = ()
    """Files that only grew while they were read, kept as long as they were at first."""
    appeared: tuple[str, ...] = ()
    """Files that were made while the last round of reading went on, left out."""
    outside: tuple[str, ...] = ()
    """Links that lead out of the volume (`path -> target`), left out."""
    special: tuple[str, ...] = ()
    """Pipes, sockets and devices, left out."""
    attributes: tuple[str, ...] = ()
    """Files and folders with extended attributes or access lists, which are not kept."""
    rotten: tuple[str, ...] = ()
    """Files whose content changed although nothing wrote to them, each with both digests."""
    excluded: int = 0
    """Files and folders left out by a pattern."""
    hashed: int = 0
    """Files whose bytes were read."""
    again: int = 0
    """Files of those that had not changed, and were read all the same to find rot."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.entry.size for file in self.files)


def patterns(words: Sequence[str]) -> Pattern[str] | None:
    """What matches the paths that `exclude` words leave out; None where there are none.

    A word without a `/` is a name at any depth; with one, it is a path from the top. `*` and `?` stay within
    a name, `**` crosses folders."""
    if not words:
        return None
    return re.compile("|".join(_pattern(word) for word in words), re.DOTALL)


def _pattern(word: str) -> str:
    bare = word.strip("/")
    anywhere = "" if "/" in word.rstrip("/") else "(?:.*/)?"
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", bare, re.DOTALL)
    return f"(?:{anywhere}{''.join(_token(token) for token in tokens)})"


def _token(token: str) -> str:
    plain = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in plain:
        return plain[token]
    if len(token) > 2 and token[0] == "[":
        inside = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' + inside[1:] if inside[0] == '!' else inside}]"
    return re.escape(token)
