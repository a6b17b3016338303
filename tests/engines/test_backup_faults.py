"""A store that fails in every known way: after each backup there is the old state or the new one, never a third."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.engines.snapshots import list_snapshots, load_manifest
from ops_pipelines.engines.verify import verify_snapshot
from ops_pipelines.errors import (
    ChecksumMismatch,
    OpsError,
    PreconditionFailed,
    Refused,
    SnapshotDamaged,
    StoreError,
    Unreachable,
)
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.plan import failed
from tests.engines.folders import FolderSource, snapshot_of, write_files
from tests.servers.faults import Fault, Proxy, Request, always, faulty, first
from tests.servers.seaweed import Seaweed

PART = 5 * 2**20
LAYOUT = Layout()
MADE = random.Random(7)
OLD = {"small": b"old and small"}
NEW = {
    "small": b"new and small",
    "another": MADE.randbytes(3000),
    "middle": MADE.randbytes(2 * 2**20),
    "large": MADE.randbytes(2 * PART + 17),
}


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[Proxy]:
    with faulty(seaweed.endpoint) as made:
        yield made


@pytest.fixture
def wire(seaweed: Seaweed, bucket: str, proxy: Proxy) -> S3Store:
    """Our store, by way of the proxy, that gives up soon."""
    return seaweed.store(bucket, endpoint=proxy.endpoint, attempts=2, read_timeout=3.0, whole=PART, part=PART)


@pytest.fixture
def source(tmp_path: Path, store: S3Store) -> FolderSource:
    """What is to be backed up, of which there is an older snapshot."""
    kept = FolderSource("files", write_files(tmp_path / "live", OLD))
    snapshot_of([kept], store, tmp_path / "scratch")
    write_files(tmp_path / "live", NEW)
    return kept


def snapshots(store: ObjectStore) -> set[str]:
    """Ids of what is listed; each must be whole, to the last byte."""
    found = [info.id for info in list_snapshots(store, LAYOUT, "demo") if info.complete]
    for snapshot in found:
        manifest = load_manifest(store, LAYOUT, "demo", snapshot)
        assert not failed(verify_snapshot(manifest, store=store, layout=LAYOUT, depth="checksums"))
    return set(found)


def is_blob(request: Request) -> bool:
    return request.method == "PUT" and "/blobs/" in request.path and ".check" not in request.path


def is_small(request: Request) -> bool:
    return is_blob(request) and request.size < 2**20


def is_whole(request: Request) -> bool:
    return is_blob(request) and request.size >= 2**20 and "uploadId" not in request.path


def is_part(request: Request) -> bool:
    return is_blob(request) and "uploadId" in request.path


def is_complete(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.path


def is_manifest(request: Request) -> bool:
    return request.method == "PUT" and request.path.endswith("/manifest.json")


def is_read_back(request: Request) -> bool:
    return request.method == "GET" and "/blobs/" in request.path


def is_listing(request: Request) -> bool:
    return "list-type=2" in request.path


WRITES = {
    "small": is_small,
    "whole": is_whole,
    "part": is_part,
    "complete": is_complete,
    "manifest": is_manifest,
}
PASSING = {
    "500": Fault("answer"),
    "503": Fault("answer", 503, "SlowDown"),
    "reset": Fault("reset"),
    "lost answer": Fault("lost answer"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_outlasted(
    write: str, fault: str, source: FolderSource, wire: S3Store, proxy: Proxy, store: S3Store, tmp_path: Path
) -> None:
    proxy.rule = first(1, PASSING[fault], WRITES[write])
    taken = snapshot_of([source], wire, tmp_path / "scratch")
    assert proxy.broken == 1
    found = snapshots(store)
    assert taken.snapshot in found
    assert len(found) == 2


LASTING: dict[str, tuple[Fault, Callable[[Request], bool], type[OpsError], str]] = {
    "500 for parts": (Fault("answer"), is_part, StoreError, "answered InternalError"),
    "503 for all writes": (Fault("answer", 503, "SlowDown"), is_blob, Unreachable, "overloaded"),
    "resets": (Fault("reset"), is_whole, Unreachable, "does not answer"),
    "stalls": (Fault("stall"), is_part, Unreachable, "does not answer"),
    "altered small uploads": (Fault("altered upload"), is_small, ChecksumMismatch, "what arrived is not"),
    "altered whole uploads": (Fault("altered upload"), is_whole, ChecksumMismatch, "what arrived is not"),
    "altered parts": (Fault("altered upload"), is_part, ChecksumMismatch, "what arrived is not"),
    "altered read-backs": (Fault("altered download"), is_read_back, SnapshotDamaged, "another content"),
    "a lying ETag": (Fault("lying etag"), is_part, ChecksumMismatch, "InvalidPart"),
    "clocks that differ": (Fault("answer", 403, "RequestTimeTooSkewed"), is_blob, Refused, "clock"),
    "full": (Fault("answer", 507, "InsufficientStorage"), is_whole, StoreError, "full"),
    "no right to write": (Fault("answer", 403, "AccessDenied"), is_blob, Refused, "no right"),
    "no listing": (Fault("answer"), is_listing, StoreError, "answered InternalError"),
    "the commit refused": (
        Fault("answer", 412, "PreconditionFailed"),
        is_manifest,
        PreconditionFailed,
        "exists",
    ),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_leaves_the_old_state_and_says_why(
    name: str, source: FolderSource, wire: S3Store, proxy: Proxy, store: S3Store, tmp_path: Path
) -> None:
    fault, when, kind, says = LASTING[name]
    before = snapshots(store)
    proxy.rule = always(fault, when)
    with pytest.raises(OpsError) as caught:
        snapshot_of([source], wire, tmp_path / "scratch")
    assert isinstance(caught.value, kind)
    assert says in caught.value.message
    assert caught.value.remedy
    assert snapshots(store) == before
    proxy.rule = lambda _: None
    taken = snapshot_of([source], wire, tmp_path / "scratch")
    assert snapshots(store) == {taken.snapshot, *before}


@pytest.mark.parametrize("alive", [1, 2, 4, 7, 11])
def test_gone_half_way_is_gone_on_with(
    alive: int, source: FolderSource, wire: S3Store, proxy: Proxy, store: S3Store, tmp_path: Path
) -> None:
    before = snapshots(store)
    proxy.rule = always(Fault("reset"), lambda request: request.number > alive)
    with pytest.raises(Unreachable):
        snapshot_of([source], wire, tmp_path / "scratch")
    assert snapshots(store) == before
    proxy.rule = lambda _: None
    taken = snapshot_of([source], wire, tmp_path / "scratch")
    assert snapshots(store) == {taken.snapshot, *before}


def test_parts_that_arrived_are_not_sent_again(
    source: FolderSource, wire: S3Store, proxy: Proxy, store: S3Store, tmp_path: Path
) -> None:
    proxy.rule = always(Fault("reset"), lambda request: is_part(request) and "partNumber=3" in request.path)
    with pytest.raises(Unreachable):
        snapshot_of([source], wire, tmp_path / "scratch")
    assert len(list(store.unfinished_uploads(LAYOUT.blobs))) == 1
    proxy.seen.clear()
    proxy.rule = lambda _: None
    taken = snapshot_of([source], wire, tmp_path / "scratch")
    (sent,) = [request.path for request in proxy.seen if is_part(request)]
    assert "partNumber=3" in sent
    assert list(store.unfinished_uploads(LAYOUT.blobs)) == []
    assert taken.snapshot in snapshots(store)


def test_a_store_that_checks_nothing_gets_nothing_wrong(
    wire: S3Store, proxy: Proxy, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the wrong write on purpose is taken, the content is hashed on the way and cut off before its end."""
    monkeypatch.setattr(wire._uploader, "_refuses", lambda *_: False)
    path = tmp_path / "file"
    path.write_bytes(NEW["middle"])
    with pytest.raises(ChecksumMismatch, match="no longer"):
        wire.put_file("blobs/x", path, sha256="0" * 64, progress=lambda _: None)
    assert store.head("blobs/x") is None
    carried = [request.size for request in proxy.seen if "/blobs/x" in request.path]
    assert carried
    assert max(carried) < len(NEW["middle"])
