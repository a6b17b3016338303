"""A model's file: equal for equal models, and no word of it believed that is not checked."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ops_pipelines.adapters import modelfile
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.adapters.modelfile import ModelArchive
from ops_pipelines.engines.models import pick_here
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import ChecksumMismatch, FormatTooNew, OpsError, PartFailed, SnapshotDamaged
from ops_pipelines.policy.manifest import FileEntry
from ops_pipelines.policy.model_file import ModelFile, described
from tests.caches import hub_model, ollama_model, put, sha256

WEIGHTS = b"weights" * 20_000


@pytest.fixture(params=["ollama", "huggingface", "directory"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def model(root: Path, layout: str) -> ModelFile:
    """The description of the one model of a cache that is made at `root`."""
    name = {"ollama": "llama3:8b", "huggingface": "acme/tiny", "directory": "tiny"}[layout]
    if layout == "ollama":
        ollama_model(root, name, [WEIGHTS, b"licence"])
    elif layout == "huggingface":
        hub_model(root, name, {"model.gguf": WEIGHTS, "sub/config.json": b"{}"})
    else:
        put(root / "tiny/model.safetensors", WEIGHTS)
        put(root / "tiny/two.safetensors", WEIGHTS)
    picked, _ = pick_here([scan(root, layout)], name)
    return described(layout, picked.model, picked.entries)


def opener(root: Path) -> Callable[[FileEntry], BinaryIO]:
    return lambda entry: (root / entry.path).open("rb")


def written(root: Path, layout: str, file: Path) -> Path:
    modelfile.write(file, model(root, layout), opener(root), silent)
    return file


def test_what_is_written_is_read_and_is_the_same_each_time(tmp_path: Path, layout: str) -> None:
    one = written(tmp_path / "a", layout, tmp_path / "a.tar")
    other = written(tmp_path / "b", layout, tmp_path / "b.tar")
    assert one.read_bytes() == other.read_bytes()
    archive = ModelArchive(one)
    assert archive.model.complete
    for number, entry in enumerate(entry for entry in archive.described.files if entry.link is None):
        archive.fetch(entry, tmp_path / str(number))
        assert sha256((tmp_path / str(number)).read_bytes()) == entry.sha256
    with tarfile.open(one) as tar:
        names = tar.getnames()
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}
    assert names[0] == "model.json"
    assert names[1:] == sorted(set(names[1:]))


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    content = written(tmp_path / "a", "ollama", tmp_path / "a.tar").read_bytes()
    end = content.rstrip(b"\0")
    cut = tmp_path / "cut.tar"
    for size in (0, 100, 512, 1000, 2048, 10_000, len(end) // 2, len(end) - 600):
        cut.write_bytes(content[:size])
        with pytest.raises(SnapshotDamaged):
            ModelArchive(cut)


def test_a_flipped_byte_is_found_when_it_is_read(tmp_path: Path) -> None:
    file = written(tmp_path / "a", "ollama", tmp_path / "a.tar")
    content = bytearray(file.read_bytes())
    content[content.index(WEIGHTS[:70]) + 70_000] ^= 1
    file.write_bytes(content)
    archive = ModelArchive(file)
    big = max(archive.described.files, key=lambda entry: entry.size)
    with pytest.raises(ChecksumMismatch, match="is altered"):
        archive.fetch(big, tmp_path / "out")
    assert not list(tmp_path.glob("*out*")) + list(tmp_path.glob(".fetching*"))


def forged(
    file: Path, change: Callable[[dict[str, Any]], None], extra: tarfile.TarInfo | None = None
) -> Path:
    """The same file with another description, and perhaps one member more."""
    with tarfile.open(file) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    raw = json.loads(members[0][1])
    change(raw)
    members[0] = (members[0][0], json.dumps(raw).encode())
    with tarfile.open(file, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if extra is not None:
            tar.addfile(extra)
    return file


def _first(raw: dict[str, Any], **facts: Any) -> None:
    raw["files"][0].update(facts)


EVIL: dict[str, Callable[[dict[str, Any]], None]] = {
    "leaves its folder": lambda raw: _first(raw, path="../../etc/cron.d/x"),
    "absolute": lambda raw: _first(raw, path="/etc/passwd"),
    "another blob's name": lambda raw: _first(raw, path=f"blobs/sha256-{'0' * 64}"),
    "a link out": lambda raw: raw["files"].append(
        {"path": "blobs/x", "size": 0, "sha256": "", "mode": 511, "link": "../../.."}
    ),
    "below a link": lambda raw: raw["files"].extend(
        [
            {"path": "d", "size": 0, "sha256": "", "mode": 511, "link": "blobs"},
            {**raw["files"][0], "path": "d/x"},
        ]
    ),
    "twice": lambda raw: raw["files"].append(dict(raw["files"][0])),
    "no digest": lambda raw: _first(raw, sha256="zz"),
    "a negative size": lambda raw: _first(raw, size=-1),
    "another size": lambda raw: _first(raw, size=5),
    "another name": lambda raw: raw.update(name="other:8b"),
    "another revision": lambda raw: raw.update(revision="0" * 64),
    "another layout": lambda raw: raw.update(layout="directory"),
    "no layout": lambda raw: raw.update(layout=7),
    "one file less": lambda raw: raw["files"].pop(0),
    "a file that tells a restore lies": lambda raw: raw["files"].append(
        {**raw["files"][0], "path": ".staging-0123456789abcdef"}
    ),
    "a word more": lambda raw: raw.update(command="rm"),
    "no files": lambda raw: raw.update(files=None),
}


@pytest.mark.parametrize("how", list(EVIL))
def test_a_description_that_could_do_harm_is_refused(tmp_path: Path, how: str) -> None:
    file = written(tmp_path / "a", "ollama", tmp_path / "a.tar")
    with pytest.raises(SnapshotDamaged):
        ModelArchive(forged(file, EVIL[how]))


def test_a_newer_format_and_a_member_that_does_not_belong_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "a", "ollama", tmp_path / "a.tar")
    link = tarfile.TarInfo("blobs/x")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(SnapshotDamaged, match="does not belong"):
        ModelArchive(forged(file, lambda raw: None, link))
    written(tmp_path / "a", "ollama", file)
    with pytest.raises(FormatTooNew, match="format 2"):
        ModelArchive(forged(file, lambda raw: raw.update(format=2)))


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 1000, b"\x1f\x8b" + b"x" * 600])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SnapshotDamaged):
        ModelArchive(put(tmp_path / "x.tar", content))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match="cannot be read"):
        ModelArchive(tmp_path / "none.tar")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(b"x" * path.stat().st_size),
        lambda path: path.unlink(),
    ],
    ids=["shrank", "grew", "changed", "gone"],
)
def test_a_model_that_changes_while_it_is_written_leaves_no_file(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    root, file = tmp_path / "a", tmp_path / "out" / "a.tar"
    file.parent.mkdir()
    one = model(root, "ollama")
    spoil(root / "blobs" / f"sha256-{sha256(WEIGHTS)}")
    with pytest.raises(OpsError):
        modelfile.write(file, one, opener(root), silent)
    assert list(file.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    one = model(tmp_path / "a", "ollama")
    with pytest.raises(PartFailed, match="cannot be written"):
        modelfile.write(tmp_path / "none" / "a.tar", one, opener(tmp_path / "a"), silent)


def test_the_same_content_lies_in_it_once(tmp_path: Path) -> None:
    root = tmp_path / "a"
    one = model(root, "directory")
    assert len(one.files) == 2
    assert one.size == len(WEIGHTS)
    assert replace(one).contents == {sha256(WEIGHTS): len(WEIGHTS)}
