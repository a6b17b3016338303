"""A bucket and its credentials, on an empty machine: the command line lists, verifies and restores."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.snapshots import load_manifest, write_format
from ops_pipelines.errors import ChecksumMismatch, ObjectMissing, SnapshotDamaged, Unreachable
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part, encode
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import _bucket_parts, bucket
from ops_pipelines.wiring.bucket import OpenBucket, open_bucket
from tests.cli.run import Answer, CommandLine
from tests.engines.snapshot_kit import LAYOUT, commit, put_blob
from tests.servers.seaweed import OwnSeaweed, Seaweed

Ops = Callable[..., Answer]
SNAPSHOT = "20261121T020000Z-1f3a9c"
CONTENTS = {"blobs/a": b"weights" * 1000, "deep/er/b": b"", "manifests/m.json": b"{}"}


def _entry(store: S3Store, path: str, content: bytes, mode: int = 0o644) -> FileEntry:
    return replace(put_blob(store, content), path=path, mode=mode)


def _commit(store: S3Store, *parts: Part, snapshot: str = SNAPSHOT) -> str:
    write_format(store, LAYOUT)
    manifest = Manifest(snapshot, "chat", "2026-11-21T02:00:00+00:00", parts)
    store.put(LAYOUT.manifest("chat", snapshot), encode(manifest))
    return snapshot


@pytest.fixture
def snapshot(store: S3Store) -> str:
    """A snapshot of two parts, with a link and modes."""
    files = [_entry(store, path, content) for path, content in CONTENTS.items()]
    files.append(_entry(store, "run.sh", b"#!/bin/sh\n", 0o750))
    files.append(FileEntry("snapshots/main/weights", 0, "", link="../../blobs/a"))
    cache = Part("model_cache", "models", tuple(files))
    rows = Part("collection", "docs", (_entry(store, "schema.json", b"[]"),))
    return _commit(store, cache, rows)


@pytest.fixture
def ops(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    seaweed: Seaweed,
    bucket: str,
) -> Ops:
    """The command line in an empty folder, told of the bucket."""
    folder = tmp_path / "empty"
    folder.mkdir()
    command = CommandLine(monkeypatch, capsys, folder)

    def run(*words: str | Path, url: str = f"s3://{bucket}/ops", **more: Any) -> Answer:
        environ = more.pop("environ", seaweed.environ)
        return command(*words, "--bucket", url, "--endpoint", seaweed.endpoint, environ=environ)

    return run


@pytest.fixture
def opened(seaweed: Seaweed, bucket: str, tmp_path: Path) -> OpenBucket:
    settings = load_settings(seaweed.environ, cwd=tmp_path)
    return open_bucket(f"s3://{bucket}/ops/", seaweed.endpoint, "us-east-1", settings)


def _tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_list_verify_and_restore(ops: Ops, snapshot: str, tmp_path: Path) -> None:
    listed = ops("snapshots", "--json").document
    assert [(one["stack"], one["id"], one["state"]) for one in listed] == [("chat", snapshot, "complete")]
    assert snapshot in ops("snapshots", "chat").out
    assert ops("verify", "chat", snapshot).code == 0
    into = tmp_path / "back"
    dry = ops("restore", "chat", snapshot, "--into", into)
    assert dry.code == 0
    assert "model_cache/models" in dry.out
    assert "Nothing was changed" in dry.err
    assert not into.exists()
    done = ops("restore", "chat", snapshot, "--into", into, "--apply", "--json")
    assert done.code == 0
    assert [(one["part"], one["files"], one["folder"]) for one in done.document["parts"]] == [
        ("model_cache/models", 5, str(into / "model_cache/models")),
        ("collection/docs", 1, str(into / "collection/docs")),
    ]
    models = into / "model_cache/models"
    assert _tree(models) == {**CONTENTS, "run.sh": b"#!/bin/sh\n"}
    assert stat.S_IMODE((models / "run.sh").stat().st_mode) == 0o750
    assert os.readlink(models / "snapshots/main/weights") == "../../blobs/a"
    assert (models / "snapshots/main/weights").read_bytes() == CONTENTS["blobs/a"]
    assert sorted(path.name for path in into.rglob(".*")) == []


@pytest.mark.parametrize("word", ["docs", "collection/docs"])
def test_one_part_alone(word: str, ops: Ops, snapshot: str, tmp_path: Path) -> None:
    assert ops("restore", "chat", snapshot, "--into", tmp_path / "x", "--part", word, "--apply").code == 0
    assert _tree(tmp_path / "x") == {"collection/docs/schema.json": b"[]"}


def test_what_is_there_is_never_written_over(ops: Ops, snapshot: str, tmp_path: Path) -> None:
    mine = tmp_path / "x/collection/docs/mine"
    mine.parent.mkdir(parents=True)
    (tmp_path / "x/model_cache/models").mkdir(parents=True)  # empty: may be taken
    mine.write_text("mine")
    for words in ((), ("--apply",)):
        answer = ops("restore", "chat", snapshot, "--into", tmp_path / "x", *words)
        assert answer.code == 2
        assert "is not empty" in answer.err
    assert _tree(tmp_path / "x") == {"collection/docs/mine": b"mine"}
    mine.unlink()
    assert ops("restore", "chat", snapshot, "--into", tmp_path / "x", "--apply").code == 0


def test_an_empty_bucket(ops: Ops) -> None:
    answer = ops("snapshots")
    assert (answer.code, answer.out) == (0, "no snapshots\n")
    assert ops("snapshots", "chat", "--json").document == []
    answer = ops("verify", "chat", SNAPSHOT)
    assert answer.code == 2
    assert "stacks in this bucket: none" in answer.err


def test_names_that_are_not_there(ops: Ops, snapshot: str, tmp_path: Path) -> None:
    near = snapshot[:-1] + "d"
    answer = ops("restore", "chat", near, "--into", tmp_path / "x", "--apply")
    assert answer.code == 2
    assert f"did you mean {snapshot}?" in answer.err
    assert ops("verify", "chat", "../../etc").code == 2
    answer = ops("snapshots", "chta")
    assert answer.code == 2
    assert "the stacks in it: chat" in answer.err
    answer = ops("restore", "chat", snapshot, "--into", tmp_path / "x", "--part", "volume/x")
    assert answer.code == 2
    assert "it holds: model_cache/models, collection/docs" in answer.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", [("snapshots",), ("verify", "chat", SNAPSHOT)])
def test_wrong_credentials(command: Sequence[str], ops: Ops, seaweed: Seaweed, snapshot: str) -> None:
    wrong = {**seaweed.environ, "AWS_SECRET_ACCESS_KEY": "not-the-secret-" + "x" * 20}
    answer = ops(*command, "--json", environ=wrong)
    assert answer.code == 1
    assert answer.document["error"] == "Refused"
    assert answer.document["remedy"]
    assert "not-the-secret" not in answer.out + answer.err


def test_a_reader_may_restore(ops: Ops, seaweed: Seaweed, snapshot: str, tmp_path: Path) -> None:
    reader = {"AWS_ACCESS_KEY_ID": seaweed.read_access_key, "AWS_SECRET_ACCESS_KEY": seaweed.read_secret_key}
    assert ops("verify", "chat", snapshot, environ=reader).code == 0
    assert ops("restore", "chat", snapshot, "--into", tmp_path / "x", "--apply", environ=reader).code == 0


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("chat-backups", {}),
        ("s3://", {}),
        ("https://bucket/ops", {}),
        ("s3://key:hunter2@bucket", {}),
        ("s3://bucket", {"AWS_ACCESS_KEY_ID": "only"}),
        ("s3://bucket", {"AWS_SECRET_ACCESS_KEY": "only"}),
    ],
)
def test_misuse(url: str, environ: dict[str, str], ops: Ops) -> None:
    answer = ops("snapshots", url=url, environ=environ)
    assert (answer.code, answer.out) == (2, "")
    assert "hunter2" not in answer.err


def test_a_bucket_that_is_not_there(ops: Ops) -> None:
    answer = ops("snapshots", "--json", url="s3://no-such-bucket-here")
    assert (answer.code, answer.document["error"]) == (1, "StoreError")
    assert "no-such-bucket-here" in answer.err


def test_a_truncated_manifest(ops: Ops, store: S3Store, snapshot: str, tmp_path: Path) -> None:
    key = LAYOUT.manifest("chat", snapshot)
    store.put(key, store.get(key)[0][:-20])
    (listed,) = ops("snapshots", "--json").document
    assert listed["state"] == "damaged"
    for words in (("verify", "chat", snapshot), ("restore", "chat", snapshot, "--into", str(tmp_path / "x"))):
        answer = ops(*words, "--json")
        assert (answer.code, answer.document["error"]) == (1, "SnapshotDamaged")


def test_a_newer_format(ops: Ops, store: S3Store, snapshot: str) -> None:
    key = LAYOUT.manifest("chat", snapshot)
    store.put(key, store.get(key)[0].replace(b'"format":1', b'"format":99'))
    (listed,) = ops("snapshots", "--json").document
    assert listed["state"] == "newer"
    assert ops("verify", "chat", snapshot, "--json").document["error"] == "FormatTooNew"
    store.put(LAYOUT.format, b'{"format": 99}')
    answer = ops("snapshots", "--json")
    assert (answer.code, answer.document["error"]) == (1, "FormatTooNew")


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (["a/b"], "../out"),
        (["a/b"], "x/y"),
        (["a/b"], ".."),
        (["a/b", "a/./b"], "ok"),
        (["a", "a/b"], "ok"),
        (["link", "link/evil"], "ok"),
    ],
)
def test_a_manifest_that_would_write_elsewhere_is_refused(
    paths: list[str], name: str, opened: OpenBucket, store: S3Store, tmp_path: Path
) -> None:
    files = tuple(
        FileEntry(path, 0, "", link="sub/dir") if path == "link" else _entry(store, path, b"evil")
        for path in paths
    )
    _commit(store, Part("volume", name, files))
    with pytest.raises(SnapshotDamaged):
        bucket.restore(opened, "chat", SNAPSHOT, into=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_blob_that_is_missing_stops_it_before_anything_is_written(
    ops: Ops, store: S3Store, snapshot: str, tmp_path: Path
) -> None:
    part = load_manifest(store, LAYOUT, "chat", snapshot).parts[0]
    store.delete([LAYOUT.blob(part.files[0].sha256)])
    answer = ops("verify", "chat", snapshot)
    assert answer.code == 1
    assert "is missing" in answer.out
    answer = ops("restore", "chat", snapshot, "--into", tmp_path / "x", "--apply")
    assert answer.code == 1
    assert part.files[0].sha256 in answer.err
    assert not (tmp_path / "x").exists()
    assert ops("restore", "chat", snapshot, "--into", tmp_path / "x", "--part", "docs", "--apply").code == 0


def test_a_blob_that_is_altered_never_arrives(
    opened: OpenBucket, seaweed: Seaweed, store: S3Store, snapshot: str, tmp_path: Path
) -> None:
    entry = load_manifest(store, LAYOUT, "chat", snapshot).parts[0].files[0]
    altered = CONTENTS["blobs/a"].swapcase()
    place = {"Bucket": store.name.split("/")[2].split()[0], "Key": LAYOUT.blob(entry.sha256)}
    seaweed.client().put_object(Body=altered, **place)
    with pytest.raises((ChecksumMismatch, SnapshotDamaged)):
        bucket.restore(opened, "chat", snapshot, into=tmp_path / "x")
    assert not (tmp_path / "x/model_cache/models").exists()
    findings = bucket.verify(opened, "chat", snapshot)
    assert [finding.ok for finding in findings] == [False, True]


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fetching ends at the second file; gives the paths that were asked for."""
    asked: list[str] = []
    real = bucket.fetcher

    def limited(store: Any, layout: Layout, snapshot: str, **how: bool) -> Any:
        fetch = real(store, layout, snapshot, **how)

        def one(entry: FileEntry, path: Path) -> None:
            asked.append(entry.path)
            if len(asked) == 3:
                raise Unreachable("the store is gone", remedy="start it")
            fetch(entry, path)

        return one

    monkeypatch.setattr(bucket, "fetcher", limited)
    return asked


def test_a_restore_that_was_cut_off_is_gone_on_with(
    cut_off: list[str], opened: OpenBucket, snapshot: str, tmp_path: Path
) -> None:
    into = tmp_path / "x"
    with pytest.raises(Unreachable):
        bucket.restore(opened, "chat", snapshot, into=into)
    assert not (into / "model_cache/models").exists()
    bucket.restore(opened, "chat", snapshot, into=into)
    assert _tree(into / "model_cache/models") == {**CONTENTS, "run.sh": b"#!/bin/sh\n"}
    assert cut_off.count("blobs/a") == 1
    assert not list(into.rglob("*.partial"))


def test_what_a_killed_run_left_half_is_brought_again(
    opened: OpenBucket, snapshot: str, tmp_path: Path
) -> None:
    draft = tmp_path / f"x/model_cache/.models.{snapshot}.partial"
    (draft / "blobs").mkdir(parents=True)
    (draft / "blobs/a").write_bytes(CONTENTS["blobs/a"][:-1] + b"X")
    bucket.restore(opened, "chat", snapshot, into=tmp_path / "x")
    assert (tmp_path / "x/model_cache/models/blobs/a").read_bytes() == CONTENTS["blobs/a"]


def test_too_little_room_is_told_before(
    monkeypatch: pytest.MonkeyPatch, ops: Ops, snapshot: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(_bucket_parts.shutil, "disk_usage", lambda _: _Usage())
    dry = ops("restore", "chat", snapshot, "--into", tmp_path / "x")
    assert "are needed" in dry.out
    answer = ops("restore", "chat", snapshot, "--into", tmp_path / "x", "--apply")
    assert answer.code == 1
    assert "10 free" in answer.err
    assert not (tmp_path / "x").exists()


class _Usage:
    free = 10


def test_a_store_that_goes_away(own_seaweed: OwnSeaweed, tmp_path: Path) -> None:
    at = own_seaweed.at
    at.client().create_bucket(Bucket="chat-backups")
    commit(at.store("chat-backups"))
    settings = load_settings(at.environ, cwd=tmp_path)
    opened = open_bucket("s3://chat-backups/ops", at.endpoint, "us-east-1", settings)
    ((_, one),) = bucket.list_snapshots(opened)
    own_seaweed.kill()
    with pytest.raises((Unreachable, ObjectMissing)) as error:
        bucket.restore(opened, "chat", one.id, into=tmp_path / "x")
    assert isinstance(error.value, Unreachable)
    assert not (tmp_path / "x").exists()
