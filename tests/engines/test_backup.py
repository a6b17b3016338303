"""Snapshots against a real SeaweedFS: what is committed is whole, and what is not whole is not committed."""

# ruff: noqa: ARG002 - parts take what the Protocol hands them, used or not

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines import _blobs, backup
from ops_pipelines.engines.backup import take_snapshot
from ops_pipelines.engines.ports import Capture, Captured, PartSource, Progress
from ops_pipelines.engines.verify import verify_snapshot
from ops_pipelines.errors import (
    LeaseLost,
    OpsError,
    PartFailed,
    SnapshotDamaged,
    UsageError,
)
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part, Question, decode
from ops_pipelines.policy.plan import failed
from ops_pipelines.policy.store import ObjectInfo
from tests.engines.folders import FolderSource, HeldFence, digest, now, snapshot_of, write_files

LAYOUT = Layout("backups")
FILES = {"a.bin": b"a" * 1000, "deep/b.txt": b"bee", "same as a.bin": b"a" * 1000, "empty": b""}


def snap(store: Any, scratch: Path, *sources: PartSource, **changes: Any) -> Manifest:
    words: dict[str, Any] = {"fence": HeldFence(), "clock": now, "scratch": scratch, "writer": "tests"}
    return take_snapshot("demo", sources, store=store, layout=LAYOUT, **(words | changes))


def keys(store: S3Store, prefix: str) -> list[str]:
    return [info.key for info in store.list(prefix)]


def manifests(store: S3Store) -> list[str]:
    return keys(store, LAYOUT.snapshots("demo"))


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return FolderSource("files", write_files(tmp_path / "live", FILES))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def test_holds_every_file_once_and_reads_back(store: S3Store, source: FolderSource, scratch: Path) -> None:
    questions = [Question("docs", "minilm", "where?", (1, 2))]
    taken = snap(store, scratch, source, revision=3, declaration="d" * 64, questions=lambda parts: questions)
    kept = decode(store.get(LAYOUT.manifest("demo", taken.snapshot))[0], where="the bucket")
    assert kept == taken
    assert {entry.path for entry in taken.parts[0].files} == set(FILES)
    assert (taken.uploaded, taken.size, taken.fence, taken.revision) == (1003, 2003, 7, 3)
    assert taken.questions == tuple(questions)
    assert len(keys(store, LAYOUT.blobs)) == 3
    assert store.get(LAYOUT.blob(digest(b"bee")))[0] == b"bee"
    assert not failed(verify_snapshot(taken, store=store, layout=LAYOUT, depth="checksums"))
    assert not (scratch / "backup").exists()


def test_what_is_in_the_bucket_is_not_sent_again(store: S3Store, source: FolderSource, scratch: Path) -> None:
    snap(store, scratch, source)
    blobs = {info.key: info.modified for info in store.list(LAYOUT.blobs)}
    write_files(source.root, {"new": b"new one"})
    second = snap(store, scratch, source)
    assert second.uploaded == len(b"new one")
    after = {info.key: info.modified for info in store.list(LAYOUT.blobs)}
    assert blobs.items() <= after.items()
    assert len(manifests(store)) == 2


def test_many_blobs_are_looked_up_by_one_listing(
    store: S3Store, source: FolderSource, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap(store, scratch, source)
    monkeypatch.setattr(_blobs, "MANY", 1)
    heads: list[str] = []
    monkeypatch.setattr(store, "head", heads.append)
    assert snap(store, scratch, source).uploaded == 0
    assert heads == []


@pytest.mark.parametrize("many", [256, 0], ids=["head", "list"])
def test_a_cut_off_blob_in_the_bucket_is_sent_again(
    store: S3Store, source: FolderSource, scratch: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(_blobs, "MANY", many)
    snap(store, scratch, source)
    store.put(LAYOUT.blob(digest(b"bee")), b"be")
    assert snap(store, scratch, source).uploaded == 3
    assert store.get(LAYOUT.blob(digest(b"bee")))[0] == b"bee"


def test_a_full_backup_reads_all_content_back(store: S3Store, source: FolderSource, scratch: Path) -> None:
    snap(store, scratch, source)
    store.put(LAYOUT.blob(digest(b"bee")), b"eeb")  # as long as before: a listing does not tell
    before = manifests(store)
    with pytest.raises(SnapshotDamaged, match=digest(b"bee")):
        snap(store, scratch, source, full=True)
    assert manifests(store) == before
    snap(store, scratch, source)
    assert len(manifests(store)) == len(before) + 1, (
        "what was there before is looked at by `verify`, or by a full one"
    )


class Clocked:
    """A store at which each file that is sent takes a minute."""

    def __init__(self, store: S3Store) -> None:
        self.store, self.sent = store, 0

    def clock(self) -> datetime:
        return now() + timedelta(minutes=self.sent)

    def put_file(self, key: str, path: Path, **words: Any) -> None:
        self.store.put_file(key, path, **words)
        self.sent += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def test_a_backup_that_takes_too_long_sends_nothing_more_and_the_next_goes_on(
    store: S3Store, tmp_path: Path, scratch: Path
) -> None:
    files = {f"file {number}": b"%d" % number for number in range(6)}
    source, slow = FolderSource("files", write_files(tmp_path / "live", files)), Clocked(store)
    words = {"clock": slow.clock, "parallel": 1}
    with pytest.raises(PartFailed, match=r"not done within 150 s, its `transfer.time_limit`"):
        snap(slow, scratch, source, time_limit=150, **words)
    assert slow.sent == 3
    assert manifests(store) == []
    slow.sent = 0
    assert snap(slow, scratch, source, time_limit=200, **words).uploaded == 3
    assert slow.sent == 3, "what was sent is not sent again"


def test_leftovers_of_a_killed_run_are_removed(store: S3Store, source: FolderSource, scratch: Path) -> None:
    write_files(scratch / "backup" / "0", {"dump": b"half"})
    write_files(scratch, {"restore-demo.json": b"{}"})
    snap(store, scratch, source)
    assert [path.name for path in scratch.iterdir()] == ["restore-demo.json"]


class Wrapped:
    """The store, with some calls replaced."""

    def __init__(self, real: S3Store, **changes: Any) -> None:
        self.__dict__.update(changes)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Broken:
    """A source that gives what a test wants, or raises it."""

    kind = "collection"
    name = "docs"

    def __init__(self, gives: Capture | Exception) -> None:
        self.gives = gives

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


def entry(path: str = "x", size: int = 1, sha256: str = digest(b"x"), **words: Any) -> FileEntry:
    return FileEntry(path, size, sha256, **words)


HERE = Path(__file__)
EMPTY = Captured(entry("dump", 0, digest(b"")), Path(os.devnull))
BAD = [
    (Capture((), {}), "gave nothing at all"),
    (Capture((), {"rows": 5}), "gave no content, and does not say that it is empty"),
    (Capture((EMPTY,), {"rows": 5}), "gave no content, and does not say that it is empty"),
    (Capture((EMPTY,), {}), "gave no content, and does not say that it is empty"),
    (Capture((Captured(entry(), HERE), Captured(entry(), HERE)), {}), "gave the file x twice"),
    (Capture((Captured(entry(), None),), {}), "gave no content for x"),
    (Capture((Captured(entry("x", 3), HERE),), {}, "hopeful"), "unknown consistency"),
    (Capture((Captured(entry("x", 3), HERE),), {"when": now()}), "facts that JSON cannot hold"),
    (UsageError("no such collection", remedy="create it"), "cannot be read: no such collection"),
    (PermissionError(13, "Permission denied", "/models/x"), "/models/x cannot be read: Permission denied"),
    (OSError(28, "No space left on device"), "the disk is full"),
]


@pytest.mark.parametrize(("gives", "words"), BAD, ids=[words for _, words in BAD])
def test_one_bad_part_means_no_snapshot(
    store: S3Store, source: FolderSource, scratch: Path, gives: Any, words: str
) -> None:
    with pytest.raises(PartFailed, match=words):
        snap(store, scratch, source, Broken(gives))
    assert manifests(store) == []
    assert len(keys(store, LAYOUT.blobs)) == 3, "what was stored serves the next try"
    assert not (scratch / "backup").exists()


def test_an_empty_collection_that_says_so_is_backed_up(store: S3Store, scratch: Path) -> None:
    taken = snap(store, scratch, Broken(Capture((), {"rows": 0})))
    assert taken.parts[0].facts == {"rows": 0}


def test_nothing_to_back_up_is_an_error(store: S3Store, scratch: Path) -> None:
    with pytest.raises(PartFailed, match="nothing to back up"):
        snap(store, scratch)


@pytest.mark.parametrize("content", [b"bie", b"longer than before", None], ids=["altered", "grown", "gone"])
def test_a_file_that_changes_meanwhile_is_named(
    store: S3Store,
    source: FolderSource,
    scratch: Path,
    content: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backup, "CAPTURES", 1)
    path = source.root / "deep/b.txt"

    def change() -> None:
        path.unlink() if content is None else path.write_bytes(content)

    source.before_return = change
    with pytest.raises(PartFailed, match=r"volume/files: deep/b.txt (changed|was removed) while it was read"):
        snap(store, scratch, source)
    assert manifests(store) == []
    assert LAYOUT.blob(digest(b"bee")) not in keys(store, LAYOUT.blobs)


def test_paths_that_leave_their_folder_are_never_committed(store: S3Store, scratch: Path) -> None:
    size = HERE.stat().st_size
    files = (Captured(entry("../out", size, digest(HERE.read_bytes())), HERE),)
    with pytest.raises(OpsError, match="would leave its folder"):
        snap(store, scratch, Broken(Capture(files, {})))
    assert manifests(store) == []


@pytest.mark.parametrize("checks", [0, 1, 2])
def test_a_lost_lease_commits_nothing(
    store: S3Store, source: FolderSource, scratch: Path, checks: int
) -> None:
    fence = HeldFence(after=checks)
    with pytest.raises(LeaseLost):
        snap(store, scratch, source, fence=fence)
    assert fence.checks == checks + 1
    assert manifests(store) == []


def test_a_store_that_loses_a_blob_is_caught_before_the_commit(
    store: S3Store, source: FolderSource, scratch: Path
) -> None:
    lost = LAYOUT.blob(digest(b"bee"))

    def put_file(key: str, path: Path, **words: Any) -> None:
        if key != lost:
            store.put_file(key, path, **words)

    with pytest.raises(SnapshotDamaged, match=digest(b"bee")):
        snap(Wrapped(store, put_file=put_file), scratch, source)
    assert manifests(store) == []


def test_a_store_that_alters_a_blob_is_caught_before_the_commit(
    store: S3Store, source: FolderSource, scratch: Path
) -> None:
    """The store says that the checksum is right; only reading the blob shows that it is not."""
    target = LAYOUT.blob(digest(b"bee"))

    def put_file(key: str, path: Path, **words: Any) -> None:
        store.put_file(key, path, **words)
        if key == target:
            store.put(key, b"eeb")

    def head(key: str) -> ObjectInfo | None:
        info = store.head(key)
        return info and replace(info, sha256=None)

    with pytest.raises(SnapshotDamaged, match="another content"):
        snap(Wrapped(store, put_file=put_file, head=head), scratch, source)
    assert manifests(store) == []


def test_a_repeated_commit_whose_answer_was_lost_is_no_error(
    store: S3Store, source: FolderSource, scratch: Path
) -> None:
    def put(key: str, body: bytes, **words: Any) -> str:
        store.put(key, body, **words)
        return store.put(key, body, **words)

    snap(Wrapped(store, put=put), scratch, source)
    assert len(manifests(store)) == 1


def test_another_manifest_under_the_same_id_is_never_replaced(
    store: S3Store, source: FolderSource, scratch: Path
) -> None:
    moment = now()
    words = {"clock": lambda: moment, "suffix": lambda: "abcdef"}
    first = snap(store, scratch, source, **words)
    write_files(source.root, {"new": b"new one"})
    with pytest.raises(OpsError):
        snap(store, scratch, source, **words)
    assert decode(store.get(manifests(store)[0])[0], where="bucket") == first


def test_parts_are_told_apart(store: S3Store, source: FolderSource, scratch: Path) -> None:
    with pytest.raises(PartFailed, match="two parts are named volume/files"):
        snap(store, scratch, source, source)


def test_questions_see_the_parts(store: S3Store, source: FolderSource, scratch: Path) -> None:
    seen: list[Part] = []

    def ask(parts: list[Part]) -> tuple[Question, ...]:
        seen.extend(parts)
        return ()

    snap(store, scratch, source, questions=ask)
    assert [part.key for part in seen] == ["volume/files"]


def test_a_part_that_changes_before_it_is_stored_is_read_again(store: S3Store, tmp_path: Path) -> None:
    root = write_files(tmp_path / "live", {"a": b"first", "b": b"other"})
    times: list[int] = []

    def alter() -> None:
        times.append(1)
        if len(times) < 3:
            (root / "a").write_bytes(b"after %d" % len(times))

    manifest = snapshot_of([FolderSource("data", root, before_return=alter)], store, tmp_path / "scratch")
    (entry,) = (entry for entry in manifest.parts[0].files if entry.path == "a")
    assert len(times) == 3
    assert entry.sha256 == digest(b"after 2")

    def again() -> None:
        (root / "a").write_bytes(os.urandom(8))

    again()  # what the bucket has already need not be read a second time
    with pytest.raises(PartFailed, match="a changed while it was read"):
        snapshot_of([FolderSource("data", root, before_return=again)], store, tmp_path / "scratch")
