"""Is a restored collection what the snapshot holds: its schema, its count, its rows bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ops_pipelines.engines.ports import VectorStore
from ops_pipelines.policy.collection_schema import decode_schema
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.rowfiles import Cuts, Cutter, Tally, file_path, row_digest
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
    findings += _shape(part, state)
    findings.append(_every_row(store, part, state, batch) if full else _some_rows(store, part, state))
    return tuple(findings)


def _shape(part: Part, state: CollectionState) -> tuple[Finding, ...]:
    kept = decode_schema(json.dumps(part.facts.get("schema")).encode(), where=part.key)
    return same_schema(part.name, kept.schema, state.schema) or (
        Finding(part.key, True, f"{state.name} has the schema and the indexes of the snapshot"),
    )


def _some_rows(store: VectorStore, part: Part, state: CollectionState) -> Finding:
    sample: Mapping[Any, str] = dict(part.facts.get("sample", ()))
    if not sample:
        good = True if part.facts.get("rows") == 0 else None
        return Finding(part.key, good, "no rows were compared: the snapshot keeps no sample of them",
                       "" if good else "check it in full")  # fmt: skip
    primary = state.schema.primary.name
    rows = store.get(state.name, list(sample))
    seen = {row[primary]: row_digest(state.schema, row).hex()[:32] for row in rows}
    wrong = [key for key, digest in sample.items() if seen.get(key) != digest]
    return _compared(part, len(sample), "sampled rows", wrong)


def _every_row(store: VectorStore, part: Part, state: CollectionState, batch: int) -> Finding:
    """Count the rows into files as the backup did, and compare the files' digests."""
    files: Mapping[str, list[Any]] = part.facts.get("files", {})
    seen = _tallied(store, state.name, state.schema, Cuts(**part.facts["cuts"]), batch)
    wrong = [
        f"{entry[2]!r} to {entry[3]!r}"
        for path, entry in files.items()
        if path not in seen or [seen[path].rows, seen[path].digest] != entry[:2]
    ]
    strange = [path for path in seen if path not in files]
    if strange and not wrong:
        wrong = [f"{sum(seen[path].rows for path in strange)} rows that the snapshot does not hold"]
    return _compared(part, sum(tally.rows for tally in seen.values()), "rows", wrong)


def _tallied(
    store: VectorStore, name: str, schema: CollectionSchema, cuts: Cuts, batch: int
) -> dict[str, Tally]:
    seen: dict[str, Tally] = {}
    for partition in ("_default", *schema.partitions) if schema.partitions else (None,):
        cutter, tally = Cutter(cuts), Tally()
        for page in store.rows(name, batch=batch, partition=partition):
            for row in page:
                key = row[schema.primary.name]
                if cutter.begins(key):
                    tally = seen[file_path(partition or "_default", key)] = Tally()
                tally.add(key, row_digest(schema, row))
    return seen


def _compared(part: Part, count: int, what: str, wrong: list[Any]) -> Finding:
    if not wrong:
        return Finding(part.key, True, f"{count} {what} are the same, bit for bit")
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    named = ", ".join(str(one) for one in wrong[:_NAMED])
    return Finding(part.key, False, f"of {count} {what} these differ: {named}{more}", _AGAIN)
