"""Is a restored collection what the snapshot holds: its schema, its count, its rows bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from ops_pipelines.engines.parts._ahead import ahead
from ops_pipelines.engines.ports import VectorStore
from ops_pipelines.policy import rowdigests_v1
from ops_pipelines.policy.collection_schema import decode_schema
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.rowcolumns import Batch, columns_of, to_columns
from ops_pipelines.policy.rowdigests import SCHEME, RowSum, row_digests
from ops_pipelines.policy.rowfiles import partition_of, partitions, places
from ops_pipelines.policy.schema_drift import same_schema
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState

_AGAIN = "restore again; if it stays, restore another snapshot"
_NAMED = 5
"""Keys or files that a finding names."""


def check_place(store: VectorStore, part: Part, place: str, *, full: bool, batch: int) -> tuple[Finding, ...]:
    """Findings on a place; all good where it is what the part holds."""
    state = store.state(place)
    if state is None:
        return (Finding(part.key, False, f"{place} is not there", _AGAIN),)
    count = store.count(place)
    rows = part.facts.get("rows")
    if not isinstance(rows, int):
        return (
            Finding(part.key, None, f"the snapshot does not say how many rows {place} should hold", _AGAIN),
        )
    findings = [Finding(part.key, count == rows, f"{place} holds {count} rows of {rows}",
                        "" if count == rows else _AGAIN)]  # fmt: skip
    kept = decode_schema(json.dumps(part.facts.get("schema")).encode(), where=part.key).schema
    findings += _shape(part, kept, state)
    if columns_of(kept) != columns_of(state.schema):
        findings.append(Finding(part.key, None, "no rows were compared: the fields differ", _AGAIN))
    elif full:
        findings.append(_every_row(store, part, state.schema, state.name, batch))
    else:
        findings.append(_some_rows(store, part, state.schema, state.name))
    return tuple(findings)


def _shape(part: Part, kept: CollectionSchema, state: CollectionState) -> tuple[Finding, ...]:
    return same_schema(part.name, kept, state.schema) or (
        Finding(part.key, True, f"{state.name} has the schema and the indexes of the snapshot"),
    )


def _some_rows(store: VectorStore, part: Part, schema: CollectionSchema, place: str) -> Finding:
    sample: Mapping[Any, str] = dict(part.facts.get("sample", ()))
    if not sample:
        good = True if part.facts.get("rows") == 0 else None
        return Finding(part.key, good, "no rows were compared: the snapshot keeps no sample of them",
                       "" if good else "check it in full")  # fmt: skip
    rows = store.get(place, list(sample))
    digests = _digests(part)(schema, to_columns(schema, rows))
    primary = schema.primary.name
    seen = {row[primary]: digest.tobytes().hex()[:32] for row, digest in zip(rows, digests, strict=True)}
    wrong = [key for key, digest in sample.items() if seen.get(key) != digest]
    return _compared(part, len(sample), "sampled rows", wrong)


def _every_row(store: VectorStore, part: Part, schema: CollectionSchema, place: str, batch: int) -> Finding:
    """Count the rows into the ranges of keys that the backup's files held, and compare the digests of these."""
    files: Mapping[str, list[Any]] = part.facts.get("files", {})
    digests = _digests(part)
    total, strange, wrong = 0, 0, []
    for partition in partitions(schema):
        here = [entry for path, entry in files.items() if partition_of(path) == (partition or "_default")]
        ranges = sorted(here, key=lambda entry: entry[2])
        sums = [RowSum() for _ in ranges]
        for page in ahead(store.batches(place, batch=batch, partition=partition)):
            found = digests(schema, page)
            edges = places([entry[2] for entry in ranges], page.column(schema.primary.name))
            strange += edges[0] if edges else len(page)
            for number, (start, end) in enumerate(pairwise([*edges, len(page)])):
                sums[number].add(found[start:end])
            total += len(page)
        wrong += [
            f"{entry[2]!r} to {entry[3]!r}"
            for entry, seen in zip(ranges, sums, strict=True)
            if [seen.rows, seen.digest] != entry[:2]
        ]
    if strange:
        wrong.append(f"{strange} rows that the snapshot does not hold")
    return _compared(part, total, "rows", wrong)


def _digests(part: Part) -> Callable[[CollectionSchema, Batch], Any]:
    """What digests rows as the snapshot's own digests were made."""
    return row_digests if part.facts.get("scheme", 1) == SCHEME else rowdigests_v1.row_digests


def _compared(part: Part, count: int, what: str, wrong: list[Any]) -> Finding:
    if not wrong:
        return Finding(part.key, True, f"{count} {what} are the same, bit for bit")
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    named = ", ".join(str(one) for one in wrong[:_NAMED])
    return Finding(part.key, False, f"of {count} {what} these differ: {named}{more}", _AGAIN)
