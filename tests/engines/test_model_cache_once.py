"""A blob whose name is its digest is read once in its first backup: the store's checksum is the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters import cachefiles
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.parts.model_cache import ModelCacheSource
from ops_pipelines.engines.ports import Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.models import Inventory
from tests.caches import hub_model, ollama_model, put, sha256
from tests.engines.folders import snapshot_of
from tests.waiting import until

BIG = b"weights!" * 200_000
SMALL = b"licence"


@dataclass
class Cache:
    """One cache that is backed up as the wiring does it."""

    root: Path
    layout: str
    index: Path
    name: str = "models"
    read: list[int] = field(default_factory=list)

    def inventory(self, replica: int, progress: Progress) -> Inventory:
        taken = scan(
            self.root,
            self.layout,
            cache=self.name,
            replica=replica,
            index=self.index,
            defer=True,
            progress=progress,
        )
        self.read.append(taken.hashed)
        return taken

    def source(self) -> ModelCacheSource:
        return ModelCacheSource(self.name, 1, self.inventory, remember=self.remember)

    def remember(self, taken: Inventory) -> None:
        cachefiles.remember(self.index, taken)


def settled(path: Path) -> Path:
    """Wait until a file counts as one that nobody writes to."""
    found = path.stat()
    probe = path.parent.parent / "probe"

    def later() -> bool:
        probe.touch()
        return probe.stat().st_ctime_ns - found.st_ctime_ns > 1_000_000_000

    until(later, what="the file system's clock")
    probe.unlink()
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    root = tmp_path / "models"
    ollama_model(root, "llama3:8b", [BIG, SMALL])
    settled(root / "blobs" / f"sha256-{sha256(BIG)}")
    return Cache(root, "ollama", tmp_path / "index.json")


Backup = Callable[..., Any]


@pytest.fixture
def backup(store: S3Store, tmp_path: Path) -> Backup:
    return lambda *caches: snapshot_of([one.source() for one in caches], store, tmp_path / "scratch")


def test_it_is_stored_without_being_read_before_and_known_after(cache: Cache, backup: Backup) -> None:
    first = backup(cache)
    assert cache.read == [3]  # the licence, the config, the manifest
    assert sha256(BIG) in dict(first.blobs())
    again = backup(cache)
    assert cache.read == [3, 0]
    assert again.parts[0].files == first.parts[0].files
    assert scan(cache.root, "ollama", index=cache.index).hashed == 0


def test_a_blob_that_is_not_what_its_name_promises_is_named_and_not_stored(
    cache: Cache, backup: Backup, store: S3Store
) -> None:
    blob = cache.root / "blobs" / f"sha256-{sha256(BIG)}"
    settled(put(blob, b"X" + BIG[1:]))
    for _ in range(2):
        with pytest.raises(PartFailed, match=r"blobs/sha256-.* of llama3:8b is corrupt") as raised:
            backup(cache)
        assert "models repair" in raised.value.remedy
        assert not any(sha256(BIG) in info.key for info in store.list(""))


def test_it_is_compared_where_the_bucket_has_the_content_already(cache: Cache, backup: Backup) -> None:
    backup(cache)
    cache.index.unlink()
    backup(cache)
    assert scan(cache.root, "ollama", index=cache.index).hashed == 0
    cache.index.unlink()
    settled(put(cache.root / "blobs" / f"sha256-{sha256(BIG)}", b"X" + BIG[1:]))
    with pytest.raises(PartFailed, match="is corrupt"):
        backup(cache)


def test_two_caches_with_the_same_blob_are_both_compared(
    cache: Cache, backup: Backup, tmp_path: Path
) -> None:
    other = Cache(tmp_path / "other" / "models", "ollama", tmp_path / "other.json", "other")
    ollama_model(other.root, "llama3:8b", [BIG, SMALL])
    settled(put(other.root / "blobs" / f"sha256-{sha256(BIG)}", b"X" + BIG[1:]))
    with pytest.raises(PartFailed, match="model_cache/other: blobs/"):
        backup(cache, other)


def test_a_file_that_changed_since_is_not_remembered(cache: Cache) -> None:
    taken = cache.inventory(0, lambda *_: None)
    put(cache.root / "blobs" / f"sha256-{sha256(BIG)}", b"X" + BIG[1:])
    cache.remember(taken)
    found = scan(cache.root, "ollama", index=cache.index)
    assert found.hashed == 1
    assert [file.corrupt for file in found.files if file.size > 10_000] == [True]


def test_what_was_just_written_is_read_at_once(tmp_path: Path) -> None:
    ollama_model(tmp_path / "models", "llama3:8b", [BIG])
    assert scan(tmp_path / "models", "ollama", defer=True).hashed == 3


def test_large_blobs_of_a_hub_cache_too(tmp_path: Path, backup: Backup) -> None:
    cache = Cache(tmp_path / "hub" / "cache", "huggingface", tmp_path / "hub.json")
    home = hub_model(cache.root, "acme/tiny", {"model.safetensors": BIG, "config.json": b"{}"})
    settled(home / "blobs" / sha256(BIG))
    backup(cache)
    assert cache.read == [2]
    settled(put(home / "blobs" / sha256(BIG), b"X" + BIG[1:]))
    with pytest.raises(PartFailed, match="acme/tiny is corrupt"):
        backup(cache)
