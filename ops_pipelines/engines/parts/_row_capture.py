"""The rows of a collection as files, with those files taken over from the last backup that hardly changed.

A file that an earlier backup wrote (a base) is taken over as long as few rows of its range of keys are new, other
or gone: the new and the other rows are written beside it (`delta/`), the keys of the gone ones too (`gone/`). They
are always reckoned against the base itself, never against each other, so a snapshot is its bases and one layer.
Where more than an eighth of a range has changed, its rows are written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ops_pipelines.engines.parts._row_files import write_keys
from ops_pipelines.engines.parts._row_memory import KEPT, Base, Remembered, Remembering
from ops_pipelines.engines.parts._row_writer import Rows, RowWriter, Written
from ops_pipelines.engines.ports import Captured
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.rowcolumns import Batch
from ops_pipelines.policy.rowdigests import RowSum, digested
from ops_pipelines.policy.rowfiles import (
    Cuts,
    Key,
    Sample,
    delta_path,
    file_path,
    gone_path,
    key_hashes,
    places,
)
from ops_pipelines.policy.vectors import CollectionSchema

_SHARE = 8
"""A base is written anew once more than one in so many of its rows is new, other or gone."""
_GONE = 1 << 20
"""Keys of one file of gone rows."""
Stored = Callable[[Sequence[FileEntry]], Collection[str]]
"""Digests of those files that the bucket has."""


def nothing_stored(entries: Sequence[FileEntry]) -> Collection[str]:  # noqa: ARG001 - asked of every file
    """The `Stored` of who knows no bucket."""
    return ()


class RowCapture:
    """The files of a collection's rows, and what is counted on the way."""

    def __init__(
        self,
        schema: CollectionSchema,
        folder: Path,
        cuts: Cuts,
        sample: int,
        memory: Path | None,
        stored: Stored,
    ) -> None:
        self._schema = schema
        self._folder = folder
        self._cuts = cuts
        self._key = schema.primary.name
        self._last = Remembered(memory, schema, cuts)
        self._there = set(stored(self._last.entries())) if self._last else set()
        self._next = Remembering(memory, schema, cuts)
        self._partition = "_default"
        self._rows = RowWriter(schema, folder, cuts, file_path, self._written)
        self._delta = RowWriter(schema, folder, cuts, delta_path, self._beside)
        self._gone: list[Any] = []
        self.sum = RowSum()
        self.sample = Sample(sample)
        self.captured: list[Captured] = []
        self.files: dict[str, list[Any]] = {}
        """Path of each base -> number of rows of its range as they are now, their digest, first and last key."""
        self.begins: dict[str, Key] = {}
        """First key of a base that was taken over, where a snapshot's ranges do not tell it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *words: object) -> None:
        self._rows.__exit__(*words)
        self._delta.__exit__(*words)
        self._next.__exit__(*words)

    def keep(self) -> None:
        """All files are stored: the next backup may take them over."""
        self._next.keep()

    def read(self, partition: str, pages: Iterator[Batch]) -> Generator[int, None, None]:
        """Take the rows of one partition, in order of their keys; gives how many were taken so far."""
        self._partition = partition
        source = _Cursor(self._reckoned(page) for page in pages)
        bases = _with_next(self._last.of(partition))
        for base, until in bases:
            yield from self._range(base, until, source)
        for rows in source.until(None):
            self._rows.add(partition, rows)
            yield self.sum.rows
        self._rows.cut()
        self._delta.cut()
        self._write_gone()

    def _reckoned(self, page: Batch) -> Rows:
        digests, sizes = digested(self._schema, page)
        keys = page.column(self._key)
        rows = Rows(page, keys, key_hashes(keys), digests, sizes)
        self.sum.add(digests)
        self.sample.add(keys, rows.hashes, digests)
        return rows

    def _range(self, base: Base, until: Key | None, source: _Cursor) -> Generator[int, None, None]:
        """The rows of one base's range of keys: the base and what differs, or all of them anew."""
        allowed = len(base.keys) // _SHARE if base.entry.sha256 in self._there else -1
        gathered: list[Rows] = []
        count = size = 0
        anew = allowed < 0
        for rows in source.until(until):
            gathered.append(rows)
            count += len(rows)
            size += int(rows.sizes.sum())
            anew = anew or count > len(base.keys) + allowed or size > 2 * self._cuts.bytes
            if anew:
                for some in gathered:
                    self._rows.add(self._partition, some)
                gathered = []
            yield self.sum.rows
        if not anew and gathered and self._taken_over(base, gathered, allowed):
            return
        for some in gathered:
            self._rows.add(self._partition, some)
        self._rows.cut()

    def _taken_over(self, base: Base, gathered: Sequence[Rows], allowed: int) -> bool:
        """Take a base over, with what differs from it. False where that is too much."""
        keys = pa.concat_arrays([rows.keys for rows in gathered])
        digests = np.concatenate([rows.digests for rows in gathered])
        at = pc.index_in(keys, value_set=base.keys).fill_null(-1).to_numpy(zero_copy_only=False)
        known = at >= 0
        same = known.copy()
        same[known] = (digests[known][:, :KEPT] == base.digests[at[known]]).all(axis=1)
        left = np.ones(len(base.keys), np.bool_)
        left[at[known]] = False
        if int((~same).sum()) + int(left.sum()) > allowed:
            return False
        self._rows.cut()  # the files of the ranges before come before
        place = 0
        for rows in gathered:
            differs = ~same[place : place + len(rows)]
            place += len(rows)
            if differs.any():
                self._delta.add(self._partition, rows.pick(differs))
        if left.any():
            self._gone.append(base.keys.filter(pa.array(left)))
            if sum(len(some) for some in self._gone) >= _GONE:
                self._write_gone()
        total = RowSum()
        total.add(digests)
        first, last = keys[0].as_py(), keys[len(keys) - 1].as_py()
        self.files[base.entry.path] = [total.rows, total.digest, first, last]
        if first != base.first:
            self.begins[base.entry.path] = base.first
        self.captured.append(Captured(base.entry, None, stored="before"))
        self._next.add(base)
        return True

    def _written(self, one: Written, captured: Captured) -> None:
        self.files[one.path] = one.facts
        self.captured.append(captured)
        self._next.add(Base(captured.entry, self._partition, one.first, one.keys, one.digests))

    def _beside(self, one: Written, captured: Captured) -> None:  # noqa: ARG002 - what a writer tells
        self.captured.append(captured)

    def _write_gone(self) -> None:
        if self._gone:
            keys = pa.concat_arrays(self._gone)
            self._gone = []
            path = gone_path(self._partition, keys[0].as_py())
            self.captured.append(write_keys(self._folder, path, keys))


def _with_next(bases: Iterator[Base]) -> Iterator[tuple[Base, Key | None]]:
    """Each base with the first key of the next one, at which its range ends."""
    before: Base | None = None
    for base in bases:
        if before is not None:
            yield before, base.first
        before = base
    if before is not None:
        yield before, None


class _Cursor:
    """Runs of rows, taken up to a key."""

    def __init__(self, runs: Iterator[Rows]) -> None:
        self._runs = runs
        self._rest: Rows | None = None

    def until(self, key: Key | None) -> Iterator[Rows]:
        """Runs of the rows that come before a key; all that are left, where there is none."""
        while (run := self._rest or next(self._runs, None)) is not None:
            self._rest = None
            end = len(run) if key is None else places([key], run.keys)[0]
            if end < len(run):
                self._rest = run.cut(slice(end, len(run)))
            if end:
                yield run.cut(slice(0, end))
            if self._rest is not None:
                return
