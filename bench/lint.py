"""Linting 1,000 Compose files: short ones, ones with every fault, whole stacks

The peer reads and builds the same files with PyYAML's C loader and does nothing with them.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import yaml

from bench.row import Row, within
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring.linting import lint_paths

_ROOT = Path(__file__).parents[1]
_COUNT = 1000
_LIMIT = 5.0  # seconds


def run() -> list[Row]:
    """Measure files in good style, the guides' and our own, 1,000 of each."""
    own = sorted((_ROOT / "deploy").glob("*/compose.yaml"))
    guides = [
        each for each in sorted((_ROOT / "tests/lint/guides").glob("*.yaml")) if each.stem != "production"
    ]
    good = sorted((_ROOT / "tests/lint/good").glob("*.yaml"))
    return [
        _row(f"{_COUNT} files in good style", good),
        _row(f"{_COUNT} files of the guides, with every fault", guides),
        _row(f"{_COUNT} whole stacks (our own)", own),
    ]


def _row(what: str, sources: list[Path]) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        size = 0
        for number in range(_COUNT):
            text = sources[number % len(sources)].read_text(encoding="utf-8")
            size += text.count("\n")
            (Path(folder) / f"{number:04d}.yaml").write_text(text, encoding="utf-8")
        start = time.perf_counter()
        found = lint_paths([Path(folder)], load_settings())
        ours = time.perf_counter() - start
        assert found, "nothing was linted"
        start = time.perf_counter()
        for file in Path(folder).iterdir():
            yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        theirs = time.perf_counter() - start
    what = f"{what} ({size // _COUNT} lines each)"
    return Row(what, ours, "s", "PyYAML's CSafeLoader alone", theirs, within(ours, _LIMIT, "s"))
