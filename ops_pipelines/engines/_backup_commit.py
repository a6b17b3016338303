"""The commit of a snapshot: one conditional write of its manifest, looked at again afterwards."""

from __future__ import annotations

from ops_pipelines.engines.ports import Fence, ObjectStore
from ops_pipelines.errors import LeaseLost, ObjectMissing, PreconditionFailed, SnapshotDamaged
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest, decode, encode


def commit(manifest: Manifest, store: ObjectStore, layout: Layout, fence: Fence) -> Manifest:
    """Write the manifest, which must be new, and return it as it was read back.

    Raises LeaseLost, with nothing committed, PreconditionFailed where another one is there, SnapshotDamaged."""
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
