"""Milvus' words for types, schemas and values, to and from the words of a declaration."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pymilvus import DataType, Function, FunctionType, MilvusClient
from pymilvus.grpc_gen import schema_pb2

from ops_pipelines.errors import SchemaMismatch
from ops_pipelines.policy.vectors import CollectionSchema, FieldSchema, FunctionSchema, IndexSchema

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
    "geometry": DataType.GEOMETRY,
    "timestamptz": DataType.TIMESTAMPTZ,
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


FUNCTIONS = frozenset({"BM25"})
"""Functions whose outputs a server makes again from the rows that it is given."""
_SINCE: Mapping[str, tuple[int, int]] = {
    "sparse_float_vector": (2, 4),
    "bfloat16_vector": (2, 4),
    "int8_vector": (2, 6),
    "geometry": (2, 6),
    "timestamptz": (2, 6),
}
"""First version of Milvus that has a type (milvus.io/docs/release_notes.md); earlier ones fail later."""


def lacking(schema: CollectionSchema, version: str) -> str:
    """What of a schema a server of this version does not have, in words; empty where it has all.

    An old server makes the collection all the same, and drops or garbles what it does not know."""
    if version.startswith("milvus_lite"):
        types = [f"the field {f.name} is a {f.type}" for f in schema.fields if f.type in LITE_LACKS]
        return types[0] + ", which Milvus Lite does not have" if types else ""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    known = (int(found[1]), int(found[2])) if found else (99, 0)
    words = [(f"the field {f.name} is a {f.type}", _SINCE[f.type]) for f in schema.fields if f.type in _SINCE]
    words += [(f"the field {f.name} is nullable", (2, 5)) for f in schema.fields if f.nullable]
    words += [(f"the function {f.name} computes fields", (2, 5)) for f in schema.functions]
    if sum(1 for f in schema.fields if f.type.endswith("_vector")) > 1:
        words.append(("it has more than one vector field", (2, 4)))
    for what, since in words:
        if known < since:
            return f"{what}, which Milvus has since {since[0]}.{since[1]} and this server is {version}"
    return ""


def server_schema(schema: CollectionSchema, *, own_keys: bool = True) -> Any:
    """The schema as pymilvus wants it. Without `own_keys` the server makes no keys (auto_id), whatever it says."""
    made = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=schema.dynamic, description=schema.description
    )
    for field in schema.fields:
        made.add_field(field_name=field.name, datatype=TYPES[field.type], **_options(field, own_keys))
    for function in schema.functions:
        made.add_function(
            Function(
                name=function.name,
                function_type=FunctionType[function.type],
                input_field_names=list(function.inputs),
                output_field_names=list(function.outputs),
                description=function.description,
                params=dict(function.params),
            )
        )
    return made


def settings(schema: CollectionSchema) -> dict[str, Any]:
    """What a collection is created with besides its fields."""
    said = {
        "num_shards": schema.shards,
        "consistency_level": schema.consistency,
        "properties": dict(schema.properties) or None,
        "num_partitions": schema.buckets,
    }
    return {word: value for word, value in said.items() if value is not None}


def _options(field: FieldSchema, own_keys: bool) -> dict[str, Any]:
    more: dict[str, Any] = dict(field.params)
    if field.dimension is not None and field.type != "sparse_float_vector":
        more["dim"] = field.dimension
    if field.type == "varchar" or (field.type == "array" and field.element == "varchar"):
        more["max_length"] = field.max_length or _LONGEST_VARCHAR
    if field.type == "array":
        more["element_type"] = TYPES[field.element or "varchar"]
        more["max_capacity"] = field.capacity or 4096
    if field.default is not None:
        more["default_value"] = _value_field(field)
    if field.description:
        more["description"] = field.description
    flags = {"nullable": field.nullable, "is_partition_key": field.partition_key,
             "is_clustering_key": field.clustering_key}  # fmt: skip
    more.update({word: True for word, here in flags.items() if here})
    if field.primary:
        more.update(is_primary=True, auto_id=field.auto_id and own_keys)
    return more


def known_schema(
    name: str,
    described: Mapping[str, Any],
    indexes: Sequence[Mapping[str, Any]],
    partitions: Sequence[str],
) -> tuple[CollectionSchema, tuple[str, ...]]:
    """The schema of a described collection, and notes on what it has that a schema here cannot say.

    Raises SchemaMismatch where a field's type, or a computed field, cannot be kept at all.
    """
    functions = tuple(_function(function) for function in described.get("functions") or ())
    if strange := [f"{one.name} of type {one.type}" for one in functions if one.type not in FUNCTIONS]:
        raise _not_kept(name, f"fields that its server computes (function {', '.join(strange)})")
    if described.get("struct_array_fields"):
        raise _not_kept(name, "fields of structures")
    computed = {output for function in functions for output in function.outputs}
    auto_id = bool(described.get("auto_id"))
    fields = tuple(_field(name, field, auto_id, computed) for field in described["fields"])
    keyed = any(field.partition_key for field in fields)
    named = tuple(sorted(p for p in partitions if p != "_default"))
    schema = CollectionSchema(
        fields=fields,
        indexes={i["field_name"]: known_index(i) for i in indexes},
        dynamic=bool(described.get("enable_dynamic_field")),
        partitions=() if keyed else named,
        functions=functions,
        description=str(described.get("description") or ""),
        properties={key: str(value) for key, value in (described.get("properties") or {}).items()},
        buckets=len(named) if keyed else None,
        shards=_number(described.get("num_shards")),
        consistency=described.get("consistency_level_name"),
    )
    notes = tuple(
        f"how the index of {field} was built (its server does not tell)"
        for field, index in schema.indexes.items()
        if index.type in BUILD and not index.params
    )
    return schema, notes


def _function(described: Mapping[str, Any]) -> FunctionSchema:
    kind = described.get("type")
    return FunctionSchema(
        name=str(described.get("name")),
        type=str(getattr(kind, "name", kind)),
        inputs=tuple(described.get("input_field_names") or ()),
        outputs=tuple(described.get("output_field_names") or ()),
        params=dict(described.get("params") or {}),
        description=str(described.get("description") or ""),
    )


_TOLD_APART = ("dim", "max_length", "max_capacity")


def _field(name: str, field: Mapping[str, Any], auto_id: bool, computed: Collection[str]) -> FieldSchema:
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
        default=_default(field.get("default_value")),
        partition_key=bool(field.get("is_partition_key")),
        clustering_key=bool(field.get("is_clustering_key")),
        computed=field["name"] in computed or bool(field.get("is_function_output")),
        description=str(field.get("description") or ""),
        params={key: value for key, value in params.items() if key not in _TOLD_APART},
    )


def _default(value: Any) -> Any:
    """A default in plain Python. Servers tell it as a message in which one of several fields is set."""
    if value is None or not hasattr(value, "WhichOneof"):
        return value
    kind = value.WhichOneof("data")
    found = None if kind is None else getattr(value, kind)
    return found.decode() if isinstance(found, bytes) else found


_DEFAULTS = {"bool": "bool_data", "int8": "int_data", "int16": "int_data", "int32": "int_data",
             "int64": "long_data", "float": "float_data", "double": "double_data", "json": "bytes_data"}  # fmt: skip


def _value_field(field: FieldSchema) -> Any:
    """A default as servers want it. pymilvus would send every whole number as a long one."""
    value = field.default.encode() if field.type == "json" else field.default
    return schema_pb2.ValueField(**{_DEFAULTS.get(field.type, "string_data"): value})


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
        metric="" if described.get("metric_type") in (None, "NONE") else str(described["metric_type"]),
        params={key: _plain(value) for key, value in params.items()},
        name=""
        if described.get("index_name") == described.get("field_name")
        else str(described.get("index_name", "")),
    )


def _plain(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
