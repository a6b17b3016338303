"""Is a snapshot still whole in the bucket, and the marks that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.engines.verify import verify_snapshot
from ops_pipelines.policy.drills import verdict
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring.connect import layout, now, object_store
from ops_pipelines.wiring.drills import BY_DRILL, prove_restored
from ops_pipelines.wiring.listing import load
from ops_pipelines.wiring.site import Site

Depth = Literal["listed", "sizes", "checksums", "restored"]
"""`restored`: every part is restored into a throw-away place and compared. The others: see engines.verify."""
BY_VERIFY = "verify"
"""Who put the mark `failed` on a snapshot."""
_DEPTHS: tuple[Depth, ...] = ("listed", "sizes", "checksums", "restored")


def verify(site: Site, snapshot: str, *, depth: Depth, progress: Progress = silent) -> tuple[Finding, ...]:
    """Compare a snapshot with the bucket, and mark what came of it. What is unknown is not marked.

    A mark `failed` goes only where what found the fault, or a closer look, finds it no more. Raises LeaseHeld
    where a drill of the stack runs, with depth `restored`.
    """
    store, keys = object_store(site), layout(site)
    manifest = load(site, snapshot)
    if depth == "restored":
        findings = prove_restored(site, manifest, progress=progress)
    else:
        findings = verify_snapshot(manifest, store=store, layout=keys, depth=depth, progress=progress)
    found = verdict(findings)
    facts = {"at": now().isoformat(), "depth": depth, "by": BY_VERIFY}
    if found == "failed":
        engine.mark(store, keys, site.name, snapshot, "failed", facts)
    elif found == "passed" and depth != "listed":
        earlier = engine.read_mark(store, keys, site.name, snapshot, "failed")
        if earlier is not None and not _answered(earlier, depth):
            return (*findings, _stays_failed(snapshot, earlier))
        engine.mark(store, keys, site.name, snapshot, "verified", facts)
    return findings


def _answered(earlier: Mapping[str, Any], depth: Depth) -> bool:
    """Whether a good look of this depth takes an earlier failure back. What a drill found, a drill must."""
    found = earlier.get("depth")
    if earlier.get("by") == BY_DRILL or "verdict" in earlier:
        return False
    return found not in _DEPTHS or _DEPTHS.index(depth) >= _DEPTHS.index(found)


def _stays_failed(snapshot: str, earlier: Mapping[str, Any]) -> Finding:
    what = "drill" if earlier.get("by") == BY_DRILL or "verdict" in earlier else "verification"
    remedy = "drill it again" if what == "drill" else "verify it with a depth that looks as closely"
    words = f"stays marked as failed: its {what} at {earlier.get('at', 'an unknown time')} found a fault"
    return Finding(snapshot, True, words, remedy, "info")
