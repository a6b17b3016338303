"""A vector collection as a part of a backup: its schema, and its rows as files that stay the same.

Rows are read in order of their keys and cut into files at keys (`policy/rowfiles.py`), so that a night's
backup stores only the files in which a row changed. A restore builds a new collection beside the live one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from ops_pipelines.engines.parts._collection_target import CollectionTarget
from ops_pipelines.engines.parts._row_files import RowFile
from ops_pipelines.engines.ports import Capture, Captured, Progress, VectorStore
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.collection_schema import SCHEMA_FILE, encode_schema
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.rowfiles import Cuts, Cutter, Tally, file_path, row_digest
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState

__all__ = ["CollectionSource", "CollectionTarget"]

_log = structlog.get_logger()
_HASHED = 1 << 20


@dataclass(frozen=True)
class CollectionSource:
    """One live collection. `name` is its alias, or its own name where it has none."""

    name: str
    store: VectorStore
    sample: int = 1000
    """Rows whose digests are kept in the facts, for a light check of a restored copy."""
    cuts: Cuts = field(default_factory=Cuts)
    batch: int = 2000
    kind: str = "collection"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Write `schema.json` and the rows below `scratch`.

        One batch and one group of rows are in memory at a time. The rows are not frozen meanwhile: where their
        number changes, the consistency is `fuzzy` and the facts say both counts. Raises PartFailed where the
        collection is not there: an empty one is, with 0 rows."""
        state = self.store.state(self.name)
        if state is None:
            raise PartFailed(
                f"the collection {self.name} is not there",
                remedy="deploy the stack, which creates it, or set `backup: false` for it",
            )
        server = self.store.version()
        schema_file = scratch / SCHEMA_FILE
        schema_file.write_bytes(encode_schema(state, server))
        written = _Written(state.schema, scratch, self.cuts, Tally(self.sample))
        for partition in _partitions(state.schema):
            for page in self.store.rows(state.name, batch=self.batch, partition=partition):
                for row in page:
                    written.add(partition or "_default", row)
                progress(f"read {self.name}", written.tally.rows, state.rows, "rows")
            written.close()
        after = self.store.count(state.name)
        still = state.rows == after == written.tally.rows
        files = (_captured(SCHEMA_FILE, schema_file), *written.captured)
        _log.info(
            "collection read", collection=state.name, rows=written.tally.rows, files=len(files), still=still
        )
        return Capture(files, self._facts(state, server, written, after), "quiesced" if still else "fuzzy")

    def _facts(self, state: CollectionState, server: str, written: _Written, after: int) -> Mapping[str, Any]:
        dimensions = {one.name: one.dimension for one in state.schema.vectors if one.dimension}
        return {
            "rows": written.tally.rows,
            "rows_before": state.rows,
            "rows_after": after,
            "primary": state.schema.primary.name,
            "dimension": next(iter(dimensions.values()), None),
            "dimensions": dimensions,
            "physical": state.name,
            "alias": state.alias,
            "server": server,
            "schema": json.loads(encode_schema(state, server)),
            "digest": written.tally.digest,
            "files": written.files,
            "sample": [list(entry) for entry in written.tally.sample],
            "cuts": asdict(self.cuts),
            "lost": list(state.notes),
        }


def _partitions(schema: CollectionSchema) -> tuple[str | None, ...]:
    """Partitions to read one by one; None, the whole, where there is but the default one."""
    return ("_default", *schema.partitions) if schema.partitions else (None,)


def _captured(path: str, source: Path) -> Captured:
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while piece := file.read(_HASHED):
            digest.update(piece)
    return Captured(FileEntry(path, source.stat().st_size, digest.hexdigest()), source)


class _Written:
    """The files of rows as they are written, and what is counted on the way."""

    def __init__(self, schema: CollectionSchema, folder: Path, cuts: Cuts, tally: Tally) -> None:
        self._schema = schema
        self._folder = folder
        self._cuts = cuts
        self._cutter = Cutter(cuts)
        self._file: tuple[str, RowFile, Tally] | None = None
        self.tally = tally
        self.captured: list[Captured] = []
        self.files: dict[str, list[Any]] = {}
        """Path -> number of its rows, their digest, first and last key."""

    def add(self, partition: str, row: Mapping[str, Any]) -> None:
        key = row[self._schema.primary.name]
        if self._cutter.begins(key):
            self._finish()
            path = file_path(partition, key)
            self._file = (path, RowFile(self._folder / path, self._schema), Tally())
            self.files[path] = [0, "", key, key]
        path, file, tally = self._open()
        digest = row_digest(self._schema, row)
        file.add(row)
        tally.add(key, digest)
        self.tally.add(key, digest)
        self.files[path][3] = key

    def _open(self) -> tuple[str, RowFile, Tally]:
        if self._file is None:
            raise AssertionError("the first row of all begins a file")
        return self._file

    def _finish(self) -> None:
        if self._file is not None:
            path, file, tally = self._file
            file.close()
            self.files[path][:2] = [tally.rows, tally.digest]
            self.captured.append(_captured(path, self._folder / path))
            self._file = None

    def close(self) -> None:
        """The end of a partition: the next row begins a file."""
        self._finish()
        self._cutter = Cutter(self._cuts)
