"""Ollama, as `make parts` builds it. Its image has no HTTP client."""

from __future__ import annotations

from tools.images.base import SLIM
from tools.images.image import Image
from tools.images.layer import Folder
from tools.images.programs_of import part_programs

_OLLAMA = part_programs("ollama", {"ollama": "/usr/bin/ollama"}, Folder("root/.ollama"))

IMAGES = (
    Image(
        names=("ollama/ollama:0.17.4", "ollama/ollama:0.17.4-rocm"),
        layers=(*SLIM, _OLLAMA),
        real="Ollama 0.17.4, built for the CPU",
        entrypoint=("/usr/bin/ollama",),
        command=("serve",),
        environment={"OLLAMA_HOST": "0.0.0.0:11434"},
    ),
)
