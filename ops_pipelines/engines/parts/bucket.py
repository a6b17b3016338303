"""A bucket of a stack as a part of a backup: every object below a prefix, under its digest.

Content goes to the backups' bucket object by object while it is read, so that the disk holds a few objects at a
time and not all of them. An object whose ETag, size and time are those of the last backup is not read again. Where it
is to be encrypted, each object is so before it is stored, and none is copied by the store itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from re import Pattern
from threading import Lock
from typing import Any, Literal, Protocol

import structlog

from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.parts.encrypted import Sealer, seal_file
from ops_pipelines.engines.ports import Capture, Captured, Progress
from ops_pipelines.errors import ObjectMissing, PartFailed, PreconditionFailed
from ops_pipelines.policy.manifest import Plain
from ops_pipelines.policy.objects import Headers, KnownObject, Sealed, headers_to_facts, is_ours
from ops_pipelines.policy.paths import coded_keys
from ops_pipelines.policy.store import ObjectInfo

log = structlog.get_logger()

ATTEMPTS = 3


class Objects(Protocol):
    """The objects of one bucket."""

    @property
    def name(self) -> str: ...
    def list(self, prefix: str) -> Iterator[ObjectInfo]: ...
    def head(self, key: str) -> tuple[ObjectInfo, Headers] | None: ...
    def read(self, key: str, etag: str) -> tuple[Headers, Iterator[bytes]]: ...
    def get(self, key: str) -> bytes: ...
    def put(self, key: str, body: bytes) -> None: ...
    def write(self, key: str, path: Path, sha256: str, headers: Headers) -> None: ...
    def copy(self, source: str, key: str) -> None: ...
    def delete(self, keys: Sequence[str]) -> None: ...


class Deposit(Protocol):
    """Where content goes while a part is read: the backups' bucket."""

    def there(self, sizes: Mapping[str, int]) -> Collection[str]:
        """Those digests (digest -> bytes) whose content is stored already."""
        ...

    def keep(self, path: Path, sha256: str) -> None:
        """Store a file under its digest."""
        ...

    @property
    def copies(self) -> bool:
        """Whether the store can copy objects of the part's bucket by itself."""
        ...

    def copied(self, info: ObjectInfo, sha256: str) -> bool:
        """Let the store itself copy an object under its digest, where it can: no byte comes here."""
        ...


@dataclass(frozen=True)
class Memory:
    """What is remembered of the objects from one backup to the next."""

    load: Callable[[], Mapping[str, KnownObject]]
    save: Callable[[Mapping[str, KnownObject]], None]


Stored = Literal["before", "now"]


@dataclass(frozen=True)
class _Taken:
    """One object, stored."""

    known: KnownObject
    stored: Stored
    read: bool


@dataclass(frozen=True)
class BucketSource:
    """The objects below one prefix."""

    name: str
    objects: Objects
    prefix: str
    deposit: Deposit
    memory: Memory
    exclude: Pattern[str] | None = None
    may_be_empty: bool = False
    sealer: Sealer | None = None
    """What encrypts each object before it is stored."""
    kind: str = "bucket"

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom it is encrypted for; nobody where it is stored in clear."""
        return self.sealer.recipients if self.sealer else ()

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """All objects, stored. Raises PartFailed where there are none, or one changes each time it is read."""
        listed, excluded = self._listed()
        if not listed and not self.may_be_empty:
            raise PartFailed(
                f"bucket/{self.name}: there is nothing below {self.prefix!r} in {self.objects.name}",
                remedy="correct `bucket` and `prefix`; where it is empty for good reason, set `may_be_empty: true`",
            )
        known = {key: one for key, one in self.memory.load().items() if key in listed}
        known = {
            key: one
            for key, one in known.items()
            if one.unchanged(listed[key]) and one.sealed_for(self.recipients)
        }
        there = self.deposit.there(dict(one.blob for one in known.values()))
        run = _Run(self, scratch, progress, sum(info.size for info in listed.values()))
        taken = {key: _Taken(one, "before", False) for key, one in known.items() if one.blob[0] in there}
        run.done = sum(one.known.size for one in taken.values())
        todo = [info for key, info in listed.items() if key not in taken]
        try:
            for info, one in zip(todo, in_parallel(run.take, todo), strict=True):
                if one is not None:
                    taken[info.key] = one
        finally:
            self.memory.save({key: one.known for key, one in (taken | run.taken).items()})
        return self._capture(taken, len(listed) - len(taken), excluded)

    def _listed(self) -> tuple[dict[str, ObjectInfo], int]:
        """Objects that are meant, by key, and how many are left out."""
        listed, excluded = {}, 0
        for info in self.objects.list(self.prefix):
            key = info.key.removeprefix(self.prefix)
            if is_ours(self.prefix, info.key):
                continue
            if self.exclude is not None and self.exclude.fullmatch(key):
                excluded += 1
            elif key:
                listed[info.key] = info
        return listed, excluded

    def _capture(self, taken: Mapping[str, _Taken], gone: int, excluded: int) -> Capture:
        keys = {key.removeprefix(self.prefix): one for key, one in taken.items()}
        paths = coded_keys(keys)
        captured = tuple(
            Captured(one.known.entry(paths[key]), None, stored=one.stored)
            for key, one in sorted(keys.items())
        )
        facts: dict[str, Any] = {
            "objects": len(captured),
            "prefix": self.prefix,
            "read": sum(one.read for one in keys.values()),
            "gone": gone,
            "excluded": excluded,
            **headers_to_facts({paths[key]: one.known.headers for key, one in keys.items()}),
        }
        return Capture(captured, facts, recipients=self.recipients)


@dataclass
class _Run:
    """One reading of the objects that are not known."""

    source: BucketSource
    scratch: Path
    progress: Progress
    total: int
    done: int = 0
    number: int = 0
    taken: dict[str, _Taken] = field(default_factory=dict)
    """What is stored by now: remembered also where the run is cut off."""
    lock: Lock = field(default_factory=Lock)

    def take(self, info: ObjectInfo) -> _Taken | None:
        """Bring one object to the deposit. None where it was deleted meanwhile."""
        for _ in range(ATTEMPTS):
            try:
                one = self._copied(info) or self._read(info)
            except ObjectMissing:
                return None
            except PreconditionFailed:
                found = self.source.objects.head(info.key)
                if found is None:
                    return None
                info = found[0]
                continue
            with self.lock:
                self.taken[info.key] = one
            return one
        raise PartFailed(
            f"bucket/{self.source.name}: {info.key} was replaced each time it was read",
            remedy="stop the writer for the time of the backup (a hook), or leave the key out by `exclude`",
        )

    def _copied(self, info: ObjectInfo) -> _Taken | None:
        """The object, stored without a byte of it coming here; None where that is not possible."""
        if not self.source.deposit.copies or self.source.sealer is not None:
            return None
        found = self.source.objects.head(info.key)
        if found is None:
            raise ObjectMissing(f"{info.key} is gone", remedy="")
        now, headers = found
        if now.sha256 is None or now.etag != info.etag:
            return None
        if self.source.deposit.there({now.sha256: now.size}):
            return self._taken(info, now.sha256, headers, "before", read=False)
        if not self.source.deposit.copied(now, now.sha256):
            return None
        return self._taken(info, now.sha256, headers, "now", read=False)

    def _read(self, info: ObjectInfo) -> _Taken:
        with self.lock:
            self.number += 1
            path = self.scratch / f"object-{self.number}"
        try:
            headers, content = self.source.objects.read(info.key, info.etag)
            digest = hashlib.sha256()
            size = 0
            with path.open("wb") as file:
                for piece in content:
                    digest.update(piece)
                    file.write(piece)
                    size += len(piece)
            if size != info.size:
                raise PreconditionFailed(f"{info.key} has {size} bytes now", remedy="")
            inside = Plain(size, digest.hexdigest())
            sealed = self._sealed(path, inside, info.key)
            name, stored_size = (sealed.sha256, sealed.size) if sealed else (inside.sha256, size)
            there = self.source.deposit.there({name: stored_size})
            if not there:
                self.source.deposit.keep(_ciphertext(path) if sealed else path, name)
        finally:
            path.unlink(missing_ok=True)
            _ciphertext(path).unlink(missing_ok=True)
        return self._taken(
            info, inside.sha256, headers, "before" if there else "now", read=True, sealed=sealed
        )

    def _sealed(self, path: Path, inside: Plain, key: str) -> Sealed | None:
        """The ciphertext of an object that was read to `path`, beside it."""
        if self.source.sealer is None:
            return None
        what = f"bucket/{self.source.name}: {key}"
        size, digest = seal_file(path, inside, _ciphertext(path), self.source.sealer, what)
        return Sealed(size, digest, self.source.recipients)

    def _taken(
        self,
        info: ObjectInfo,
        sha256: str,
        headers: Headers,
        stored: Stored,
        *,
        read: bool,
        sealed: Sealed | None = None,
    ) -> _Taken:
        with self.lock:
            self.done += info.size
            self.progress(f"read {info.key}", self.done, self.total, "bytes")
        known = KnownObject(info.size, info.etag, info.modified.isoformat(), sha256, headers, sealed)
        return _Taken(known, stored, read)


def _ciphertext(path: Path) -> Path:
    return path.with_name(f"{path.name}.age")
