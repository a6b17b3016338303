"""One model put into a cache that is in use: nothing is taken away, and it is there whole or not yet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.engines import models as engine
from ops_pipelines.engines.models import Picked
from ops_pipelines.engines.parts import _folders
from ops_pipelines.engines.parts._cache_merge import MergeResult
from ops_pipelines.engines.ports import Fetch, silent
from ops_pipelines.errors import CacheDamaged, PartFailed, SnapshotDamaged, UsageError
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.plan import failed
from tests.caches import (
    captured,
    fetch_from,
    git_id,
    hub_model,
    inventories,
    ollama_model,
    put,
    sha256,
    tree,
)

WEIGHTS = b"weights" * 20_000
OTHER = b"others!" * 20_000
OLD_COMMIT, NEW_COMMIT = "a" * 40, "b" * 40


def fill(root: Path, layout: str, weights: bytes, *, commit: str = OLD_COMMIT) -> None:
    """A cache with the model that tests move about, of some content, and another that must stay as it is."""
    if layout == "ollama":
        ollama_model(root, "llama3:8b", [weights, b"licence"])
        ollama_model(root, "other:1", [b"other" * 100, b"licence"])
    elif layout == "huggingface":
        hub_model(root, "acme/tiny", {"model.gguf": weights, "sub/config.json": b"{}"}, commit=commit)
        hub_model(root, "acme/other", {"model.gguf": b"o" * 2000})
    else:
        put(root / "tiny" / "model.safetensors", weights)
        put(root / "tiny" / "config.json", b"{}")
        put(root / "other" / "model.gguf", b"o" * 2000)


NAMES = {"ollama": "llama3:8b", "huggingface": "acme/tiny", "directory": "tiny"}
LAYOUTS = pytest.mark.parametrize("layout", list(NAMES))


def picked(part: Part, bucket: dict[str, bytes], word: str) -> Picked:
    return engine.pick(part, word, fetch_from(bucket), snapshot="S")


def merge(layout: str, roots: list[Path], one: Picked, fetch: Fetch) -> tuple[MergeResult, ...]:
    take = inventories(layout, roots)
    results, findings = engine.merge(
        engine.merges(one, take, len(roots), silent), fetch, take, check=lambda: None, progress=silent
    )
    assert failed(findings) == []
    return results


@LAYOUTS
def test_a_lost_model_comes_back_and_the_others_stay(tmp_path: Path, layout: str) -> None:
    root, roots = tmp_path / "whole", [tmp_path / f"r{number}" / "models" for number in range(2)]
    fill(root, layout, WEIGHTS)
    part, bucket = captured(layout, root)
    one = picked(part, bucket, NAMES[layout])
    others = [model.name for model in scan(root, layout).models if model.name != one.model.name]
    for live in roots:
        shutil.copytree(root, live, symlinks=True)
        for path in set(one.model.files) - {
            path for model in scan(root, layout).models if model.name in others for path in model.files
        }:
            (live / path).unlink()
    fetched: list[str] = []
    results = merge(layout, roots, one, fetch_from(bucket, fetched))
    for live in roots:
        assert tree(live) == tree(root)
    assert fetched.count(next(path for path in fetched if bucket_size(part, path) > 100_000)) == 1
    assert [one.kept for one in results] == ["", ""]
    again: list[str] = []
    assert [one.brought for one in merge(layout, roots, one, fetch_from(bucket, again))] == [0, 0]
    assert again == []


def bucket_size(part: Part, path: str) -> int:
    return next((one.size for one in part.files if one.path.endswith(path)), 0)


@LAYOUTS
def test_what_had_its_name_stays_under_another(tmp_path: Path, layout: str) -> None:
    saved, live = tmp_path / "saved", tmp_path / "live" / "models"
    fill(saved, layout, WEIGHTS)
    part, bucket = captured(layout, saved)
    fill(live, layout, OTHER, commit=NEW_COMMIT)
    before = tree(live)
    was = {model.name: model for model in scan(live, layout).models}[NAMES[layout]]
    one = picked(part, bucket, NAMES[layout])
    take = inventories(layout, [live])
    plan = engine.plan(engine.merges(one, take, 1, silent))
    assert [step.verb for step in plan if step.verb == "switch"] == ["switch"]
    assert was.revision[:12] in plan[-1].detail
    [result] = merge(layout, [live], one, fetch_from(bucket, replaces=True))
    assert was.revision[:12] in result.kept
    now = scan(live, layout)
    assert {model.revision for model in now.models} >= {one.model.revision, was.revision}
    assert all(model.complete for model in now.models)
    assert set(before.values()) <= set(tree(live).values()) | ref_of(live)
    merge(layout, [live], one, fetch_from(bucket, replaces=True))
    assert scan(live, layout).models == now.models


def ref_of(live: Path) -> set[str]:
    """The one file of a hub cache whose content is meant to change: the ref, which held the other commit."""
    del live
    return {f"{sha256(NEW_COMMIT.encode())} 644"}


@LAYOUTS
def test_a_corrupt_file_is_mended(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "models"
    fill(root, layout, WEIGHTS)
    good = tree(root)
    part, bucket = captured(layout, root)
    big = max(part.files, key=lambda entry: entry.size)
    (root / big.path).write_bytes(b"x" * big.size)
    one = picked(part, bucket, NAMES[layout])
    [result] = merge(layout, [root], one, fetch_from(bucket, replaces=True))
    assert good.items() <= tree(root).items()
    assert (result.brought, result.moved) in ((1, big.size), (2, big.size + 2))


def test_the_other_replica_gives_what_it_has(tmp_path: Path) -> None:
    roots = [tmp_path / "r0" / "models", tmp_path / "r1" / "models"]
    fill(roots[0], "ollama", WEIGHTS)
    part, bucket = captured("ollama", roots[0])
    fetched: list[str] = []
    merge("ollama", roots, picked(part, bucket, "llama3:8b"), fetch_from(bucket, fetched))
    assert f"blobs/sha256-{sha256(WEIGHTS)}" not in fetched
    blob = roots[1] / "blobs" / f"sha256-{sha256(WEIGHTS)}"
    assert blob.stat().st_nlink == 1  # another server's volume: a copy


def test_content_that_a_starting_server_deletes_is_brought_again(tmp_path: Path) -> None:
    saved, live = tmp_path / "saved", tmp_path / "live"
    fill(saved, "ollama", WEIGHTS)
    part, bucket = captured("ollama", saved)
    inner, deleted = fetch_from(bucket, replaces=True), list[Path]()

    def fetch(entry: FileEntry, path: Path) -> None:
        if entry.path.startswith("manifests/") and not deleted:
            for blob in (live / "blobs").iterdir():
                deleted.append(blob)
                blob.unlink()
        inner(entry, path)

    merge("ollama", [live], picked(part, bucket, "llama3:8b"), fetch)
    assert len(deleted) == 3
    assert all(path.exists() for path in deleted)


def test_shared_content_keeps_all_its_users(tmp_path: Path) -> None:
    shared = pytest.importorskip("huggingface_hub.utils._shared_blobs")
    weights = b"w" * 3000

    def publish(root: Path, repo: str) -> None:
        home = hub_model(root, repo, {"model.gguf": weights, "config.json": b"{}"})
        words = {"blob_path": str(home / "blobs" / sha256(weights)), "xet_hash": "e" * 64, "cache_dir": root}
        assert shared.publish_blob_to_shared_store(**words, expected_size=len(weights))

    saved, live, empty = tmp_path / "saved", tmp_path / "live", tmp_path / "empty"
    publish(saved, "acme/tiny")
    part, bucket = captured("huggingface", saved)
    publish(live, "acme/other")
    for root, users in ((live, {"acme--other", "acme--tiny"}), (empty, {"acme--tiny"})):
        one = picked(part, bucket, "acme/tiny")
        merge("huggingface", [root], one, fetch_from(bucket))
        refs = (root / "blobs" / "ee" / f"{'e' * 64}.refs").read_text().splitlines()
        assert {line.split("/")[0].removeprefix("models--") for line in refs} == users
        assert shared.is_shared_blobs_dir(root / "blobs")
        assert [one.brought for one in merge("huggingface", [root], one, fetch_from(bucket))] == [0]


# --- which model is meant ---


def test_words_for_models(tmp_path: Path) -> None:
    root = tmp_path / "models"
    fill(root, "huggingface", WEIGHTS)
    hub_model(root, "acme/tiny", {"model.gguf": OTHER}, commit=NEW_COMMIT, ref="v2")
    part, bucket = captured("huggingface", root)
    revision = {word: picked(part, bucket, word).model.revision for word in (
        "acme/tiny", "acme/tiny@v2", "acme/tiny@main", "acme/tiny@bbbbbbb", f"acme/tiny@{OLD_COMMIT}"
    )}  # fmt: skip
    assert list(revision.values()) == [OLD_COMMIT, NEW_COMMIT, OLD_COMMIT, NEW_COMMIT, OLD_COMMIT]
    with pytest.raises(UsageError, match="did you mean acme/tiny"):
        picked(part, bucket, "acme/tiny2")
    with pytest.raises(UsageError, match="names 0 revisions") as raised:
        picked(part, bucket, "acme/tiny@c")
    assert "acme/tiny@aaaaaaaaaaaa" in raised.value.remedy


def test_a_tag_that_is_left_out_is_latest(tmp_path: Path) -> None:
    ollama_model(tmp_path, "phi3:latest", [b"w"])
    part, bucket = captured("ollama", tmp_path)
    assert picked(part, bucket, "phi3").model.name == "phi3:latest"


def test_another_layout_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a", "ollama", WEIGHTS)
    part, bucket = captured("ollama", tmp_path / "a")
    one = picked(part, bucket, "llama3:8b")
    with pytest.raises(PartFailed, match="has the layout directory"):
        engine.merges(one, inventories("directory", [tmp_path / "b"]), 1, silent)


def test_an_unknown_layout_of_a_snapshot_is_refused() -> None:
    with pytest.raises(SnapshotDamaged, match="layout 'new'"):
        engine.models_of(Part("model_cache", "m", (), {"layout": "new"}), fetch_from({}))


def test_a_live_model_is_taken_from_the_replica_that_has_it_right(tmp_path: Path) -> None:
    roots = [tmp_path / "r0", tmp_path / "r1"]
    for root in roots:
        fill(root, "ollama", WEIGHTS)
    blob = Path("blobs") / f"sha256-{sha256(WEIGHTS)}"
    (roots[0] / blob).write_bytes(b"rot")
    taken = [scan(root, "ollama", cache="models", replica=number) for number, root in enumerate(roots)]
    _, inventory = engine.pick_here(taken, "llama3:8b")
    assert inventory.replica == 1
    with pytest.raises(CacheDamaged, match="is corrupt") as raised:
        engine.pick_here(taken[:1], "llama3:8b")
    assert "--model llama3:8b" in raised.value.remedy


def test_git_ids_are_checked_where_the_content_is_seen(tmp_path: Path) -> None:
    home = hub_model(tmp_path, "acme/tiny", {"config.json": b"{}"})
    assert (home / "blobs" / git_id(b"{}")).exists()
    part, bucket = captured("huggingface", tmp_path)
    assert picked(part, bucket, "acme/tiny").model.complete


# --- the folder of a plain model ---


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def can_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(_folders, "exchange", lambda one, other: False)
    return bool(request.param)


def test_a_plain_folder_is_replaced_in_one_step(tmp_path: Path, can_exchange: bool) -> None:
    saved, live = tmp_path / "saved", tmp_path / "live"
    fill(saved, "directory", WEIGHTS)
    part, bucket = captured("directory", saved)
    fill(live, "directory", OTHER)
    put(live / "tiny" / "notes.txt", b"mine")
    merge("directory", [live], picked(part, bucket, "tiny"), fetch_from(bucket))
    assert tree(live / "tiny") == tree(saved / "tiny")
    [kept] = live.glob("tiny.before-*")
    assert (kept / "notes.txt").read_bytes() == b"mine"
    assert (kept / "model.safetensors").read_bytes() == OTHER
    assert sorted(path.name for path in live.iterdir()) == sorted(["other", "tiny", kept.name])


def test_a_cache_that_is_one_model_is_only_filled_where_nothing_is(tmp_path: Path) -> None:
    saved, live = tmp_path / "saved", tmp_path / "live"
    put(saved / "model.safetensors", WEIGHTS)
    put(saved / "config.json", b"{}")
    part, bucket = captured("directory", saved)
    merge("directory", [live], picked(part, bucket, "."), fetch_from(bucket))
    assert tree(live) == tree(saved)
    put(live / "config.json", b"mine")
    with pytest.raises(PartFailed, match="one model"):
        merge("directory", [live], picked(part, bucket, "."), fetch_from(bucket))
    assert (live / "config.json").read_bytes() == b"mine"
