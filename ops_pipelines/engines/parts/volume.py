"""A volume as a part of a backup: any folder, with its modes, owners, links and empty folders.

A file that cannot be read, that is written each time it is read, or that rotted, ends the backup by its name: a
snapshot that lacks a file nobody named is found on the day it is needed. What cannot be kept at all (sockets, links
that lead out of the volume, extended attributes) is named in the part's facts, and in a warning.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from ops_pipelines.engines.parts._volume_target import VolumeTarget
from ops_pipelines.engines.ports import Capture, Captured, Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.manifest import FileEntry, FolderEntry
from ops_pipelines.policy.volumes import VolumeReading

__all__ = ["ReadVolume", "VolumeSource", "VolumeTarget"]

log = structlog.get_logger()

ReadVolume = Callable[[int, Path, Progress], VolumeReading]
"""Reads one replica of a volume (0 is the first) now; copies of files that change go to the path, a folder."""

_SHOWN = 20

Entry = TypeVar("Entry", FileEntry, FolderEntry)


@dataclass(frozen=True)
class VolumeSource:
    """One volume, all its replicas: each has its own content, below its number where there are several."""

    name: str
    replicas: int
    read: ReadVolume
    may_be_empty: bool = False
    kind: str = "volume"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """All files of all replicas. Raises PartFailed, naming everything that stands in the way."""
        readings = []
        for replica in range(self.replicas):
            folder = scratch / str(replica)
            folder.mkdir()
            readings.append(self.read(replica, folder, progress))
        problems = [problem for reading in readings for problem in self._problems(reading)]
        if problems:
            raise PartFailed("\n".join(problem for problem, _ in problems), remedy=problems[0][1])
        captured: list[Captured] = []
        folders: list[FolderEntry] = []
        for replica, reading in enumerate(readings):
            inner = str(replica) if self.replicas > 1 else ""
            captured += [Captured(_below(inner, file.entry), file.source) for file in reading.files]
            folders += [_below(inner, folder) for folder in reading.folders]
        facts = self._facts(readings)
        for word in ("outside", "special", "attributes", "fuzzy", "appeared"):
            if names := facts.get(word):
                log.warning("volume not kept whole", volume=self.name, what=word, names=names[:_SHOWN])
        return Capture(tuple(captured), facts, folders=tuple(folders))

    def _problems(self, reading: VolumeReading) -> list[tuple[str, str]]:
        """What is wrong, each with what mends it."""
        where = f"volume/{self.name}: {reading.root}"
        found = []
        if not reading.exists:
            found.append(
                (f"{where} is not there", "mount it, correct `path`, or set `backup: none` with its reason")
            )
        elif not reading.files and not self.may_be_empty and len(reading.folders) <= 1:
            found.append(
                (f"{where} is empty", "mount it; where it is empty for good reason, set `may_be_empty: true`")
            )
        if reading.unreadable:
            remedy = "let the user that runs ops-pipelines read them, or leave them out by `exclude`"
            found.append((f"{where}: cannot be read: {_listed(reading.unreadable)}", remedy))
        if reading.unsettled:
            remedy = (
                "stop the writer for the time of the backup (a hook), leave the files out by `exclude`, or accept "
                "copies that may be half old and half new: `changing: fuzzy`"
            )
            found.append((f"{where}: written each time they are read: {_listed(reading.unsettled)}", remedy))
        if reading.rotten:
            remedy = (
                "the disk or its memory is at fault: put the files back from the newest snapshot that holds the "
                "volume; or, where the content of now is right, `touch` them"
            )
            what = "content changed although nothing wrote to it, and is not backed up as good"
            found.append((f"{where}: {what}: {_listed(reading.rotten)}", remedy))
        return found

    def _facts(self, readings: Sequence[VolumeReading]) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "replicas": self.replicas,
            "files": sum(len(reading.files) for reading in readings),
            "excluded": sum(reading.excluded for reading in readings),
            "read": sum(reading.hashed for reading in readings),
            "read_again": sum(reading.again for reading in readings),
        }
        for word in ("fuzzy", "grown", "appeared", "outside", "special", "attributes"):
            if names := [name for reading in readings for name in getattr(reading, word)]:
                facts[word] = names
        return facts


def _below(inner: str, entry: Entry) -> Entry:
    return replace(entry, path=posixpath.normpath(posixpath.join(inner, entry.path)))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{'; '.join(names[:_SHOWN])}{more}"
