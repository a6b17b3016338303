"""Parts of a snapshot as plain files: which are meant, where they may go, and writing one whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from ops_pipelines.engines._blobs import disk_error, file_digest, in_parallel
from ops_pipelines.engines.parts._folders import sync_all, sync_folder
from ops_pipelines.engines.parts._volume_stage import VolumeStager
from ops_pipelines.engines.ports import Fetch, Progress
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part


def chosen_parts(manifest: Manifest, words: Sequence[str] | None) -> list[Part]:
    """Parts by key (`kind/name`), or by name where only one part has it; None means all."""
    wanted = manifest.keys(words)
    return [part for part in manifest.parts if part.key in wanted]


def destination(into: Path, part: Part) -> Path:
    """Where a part goes. Raises UsageError where something is there already."""
    place = into / part.kind / part.name
    if place.is_symlink() or (place.exists() and not (place.is_dir() and not any(place.iterdir()))):
        raise UsageError(
            f"{place} is not empty", remedy="name another folder in --into, or move that one away"
        )
    return place


def free_bytes(into: Path) -> int | None:
    """Bytes that may be written where `into` is, or will be; None where that cannot be said."""
    place = next((path for path in (into, *into.absolute().parents) if path.exists()), None)
    try:
        return shutil.disk_usage(place).free if place is not None else None
    except OSError:
        return None


def write_part(
    part: Part, snapshot: str, into: Path, fetch: Fetch, progress: Progress, *, private: bool = False
) -> dict[str, Any]:
    """Write one part into a folder beside its place, which is then renamed to it; what was written.

    Files that a run which was cut off has brought are not brought again. With `private`,
    only the owner may look into the folder. Raises what `fetch` raises."""
    place = destination(into, part)
    draft = place.with_name(f".{part.name}.{snapshot}.partial")
    try:
        draft.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
        if part.kind == "volume":  # names of any bytes, modes, owners, empty folders
            VolumeStager(draft, None, fetch, progress).fill(part.files, part.folders)
        else:
            _bring(part, draft, fetch, progress)
        sync_all(draft)
        if place.exists():
            place.rmdir()  # empty, or this fails
        draft.rename(place)
        sync_folder(place.parent)
    except OSError as error:
        raise disk_error(error, place, part.size) from error
    return {"part": part.key, "files": len(part.files), "bytes": part.size, "folder": str(place)}


def _bring(part: Part, draft: Path, fetch: Fetch, progress: Progress) -> None:
    """Fetch what is not there yet, some files at once: the folder only counts when all of it is there."""
    done, lock = 0, Lock()

    def one(entry: FileEntry) -> None:
        nonlocal done
        path = draft / entry.path
        if not _is_there(path, entry):
            fetch(entry, path)
        with lock:
            done += entry.size
            progress(f"restore {part.key}", done, part.size, "bytes")

    in_parallel(one, sorted(part.files, key=lambda entry: -entry.size))


def _is_there(path: Path, entry: FileEntry) -> bool:
    """Whether a run that was cut off has brought this file already."""
    if entry.link is not None or path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size == entry.size and file_digest(path) == entry.sha256
