"""One backup or restore by our engine, in a process of its own; what it took as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines import snapshots
from ops_pipelines.policy.layout import Layout

if TYPE_CHECKING:
    from ops_pipelines.engines.ports import Progress
    from ops_pipelines.policy.models import Inventory

_CACHES = {"ollama": "ollama", "small": "directory"}


def _connect(bucket: str) -> S3Store:
    environ = os.environ
    return S3Store.connect(
        bucket=bucket,
        endpoint=environ["AWS_ENDPOINT_URL"],
        access_key=environ["AWS_ACCESS_KEY_ID"],
        secret_key=environ["AWS_SECRET_ACCESS_KEY"],
    )


def backup(bucket: str, data: str, state: str) -> dict[str, float]:
    """The lease, the inventory of two model caches, what is new, the proof, the commit."""
    from ops_pipelines.adapters.cachefiles import remember, scan
    from ops_pipelines.engines.backup import take_snapshot
    from ops_pipelines.engines.lease import take_lease
    from ops_pipelines.engines.parts.model_cache import ModelCacheSource

    store, layout = _connect(bucket), Layout("ops")
    scratch = Path(state) / bucket
    read = 0

    def source(name: str, kind: str) -> ModelCacheSource:
        def take(replica: int, progress: Progress) -> Inventory:
            nonlocal read
            index = scratch / f"{name}.json"
            found = scan(
                Path(data) / name,
                kind,
                cache=name,
                replica=replica,
                index=index,
                defer=True,
                progress=progress,
            )
            read += found.hashed
            return found

        def stored(taken: Inventory) -> None:
            remember(scratch / f"{name}.json", taken)

        return ModelCacheSource(name, 1, take, remember=stored)

    _ = store._client  # a backup needs botocore: importing it is the start's time, not the engine's
    begun = time.perf_counter()
    with take_lease(store, layout, "bench", holder="bench", purpose="bench", ttl=60, clock=_now) as fence:
        snapshots.write_format(store, layout)
        sources = [source(name, kind) for name, kind in _CACHES.items()]
        take_snapshot("bench", sources, store=store, layout=layout, fence=fence, clock=_now, scratch=scratch)
    return {"seconds": time.perf_counter() - begun, "requests": store.requests, "read": read}


def restore(bucket: str, out: str, state: str) -> dict[str, float]:  # noqa: ARG001 - as the other
    """The newest snapshot as files, every digest checked."""
    from ops_pipelines.wiring.bucket import OpenBucket
    from ops_pipelines.wiring.bucket import restore as bring

    opened = OpenBucket(_connect(bucket), Layout("ops"))
    begun = time.perf_counter()
    newest = snapshots.list_snapshots(opened.store, opened.layout, "bench")[0].id
    bring(opened, "bench", newest, into=Path(out))
    return {"seconds": time.perf_counter() - begun, "requests": opened.store.requests}


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(json.dumps({"backup": backup, "restore": restore}[sys.argv[1]](*sys.argv[2:])))
