"""Some rows of a collection in place of all: what is asked for, and what then should be found."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from ops_pipelines.errors import UsageError
from ops_pipelines.policy.collection_schema import decode_schema
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.rowcolumns import Batch
from ops_pipelines.policy.rowdigests import SCHEME, RowSum, digested
from ops_pipelines.policy.rowfiles import Sample, key_hashes, partition_of
from ops_pipelines.policy.rowfilter import RowFilter
from ops_pipelines.policy.vectors import CollectionSchema

_SAMPLE = 1000


@dataclass(frozen=True)
class Choice:
    """Rows that are meant: those of some partitions, that a filter holds for. Empty: all."""

    filter: str = ""
    partitions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.filter or self.partitions)

    @property
    def words(self) -> str:
        """The choice as a person reads it in a plan; nothing where all rows are meant."""
        names = f" of the partitions {', '.join(self.partitions)}" if self.partitions else ""
        return names + (f" where {self.filter}" if self.filter else "")

    def shape(self, schema: CollectionSchema) -> CollectionSchema:
        """The schema without the partitions that are not meant. Raises UsageError for what cannot be chosen."""
        if self.filter:
            RowFilter(self.filter, schema)
        if not self.partitions:
            return schema
        known = ("_default", *schema.partitions)
        if strange := [name for name in self.partitions if name not in known]:
            keyed = "; its server makes the others from a key: use a filter" if schema.buckets else ""
            raise UsageError(
                f"the snapshot holds no partition {', '.join(strange)}",
                remedy=f"it holds: {', '.join(known)}{keyed}",
            )
        return replace(schema, partitions=tuple(p for p in schema.partitions if p in self.partitions))

    def count(self, part: Part) -> str:
        """How many rows are meant, as far as that is known without reading them."""
        rows = part.facts.get("rows", "unknown")
        if self.filter:
            return f"those of {rows}"
        if not self.partitions:
            return str(rows)
        files = part.facts.get("files", {})
        return str(sum(entry[0] for path, entry in files.items() if partition_of(path) in self.partitions))

    def means(self, path: str) -> bool:
        """Whether a file of the part holds rows that may be meant."""
        partition = partition_of(path)
        return partition is not None and (not self.partitions or partition in self.partitions)


@dataclass
class Picked:
    """The rows that were picked so far, counted as a backup of them would count them."""

    choice: Choice
    schema: CollectionSchema
    _sum: RowSum = field(default_factory=RowSum)
    _sample: Sample = field(default_factory=lambda: Sample(_SAMPLE))
    _files: dict[str, list[Any]] = field(default_factory=dict)
    _sums: dict[str, RowSum] = field(default_factory=dict)

    def take(self, path: str, batch: Batch) -> Batch:
        """The rows of a batch that are meant."""
        if self.choice.filter:
            batch = batch.filter(RowFilter(self.choice.filter, self.schema).mask(batch))
        if not len(batch):
            return batch
        digests, _ = digested(self.schema, batch)
        keys = batch.column(self.schema.primary.name)
        self._sum.add(digests)
        self._sample.add(keys, key_hashes(keys), digests)
        one = self._sums.setdefault(path, RowSum())
        one.add(digests)
        first = self._files.get(path, [0, "", keys[0].as_py(), None])[2]
        self._files[path] = [one.rows, one.digest, first, keys[len(keys) - 1].as_py()]
        return batch

    def part(self, part: Part) -> Part:
        """The part as if it held these rows only: what a check compares the place with."""
        shape = self.choice.shape(self.schema)
        raw = {**part.facts["schema"]}
        raw["schema"] = {**raw["schema"], "partitions": list(shape.partitions)}
        facts = {
            **part.facts, "rows": self._sum.rows, "digest": self._sum.digest, "scheme": SCHEME, "files": self._files,
            "sample": [list(entry) for entry in self._sample.rows], "schema": raw,
        }  # fmt: skip
        return replace(part, facts=facts)


def schema_of(part: Part) -> CollectionSchema:
    """The schema that a part's facts hold. Raises SnapshotDamaged."""
    return decode_schema(json.dumps(part.facts.get("schema")).encode(), where=part.key).schema
