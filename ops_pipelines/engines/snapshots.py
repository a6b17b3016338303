"""What snapshots a bucket holds, with their marks. The bucket alone answers: no stack file is needed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.errors import (
    FormatTooNew,
    ObjectMissing,
    PreconditionFailed,
    SnapshotDamaged,
    SnapshotLate,
    SnapshotUnknown,
    StoreError,
)
from ops_pipelines.policy import swept
from ops_pipelines.policy.layout import FORMAT, MARKS, Layout, check_snapshot_id, snapshot_time
from ops_pipelines.policy.manifest import Manifest, decode
from ops_pipelines.policy.retention import SnapshotFacts, SnapshotState
from ops_pipelines.policy.swept import Swept

_WORKERS = 8


@dataclass(frozen=True)
class SnapshotInfo:
    """One snapshot of a stack, as a list shows it."""

    stack: str
    id: str
    created: str
    """When it was committed (ISO 8601, UTC); where the manifest does not say, when it was begun."""
    state: SnapshotState
    size: int | None = None
    """Bytes of all parts; None where the manifest does not say."""
    uploaded: int | None = None
    """Bytes that it added to the bucket."""
    parts: tuple[str, ...] = ()
    """Keys of its parts: `collection/obelisk_docs`."""
    revision: int | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    """When it was verified, drilled, failed, pinned (ISO 8601, the store's clock)."""
    problem: str = ""
    """Why it cannot be restored, where its manifest is missing or unreadable."""
    fence: int = 0
    """Fencing token under which it was committed."""
    pinned_for: str = ""
    """Why it is pinned, where somebody said so."""

    @property
    def complete(self) -> bool:
        """True where the manifest is there and whole. That alone does not make it good: see `marks`."""
        return self.state == "complete"

    @property
    def facts(self) -> SnapshotFacts:
        """What retention goes by."""
        times = {kind: datetime.fromisoformat(at) for kind, at in self.marks.items()}
        created = datetime.fromisoformat(self.created)
        return SnapshotFacts(self.id, created, self.state, **times, fence=self.fence)

    @property
    def bad(self) -> bool:
        """True where it cannot be relied on: no readable manifest, or the latest check failed."""
        return self.facts.bad


def list_snapshots(store: ObjectStore, layout: Layout, stack: str) -> tuple[SnapshotInfo, ...]:
    """All snapshots of a stack, newest first, incomplete and damaged ones included.

    One listing, and one request for each manifest. Raises only where the store itself does not answer.
    """
    manifests: set[str] = set()
    marks: dict[str, dict[str, str]] = {}
    was_swept = False
    for info in store.list(layout.snapshots(stack)):
        found = layout.snapshot_of(info.key)
        was_swept |= info.key == layout.swept(stack)
        if found is None:
            continue
        snapshot, rest = found
        marks.setdefault(snapshot, {})
        kind = rest.removeprefix("marks/").removesuffix(".json")
        if rest == "manifest.json":
            manifests.add(snapshot)
        elif kind in MARKS and rest == f"marks/{kind}.json":
            marks[snapshot][kind] = info.modified.isoformat()

    last = read_swept(store, layout, stack)[0] if was_swept else None

    def describe(snapshot: str) -> SnapshotInfo:
        if snapshot not in manifests:
            return _without(stack, snapshot, "incomplete", marks[snapshot], "it was never committed")
        return _described(store, layout, stack, snapshot, marks[snapshot], last)

    return tuple(in_parallel(describe, sorted(marks, reverse=True), workers=_WORKERS))


def _described(
    store: ObjectStore,
    layout: Layout,
    stack: str,
    snapshot: str,
    marks: Mapping[str, str],
    last: Swept | None,
) -> SnapshotInfo:
    try:
        manifest = read_manifest(store, layout, stack, snapshot, last)
    except SnapshotLate as error:
        return _without(stack, snapshot, "incomplete", marks, error.message)
    except ObjectMissing:  # pruned since it was listed
        return _without(stack, snapshot, "incomplete", marks, "its manifest was removed")
    except SnapshotDamaged as error:
        return _without(stack, snapshot, "damaged", marks, error.message)
    except FormatTooNew as error:
        return _without(stack, snapshot, "newer", marks, error.message)
    return SnapshotInfo(
        stack=stack,
        id=snapshot,
        created=manifest.created,
        state="complete",
        size=manifest.size,
        uploaded=manifest.uploaded,
        parts=tuple(part.key for part in manifest.parts),
        revision=manifest.revision,
        marks=marks,
        fence=manifest.fence,
        pinned_for=_reason(store, layout, stack, snapshot) if "pinned" in marks else "",
    )


def _reason(store: ObjectStore, layout: Layout, stack: str, snapshot: str) -> str:
    facts = read_mark(store, layout, stack, snapshot, "pinned") or {}
    return str(facts.get("reason", ""))


def _without(
    stack: str, snapshot: str, state: SnapshotState, marks: Mapping[str, str], problem: str
) -> SnapshotInfo:
    begun = snapshot_time(snapshot).isoformat()
    return SnapshotInfo(stack, snapshot, begun, state, marks=marks, problem=problem)


def load_manifest(store: ObjectStore, layout: Layout, stack: str, snapshot: str) -> Manifest:
    """The manifest of a snapshot.

    Raises SnapshotUnknown naming the nearest and the newest known ones, SnapshotLate, SnapshotDamaged,
    FormatTooNew."""
    try:
        return read_manifest(
            store, layout, stack, check_snapshot_id(snapshot), read_swept(store, layout, stack)[0]
        )
    except (ValueError, ObjectMissing) as error:
        raise _unknown(store, layout, stack, snapshot) from error


def known_snapshot(store: ObjectStore, layout: Layout, stack: str, snapshot: str) -> str:
    """The id itself, where the stack has that snapshot, readable or not. Raises SnapshotUnknown."""
    try:
        if store.head(layout.manifest(stack, snapshot)) is not None:
            return snapshot
    except ValueError as error:
        raise _unknown(store, layout, stack, snapshot) from error
    raise _unknown(store, layout, stack, snapshot)


def read_swept(store: ObjectStore, layout: Layout, stack: str) -> tuple[Swept | None, str | None]:
    """What the latest sweep found of a stack, with its ETag; None where none removed anything since the first backup.

    Raises StoreError where it cannot be read."""
    key = layout.swept(stack)
    try:
        content, etag = store.get(key)
    except ObjectMissing:
        return None, None
    return swept.decode(content, where=f"{key} in {store.name}"), etag


def read_manifest(
    store: ObjectStore, layout: Layout, stack: str, snapshot: str, last: Swept | None
) -> Manifest:
    """The manifest of a snapshot, where `last` (`read_swept`) is known.

    Raises ObjectMissing, SnapshotLate, SnapshotDamaged, FormatTooNew."""
    key = layout.manifest(stack, snapshot)
    where = f"the manifest of snapshot {snapshot} of {stack}"
    manifest = decode(store.get(key)[0], where=where)
    problem = ""
    if (manifest.stack, manifest.snapshot) != (stack, snapshot):
        problem = f"it says that it is {manifest.snapshot} of {manifest.stack}"
    else:
        try:
            if datetime.fromisoformat(manifest.created).tzinfo is None:
                problem = "its time has no zone"
        except (ValueError, TypeError):
            problem = f"its time is none: {str(manifest.created)[:40]!r}"
    if problem:
        raise SnapshotDamaged(
            f"{where} is damaged: {problem}",
            remedy=f"restore another snapshot (`ops-pipelines snapshots {stack}` lists them)",
        )
    if last is not None and last.late(snapshot, manifest.fence):
        raise SnapshotLate(
            f"{where} was written after its backup had lost the lease, and blobs were swept: it is no snapshot",
            remedy=f"restore another one (`ops-pipelines snapshots {stack}` lists them); the next sweep removes it",
        )
    return manifest


def _unknown(store: ObjectStore, layout: Layout, stack: str, snapshot: str) -> SnapshotUnknown:
    known = sorted(_committed(store, layout, stack), reverse=True)
    near = difflib.get_close_matches(snapshot, known, 1)
    if not known:
        stacks = stacks_in(store, layout)
        return SnapshotUnknown(
            f"{stack} has no snapshot in {store.name}",
            remedy=f"take one (`ops-pipelines backup {stack}`); stacks in this bucket: "
            f"{', '.join(stacks) or 'none'}",
        )
    return SnapshotUnknown(
        f"{stack} has no snapshot {snapshot[:80]!r}" + (f"; did you mean {near[0]}?" if near else ""),
        remedy=f"the newest are {', '.join(known[:3])}; `ops-pipelines snapshots {stack}` lists all {len(known)}",
    )


def newest_manifest(store: ObjectStore, layout: Layout, stack: str) -> Manifest | None:
    """The manifest of the newest snapshot that can be read: one listing, and mostly one request. None without any."""
    last, _ = read_swept(store, layout, stack)
    for snapshot in sorted(_committed(store, layout, stack), reverse=True):
        try:
            return read_manifest(store, layout, stack, snapshot, last)
        except (ObjectMissing, SnapshotDamaged, SnapshotLate, FormatTooNew):
            continue
    return None


def _committed(store: ObjectStore, layout: Layout, stack: str) -> Iterable[str]:
    for info in store.list(layout.snapshots(stack)):
        found = layout.snapshot_of(info.key)
        if found is not None and found[1] == "manifest.json":
            yield found[0]


def mark(
    store: ObjectStore, layout: Layout, stack: str, snapshot: str, kind: str, facts: Mapping[str, Any]
) -> None:
    """Note on a snapshot that it was `verified`, `drilled`, `failed` or `pinned`; `facts` are JSON.

    A success takes an earlier failure away, a failure leaves earlier successes with their times. `failed` may
    be put on a snapshot that was never committed. Raises SnapshotUnknown for the others then.
    """
    key = layout.mark(stack, snapshot, kind)
    if kind != "failed":
        known_snapshot(store, layout, stack, snapshot)
    store.put(key, json.dumps(dict(facts), sort_keys=True, allow_nan=False).encode())
    if kind in ("verified", "drilled"):
        store.delete([layout.mark(stack, snapshot, "failed")])


def unmark(store: ObjectStore, layout: Layout, stack: str, snapshot: str, kind: str) -> None:
    """Take a mark away (`pinned`, when a snapshot may go)."""
    store.delete([layout.mark(stack, snapshot, kind)])


def read_mark(
    store: ObjectStore, layout: Layout, stack: str, snapshot: str, kind: str
) -> dict[str, Any] | None:
    """Facts of a mark, or None where it is not there or says nothing readable."""
    try:
        facts = json.loads(store.get(layout.mark(stack, snapshot, kind))[0])
    except (ObjectMissing, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def stacks_in(store: ObjectStore, layout: Layout) -> tuple[str, ...]:
    """Names of all stacks that have anything in the bucket."""
    names = {layout.stack_of(info.key) for info in store.list(layout.stacks)}
    return tuple(sorted(name for name in names if name))


def check_format(store: ObjectStore, layout: Layout) -> int | None:
    """Version of the bucket's layout; None where nothing was ever written.

    Raises FormatTooNew where it is newer than this program, StoreError where the bucket is somebody else's."""
    try:
        version = json.loads(store.get(layout.format)[0])["format"]
        if not isinstance(version, int):
            raise TypeError("its format is no number")
    except ObjectMissing:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{layout.format} in {store.name} is not ours ({error})",
            remedy="use another bucket or prefix, or put the object back from a copy",
        ) from error
    if version > FORMAT:
        raise FormatTooNew(
            f"{store.name} has layout {version}; this version knows up to {FORMAT}",
            remedy="upgrade ops-pipelines on this machine",
        )
    return version


def write_format(store: ObjectStore, layout: Layout) -> None:
    """Say which layout the bucket has, once. Raises as `check_format` does."""
    if check_format(store, layout) is None:
        try:
            store.put(layout.format, json.dumps({"format": FORMAT}).encode(), if_absent=True)
        except PreconditionFailed:
            check_format(store, layout)
