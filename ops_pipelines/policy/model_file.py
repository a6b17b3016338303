"""One model as a file: what its description says, and that it says nothing that could do harm.

The file is a tar: `model.json` first (this description), then `blobs/<sha256>` for each content once, in the order
of the digests. Nothing in it depends on when or where it was made: the same model gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ops_pipelines.errors import FormatTooNew, SnapshotDamaged
from ops_pipelines.policy.cache_layouts import RULES
from ops_pipelines.policy.cache_pick import assembled, notes_of
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.manifest_check import check_part
from ops_pipelines.policy.models import CacheModel

FORMAT = 1
DESCRIPTION = "model.json"
CONTENT = "blobs/"
MOST = 64 << 20
"""Bytes of a description; a longer one is none."""


@dataclass(frozen=True)
class ModelFile:
    """What the file holds."""

    layout: str
    name: str
    revision: str
    files: tuple[FileEntry, ...]
    format: int = FORMAT

    @property
    def contents(self) -> dict[str, int]:
        """Bytes by digest, in the order in which they lie in the file."""
        return dict(sorted((entry.sha256, entry.size) for entry in self.files if entry.link is None))

    @property
    def size(self) -> int:
        """Bytes of all content."""
        return sum(self.contents.values())


def encode(described: ModelFile) -> bytes:
    """The description as JSON; equal descriptions are equal bytes."""
    content = json.dumps(asdict(described), sort_keys=True, ensure_ascii=False, indent=1)
    return content.encode()


def decode(content: bytes, *, where: str) -> ModelFile:
    """The description in `content`. Raises FormatTooNew, or SnapshotDamaged for what is not whole or not safe."""
    try:
        raw: dict[str, Any] = json.loads(content)
        version = raw["format"]
        if isinstance(version, int) and version > FORMAT:
            raise FormatTooNew(
                f"{where} has format {version}; this version reads up to {FORMAT}",
                remedy="upgrade ops-pipelines to the version that wrote it, or a later one",
            )
        files = tuple(FileEntry(**entry) for entry in raw.pop("files"))
        described = ModelFile(files=files, **raw)
        if described.layout not in RULES or not isinstance(described.name, str) or not described.name:
            raise ValueError(f"unknown layout {described.layout!r} or no name")
        check_part(Part("model_cache", "model", files))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(where, f"its description cannot be read ({error})") from error
    return described


def notes_in(described: ModelFile) -> tuple[FileEntry, ...]:
    """Entries whose text `check_model` asks for."""
    return notes_of(described.layout, described.files)


def check_model(described: ModelFile, texts: Mapping[str, str], *, where: str) -> CacheModel:
    """The one whole model that the files make, where it is the one that is described. Raises SnapshotDamaged.

    `texts` is the content of the notes: a file that claims to be another model than its manifest makes it is
    refused before anything is written."""
    role = RULES[described.layout].role
    if odd := [entry.path for entry in described.files if role(entry.path) != "content"]:
        raise _damaged(where, f"{odd[0]} is no file of a model")
    made = assembled(described.layout, described.files, texts)
    found = [
        model for model in made.models if (model.name, model.revision) == (described.name, described.revision)
    ]
    if len(found) != 1 or len({model.name for model in made.models}) != 1:
        what = ", ".join(f"{model.name}@{model.revision}" for model in made.models) or "no model"
        raise _damaged(where, f"it says {described.name}@{described.revision} and holds {what}")
    if bad := [file for file in made.files if file.corrupt]:
        raise _damaged(where, f"{bad[0].path} is listed with a content that its name does not promise")
    if not found[0].complete:
        raise _damaged(where, f"{found[0].name} is not whole: {', '.join(found[0].missing[:3])} is not in it")
    return found[0]


def described(layout: str, model: CacheModel, entries: Sequence[FileEntry]) -> ModelFile:
    """The description of one model."""
    return ModelFile(layout, model.name, model.revision, tuple(sorted(entries, key=lambda entry: entry.path)))


def _damaged(where: str, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"{where} is damaged, or no model file: {why}",
        remedy="export the model again; nothing was changed",
    )
