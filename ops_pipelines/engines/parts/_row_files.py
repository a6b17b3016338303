"""Rows of a collection as Parquet files, and back, bit for bit.

The same rows give the same bytes: no dictionary, no statistics, no time, groups of a fixed number of rows.
Float vectors are stored octet by octet (BYTE_STREAM_SPLIT), which zstd makes a tenth smaller. A new pyarrow
writes its version into a file, so the first backup after an upgrade stores the rows anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ops_pipelines.engines.ports import Captured
from ops_pipelines.errors import SnapshotDamaged
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.rowcolumns import Batch, columns_of
from ops_pipelines.policy.vectors import CollectionSchema

_GROUP = 4096
"""Rows of a group: what a reader holds in memory at once."""


def write_rows(folder: Path, path: str, schema: CollectionSchema, batches: Sequence[Batch]) -> Captured:
    """Write one file of rows to `folder / path`, and say what it holds."""
    # One piece for each column: where pieces meet, pages would end, and equal rows be other bytes.
    table = pa.Table.from_batches(batches, schema=columns_of(schema)).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_statistics=False,
        version="2.6",
        data_page_version="1.0",
        row_group_size=_GROUP,
        column_encoding={
            f"{field.name}.list.element": "BYTE_STREAM_SPLIT"
            for field in schema.vectors
            if field.type == "float_vector"
        },
    )
    return _written(folder, path, memoryview(sink.getvalue()))


def _written(folder: Path, path: str, content: memoryview) -> Captured:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return Captured(FileEntry(path, len(content), hashlib.sha256(content).hexdigest()), file)


def read_batches(path: Path, schema: CollectionSchema, *, batch: int = 1000) -> Iterator[Batch]:
    """The rows of a file, `batch` at a time.

    Raises SnapshotDamaged where it is no Parquet file, or does not hold the schema's columns."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(columns_of(schema)):
                raise _damaged(path, "its columns are not those of the collection's schema")
            yield from file.iter_batches(batch_size=batch)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, str(error)) from error


def write_keys(folder: Path, path: str, keys: Any) -> Captured:
    """Write one file of keys to `folder / path`, and say what it holds."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"key": keys}), sink, compression="zstd", use_dictionary=False, write_statistics=False
    )
    return _written(folder, path, memoryview(sink.getvalue()))


def read_keys(path: Path) -> Any:
    """The keys of a file. Raises SnapshotDamaged."""
    try:
        return pq.read_table(path).column("key").combine_chunks()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(path, str(error)) from error


def slices(batch: Any, places: Sequence[int]) -> Iterator[tuple[bool, slice]]:
    """A run of rows cut at places: whether a piece begins at one, and where it lies."""
    edges = [*places, len(batch)]
    if not places or places[0]:
        yield False, slice(0, edges[0])
    for start, end in zip(places, edges[1:], strict=True):
        yield True, slice(start, end)


def _damaged(path: Path, why: str) -> SnapshotDamaged:
    return SnapshotDamaged(
        f"the rows in {path.name} are not readable: {why}",
        remedy="restore from another snapshot (`ops-pipelines snapshots STACK` lists them)",
    )
