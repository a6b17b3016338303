"""What a manifest is made of: parts, their files and folders, and the questions kept with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.fingerprints import Fingerprints
from ops_pipelines.policy.layout import FORMAT

PartKind = Literal["model_cache", "collection", "database", "volume", "bucket", "configuration", "secrets"]
Consistency = Literal["quiesced", "fuzzy"]


@dataclass(frozen=True)
class Plain:
    """What an encrypted file is once it is opened: its bytes and their digest."""

    size: int
    sha256: str


@dataclass(frozen=True)
class FileEntry:
    """One file of a part: its path inside the part, its bytes and their digest, as they lie in the bucket."""

    path: str
    size: int
    sha256: str
    mode: int = 0o644
    link: str | None = None
    """Target of a symbolic link, relative to the link's folder; such an entry has no content (size 0)."""
    uid: int | None = None
    """Number of its owner, and of its group, where they are kept (volumes)."""
    gid: int | None = None
    mtime_ns: int | None = None
    """When its content was last written (nanoseconds since 1970), where that is kept."""
    sparse: bool = False
    """True where it took less room on the disk than its size: a restore leaves its zeros out again."""
    plain: Plain | None = None
    """Where its bytes are encrypted: the file inside."""

    @property
    def opened(self) -> FileEntry:
        """The file as the part had it, and as it is restored: without its encryption."""
        if self.plain is None:
            return self
        return replace(self, size=self.plain.size, sha256=self.plain.sha256, plain=None)


@dataclass(frozen=True)
class FolderEntry:
    """One folder of a volume, so that empty ones come back, and all with their modes. `.` is the volume's own."""

    path: str
    mode: int = 0o755
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True)
class HookRun:
    """One command or request that ran before or after a part was read."""

    when: Literal["before", "after"]
    what: str
    at: str
    """When it began (ISO 8601, UTC)."""
    seconds: float
    ok: bool


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
    folders: tuple[FolderEntry, ...] = ()
    """Folders whose modes are kept; others are made as files need them."""
    needs: tuple[str, ...] = ()
    """Names of the secrets without which its content cannot be read (a database's encryption key)."""
    recipients: tuple[str, ...] = ()
    """Age recipients that its files are encrypted for; none where they lie in clear."""
    hooks: tuple[HookRun, ...] = ()
    """What quiesced it, and let it go."""

    @property
    def opened(self) -> Part:
        """The part as it was, and as it is restored: without its encryption."""
        return replace(self, files=tuple(entry.opened for entry in self.files)) if self.recipients else self

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
    secrets: Fingerprints | None = None
    """Fingerprints of the secrets that its parts need; never a value."""
    hooks: tuple[HookRun, ...] = ()
    """What quiesced the whole stack, and let it go."""
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
        """Keys of the parts that words name: a key, a bare name where only one part has it, or a kind, which means
        all parts of it. None: of all.

        Raises UsageError for a word that names no part.
        """
        if words is None:
            return {part.key for part in self.parts}
        count = Counter(part.name for part in self.parts)
        by_word: dict[str, set[str]] = {}
        for part in self.parts:
            by_word.setdefault(part.kind, set()).add(part.key)
        by_word |= {part.name: {part.key} for part in self.parts if count[part.name] == 1}
        by_word |= {part.key: {part.key} for part in self.parts}
        if unknown := [word for word in words if word not in by_word]:
            raise UsageError(
                f"the snapshot {self.snapshot} holds no part {', '.join(unknown)}",
                remedy=f"it holds: {', '.join(part.key for part in self.parts)}",
            )
        return {key for word in words for key in by_word[word]}

    @property
    def size(self) -> int:
        """Bytes of all parts, as they would lie on disk."""
        return sum(part.size for part in self.parts)
