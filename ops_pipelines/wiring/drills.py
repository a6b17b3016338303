"""The drill of one stack: throw-away places, the restored model started on free ports, the kept questions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from ops_pipelines.engines import snapshots as listing
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.drill import DrillReport, run_drill
from ops_pipelines.engines.ports import Embedder, PartTarget, Progress, silent
from ops_pipelines.engines.questions import ask
from ops_pipelines.policy.manifest import Manifest, Part
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring.connect import (
    drill_lease,
    embedder,
    layout,
    now,
    object_store,
    served_name,
    vector_store,
)
from ops_pipelines.wiring.listing import load, newest
from ops_pipelines.wiring.serving import serving
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.verifying import BY_DRILL

log = structlog.get_logger()


def drill(
    site: Site, snapshot: str | None = None, *, full: bool = False, progress: Progress = silent
) -> DrillReport:
    """Prove a snapshot (default: the newest), and mark it as drilled or failed.

    The live stack is not touched. Raises LeaseHeld where another drill of the stack runs, here or elsewhere,
    LeaseLost where another one took over (no mark is then written), SnapshotUnknown, SnapshotDamaged, Unreachable.
    """
    chosen = snapshot or newest(site)
    store, keys = object_store(site), layout(site)
    manifest = load(site, chosen)
    folder = site.state / "drill"
    with drill_lease(site, f"drill of {chosen}") as fence:
        targets = part_wiring.targets(site, manifest, scratch=site.scratch / "drill")
        _remove_leftovers(targets, folder)
        report = run_drill(
            manifest,
            targets,
            places=lambda part: _place(part, folder),
            fetch=fetcher(store, keys, chosen),
            serve=lambda caches: _serve(site, manifest, caches),
            ask=lambda server, model, name, place, texts: ask(
                server, served_name(site, model), vector_store(site, name), place, texts
            ),
            threshold=site.stack.drill.recall_at_10,
            full=full,
            clock=now,
            fence=fence,
            expected=part_wiring.asked_collections(site),
            progress=progress,
        )
        shutil.rmtree(folder, ignore_errors=True)
        fence.check()
        _mark(site, report)
    log.info(
        "drill.ended", stack_name=site.name, snapshot=chosen, verdict=report.verdict, recall=report.recall
    )
    return report


def _mark(site: Site, report: DrillReport) -> None:
    """Note on the snapshot what came of it; what is unknown is no mark."""
    kind = {"passed": "drilled", "failed": "failed"}.get(report.verdict)
    if kind is None:
        return
    facts = {
        "at": now().isoformat(), "by": BY_DRILL, "verdict": report.verdict, "recall": report.recall,
        "full": report.full,
    }  # fmt: skip
    listing.mark(object_store(site), layout(site), site.name, report.snapshot, kind, facts)


def _place(part: Part, folder: Path) -> str:
    """A throw-away place: a folder for files, a name beside the others for what lies in a server."""
    if part.kind in ("model_cache", "configuration"):
        return str(folder / part.kind / part.name)
    return part_wiring.DRILL


def _remove_leftovers(targets: Mapping[str, PartTarget], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for target in targets.values():
        for place in target.leftovers():
            if part_wiring.is_drill_place(place):
                target.discard(place)
                log.info("drill.leftover_removed", place=place)


@contextmanager
def _serve(site: Site, manifest: Manifest, caches: Mapping[str, str]) -> Iterator[Mapping[str, Embedder]]:
    """Start the servers of the models that the questions need, from the restored folders."""
    asked = {question.model for question in manifest.questions if question.model in site.stack.models}
    servers: dict[str, Embedder] = {}
    here: dict[str, str] = {}
    for model in asked:
        declared = site.stack.models[model]
        if declared.cache is None:
            servers[model] = embedder(site, model)
        elif declared.cache in caches and declared.served_by is not None:
            here[model] = declared.served_by
    if not here:
        yield servers
        return
    with serving(site, set(here.values()), caches, word=part_wiring.DRILL) as addresses:
        for model, component in here.items():
            if component in addresses:
                servers[model] = embedder(site, model, addresses[component])
        yield servers
