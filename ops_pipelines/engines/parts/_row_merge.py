"""The rows of a partition out of a snapshot's files: each base with what was written beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ops_pipelines.engines.parts._row_files import read_batches, read_keys
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.rowcolumns import Batch, columns_of
from ops_pipelines.policy.rowfiles import Key, kind_of, places
from ops_pipelines.policy.vectors import CollectionSchema

Fetched = Callable[[FileEntry], AbstractContextManager[Path]]
"""Brings a file for as long as it is read."""


def rows_of(
    part: Part, partition: str, schema: CollectionSchema, fetched: Fetched, *, batch: int
) -> Iterator[tuple[str, Batch]]:
    """Path of a base, and rows of its range of keys, `batch` at a time, in order. One base is in memory at a time
    where rows were written beside it."""
    found = [(kind_of(entry.path), entry) for entry in part.files]
    bases = [entry for kind, entry in found if kind == ("rows", partition)]
    delta = [entry for kind, entry in found if kind == ("delta", partition)]
    gone = [entry for kind, entry in found if kind == ("gone", partition)]
    if not delta and not gone:
        for entry in bases:
            with fetched(entry) as path:
                for rows in read_batches(path, schema, batch=batch):
                    yield entry.path, rows
        return
    begins: dict[str, Key] = {path: facts[2] for path, facts in part.facts["files"].items()}
    begins.update(part.facts.get("begins", {}))
    bases.sort(key=lambda entry: begins[entry.path])
    key = schema.primary.name
    other = _Until(
        _batches(delta, fetched, lambda path: read_batches(path, schema)), lambda rows: rows.column(key)
    )
    away = _Until(_batches(gone, fetched, lambda path: iter([read_keys(path)])), lambda keys: keys)
    for place, entry in enumerate(bases):
        until = begins[bases[place + 1].path] if place + 1 < len(bases) else None
        added, dropped = other.take(until), away.take(until)
        with fetched(entry) as path:
            if not added and not dropped:
                for rows in read_batches(path, schema, batch=batch):
                    yield entry.path, rows
                continue
            base = pa.Table.from_batches(list(read_batches(path, schema)), schema=columns_of(schema))
        for rows in _merged(base, added, dropped, schema).to_batches(max_chunksize=batch):
            yield entry.path, rows


def _merged(base: Any, added: Sequence[Batch], dropped: Sequence[Any], schema: CollectionSchema) -> Any:
    key = schema.primary.name
    beside = pa.Table.from_batches(added, schema=columns_of(schema))
    replaced = pa.chunked_array([*beside.column(key).chunks, *dropped], type=base.column(key).type)
    kept = base.filter(pc.invert(pc.is_in(base.column(key), value_set=replaced.combine_chunks())))
    whole = pa.concat_tables([kept, beside]).combine_chunks()
    return whole.take(pc.sort_indices(whole.column(key))).combine_chunks()


def _batches(
    entries: Sequence[FileEntry], fetched: Fetched, read: Callable[[Path], Iterator[Any]]
) -> Iterator[Any]:
    for entry in entries:
        with fetched(entry) as path:
            yield from read(path)


class _Until:
    """Runs in order of their keys, taken up to a key."""

    def __init__(self, runs: Iterator[Any], keys: Callable[[Any], Any]) -> None:
        self._runs = runs
        self._keys = keys
        self._rest: Any = None

    def take(self, key: Key | None) -> list[Any]:
        """Pieces that come before a key; all that is left, where there is none."""
        found: list[Any] = []
        while (run := self._rest if self._rest is not None else next(self._runs, None)) is not None:
            self._rest = None
            end = len(run) if key is None else places([key], self._keys(run))[0]
            if end:
                found.append(run.slice(0, end))
            if end < len(run):
                self._rest = run.slice(end)
                break
        return found
