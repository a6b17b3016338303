"""Progress in words: an estimate only of what moves at a rate."""

from __future__ import annotations

import pytest

from ops_pipelines.policy.words import progress_line


@pytest.mark.parametrize(
    ("done", "total", "unit", "seconds", "line"),
    [
        (50, 100, "rows", 5, "load: 50 rows of 100 rows, 50 %, 10 rows/s, 5 s left"),
        (100, 100, "rows", 5, "load: 100 rows of 100 rows, 100 %, 20 rows/s"),
        (50, 100, "rows", 0.5, "load: 50 rows of 100 rows, 50 %"),
        (50, None, "rows", 5, "load: 50 rows"),
        (0, 0, "rows", 5, "load: 0 rows of 0 rows"),
        (1 << 20, 2 << 20, "bytes", 2, "load: 1.0 MiB of 2.0 MiB, 50 %, 512.0 KiB/s, 2 s left"),
        (6, 7, "containers", 5, "load: 6 containers of 7 containers, 86 %"),
    ],
)
def test_progress(done: int, total: int | None, unit: str, seconds: float, line: str) -> None:
    assert progress_line("load", done, total, unit, seconds) == line
