"""Which snapshots of one stack there are, and what is known of them."""

from __future__ import annotations

from ops_pipelines.engines import snapshots as engine
from ops_pipelines.engines.snapshots import SnapshotInfo
from ops_pipelines.errors import SnapshotUnknown
from ops_pipelines.policy.manifest import Manifest
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


def state_in_words(one: SnapshotInfo) -> str:
    """What is known of a snapshot, in a few words."""
    if not one.complete:
        return f"{one.state}: {one.problem}" if one.problem else one.state
    good = [kind for kind in ("verified", "drilled", "pinned") if kind in one.marks]
    if one.facts.bad:
        return "FAILED its last check"
    return ", ".join(good) or "not verified"


def load(site: Site, snapshot: str) -> Manifest:
    """The manifest of a snapshot. Raises SnapshotUnknown, SnapshotDamaged, FormatTooNew."""
    return engine.load_manifest(object_store(site), layout(site), site.name, snapshot)
