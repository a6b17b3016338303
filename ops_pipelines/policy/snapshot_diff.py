"""How two snapshots of one stack differ: parts, models, rows, files, bytes. Manifests alone are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ops_pipelines.policy.manifest import FileEntry, Manifest, Part

Change = Literal["same", "changed", "added", "removed"]


@dataclass(frozen=True)
class ModelChange:
    """One model that is not the same in both."""

    name: str
    change: Change
    before: str = ""
    """Revision in the first snapshot; empty where it is not there."""
    after: str = ""


@dataclass(frozen=True)
class PartDiff:
    """How one part differs."""

    part: str
    change: Change
    bytes_before: int
    bytes_after: int
    files_added: tuple[str, ...] = ()
    files_removed: tuple[str, ...] = ()
    files_changed: tuple[str, ...] = ()
    rows_before: int | None = None
    """None where the part does not say."""
    rows_after: int | None = None
    tables: Mapping[str, tuple[int | None, int | None]] | None = None
    """Tables of a database (logical databases of a Redis) whose rows differ: (before, after)."""
    models: tuple[ModelChange, ...] = ()

    @property
    def rows_more(self) -> int | None:
        """Rows that were added, less those removed; None where either side does not say."""
        if self.rows_before is None or self.rows_after is None:
            return None
        return self.rows_after - self.rows_before


@dataclass(frozen=True)
class SnapshotDiff:
    """How the second snapshot differs from the first."""

    before: str
    after: str
    parts: tuple[PartDiff, ...]
    bytes_before: int
    bytes_after: int
    bytes_new: int
    """Content of the second that the first does not hold: what one of them costs beside the other."""
    declaration_changed: bool
    revision_before: int | None
    revision_after: int | None

    @property
    def same(self) -> bool:
        """True where no part differs."""
        return all(part.change == "same" for part in self.parts)


def compare(before: Manifest, after: Manifest) -> SnapshotDiff:
    """Parts in the order of the first snapshot, then those that only the second has."""
    keys = dict.fromkeys([*(part.key for part in before.parts), *(part.key for part in after.parts)])
    known = {digest for digest, _ in before.blobs()}
    return SnapshotDiff(
        before=before.snapshot,
        after=after.snapshot,
        parts=tuple(_part(key, before.part(key), after.part(key)) for key in keys),
        bytes_before=before.size,
        bytes_after=after.size,
        bytes_new=sum(size for digest, size in after.blobs() if digest not in known),
        declaration_changed=before.declaration != after.declaration,
        revision_before=before.revision,
        revision_after=after.revision,
    )


def _part(key: str, before: Part | None, after: Part | None) -> PartDiff:
    old, new = _entries(before), _entries(after)
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    changed = sorted(path for path in new.keys() & old.keys() if new[path] != old[path])
    rows = _rows(before), _rows(after)
    tables, models = _tables(before, after), _models(before, after)
    if before is None or after is None:
        change: Change = "added" if before is None else "removed"
    else:
        differs = added or removed or changed or models or tables or rows[0] != rows[1]
        change = "changed" if differs else "same"
    return PartDiff(
        part=key,
        change=change,
        bytes_before=before.size if before else 0,
        bytes_after=after.size if after else 0,
        files_added=tuple(added),
        files_removed=tuple(removed),
        files_changed=tuple(changed),
        rows_before=rows[0],
        rows_after=rows[1],
        tables=tables,
        models=models,
    )


def _entries(part: Part | None) -> dict[str, FileEntry]:
    """What is inside: the same content, encrypted anew, is the same."""
    return {} if part is None else {entry.path: entry.opened for entry in part.files}


def _rows(part: Part | None) -> int | None:
    """Rows of a part: a number, or one for each of its tables."""
    rows = part.facts.get("rows") if part else None
    if isinstance(rows, Mapping):
        numbers = [count for count in rows.values() if isinstance(count, int)]
        return sum(numbers) if len(numbers) == len(rows) else None
    return rows if isinstance(rows, int) else None


def _tables(before: Part | None, after: Part | None) -> dict[str, tuple[int | None, int | None]] | None:
    old, new = _counts(before), _counts(after)
    differ = sorted(table for table in old.keys() | new.keys() if old.get(table) != new.get(table))
    return {table: (old.get(table), new.get(table)) for table in differ} or None


def _counts(part: Part | None) -> dict[str, int]:
    """Rows by table; keys by logical database of a Redis."""
    facts = part.facts if part else {}
    found: dict[str, int] = {}
    for section, word in (("tables", "rows"), ("databases", "keys")):
        listed = facts.get(section)
        for name, count in listed.items() if isinstance(listed, Mapping) else ():
            number = count.get(word) if isinstance(count, Mapping) else count
            if isinstance(number, int):
                found[str(name)] = number
    return found


def _models(before: Part | None, after: Part | None) -> tuple[ModelChange, ...]:
    old, new = _revisions(before), _revisions(after)
    found = []
    for name in sorted(old.keys() | new.keys()):
        was, now = ", ".join(sorted(old.get(name, ()))), ", ".join(sorted(new.get(name, ())))
        if was != now:
            change: Change = "added" if not was else "removed" if not now else "changed"
            found.append(ModelChange(name, change, was, now))
    return tuple(found)


def _revisions(part: Part | None) -> dict[str, set[str]]:
    """Revisions of each model of a part; several where replicas, or a hub cache, hold several."""
    found: dict[str, set[str]] = {}
    models: Any = part.facts.get("models") if part else None
    for model in models if isinstance(models, list) else ():
        if isinstance(model, Mapping):
            found.setdefault(str(model.get("name")), set()).add(str(model.get("revision")))
    return found
