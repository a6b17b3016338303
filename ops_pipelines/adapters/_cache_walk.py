"""Walk a folder without following links, and say what in it is odd."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ops_pipelines.policy.manifest import safe_path
from ops_pipelines.policy.one_off import is_spare
from ops_pipelines.policy.plan import Finding


@dataclass
class Walked:
    """What the folder holds, before anything is read."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)


def walk(root: Path, given: Path, *, free_names: bool) -> Walked:
    """All files and links below `root`, which is resolved; `given` is how it was named, which links may use.

    With `free_names` any name may belong to a model, so that one that cannot be kept is an error."""
    walked = Walked()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except FileNotFoundError:
            continue  # gone since its parent was listed
        except OSError as error:
            walked.problems.append(unreadable(folder or ".", error))
            continue
        for entry in entries:
            if not folder and is_spare(entry.name):
                continue  # a restore's, where the cache is all of a volume
            path = posixpath.join(folder, entry.name)
            try:
                found = entry.stat(follow_symlinks=False)
                if problem := _odd_name(path, free_names):
                    walked.problems.append(problem)
                elif stat.S_ISDIR(found.st_mode):
                    folders.append(path)
                elif stat.S_ISLNK(found.st_mode):
                    _add_link(walked, path, os.readlink(entry.path), (root, given.absolute()))
                elif stat.S_ISREG(found.st_mode):
                    walked.files[path] = found
                else:
                    walked.problems.append(_special(path))
            except FileNotFoundError:
                continue  # a download that was finished or dropped in between
            except OSError as error:
                walked.problems.append(unreadable(path, error))
    return walked


def _add_link(walked: Walked, path: str, target: str, roots: tuple[Path, Path]) -> None:
    """Note a link by where it points inside the cache; one that leaves it is a problem."""
    here = posixpath.dirname(path)
    link = target
    if posixpath.isabs(target):
        inside = [os.path.relpath(target, base) for base in roots]
        resolved = min(inside, key=lambda one: one.startswith(".."))
        link = posixpath.relpath(resolved, here or ".")
    else:
        resolved = posixpath.normpath(posixpath.join(here, target))
    if resolved == ".." or resolved.startswith("../"):
        walked.problems.append(
            Finding(
                subject=path,
                ok=False,
                message=f"the link {path} points out of the cache, to {target}: its content is not part of it",
                remedy="move the content into the cache, or declare the folder that it lies in as a cache",
            )
        )
    else:
        walked.links[path] = link


def _odd_name(path: str, free_names: bool) -> Finding | None:
    try:
        path.encode("utf-8")
        safe_path(path)
    except (UnicodeEncodeError, ValueError):
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return Finding(
            subject=shown,
            ok=False,
            message=f"the name {shown} is no UTF-8 text or holds a backslash: it cannot be kept in a snapshot",
            remedy="rename it; neither ollama nor the hub writes such names",
            severity="error" if free_names else "warning",
        )
    return None


def unreadable(path: str, error: OSError) -> Finding:
    """A file or folder that is there and cannot be read."""
    return Finding(
        subject=path,
        ok=None,
        message=f"{path} cannot be read: {error.strerror or error}",
        remedy="let the user that runs ops-pipelines read it; where the disk is at fault, restore the cache",
    )


def _special(path: str) -> Finding:
    return Finding(
        subject=path,
        ok=False,
        message=f"{path} is a pipe, a socket or a device, and no part of a model",
        remedy="delete it if nobody misses it",
        severity="warning",
    )
