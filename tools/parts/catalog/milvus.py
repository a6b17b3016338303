"""A real Milvus server from PyPI, in an environment of its own: it is years older than our dependencies.

`found["python"]` is the interpreter that can import `milvus`. The server listens on every address, so run it
in a network namespace, and end it by `MilvusServer.stop()`: SIGTERM to its launcher leaves the server behind.
"""

from __future__ import annotations

from pathlib import Path

from tools.parts import uv
from tools.parts.part import Part

VERSION = "2.3.5"


def _install(folder: Path) -> None:
    uv.new_venv(folder, f"milvus=={VERSION}")


PARTS = (
    Part(
        name="milvus",
        version=VERSION,
        binaries=("milvus-server", "python"),
        how_to_get=f"make parts (PyPI: milvus=={VERSION}, Linux x86-64 only)",
        install=_install,
        probe=("--help",),
    ),
)
