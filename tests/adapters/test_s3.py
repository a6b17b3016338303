"""S3Store against a real SeaweedFS, over a wire that may break, and against answers of other stores."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_pipelines.adapters import _s3_upload
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.errors import (
    ChecksumMismatch,
    ObjectMissing,
    OpsError,
    PreconditionFailed,
    Refused,
    StoreError,
    Unreachable,
)
from tests.adapters.s3_wire import broken_wire, canned
from tests.servers.seaweed import OwnSeaweed, Seaweed

PART = 5 * 2**20
"""The smallest part that S3 allows."""


def small_parts(seaweed: Seaweed, bucket: str) -> S3Store:
    return seaweed.store(bucket, whole=PART, part=PART)


def ignore(size: int) -> None:
    pass


def content_file(folder: Path, size: int) -> tuple[Path, bytes, str]:
    content = random.Random(size).randbytes(size)
    path = folder / "content"
    path.write_bytes(content)
    return path, content, hashlib.sha256(content).hexdigest()


def test_keeps_the_protocol(store: S3Store, bucket: str, seaweed: Seaweed) -> None:
    kept: ObjectStore = store
    assert kept.name == f"s3://{bucket} at {seaweed.endpoint}"


def test_small_object_comes_back_with_its_digest(store: S3Store) -> None:
    etag = store.put("a/b", b"hello")
    assert store.get("a/b") == (b"hello", etag)
    info = store.head("a/b")
    assert info is not None
    assert (info.key, info.size, info.etag) == ("a/b", 5, etag)
    assert info.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert info.modified.tzinfo is UTC


def test_absent_object(store: S3Store) -> None:
    assert store.head("nothing") is None
    with pytest.raises(ObjectMissing, match="nothing"):
        store.get("nothing")
    with pytest.raises(ObjectMissing, match="nothing"):
        store.stream("nothing")
    store.delete(["nothing"])


def test_list_is_in_order_and_crosses_pages(store: S3Store) -> None:
    keys = [f"many/{number:05d}" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), random.Random(1).sample(keys, len(keys))))
    store.put("other", b"x")
    assert [info.key for info in store.list("many/")] == keys
    assert list(store.list("many/")) == list(store.list_exactly("many/"))
    assert [info.key for info in store.list_exactly("many/", after=keys[-2])] == keys[-1:]
    store.delete(keys)
    assert [info.key for info in store.list("")] == ["other"]


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1, PART, PART + 1, 3 * PART, 3 * PART + 17])
def test_file_round_trip(seaweed: Seaweed, bucket: str, tmp_path: Path, size: int) -> None:
    store = small_parts(seaweed, bucket)
    path, content, digest = content_file(tmp_path, size)
    told: list[int] = []
    store.put_file("blob", path, sha256=digest, progress=told.append)
    assert sum(told) == size
    pieces = list(store.stream("blob"))
    assert b"".join(pieces) == content
    assert b"".join(map(bytes, store.pieces("blob", size))) == content
    assert all(len(piece) <= 8 * 2**20 for piece in pieces)
    info = store.head("blob")
    assert info is not None
    assert info.size == size
    assert info.sha256 == (digest if size <= PART else None)


@pytest.mark.parametrize("size", [1000, 2**20 + 1, 3 * PART])
def test_a_file_that_changed_leaves_nothing(seaweed: Seaweed, bucket: str, tmp_path: Path, size: int) -> None:
    store = small_parts(seaweed, bucket)
    path, _, digest = content_file(tmp_path, size)
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"altered")
    with pytest.raises(ChecksumMismatch, match="no longer"):
        store.put_file("blob", path, sha256=digest, progress=ignore)
    assert store.head("blob") is None
    assert list(store.unfinished_uploads("")) == []


@pytest.mark.parametrize("size", [2**20 + 1, 2 * PART])
def test_the_store_itself_refuses_altered_bytes(
    seaweed: Seaweed, bucket: str, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small_parts(seaweed, bucket)
    path, _, digest = content_file(tmp_path, size)
    monkeypatch.setattr(_s3_upload, "_base64", lambda _: "A" * 43 + "=")
    with pytest.raises(ChecksumMismatch, match="BadDigest"):
        store.put_file("blob", path, sha256=digest, progress=ignore)
    assert store.head("blob") is None
    assert list(store.unfinished_uploads("")) == []


def test_unreadable_file(store: S3Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not read"):
        store.put_file("blob", tmp_path / "gone", sha256="0" * 64, progress=ignore)


def test_upload_memory_is_bounded(seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    store = small_parts(seaweed, bucket)
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(30 * PART)
    digest = hashlib.sha256(b"\0" * 30 * PART).hexdigest()
    tracemalloc.start()
    try:
        store.put_file("blob", path, sha256=digest, progress=ignore)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


def test_unfinished_uploads_are_listed_and_dropped(store: S3Store, seaweed: Seaweed, bucket: str) -> None:
    client = seaweed.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key="blobs/x")["UploadId"]
    client.create_multipart_upload(Bucket=bucket, Key="elsewhere/x")
    ((key, found, begun),) = store.unfinished_uploads("blobs/")
    assert (key, found) == ("blobs/x", upload)
    assert abs(begun - datetime.now(UTC)) < timedelta(minutes=1)
    store.abort_upload(key, upload)
    assert list(store.unfinished_uploads("blobs/")) == []
    store.abort_upload(key, upload)


def test_conditional_writes(store: S3Store) -> None:
    etag = store.put("k", b"1", if_absent=True)
    with pytest.raises(PreconditionFailed):
        store.put("k", b"2", if_absent=True)
    newer = store.put("k", b"2", if_match=etag)
    with pytest.raises(PreconditionFailed):
        store.put("k", b"3", if_match=etag)
    assert store.get("k") == (b"2", newer)
    with pytest.raises(PreconditionFailed):
        store.put("absent", b"1", if_match=etag)
    assert store.head("absent") is None


def test_one_of_eight_racing_writers_wins(store: S3Store) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait()
        try:
            store.put("race", str(number).encode(), if_absent=True)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert store.get("race")[0] == str(won.index(True)).encode()


def test_store_clock(store: S3Store) -> None:
    assert abs(store.now() - datetime.now(UTC)) < timedelta(seconds=30)


def test_probe_finds_all_rights_and_leaves_nothing(store: S3Store) -> None:
    findings = store.probe("prefix/")
    rights = ("write", "list", "read", "conditional write", "upload in parts", "digests checked", "delete")
    asked = {finding.subject: finding.ok for finding in findings if finding.severity != "info"}
    assert asked == {f"bucket/{right}": True for right in rights}
    assert {finding.subject for finding in findings} >= {"bucket/versions", "bucket/lock"}
    assert list(store.list("")) == []
    assert list(store.unfinished_uploads("")) == []


def test_probe_with_credentials_that_may_only_read(seaweed: Seaweed, bucket: str) -> None:
    store = seaweed.store(bucket, access_key=seaweed.read_access_key, secret_key=seaweed.read_secret_key)
    findings = {finding.subject: finding for finding in store.probe()}
    assert findings["bucket/write"].ok is False
    assert "s3:PutObject" in findings["bucket/write"].remedy
    assert findings["bucket/list"].ok is True
    assert findings["bucket/delete"].ok is None


def test_ensure_bucket(seaweed: Seaweed, bucket: str) -> None:
    assert seaweed.store(bucket).ensure_bucket() is False
    fresh = seaweed.store(f"{bucket}-fresh")
    assert fresh.ensure_bucket() is True
    assert fresh.ensure_bucket() is False
    fresh.put("a", b"x")


# --- what goes wrong ---

OPERATIONS: dict[str, Callable[[S3Store, Path], object]] = {
    "put": lambda store, _: store.put("k", b"x"),
    "put_if_absent": lambda store, _: store.put("k", b"x", if_absent=True),
    "put_file": lambda store, path: store.put_file("k", path, sha256=_digest(path), progress=ignore),
    "get": lambda store, _: store.get("k"),
    "stream": lambda store, _: list(store.stream("k")),
    "pieces": lambda store, _: list(store.pieces("k", 2 * 2**20)),
    "list_below": lambda store, _: list(store.list("below/")),
    "head": lambda store, _: store.head("k"),
    "list": lambda store, _: list(store.list("")),
    "delete": lambda store, _: store.delete(["k"]),
    "uploads": lambda store, _: list(store.unfinished_uploads("")),
    "now": lambda store, _: store.now(),
}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def failure(store: S3Store, operation: str, folder: Path) -> OpsError:
    path = folder / operation  # one each: some callers try them all at once
    path.write_bytes(b"content")
    with pytest.raises(OpsError) as caught:
        OPERATIONS[operation](store, path)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("operation", OPERATIONS)
def test_wrong_secret(seaweed: Seaweed, bucket: str, tmp_path: Path, operation: str) -> None:
    error = failure(seaweed.store(bucket, secret_key="not-the-secret-of-this-key"), operation, tmp_path)
    assert isinstance(error, Refused)
    assert bucket in error.message
    assert "not-the-secret" not in str(error)
    assert seaweed.access_key not in str(error)


def test_unknown_access_key(seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    error = failure(seaweed.store(bucket, access_key="stranger"), "list", tmp_path)
    assert isinstance(error, Refused)
    assert "access_key" in error.remedy


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ("delete", "uploads")])
def test_missing_bucket(seaweed: Seaweed, tmp_path: Path, operation: str) -> None:
    error = failure(seaweed.store("no-such-bucket"), operation, tmp_path)
    assert type(error) is StoreError
    assert "no-such-bucket" in error.message
    assert "bucket" in error.remedy


def test_refused_connection(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    store = S3Store.connect(bucket="some-bucket", endpoint=endpoint, access_key="a", secret_key="b")
    with ThreadPoolExecutor(len(OPERATIONS)) as pool:
        for error in pool.map(lambda operation: failure(store, operation, tmp_path), OPERATIONS):
            assert isinstance(error, Unreachable)
            assert endpoint in error.message


@pytest.mark.parametrize("operation", ["put", "put_file"])
def test_read_only_credentials(seaweed: Seaweed, bucket: str, tmp_path: Path, operation: str) -> None:
    store = seaweed.store(bucket, access_key=seaweed.read_access_key, secret_key=seaweed.read_secret_key)
    error = failure(store, operation, tmp_path)
    assert isinstance(error, Refused)
    assert "s3:PutObject" in error.remedy


PAGE = b"<!doctype html><html><body>Console</body></html>"


@pytest.mark.parametrize(
    ("status", "content", "kind", "says"),
    [
        (200, PAGE, StoreError, "not as an S3 store"),
        (301, b"", StoreError, "redirects"),
        (404, PAGE, StoreError, "not as an S3 store"),
        (404, b"", StoreError, "no S3 store answers"),
        (403, b"<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>", Refused, "clock"),
        (403, b"<Error><Code>ExpiredToken</Code><Message>m</Message></Error>", Refused, "expired"),
        (
            400,
            b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message></Error>",
            Refused,
            "region",
        ),
        (507, b"<Error><Code>XMinioStorageFull</Code><Message>m</Message></Error>", StoreError, "full"),
        (500, b"<Error><Code>InternalError</Code><Message>m</Message></Error>", StoreError, "answered"),
        (503, b"<Error><Code>SlowDown</Code><Message>m</Message></Error>", Unreachable, "overloaded"),
    ],
)
def test_answers_of_other_servers(
    tmp_path: Path, status: int, content: bytes, kind: type[OpsError], says: str
) -> None:
    with canned(status, content, "text/html" if content is PAGE else "application/xml") as endpoint:
        store = S3Store.connect(bucket="some-bucket", endpoint=endpoint, access_key="a", secret_key="b")
        error = failure(store, "list", tmp_path)
    assert type(error) is kind
    assert says in error.message


def test_endpoint_that_is_no_url() -> None:
    with pytest.raises(StoreError) as caught:
        S3Store.connect(bucket="some-bucket", endpoint="127.0.0.1 8333", access_key="a", secret_key="b")
    assert "http://" in caught.value.remedy


def test_half_a_credential() -> None:
    for access, secret in (("a", None), (None, "b")):
        with pytest.raises(Refused, match="only one half"):
            S3Store.connect(
                bucket="some-bucket", endpoint="http://127.0.0.1:1", access_key=access, secret_key=secret
            )


def test_connecting_again_shares_the_client_and_never_the_credentials(seaweed: Seaweed, bucket: str) -> None:
    right, again = seaweed.store(bucket), seaweed.store(bucket)
    assert right._client is again._client
    wrong = seaweed.store(bucket, secret_key="another")
    assert wrong._client is not right._client


def test_no_credentials(
    seaweed: Seaweed, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    error = failure(seaweed.store(bucket, access_key=None, secret_key=None), "list", tmp_path)
    assert isinstance(error, Refused)
    assert "no credentials" in error.message


# --- a wire that breaks ---


def once(method: str, cut: int) -> Callable[[str, str], int | None]:
    """Break the first request of a method."""
    left = [cut]
    return lambda asked, _: left.pop() if asked == method and left else None


def test_a_broken_stream_is_taken_up_where_it_broke(
    seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    path, content, digest = content_file(tmp_path, 20 * 2**20)
    store.put_file("blob", path, sha256=digest, progress=ignore)
    with broken_wire(seaweed.endpoint, once("GET", 17 * 2**20)) as endpoint:
        assert b"".join(seaweed.store(bucket, endpoint=endpoint).stream("blob")) == content


def test_a_large_object_passes_through_one_small_buffer(store: S3Store, tmp_path: Path) -> None:
    path, content, digest = content_file(tmp_path, 3 * 2**20 + 17)
    store.put_file("blob", path, sha256=digest, progress=ignore)
    found, buffers = b"", set()
    for piece in store.pieces("blob", len(content)):
        assert isinstance(piece, memoryview)
        found += piece
        buffers.add(id(piece.obj))
        assert len(piece) <= 2**18
    assert found == content
    assert len(buffers) == 1


def test_pieces_that_break_are_taken_up_where_they_broke(
    seaweed: Seaweed, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    path, content, digest = content_file(tmp_path, 6 * 2**20)
    store.put_file("blob", path, sha256=digest, progress=ignore)
    for cut in (0, 5 * 2**20):
        with broken_wire(seaweed.endpoint, once("GET", cut)) as endpoint:
            pieces = seaweed.store(bucket, endpoint=endpoint).pieces("blob", len(content))
            assert b"".join(map(bytes, pieces)) == content


def test_a_reader_who_leaves_early_leaves_nothing_for_the_next(store: S3Store, tmp_path: Path) -> None:
    path, content, digest = content_file(tmp_path, 6 * 2**20)
    store.put_file("blob", path, sha256=digest, progress=ignore)
    left = store.pieces("blob", len(content))
    next(left)
    left.close()  # type: ignore[attr-defined] # it is a generator
    assert b"".join(map(bytes, store.pieces("blob", len(content)))) == content


def test_a_listing_that_breaks_is_gone_on_with(seaweed: Seaweed, bucket: str, store: S3Store) -> None:
    for number in range(3):
        store.put(f"some/{number}", b"x")
    with broken_wire(seaweed.endpoint, once("GET", 200)) as endpoint:
        listed = [info.key for info in seaweed.store(bucket, endpoint=endpoint).list("some/")]
    assert listed == ["some/0", "some/1", "some/2"]


def test_a_stream_that_always_breaks_is_an_error(seaweed: Seaweed, bucket: str, store: S3Store) -> None:
    store.put("blob", b"x" * 1000)
    with broken_wire(seaweed.endpoint, lambda *_: 100) as endpoint, pytest.raises(Unreachable):
        list(seaweed.store(bucket, endpoint=endpoint).stream("blob"))


def test_a_conditional_write_does_not_lose_against_itself(seaweed: Seaweed, bucket: str) -> None:
    """The store did the work, the answer was lost, and the repeated request finds the object there."""
    with broken_wire(seaweed.endpoint, once("PUT", 0)) as endpoint:
        store = seaweed.store(bucket, endpoint=endpoint)
        etag = store.put("k", b"mine", if_absent=True)
    assert seaweed.store(bucket).get("k") == (b"mine", etag)


def test_a_repeated_conditional_write_still_loses_against_another(seaweed: Seaweed, bucket: str) -> None:
    seaweed.store(bucket).put("k", b"theirs")
    with broken_wire(seaweed.endpoint, once("PUT", 0)) as endpoint, pytest.raises(PreconditionFailed):
        seaweed.store(bucket, endpoint=endpoint).put("k", b"mine", if_absent=True)


NO_UPLOAD = b"<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>"


def second_complete_finds_nothing(posts: list[str]) -> Callable[[str, str], int | bytes | None]:
    """The answer to the first completion is lost; the second is told, as MinIO does, that it is done with."""

    def rule(method: str, path: str) -> int | bytes | None:
        if method != "POST" or "uploadId" not in path:
            return None
        posts.append(path)
        return 0 if len(posts) == 1 else NO_UPLOAD

    return rule


def test_an_upload_completed_before_its_answer_was_lost_is_there(
    seaweed: Seaweed, bucket: str, tmp_path: Path
) -> None:
    path, content, digest = content_file(tmp_path, 20 * 2**20)
    posts: list[str] = []
    with broken_wire(seaweed.endpoint, second_complete_finds_nothing(posts)) as endpoint:
        seaweed.store(bucket, endpoint=endpoint, whole=PART, part=PART).put_file(
            "blob", path, sha256=digest, progress=ignore
        )
    assert len(posts) == 2
    assert b"".join(seaweed.store(bucket).stream("blob")) == content


def test_an_upload_that_is_gone_for_good_is_an_error(seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    path, _, digest = content_file(tmp_path, 20 * 2**20)

    def gone(method: str, path: str) -> bytes | None:
        return NO_UPLOAD if method == "POST" and "uploadId" in path else None

    with broken_wire(seaweed.endpoint, gone) as endpoint, pytest.raises(StoreError, match="NoSuchUpload"):
        seaweed.store(bucket, endpoint=endpoint, whole=PART, part=PART).put_file(
            "blob", path, sha256=digest, progress=ignore
        )


def test_a_full_store_says_so(own_seaweed: OwnSeaweed, tmp_path: Path) -> None:
    """SeaweedFS with one volume of 1 MB: it is full as soon as it has told itself so."""
    store = own_seaweed.at.store("full")
    store.ensure_bucket()
    store.put("before", b"x")
    path, _, digest = content_file(tmp_path, 2**20)
    own_seaweed.kill()
    own_seaweed.restart("-volume.max=1", "-master.volumeSizeLimitMB=1")
    written: list[str] = []

    def fill() -> None:
        for number in range(1000):
            store.put_file(f"blob/{number:04d}", path, sha256=digest, progress=ignore)
            written.append(f"blob/{number:04d}")

    with pytest.raises(StoreError, match="the store answered") as caught:
        fill()
    assert "space" in caught.value.remedy
    assert store.get("before")[0] == b"x"
    assert [info.key for info in store.list("blob/")] == written


def test_kill_9_of_the_store_loses_no_committed_object(own_seaweed: OwnSeaweed, tmp_path: Path) -> None:
    store = own_seaweed.at.store("killed", read_timeout=5.0)
    store.ensure_bucket()
    large, content, digest = content_file(tmp_path, 20 * 2**20)
    store.put_file("large", large, sha256=digest, progress=ignore)
    committed: dict[str, bytes] = {}
    enough = threading.Event()

    def write(worker: int) -> None:
        for number in range(100_000):
            body = os.urandom(1000)
            try:
                store.put(f"small/{worker}/{number}", body)
            except OpsError:
                return
            committed[f"small/{worker}/{number}"] = body
            if len(committed) > 100:
                enough.set()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    own_seaweed.kill()
    for thread in threads:
        thread.join(120)
    with pytest.raises(Unreachable):
        store.get("large")

    own_seaweed.restart()
    assert b"".join(store.stream("large")) == content
    assert {key: store.get(key)[0] for key in committed} == committed
