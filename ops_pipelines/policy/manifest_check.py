"""What a manifest must be before anything is restored by it. It is read from a bucket that others may write to.

Refused are paths and links that would lead out of their folder, paths that are one another's folder or are
there twice, digests and numbers that are none, and more of anything than a backup can have written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import get_args

from ops_pipelines.policy._manifest_types import Consistency, FileEntry, FolderEntry, Manifest, Part, PartKind
from ops_pipelines.policy.paths import (
    decoded_key,
    decoded_name,
    leaves,
    leaving,
    link_target,
    safe_path,
)

LARGEST_MANIFEST = 1 << 30
"""Bytes: four million files, each with a long path."""
MOST_FILES = 10_000_000
LARGEST_FILE = 1 << 50
"""Bytes; S3 takes objects of 50 TB at most."""
_IDS = 2**32 - 1
_TIMES = 2**63
_HEX = frozenset("0123456789abcdef")


def check_text(content: bytes) -> None:
    """Raise ValueError where a manifest is too large to be read into memory."""
    if len(content) > LARGEST_MANIFEST:
        raise ValueError(f"{len(content)} bytes, more than the {LARGEST_MANIFEST} of any manifest")


def check_manifest(manifest: Manifest) -> None:
    """Raise ValueError with the first thing that is wrong."""
    if twice := [key for key, count in Counter(part.key for part in manifest.parts).items() if count > 1]:
        raise ValueError(f"it holds {twice[0]} twice")
    if (count := sum(len(part.files) + len(part.folders) for part in manifest.parts)) > MOST_FILES:
        raise ValueError(f"{count} files, more than the {MOST_FILES} of any snapshot")
    sizes: dict[str, int] = {}
    for part in manifest.parts:
        check_part(part)
        for entry in part.files:
            if entry.link is None and sizes.setdefault(entry.sha256, entry.size) != entry.size:
                raise ValueError(f"{entry.path!r} of {part.key} and another file share a digest, not a size")


def check_part(part: Part) -> None:
    """Raise ValueError with the first thing that is wrong with a part."""
    if part.kind not in get_args(PartKind):
        raise ValueError(f"unknown kind of part: {part.kind!r}")
    if part.consistency not in get_args(Consistency):
        raise ValueError(f"unknown consistency: {part.consistency!r}")
    if not isinstance(part.facts, Mapping):
        raise ValueError(f"the facts of {part.name!r} are no mapping")  # noqa: TRY004 - one error for all
    name = str(safe_path(part.name))
    if "/" in name or name.startswith("."):
        raise ValueError(f"a part is named {name[:80]!r}")
    for entry in part.files:
        _check_file(part, entry)
    for folder in part.folders:
        _check_folder(part, folder)
    _check_tree(part)


def _check_file(part: Part, entry: FileEntry) -> None:
    safe_path(entry.path)
    if entry.path == ".":
        raise ValueError("a file is named '.'")
    _check_names(part, entry.path)
    _check_owner(entry)
    if not _number(entry.size, LARGEST_FILE):
        raise ValueError(f"{entry.path!r} has the size {entry.size!r}")
    if entry.link is not None:
        link_target(entry.path, entry.link)
        _check_names(part, entry.link)
        if entry.size:
            raise ValueError(f"the link {entry.path!r} has a size")
    elif not _is_digest(entry.sha256):
        raise ValueError(f"{entry.path!r} has no SHA-256 digest")
    if entry.plain is not None:
        if not part.recipients or entry.link is not None:
            raise ValueError(f"{entry.path!r} is encrypted, and for nobody")
        if not _is_digest(entry.plain.sha256) or not _number(entry.plain.size, LARGEST_FILE):
            raise ValueError(f"{entry.path!r} has no digest or size of what is encrypted")


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - _HEX


def _check_folder(part: Part, folder: FolderEntry) -> None:
    safe_path(folder.path)
    _check_names(part, folder.path)
    _check_owner(folder)


def _check_names(part: Part, path: str) -> None:
    """In volumes and buckets, a path stands in percent form: the one form of what it stands for."""
    if part.kind == "bucket":
        decoded_key(path)
    elif part.kind == "volume" and "\0" in decoded_name(path):
        raise ValueError(f"the path {path[:200]!r} holds a NUL")


def _check_owner(entry: FileEntry | FolderEntry) -> None:
    if not _number(entry.mode, 0o7777):
        raise ValueError(f"{entry.path!r} has the mode {entry.mode!r}")
    for number in (entry.uid, entry.gid):
        if number is not None and not _number(number, _IDS - 1):
            raise ValueError(f"{entry.path!r} has the owner {number!r}")
    if entry.mtime_ns is not None and not _number(abs(entry.mtime_ns), _TIMES):
        raise ValueError(f"{entry.path!r} has the time {entry.mtime_ns!r}")


def _number(value: object, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _check_tree(part: Part) -> None:
    """Each path once, nothing below a file or a link, no chain of links that leads out."""
    files = {entry.path for entry in part.files}
    folders = {folder.path for folder in part.folders}
    if len(files) != len(part.files) or len(folders) != len(part.folders):
        raise ValueError(f"{part.key} holds a path twice")
    if both := files & folders:
        raise ValueError(f"{min(both)!r} of {part.key} is a file and a folder")
    good = {""}
    for path in (*files, *folders):
        above = path.rpartition("/")[0]
        while above not in good:
            if above in files:
                raise ValueError(f"{path!r} of {part.key} lies below {above!r}, which is no folder")
            good.add(above)
            above = above.rpartition("/")[0]
    links = {entry.path: entry.link for entry in part.files if entry.link is not None}
    for path in leaving(links):
        raise leaves(path, links[path])
