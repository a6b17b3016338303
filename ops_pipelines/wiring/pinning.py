"""Snapshots that stay until somebody lets them go."""

from __future__ import annotations

import structlog

from ops_pipelines.engines import snapshots as engine
from ops_pipelines.wiring.connect import layout, lease, now, object_store
from ops_pipelines.wiring.listing import load
from ops_pipelines.wiring.site import Site

log = structlog.get_logger()


def pin(site: Site, snapshot: str, *, reason: str = "", by: str) -> None:
    """Keep a snapshot, whatever `backup.keep` says.

    It is done under the stack's lease, as prune is: a snapshot that is pinned is not one that is just being
    removed. Raises SnapshotUnknown, SnapshotDamaged, FormatTooNew, LeaseHeld.
    """
    store, keys = object_store(site), layout(site)
    with lease(site, f"pin of {snapshot} ({by})") as fence:
        load(site, snapshot)
        fence.check()
        facts = {"at": now().isoformat(), "by": by, "reason": reason}
        engine.mark(store, keys, site.name, snapshot, "pinned", facts)
    log.info("snapshot pinned", stack_name=site.name, snapshot=snapshot, reason=reason)


def unpin(site: Site, snapshot: str) -> bool:
    """Let `backup.keep` decide about a snapshot again; False where it was not pinned. Raises as `pin` does, but
    for a damaged one: it may go."""
    store, keys = object_store(site), layout(site)
    engine.known_snapshot(store, keys, site.name, snapshot)
    if store.head(keys.mark(site.name, snapshot, "pinned")) is None:
        return False
    engine.unmark(store, keys, site.name, snapshot, "pinned")
    log.info("snapshot unpinned", stack_name=site.name, snapshot=snapshot)
    return True
