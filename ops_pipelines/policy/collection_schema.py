"""A collection's schema as a file of a snapshot, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ops_pipelines.errors import SnapshotDamaged
from ops_pipelines.policy.vectors import (
    CollectionSchema,
    CollectionState,
    FieldSchema,
    FunctionSchema,
    IndexSchema,
)

SCHEMA_FILE = "schema.json"


@dataclass(frozen=True)
class SchemaFile:
    """What `schema.json` holds."""

    schema: CollectionSchema
    alias: str | None
    server: str
    aliases: tuple[str, ...] = ()


_LATER = ("description", "properties", "buckets", "shards", "consistency")
"""Words of a schema that the first snapshots do not hold."""


def encode_schema(state: CollectionState, server: str) -> bytes:
    """`schema.json` of a collection: the same collection gives the same bytes."""
    content = {
        "schema": asdict(state.schema),
        "alias": state.alias,
        "aliases": list(state.aliases),
        "server": server,
        "lost": list(state.notes),
    }
    return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def shape_digest(schema: CollectionSchema) -> str:
    """Digest of what the columns of a row hang on: two schemas with the same have rows of the same digests."""
    shape = [[f.name, f.type, f.primary, f.dimension, f.element] for f in schema.stored]
    return hashlib.sha256(json.dumps([shape, schema.dynamic]).encode()).hexdigest()


def decode_schema(content: bytes, *, where: str) -> SchemaFile:
    """What a `schema.json` says. Raises SnapshotDamaged for anything that is not one."""
    try:
        raw = json.loads(content)
        schema: Mapping[str, Any] = raw["schema"]
        return SchemaFile(
            schema=CollectionSchema(
                fields=tuple(FieldSchema(**field) for field in schema["fields"]),
                indexes={name: IndexSchema(**index) for name, index in schema["indexes"].items()},
                dynamic=bool(schema["dynamic"]),
                partitions=tuple(schema["partitions"]),
                functions=tuple(_function(function) for function in schema.get("functions", ())),
                **{word: schema[word] for word in _LATER if word in schema},
            ),
            alias=raw["alias"],
            aliases=tuple(raw.get("aliases", ())),
            server=str(raw["server"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotDamaged(
            f"the schema of {where} is not readable ({error})",
            remedy="restore from another snapshot (`ops-pipelines snapshots STACK` lists them)",
        ) from error


def _function(raw: Mapping[str, Any]) -> FunctionSchema:
    return FunctionSchema(**{**raw, "inputs": tuple(raw["inputs"]), "outputs": tuple(raw["outputs"])})
