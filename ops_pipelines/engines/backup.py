"""Take a snapshot: every part captured, stored and proved, and only then the manifest, which is the commit.

A run that is killed before the commit leaves blobs that the next run uses, and nothing that anybody lists. A
run that is killed after it leaves a whole snapshot. One part that fails means no snapshot.
"""

from __future__ import annotations

import json
import secrets as randomness
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import cast, get_args

import structlog

from ops_pipelines.engines._blobs import WORKERS, Upload, compare, confirm, disk_error, listed_sizes, upload
from ops_pipelines.engines.hooks import hold_nothing
from ops_pipelines.engines.ports import Capture, Clock, Fence, Hold, ObjectStore, PartSource, Progress, silent
from ops_pipelines.errors import (
    LeaseLost,
    ObjectMissing,
    OpsError,
    PartChanged,
    PartFailed,
    PreconditionFailed,
    SnapshotDamaged,
)
from ops_pipelines.policy.fingerprints import Fingerprints
from ops_pipelines.policy.layout import Layout, snapshot_id
from ops_pipelines.policy.manifest import (
    Consistency,
    Manifest,
    Part,
    PartKind,
    Question,
    decode,
    encode,
)

log = structlog.get_logger()

BATCH_FILES = 512
BATCH_BYTES = 1 << 30
"""The lease is looked at again before so many files, or so many bytes, are sent."""
CAPTURES = 3
"""How often a part is read where it changes before it is stored."""
COUNTS = ("rows", "files", "models", "objects")
"""Facts of which one must be 0 (or empty) where a part holds no content."""

Questions = Callable[[list[Part]], Sequence[Question]]


def random_suffix() -> str:
    """Six random hexadecimal digits: the end of a snapshot's id."""
    return randomness.token_hex(3)


@dataclass
class _Tally:
    """What was stored so far."""

    listed: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the blobs that were in the bucket when the backup began."""
    in_time: Callable[[], None] = lambda: None
    """Raises PartFailed where the backup takes too long."""
    wanted: dict[str, int] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)
    read: int = 0
    reused: int = 0


def take_snapshot(
    stack: str,
    sources: Sequence[PartSource],
    *,
    store: ObjectStore,
    layout: Layout,
    fence: Fence,
    clock: Clock,
    scratch: Path,
    revision: int | None = None,
    declaration: str = "",
    writer: str = "",
    questions: Questions | Sequence[Question] = (),
    progress: Progress = silent,
    suffix: Callable[[], str] = random_suffix,
    parallel: int = WORKERS,
    full: bool = False,
    hold: Hold = hold_nothing,
    needs: Mapping[str, Sequence[str]] | None = None,
    secrets: Fingerprints | None = None,
    time_limit: float | None = None,
) -> Manifest:
    """Back up all `sources` as one snapshot and return its manifest, as it was read back from the bucket.

    `scratch` is a folder of this stack's own; `scratch/backup` is emptied first and last. `questions` are
    kept in the manifest, or made from the captured parts. `parallel` blobs are sent or read at once; with `full`,
    all content is read back from the bucket before the commit. After `time_limit` seconds no further file is sent, and
    nothing is committed. `hold` keeps a part still until it is read, `needs` are names of secrets by part key,
    `secrets` their fingerprints. Raises PartFailed naming the part that could not be
    captured, LeaseLost, StoreError or Unreachable; nothing is committed then."""
    if not sources:
        raise PartFailed(
            f"the stack {stack} has nothing to back up",
            remedy="declare a cache, a collection, a database or `backup.configuration`",
        )
    fence.check()
    snapshot = snapshot_id(clock(), suffix())
    bound = log.bind(stack_name=stack, snapshot=snapshot)
    work = scratch / "backup"
    _empty(work)
    tally = _Tally(listed_sizes(store, layout), in_time=_deadline(clock, time_limit))
    try:
        work.mkdir(mode=0o700, parents=True)
        parts: list[Part] = []
        with hold("") as whole:
            for number, source in enumerate(sources):
                folder = work / str(number)
                folder.mkdir()
                key = f"{source.kind}/{source.name}"
                with hold(key) as guard:
                    if any(key == other.key for other in parts):
                        raise PartFailed(
                            f"two parts are named {key}", remedy="give each of them its own name"
                        )
                    into = _Into(store, layout, fence, tally, progress, parallel)
                    part = _take(source, folder, into, clock, guard.release)
                still = guard.quiesced or whole.quiesced
                consistency: Consistency = "quiesced" if still else part.consistency
                part = replace(
                    part, consistency=consistency, hooks=guard.runs, needs=tuple((needs or {}).get(key, ()))
                )
                parts.append(part)
                _empty(folder)
                bound.info("part stored", part=part.key, files=len(part.files), bytes=part.size)
        progress("verify", 0, len(tally.wanted), "blobs")
        confirm(
            store, layout, tally.wanted, tally.new.keys(), listed=tally.listed, full=full, workers=parallel
        )
        progress("verify", len(tally.wanted), len(tally.wanted), "blobs")
        tally.in_time()
        manifest = Manifest(
            snapshot=snapshot,
            stack=stack,
            created=clock().isoformat(),
            parts=tuple(parts),
            questions=tuple(questions(parts) if callable(questions) else questions),
            revision=revision,
            declaration=declaration,
            writer=writer,
            fence=fence.token,
            uploaded=sum(tally.new.values()),
            secrets=secrets,
            hooks=whole.runs,
        )
        committed = _commit(manifest, store, layout, fence)
    finally:
        _empty(work)
    bound.info("snapshot committed", parts=len(parts), bytes=committed.size, bytes_read=tally.read,
               bytes_uploaded=committed.uploaded, bytes_reused=tally.reused)  # fmt: skip
    return committed


def _deadline(clock: Clock, limit: float | None) -> Callable[[], None]:
    begun = clock()

    def in_time() -> None:
        if limit is not None and (clock() - begun).total_seconds() > limit:
            raise PartFailed(
                f"the backup was not done within {limit:g} s, its `transfer.time_limit`; nothing was committed",
                remedy="what was sent is kept, and the next backup goes on from there; or allow more time",
            )

    return in_time


@dataclass(frozen=True)
class _Into:
    """Where a part's content goes."""

    store: ObjectStore
    layout: Layout
    fence: Fence
    tally: _Tally
    progress: Progress
    parallel: int


def _take(source: PartSource, folder: Path, into: _Into, clock: Clock, release: Callable[[], None]) -> Part:
    """One part, captured and stored; again where somebody wrote to it in between, three times at most."""
    tally = into.tally
    for attempt in range(1, CAPTURES + 1):
        wanted = dict(tally.wanted)
        try:
            part, files, proved = _capture(source, folder, clock, into.progress, tally)
            if all(file.source.is_relative_to(folder) for file in files):
                release()  # what is stored from here on is our own copy
            _store(part, files, into.store, into.layout, into.fence, tally, into.progress, into.parallel)
            proved()
        except PartChanged as error:
            if attempt == CAPTURES:
                raise
            log.warning("part changed, read again", part=source.name, error=error.message)
            tally.wanted = wanted  # what was stored of it is nobody's, unless it is wanted again
            tally.new = {digest: size for digest, size in tally.new.items() if digest in wanted}
            _empty(folder)
            folder.mkdir()
        else:
            return part
    raise AssertionError("unreachable")


def _capture(
    source: PartSource, folder: Path, clock: Clock, progress: Progress, tally: _Tally
) -> tuple[Part, list[Upload], Callable[[], None]]:
    """One part, the files that are to be stored, checked to be something that can be restored, and whom to tell that
    they are right."""
    key = f"{source.kind}/{source.name}"
    started = clock().isoformat()
    try:
        capture = source.capture(folder, progress)
    except (LeaseLost, PartFailed):
        raise
    except OpsError as error:
        raise PartFailed(f"{key} cannot be read: {error.message}", remedy=error.remedy) from error
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(folder)):
            raise PartFailed(
                f"{key}: {error.filename} cannot be read: {error.strerror}",
                remedy="check that it is there and may be read, and take the backup again",
            ) from error
        raise disk_error(error, folder / "scratch", 0) from error
    _check(key, source.kind, capture)
    _count_stored(capture, tally)
    entries = tuple(captured.entry for captured in capture.files)
    part = Part(
        kind=cast(PartKind, source.kind),
        name=source.name,
        files=entries,
        facts=capture.facts,
        consistency=cast(Consistency, capture.consistency),
        started=started,
        finished=clock().isoformat(),
        folders=capture.folders,
        recipients=capture.recipients,
    )
    files = [
        Upload(key, one.entry, one.source, one.promise) for one in capture.files if one.source is not None
    ]
    return part, files, capture.proved


def _count_stored(capture: Capture, tally: _Tally) -> None:
    """What a part has stored by itself is confirmed like the rest."""
    for one in capture.files:
        if one.stored is None:
            continue
        tally.wanted[one.entry.sha256] = one.entry.size
        tally.read += one.entry.size
        if one.stored == "now":
            tally.new[one.entry.sha256] = one.entry.size
        else:
            tally.reused += one.entry.size


def _check(key: str, kind: str, capture: Capture) -> None:
    """Refuse what could not be restored, and emptiness that nobody declared."""
    problem = ""
    paths = [captured.entry.path for captured in capture.files]
    twice = {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else set()
    bare = [
        one.entry.path
        for one in capture.files
        if (one.source is None) != (one.entry.link is not None or one.stored is not None)
    ]
    if twice:
        problem = f"gave the file {min(twice)} twice"
    elif bare:
        problem = f"gave no content for {bare[0]}"
    elif not capture.files and not capture.facts:
        problem = "gave nothing at all"
    elif not _may_be_empty(kind, capture) and not any(one.entry.opened.size for one in capture.files):
        problem = "gave no content, and does not say that it is empty"
    elif capture.consistency not in get_args(Consistency):
        problem = f"has an unknown consistency: {capture.consistency!r}"
    else:
        try:
            json.dumps(dict(capture.facts), allow_nan=False)
        except (TypeError, ValueError) as error:
            problem = f"has facts that JSON cannot hold ({error})"
    if problem:
        raise PartFailed(f"{key} {problem}", remedy="look whether what it reads from is there and whole")


def _may_be_empty(kind: str, capture: Capture) -> bool:
    said = any(name in capture.facts and not capture.facts[name] for name in COUNTS)
    return said or (kind in ("volume", "bucket") and bool(capture.files))


def _store(
    part: Part,
    files: Sequence[Upload],
    store: ObjectStore,
    layout: Layout,
    fence: Fence,
    tally: _Tally,
    progress: Progress,
    parallel: int,
) -> None:
    """Bring a part's content to the bucket, as far as it is not there yet."""
    for file in files:
        if tally.wanted.get(file.entry.sha256, file.entry.size) != file.entry.size:
            raise PartFailed(
                f"{part.key}: {file.entry.path} has a size that its digest contradicts",
                remedy="take the backup again once nothing writes there",
            )
    unique = {file.entry.sha256: file for file in files if file.entry.sha256 not in tally.wanted}
    for digest, file in unique.items():
        tally.wanted[digest] = file.entry.size
    missing = [file for digest, file in unique.items() if tally.listed.get(digest) != file.entry.size]
    total = sum(file.entry.size for file in missing)
    size = sum(file.entry.size for file in files)
    tally.read += size
    tally.reused += size - total
    sent, lock = 0, Lock()

    def moved(count: int) -> None:
        nonlocal sent
        with lock:
            sent += count
            progress(f"store {part.key}", sent, total, "bytes")

    sending = {id(file) for file in missing}
    compare([file for file in files if file.promise and id(file) not in sending], workers=parallel)
    for batch in _batches(missing):
        fence.check()
        upload(store, layout, batch, moved, workers=parallel, before=tally.in_time)
        tally.new.update({file.entry.sha256: file.entry.size for file in batch})


def _batches(files: Sequence[Upload]) -> Iterator[list[Upload]]:
    batch: list[Upload] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.entry.size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _commit(manifest: Manifest, store: ObjectStore, layout: Layout, fence: Fence) -> Manifest:
    """Write the manifest, which must be new, and read it back."""
    key = layout.manifest(manifest.stack, manifest.snapshot)
    content = encode(manifest)
    decode(content, where=f"the manifest of {manifest.snapshot}")
    fence.check()
    try:
        store.put(key, content, if_absent=True)
    except PreconditionFailed:
        # A repeated request whose first answer was lost finds its own manifest there: that is no loss.
        if not _holds(store, key, content):
            raise
    try:
        fence.check()
    except LeaseLost:
        # It slept between its look at the lease and the write. Whoever took over did not see the manifest, and
        # may have swept what it names: it must not be listed.
        store.delete([key])
        raise
    kept, _ = store.get(key)
    if kept != content:
        raise SnapshotDamaged(
            f"the manifest of snapshot {manifest.snapshot} reads back differently from {store.name}",
            remedy="do not rely on this snapshot; check the object store and take the backup again",
        )
    return decode(kept, where=f"{key} in {store.name}")


def _holds(store: ObjectStore, key: str, content: bytes) -> bool:
    try:
        return store.get(key)[0] == content
    except ObjectMissing:
        return False


def _empty(folder: Path) -> None:
    """Remove a folder of our own, and what a killed run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
