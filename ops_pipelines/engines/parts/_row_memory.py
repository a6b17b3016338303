"""What the files of the last backup hold, row by row: remembered on this machine, so that a row that is new
costs a row and not the file of its neighbours.

One Arrow file: a batch for each file of rows, with the keys and the digests of its rows. It is never trusted for
more than it can prove: a file counts only while the bucket has it, a row only by its digest. Without it, or with a
damaged one, all files are written anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import structlog

from ops_pipelines.policy.collection_schema import shape_digest
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.rowdigests import SCHEME
from ops_pipelines.policy.rowfiles import Cuts, Key
from ops_pipelines.policy.vectors import CollectionSchema

_log = structlog.get_logger()

KEPT = 16
"""Octets of a row's digest that are remembered."""


@dataclass(frozen=True)
class Base:
    """A file of rows that an earlier backup wrote."""

    entry: FileEntry
    partition: str
    first: Key
    keys: Any
    digests: Any
    """As rows of 16 octets."""


def _about(schema: CollectionSchema, cuts: Cuts) -> bytes:
    text = json.dumps([SCHEME, shape_digest(schema), asdict(cuts)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest().encode()


class Remembered:
    """The files of the last backup, by partition, in order of their keys. None where nothing fits."""

    def __init__(self, path: Path | None, schema: CollectionSchema, cuts: Cuts) -> None:
        self._path = path
        self._order: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        if path is None or not path.is_file():
            return
        try:
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                if (reader.schema.metadata or {}).get(b"about") != _about(schema, cuts):
                    return
                index = _index(path)
                for place, said in enumerate(index):
                    self._order.setdefault(said["partition"], []).append((place, said))
                if len(index) != reader.num_record_batches:
                    self._order = {}
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            self._order = {}

    def entries(self) -> list[FileEntry]:
        """All files that are remembered."""
        return [FileEntry(**said["entry"]) for some in self._order.values() for _, said in some]

    def of(self, partition: str) -> Iterator[Base]:
        """The files of one partition, read one at a time. One that cannot be read ends them."""
        if self._path is None or partition not in self._order:
            return
        with (
            suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException),
            pa.OSFile(str(self._path)) as file,
            pa.ipc.open_file(file) as reader,
        ):
            for place, said in self._order[partition]:
                batch = reader.get_batch(place)
                octets = np.frombuffer(b"".join(batch.column("digest").to_pylist()), np.uint8)
                entry = FileEntry(**said["entry"])
                yield Base(entry, partition, said["first"], batch.column("key"), octets.reshape(-1, KEPT))

    def __bool__(self) -> bool:
        return bool(self._order)


def _index(path: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(path.with_suffix(".json").read_text())
    return found


class Remembering:
    """Writes the memory of this backup beside that of the last, and takes its place when told to.

    A backup needs none: what cannot be written is logged, and the next one stores more."""

    def __init__(self, path: Path | None, schema: CollectionSchema, cuts: Cuts) -> None:
        self._path = path
        self._index: list[Mapping[str, Any]] = []
        self._open = ExitStack()
        if path is None:
            return
        key = pa.string() if schema.primary.type == "varchar" else pa.int64()
        about = {"about": _about(schema, cuts)}
        self._columns = pa.schema([("key", key), ("digest", pa.binary(KEPT))], metadata=about)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._open.enter_context(pa.OSFile(str(path.with_suffix(".new")), "wb"))
            self._writer = self._open.enter_context(pa.ipc.new_file(file, self._columns))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _log.warning(
            "rows not remembered", path=str(self._path), error=str(error), hint="the next backup stores more"
        )
        self._path = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._open.close()
        except OSError as error:
            self._give_up(error)

    def add(self, base: Base) -> None:
        """Remember a file and its rows."""
        if self._path is None:
            return
        octets = np.ascontiguousarray(base.digests[:, :KEPT]).tobytes()
        digests = pa.Array.from_buffers(pa.binary(KEPT), len(base.keys), [None, pa.py_buffer(octets)])
        try:
            self._writer.write_batch(pa.record_batch([base.keys, digests], schema=self._columns))
        except OSError as error:
            self._give_up(error)
        entry = {"path": base.entry.path, "size": base.entry.size, "sha256": base.entry.sha256}
        self._index.append({"partition": base.partition, "first": base.first, "entry": entry})

    def keep(self) -> None:
        """From now on this is the memory. Killed in between, the index does not fit, and nothing is remembered."""
        if self._path is None:
            return
        made = self._path.with_suffix(".index")
        try:
            self._path.with_suffix(".json").unlink(missing_ok=True)
            self._path.with_suffix(".new").replace(self._path)
            made.write_text(json.dumps(self._index))
            made.replace(self._path.with_suffix(".json"))
        except OSError as error:
            self._give_up(error)
