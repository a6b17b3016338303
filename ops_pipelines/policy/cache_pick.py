"""One model of many: which files of a snapshot's part make it, and which model a person means by a word.

A part lists files; what makes models of them is the layout's rules, so that snapshots written before there was
such a question answer it too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from ops_pipelines.errors import SnapshotDamaged, UsageError
from ops_pipelines.policy.cache_directory import WHOLE
from ops_pipelines.policy.cache_hub import SHARED_MARKER
from ops_pipelines.policy.cache_layouts import RULES
from ops_pipelines.policy.cache_names import shown_name
from ops_pipelines.policy.cache_parts import Assembled, short
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.models import CacheModel, Inventory, Seen

NOTE_SIZE = 16 << 20
"""Notes beyond this size are no manifests."""
_PREFIX = 7
"""Digits of a revision that are enough to name it, as git has it."""


def layout_of(part: Part) -> str:
    """The layout of a cache in a snapshot. Raises SnapshotDamaged where it is none that is known."""
    layout = part.facts.get("layout")
    if layout not in RULES:
        raise SnapshotDamaged(
            f"{part.key} has the layout {layout!r}, which this version does not know",
            remedy="upgrade ops-pipelines, or restore another snapshot",
        )
    return str(layout)


def notes_of(layout: str, entries: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    """Entries whose text must be read before it can be said which files make which model."""
    wanted = RULES[layout].notes({entry.path: entry.link for entry in entries})
    return tuple(
        entry for entry in entries if entry.path in wanted and entry.link is None and entry.size <= NOTE_SIZE
    )


def assembled(layout: str, entries: Sequence[FileEntry], texts: Mapping[str, str]) -> Assembled:
    """Files and models of a part; `texts` is the content of its notes by path."""
    seen = {
        entry.path: Seen(
            entry.path, entry.size, entry.sha256, link=entry.link, mode=entry.mode, text=texts.get(entry.path)
        )
        for entry in entries
    }
    return RULES[layout].assemble(seen, ())


def choose(models: Sequence[CacheModel], word: str, layout: str, *, where: str) -> CacheModel:
    """The model that a word names: `llama3:8b`, `org/repo`, or either with `@` and a revision, tag or its beginning.

    Of several revisions without a word for it, the one that `main` points at is meant. Raises UsageError, which
    lists what there is."""
    name, _, revision = word.partition("@")
    name = shown_name(name) if layout == "ollama" and name else name
    named = [model for model in models if model.name == name]
    if not named:
        have = [model.name for model in models]
        near = difflib.get_close_matches(name, have, 1)
        raise UsageError(
            f"{where} holds no model {name}" + (f"; did you mean {near[0]}?" if near else ""),
            remedy=f"it holds: {', '.join(sorted(set(have))) or 'none'}",
        )
    found = [model for model in named if _is_revision(model, revision)]
    if not revision and len(found) > 1:
        found = [model for model in found if "main" in model.tags] or found
    if len(found) != 1:
        listed = ", ".join(f"{name}@{short(model.revision)}" for model in named)
        raise UsageError(f"{word} of {where} names {len(found)} revisions", remedy=f"name one: {listed}")
    return found[0]


def _is_revision(model: CacheModel, revision: str) -> bool:
    if not revision or revision in model.tags:
        return True
    digits = re.sub(r"^sha256[:-]", "", revision)
    return len(digits) >= _PREFIX and model.revision.startswith(digits)


def entries_of(model: CacheModel, layout: str, entries: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    """The files and links that one model needs, in the order of the part."""
    paths = set(model.files)
    if layout == "huggingface" and any(path.startswith("blobs/") for path in paths):
        paths.add(SHARED_MARKER)
    return tuple(entry for entry in entries if entry.path in paths)


def entries_here(inventory: Inventory) -> tuple[FileEntry, ...]:
    """The files of a live cache, as a snapshot would list them."""
    return tuple(
        FileEntry(file.path, file.size, file.sha256, file.mode & 0o777, file.link) for file in inventory.files
    )


def folder_of(model: CacheModel) -> str:
    """Folder of a model in a cache of plain directories; empty where the whole cache is one model."""
    return "" if model.name == WHOLE else model.name
