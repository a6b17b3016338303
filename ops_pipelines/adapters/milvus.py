"""Milvus and Milvus Lite, by the calls that both answer (Milvus 2.3 and later).

Where they differ, the stricter one is kept to. Lite drops a collection through an alias, and one behind an
alias, without a word: `drop` refuses both. Lite accepts index types that it cannot build and fails at load:
`build_indexes` refuses them. pymilvus' iterator does not escape keys and leaves out the empty one, so `rows`
pages by itself. Import this module where it is used: pymilvus takes two seconds.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymilvus.client.types import BulkInsertState

from ops_pipelines.adapters import _milvus_columns as columns
from ops_pipelines.adapters import _milvus_rows as wire
from ops_pipelines.adapters._milvus_collections import MilvusCollections
from ops_pipelines.adapters._milvus_errors import mapped
from ops_pipelines.errors import Refused, SchemaMismatch
from ops_pipelines.policy.rowcolumns import Batch
from ops_pipelines.policy.vectors import CollectionSchema

_PAGE_FLOATS = 1_000_000
"""Numbers of vectors that one page of rows may hold: 4 MB, or about 35 MB as Python floats."""
_LOOK, _LOOK_LAST = 0.05, 2.0
"""Seconds between two looks at an import, at first and at last."""
_EFFORT = {"HNSW": {"ef": 128}, "HNSW_SQ": {"ef": 128}, "IVF_FLAT": {"nprobe": 64}, "IVF_SQ8": {"nprobe": 64},
           "IVF_PQ": {"nprobe": 64}, "DISKANN": {"search_list": 128}}  # fmt: skip
"""Search parameters by index type: more than the defaults, so that answers hang less on how a graph grew."""


class MilvusStore(MilvusCollections):
    """Protocol VectorStore. `timeout` and `patience` are seconds: for a call, and for loads and indexes."""

    def rows(
        self,
        name: str,
        *,
        batch: int = 1000,
        fields: Sequence[str] | None = None,
        partition: str | None = None,
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        """All rows in order of the primary key. A collection that is not loaded is, for that long."""
        _, schema, _ = self._described(name)
        key = schema.primary.name
        wanted = ["*"] if fields is None else [key, *(field for field in fields if field != key)]
        floats = sum(f.dimension or 0 for f in schema.vectors if fields is None or f.name in fields)
        size = max(1, min(batch, 16_000, _PAGE_FLOATS // max(1, floats)))
        with self._readable(name):
            yield from self._pages(name, schema, wanted, size, partition)

    def batches(
        self, name: str, *, batch: int = 8000, partition: str | None = None
    ) -> Generator[Batch, None, None]:
        """All rows with all fields in order of the primary key, as Arrow columns (`policy.rowcolumns`).

        At most `batch` rows at a time, fewer where their vectors are long. What `rows` says holds here too."""
        _, schema, _ = self._described(name)
        numbers = sum(field.dimension or 0 for field in schema.vectors)
        size = max(1, min(batch, 16_000, _PAGE_FLOATS // max(1, numbers)))
        key, last, what = schema.primary.name, None, f"{name} at {self._where}"
        with self._readable(name):
            while True:
                above = "" if last is None else f"{key} > {wire.key_literal(last)}"
                with mapped(f"read rows of {name}", self._where):
                    found = columns.page(self._answer(name, above, size, partition), schema, what)
                if found is None:
                    return
                last = columns.last_key(found.column(key), last, what)
                yield found

    def _answer(self, name: str, filter: str, limit: int, partition: str | None) -> bytes:
        content: bytes = columns.raw_query(
            self._client._get_connection(),
            self._client._generate_call_context(),
            collection_name=name,
            expr=filter,
            output_fields=["*"],
            partition_names=[partition] if partition else None,
            limit=limit,
            timeout=self._timeout,
        )
        return content

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        """The collection loaded, as long as this lasts, and all earlier writes seen."""
        borrowed = not self._loaded(name)
        if borrowed:
            self.load(name)
        self.count(name)  # asked strongly, it waits until all earlier writes are seen; pages need not then
        try:
            yield
        finally:
            if borrowed:
                with mapped(f"release {name}", self._where):
                    self._client.release_collection(name, timeout=self._timeout)

    def _pages(
        self, name: str, schema: CollectionSchema, wanted: list[str], size: int, partition: str | None
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        key = schema.primary.name
        last: Any = None
        while True:
            with mapped(f"read rows of {name}", self._where):
                found = self._client.query(
                    name,
                    filter="" if last is None else f"{key} > {wire.key_literal(last)}",
                    output_fields=wanted,
                    limit=size,
                    partition_names=[partition] if partition else None,
                    iterator="True",
                    reduce_stop_for_best="True",
                    timeout=self._timeout,
                )
            if not found:
                return
            page = [wire.from_server(schema, row) for row in found]
            last = wire.last_key([row[key] for row in page], last, f"{name} at {self._where}")
            yield page

    def get(self, name: str, keys: Sequence[str | int]) -> Sequence[Mapping[str, Any]]:
        """Rows by primary key, in the order asked; absent ones are left out."""
        _, schema, _ = self._described(name)
        primary = schema.primary.name
        found: dict[Any, Mapping[str, Any]] = {}
        for some in wire.slices(keys):
            with mapped(f"get rows of {name}", self._where):
                answer = self._client.query(
                    name,
                    filter=wire.is_one_of(primary, some),
                    output_fields=["*"],
                    timeout=self._timeout,
                    consistency_level="Strong",
                )
            found.update((row[primary], wire.from_server(schema, row)) for row in answer)
        return [found[key] for key in keys if key in found]

    def insert(self, name: str, rows: Sequence[Mapping[str, Any]], *, partition: str | None = None) -> None:
        """Insert rows, as many calls as their bytes need. Real Milvus does not look whether a key is there."""
        _, schema, _ = self._described(name)
        given = schema.primary.auto_id and any(schema.primary.name in row for row in rows)
        for some in wire.bites([wire.to_server(schema, row) for row in rows]):
            try:
                with mapped(f"insert into {name}", self._where):
                    self._client.insert(name, some, partition_name=partition or "", timeout=self._timeout)
            except SchemaMismatch as error:
                raise wire.own_keys(name, error) if given else error from error

    def begin_import(self, name: str, file: str, *, partition: str | None = None) -> int:
        """Have the server read a file of rows; `file` is a path or key of its own storage. The number of the task.

        pymilvus calls it do_bulk_insert, and keeps it in its handler of the connection."""
        with mapped(f"import a file into {name}", self._where):
            task: int = self._client._get_connection().do_bulk_insert(
                name, partition or "", [file], timeout=self._timeout
            )
        return task

    def finish_import(self, task: int) -> int:
        """Wait for a file to be read (`patience`), and say how many rows it gave. Raises Refused with the reason."""
        ends, wait = time.monotonic() + self._patience, _LOOK
        while True:
            with mapped("say how far an import is", self._where):
                state = self._client._get_connection().get_bulk_insert_state(task, timeout=self._timeout)
            if state.state == BulkInsertState.ImportCompleted:
                return int(state.row_count)
            if state.state in (BulkInsertState.ImportFailed, BulkInsertState.ImportFailedAndCleaned):
                raise Refused(
                    f"Milvus at {self._where} did not import a file: {state.failed_reason or 'it gives no reason'}",
                    remedy="see the server's log; the bucket or folder of `bulk_import` must be the server's own",
                )
            if time.monotonic() > ends:
                raise Refused(
                    f"Milvus at {self._where} has not imported a file after {self._patience:g} s",
                    remedy="see the server's log, or leave `bulk_import` out",
                )
            time.sleep(wait)
            wait = min(wait * 1.5, _LOOK_LAST)

    def upsert(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert or replace rows by their keys. Lite keeps dynamic fields that the new row does not name."""
        _, schema, _ = self._described(name)
        for some in wire.bites([wire.to_server(schema, row) for row in rows]):
            with mapped(f"upsert into {name}", self._where):
                self._client.upsert(name, some, timeout=self._timeout)

    def delete(self, name: str, keys: Sequence[str | int]) -> None:
        """Delete rows by primary key; absent ones are nothing."""
        _, schema, _ = self._described(name)
        for some in wire.slices(keys):
            with mapped(f"delete rows of {name}", self._where):
                self._client.delete(
                    name, filter=wire.is_one_of(schema.primary.name, some), timeout=self._timeout
                )

    def flush(self, name: str) -> None:
        """Have everything that was inserted on the server's disk."""
        with mapped(f"flush {name}", self._where):
            self._client.flush(name, timeout=self._patience)

    def search(
        self, name: str, vectors: Sequence[Sequence[float]], *, field: str, limit: int
    ) -> list[list[tuple[str | int, float]]]:
        """(key, distance) of the nearest rows for each vector, nearest first."""
        _, schema, _ = self._described(name)
        key = schema.primary.name
        index = schema.indexes.get(field)
        with mapped(f"search {name}", self._where):
            answers = self._client.search(
                name,
                data=[list(vector) for vector in vectors],
                anns_field=field,
                limit=limit,
                output_fields=[key],
                search_params={"params": dict(_EFFORT.get(index.type if index else "", {}))},
                consistency_level="Strong",
                timeout=self._timeout,
            )
            return [
                [(hit[key] if key in hit else hit["id"], float(hit["distance"])) for hit in hits]
                for hits in answers
            ]
