"""The memory of an inventory: digests of files that have not changed since they were read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()
_FORMAT = 1


@dataclass(frozen=True)
class Known:
    """One file as it was when it was read: what `lstat` said, and what was read."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str
    git: str | None = None
    text: str | None = None
    read_at: int = 0
    """When its content was last read (seconds since 1970)."""
    again: bool = False
    """Whether that was a reading without need, to find rot."""
    rotten: str = ""
    """Digest that it was found to have although nothing wrote to it; `sha256` is what it had before."""

    def unchanged(self, now: os.stat_result) -> bool:
        """Whether a file still is the one that was read. A write moves ctime even where mtime is set back."""
        return (self.size, self.mtime_ns, self.ctime_ns, self.inode) == (
            now.st_size,
            now.st_mtime_ns,
            now.st_ctime_ns,
            now.st_ino,
        )


def load(path: Path) -> dict[str, Known]:
    """Known files by path; nothing where the index is not there or cannot be used, which costs a full read."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT:
            raise ValueError(f"format {raw['format']}")
        return {name: _known(fields) for name, fields in raw["files"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("cache index unusable, every file is read again", index=str(path), reason=str(error))
        return {}


def _known(fields: dict[str, Any]) -> Known:
    known = Known(**fields)
    numbers = (known.size, known.mtime_ns, known.ctime_ns, known.inode)
    if not all(isinstance(number, int) for number in numbers) or len(known.sha256) != 64:
        raise ValueError("an entry of it is none")
    return known


def save(path: Path, files: Mapping[str, Known]) -> None:
    """Replace the index in one step. It is a convenience: that it cannot be written is said and no error."""
    content = json.dumps({"format": _FORMAT, "files": {name: asdict(known) for name, known in files.items()}})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as writer:
                writer.write(content)
                writer.flush()
                os.fsync(writer.fileno())
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        log.warning("cache index not written", index=str(path), reason=str(error))
