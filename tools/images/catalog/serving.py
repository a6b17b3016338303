"""Model servers that need a card, and one of somebody else: small servers on a real small model stand in for them."""

from __future__ import annotations

from pathlib import Path

from tools.images import python
from tools.images.base import BASH, CURL, PYTHON, SLIM
from tools.images.image import Image
from tools.images.layer import Folder, files_layer
from tools.images.models import STORE
from tools.images.programs_of import part_programs

_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
_OLLAMA = part_programs("ollama", {"ollama": "/usr/bin/ollama"}, Folder("root/.ollama"))
_SERVER = files_layer(
    "serving", {"serving.py": _PROGRAMS / "serving.py"}, Folder("root/.cache/huggingface/hub")
)
_RUNS = (*SLIM, PYTHON, _OLLAMA)
_WORDS = "a small server of its addresses and metrics, on a real model (SmolLM2 135M) from the real cache"
_HUB = python.packages("hub")

IMAGES = (
    Image(
        names=("vllm/vllm-openai:v0.11.0",),
        layers=(*_RUNS, BASH, CURL, _HUB, _SERVER),
        real=f"{_WORDS}; `hf` is the real one",
        stands_in=True,
        entrypoint=("python3", "/serving.py", "--as", "vllm"),
    ),
    Image(
        names=("alpindale/aphrodite-openai:v0.9.1", "aphrodite/engine:0.9.1-otel"),
        layers=(*_RUNS, BASH, CURL, _HUB, _SERVER),
        real=f"{_WORDS}; `huggingface-cli` is the real one",
        stands_in=True,
        entrypoint=("python3", "/serving.py", "--as", "aphrodite"),
    ),
    Image(
        names=("ops-test/openai:1",),
        layers=(*_RUNS, STORE, _SERVER),
        real="OpenAI's addresses, on real models (all-MiniLM-L6-v2, lengthened to 3072 numbers; SmolLM2 135M)",
        stands_in=True,
        entrypoint=("python3", "/serving.py", "--as", "openai"),
    ),
)
