"""What a vector collection is: its schema, indexes and counts, wanted or seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True)
class IndexSchema:
    """Index of one vector field."""

    type: str
    metric: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CollectionSchema:
    """Shape of a collection, without its name."""

    fields: tuple[FieldSchema, ...]
    indexes: Mapping[str, IndexSchema] = field(default_factory=dict)
    dynamic: bool = False
    partitions: tuple[str, ...] = ()

    @property
    def primary(self) -> FieldSchema:
        """The primary key's field."""
        return next(f for f in self.fields if f.primary)

    @property
    def vectors(self) -> tuple[FieldSchema, ...]:
        """The vector fields."""
        return tuple(f for f in self.fields if f.type.endswith("_vector"))


@dataclass(frozen=True)
class CollectionState:
    """A collection as its server shows it."""

    name: str
    """Physical name."""
    alias: str | None
    """Alias that clients use, where one points here."""
    schema: CollectionSchema
    rows: int
    loaded: bool
    notes: tuple[str, ...] = ()
    """What its server keeps of it that a schema here cannot say, and that a restore therefore loses."""
