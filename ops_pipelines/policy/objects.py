"""Objects of a bucket that is a part of a stack: what is known of them, and which of them a restore must write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops_pipelines.policy.manifest import FileEntry, Part, Plain
from ops_pipelines.policy.paths import decoded_key
from ops_pipelines.policy.store import ObjectInfo

Headers = Mapping[str, Any]
"""What an object is served with (ContentType, CacheControl, ...), and its own `Metadata`, in boto3's words."""

HEADERS = (
    "ContentType", "ContentEncoding", "ContentDisposition", "ContentLanguage", "CacheControl", "Metadata",
)  # fmt: skip
_USUAL_TYPES = ("binary/octet-stream", "application/octet-stream")


@dataclass(frozen=True)
class Sealed:
    """What an object is in the backups' bucket where it lies encrypted there."""

    size: int
    sha256: str
    recipients: tuple[str, ...]
    """Whom it is encrypted for."""


@dataclass(frozen=True)
class KnownObject:
    """One object as it was when it was read."""

    size: int
    etag: str
    modified: str
    """When the store says that it was written (ISO 8601, UTC)."""
    sha256: str
    headers: Headers = field(default_factory=dict)
    sealed: Sealed | None = None
    """Its ciphertext; None where it is stored in clear."""

    @property
    def blob(self) -> tuple[str, int]:
        """Digest and bytes of what is stored of it."""
        return (self.sha256, self.size) if self.sealed is None else (self.sealed.sha256, self.sealed.size)

    def entry(self, path: str) -> FileEntry:
        """The object as a file of its part."""
        digest, size = self.blob
        plain = None if self.sealed is None else Plain(self.size, self.sha256)
        return FileEntry(path, size, digest, plain=plain)

    def sealed_for(self, recipients: Sequence[str]) -> bool:
        """Whether it is stored as it is to be stored: for exactly those, or in clear where there are none."""
        return set(self.sealed.recipients if self.sealed else ()) == set(recipients)

    def unchanged(self, now: ObjectInfo) -> bool:
        """Whether the object still is the one that was read: any write gives another ETag or time."""
        return (self.size, self.etag, self.modified) == (now.size, now.etag, now.modified.isoformat())


def kept_headers(answer: Mapping[str, Any]) -> Headers:
    """Of a store's answer, what a restore gives back; what every object has anyway is left out."""
    found = {name: answer[name] for name in HEADERS if answer.get(name)}
    if found.get("ContentType") in _USUAL_TYPES:
        del found["ContentType"]
    return found


def headers_to_facts(headers: Mapping[str, Headers]) -> dict[str, Any]:
    """Facts that hold each path's headers: the commonest once, the others by path."""
    if not any(headers.values()):
        return {}
    texts = Counter(repr(sorted(each.items())) for each in headers.values())
    commonest = texts.most_common(1)[0][0]
    usual = next(each for each in headers.values() if repr(sorted(each.items())) == commonest)
    others = {path: dict(each) for path, each in headers.items() if each != usual}
    return {"usual_headers": dict(usual), "headers": others}


def headers_of(part: Part, path: str) -> Headers:
    """Headers of one object of a part. What is none is left out: the manifest may be somebody else's."""
    others = part.facts.get("headers")
    found = others.get(path) if isinstance(others, Mapping) else None
    found = part.facts.get("usual_headers") if found is None else found
    if not isinstance(found, Mapping):
        return {}
    plain = {name: str(found[name]) for name in HEADERS if name != "Metadata" and name in found}
    own = found.get("Metadata")
    if isinstance(own, Mapping):
        return {**plain, "Metadata": {str(name): str(value) for name, value in own.items()}}
    return plain


@dataclass(frozen=True)
class Differences:
    """A part against the objects that are there."""

    missing: tuple[FileEntry, ...]
    other: tuple[FileEntry, ...]
    """There, and with another content, or one that nobody knows."""
    same: tuple[FileEntry, ...]
    beside: int
    """Objects that the part does not hold; a restore leaves them."""

    @property
    def needed(self) -> tuple[FileEntry, ...]:
        """What a restore writes."""
        return (*self.missing, *self.other)


def differences(
    files: Sequence[FileEntry], prefix: str, live: Mapping[str, ObjectInfo], digests: Mapping[str, str]
) -> Differences:
    """What a restore would write below a prefix. `live` is what is there, `digests` what is known of it, by key."""
    missing, other, same = [], [], []
    keys = set()
    for entry in files:
        key = prefix + decoded_key(entry.path)
        keys.add(key)
        found = live.get(key)
        if found is None:
            missing.append(entry)
        elif found.size == entry.size and digests.get(key) == entry.sha256:
            same.append(entry)
        else:
            other.append(entry)
    beside = sum(1 for key in live if key not in keys)
    return Differences(tuple(missing), tuple(other), tuple(same), beside)


def beside(prefix: str, word: str, kind: str) -> str:
    """Prefix of what a restore keeps beside a prefix: `events/` -> `events.restore-WORD/`."""
    return f"{prefix.rstrip('/')}.{kind}-{word}/"


def is_ours(prefix: str, key: str) -> bool:
    """Whether a key below a prefix belongs to a restore (only where the prefix is the whole bucket)."""
    return not prefix and key.startswith((".restore-", ".before-", ".restores/"))


def digest_lines(files: Iterable[FileEntry]) -> str:
    """Text that is equal for equal content."""
    return "".join(sorted(f"{entry.path}\0{entry.sha256}\n" for entry in files))
