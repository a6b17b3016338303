"""Buckets as parts, against a real SeaweedFS: read once, stored under digests, put back without a deletion."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from ops_pipelines.adapters._s3_client import Connection
from ops_pipelines.adapters.objectindex import load_objects, save_objects
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.adapters.s3objects import S3Objects
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines._deposit import BlobDeposit
from ops_pipelines.engines.parts._bucket_target import BucketTarget
from ops_pipelines.engines.parts.bucket import BucketSource, Memory
from ops_pipelines.engines.parts.encrypted import EncryptedTarget, Pipe
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import ObjectMissing, PartFailed, PreconditionFailed
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import FileEntry, Manifest, Part
from ops_pipelines.policy.objects import Headers
from ops_pipelines.policy.plan import failed
from ops_pipelines.policy.store import ObjectInfo
from ops_pipelines.policy.volumes import patterns
from tests.engines.folders import snapshot_of
from tests.engines.killed import run_killed
from tests.servers.seaweed import Seaweed

LAYOUT = Layout()
FILES = {
    "events/2026/one.json": b'{"a": 1}',
    "events/2026/two.json": b'{"a": 2}',
    "events/2026": b"beside the folder",
    "events/odd name%41 \u00fc/x": b"odd",
    "events/empty": b"",
    "other/not-ours": b"not ours",
}


class Backwards:
    """Turns each byte's bits over, and begins with something random, as a real one does."""

    def __init__(self, *recipients: str) -> None:
        self.recipients = recipients

    def seal(self, plain: Pipe, sealed: Pipe) -> None:
        sealed.write(secrets.token_bytes(16))
        while piece := plain.read(1 << 16):
            sealed.write(bytes(255 - byte for byte in piece))

    def require(self, recipients: Collection[str], what: str) -> None: ...

    def open(self, sealed: Pipe, plain: Pipe) -> None:
        sealed.read(16)
        while piece := sealed.read(1 << 16):
            plain.write(bytes(255 - byte for byte in piece))


@dataclass
class Rig:
    """A bucket of a stack, the backups' bucket, and what a backup and a restore of it need."""

    seaweed: Seaweed
    bucket: str
    source_bucket: str
    folder: Path
    reads: list[str] = field(default_factory=list)

    @property
    def store(self) -> S3Store:
        """The backups' bucket."""
        return self.seaweed.store(self.bucket)

    @property
    def client(self) -> Any:
        return self.seaweed.client()

    @property
    def objects(self) -> Counted:
        return Counted.of(self)

    @property
    def connection(self) -> Connection:
        at = self.seaweed
        return Connection(at.endpoint, at.region, at.access_key, at.secret_key, None, True, None, 5.0, 60.0)

    @property
    def memory(self) -> Memory:
        path = self.folder / "index.json"
        return Memory(lambda: load_objects(path), lambda objects: save_objects(path, objects))

    def source(self, *, copies: bool = False, **words: Any) -> BucketSource:
        within = S3Objects.connect(self.bucket, self.connection)

        def copy(info: ObjectInfo, key: str, sha256: str) -> bool:
            return within.copy_from(self.source_bucket, info, key, sha256)

        deposit = BlobDeposit(self.store, LAYOUT, copy if copies else None)
        words = {"objects": self.objects, "prefix": "events/"} | words
        return BucketSource("traces", deposit=deposit, memory=self.memory, **words)

    def target(self, prefix: str = "events/", objects: S3Objects | None = None) -> BucketTarget:
        return BucketTarget(
            "traces", objects or self.objects, prefix, self.memory, self.folder / "scratch-restore"
        )

    def snapshot(self, **words: Any) -> Manifest:
        self.reads.clear()
        return snapshot_of([self.source(**words)], self.store, self.folder / "scratch")

    def put(self, files: dict[str, bytes], **headers: Any) -> None:
        for key, content in files.items():
            self.client.put_object(Bucket=self.source_bucket, Key=key, Body=content, **headers)

    def all(self, prefix: str = "") -> dict[str, bytes]:
        store = self.seaweed.store(self.source_bucket)
        return {info.key: store.get(info.key)[0] for info in store.list(prefix)}

    def restore(self, manifest: Manifest, objects: S3Objects | None = None) -> str:
        (part,) = manifest.parts
        target = self.target(objects=objects)
        place = target.stage(part, None, fetcher(self.store, LAYOUT, manifest.snapshot), silent)
        assert failed(target.check(part, place, full=True)) == []
        return target.switch(part, place)


class Counted(S3Objects):
    """Notes which objects are read."""

    reads: list[str]

    @classmethod
    def of(cls, rig: Rig) -> Self:
        made = cls.connect(rig.source_bucket, rig.connection)
        made.reads = rig.reads
        return made

    def read(self, key: str, etag: str) -> tuple[Headers, Iterator[bytes]]:
        self.reads.append(key)
        return super().read(key, etag)


@pytest.fixture
def rig(seaweed: Seaweed, bucket: str, tmp_path: Path) -> Rig:
    name = f"source-{secrets.token_hex(4)}"
    seaweed.client().create_bucket(Bucket=name)
    made = Rig(seaweed, bucket, name, tmp_path)
    made.put(FILES)
    return made


def ours() -> dict[str, bytes]:
    return {key: content for key, content in FILES.items() if key.startswith("events/")}


def test_every_object_is_stored_and_comes_back(rig: Rig) -> None:
    (part,) = rig.snapshot().parts
    assert {entry.path for entry in part.files} == {
        "2026%-", "2026/one.json", "2026/two.json", "odd name%2541 ü/x", "empty",
    }  # fmt: skip
    manifest = rig.snapshot()
    rig.client.delete_object(Bucket=rig.source_bucket, Key="events/2026/one.json")
    rig.put({"events/2026/two.json": b"altered", "events/new": b"made since"})
    kept = rig.restore(manifest)
    assert rig.all("events/") == ours() | {"events/new": b"made since"}
    assert rig.all("other/") == {"other/not-ours": b"not ours"}
    (before,) = (key for key in rig.all("events.before-"))
    assert before.endswith("/2026/two.json")
    assert rig.all()[before] == b"altered"
    assert before.partition("/")[0] in kept
    assert rig.target().leftovers() == ()
    assert not rig.all("events.restore")


def test_the_second_backup_reads_and_stores_nothing(rig: Rig) -> None:
    first = rig.snapshot()
    assert len(rig.reads) == 5
    assert first.uploaded == sum(len(content) for content in ours().values())
    second = rig.snapshot()
    assert rig.reads == []
    assert second.uploaded == 0
    rig.put({"events/2026/two.json": b"changed"})
    assert rig.snapshot().uploaded == 7
    assert rig.reads == ["events/2026/two.json"]


def test_what_the_memory_knows_and_the_bucket_lost_is_stored_again(rig: Rig) -> None:
    rig.snapshot()
    digest = hashlib.sha256(FILES["events/2026/two.json"]).hexdigest()
    rig.store.delete([LAYOUT.blob(digest)])
    rig.snapshot()
    assert rig.reads == ["events/2026/two.json"]
    assert rig.store.get(LAYOUT.blob(digest))[0] == FILES["events/2026/two.json"]


def test_one_store_copies_by_itself(rig: Rig) -> None:
    content = os.urandom(100_000)
    rig.client.put_object(
        Bucket=rig.source_bucket, Key="events/known", Body=content, ChecksumAlgorithm="SHA256"
    )
    rig.snapshot(copies=True)
    assert "events/known" not in rig.reads
    assert len(rig.reads) == 5  # those of whose digest the store says nothing
    assert rig.store.get(LAYOUT.blob(hashlib.sha256(content).hexdigest()))[0] == content


def test_a_copy_that_the_store_does_not_vouch_for_is_taken_back(rig: Rig) -> None:
    within = S3Objects.connect(rig.bucket, rig.connection)
    found = rig.objects.head("events/2026/one.json")
    assert found is not None
    assert not within.copy_from(rig.source_bucket, found[0], LAYOUT.blob("a" * 64), "a" * 64)
    assert rig.store.head(LAYOUT.blob("a" * 64)) is None


def test_headers_come_back(rig: Rig) -> None:
    rig.put({"events/page": b"<p>"}, ContentType="text/html", CacheControl="no-store", Metadata={"who": "me"})
    manifest = rig.snapshot()
    rig.client.delete_object(Bucket=rig.source_bucket, Key="events/page")
    rig.restore(manifest)
    found = rig.client.head_object(Bucket=rig.source_bucket, Key="events/page")
    assert (found["ContentType"], found["CacheControl"], found["Metadata"]) == (
        "text/html",
        "no-store",
        {"who": "me"},
    )


def test_no_object_at_all_is_no_backup(rig: Rig) -> None:
    with pytest.raises(PartFailed, match="there is nothing below 'evnts/'"):
        rig.snapshot(prefix="evnts/")
    (part,) = rig.snapshot(prefix="evnts/", may_be_empty=True).parts
    assert part.files == ()


def test_excluded_keys(rig: Rig) -> None:
    (part,) = rig.snapshot(exclude=patterns(["2026/*", "empty"])).parts
    assert {entry.path for entry in part.files} == {"2026", "odd name%2541 ü/x"}
    assert part.facts["excluded"] == 3


class Replaced(Counted):
    """Somebody writes an object between the list and the reading of it."""

    times: int = 1

    def read(self, key: str, etag: str) -> tuple[Headers, Iterator[bytes]]:
        if key.endswith("two.json") and self.times > 0:
            self.times -= 1
            self._client.put_object(Bucket=self.bucket, Key=key, Body=os.urandom(8))
        return super().read(key, etag)


def test_an_object_that_is_replaced_while_it_is_read(rig: Rig) -> None:
    objects = Replaced.of(rig)
    (part,) = rig.snapshot(objects=objects).parts
    (entry,) = (entry for entry in part.files if entry.path == "2026/two.json")
    live = rig.all()["events/2026/two.json"]
    assert entry.sha256 == hashlib.sha256(live).hexdigest()
    objects.times = 99
    rig.put({"events/2026/two.json": b"again"})
    with pytest.raises(PartFailed, match=r"events/2026/two.json was replaced each time"):
        rig.snapshot(objects=objects)


class Gone(Counted):
    """An object is deleted between the list and the reading of it."""

    def read(self, key: str, etag: str) -> tuple[Headers, Iterator[bytes]]:
        if key.endswith("two.json"):
            self.delete([key])
        return super().read(key, etag)


def test_an_object_that_is_deleted_meanwhile_is_left_out(rig: Rig) -> None:
    (part,) = rig.snapshot(objects=Gone.of(rig)).parts
    assert "2026/two.json" not in {entry.path for entry in part.files}
    assert part.facts["gone"] == 1


def test_another_version_is_never_taken_for_the_listed_one(rig: Rig) -> None:
    with pytest.raises(PreconditionFailed):
        list(rig.objects.read("events/2026/one.json", '"0123456789abcdef0123456789abcdef"')[1])
    with pytest.raises(ObjectMissing):
        rig.objects.read("events/none", '"0"')
    with pytest.raises(ObjectMissing):
        rig.objects.copy("events/none", "events/there")


def test_the_plan_says_what_would_be_written(rig: Rig) -> None:
    manifest = rig.snapshot()
    rig.client.delete_object(Bucket=rig.source_bucket, Key="events/2026/one.json")
    rig.put({"events/2026/two.json": b"ALTERED!", "events/new": b"made since"})
    lines = [f"{step.verb} {step.detail}" for step in rig.target().plan(manifest.parts[0], None)]
    assert lines[0].startswith("fetch 1 missing and 1 other objects")
    assert "keep 3 objects are right already" in lines
    assert "keep 1 objects below 'events/' that the snapshot does not hold stay" in lines
    assert lines[-1].startswith("switch")


def test_a_named_place_gets_everything_and_is_no_switch(rig: Rig) -> None:
    manifest = rig.snapshot()
    target, (part,) = rig.target(), manifest.parts
    fetch = fetcher(rig.store, LAYOUT, manifest.snapshot)
    place = target.stage(part, "drill", fetch, silent)
    assert place == "events.restore-drill"
    assert {key.removeprefix(place): content for key, content in rig.all(f"{place}/").items()} == {
        key.removeprefix("events"): content for key, content in ours().items()
    }
    assert target.leftovers() == (place,)
    target.discard(place)
    copy = target.stage(part, "copies/of/it", fetch, silent)
    assert failed(target.check(part, copy, full=True)) == []
    with pytest.raises(PartFailed, match="is a copy and is not switched"):
        target.switch(part, copy)
    with pytest.raises(PartFailed, match="is not empty"):
        target.stage(part, "other/", fetch, silent)
    with pytest.raises(PartFailed, match="was not made by a restore"):
        target.discard("other")
    assert rig.all("events/") == ours()


def test_an_altered_place_fails_its_check(rig: Rig) -> None:
    manifest = rig.snapshot()
    target, (part,) = rig.target(), manifest.parts
    place = target.stage(part, "look", fetcher(rig.store, LAYOUT, manifest.snapshot), silent)
    rig.put({f"{place}/2026/two.json": b'{"a": 3}'})
    (finding,) = failed(target.check(part, place, full=True))
    assert "2026/two.json is not what the snapshot holds" in finding.message


def test_a_live_object_that_is_written_meanwhile_is_told(rig: Rig) -> None:
    manifest = rig.snapshot()
    target, (part,) = rig.target(), manifest.parts
    place = target.stage(part, None, fetcher(rig.store, LAYOUT, manifest.snapshot), silent)
    rig.put({"events/2026/two.json": b"altered"})
    (finding,) = failed(target.check(part, place, full=True))
    assert "was written while the restore went on" in finding.message


# --- kill -9 ---


class Fused(S3Objects):
    """Dies at its Nth request that changes the bucket, just before it or just after it."""

    at: int
    count: int = 0

    def _tick(self, work: Callable[[], None]) -> None:
        for step in (None, work):
            if step is not None:
                step()
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def put(self, key: str, body: bytes) -> None:
        self._tick(lambda: super(Fused, self).put(key, body))

    def write(self, key: str, path: Path, sha256: str, headers: Headers) -> None:
        self._tick(lambda: super(Fused, self).write(key, path, sha256, headers))

    def copy(self, source: str, key: str) -> None:
        self._tick(lambda: super(Fused, self).copy(source, key))

    def delete(self, keys: Any) -> None:
        self._tick(lambda: super(Fused, self).delete(keys))


def _restore_and_die(rig: Rig, manifest: Manifest, at: int) -> None:
    objects = Fused.connect(rig.source_bucket, rig.connection)
    objects.at = at
    rig.restore(manifest, objects)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["again", "discard"])
def test_killed_at_every_step(rig: Rig, then: str) -> None:
    manifest = rig.snapshot()
    old = {"events/2026/two.json": b"altered", "events/new": b"made since"}
    step = 0
    while True:
        step += 1
        store = rig.seaweed.store(rig.source_bucket)
        store.delete([info.key for info in store.list("events")])
        rig.put(old)
        if not run_killed(_restore_and_die, rig, manifest, step):
            break
        live = rig.all("events/")
        assert all(live[key] in (content, ours().get(key)) for key, content in old.items()), step
        target = rig.target()
        if then == "again":
            rig.restore(manifest)
            assert rig.all("events/") == ours() | {"events/new": b"made since"}, step
        else:
            for place in target.leftovers():
                target.discard(place)
            live = rig.all("events/")
            assert live in (old, ours() | {"events/new": b"made since"}), step
        assert target.leftovers() == (), step
        assert not rig.all("events.restore"), step
        aside = set(rig.all("events.before-").values())
        assert rig.all("events/")["events/2026/two.json"] == b"altered" or b"altered" in aside, step
    assert step > 20


def test_a_part_of_a_stranger_is_checked(rig: Rig) -> None:
    part = Part("bucket", "traces", (FileEntry("x", 1, "a" * 64),), {"headers": "none", "usual_headers": 7})
    assert rig.target().plan(part, None)[0].verb == "fetch"


# --- encrypted ---


@pytest.mark.parametrize("copies", [False, True])
def test_what_is_encrypted_lies_nowhere_in_clear_and_comes_back(rig: Rig, copies: bool) -> None:
    rig.put(FILES, ContentType="application/json")
    sealer = Backwards("age1a")
    manifest = rig.snapshot(sealer=sealer, copies=copies)
    stored = b"".join(rig.store.get(info.key)[0] for info in rig.store.list(LAYOUT.blobs))
    assert b'"a": 1' not in stored
    assert b"odd" not in stored
    assert not list((rig.folder / "scratch").rglob("object-*"))
    (part,) = manifest.parts
    assert part.recipients == ("age1a",)
    assert all(entry.plain is not None for entry in part.files)

    rig.put({"events/2026/one.json": b"spoilt", "events/since": b"since"})
    target = EncryptedTarget(rig.target(), sealer)
    fetch = fetcher(rig.store, LAYOUT, manifest.snapshot)
    place = target.stage(part, None, fetch, silent)
    assert failed(target.check(part, place, full=True)) == []
    target.switch(part, place)
    ours = {key: content for key, content in FILES.items() if key.startswith("events/")}
    assert rig.all("events/") == {**ours, "events/since": b"since"}
    head = rig.client.head_object(Bucket=rig.source_bucket, Key="events/2026/one.json")
    assert head["ContentType"] == "application/json"


def test_what_is_encrypted_for_the_same_is_not_read_again(rig: Rig) -> None:
    rig.put(FILES)
    first = rig.snapshot(sealer=Backwards("age1a"))
    again = rig.snapshot(sealer=Backwards("age1a"))
    assert rig.reads == []
    assert again.uploaded == 0
    assert again.parts[0].files == first.parts[0].files
    for sealer, recipients in ((Backwards("age1a", "age1b"), ("age1a", "age1b")), (None, ())):
        other = rig.snapshot(sealer=sealer)
        assert len(rig.reads) == 5, "stored otherwise than it is to be"
        assert other.parts[0].recipients == recipients
        assert {bool(entry.plain) for entry in other.parts[0].files} == {sealer is not None}
