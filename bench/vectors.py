"""Vectors: rows of a real Milvus to files, against the guides' export and against what the server gives at all.

The server's own ceiling is pymilvus' query_iterator whose rows are thrown away; the wire under it, answers thrown
away before any client has made rows of them, is printed beside it. BENCH_ROWS=1000000 sets the rows of 384 numbers
(default 100,000). Each figure is of a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench._vectors import fill
from bench.fleet import ROOT
from bench.row import Row, within
from tools.milvus_server import cannot, milvus_server
from tools.parts import all_parts

_NEW = 0.01
"""Share of rows that are new in a second run."""


def run() -> list[Row]:
    """Start a server, fill it, read it in each way, add rows and read it again."""
    rows = int(os.environ.get("BENCH_ROWS", "100000"))
    found = all_parts()["milvus"].find()
    if found is None or cannot():
        print(f"not run: {cannot() or 'no real Milvus (make parts)'}")
        return []
    with tempfile.TemporaryDirectory(prefix="bench-vectors-") as folder:
        kept = Path(folder) / "kept"
        with milvus_server(found, Path(folder) / "milvus") as address:
            fill(address, rows)
            ceiling, iterator, export = (_one(address, mode, kept) for mode in ("raw", "iterator", "json"))
            first = _one(address, "backup", kept)
            inserted, imported = (_one(address, mode, kept) for mode in ("insert", "import"))
            fill(address, int(rows * _NEW), start=rows * 100)
            appended = _one(address, "backup", kept)
            fill(address, int(rows * _NEW), step=int(100 / _NEW), start=7)
            spread = _one(address, "backup", kept)
    return [
        *_speeds(rows, ceiling, iterator, export, first),
        *_restores(rows, inserted, imported),
        *_again(first, appended, spread),
    ]


def _one(address: str, mode: str, kept: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench._vectors", address, mode, str(kept)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _speeds(rows: int, ceiling: Any, iterator: Any, export: Any, ours: Any) -> list[Row]:
    speed, most = ours["speed"] / 1000, iterator["speed"] / 1000
    share = f"at least 90 % of the server's own ceiling, read so: {'yes' if speed >= 0.9 * most else 'NO'}"
    return [
        Row(
            f"{rows:,} rows backed up", speed, "k rows/s", "query_iterator, its rows thrown away", most, share
        ),
        Row("", speed, "k rows/s", "answers thrown away unread, no client at all", ceiling["speed"] / 1000),
        Row("", speed, "k rows/s", "query_iterator to JSON, as guides do", export["speed"] / 1000),
        Row(
            "processor time of it", ours["cpu"] * 1e6, "us/row", "query_iterator to JSON", export["cpu"] * 1e6
        ),
        Row("memory of it", ours["memory"], "MB", target=within(ours["memory"], 500, "MB")),
        Row("bytes of it", ours["sent"] / 1e6, "MB", "JSON", export["bytes"] / export["rows"] * rows / 1e6),
    ]


def _restores(rows: int, inserted: Any, imported: Any) -> list[Row]:
    by_files, by_calls = imported["speed"] / 1000, inserted["speed"] / 1000
    return [
        Row(f"{rows:,} rows restored by bulk import, loaded", by_files, "k rows/s", "by insert", by_calls),
        Row("processor time of it here", imported["cpu"] * 1e6, "us/row", "by insert", inserted["cpu"] * 1e6),
    ]


def _again(first: Any, appended: Any, spread: Any) -> list[Row]:
    return [
        Row(
            f"second run, 1 % new rows {words}: bytes sent",
            100 * one["sent"] / first["sent"],
            "%",
            target=within(100 * one["sent"] / first["sent"], 3, "%"),
        )
        for words, one in (("at the end", appended), ("spread evenly", spread))
    ]
