"""Which snapshots of one stack there are, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.attempts import read_attempt
from ops_pipelines.engines.snapshots import SnapshotInfo
from ops_pipelines.errors import SnapshotUnknown
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.snapshot_diff import SnapshotDiff, compare
from ops_pipelines.wiring.connect import layout, object_store
from ops_pipelines.wiring.site import Site


def listed(site: Site) -> tuple[SnapshotInfo, ...]:
    """The stack's snapshots, newest first."""
    return engine.list_snapshots(object_store(site), layout(site), site.name)


def restorable(site: Site) -> list[str]:
    """Ids of the snapshots that are whole, oldest first."""
    return sorted(one.id for one in listed(site) if one.complete)


def newest(site: Site) -> str:
    """Id of the newest snapshot. Raises SnapshotUnknown where there is none."""
    found = restorable(site)
    if not found:
        raise SnapshotUnknown(
            f"{site.name} has no snapshot in {object_store(site).name}",
            remedy=f"take one: ops-pipelines backup {site.name}",
        )
    return found[-1]


def last_attempt(site: Site, found: Sequence[SnapshotInfo]) -> str:
    """What a person must know of the latest backup that was begun: how it failed, or that this is unknown.

    Empty where it, or a later one, has committed one of the `found` snapshots."""
    attempt = read_attempt(object_store(site), layout(site), site.name)
    if attempt is None or attempt.answered([one.facts for one in found]):
        return ""
    return attempt.words


def state_in_words(one: SnapshotInfo) -> str:
    """What is known of a snapshot, in a few words."""
    if not one.complete:
        return f"{one.state}: {one.problem}" if one.problem else one.state
    pinned = [f"pinned ({one.pinned_for})" if one.pinned_for else "pinned"] if "pinned" in one.marks else []
    if one.facts.bad:
        return ", ".join(["FAILED its last check", *pinned])
    good = [kind for kind in ("verified", "drilled") if kind in one.marks]
    return ", ".join([*(good or ["not verified"]), *pinned])


def newest_manifest(site: Site) -> Manifest | None:
    """The manifest of the newest snapshot, or None where there is none: one listing and one request."""
    store, keys = object_store(site), layout(site)
    there = (keys.snapshot_of(info.key) for info in store.list(keys.snapshots(site.name)))
    ids = [found[0] for found in there if found is not None and found[1] == "manifest.json"]
    return engine.load_manifest(store, keys, site.name, max(ids)) if ids else None


def load(site: Site, snapshot: str) -> Manifest:
    """The manifest of a snapshot. Raises SnapshotUnknown, SnapshotDamaged, FormatTooNew."""
    return engine.load_manifest(object_store(site), layout(site), site.name, snapshot)


def difference(site: Site, before: str, after: str) -> SnapshotDiff:
    """How two snapshots differ. Raises SnapshotUnknown, SnapshotDamaged, FormatTooNew."""
    return compare(load(site, before), load(site, after))
