"""Obelisk's RAG server. Its source is on no registry, so a small server of the same addresses stands in."""

from __future__ import annotations

from pathlib import Path

from tools.images import python
from tools.images.base import PYTHON, SLIM, passwd
from tools.images.image import Image
from tools.images.layer import Folder, files_layer

_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
# Of pymilvus only the client of a server is used.
_PYMILVUS = python.packages("rag", drop=("faiss*", "milvus_lite*", "pyarrow*"))
_SERVER = files_layer(
    "rag",
    {
        **passwd("rag:x:10001:10001::/home/rag:/bin/sh", groups=("rag:x:10001:",)),
        "app/src/obelisk/cli/commands.py": _PROGRAMS / "rag.py",
    },
    Folder("app/vault", 10001, 10001),
    Folder("app/data", 10001, 10001),
    Folder("home/rag", 10001, 10001),
)

IMAGES = (
    Image(
        names=("obelisk/rag:0.1.0",),
        layers=(*SLIM, PYTHON, _PYMILVUS, _SERVER),
        real="a small server for Obelisk's own (its source is on no registry), with pymilvus 2.5 on the real Milvus",
        stands_in=True,
        command=(
            "python",
            "-m",
            "src.obelisk.cli.commands",
            "rag",
            "serve",
            "--host",
            "0.0.0.0",
            "--port",
            "8001",
        ),
        environment={"PYTHONPATH": "/app", "PYTHONUNBUFFERED": "1", "VAULT_DIR": "/app/vault"},
        user="10001",
        folder="/app",
    ),
)
