"""LiteLLM's proxy of PyPI, the version that the files name.

Its database goes through Prisma, whose engine no registry has: without DATABASE_URL it runs without keys and spend
of its own, and the master key, routing, caches and callbacks are all there.
"""

from __future__ import annotations

from pathlib import Path

from tools.images import python
from tools.images.base import PYTHON, SLIM
from tools.images.image import Image
from tools.images.layer import files_layer

_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
# polars (176 MB) is there for one exporter of costs.
_LITELLM = python.packages("litellm", drop=("_polars_runtime_32*", "*/tests"))
_START = files_layer("litellm-start", {"app/docker/prod_entrypoint.sh*": _PROGRAMS / "litellm.sh"})

IMAGES = (
    Image(
        names=("ghcr.io/berriai/litellm:v1.80.0-stable",),
        layers=(*SLIM, PYTHON, _LITELLM, _START),
        real="LiteLLM 1.80.0 of PyPI, without its database (Prisma's engine is on no registry)",
        entrypoint=("docker/prod_entrypoint.sh",),
        command=("--port", "4000"),
        folder="/app",
    ),
)
