"""The parts that come from PyPI with our own dependencies: the embedded object store, vectors, supervisor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.parts import uv
from tools.parts.part import Part

SYNC = "uv sync --locked --all-extras (any make target does it)"


def _folders() -> Iterable[Path]:
    return (uv.venv_bin(),)


PARTS = tuple(
    Part(name=name, version="locked", binaries=binaries, how_to_get=SYNC, folders=_folders)
    for name, binaries in (
        ("seaweedfs", ("weed",)),
        ("milvus-lite", ("milvus-lite",)),
        ("supervisor", ("supervisord", "supervisorctl")),
    )
)
