"""The drill of one stack: throw-away places, the restored model started on free ports, the kept questions."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.engines import snapshots as listing
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.drill import DrillReport, Limits, run_drill
from ops_pipelines.engines.model_files import inspect_models
from ops_pipelines.engines.ports import Fence, PartTarget, Progress, silent
from ops_pipelines.engines.questions import ask
from ops_pipelines.engines.snapshots import SnapshotInfo
from ops_pipelines.errors import LeaseLost, SnapshotUnknown
from ops_pipelines.policy.drills import choose, room
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import needed_secrets
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring._drill_serving import serve
from ops_pipelines.wiring.connect import drill_lease, layout, now, object_store, served_name, vector_store
from ops_pipelines.wiring.listing import listed, load, newest
from ops_pipelines.wiring.site import Site

log = structlog.get_logger()

BY_DRILL = "drill"
"""Who put a mark on a snapshot."""
_IN_FOLDERS = ("model_cache", "configuration", "volume", "secrets")
"""Kinds of parts whose throw-away place is a folder; the others lie beside the live ones, in a server."""


def drill(
    site: Site,
    snapshot: str | None = None,
    *,
    full: bool = False,
    draw: float | None = None,
    progress: Progress = silent,
) -> DrillReport:
    """Prove a snapshot (default: by `drill.pick`), and mark it as drilled or failed.

    The live stack is not touched. `draw` (0 to 1) decides by `drill.pick: random` instead of chance. Raises
    LeaseHeld where another drill of the stack runs, here or elsewhere, LeaseLost where another one took over (no
    mark is then written), SnapshotUnknown, SnapshotDamaged, Unreachable.
    """
    known = listed(site)
    chosen = snapshot or _pick(site, known, random.random() if draw is None else draw)  # noqa: S311 - a sample
    manifest = load(site, chosen)
    with drill_lease(site, f"drill of {chosen}") as fence:
        report = _run(site, manifest, known, fence, full=full, ask_models=True, progress=progress)
        fence.check()
        _mark(site, report)
    log.info(
        "drill.ended", stack_name=site.name, snapshot=chosen, verdict=report.verdict, recall=report.recall
    )
    return report


def prove_restored(site: Site, manifest: Manifest, *, progress: Progress = silent) -> tuple[Finding, ...]:
    """Restore every part into its throw-away place, compare all of it, and clean up: a drill that asks nothing.

    Nothing is marked. Raises LeaseHeld where a drill of the stack runs, LeaseLost."""
    with drill_lease(site, f"restored to verify {manifest.snapshot}") as fence:
        return _run(site, manifest, (), fence, full=True, ask_models=False, progress=progress).findings


def _pick(site: Site, known: Sequence[SnapshotInfo], draw: float) -> str:
    declared = site.stack.drill
    chosen = choose([one.facts for one in known], declared.pick, declared.older, draw)
    return chosen or newest(site)  # which says what to do without any


def _run(
    site: Site,
    manifest: Manifest,
    known: Sequence[SnapshotInfo],
    fence: Fence,
    *,
    full: bool,
    ask_models: bool,
    progress: Progress,
) -> DrillReport:
    folder = _folder(site)
    targets = part_wiring.targets(site, manifest, scratch=site.scratch / "drill")
    _remove_leftovers(targets, folder)
    shutil.rmtree(site.scratch / "drill", ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)  # what was encrypted is open in here
    declared = site.stack.drill
    committed = sorted((datetime.fromisoformat(one.created) for one in known if one.complete), reverse=True)
    newest_two = (*committed[:2], None, None)
    try:
        return run_drill(
            manifest,
            targets,
            places=lambda part: _place(part, folder),
            fetch=fetcher(object_store(site), layout(site), manifest.snapshot, each_on_disk=False),
            serve=(lambda caches: serve(site, manifest, caches, full=full)) if ask_models else None,
            ask=lambda server, model, name, place, texts: ask(
                server, served_name(site, model), vector_store(site, name), place, texts
            ),
            threshold=declared.recall_at_10,
            full=full,
            clock=now,
            fence=fence,
            secrets=needed_secrets.check(site, manifest, manifest.parts),
            expected=part_wiring.asked_collections(site),
            inspect=inspect_models,
            limits=Limits(
                seconds=declared.time_limit,
                room=_room(site, manifest, folder),
                objectives=declared.objectives if ask_models else None,
                newest=newest_two[0],
                before=newest_two[1],
            ),
            progress=progress,
        )
    finally:
        if _still_ours(fence):
            shutil.rmtree(folder, ignore_errors=True)


def _still_ours(fence: Fence) -> bool:
    """Whether the places are still this drill's to clear away."""
    try:
        fence.check()
    except LeaseLost:
        return False
    return True


def _room(site: Site, manifest: Manifest, folder: Path) -> Finding:
    """Whether the places fit. Rows and dumps pass through the disk too, so all parts count."""
    disk = LocalMachine(site.settings.environ.get("PATH", "")).disk(folder)
    return room(manifest.size, None if disk is None else disk.free, site.stack.drill.space)


def _folder(site: Site) -> Path:
    """Where the throw-away folders lie: one of this stack's own, which is emptied."""
    declared = site.stack.drill.folder
    if declared is None:
        return site.state / "drill"
    return Path(site.folder, declared).expanduser() / f"ops-pipelines-drill-{site.name}"


def _mark(site: Site, report: DrillReport) -> None:
    """Note on the snapshot what came of it; what is unknown is no mark, and a missed objective no fault of it."""
    kind = {"passed": "drilled", "failed": "failed"}.get(report.proof)
    if kind is None:
        return
    facts = {
        "at": now().isoformat(), "by": BY_DRILL, "verdict": report.verdict, "recall": report.recall,
        "full": report.full, "rto": report.rto,
    }  # fmt: skip
    store, keys = object_store(site), layout(site)
    try:
        listing.known_snapshot(store, keys, site.name, report.snapshot)
    except SnapshotUnknown:  # pruned meanwhile
        log.info("drill.not_marked", stack_name=site.name, snapshot=report.snapshot, reason="it was pruned")
        return
    listing.mark(store, keys, site.name, report.snapshot, kind, facts)


def _place(part: Part, folder: Path) -> str:
    """A throw-away place: a folder for files, a name beside the others for what lies in a server."""
    if part.kind in _IN_FOLDERS:
        return str(folder / part.kind / part.name)
    return part_wiring.DRILL


def _remove_leftovers(targets: Mapping[str, PartTarget], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for target in targets.values():
        for place in target.leftovers():
            if part_wiring.is_drill_place(place):
                target.discard(place)
                log.info("drill.leftover_removed", place=place)
