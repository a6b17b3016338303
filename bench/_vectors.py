"""One way of reading all rows of a collection, in a process of its own; the figures as JSON."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

from ops_pipelines.adapters import _milvus_columns as columns
from ops_pipelines.adapters.importdepot import FolderDepot
from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.engines.parts._collection_fill import BulkImport
from ops_pipelines.engines.parts.collection import CollectionSource, CollectionTarget
from ops_pipelines.engines.ports import silent
from ops_pipelines.policy.manifest import FileEntry, Part

NAME = "docs"
_DIMENSION = 384
_BATCH = 2000
_PAGE = 2604
"""Rows of a page, as `MilvusStore.batches` asks for them."""
_EXPORTED = 100_000
"""Rows after which the export to JSON ends: its speed hangs on no number of rows."""


def fill(address: str, count: int, *, start: int = 0, step: int = 100) -> None:
    """Insert rows whose keys begin at `start`, so far apart; the first call makes the collection."""
    client = MilvusClient(address)
    if not client.has_collection(NAME):
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("text", DataType.VARCHAR, max_length=1000)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=_DIMENSION)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="L2")
        client.create_collection(NAME, schema=schema, index_params=index)
    random = np.random.default_rng(start)
    for done in range(0, count, 5000):
        size = min(5000, count - done)
        vectors = random.standard_normal((size, _DIMENSION)).astype(np.float32)
        client.insert(
            NAME,
            [
                {"id": key, "text": f"the text of row number {key}", "vector": vector}
                for key, vector in zip(
                    range(start + done * step, start + (done + size) * step, step), vectors, strict=True
                )
            ],
        )
    client.flush(NAME)
    client.load_collection(NAME)
    client.query(NAME, output_fields=["count(*)"], consistency_level="Strong")
    client.close()


def raw(address: str) -> dict[str, int]:
    """The answers thrown away unread, but for the last key, without which the next page cannot be asked for."""
    store = MilvusStore.connect(address)
    _, schema, _ = store._described(NAME)
    rows, above = 0, ""
    while True:
        found = columns.page(store._answer(NAME, above, _PAGE, None), schema, NAME)
        if found is None:
            return {"rows": rows}
        rows += len(found)
        above = f"id > {found.column('id')[len(found) - 1].as_py()}"


def iterator(address: str) -> dict[str, int]:
    """pymilvus' own iterator, its rows thrown away."""
    found, rows = MilvusClient(address).query_iterator(NAME, batch_size=_BATCH, output_fields=["*"]), 0
    while page := found.next():
        rows += len(page)
        if rows >= _EXPORTED:
            break
    return {"rows": rows}


def export(address: str) -> dict[str, int]:
    """As guides do it: an iterator, and each row as a line of JSON."""
    found, rows = MilvusClient(address).query_iterator(NAME, batch_size=_BATCH, output_fields=["*"]), 0
    with tempfile.TemporaryFile("w+") as file:
        while page := found.next():
            for row in page:
                file.write(json.dumps({key: _plain(row[key]) for key in ("id", "text", "vector")}) + "\n")
            rows += len(page)
            if rows >= _EXPORTED:
                break
        return {"rows": rows, "bytes": file.tell()}


def _plain(value: Any) -> Any:
    return [float(number) for number in value] if isinstance(value, list) else value


def backup(address: str, kept: Path) -> dict[str, int]:
    """Ours: rows to files, hashed. `kept` remembers the digests that a store would hold by now."""
    store = MilvusStore.connect(address)
    known = set(kept.read_text().split()) if kept.exists() else set()
    with tempfile.TemporaryDirectory(prefix="bench-rows-") as folder:
        memory = kept.with_name("memory.arrow")
        source = CollectionSource(
            NAME, store, memory=memory, stored=lambda files: {one.sha256 for one in files} & known
        )
        taken = source.capture(Path(folder), silent)
        taken.proved()
    sent = sum(one.entry.size for one in taken.files if one.entry.sha256 not in known)
    kept.write_text("\n".join(known | {one.entry.sha256 for one in taken.files}))
    return {"rows": int(taken.facts["rows"]), "sent": sent}


def put_back(address: str, folder: Path, *, by_files: bool) -> dict[str, float]:
    """Ours: a snapshot's rows into a new collection, indexed and loaded, inserted or read by the server from files."""
    store = MilvusStore.connect(address)
    with tempfile.TemporaryDirectory(prefix="bench-restore-") as scratch:
        held = Path(scratch) / "held"
        held.mkdir()
        taken = CollectionSource(NAME, store).capture(held, silent)
        part = Part("collection", NAME, tuple(one.entry for one in taken.files), taken.facts)
        files = {one.entry.sha256: one.source for one in taken.files}

        def fetch(entry: FileEntry, to: Path) -> None:
            shutil.copy(files[entry.sha256] or "", to)

        depot = BulkImport(FolderDepot(folder, str(folder))) if by_files else None
        target = CollectionTarget(NAME, store, Path(scratch) / "scratch", batch=_BATCH, bulk=depot)
        begun, spent = time.perf_counter(), time.process_time()
        place = target.stage(part, "bench", fetch, silent)
        wall, cpu = time.perf_counter() - begun, time.process_time() - spent
        found = target.check(part, place, full=False)
        if any(one.ok is not True for one in found):
            raise RuntimeError(f"not put back: {found}")
        target.discard(place)
    return {"rows": int(taken.facts["rows"]), "wall": wall, "spent": cpu}


def main(address: str, mode: str, kept: str) -> dict[str, float]:
    """Rows, rows a second, processor seconds of a row, peak memory in MB, and what the mode tells."""
    MilvusStore.connect(address).count(NAME)
    begun, spent = time.perf_counter(), time.process_time()
    figures: dict[str, float]
    if mode == "backup":
        figures = {**backup(address, Path(kept))}
    elif mode in ("insert", "import"):
        figures = put_back(address, Path(kept).parent, by_files=mode == "import")
    else:
        figures = {**{"raw": raw, "iterator": iterator, "json": export}[mode](address)}
    wall = figures.pop("wall", time.perf_counter() - begun)
    cpu = figures.pop("spent", time.process_time() - spent)
    return {
        **figures,
        "speed": figures["rows"] / wall,
        "cpu": cpu / figures["rows"],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
