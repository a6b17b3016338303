"""One part stored by itself, without a snapshot: what a container does for a backup that runs elsewhere.

Its content is in the bucket when this returns; whoever takes the snapshot confirms it with all the rest, and commits.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import structlog

from ops_pipelines.engines._backup_store import Into, Tally
from ops_pipelines.engines._blobs import WORKERS, listed_sizes
from ops_pipelines.engines._hold import Nothing, hold_nothing
from ops_pipelines.engines.backup import _Parts
from ops_pipelines.engines.ports import Clock, Fence, ObjectStore, PartSource, Progress
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Part

log = structlog.get_logger()


def store_part(
    source: PartSource,
    *,
    store: ObjectStore,
    layout: Layout,
    fence: Fence,
    clock: Clock,
    scratch: Path,
    progress: Progress,
    parallel: int = WORKERS,
) -> tuple[Part, Collection[str]]:
    """The part, and the digests of the blobs that were new. `scratch` is emptied first and last.

    Raises what `take_snapshot` raises for a part; nothing is listed anywhere then."""
    tally = Tally(listed_sizes(store, layout))
    into = Into(store, layout, fence, tally, progress, parallel, lambda: None)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(mode=0o700, parents=True)
        part = _Parts(scratch, into, clock, hold_nothing, {}, log).take(source, Nothing())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return part, tally.new.keys()
