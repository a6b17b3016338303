"""A vector collection as a part of a backup: its schema, and its rows as files that stay the same.

Rows are read in order of their keys and cut into files at keys (`policy/rowfiles.py`), so that a night's
backup stores only the files in which a row changed. A restore builds a new collection beside the live one.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import structlog

from ops_pipelines.engines._blobs import file_digest
from ops_pipelines.engines.parts._ahead import ahead
from ops_pipelines.engines.parts._collection_choice import Choice
from ops_pipelines.engines.parts._collection_target import CollectionTarget
from ops_pipelines.engines.parts._row_files import slices, write_rows
from ops_pipelines.engines.ports import Capture, Captured, Progress, VectorStore
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.collection_schema import SCHEMA_FILE, encode_schema
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.rowcolumns import Batch
from ops_pipelines.policy.rowdigests import SCHEME, RowSum, digested
from ops_pipelines.policy.rowfiles import Cuts, Cutter, Sample, file_path, key_hashes, partitions
from ops_pipelines.policy.vectors import ROWS, CollectionSchema, CollectionState

__all__ = ["Choice", "CollectionSource", "CollectionTarget"]

_log = structlog.get_logger()
_ENCODERS = 1
"""Files that are encoded at once."""


@dataclass(frozen=True)
class CollectionSource:
    """One live collection. `name` is its alias, or its own name where it has none."""

    name: str
    store: VectorStore
    sample: int = 1000
    """Rows whose digests are kept in the facts, for a light check of a restored copy."""
    cuts: Cuts = field(default_factory=Cuts)
    batch: int = 8000
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
        with _Written(state.schema, scratch, self.cuts, self.sample) as written:
            for partition in partitions(state.schema):
                for page in ahead(self.store.batches(state.name, batch=self.batch, partition=partition)):
                    written.add(partition or "_default", page)
                    progress(f"read {self.name}", written.sum.rows, state.rows, "rows")
                written.close()
        after = self.store.count(state.name)
        still = state.rows == after == written.sum.rows
        files = (_captured(SCHEMA_FILE, schema_file), *written.captured)
        _log.info(
            "collection read", collection=state.name, rows=written.sum.rows, files=len(files), still=still
        )
        return Capture(files, self._facts(state, server, written, after), "quiesced" if still else "fuzzy")

    def _facts(self, state: CollectionState, server: str, written: _Written, after: int) -> Mapping[str, Any]:
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
            "sample": [list(entry) for entry in written.sample.rows],
            "cuts": asdict(self.cuts),
            "scheme": SCHEME,
            "lost": list(state.notes),
        }


def _captured(path: str, source: Path) -> Captured:
    return Captured(FileEntry(path, source.stat().st_size, file_digest(source)), source)


class _Written:
    """The files of rows as they are written, and what is counted on the way.

    Files are encoded, hashed and written by threads of their own while the next rows are read."""

    def __init__(self, schema: CollectionSchema, folder: Path, cuts: Cuts, sample: int) -> None:
        self._schema = schema
        self._folder = folder
        self._cuts = cuts
        self._cutter = Cutter(cuts)
        self._open: _Open | None = None
        self._pool = ThreadPoolExecutor(_ENCODERS, thread_name_prefix="rows")
        self._waiting: deque[Future[Captured]] = deque()
        self.sum = RowSum()
        self.sample = Sample(sample)
        self.captured: list[Captured] = []
        self.files: dict[str, list[Any]] = {}
        """Path -> number of its rows, their digest, first and last key."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, partition: str, page: Batch) -> None:
        """Rows of a partition that follow, in order of their keys, those that came before."""
        digests, sizes = digested(self._schema, page)
        keys = page.column(self._schema.primary.name)
        hashes = key_hashes(keys)
        self.sum.add(digests)
        self.sample.add(keys, hashes, digests)
        for begins, rows in slices(page, self._cutter.begins(hashes, sizes)):
            first, last = keys[rows.start].as_py(), keys[rows.stop - 1].as_py()
            if begins:
                self._finish()
                self._open = _Open(file_path(partition, first), first)
            if self._open is None:
                raise AssertionError("the first row of all begins a file")
            self._open.add(page.slice(rows.start, rows.stop - rows.start), digests[rows], last)

    def _finish(self) -> None:
        if self._open is None:
            return
        one, self._open = self._open, None
        self.files[one.path] = [one.sum.rows, one.sum.digest, one.first, one.last]
        if len(self._waiting) > _ENCODERS:
            self.captured.append(self._waiting.popleft().result())
        self._waiting.append(self._pool.submit(write_rows, self._folder, one.path, self._schema, one.batches))

    def close(self) -> None:
        """The end of a partition: the next row begins a file. Raises what writing a file has raised."""
        self._finish()
        while self._waiting:
            self.captured.append(self._waiting.popleft().result())
        self._cutter = Cutter(self._cuts)


@dataclass
class _Open:
    """The file that rows are gathered for."""

    path: str
    first: Any
    last: Any = None
    batches: list[Batch] = field(default_factory=list)
    sum: RowSum = field(default_factory=RowSum)

    def add(self, rows: Batch, digests: Any, last: Any) -> None:
        self.batches.append(rows)
        self.sum.add(digests)
        self.last = last
