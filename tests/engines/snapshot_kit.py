"""Snapshots for tests, written straight into a bucket."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.policy.layout import Layout, snapshot_id
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part, encode

LAYOUT = Layout("ops")


def commit(
    store: S3Store,
    *,
    stack: str = "chat",
    days_ago: float = 0.0,
    contents: tuple[bytes, ...] = (b"content",),
    suffix: str = "aaaaaa",
    fence: int = 0,
) -> str:
    """Store a snapshot of one part and give its id."""
    created = datetime.now(UTC) - timedelta(days=days_ago)
    snapshot = snapshot_id(created, suffix)
    files = tuple(put_blob(store, content) for content in contents)
    part = Part("configuration", "stack", files)
    manifest = Manifest(snapshot, stack, created.isoformat(), (part,), uploaded=7, revision=3, fence=fence)
    store.put(LAYOUT.manifest(stack, snapshot), encode(manifest), if_absent=True)
    return snapshot


def put_blob(store: S3Store, content: bytes) -> FileEntry:
    """Store a blob and give an entry that refers to it."""
    digest = hashlib.sha256(content).hexdigest()
    store.put(LAYOUT.blob(digest), content)
    return FileEntry(f"file-{digest[:8]}", len(content), digest)


def keys(store: S3Store, prefix: str = "") -> list[str]:
    """Keys of a bucket, without the leases and what the sweep says."""
    found = [info.key for info in store.list(prefix)]
    return [
        key for key in found if not key.endswith(("lease.json", "drill.json", "sweep.json", "swept.json"))
    ]


class FreeFence:
    """A lease that is never lost, or that is lost at a certain check."""

    token = 1

    def __init__(self, lost_at: int | None = None) -> None:
        self.checks = 0
        self._lost_at = lost_at

    def check(self) -> None:
        from ops_pipelines.errors import LeaseLost

        self.checks += 1
        if self._lost_at is not None and self.checks >= self._lost_at:
            raise LeaseLost("lost", remedy="")
