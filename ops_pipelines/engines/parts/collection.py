"""A vector collection as a part of a backup: its schema, and its rows as files that stay the same.

Rows are read in order of their keys and cut into files at keys (`policy/rowfiles.py`), so that a night's
backup stores only the files in which a row changed. A restore builds a new collection beside the live one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from ops_pipelines.engines._blobs import file_digest
from ops_pipelines.engines.parts._ahead import ahead
from ops_pipelines.engines.parts._collection_choice import Choice
from ops_pipelines.engines.parts._collection_target import CollectionTarget
from ops_pipelines.engines.parts._row_capture import RowCapture, Stored, nothing_stored
from ops_pipelines.engines.ports import Capture, Captured, Progress, VectorStore
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.collection_schema import SCHEMA_FILE, encode_schema
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.rowdigests import SCHEME
from ops_pipelines.policy.rowfiles import Cuts, partitions
from ops_pipelines.policy.vectors import ROWS, CollectionState

__all__ = ["Choice", "CollectionSource", "CollectionTarget"]

_log = structlog.get_logger()


@dataclass(frozen=True)
class CollectionSource:
    """One live collection. `name` is its alias, or its own name where it has none."""

    name: str
    store: VectorStore
    sample: int = 1000
    """Rows whose digests are kept in the facts, for a light check of a restored copy."""
    cuts: Cuts = field(default_factory=Cuts)
    batch: int = 8000
    memory: Path | None = None
    """File that remembers what the last backup stored, so that a new row costs a row; None: every file is made."""
    stored: Stored = nothing_stored
    """Tells which of the last backup's files the bucket still has."""
    kind: str = "collection"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Write `schema.json` and the rows below `scratch`.

        A few pages and a few files of rows (`cuts.bytes`) are in memory at a time. The rows are not frozen
        meanwhile: where their number changes, the consistency is `fuzzy` and the facts say both counts.
        Raises PartFailed where the collection is not there: an empty one is, with 0 rows."""
        state = self.store.state(self.name)
        if state is None:
            raise PartFailed(
                f"the collection {self.name} is not there",
                remedy="deploy the stack, which creates it, or set `backup: false` for it",
            )
        server = self.store.version()
        schema_file = scratch / SCHEMA_FILE
        schema_file.write_bytes(encode_schema(state, server))
        with RowCapture(state.schema, scratch, self.cuts, self.sample, self.memory, self.stored) as written:
            for partition in partitions(state.schema):
                pages = ahead(self.store.batches(state.name, batch=self.batch, partition=partition))
                with closing(pages):
                    for done in written.read(partition or "_default", pages):
                        progress(f"read {self.name}", done, state.rows, "rows")
        after = self.store.count(state.name)
        still = state.rows == after == written.sum.rows
        files = (_captured(SCHEMA_FILE, schema_file), *written.captured)
        _log.info(
            "collection read", collection=state.name, rows=written.sum.rows, files=len(files), still=still
        )
        facts = self._facts(state, server, written, after)
        return Capture(files, facts, "quiesced" if still else "fuzzy", proved=written.keep)

    def _facts(
        self, state: CollectionState, server: str, written: RowCapture, after: int
    ) -> Mapping[str, Any]:
        dimensions = {one.name: one.dimension for one in state.schema.vectors if one.dimension}
        return {
            "mode": ROWS,
            "rows": written.sum.rows,
            "rows_before": state.rows,
            "rows_after": after,
            "primary": state.schema.primary.name,
            "dimension": next(iter(dimensions.values()), None),
            "dimensions": dimensions,
            "physical": state.name,
            "alias": state.alias,
            "server": server,
            "schema": json.loads(encode_schema(state, server)),
            "digest": written.sum.digest,
            "files": written.files,
            "begins": written.begins,
            "sample": [list(entry) for entry in written.sample.rows],
            "cuts": asdict(self.cuts),
            "scheme": SCHEME,
            "lost": list(state.notes),
        }


def _captured(path: str, source: Path) -> Captured:
    return Captured(FileEntry(path, source.stat().st_size, file_digest(source)), source)
