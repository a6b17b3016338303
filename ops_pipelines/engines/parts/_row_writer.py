"""Rows of one partition after the other as files, encoded and hashed while the next rows are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ops_pipelines.engines.parts._row_files import slices, write_rows
from ops_pipelines.engines.ports import Captured
from ops_pipelines.policy.rowcolumns import Batch
from ops_pipelines.policy.rowdigests import RowSum
from ops_pipelines.policy.rowfiles import Cuts, Cutter, Key
from ops_pipelines.policy.vectors import CollectionSchema

_ENCODERS = 1
"""Files that are encoded at once."""


@dataclass(frozen=True)
class Rows:
    """Rows in order of their keys, with what was reckoned of them."""

    batch: Batch
    keys: Any
    """Arrow column of the primary keys."""
    hashes: Any
    digests: Any
    sizes: Any
    """Bytes of each row."""

    def __len__(self) -> int:
        return len(self.batch)

    def cut(self, rows: slice) -> Rows:
        """Some rows that follow each other."""
        length = rows.stop - rows.start
        return Rows(
            self.batch.slice(rows.start, length),
            self.keys.slice(rows.start, length),
            self.hashes[rows],
            self.digests[rows],
            self.sizes[rows],
        )

    def pick(self, mask: Any) -> Rows:
        """The rows for which the mask holds."""
        return Rows(
            self.batch.filter(pa.array(mask)),
            self.keys.filter(pa.array(mask)),
            self.hashes[mask],
            self.digests[mask],
            self.sizes[mask],
        )


@dataclass
class Written:
    """One file of rows: its path, what it holds, and once it is written, what it is."""

    path: str
    first: Key
    last: Key
    sum: RowSum = field(default_factory=RowSum)
    pieces: list[Rows] = field(default_factory=list)

    @property
    def facts(self) -> list[Any]:
        """Number of its rows, their digest, first and last key."""
        return [self.sum.rows, self.sum.digest, self.first, self.last]

    @property
    def keys(self) -> Any:
        """Keys of its rows."""
        return pa.concat_arrays([piece.keys for piece in self.pieces])

    @property
    def digests(self) -> Any:
        """Digests of its rows."""
        return np.concatenate([piece.digests for piece in self.pieces])


Name = Callable[[str, Key], str]
"""Path of a file by its partition and first key."""
Done = Callable[[Written, Captured], None]


class RowWriter:
    """Writes files of rows below a folder. `done` is told of each, in order, once it is written."""

    def __init__(self, schema: CollectionSchema, folder: Path, cuts: Cuts, name: Name, done: Done) -> None:
        self._schema = schema
        self._folder = folder
        self._cuts = cuts
        self._name = name
        self._done = done
        self._cutter = Cutter(cuts)
        self._open: Written | None = None
        self._pool = ThreadPoolExecutor(_ENCODERS, thread_name_prefix="rows")
        self._waiting: deque[tuple[Written, Future[Captured]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, partition: str, rows: Rows) -> None:
        """Rows that follow, in order of their keys, those that came before."""
        for begins, where in slices(rows, self._cutter.begins(rows.hashes, rows.sizes)):
            piece = rows.cut(where)
            last = piece.keys[len(piece) - 1].as_py()
            if begins:
                self._finish()
                first = piece.keys[0].as_py()
                self._open = Written(self._name(partition, first), first, last)
            if self._open is None:
                raise AssertionError("the first row of all begins a file")
            self._open.pieces.append(piece)
            self._open.sum.add(piece.digests)
            self._open.last = last

    def _finish(self) -> None:
        if self._open is None:
            return
        one, self._open = self._open, None
        if len(self._waiting) > _ENCODERS:
            self._settle()
        batches = [piece.batch for piece in one.pieces]
        self._waiting.append(
            (one, self._pool.submit(write_rows, self._folder, one.path, self._schema, batches))
        )

    def _settle(self) -> None:
        one, future = self._waiting.popleft()
        self._done(one, future.result())

    def cut(self) -> None:
        """The next row begins a file, and `done` is told of all before. Raises what writing them has raised."""
        self._finish()
        while self._waiting:
            self._settle()
        self._cutter = Cutter(self._cuts)
