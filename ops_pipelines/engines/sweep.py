"""Remove blobs that no snapshot of any stack refers to, uploads never finished, marks of nothing.

Backups use blobs that are there already, and a drill may read a snapshot that is pruned meanwhile, so nothing is
removed unless the leases of all stacks and of their drills are held, and nothing at all while one manifest of the
bucket cannot be read: it may refer to any blob.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.lease import take_sweep_lease
from ops_pipelines.engines.ports import Fence, ObjectStore
from ops_pipelines.engines.snapshots import check_format, read_manifest, read_swept, stacks_in
from ops_pipelines.errors import (
    FormatTooNew,
    LeaseHeld,
    LeaseLost,
    ObjectLocked,
    ObjectMissing,
    PreconditionFailed,
    SnapshotDamaged,
    SnapshotLate,
)
from ops_pipelines.policy import swept
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.policy.store import ObjectInfo
from ops_pipelines.policy.swept import Swept

log = structlog.get_logger()

GRACE = timedelta(hours=24)
"""Younger things are left alone: somebody may be about to refer to them."""
_BATCH = 500
_WORKERS = 8


@dataclass(frozen=True)
class _Waste:
    """What nobody refers to."""

    blobs: tuple[tuple[str, int], ...]
    """(key, bytes)"""
    marks: tuple[str, ...]
    """Keys of marks without a manifest."""
    uploads: tuple[tuple[str, str, datetime], ...]
    staged: tuple[str, ...] = ()
    """Keys of files that a killed run left on their way to or from a database server."""
    late: tuple[str, ...] = ()
    """Keys of manifests that were written after the lease was lost (`policy.swept`)."""
    committed: tuple[tuple[str, str], ...] = ()
    """(stack, snapshot) of everything that is kept."""
    swept: Mapping[str, str | None] = field(default_factory=dict)
    """ETag of what an earlier sweep said of each stack."""

    @property
    def steps(self) -> tuple[Step, ...]:
        blobs = (Step("remove", f"blob/{key.rpartition('/')[2]}", "no snapshot refers to it", size)
                 for key, size in self.blobs)  # fmt: skip
        marks = (Step("remove", f"mark/{key}", "its snapshot is not there") for key in self.marks)
        uploads = (Step("remove", f"upload/{key}", f"begun {begun:%Y-%m-%d %H:%M} UTC, never finished")
                   for key, _, begun in self.uploads)  # fmt: skip
        staged = (Step("remove", f"staging/{key}", "left by a run that was killed") for key in self.staged)
        late = (
            Step("remove", f"late/{key}", "written after its backup had lost the lease") for key in self.late
        )
        return (*blobs, *late, *marks, *uploads, *staged)


def sweep_plan(store: ObjectStore, layout: Layout, *, grace: timedelta = GRACE) -> Plan:
    """What `sweep` would remove; nothing is changed and no lease is taken.

    Raises SnapshotDamaged or FormatTooNew where one manifest of the bucket cannot be read."""
    check_format(store, layout)
    return Plan("sweep", _waste(store, layout, grace).steps)


def sweep(store: ObjectStore, layout: Layout, *, holder: str, ttl: float, grace: timedelta = GRACE) -> Plan:
    """Remove what nobody refers to and return what it was.

    Where somebody works on one of the stacks, nothing is removed, and the plan's warning says who: try again
    later. Raises SnapshotDamaged or FormatTooNew where one manifest of the bucket cannot be read, LeaseLost.
    """
    check_format(store, layout)
    if not _waste(store, layout, grace).steps:  # most nights: nobody need be kept waiting
        return Plan("sweep", ())
    try:
        with take_sweep_lease(store, layout, holder=holder, purpose="sweep", ttl=ttl) as (fence, take):
            held = {stack: take(stack) for stack in stacks_in(store, layout)}
            fences = [fence, *(one for both in held.values() for one in both)]
            waste = _waste(store, layout, grace)
            if waste.blobs:
                _note(store, layout, waste, {stack: both[0].token for stack, both in held.items()}, fences)
            locked = _remove(store, waste, fences)
    except LeaseHeld as error:
        log.info("sweep postponed", reason=error.message)
        return Plan("sweep", (), (f"postponed: {error.message}",))
    log.info("swept", blobs=len(waste.blobs), bytes=sum(size for _, size in waste.blobs),
             uploads=len(waste.uploads), marks=len(waste.marks))  # fmt: skip
    for words in locked:
        log.warning("locked objects stay", problem=words)
    return Plan("sweep", waste.steps, tuple(locked))


def _note(
    store: ObjectStore, layout: Layout, waste: _Waste, tokens: Mapping[str, int], fences: Sequence[Fence]
) -> None:
    """Say in the bucket what is committed, before anything is removed that a late backup may count on.

    Raises LeaseLost where another sweep has said it since: this one slept."""
    for stack, token in tokens.items():
        found = [snapshot for owner, snapshot in waste.committed if owner == stack]
        etag = waste.swept.get(stack)
        _check(fences)
        try:
            store.put(layout.swept(stack), swept.encode(token, found), if_absent=etag is None, if_match=etag)
        except PreconditionFailed as error:
            raise LeaseLost(
                f"another sweep was at work on {stack} in between; nothing was removed",
                remedy="sweep again later",
            ) from error


def _remove(store: ObjectStore, waste: _Waste, fences: Sequence[Fence]) -> list[str]:
    """Remove it, and say what the bucket locks."""
    locked: list[str] = []
    keys = [*(key for key, _ in waste.blobs), *waste.late, *waste.marks, *waste.staged]
    for start in range(0, len(keys), _BATCH):
        _check(fences)
        try:
            store.delete(keys[start : start + _BATCH])
        except ObjectLocked as error:
            locked.append(error.message)
    for key, upload, _ in waste.uploads:
        _check(fences)
        store.abort_upload(key, upload)
    return locked


def _check(fences: Sequence[Fence]) -> None:
    for fence in fences:
        fence.check()


def _waste(store: ObjectStore, layout: Layout, grace: timedelta) -> _Waste:
    before = store.now() - grace
    manifests: dict[tuple[str, str], ObjectInfo] = {}
    marks: dict[tuple[str, str], list[tuple[str, datetime]]] = {}
    last: dict[str, tuple[Swept | None, str | None]] = {}
    for info in store.list(layout.stacks):
        stack, found = layout.stack_of(info.key), layout.snapshot_of(info.key)
        if stack is not None and info.key == layout.swept(stack):
            last[stack] = read_swept(store, layout, stack)
        if stack is None or found is None:
            continue
        snapshot, rest = found
        if rest == "manifest.json":
            manifests[stack, snapshot] = info
        elif rest.startswith("marks/"):
            marks.setdefault((stack, snapshot), []).append((info.key, info.modified))
    known = {stack: one for stack, (one, _) in last.items()}
    referred = dict(zip(manifests, _references(store, layout, list(manifests), known), strict=True))
    committed = {one for one, digests in referred.items() if digests is not None}
    used = {digest for digests in referred.values() if digests is not None for digest in digests}
    late = (info for one, info in manifests.items() if one not in committed)
    return _Waste(
        blobs=tuple(_unused(store, layout, used, before)),
        marks=tuple(
            key
            for owner, found_marks in marks.items()
            if owner not in committed and all(modified < before for _, modified in found_marks)
            for key, _ in found_marks
        ),
        uploads=tuple(one for one in store.unfinished_uploads(layout.root) if one[2] < before),
        staged=tuple(info.key for info in store.list(layout.staged) if info.modified < before),
        late=tuple(info.key for info in late if info.modified < before),
        committed=tuple(sorted(committed)),
        swept={stack: etag for stack, (_, etag) in last.items()},
    )


def _unused(
    store: ObjectStore, layout: Layout, used: set[str], before: datetime
) -> Iterator[tuple[str, int]]:
    for info in store.list(layout.blobs):
        digest = layout.digest_of(info.key)
        if digest is not None and digest not in used and info.modified < before:
            yield info.key, info.size


def _references(
    store: ObjectStore,
    layout: Layout,
    manifests: Sequence[tuple[str, str]],
    last: Mapping[str, Swept | None],
) -> list[list[str] | None]:
    """Digests that each manifest refers to; None for one that is no snapshot."""

    def read(one: tuple[str, str]) -> list[str] | None:
        stack, snapshot = one
        try:
            manifest = read_manifest(store, layout, stack, snapshot, last.get(stack))
            return [digest for digest, _ in manifest.blobs()]
        except SnapshotLate:
            return None
        except ObjectMissing:  # pruned since it was listed
            return []
        except (SnapshotDamaged, FormatTooNew) as error:
            raise type(error)(
                f"nothing is swept while one manifest cannot be read: {error.message}",
                remedy=f"if `ops-pipelines verify {stack} {snapshot}` agrees that it is lost, delete "
                f"{layout.manifest(stack, snapshot)} from the bucket; else upgrade ops-pipelines",
            ) from error

    return in_parallel(read, manifests, workers=_WORKERS)
