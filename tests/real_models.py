"""Model caches filled with real small models (tools/images/models) under the names that a stack declares."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from pathlib import Path

from ops_pipelines.wiring import compose_data, data
from ops_pipelines.wiring.connect import caches
from ops_pipelines.wiring.site import Site
from tools.images.layer import Layer
from tools.images.models import GGUF, STORE, VECTORS, WORDS

_COMMIT = "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a"
_MANIFESTS = "models/manifests/registry.ollama.ai/library"


def fill_caches(site: Site) -> None:
    """Put every model that a stack on Compose declares into its cache: what pulls them would, had it a network."""
    compose_data.make_volumes(site)
    for cache, folders in caches(site).items():
        wanted = data.wanted_of(site, cache)
        roles = {one.name: site.stack.models[one.key].role for one in wanted}
        for folder in folders:
            if site.stack.caches[cache].layout == "ollama":
                ollama_store(
                    folder, {name: VECTORS if role == "embedding" else WORDS for name, role in roles.items()}
                )
            else:
                hub_cache(folder, roles)


def ollama_store(folder: Path, names: dict[str, str]) -> None:
    """An Ollama store (OLLAMA_MODELS) whose models have these names; each is WORDS or VECTORS in truth."""
    with tarfile.open(_made(STORE)) as store:
        manifests = {
            model: _content(store, f"{_MANIFESTS}/{model.replace(':', '/')}") for model in set(names.values())
        }
        for entry in store:
            name = entry.name.rpartition("/")[2]
            if "/blobs/sha256-" in entry.name and any(
                name.replace("-", ":").encode() in one for one in manifests.values()
            ):
                _put(folder / "blobs" / name, _content(store, entry.name))
    for name, model in names.items():
        path, _, tag = name.partition(":")
        home = (
            path
            if path.count("/") > 1
            else f"registry.ollama.ai/{path if '/' in path else f'library/{path}'}"
        )
        _put(folder / "manifests" / home / (tag or "latest"), manifests[model])


def hub_cache(folder: Path, repos: Iterable[str]) -> None:
    """A hub cache in which each repository holds a real model that writes, as `hf download` leaves it."""
    with tarfile.open(_made(GGUF)) as layer:
        files = {"model.gguf": _content(layer, "model.gguf"), "config.json": b'{"model_type": "llama"}\n'}
    for repo in repos:
        home = folder / f"models--{repo.replace('/', '--')}"
        _put(home / "refs/main", _COMMIT.encode())
        for name, content in files.items():
            etag = hashlib.sha256(content).hexdigest() if len(content) > 10 << 20 else _git_id(content)
            _put(home / "blobs" / etag, content)
            link = home / "snapshots" / _COMMIT / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../blobs/{etag}")


def _made(layer: Layer) -> Path:
    assert layer.made, "make parts ARGS=whole-stack-images"
    return layer.path


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    with file:
        return file.read()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
