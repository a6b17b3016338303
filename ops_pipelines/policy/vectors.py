"""What a vector collection is: its schema, indexes and counts, wanted or seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROWS = "rows"
"""What `facts["mode"]` says of a collection kept as rows. Another mode (the server's own segments, copied inside
the store) is another source and target of the same kind of part; who does not know it must refuse it."""


@dataclass(frozen=True)
class FieldSchema:
    """One field. `type` is a word of the declaration (`varchar`, `float_vector`, ...)."""

    name: str
    type: str
    primary: bool = False
    auto_id: bool = False
    dimension: int | None = None
    max_length: int | None = None
    element: str | None = None
    capacity: int | None = None
    nullable: bool = False
    default: Any = None
    """Value of rows that name none."""
    partition_key: bool = False
    clustering_key: bool = False
    computed: bool = False
    """Made by the server from other fields (a function's output): never read, never written."""
    description: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What else the server keeps of it, in its own words (`enable_analyzer`, `mmap.enabled`)."""


@dataclass(frozen=True)
class FunctionSchema:
    """How a server computes fields from others. `type` is in its own words (`BM25`)."""

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class IndexSchema:
    """Index of one field. A scalar field's has no metric."""

    type: str
    metric: str
    params: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    """Its own name, where that is not the field's."""


@dataclass(frozen=True)
class CollectionSchema:
    """Shape of a collection, without its name."""

    fields: tuple[FieldSchema, ...]
    indexes: Mapping[str, IndexSchema] = field(default_factory=dict)
    dynamic: bool = False
    partitions: tuple[str, ...] = ()
    """Partitions that a person named. A collection with a partition key has none: its server makes them."""
    functions: tuple[FunctionSchema, ...] = ()
    description: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """In the server's words (`collection.ttl.seconds`, `mmap.enabled`)."""
    buckets: int | None = None
    """Partitions that the server made for a partition key."""
    shards: int | None = None
    consistency: str | None = None
    """What readers see who ask for nothing else: Strong, Bounded, Session, Eventually."""

    @property
    def stored(self) -> tuple[FieldSchema, ...]:
        """The fields whose values are kept, which are those that no function computes."""
        return tuple(f for f in self.fields if not f.computed)

    @property
    def primary(self) -> FieldSchema:
        """The primary key's field."""
        return next(f for f in self.fields if f.primary)

    @property
    def vectors(self) -> tuple[FieldSchema, ...]:
        """The vector fields, computed ones left out."""
        return tuple(f for f in self.stored if f.type.endswith("_vector"))


@dataclass(frozen=True)
class CollectionState:
    """A collection as its server shows it."""

    name: str
    """Physical name."""
    alias: str | None
    """Alias that clients use, where one points here; the one asked for, where several do."""
    schema: CollectionSchema
    rows: int
    loaded: bool
    notes: tuple[str, ...] = ()
    """What its server keeps of it that a schema here cannot say, and that a restore therefore loses."""
    aliases: tuple[str, ...] = ()
    """All aliases that point here."""
