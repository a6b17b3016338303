"""A folder of texts becomes rows of a collection; only what changed is embedded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from ops_pipelines.engines.corpus import Corpus, Skipped, read_corpus
from ops_pipelines.engines.ports import Embedder, Fence, Progress, VectorStore, silent
from ops_pipelines.errors import SchemaMismatch
from ops_pipelines.policy.chunking import OVERLAP, SIZE, Chunk, chunk_key
from ops_pipelines.policy.vectors import CollectionSchema

_log = structlog.get_logger()
_GET = 1000
"""Rows that are looked at in one go before they are deleted."""
FIELDS = {
    "id": "varchar",
    "text": "varchar",
    "source": "varchar",
    "position": "int64",
    "vector": "float_vector",
}


@dataclass(frozen=True)
class Ingested:
    """Counts of one run."""

    files: int
    chunks: int
    added: int
    unchanged: int
    removed: int
    skipped: tuple[Skipped, ...]
    kept: int = 0
    """Rows of files that are not there, and may only be out of reach."""


def ingest(
    folder: Path,
    collection: str,
    embedder: Embedder,
    model: str,
    store: VectorStore,
    *,
    batch: int = 64,
    size: int = SIZE,
    overlap: int = OVERLAP,
    fence: Fence | None = None,
    progress: Progress = silent,
) -> Ingested:
    """Bring a collection up to date with a folder and count what was done.

    Rows whose key is there already are left alone; new ones are embedded by `model` (the name that the server
    knows) and upserted; then rows that a file no longer gives are deleted, and those of files that are gone from
    the folder (`Corpus.is_gone`), where an ingest wrote them: their key says so. Rows of files that were skipped
    or may be out of reach stay. `fence` is looked at before each write. Raises SchemaMismatch where the
    collection does not hold FIELDS, or the model's vectors do not fit, LeaseLost.
    """
    schema = _schema(collection, store)
    corpus = read_corpus(folder, size=size, overlap=overlap)
    _fits(collection, schema, corpus)
    there: dict[str, str] = {}
    for page in store.rows(collection, fields=("source",), batch=10_000):
        there.update((str(row["id"]), str(row["source"])) for row in page)
    wanted = {piece.key: piece for piece in corpus.chunks}
    new = [piece for key, piece in wanted.items() if key not in there]
    read = set(corpus.sources)
    gone = [key for key, source in there.items() if source in read and key not in wanted]
    vanished = {key: source for key, source in there.items() if source not in read and key not in wanted}
    taken_out = _taken_out(collection, store, corpus, vanished)
    gone += taken_out
    for start in range(0, len(new), batch):
        some = new[start : start + batch]
        progress(f"embed into {collection}", start, len(new), "rows")
        vectors = embedder.embed(model, [piece.text for piece in some])
        _same_length(collection, schema, model, vectors)
        _check(fence)
        store.upsert(collection, [_row(piece, v) for piece, v in zip(some, vectors, strict=True)])
    if gone:
        _check(fence)
        store.delete(collection, gone)
    if new or gone:
        store.flush(collection)
    progress(f"embed into {collection}", len(new), len(new), "rows")
    counts = Ingested(
        files=len(corpus.sources),
        chunks=len(wanted),
        added=len(new),
        unchanged=len(wanted) - len(new),
        removed=len(gone),
        skipped=corpus.skipped,
        kept=len(_out_of_reach(corpus, vanished)),
    )
    _log.info("corpus ingested", collection=collection, files=counts.files, chunks=counts.chunks,
              added=counts.added, removed=counts.removed, skipped=len(counts.skipped))  # fmt: skip
    return counts


def _check(fence: Fence | None) -> None:
    if fence is not None:
        fence.check()


def _taken_out(collection: str, store: VectorStore, corpus: Corpus, vanished: Mapping[str, str]) -> list[str]:
    """Keys of rows whose file is gone. A row that somebody else put there has another key than ours."""
    sources = {source for source in vanished.values() if corpus.is_gone(source)}
    keys = [key for key, source in vanished.items() if source in sources]
    return [
        str(row["id"])
        for start in range(0, len(keys), _GET)
        for row in store.get(collection, keys[start : start + _GET])
        if chunk_key(str(row["source"]), int(row["position"] or 0), str(row["text"])) == row["id"]
    ]


def _out_of_reach(corpus: Corpus, vanished: Mapping[str, str]) -> list[str]:
    skipped = {one.source for one in corpus.skipped}
    return [key for key, source in vanished.items() if source not in skipped and not corpus.is_gone(source)]


def _row(piece: Chunk, vector: Sequence[float]) -> dict[str, object]:
    return {
        "id": piece.key,
        "text": piece.text,
        "source": piece.source,
        "position": piece.position,
        "vector": vector,
    }


def _schema(collection: str, store: VectorStore) -> CollectionSchema:
    state = store.state(collection)
    if state is None:
        raise SchemaMismatch(
            f"there is no collection {collection} to fill", remedy="deploy the stack, which creates it"
        )
    types = {field.name: field.type for field in state.schema.fields}
    wrong = [f"{name} ({word})" for name, word in FIELDS.items() if types.get(name) != word]
    others = [f.name for f in state.schema.fields if f.name not in FIELDS and not f.nullable]
    if wrong or others or state.schema.primary.name != "id":
        raise SchemaMismatch(
            f"{collection} cannot hold a corpus: "
            + (
                f"it lacks {', '.join(wrong)}"
                if wrong
                else f"it also asks for {', '.join(others) or 'a key'}"
            ),
            remedy=f"declare exactly the fields {', '.join(f'{n}: {t}' for n, t in FIELDS.items())}, id primary",
        )
    return state.schema


def _fits(collection: str, schema: CollectionSchema, corpus: Corpus) -> None:
    """Raises SchemaMismatch where a text or a path is longer than its field."""
    limits = {field.name: field.max_length for field in schema.fields}
    for piece in corpus.chunks:
        for name, value in (("id", piece.key), ("text", piece.text), ("source", piece.source)):
            most = limits[name]
            size = len(value.encode())
            if most is not None and size > most:
                raise SchemaMismatch(
                    f"{piece.source} gives a {name} of {size} bytes; {collection} holds {most}",
                    remedy=f"set `fields.{name}.max_length` to {max(size, 4 * SIZE)} or more, or smaller chunks",
                )


def _same_length(
    collection: str, schema: CollectionSchema, model: str, vectors: Sequence[Sequence[float]]
) -> None:
    dimension = next(field.dimension for field in schema.fields if field.name == "vector")
    for vector in vectors:
        if len(vector) != dimension:
            raise SchemaMismatch(
                f"{model} gives vectors of {len(vector)} numbers; {collection} holds {dimension}",
                remedy="set `embedding` to the model that fits, or `fields.vector.dimension` and a new collection",
            )
