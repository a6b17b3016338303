"""The manifest: what one snapshot holds. Written once, last; reading it back checks all of it.

Every part is files under digests. A collection's files are `schema.json` and chunks of rows, a database's
are its dump and its globals; what is not a file (row counts, model names) stands in the part's facts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from ops_pipelines.errors import FormatTooNew, SnapshotDamaged, UsageError
from ops_pipelines.policy.layout import FORMAT

PartKind = Literal["model_cache", "collection", "database", "volume", "bucket", "configuration"]
Consistency = Literal["quiesced", "fuzzy"]


@dataclass(frozen=True)
class FileEntry:
    """One file of a part: its path inside the part, its bytes and their digest."""

    path: str
    size: int
    sha256: str
    mode: int = 0o644
    link: str | None = None
    """Target of a symbolic link, relative to the link's folder; such an entry has no content (size 0)."""


@dataclass(frozen=True)
class Part:
    """One thing that a snapshot holds."""

    kind: PartKind
    name: str
    files: tuple[FileEntry, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What restoring and drilling it needs to know, JSON values only (layout, row count, ...)."""
    consistency: Consistency = "fuzzy"
    started: str = ""
    finished: str = ""

    @property
    def key(self) -> str:
        """How a person names the part: `collection/obelisk_docs`."""
        return f"{self.kind}/{self.name}"

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(entry.size for entry in self.files)


@dataclass(frozen=True)
class Question:
    """A question kept with its answer: the keys of the ten nearest rows at backup time, nearest first."""

    collection: str
    model: str
    text: str
    answer: tuple[str | int, ...]


@dataclass(frozen=True)
class Manifest:
    """What one snapshot holds."""

    snapshot: str
    stack: str
    created: str
    """When it was committed (ISO 8601, UTC)."""
    parts: tuple[Part, ...]
    questions: tuple[Question, ...] = ()
    revision: int | None = None
    """Deployed revision at the time, where one was recorded."""
    declaration: str = ""
    """Digest of the stack's declaration."""
    writer: str = ""
    """Version of this project that wrote it."""
    fence: int = 0
    """Fencing token of the lease under which it was written."""
    uploaded: int = 0
    """Bytes that this snapshot added to the bucket."""
    format: int = FORMAT

    def blobs(self) -> Iterator[tuple[str, int]]:
        """(digest, size) of each blob, once each."""
        seen: set[str] = set()
        for part in self.parts:
            for entry in part.files:
                if entry.link is None and entry.sha256 not in seen:
                    seen.add(entry.sha256)
                    yield entry.sha256, entry.size

    def part(self, key: str) -> Part | None:
        """The part of that key (`kind/name`), or None."""
        return next((part for part in self.parts if part.key == key), None)

    def keys(self, words: Sequence[str] | None = None) -> set[str]:
        """Keys of the parts that words name: a key, or a bare name where only one part has it. None: of all.

        Raises UsageError for a word that names no part.
        """
        if words is None:
            return {part.key for part in self.parts}
        count = Counter(part.name for part in self.parts)
        by_word = {part.name: part.key for part in self.parts if count[part.name] == 1}
        by_word |= {part.key: part.key for part in self.parts}
        if unknown := [word for word in words if word not in by_word]:
            raise UsageError(
                f"the snapshot {self.snapshot} holds no part {', '.join(unknown)}",
                remedy=f"it holds: {', '.join(part.key for part in self.parts)}",
            )
        return {by_word[word] for word in words}

    @property
    def size(self) -> int:
        """Bytes of all parts, as they would lie on disk."""
        return sum(part.size for part in self.parts)


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON, keys sorted, so that equal manifests are equal bytes."""
    return json.dumps(asdict(manifest), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def decode(content: bytes, *, where: str) -> Manifest:
    """The manifest that `content` holds; `where` names it in errors.

    Raises FormatTooNew for a newer layout, SnapshotDamaged for anything that is not a whole, well-formed
    manifest: truncated JSON, a wrong type, a digest that is none, a path that would leave its folder.
    """
    try:
        raw = json.loads(content)
        version = raw["format"]
    except (ValueError, KeyError, TypeError) as error:
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
        manifest = Manifest(parts=parts, questions=questions, **raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(where, str(error)) from error
    return manifest


def _part(raw: dict[str, Any]) -> Part:
    if raw["kind"] not in get_args(PartKind):
        raise ValueError(f"unknown kind of part: {raw['kind']!r}")
    files = tuple(_entry(entry) for entry in raw.pop("files"))
    return Part(files=files, **raw)


def _entry(raw: dict[str, Any]) -> FileEntry:
    entry = FileEntry(**raw)
    safe_path(entry.path)
    if entry.link is not None:
        safe_path(_resolve(entry.path, entry.link))
    elif len(entry.sha256) != 64 or set(entry.sha256) - set("0123456789abcdef"):
        raise ValueError(f"{entry.path!r} has no SHA-256 digest")
    if not isinstance(entry.size, int) or entry.size < 0:
        raise ValueError(f"{entry.path!r} has no size")
    return entry


def safe_path(path: str) -> PurePosixPath:
    """The path, where it stays inside the folder it is put in. Raises ValueError otherwise."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\0" in path or "\\" in path:
        raise ValueError(f"the path {path!r} would leave its folder")
    return pure


def _resolve(path: str, link: str) -> str:
    """Where a relative link points, seen from the part's folder. Raises ValueError where it leaves it."""
    if not link or PurePosixPath(link).is_absolute():
        raise ValueError(f"the link {path!r} -> {link!r} would leave its folder")
    steps: list[str] = list(PurePosixPath(path).parent.parts)
    for step in PurePosixPath(link).parts:
        if step != "..":
            steps.append(step)
        elif steps:
            steps.pop()
        else:
            raise ValueError(f"the link {path!r} -> {link!r} would leave its folder")
    return "/".join(steps)


def _damaged(where: str, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"{where} is damaged: {why}",
        remedy="restore from another snapshot (`ops-pipelines snapshots STACK` lists them)",
    )
