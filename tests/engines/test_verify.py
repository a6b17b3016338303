"""What is wrong with a stored snapshot is named by part, path and digest; what cannot be asked is unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines import verify
from ops_pipelines.engines.verify import Depth, verify_snapshot
from ops_pipelines.errors import FormatTooNew, Refused, SnapshotDamaged, Unreachable
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry, Manifest, decode
from tests.engines.folders import FolderSource, digest, snapshot_of, write_files

LAYOUT = Layout()
FILES = {"a": b"alpha", "deep/b": b"beta", "copy of b": b"beta"}
BLOB = LAYOUT.blob(digest(b"beta"))


@pytest.fixture
def manifest(store: S3Store, tmp_path: Path) -> Manifest:
    sources = [
        FolderSource("one", write_files(tmp_path / "one", FILES)),
        FolderSource("two", write_files(tmp_path / "two", {"c": b"gamma"})),
    ]
    return snapshot_of(sources, store, tmp_path / "scratch")


def lose(store: S3Store) -> None:
    store.delete([BLOB])


def cut(store: S3Store) -> None:
    store.put(BLOB, b"be")


def alter(store: S3Store) -> None:
    store.put(BLOB, b"BETA")


CASES = [
    ("listed", None, ""),
    ("sizes", None, ""),
    ("checksums", None, ""),
    ("listed", lose, "is missing"),
    ("sizes", lose, "is missing"),
    ("checksums", lose, "is missing"),
    ("listed", cut, ""),
    ("sizes", cut, "has 2 bytes instead of 4"),
    ("checksums", cut, "has 2 bytes instead of 4"),
    ("listed", alter, ""),
    ("checksums", alter, "is altered: its content has another digest"),
]


@pytest.mark.parametrize("many", [256, 0], ids=["head", "list"])
@pytest.mark.parametrize(
    ("depth", "harm", "words"), CASES, ids=[f"{depth}-{harm and harm.__name__}" for depth, harm, _ in CASES]
)
def test_every_bad_file_is_named(
    store: S3Store,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    many: int,
    depth: Depth,
    harm: object,
    words: str,
) -> None:
    monkeypatch.setattr(verify, "MANY", many)
    if callable(harm):
        harm(store)
    findings = verify_snapshot(manifest, store=store, layout=LAYOUT, depth=depth)
    one = [finding for finding in findings if finding.subject == "volume/one"]
    two = [finding for finding in findings if finding.subject == "volume/two"]
    assert [(finding.ok, finding.message) for finding in two] == [(True, "1 files, 5 bytes: as recorded")]
    if not words:
        assert [finding.ok for finding in one] == [True]
        return
    named = f"the blob {digest(b'beta')} {words}"
    assert {(f.ok, f.message) for f in one} == {(False, f"copy of b: {named}"), (False, f"deep/b: {named}")}
    assert all(finding.remedy for finding in one)


def test_a_blob_s_stored_checksum_is_looked_at(store: S3Store, manifest: Manifest) -> None:
    alter(store)
    findings = verify_snapshot(manifest, store=store, layout=LAYOUT, depth="sizes")
    assert any("is altered: the store keeps the checksum" in finding.message for finding in findings)


def test_no_right_to_read_is_unknown(
    store: S3Store, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(key: str, size: int) -> None:
        raise Refused("no", remedy="ask")

    monkeypatch.setattr(store, "pieces", refuse)
    findings = verify_snapshot(manifest, store=store, layout=LAYOUT, depth="checksums")
    assert [(finding.subject, finding.ok) for finding in findings] == [
        ("volume/one", None),
        ("volume/two", None),
    ]


def test_a_store_that_is_gone_is_not_asked_for_every_blob(
    store: S3Store, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def gone(key: str, size: int) -> None:
        asked.append(key)
        raise Unreachable("gone", remedy="start it")

    monkeypatch.setattr(store, "pieces", gone)
    files = tuple(FileEntry(f"{n:02}", 1, digest(bytes([n]))) for n in range(64))
    many = replace(manifest, parts=(replace(manifest.parts[0], files=files),))
    (finding,) = verify_snapshot(many, store=store, layout=LAYOUT, depth="checksums")
    assert finding.ok is None
    assert len(asked) < 16


def test_progress_comes_to_the_end(store: S3Store, manifest: Manifest) -> None:
    seen: list[tuple[int, int | None]] = []
    verify_snapshot(
        manifest,
        store=store,
        layout=LAYOUT,
        depth="checksums",
        progress=lambda step, done, total, unit: seen.append((done, total)),
    )
    assert seen[-1] == (14, 14)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_manifest_is_damaged(store: S3Store, manifest: Manifest, share: float) -> None:
    key = LAYOUT.manifest("demo", manifest.snapshot)
    whole, _ = store.get(key)
    store.put(key, whole[: int(len(whole) * share)])
    with pytest.raises(SnapshotDamaged, match="is damaged: it is not readable as JSON"):
        decode(store.get(key)[0], where=key)


def test_a_newer_manifest_says_so(store: S3Store, manifest: Manifest) -> None:
    whole, _ = store.get(LAYOUT.manifest("demo", manifest.snapshot))
    with pytest.raises(FormatTooNew):
        decode(whole.replace(b'"format":1', b'"format":99'), where="x")
