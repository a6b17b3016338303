"""How rows come into a new collection: inserted call by call, or as files that the server reads by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from ops_pipelines.engines.ports import ImportDepot, VectorStore
from ops_pipelines.errors import OpsError, PartFailed
from ops_pipelines.policy.bulk_import import file_batch, file_schema
from ops_pipelines.policy.rowcolumns import Batch, to_rows
from ops_pipelines.policy.vectors import CollectionSchema

_log = structlog.get_logger()
_AT_ONCE = 2
"""Files that the server reads, or that wait for it, while the next is written."""

_GROUP = 16 << 20
"""Bytes of rows that a server reads at once."""


class NotImported(PartFailed):
    """The server did not read the files: the rows can still be inserted."""


@dataclass(frozen=True)
class BulkImport:
    """Where files for the server lie, and when it is worth while."""

    depot: ImportDepot
    least: int = 50_000
    """Rows below which they are inserted."""
    bytes: int = 256 << 20
    """Size of rows in memory after which a file ends: what lies twice on a disk for a while."""


class Filling(Protocol):
    """Takes the rows of a new collection."""

    def add(self, partition: str, batch: Batch) -> None:
        """Rows of a partition, which come partition by partition."""
        ...

    def end(self) -> None:
        """All rows were given: have them in the collection."""
        ...


@dataclass(frozen=True)
class Inserting:
    """Inserts what it is given."""

    store: VectorStore
    place: str
    schema: CollectionSchema

    def add(self, partition: str, batch: Batch) -> None:
        """Insert rows."""
        rows = to_rows(self.schema, batch)
        self.store.insert(self.place, rows, partition=None if partition == "_default" else partition)

    def end(self) -> None:
        """Have them on the server's disk."""
        self.store.flush(self.place)


@dataclass
class Importing:
    """Writes files and has the server read them, one after the other. Raises NotImported where it does not."""

    store: VectorStore
    place: str
    schema: CollectionSchema
    by: BulkImport
    scratch: Path
    _file: Any = None
    _path: Path | None = None
    _partition: str = ""
    _held: list[Batch] = field(default_factory=list)
    _size: int = 0
    _files: int = 0
    _given: int = 0
    _read: int = 0
    _tasks: deque[tuple[int, str]] = field(default_factory=deque)

    @property
    def words(self) -> str:
        """What was done, for whoever reads of the restore."""
        return f"{self._read} rows came by bulk import of {self._files} files through {self.by.depot.name}"

    def add(self, partition: str, batch: Batch) -> None:
        """Write rows to the file that is open."""
        if not len(batch):
            return
        if self._file is not None and (partition != self._partition or self._size >= self.by.bytes):
            self._hand_over()
        if self._file is None:
            self._files += 1
            self._path = self.scratch / f"{self.place}.{self._files}.import.parquet"
            self._file = pq.ParquetWriter(
                self._path, file_schema(self.schema), compression="none", use_dictionary=False
            )
            self._partition, self._size = partition, 0
        self._held.append(file_batch(self.schema, batch))
        self._size += batch.nbytes
        self._given += len(batch)
        if sum(one.nbytes for one in self._held) >= _GROUP:
            self._write()

    def _write(self) -> None:
        if self._held:
            self._file.write_table(pa.Table.from_batches(self._held))
            self._held.clear()

    def end(self) -> None:
        """Wait until the server has read all files, and has as many rows as they held."""
        if self._file is not None:
            self._hand_over()
        while self._tasks:
            self._finish()
        if self._read != self._given:
            raise NotImported(
                f"the server read {self._read} rows of {self._given}", remedy="see the server's log"
            )

    def _hand_over(self) -> None:
        path, name = self._path, f"{self._files}.parquet"
        self._write()
        self._file.close()
        self._file = None
        if path is None:
            raise AssertionError("an open file has a path")
        while len(self._tasks) >= _AT_ONCE:
            self._finish()
        with _told():
            address = self.by.depot.give(path, self.place, name)
            partition = None if self._partition == "_default" else self._partition
            self._tasks.append((self.store.begin_import(self.place, address, partition=partition), name))

    def _finish(self) -> None:
        task, name = self._tasks.popleft()
        with _told():
            self._read += self.store.finish_import(task)
        self._clear(name)

    def close(self) -> None:
        """Take away the files, whatever has become of them. Never raises: the collection is what counts."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._clear()

    def _clear(self, name: str | None = None) -> None:
        try:
            self.by.depot.clear(self.place, name)
        except OpsError as error:
            _log.warning("files of an import not removed", collection=self.place, error=error.message)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OpsError as error:
        raise NotImported(error.message, remedy=error.remedy) from error
