"""The manifest: what one snapshot holds. Written once, last; reading it back checks all of it.

Every part is files under digests. A collection's files are `schema.json` and chunks of rows, a database's
are its dump and its globals; what is not a file (row counts, model names) stands in the part's facts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from ops_pipelines.errors import FormatTooNew, SnapshotDamaged
from ops_pipelines.policy._manifest_types import (
    Consistency,
    FileEntry,
    FolderEntry,
    HookRun,
    Manifest,
    Part,
    PartKind,
    Plain,
    Question,
)
from ops_pipelines.policy.fingerprints import from_json
from ops_pipelines.policy.layout import FORMAT
from ops_pipelines.policy.manifest_check import check_manifest, check_text
from ops_pipelines.policy.paths import safe_path

__all__ = [
    "Consistency", "FileEntry", "FolderEntry", "HookRun", "Manifest", "Part", "PartKind", "Plain", "Question", "decode",
    "encode", "safe_path",
]  # fmt: skip


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON, keys sorted, so that equal manifests are equal bytes. What is as usual is left out
    of files and folders: there may be millions."""
    raw = {name.name: getattr(manifest, name.name) for name in fields(manifest)}
    raw["parts"] = [_part_to_json(part) for part in manifest.parts]
    raw["secrets"] = None if manifest.secrets is None else asdict(manifest.secrets)
    raw["hooks"] = [asdict(run) for run in manifest.hooks]
    raw["questions"] = [asdict(question) for question in manifest.questions]
    return json.dumps(raw, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _part_to_json(part: Part) -> dict[str, Any]:
    raw = {name.name: getattr(part, name.name) for name in fields(part)}
    raw["files"] = [_entry_to_json(entry) for entry in part.files]
    raw["folders"] = [_entry_to_json(entry) for entry in part.folders]
    raw["hooks"] = [asdict(run) for run in part.hooks]
    return raw


def _entry_to_json(entry: FileEntry | FolderEntry) -> dict[str, Any]:
    usual = _USUAL[type(entry)]
    return {
        name: vars(value) if isinstance(value, Plain) else value
        for name, value in vars(entry).items()
        if value != usual[name]
    }


_USUAL: Mapping[type, Mapping[str, Any]] = {
    kind: {each.name: each.default for each in fields(kind)} for kind in (FileEntry, FolderEntry)
}


def decode(content: bytes, *, where: str) -> Manifest:
    """The manifest that `content` holds; `where` names it in errors.

    Raises FormatTooNew for a newer layout, SnapshotDamaged for anything that is not a whole, well-formed
    manifest, and for one that could do harm (`manifest_check`): the bucket may be somebody else's.
    """
    try:
        check_text(content)
        raw = json.loads(content)
        version = raw["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(where, f"it is not readable as JSON ({error})") from error
    if isinstance(version, int) and version > FORMAT:
        raise FormatTooNew(
            f"{where} has format {version}; this version reads up to {FORMAT}",
            remedy="upgrade ops-pipelines to the version that wrote the snapshot, or a later one",
        )
    try:
        parts = tuple(_part(part) for part in raw.pop("parts"))
        questions = tuple(
            Question(q["collection"], q["model"], q["text"], tuple(q["answer"])) for q in raw.pop("questions")
        )
        prints, hooks = from_json(raw.pop("secrets", None)), _hooks(raw.pop("hooks", ()))
        manifest = Manifest(parts=parts, questions=questions, secrets=prints, hooks=hooks, **raw)
        check_manifest(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(where, str(error)) from error
    return manifest


def _part(raw: dict[str, Any]) -> Part:
    files = tuple(_file(**entry) for entry in raw.pop("files"))
    folders = tuple(FolderEntry(**entry) for entry in raw.pop("folders", ()))
    needs, recipients = _words(raw.pop("needs", ())), _words(raw.pop("recipients", ()))
    hooks = _hooks(raw.pop("hooks", ()))
    return Part(files=files, folders=folders, needs=needs, recipients=recipients, hooks=hooks, **raw)


def _file(*, plain: Mapping[str, Any] | None = None, **raw: Any) -> FileEntry:
    return FileEntry(**raw) if plain is None else FileEntry(**raw, plain=Plain(**plain))


def _words(raw: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(word) for word in raw)


def _hooks(raw: Sequence[Mapping[str, Any]]) -> tuple[HookRun, ...]:
    return tuple(HookRun(**one) for one in raw)


def _damaged(where: str, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"{where} is damaged: {why}",
        remedy="restore from another snapshot (`ops-pipelines snapshots STACK` lists them)",
    )
