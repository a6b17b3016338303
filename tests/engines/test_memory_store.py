"""The store in memory does what the real one does, as far as the engines rely on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.errors import ChecksumMismatch, ObjectMissing, PreconditionFailed
from tests.engines.memory_store import MemoryStore

CONTENT = b"some content"


@pytest.fixture(params=["memory", "seaweedfs"])
def either(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    store: S3Store = request.getfixturevalue("store")
    return store


def test_conditional_writes(either: ObjectStore) -> None:
    first = either.put("k", CONTENT, if_absent=True)
    assert either.get("k") == (CONTENT, first)
    content, info = either.look("k")
    assert (content, info.etag) == (CONTENT, first)
    with pytest.raises(PreconditionFailed):
        either.put("k", b"other", if_absent=True)
    second = either.put("k", b"second", if_match=first)
    assert second != first
    with pytest.raises(PreconditionFailed):
        either.put("k", b"third", if_match=first)
    with pytest.raises(PreconditionFailed):
        either.put("absent", b"x", if_match=first)
    either.put("k", b"fourth")
    assert either.get("k")[0] == b"fourth"


def test_what_is_not_there(either: ObjectStore) -> None:
    for ask in (either.get, either.look, either.stream):
        with pytest.raises(ObjectMissing):
            ask("absent")
    assert either.head("absent") is None
    assert list(either.list("absent")) == []
    either.delete(["absent"])


def test_files_by_their_digest(either: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    moved: list[int] = []
    either.put_file("k", path, sha256=digest, progress=moved.append)
    assert sum(moved) == len(CONTENT)
    info = either.head("k")
    assert info is not None
    assert (info.size, info.sha256) == (len(CONTENT), digest)
    assert b"".join(either.stream("k")) == CONTENT
    with pytest.raises(ChecksumMismatch):
        either.put_file("other", path, sha256="0" * 64, progress=moved.append)
    assert either.head("other") is None


def test_lists_in_order_below_a_prefix(either: ObjectStore) -> None:
    for key in ("a/2", "a/10", "ab", "b", "a/1/x"):
        either.put(key, key.encode())
    assert [info.key for info in either.list("a/")] == ["a/1/x", "a/10", "a/2"]
    assert [info.size for info in either.list("a")] == [5, 4, 3, 2]
    either.delete(["a/2", "a/10"])
    assert [info.key for info in either.list("a")] == ["a/1/x", "ab"]


def test_times_are_the_stores_own_in_whole_seconds(either: ObjectStore) -> None:
    before = either.now()
    either.put("k", CONTENT)
    info = either.head("k")
    assert info is not None
    assert info.modified.microsecond == before.microsecond == 0
    assert before <= info.modified <= either.now()
