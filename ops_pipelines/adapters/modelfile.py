"""One model as a tar file: written so that equal models are equal bytes, read without trusting a word of it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ops_pipelines.errors import ChecksumMismatch, PartFailed, SnapshotDamaged
from ops_pipelines.policy import model_file
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.model_file import CONTENT, DESCRIPTION, ModelFile

Progress = Callable[[str, int, int | None, str], None]
Open = Callable[[FileEntry], BinaryIO]
"""Opens the content of an entry for reading."""
_CHUNK = 8 << 20


def write(path: Path, described: ModelFile, open_content: Open, progress: Progress) -> None:
    """Write the model's file; it is there when it is whole, and each digest was checked on the way.

    Raises ChecksumMismatch where content is not what the description says, PartFailed where the file cannot be
    written."""
    draft = path.with_name(f".{path.name}.incomplete")
    try:
        with (
            draft.open("wb") as raw,
            tarfile.TarFile(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK) as tar,
        ):
            text = model_file.encode(described)
            tar.addfile(_member(DESCRIPTION, len(text)), io.BytesIO(text))
            by_digest = {entry.sha256: entry for entry in described.files if entry.link is None}
            done = 0
            for digest, size in described.contents.items():
                with open_content(by_digest[digest]) as content:
                    checked = _Checked(content, by_digest[digest], done, described.size, progress)
                    tar.addfile(_member(f"{CONTENT}{digest}", size), checked)
                    checked.require_right()
                done += size
            tar.close()
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename) in (str(draft), str(path)) or error.errno == 28:
            raise PartFailed(
                f"{path} cannot be written: {error.strerror or error}",
                remedy="check the folder, its rights and its free space",
            ) from error
        raise PartFailed(
            f"{error.filename} cannot be read: {error.strerror}", remedy="look whether it is still there"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


class _Checked:
    """A file that hashes what is read of it."""

    def __init__(
        self, content: BinaryIO, entry: FileEntry, before: int, total: int, progress: Progress
    ) -> None:
        self._content, self._entry = content, entry
        self._digest = hashlib.sha256()
        self._done, self._total, self._progress = before, total, progress

    def read(self, size: int = -1) -> bytes:
        """As a file does."""
        piece = self._content.read(size)
        if size and not piece:
            raise self._wrong()
        self._digest.update(piece)
        self._done += len(piece)
        self._progress("export", self._done, self._total, "bytes")
        return piece

    def require_right(self) -> None:
        """Raise ChecksumMismatch where what was read, or more that is there, is not what the entry says."""
        if self._content.read(1) or self._digest.hexdigest() != self._entry.sha256:
            raise self._wrong()

    def _wrong(self) -> ChecksumMismatch:
        return ChecksumMismatch(
            f"{self._entry.path} is not what its digest says: it is corrupt, or changed while it was read",
            remedy="restore the model from the last verified snapshot, or export it from a snapshot",
        )


class ModelArchive:
    """A model's file, opened. `described` is what it says of itself; nothing of it is believed unchecked."""

    def __init__(self, path: Path) -> None:
        """Read the description and where each content lies. Raises SnapshotDamaged, FormatTooNew, PartFailed."""
        self.path = path
        self._where: dict[str, tuple[int, int]] = {}
        try:
            with path.open("rb") as raw:
                size = os.fstat(raw.fileno()).st_size
                with tarfile.open(fileobj=raw, mode="r:") as tar:
                    self.described = self._description(tar)
                    while (member := tar.next()) is not None:
                        end = member.offset_data + member.size
                        digest = member.name.removeprefix(CONTENT)
                        if not member.isreg() or member.name != f"{CONTENT}{digest}" or end > size:
                            raise _damaged(
                                path, f"{member.name[:80]!r} in it is cut off, or does not belong there"
                            )
                        self._where[digest] = (member.offset_data, member.size)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise _damaged(path, f"it is no tar file that can be read ({error})") from error
        except OSError as error:
            raise PartFailed(
                f"{path} cannot be read: {error.strerror or error}", remedy="check the name and its rights"
            ) from error
        for digest, wanted in self.described.contents.items():
            if self._where.get(digest, (0, None))[1] != wanted:
                raise _damaged(path, f"the content {digest[:12]} is not in it, or has another size")
        texts = {entry.path: self.text(entry) for entry in model_file.notes_in(self.described)}
        self.model = model_file.check_model(self.described, texts, where=str(path))

    def _description(self, tar: tarfile.TarFile) -> ModelFile:
        first = tar.next()
        if first is None or first.name != DESCRIPTION or not first.isreg() or first.size > model_file.MOST:
            raise _damaged(self.path, f"it does not begin with {DESCRIPTION}")
        content = tar.extractfile(first)
        return model_file.decode(content.read() if content else b"", where=str(self.path))

    def text(self, entry: FileEntry) -> str:
        """Content of a note, checked. Raises ChecksumMismatch."""
        offset, size = self._where[entry.sha256]
        with self.path.open("rb") as raw:
            raw.seek(offset)
            content = raw.read(size)
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise _altered(self.path, entry)
        return content.decode("utf-8", "replace")

    def fetch(self, entry: FileEntry, destination: Path) -> None:
        """A Fetch: bring a file's content, checked against its digest; it has its name only when it is whole."""
        draft = destination.with_name(
            f".fetching-{hashlib.sha256(destination.name.encode()).hexdigest()[:16]}"
        )
        offset, left = self._where[entry.sha256]
        digest = hashlib.sha256()
        try:
            with self.path.open("rb") as raw, draft.open("wb") as file:
                raw.seek(offset)
                while left and (piece := raw.read(min(_CHUNK, left))):
                    left -= len(piece)
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                os.fchmod(file.fileno(), entry.mode & 0o777)
                os.fsync(file.fileno())
            if left or digest.hexdigest() != entry.sha256:
                raise _altered(self.path, entry)
            draft.replace(destination)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _altered(path: Path, entry: FileEntry) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"{path} is altered: {entry.path} in it is not what its digest says", remedy="export the model again"
    )


def _damaged(path: Path, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"{path} is damaged, or no model file: {why}", remedy="export the model again; nothing was changed"
    )
