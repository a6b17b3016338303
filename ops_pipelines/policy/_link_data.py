"""References of models and collections."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from ops_pipelines.errors import SchemaMismatch, UsageError
from ops_pipelines.policy._link_problem import LinkProblem, known_words, no_secret
from ops_pipelines.policy.cache_names import wanted_model
from ops_pipelines.policy.schema_drift import check_name
from ops_pipelines.stack.data import BulkImport, Collection, CollectionField, ModelCache
from ops_pipelines.stack.model import Stack

_STORES = ("milvus", "qdrant")
_KEYS = ("int64", "varchar")
_METRICS = {
    "binary_vector": ("HAMMING", "JACCARD"),
    "sparse_float_vector": ("IP", "BM25"),
}
_DENSE_METRICS = ("COSINE", "IP", "L2")


def model_links(stack: Stack) -> Iterator[LinkProblem]:
    """Models and the caches that hold them."""
    for name, cache in stack.caches.items():
        yield from _cache(stack, name, cache)
    for name, model in stack.models.items():
        where, hosted = f"models.{name}", model.hosted
        server = stack.components.get(model.served_by) if model.served_by else None
        if model.served_by and server is None:
            yield LinkProblem(
                f"{where}.served_by", f"no component `{model.served_by}`", "nobody would answer with the model",
                known_words(model.served_by, stack.components, "components"),
            )  # fmt: skip
        if model.token is not None and model.token not in stack.secrets:
            remedy = known_words(model.token, stack.secrets, "declared under `secrets`")
            yield LinkProblem(
                f"{where}.token", f"no secret `{model.token}`", "its value could not be had", remedy
            )
        if hosted and model.cache is not None:
            yield LinkProblem(
                f"{where}.cache", f"a cache for {model.source}", "a hosted model has no files to keep",
                "take `cache` out",
            )  # fmt: skip
        elif model.cache is not None and model.cache not in stack.caches:
            yield LinkProblem(
                f"{where}.cache", f"no model cache `{model.cache}`", "the model would be kept nowhere",
                known_words(model.cache, stack.caches, "caches"),
            )  # fmt: skip
        elif model.cache is not None:
            try:
                wanted_model(name, model, stack.caches[model.cache].layout)
            except UsageError as error:
                breaks = "the cache could not be filled"
                yield LinkProblem(f"{where}.source", error.message, breaks, error.remedy)
        elif not hosted and not (server is not None and server.address is not None):
            yield LinkProblem(
                where, f"{model.source} without a `cache`", "it is neither pulled, nor compared, nor backed up",
                "name the model cache that holds it, or the `address` of the server that keeps it", "warning",
            )  # fmt: skip


def _cache(stack: Stack, name: str, cache: ModelCache) -> Iterator[LinkProblem]:
    # Elsewhere the path is one inside containers, each with a volume of its own or with one that they share.
    if cache.replicas > 1 and "{replica}" not in cache.path and stack.target.kind == "process":
        yield LinkProblem(
            f"caches.{name}.path", f"one folder for {cache.replicas} replicas",
            "they would write over each other's files", "put `{replica}` into the path",
        )  # fmt: skip
    if stack.target.kind != "process":
        return  # inside containers, two caches may have one path
    others = [other for other, each in stack.caches.items() if each.path == cache.path]
    if name != others[0]:
        yield LinkProblem(
            f"caches.{name}.path", f"{cache.path}, which is the folder of the cache {others[0]} too",
            "a restore of the one would remove the other", "give each cache its own folder",
        )  # fmt: skip


def collection_links(stack: Stack) -> Iterator[LinkProblem]:
    """Collections: their store, their keys, and vectors as long as the model makes them."""
    for name, collection in stack.collections.items():
        where = f"collections.{name}"
        store = stack.components.get(collection.store)
        if store is None:
            yield LinkProblem(
                f"{where}.store", f"no component `{collection.store}`", "the rows would be kept nowhere",
                known_words(collection.store, stack.components, "components"),
            )  # fmt: skip
        elif store.kind not in _STORES:
            yield LinkProblem(
                f"{where}.store", f"{collection.store}, which is of kind {store.kind}", "it keeps no vectors",
                f"name a component of kind {' or '.join(_STORES)}",
            )  # fmt: skip
        elif store.kind == "milvus":
            try:
                check_name(name)
            except SchemaMismatch as error:
                yield LinkProblem(where, error.message, "it could not be made", error.remedy)
        if collection.token is not None:
            yield from no_secret(stack, f"{where}.token", collection.token)
        if collection.bulk_import is not None:
            milvus = store is None or store.kind == "milvus"
            yield from _bulk_import(stack, f"{where}.bulk_import", collection.bulk_import, milvus)
        yield from _keys(where, collection)
        yield from _vectors(stack, where, collection)
        if collection.corpus is not None and collection.corpus.overlap >= collection.corpus.chunk:
            found = f"{collection.corpus.overlap}, not below the chunk of {collection.corpus.chunk}"
            yield LinkProblem(f"{where}.corpus.overlap", found, "no text would ever end", "make it smaller")


def _bulk_import(stack: Stack, where: str, declared: BulkImport, milvus: bool) -> Iterator[LinkProblem]:
    if not milvus:
        yield LinkProblem(
            where, "bulk import into another store than Milvus", "it reads no such files", "take it out"
        )
    if (declared.bucket is None) == (declared.folder is None):
        yield LinkProblem(
            where, f"{'neither' if declared.bucket is None else 'both'} `bucket` and `folder`",
            "the server would not find the files", "name the one in which it keeps its data",
        )  # fmt: skip
    elif declared.bucket is not None and declared.bucket not in stack.buckets:
        yield LinkProblem(
            f"{where}.bucket", f"no bucket `{declared.bucket}`", "the server would not find the files",
            known_words(declared.bucket, stack.buckets, "buckets"),
        )  # fmt: skip
    for name in ("folder", "seen_as"):
        path = getattr(declared, name)
        if path is not None and not path.startswith("/"):
            yield LinkProblem(
                f"{where}.{name}", path, "the server works in another folder", "write an absolute path"
            )
    if declared.seen_as is not None and declared.folder is None:
        yield LinkProblem(
            f"{where}.seen_as", declared.seen_as, "it is no folder's", "name the `folder`, or take it out"
        )


def _keys(where: str, collection: Collection) -> Iterator[LinkProblem]:
    primaries = [name for name, field in collection.fields.items() if field.primary]
    if len(primaries) != 1:
        yield LinkProblem(
            f"{where}.fields", f"{len(primaries)} primary fields ({', '.join(primaries) or 'none'})",
            "a row could not be told from another", "set `primary: true` on one field",
        )  # fmt: skip
    for name, field in collection.fields.items():
        path = f"{where}.fields.{name}"
        if field.primary and field.type not in _KEYS:
            breaks = "no vector store takes it as a key"
            yield LinkProblem(
                f"{path}.type", f"a primary field of type {field.type}", breaks, "use int64 or varchar"
            )
        if field.auto_id and not field.primary:
            breaks = "only the primary key can number itself"
            yield LinkProblem(f"{path}.auto_id", "`auto_id` on another field", breaks, "take it out")
        if field.type == "varchar" and field.max_length is None:
            breaks = "Milvus asks for it"
            yield LinkProblem(
                path, "a varchar without `max_length`", breaks, "add `max_length`, in bytes (65535 at most)"
            )
        if field.type == "array" and (field.element is None or field.capacity is None):
            breaks = "Milvus asks for both"
            yield LinkProblem(path, "an array without `element` or `capacity`", breaks, "add them")


def _vectors(stack: Stack, where: str, collection: Collection) -> Iterator[LinkProblem]:
    vectors = {name: field for name, field in collection.fields.items() if field.type.endswith("_vector")}
    if not vectors:
        yield LinkProblem(
            f"{where}.fields", "no vector field", "nothing could be searched", "add a field of a vector type"
        )
    for name, index in collection.index.items():
        if name not in vectors:
            remedy = known_words(name, vectors, "vector fields")
            yield LinkProblem(
                f"{where}.index.{name}", f"no vector field `{name}`", "it would index nothing", remedy
            )
            continue
        metrics = _METRICS.get(vectors[name].type, _DENSE_METRICS)
        if index.metric not in metrics:
            breaks = f"a {vectors[name].type} is not measured so"
            yield LinkProblem(
                f"{where}.index.{name}.metric", index.metric, breaks, f"use {' or '.join(metrics)}"
            )
    length = yield from _embedding(stack, where, collection)
    if collection.embedding is not None and collection.embedding not in stack.models:
        return  # one mistake, told once
    for name, field in vectors.items():
        yield from _dimension(f"{where}.fields.{name}", field, collection, length)


def _embedding(stack: Stack, where: str, collection: Collection) -> Generator[LinkProblem, None, int | None]:
    """Problems of the embedding model; returns the length of its vectors, or None."""
    if collection.embedding is None:
        return None
    model = stack.models.get(collection.embedding)
    if model is None:
        yield LinkProblem(
            f"{where}.embedding", f"no model `{collection.embedding}`", "nothing makes its vectors",
            known_words(collection.embedding, stack.models, "models"),
        )  # fmt: skip
        return None
    if model.role != "embedding":
        yield LinkProblem(
            f"{where}.embedding", f"{collection.embedding}, whose role is {model.role}", "it makes no vectors",
            f"name a model of role embedding, or set models.{collection.embedding}.role",
        )  # fmt: skip
    return model.dimension


def _dimension(
    path: str, field: CollectionField, collection: Collection, length: int | None
) -> Iterator[LinkProblem]:
    if field.type == "sparse_float_vector":
        return
    if field.dimension is None and length is None:
        yield LinkProblem(
            path, "a vector of unknown length", "the collection could not be made",
            "set `dimension` here, or on the model that `embedding` names",
        )  # fmt: skip
    if field.dimension is not None and length is not None and field.dimension != length:
        yield LinkProblem(
            f"{path}.dimension", str(field.dimension), f"{collection.embedding} makes vectors of {length}",
            "take it out: without it, the model's holds",
        )  # fmt: skip
    if field.type == "binary_vector" and (field.dimension or length or 8) % 8:
        breaks = "a binary vector is stored in whole bytes"
        yield LinkProblem(path, "a length that is no multiple of 8", breaks, "make it a multiple of 8")
