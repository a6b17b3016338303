"""What a Qdrant collection is, as a backup sees it, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_FREE = ("replication_factor", "write_consistency_factor", "shard_number")
"""Parameters that belong to the server's nodes, and not to the content."""


@dataclass(frozen=True)
class CollectionShape:
    """How a collection is made."""

    params: Mapping[str, Any]
    """Vectors by name with size and distance, and what else the server says of them."""
    payload: Mapping[str, str]
    """Type of each indexed field of the payload."""
    status: str = "green"
    """`green`, `yellow` (optimising), `grey` (optimisations wait) or `red` (broken)."""


@dataclass(frozen=True)
class CollectionFacts:
    """One collection at the time of its backup."""

    server: str
    shape: CollectionShape
    rows: int
    """Points when the snapshot was done."""
    fewest: int
    most: int
    """Bounds of what the snapshot holds: they differ where somebody wrote meanwhile."""

    def to_facts(self) -> dict[str, Any]:
        """As a part's facts."""
        return {"engine": "qdrant", **asdict(self)}


def facts_of(facts: Mapping[str, Any]) -> CollectionFacts:
    """What a part's facts hold. Raises ValueError where they are not a Qdrant collection's."""
    try:
        if facts["engine"] != "qdrant":
            raise ValueError(f"they are those of {facts['engine']}")
        shape = CollectionShape(**facts["shape"])
        return CollectionFacts(facts["server"], shape, facts["rows"], facts["fewest"], facts["most"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the facts are not those of a Qdrant collection: {error}") from error


def differences(wanted: CollectionFacts, shape: CollectionShape, points: int) -> tuple[str, ...]:
    """How a restored collection is not what it was, in words."""
    result = []
    if not wanted.fewest <= points <= wanted.most:
        expected = (
            f"{wanted.rows}" if wanted.fewest == wanted.most else f"between {wanted.fewest} and {wanted.most}"
        )
        result.append(f"has {points} points instead of {expected}")
    for key in sorted({*wanted.shape.params, *shape.params} - {*_FREE}):
        before, now = wanted.shape.params.get(key), shape.params.get(key)
        if before != now:
            result.append(f"its {key} are {now}; they were {before}")
    if dict(shape.payload) != dict(wanted.shape.payload):
        result.append(
            f"its payload's indexes are {dict(shape.payload)}; they were {dict(wanted.shape.payload)}"
        )
    if shape.status == "red":
        result.append("is marked as broken by the server")
    return tuple(result)
