"""Walk a volume without following links: what is in it, and what of that cannot be kept."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass, field
from pathlib import Path
from re import Pattern

from ops_pipelines.policy.paths import coded_name, leaving

_QUIET = ("security.selinux",)
"""Attributes that the system gives by itself, and gives again."""


@dataclass
class VolumeWalk:
    """What a volume holds, by path below its top (as the system spells it), before anything is read."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    links: dict[str, tuple[str, os.stat_result]] = field(default_factory=dict)
    folders: dict[str, os.stat_result] = field(default_factory=dict)
    special: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    excluded: int = 0


def walk_volume(root: Path, given: Path, exclude: Pattern[str] | None) -> VolumeWalk:
    """Everything below `root`, which is resolved; `given` is how it was named, which links may use."""
    walk = VolumeWalk()
    walk.folders["."] = root.stat()
    todo = [""]
    while todo:
        folder = todo.pop()
        try:
            entries = list(os.scandir(root / folder))
        except FileNotFoundError:
            walk.folders.pop(folder, None)  # gone since its parent was listed
            continue
        except OSError as error:
            walk.unreadable.append(f"{coded_name(folder or '.')}: {error.strerror}")
            continue
        for entry in entries:
            path = posixpath.join(folder, entry.name)
            if exclude is not None and exclude.fullmatch(path):
                walk.excluded += 1
                continue
            try:
                if _take(walk, path, entry):
                    todo.append(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                walk.unreadable.append(f"{coded_name(path)}: {error.strerror}")
    _keep_inside(walk, (root, given.absolute()))
    return walk


def _take(walk: VolumeWalk, path: str, entry: os.DirEntry[str]) -> bool:
    """Note one entry of a folder. True for a folder."""
    found = entry.stat(follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        walk.folders[path] = found
    elif stat.S_ISLNK(found.st_mode):
        walk.links[path] = (os.readlink(entry.path), found)
    elif stat.S_ISREG(found.st_mode):
        walk.files[path] = found
    else:
        walk.special.append(coded_name(path))
        return False
    if _attributes(entry.path):
        walk.attributes.append(coded_name(path))
    return stat.S_ISDIR(found.st_mode)


def _attributes(path: str) -> bool:
    try:
        return any(name not in _QUIET for name in os.listxattr(path, follow_symlinks=False))
    except (OSError, AttributeError):  # a file system, or a system, without them
        return False


def _keep_inside(walk: VolumeWalk, roots: tuple[Path, Path]) -> None:
    """Make absolute links into the volume relative, and take out those that lead out of it."""
    for path, (target, found) in list(walk.links.items()):
        inside = next((base for base in roots if _below(target, str(base))), None)
        if inside is not None:
            here = posixpath.dirname(path) or "."
            walk.links[path] = (posixpath.relpath(posixpath.relpath(target, inside), here), found)
    # Without the first ones that leave, others may no longer lead through them, and still not be right to keep.
    for path in leaving({path: target for path, (target, _) in walk.links.items()}):
        walk.outside.append(f"{coded_name(path)} -> {coded_name(walk.links.pop(path)[0])}")


def _below(target: str, root: str) -> bool:
    return target == root or target.startswith(f"{root.rstrip('/')}/")
