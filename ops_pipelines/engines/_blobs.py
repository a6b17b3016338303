"""Content in the bucket: what is there, bringing it there, proving that it arrived, bringing it back.

Blobs are keyed by their SHA-256 and shared by all stacks, so an upload that was cut off costs the next one
nothing but the file it was at, and none of them is ever half: an object appears whole or not at all.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from ops_pipelines.engines.ports import Fetch, ObjectStore
from ops_pipelines.errors import ChecksumMismatch, ObjectMissing, PartChanged, PartFailed, SnapshotDamaged
from ops_pipelines.policy.cache_diff import REPAIR
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry

WORKERS = 8
MANY = 256
"""Above so many blobs, one listing of the bucket is cheaper than a question for each."""
SMALL = 1 << 20
"""Bytes below which a new blob is read back before it is trusted."""
SAMPLE = 256 << 20
"""Bytes up to which a new large blob may be read back as the sample."""
_BEHIND = 8 << 20
"""Bytes of a file after which they are begun to be written to the disk."""
_SYNC_WRITE = 2
"""SYNC_FILE_RANGE_WRITE of linux/fs.h."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Upload:
    """One file to be stored."""

    part: str
    entry: FileEntry
    source: Path
    promise: str = ""
    """Whose word the digest is, where the content was not read before (`Captured.promise`)."""


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int = WORKERS
) -> list[Result]:
    """Results of `work` in the order of `items`. The first error ends it, once what has begun is over."""
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="blobs")
    try:
        futures = [pool.submit(work, item) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def stored_sizes(store: ObjectStore, layout: Layout, digests: Collection[str]) -> dict[str, int]:
    """Bytes of those blobs that are in the bucket, without blobs whose stored checksum is another one."""
    if len(digests) > MANY:
        listed = ((layout.digest_of(info.key), info.size) for info in store.list(layout.blobs))
        return {digest: size for digest, size in listed if digest is not None and digest in digests}

    def look(digest: str) -> tuple[str, int | None]:
        info = store.head(layout.blob(digest))
        return digest, None if info is None or info.sha256 not in (None, digest) else info.size

    return {digest: size for digest, size in in_parallel(look, digests) if size is not None}


def upload(
    store: ObjectStore,
    layout: Layout,
    files: Sequence[Upload],
    progress: Callable[[int], None],
    *,
    workers: int = WORKERS,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Store files under their digests, `workers` at once. `progress` gets bytes as they go, from several threads,
    and `before` is called before each file: what it raises ends it.

    Raises PartFailed where a file is no longer what its entry says."""

    def one(file: Upload) -> None:
        entry = file.entry
        before()
        try:
            if file.source.stat().st_size != entry.size:
                raise _changed(file)
            store.put_file(layout.blob(entry.sha256), file.source, sha256=entry.sha256, progress=progress)
        except ChecksumMismatch as error:
            if file_digest(file.source) != entry.sha256:
                raise _changed(file) from error
            raise
        except FileNotFoundError as error:
            raise _removed(file) from error

    in_parallel(one, sorted(files, key=lambda file: -file.entry.size), workers=workers)


def compare(files: Sequence[Upload], *, workers: int = WORKERS) -> None:
    """Read files whose digest is only promised and whose content the bucket has already.

    Raises PartFailed where one is not what its name promises, or cannot be read."""

    def one(file: Upload) -> None:
        try:
            if file_digest(file.source) != file.entry.sha256:
                raise _changed(file)
        except FileNotFoundError as error:
            raise _removed(file) from error

    in_parallel(one, files, workers=workers)


def listed_sizes(store: ObjectStore, layout: Layout) -> dict[str, int]:
    """Bytes of every blob in the bucket, by one listing (a request for each thousand)."""
    found = ((layout.digest_of(info.key), info.size) for info in store.list(layout.blobs))
    return {digest: size for digest, size in found if digest is not None}


def confirm(
    store: ObjectStore,
    layout: Layout,
    wanted: Mapping[str, int],
    new: Collection[str],
    *,
    listed: Mapping[str, int],
    full: bool = False,
    workers: int = WORKERS,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Prove that every blob is in the bucket as it should be, the `new` ones by their content too.

    `wanted` is bytes by digest, `listed` what the bucket held when the backup began: where something was stored
    since, it is listed again. Of the new blobs the small ones are read back and hashed, and of the large ones
    one, of 256 MiB at most; the others by the checksum that the store keeps. With `full`, all blobs are read.
    `progress` gets bytes read. Raises SnapshotDamaged that names the first that is not there or not right."""
    sizes = listed_sizes(store, layout) if new else listed
    for digest, size in wanted.items():
        if sizes.get(digest) != size:
            raise _not_stored(store, digest, size, sizes.get(digest))
    read = set(wanted) if full else _read_back(wanted, new)

    def prove(digest: str) -> None:
        if digest in read:
            found, size = hashlib.sha256(), 0
            for piece in store.pieces(layout.blob(digest), wanted[digest]):
                found.update(piece)
                size += len(piece)
                progress(len(piece))
            if found.hexdigest() != digest:
                raise _not_stored(store, digest, wanted[digest], size)
            return
        info = store.head(layout.blob(digest))
        if info is None or info.size != wanted[digest] or info.sha256 not in (None, digest):
            raise _not_stored(store, digest, wanted[digest], info.size if info else None)

    in_parallel(prove, sorted(read | set(new), key=lambda digest: -wanted[digest]), workers=workers)


def _read_back(wanted: Mapping[str, int], new: Collection[str]) -> set[str]:
    """Which of the new blobs are read: all small ones, and the large one whose digest comes first."""
    small = {digest for digest in new if wanted[digest] < SMALL}
    large = sorted(digest for digest in new if SMALL <= wanted[digest] <= SAMPLE)
    return small | set(large[:1])


def fetcher(store: ObjectStore, layout: Layout, snapshot: str, *, each_on_disk: bool = True) -> Fetch:
    """A Fetch that reads the blobs of one snapshot.

    It streams into a temporary file beside the destination, hashes on the way, and renames when all is there.
    Large files begin to go to the disk while they arrive, and are there when this returns. So are small ones, but
    with `each_on_disk` False, for whoever brings the whole folder to disk before anything counts on it (`sync_all`):
    one by one, each costs a write of the journal.
    A link's entry becomes the link. Raises ChecksumMismatch or ObjectMissing, which name blob and snapshot,
    and PartFailed where the disk is full; nothing is left of a file that did not arrive."""

    def fetch(entry: FileEntry, destination: Path) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        mark = hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]
        temporary = destination.with_name(f".fetching-{mark}")
        try:
            if entry.link is not None:
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(entry.link)
            else:
                _receive(store, layout.blob(entry.sha256), entry, temporary, snapshot, on_disk=each_on_disk)
            temporary.replace(destination)
        except OSError as error:
            _forget(temporary)
            raise disk_error(error, destination, entry.size) from error
        except BaseException:
            _forget(temporary)
            raise

    return fetch


def _receive(
    store: ObjectStore, key: str, entry: FileEntry, path: Path, snapshot: str, *, on_disk: bool
) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("wb") as file:
            done = begun = 0
            for piece in store.pieces(key, entry.size):
                digest.update(piece)
                file.write(piece)
                done += len(piece)
                if done - begun >= _BEHIND:
                    write_behind(file.fileno(), begun, done - begun)
                    begun = done
            file.flush()
            os.fchmod(file.fileno(), entry.mode & 0o777)
            if on_disk or done >= _BEHIND:
                os.fsync(file.fileno())
    except ObjectMissing as error:
        raise ObjectMissing(
            f"the blob {entry.sha256} ({entry.path}) of snapshot {snapshot} is not in {store.name}",
            remedy="restore another snapshot, and take a new backup: it stores the blob again",
        ) from error
    if digest.hexdigest() != entry.sha256:
        raise ChecksumMismatch(
            f"the blob {entry.sha256} ({entry.path}) of snapshot {snapshot} is altered: "
            f"its content in {store.name} has the digest {digest.hexdigest()}",
            remedy="restore another snapshot, and find out what wrote into the bucket",
        )


def write_behind(handle: int, start: int, size: int) -> None:
    """Let the system begin to write what a file has got to the disk, so that a later sync finds little left to do.

    It proves nothing, and where the system has no such call nothing is done."""
    call = _sync_file_range()
    if call is not None:
        call(handle, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_WRITE)


@cache
def _sync_file_range() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), "sync_file_range", None)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_error(error: OSError, path: Path, size: int) -> PartFailed:
    """The error that a person is told where `size` bytes could not be written to `path`."""
    if error.errno not in _FULL:
        return PartFailed(
            f"{path} cannot be written: {error.strerror or error}",
            remedy="check the folder's rights and its disk",
        )
    free = 0
    with suppress(OSError):
        free = shutil.disk_usage(path.parent).free
    return PartFailed(
        f"the disk is full: {path.parent} has {free} bytes free, {path.name} needs {size}",
        remedy="free some space there and try again, or choose a place on another disk",
    )


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _removed(file: Upload) -> PartFailed:
    return PartChanged(
        f"{file.part}: {file.entry.path} was removed while it was read",
        remedy="take the backup again once nothing writes there",
    )


def _changed(file: Upload) -> PartFailed:
    if file.promise:
        return PartFailed(
            f"{file.part}: {file.promise} is corrupt and is not backed up as good: its content is not what its "
            "name promises",
            remedy=f"{REPAIR}; then take the backup again. The snapshots before it keep the good content",
        )
    return PartChanged(
        f"{file.part}: {file.entry.path} changed while it was read",
        remedy="take the backup again once nothing writes there; what was stored already is not sent twice",
    )


def _not_stored(store: ObjectStore, digest: str, wanted: int, found: int | None) -> SnapshotDamaged:
    state = "is not there" if found is None else f"has {found} bytes or another content"
    return SnapshotDamaged(
        f"the blob {digest} ({wanted} bytes) {state} in {store.name} after it was stored",
        remedy="take the backup again, and look whether something else deletes or writes in the bucket",
    )
