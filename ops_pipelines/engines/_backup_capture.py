"""One part of a live stack as a backup takes it: read, and refused where it could not be restored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from ops_pipelines.engines._blobs import Upload, disk_error
from ops_pipelines.engines.ports import Capture, Clock, PartSource, Progress
from ops_pipelines.errors import LeaseLost, OpsError, PartFailed
from ops_pipelines.policy.manifest import Consistency, Part, PartKind

COUNTS = ("rows", "files", "models", "objects")
"""Facts of which one must be 0 (or empty) where a part holds no content."""


@dataclass(frozen=True)
class Taken:
    """A part that was read, and what is to be done with its content."""

    part: Part
    capture: Capture

    @property
    def files(self) -> list[Upload]:
        """What is to be stored."""
        key = self.part.key
        return [
            Upload(key, one.entry, one.source, one.promise)
            for one in self.capture.files
            if one.source is not None
        ]

    def lies_in(self, folder: Path) -> bool:
        """Whether all of it is our own copy by now: nobody need hold the part still for it."""
        return all(file.source.is_relative_to(folder) for file in self.files)


def capture_part(source: PartSource, folder: Path, clock: Clock, progress: Progress) -> Taken:
    """Read one part; what must be made is made below `folder`.

    Raises PartFailed that names the part where it cannot be read or is nothing that could be restored, LeaseLost."""
    key = f"{source.kind}/{source.name}"
    started = clock().isoformat()
    capture = _read(source, key, folder, progress)
    _check(key, source.kind, capture)
    part = Part(
        kind=cast(PartKind, source.kind),
        name=source.name,
        files=tuple(captured.entry for captured in capture.files),
        facts=capture.facts,
        consistency=cast(Consistency, capture.consistency),
        started=started,
        finished=clock().isoformat(),
        folders=capture.folders,
        recipients=capture.recipients,
    )
    return Taken(part, capture)


def _read(source: PartSource, key: str, folder: Path, progress: Progress) -> Capture:
    try:
        return source.capture(folder, progress)
    except (LeaseLost, PartFailed):
        raise
    except OpsError as error:
        raise PartFailed(f"{key} cannot be read: {error.message}", remedy=error.remedy) from error
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(folder)):
            raise PartFailed(
                f"{key}: {error.filename} cannot be read: {error.strerror}",
                remedy="check that it is there and may be read, and take the backup again",
            ) from error
        raise disk_error(error, folder / "scratch", 0) from error


def _check(key: str, kind: str, capture: Capture) -> None:
    """Refuse what could not be restored, and emptiness that nobody declared."""
    problem = ""
    paths = [captured.entry.path for captured in capture.files]
    twice = {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else set()
    bare = [
        one.entry.path
        for one in capture.files
        if (one.source is None) != (one.entry.link is not None or one.stored is not None)
    ]
    if twice:
        problem = f"gave the file {min(twice)} twice"
    elif bare:
        problem = f"gave no content for {bare[0]}"
    elif not capture.files and not capture.facts:
        problem = "gave nothing at all"
    elif not _may_be_empty(kind, capture) and not any(one.entry.opened.size for one in capture.files):
        problem = "gave no content, and does not say that it is empty"
    elif capture.consistency not in get_args(Consistency):
        problem = f"has an unknown consistency: {capture.consistency!r}"
    else:
        try:
            json.dumps(dict(capture.facts), allow_nan=False)
        except (TypeError, ValueError) as error:
            problem = f"has facts that JSON cannot hold ({error})"
    if problem:
        raise PartFailed(f"{key} {problem}", remedy="look whether what it reads from is there and whole")


def _may_be_empty(kind: str, capture: Capture) -> bool:
    said = any(name in capture.facts and not capture.facts[name] for name in COUNTS)
    return said or (kind in ("volume", "bucket") and bool(capture.files))
