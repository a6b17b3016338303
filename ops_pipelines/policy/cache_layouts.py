"""What the files of a model cache mean: one module a layout, one table of them.

A scan lists the paths of a cache, asks `notes` which small files it must hand over as text and `role` what to
make of each path, reads the content, and gets files with promised digests and models back from `assemble`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ops_pipelines.policy import cache_directory, cache_hub, cache_ollama
from ops_pipelines.policy.cache_parts import Assembled
from ops_pipelines.policy.models import Inventory, Seen

Role = Literal["content", "partial", "transient"]
"""`partial`: a download that was not finished, never read. `transient`: locks, of no meaning to anybody else."""


@dataclass(frozen=True)
class CacheRules:
    """How one layout is read and written."""

    role: Callable[[str], Role]
    notes: Callable[[Mapping[str, str | None]], frozenset[str]]
    """Of all paths (with the targets of links), those whose text says how files make models."""
    wants_git: Callable[[str, int], bool]
    """Whether the file of that path and size may be promised by a git blob id."""
    assemble: Callable[[Mapping[str, Seen], Iterable[str]], Assembled]
    """Files and models of what was seen; the second argument is the paths of unfinished downloads."""
    is_blob: Callable[[str], bool]
    """Whether a path is content under its digest, which only a model gives a meaning."""
    promised: Callable[[str], str]
    """SHA-256 that a path's own name promises, or nothing."""
    order: Callable[[str], int]
    """Rank in which files are put back: content first, what makes a model of it last."""


RULES: Mapping[str, CacheRules] = {
    name: CacheRules(
        rules.role, rules.notes, rules.wants_git, rules.assemble, rules.is_blob, rules.promised, rules.order
    )
    for name, rules in (
        ("ollama", cache_ollama),
        ("huggingface", cache_hub),
        ("directory", cache_directory),
    )
}


@dataclass(frozen=True)
class Kept:
    """What of an inventory a backup takes."""

    paths: frozenset[str]
    incomplete: tuple[str, ...]
    """Models that are left out because something of them is not there."""
    unreferenced: tuple[str, ...]
    """Content that no model uses: ollama deletes it at its next start, a hub cache only keeps it."""


def kept(inventory: Inventory) -> Kept:
    """The files of all complete models, and those that belong to no model and are no content of one.

    A pull that is under way is left out whole: its model has no manifest or no snapshot yet.
    """
    whole = [model for model in inventory.models if model.complete]
    taken = {path for model in whole for path in model.files}
    broken = {path for model in inventory.models if not model.complete for path in model.files} - taken
    others = [file for file in inventory.files if file.path not in taken and file.path not in broken]
    is_blob = RULES[inventory.layout].is_blob
    loose = tuple(file.path for file in others if is_blob(file.path))
    return Kept(
        paths=frozenset(taken | {file.path for file in others} - set(loose)),
        incomplete=tuple(model.name for model in inventory.models if not model.complete),
        unreferenced=loose,
    )
