"""Does a store keep to the conditions of a write? Asked before a backup, as the lease and the commit stand on it."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.engines.snapshots import write_format
from ops_pipelines.errors import PreconditionFailed, Refused
from ops_pipelines.policy.layout import Layout

_AGAIN = timedelta(days=7)


def require_conditional_writes(store: ObjectStore, layout: Layout, memory: Path, now: datetime) -> None:
    """Try a write that must be refused, unless this store refused one within the last week, as `memory` says.

    What is written is what is there already, so a store that does write it has changed nothing. Raises Refused
    for such a store, with the two ways out."""
    if _proved(memory, store.name, now):
        return
    write_format(store, layout)
    content, _ = store.get(layout.format)
    try:
        store.put(layout.format, content, if_absent=True)
    except PreconditionFailed:
        _remember(memory, store.name, now)
        return
    raise Refused(
        f"{store.name} overwrites an object although the write's condition (If-None-Match) does not hold: two "
        "backups could hold the same lease, and one commit could replace another",
        remedy="use a store with conditional writes (Amazon S3, MinIO, SeaweedFS, Ceph have them); or declare "
        "`backup.conditional_writes: none`, if only one machine ever works on this bucket",
    )


def _proved(memory: Path, name: str, now: datetime) -> bool:
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        return bool(kept["store"] == name and now - datetime.fromisoformat(kept["at"]) < _AGAIN)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remember(memory: Path, name: str, now: datetime) -> None:
    with suppress(OSError):  # it is asked again then
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"store": name, "at": now.isoformat()}), encoding="utf-8")
