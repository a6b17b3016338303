"""Parts whose files lie encrypted in the bucket: sealed on the way in, opened on the way out.

Each file is encrypted by itself, as a stream, in the backup's scratch folder, which only its owner may read. The
manifest keeps the digest of both: of what is stored, so that a check of the bucket needs no key, and of what is
inside, so that a restore proves the content. A file that is as it was in the snapshot before is not encrypted
again: its ciphertext is there already.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from ops_pipelines.engines._blobs import disk_error
from ops_pipelines.engines.parts._forwarding import Forwarding
from ops_pipelines.engines.ports import Capture, Captured, Fetch, PartSource, Progress
from ops_pipelines.errors import ChecksumMismatch, PartFailed
from ops_pipelines.policy.manifest import FileEntry, Part, Plain
from ops_pipelines.policy.plan import Finding, Step

_PIECE = 1 << 20


class Pipe(Protocol):
    """What is read from, or written to, piece by piece."""

    def read(self, size: int = -1, /) -> bytes: ...
    def write(self, piece: bytes, /) -> int: ...
    def flush(self) -> None: ...


class Sealer(Protocol):
    """Encrypts for recipients."""

    @property
    def recipients(self) -> tuple[str, ...]: ...
    def seal(self, plain: Pipe, sealed: Pipe) -> None:
        """Encrypt a stream, with bounded memory. Errors of the two pipes come through as they are."""
        ...


class Opener(Protocol):
    """Decrypts with the identities that are here."""

    def require(self, recipients: Collection[str], what: str) -> None:
        """Raise IdentityMissing, which names the recipients, where no identity here is one of them."""
        ...

    def open(self, sealed: Pipe, plain: Pipe) -> None:
        """Decrypt a stream. Raises IdentityMissing, ChecksumMismatch where it was altered or cut off."""
        ...


class _Hashed:
    """A file that is hashed as it is read or written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self._digest = file, 0, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """The next piece."""
        return self._seen(self.file.read(size))

    def write(self, piece: bytes, /) -> int:
        """Write a piece."""
        return self.file.write(self._seen(piece))

    def flush(self) -> None:
        """Hand on what is buffered."""
        self.file.flush()

    @property
    def digest(self) -> str:
        """SHA-256 of what went through."""
        return self._digest.hexdigest()

    def _seen(self, piece: bytes) -> bytes:
        self._digest.update(piece)
        self.size += len(piece)
        return piece


@dataclass(frozen=True)
class EncryptedSource:
    """A part that is encrypted as it is captured."""

    inner: PartSource
    sealer: Sealer
    before: Callable[[str], Part | None]
    """The part of that key in the newest snapshot."""
    stored: Callable[[Collection[str]], Mapping[str, int]]
    """Bytes of those blobs, by digest, that are in the bucket."""

    @property
    def kind(self) -> str:
        """That of the part."""
        return self.inner.kind

    @property
    def name(self) -> str:
        """That of the part."""
        return self.inner.name

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """As the part's own, each file sealed. What was made in clear is removed as soon as it is sealed."""
        folder = scratch / "plain"
        folder.mkdir(mode=0o700)
        capture = self.inner.capture(folder, progress)
        known = self._known()
        sealed: dict[Plain, Captured] = {}
        files: list[Captured] = []
        for number, one in enumerate(capture.files):
            if one.stored is not None:
                raise PartFailed(
                    f"{self.kind}/{self.name} has stored {one.entry.path} in clear, and is to be encrypted",
                    remedy="report this; until then, leave the part out of `backup.encrypt.parts`",
                )
            if one.source is None:
                files.append(one)
                continue
            plain = Plain(one.entry.size, one.entry.sha256)
            first = sealed.get(plain)
            if first is None:
                first = known.get(plain) or self._seal(one, one.source, scratch / f"{number}.age")
                sealed[plain] = first
            entry = replace(one.entry, size=first.entry.size, sha256=first.entry.sha256, plain=plain)
            files.append(Captured(entry, first.source))
            if one.source.is_relative_to(folder):
                one.source.unlink(missing_ok=True)
            progress(f"encrypt {self.kind}/{self.name}", number + 1, len(capture.files), "files")
        return replace(capture, files=tuple(files), recipients=self.sealer.recipients)

    def _known(self) -> dict[Plain, Captured]:
        """What the newest snapshot has encrypted for the same recipients, as far as the bucket still has it."""
        part = self.before(f"{self.kind}/{self.name}")
        if part is None or set(part.recipients) != set(self.sealer.recipients):
            return {}
        entries = {entry.plain: entry for entry in part.files if entry.plain is not None}
        there = self.stored({entry.sha256 for entry in entries.values()})
        # A path that is never there: what is stored is not sent, and what vanished meanwhile is told.
        return {
            plain: Captured(entry, Path("stored") / "already" / entry.sha256)
            for plain, entry in entries.items()
            if there.get(entry.sha256) == entry.size
        }

    def _seal(self, one: Captured, source: Path, path: Path) -> Captured:
        inside = Plain(one.entry.size, one.entry.sha256)
        size, digest = seal_file(
            source, inside, path, self.sealer, f"{self.kind}/{self.name}: {one.entry.path}"
        )
        return Captured(replace(one.entry, size=size, sha256=digest), path)


def seal_file(source: Path, inside: Plain, path: Path, sealer: Sealer, what: str) -> tuple[int, str]:
    """Encrypt a file, which must be what `inside` says, to a new one that only its owner may read; bytes and digest of
    that. Raises PartFailed, in which `what` names it, where it is another one by now."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb", buffering=_PIECE) as plain, os.fdopen(handle, "wb", buffering=_PIECE) as out:
        read, written = _Hashed(plain), _Hashed(out)
        sealer.seal(read, written)
    if (read.size, read.digest) != (inside.size, inside.sha256):
        raise PartFailed(
            f"{what} changed while it was read", remedy="take the backup again once nothing writes there"
        )
    return written.size, written.digest


@dataclass(frozen=True)
class EncryptedTarget(Forwarding):
    """A part that is opened as it is restored. What it is put into never sees that it was encrypted."""

    opener: Opener

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """As the part's own."""
        return self.inner.plan(part.opened, into)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """As the part's own. Raises IdentityMissing before anything is fetched."""
        self.opener.require(part.recipients, part.key)
        return self.inner.stage(part.opened, into, opening(part, fetch, self.opener), progress)

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """As the part's own: by the digests of what was inside."""
        return self.inner.check(part.opened, place, full=full)

    def switch(self, part: Part, place: str) -> str:
        """As the part's own."""
        return self.inner.switch(part.opened, place)


def opening(part: Part, fetch: Fetch, opener: Opener) -> Fetch:
    """A Fetch for the files of `part.opened`: it brings the stored file, opens it, and checks what was inside.

    Raises what `fetch` and `opener` raise, ChecksumMismatch where the content is another one; nothing is left of a
    file that did not arrive, sealed or open."""
    stored = {entry.plain.sha256: entry for entry in part.files if entry.plain is not None}

    def fetch_opened(entry: FileEntry, destination: Path) -> None:
        found = stored.get(entry.sha256) if entry.link is None else None
        if found is None:
            fetch(entry, destination)
            return
        opener.require(part.recipients, part.key)
        mark = hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]
        sealed = destination.with_name(f".sealed-{mark}")
        plain = destination.with_name(f".opening-{mark}")
        try:
            fetch(replace(found, mode=0o600), sealed)
            plain.unlink(missing_ok=True)
            _open(entry, sealed, plain, opener)
            plain.replace(destination)
        except OSError as error:
            raise disk_error(error, destination, entry.size) from error
        finally:
            for path in (sealed, plain):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    return fetch_opened


def _open(entry: FileEntry, sealed: Path, plain: Path, opener: Opener) -> None:
    handle = os.open(plain, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with sealed.open("rb", buffering=_PIECE) as file, os.fdopen(handle, "wb", buffering=_PIECE) as out:
        written = _Hashed(out)
        opener.open(_Hashed(file), written)
        out.flush()
        if (written.size, written.digest) != (entry.size, entry.sha256):
            raise ChecksumMismatch(
                f"{entry.path} is altered: what is inside has the digest {written.digest}, not {entry.sha256}",
                remedy="restore another snapshot, and find out what wrote into the bucket",
            )
        os.fchmod(out.fileno(), entry.mode & 0o777)
        os.fsync(out.fileno())
