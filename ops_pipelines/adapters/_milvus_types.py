"""Milvus' words for types, schemas and values, to and from the words of a declaration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pymilvus import DataType, MilvusClient

from ops_pipelines.errors import SchemaMismatch
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, IndexSchema

TYPES: Mapping[str, Any] = {
    "bool": DataType.BOOL,
    "int8": DataType.INT8,
    "int16": DataType.INT16,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "float": DataType.FLOAT,
    "double": DataType.DOUBLE,
    "varchar": DataType.VARCHAR,
    "json": DataType.JSON,
    "array": DataType.ARRAY,
    "float_vector": DataType.FLOAT_VECTOR,
    "binary_vector": DataType.BINARY_VECTOR,
    "float16_vector": DataType.FLOAT16_VECTOR,
    "bfloat16_vector": DataType.BFLOAT16_VECTOR,
    "int8_vector": DataType.INT8_VECTOR,
    "sparse_float_vector": DataType.SPARSE_FLOAT_VECTOR,
}
_WORDS = {int(kind): word for word, kind in TYPES.items()}
_LONGEST_VARCHAR = 65535

LITE_LACKS = frozenset({"binary_vector", "float16_vector", "bfloat16_vector", "int8_vector"})
"""Field types that Milvus Lite refuses (3.2)."""
LITE_INDEXES = frozenset(
    {"AUTOINDEX", "FLAT", "BRUTE_FORCE", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "SPARSE_INVERTED_INDEX"}
)
"""Index types that Milvus Lite builds; it accepts others and fails when the collection is loaded (3.2)."""
BUILD: Mapping[str, Mapping[str, Any]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "HNSW_SQ": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 128},
    "IVF_SQ8": {"nlist": 128},
    "IVF_PQ": {"nlist": 128, "m": 8, "nbits": 8},
}
"""Parameters that a Milvus server asks for and a declaration need not say. Lite keeps its own."""


def server_schema(schema: CollectionSchema) -> Any:
    """The schema as pymilvus wants it."""
    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=schema.dynamic)
    for field in schema.fields:
        more: dict[str, Any] = {}
        if field.dimension is not None and field.type != "sparse_float_vector":
            more["dim"] = field.dimension
        if field.type == "varchar" or (field.type == "array" and field.element == "varchar"):
            more["max_length"] = field.max_length or _LONGEST_VARCHAR
        if field.type == "array":
            more["element_type"] = TYPES[field.element or "varchar"]
            more["max_capacity"] = field.capacity or 4096
        if field.nullable:
            more["nullable"] = True
        if field.primary:
            more.update(is_primary=True, auto_id=field.auto_id)
        made.add_field(field_name=field.name, datatype=TYPES[field.type], **more)
    return made


def known_schema(
    name: str,
    described: Mapping[str, Any],
    indexes: Sequence[Mapping[str, Any]],
    partitions: Sequence[str],
) -> tuple[CollectionSchema, tuple[str, ...]]:
    """The schema of a described collection, and notes on what it has that a schema here cannot say.

    Raises SchemaMismatch where a field's type, or a computed field, cannot be kept at all.
    """
    if described.get("functions"):
        words = ", ".join(str(function.get("name")) for function in described["functions"])
        raise _not_kept(name, f"fields that its server computes (function {words})")
    fields = tuple(_field(name, field, bool(described.get("auto_id"))) for field in described["fields"])
    vectors = {field.name for field in fields if field.type.endswith("_vector")}
    notes = [note for field in described["fields"] for note in _field_notes(field)]
    if described.get("description"):
        notes.append("its description")
    notes += [f"the index of {i['field_name']}" for i in indexes if i["field_name"] not in vectors]
    keyed = any(field.get("is_partition_key") for field in described["fields"])
    schema = CollectionSchema(
        fields=fields,
        indexes={i["field_name"]: known_index(i) for i in indexes if i["field_name"] in vectors},
        dynamic=bool(described.get("enable_dynamic_field")),
        partitions=() if keyed else tuple(sorted(p for p in partitions if p != "_default")),
    )
    return schema, tuple(notes)


def _field(name: str, field: Mapping[str, Any], auto_id: bool) -> FieldSchema:
    word = _WORDS.get(int(field["type"]))
    element = _WORDS.get(int(field["element_type"])) if field.get("element_type") else None
    if word is None or (word == "array" and element is None):
        raise _not_kept(name, f"the field {field['name']} of type {field['type']!s}")
    params = field.get("params") or {}
    primary = bool(field.get("is_primary"))
    return FieldSchema(
        name=field["name"],
        type=word,
        primary=primary,
        auto_id=primary and (auto_id or bool(field.get("auto_id"))),
        dimension=_number(params.get("dim")),
        max_length=_number(params.get("max_length")),
        element=element,
        capacity=_number(params.get("max_capacity")),
        nullable=bool(field.get("nullable")),
    )


def _field_notes(field: Mapping[str, Any]) -> list[str]:
    flags = {
        "is_partition_key": "that {} is the partition key",
        "is_clustering_key": "that {} is the clustering key",
        "default_value": "the default of {}",
    }
    return [text.format(field["name"]) for flag, text in flags.items() if field.get(flag)]


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _not_kept(name: str, what: str) -> SchemaMismatch:
    return SchemaMismatch(
        f"the collection {name} has {what}, which this version cannot read",
        remedy="set `backup: false` for the collection and keep it another way, or upgrade ops-pipelines",
    )


_BOOKKEEPING = frozenset(
    {"index_type", "metric_type", "field_name", "index_name", "total_rows", "indexed_rows", "state",
     "pending_index_rows", "params", "search_params", "index_state_fail_reason", "warmup"}
)  # fmt: skip


def known_index(described: Mapping[str, Any]) -> IndexSchema:
    """An index as described: servers tell its parameters beside the rest, or below `params`, as text."""
    beside = {key: value for key, value in described.items() if key not in _BOOKKEEPING}
    below = described.get("params") or {}
    params = {**beside, **(below if isinstance(below, Mapping) else {})}
    return IndexSchema(
        type=str(described.get("index_type", "")),
        metric=str(described.get("metric_type", "")),
        params={key: _plain(value) for key, value in params.items()},
    )


def _plain(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
