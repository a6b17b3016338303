"""What ClickHouse wrote when it was told BACKUP DATABASE, read from the files alone.

Each part of a MergeTree table carries its number of rows (count.txt), so the counts are those of the backup
itself, whatever was inserted meanwhile. The layout is metadata/DB/TABLE.sql and data/DB/TABLE/PART/count.txt, written
with `deduplicate_files = 0`, names escaped as ClickHouse escapes file names (%XX).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote

MAIN = ".backup"
"""The file without which the others are no backup."""
COUNT = "count.txt"
_ENGINE = re.compile(r"\bENGINE = (\w+)")
_HEAD = re.compile(r"(?:CREATE|ATTACH) (MATERIALIZED VIEW|VIEW|DICTIONARY|TABLE)\b")
_STEADY = ("MergeTree", "ReplicatedMergeTree", "Log", "TinyLog", "StripeLog")
"""Engines that never drop a row by themselves."""
_COUNTED = re.compile(r"\w*MergeTree|Log|TinyLog|StripeLog")
_SHOWN = {"VIEW": "View", "DICTIONARY": "Dictionary", "MATERIALIZED VIEW": "MaterializedView"}


@dataclass(frozen=True)
class TableState:
    """One table, view or dictionary of a backup."""

    engine: str
    rows: int | None
    """Rows as they lie in its parts; None where the engine keeps none that could be counted."""
    steady: bool = True
    """False where merges drop rows: replacing, summing and collapsing engines, TTLs, pending mutations."""


@dataclass(frozen=True)
class BackupState:
    """One database in a backup."""

    server: str
    """Version of the server."""
    tables: Mapping[str, TableState]

    @property
    def rows(self) -> int:
        """Rows of all tables that are counted."""
        return sum(one.rows or 0 for one in self.tables.values())

    def to_facts(self) -> dict[str, Any]:
        """As a part's facts."""
        tables = {name: asdict(one) for name, one in sorted(self.tables.items())}
        return {"engine": "clickhouse", "server": self.server, "tables": tables, "rows": self.rows}


def state_from_facts(facts: Mapping[str, Any]) -> BackupState:
    """The state that a part's facts hold. Raises ValueError where they hold none."""
    try:
        if facts["engine"] != "clickhouse":
            raise ValueError(f"they are those of {facts['engine']}")
        return BackupState(
            facts["server"], {name: TableState(**one) for name, one in facts["tables"].items()}
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the facts are not those of a ClickHouse backup: {error}") from error


def read_backup(
    paths: Iterable[str], text: Callable[[str], str], *, database: str, server: str
) -> BackupState:
    """What the files of a backup of one database hold; `text` reads one. Raises ValueError where it is not whole."""
    files = sorted(paths)
    if MAIN not in files:
        raise ValueError(f"{MAIN} is missing, so it was not finished")
    counts: dict[str, int] = {}
    mutated: set[str] = set()
    definitions: dict[str, str] = {}
    for path in files:
        match [unquote(word) for word in path.split("/")]:
            case ["data", of, table, "mutations", _] if of == database:
                mutated.add(table)
            case ["data", of, table, "count.txt"] | ["data", of, table, _, "count.txt"] if of == database:
                counts[table] = counts.get(table, 0) + int(text(path))
            case ["metadata", of, table] if of == database:
                definitions[table.removesuffix(".sql")] = text(path)
    if lost := sorted(counts.keys() - definitions.keys()):
        raise ValueError(f"the table {lost[0]} has rows and no definition")
    tables = {name: _table(sql, counts.get(name), name in mutated) for name, sql in definitions.items()}
    return BackupState(server, tables)


def _table(sql: str, rows: int | None, mutated: bool) -> TableState:
    head, engine = _HEAD.match(sql), _ENGINE.search(sql)
    kind, inner = head[1] if head else "TABLE", engine[1] if engine else ""
    if kind in ("VIEW", "DICTIONARY") or (kind == "MATERIALIZED VIEW" and not inner):
        return TableState(_SHOWN[kind], None)
    counted = rows if rows is not None else (0 if _COUNTED.fullmatch(inner) else None)
    steady = inner in _STEADY and not mutated and " TTL " not in sql
    return TableState(_SHOWN.get(kind, inner), counted, steady)


def differences(
    wanted: BackupState, found: Mapping[str, int | None], *, fresh: bool
) -> tuple[tuple[str, str], ...]:
    """(table, how it differs) of what `found` is not as `wanted` says; rows by table, None where uncounted.

    `fresh` means that no merge has run since: then every count must be the same."""
    result = []
    for name, one in sorted(wanted.tables.items()):
        if name not in found:
            result.append((name, "is missing"))
            continue
        rows = found[name]
        if one.rows is None:
            continue
        if rows is None:
            result.append((name, f"has rows that cannot be counted; there were {one.rows}"))
        elif rows > one.rows or (rows < one.rows and (fresh or one.steady)) or (one.rows and not rows):
            result.append((name, f"has {rows} rows instead of {one.rows}"))
    result += [(name, "is not in the snapshot") for name in sorted(found.keys() - wanted.tables.keys())]
    return tuple(result)
