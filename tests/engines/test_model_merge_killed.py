"""SIGKILL at every step of putting one model into a cache, from a snapshot and from a file; and then again."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from ops_pipelines.adapters import modelfile
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.adapters.modelfile import ModelArchive
from ops_pipelines.engines import models as engine
from ops_pipelines.engines.models import Picked
from ops_pipelines.engines.parts import _folders
from ops_pipelines.engines.ports import Fetch, silent
from ops_pipelines.policy.model_file import described
from ops_pipelines.policy.models import CacheModel
from ops_pipelines.policy.plan import failed
from tests.caches import captured, fetch_from, hub_model, inventories, ollama_model, put, sha256, tree
from tests.engines.test_model_cache_killed import exchange_in_steps, kill_at

WEIGHTS, OTHER = b"weights" * 20_000, b"others!" * 20_000
NAMES = {"ollama": "llama3:8b", "huggingface": "acme/tiny", "directory": "tiny"}


def fill(root: Path, layout: str, weights: bytes, commit: str) -> None:
    if layout == "ollama":
        ollama_model(root, "llama3:8b", [weights, b"licence"])
    elif layout == "huggingface":
        hub_model(root, "acme/tiny", {"model.gguf": weights, "sub/config.json": b"{}"}, commit=commit)
    else:
        put(root / "tiny" / "model.safetensors", weights)
        put(root / "tiny" / "config.json", b"{}")


def _merge(layout: str, root: Path, picked: Picked, fetch: Fetch) -> None:
    take = inventories(layout, [root])
    merging = engine.merges(picked, take, 1, silent)
    _, findings = engine.merge(merging, fetch, take, check=lambda: None, progress=silent)
    assert failed(findings) == []


def _killed_at(step: int, layout: str, root: Path, picked: Picked, fetch: Fetch) -> bool:
    """Merge in a child that dies at that step. False where it came to its end before."""
    child = os.fork()
    if child == 0:
        try:
            _folders.exchange = exchange_in_steps
            kill_at(step)
            _merge(layout, root, picked, fetch)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the status
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) != 0


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["snapshot", "file"])
@pytest.mark.parametrize("layout", list(NAMES))
def test_killed_at_every_step(tmp_path: Path, layout: str, origin: str) -> None:
    saved, live = tmp_path / "saved", tmp_path / "live"
    fill(saved, layout, WEIGHTS, "a" * 40)
    fill(live, layout, OTHER, "b" * 40)
    part, bucket = captured(layout, saved)
    picked = engine.pick(part, NAMES[layout], fetch_from(bucket), snapshot="S")
    fetch = fetch_from(bucket, replaces=True)
    if origin == "file":
        file = tmp_path / "model.tar"
        made = described(layout, picked.model, picked.entries)
        modelfile.write(file, made, lambda entry: (saved / entry.path).open("rb"), silent)
        fetch = ModelArchive(file).fetch
    [old] = scan(live, layout).models
    new = picked.model
    whole = tmp_path / "whole"
    shutil.copytree(live, whole, symlinks=True)
    _merge(layout, whole, picked, fetch)
    step = 0
    while True:
        step += 1
        root = tmp_path / "at" / str(step)
        shutil.copytree(live, root, symlinks=True)
        if not _killed_at(step, layout, root, picked, fetch):
            break
        _require_old_or_new(root, layout, old, new, f"step {step}")
        _merge(layout, root, picked, fetch)
        assert tree(root) == tree(whole), f"killed at step {step}"
        shutil.rmtree(root)
    assert step > 8


def _require_old_or_new(root: Path, layout: str, old: CacheModel, new: CacheModel, when: str) -> None:
    """What has the name is whole, the old one or the new; and the old content is there in any case."""
    inventory = scan(root, layout)
    named = [model for model in inventory.models if model.name == old.name]
    assert {model.revision for model in named} <= {old.revision, new.revision}, when
    assert any(model.complete for model in named), when
    assert not any(file.corrupt for file in inventory.files), when
    if layout == "directory":
        folders = [tree(folder).values() for folder in root.iterdir()]
        assert any({f"{sha256(OTHER)} 644", f"{sha256(b'{}')} 644"} <= set(files) for files in folders), when
    else:
        whole = {model.revision for model in inventory.models if model.complete}
        assert old.revision in whole, when
