"""Redis as a part: its save to a real SeaweedFS, back into a real Redis key by key, switched in one transaction."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.parts.database_redis import RedisSource, RedisTarget
from ops_pipelines.engines.parts.kept import KeptNumbers
from ops_pipelines.engines.ports import silent
from ops_pipelines.engines.restore import plan_restore, restore
from ops_pipelines.errors import PartFailed, Refused, Unreachable
from ops_pipelines.policy import redis_saves
from ops_pipelines.policy.crc64 import crc64
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.redis_saves import MARK
from tests.engines.folders import HeldFence, now, snapshot_of
from tests.servers.redis import RedisServer
from tests.waiting import free_port

LAYOUT = Layout()
CODE = "#!lua name=ours\nredis.register_function('answer', function() return 42 end)"


def fill(server: RedisServer) -> None:
    """Values of every type and encoding that this server has, in two logical databases."""
    client: Any = server.client()
    client.mset({f"plain:{n}": f"value {n}" for n in range(2000)})
    client.mset(
        {"int": 12345, "negative": -7, "big": "x" * 300_000, b"\x00odd \xff": b"\x80\x81", "": "no name"}
    )
    client.set("goes", "soon", ex=3600)
    client.rpush("list", *range(50))
    client.rpush("long list", *("entry " * 50 + str(n) for n in range(2000)))
    client.sadd("ints", *range(20))
    client.sadd("set", *(f"member {n}" for n in range(1000)))
    client.hset("hash", mapping={"a": "1", "b": "2"})
    client.hset("large hash", mapping={f"field {n}": "v" * 100 for n in range(600)})
    client.zadd("zset", {"one": 1.5, "two": 2})
    client.zadd("large zset", {f"member {n}": n / 3 for n in range(600)})
    for n in range(300):
        client.xadd("stream", {"n": n})
    client.xgroup_create("stream", "group", id="0")
    client.xreadgroup("group", "consumer", {"stream": ">"}, count=10)
    client.pfadd("log", *range(100))
    client.function_load(CODE)
    server.client(3).mset({f"other:{n}": n for n in range(10)})


def everything(server: RedisServer, number: int = 0) -> dict[bytes, bytes]:
    """Each key of a logical database with the server's own digest of its value, whatever its order in memory."""
    client: Any = server.client(number)
    keys = [key for key in client.scan_iter(count=1000) if key != MARK.encode()]
    return (
        dict(zip(keys, client.execute_command("DEBUG", "DIGEST-VALUE", *keys), strict=True)) if keys else {}
    )


@pytest.fixture
def target(redis_server: RedisServer, tmp_path: Path) -> RedisTarget:
    return RedisTarget("cache", redis_server.adapter(), tmp_path / "scratch/restore")


@pytest.fixture
def manifest(redis_server: RedisServer, store: S3Store, tmp_path: Path) -> Manifest:
    fill(redis_server)
    return snapshot_of([RedisSource("cache", redis_server.adapter())], store, tmp_path / "scratch")


def put_back(manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path, **words: Any) -> Any:
    return restore(manifest, {"database/cache": target}, store=store, layout=LAYOUT, fence=HeldFence(),
                   state=tmp_path / "state", clock=now, **words)  # fmt: skip


def test_it_comes_back_value_by_value_and_the_old_keys_are_kept(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    part = manifest.parts[0]
    client = redis_server.client()
    assert [entry.path for entry in part.files] == ["dump.rdb"]
    assert part.facts["databases"]["0"]["keys"] == client.dbsize()
    assert (part.facts["databases"]["0"]["expiring"], part.facts["databases"]["3"]["keys"]) == (1, 10)
    assert (part.consistency, part.facts["checksum"], part.facts["libraries"]) == ("quiesced", True, 1)
    before, other = everything(redis_server), everything(redis_server, 3)
    client.delete("hash", "stream")
    client.function_flush()
    client.set("new", "since")
    assert [step.verb for step in plan_restore(manifest, {"database/cache": target}).steps] == [
        "create", "create", "switch", "switch",
    ]  # fmt: skip
    result = put_back(manifest, target, store, tmp_path)
    assert everything(redis_server) == before
    assert everything(redis_server, 3) == other
    assert 3500 < client.ttl("goes") <= 3600
    assert client.fcall("answer", 0) == 42
    assert client.xpending("stream", "group")["pending"] == 10
    assert result.parts[0].kept == f"logical database 1, 2 of {redis_server.adapter().at}"
    assert redis_server.client(1).get("new") == b"since"
    assert redis_server.client(1).hgetall(MARK)[b"of"] == b"0"
    assert not client.exists(MARK)
    assert target.leftovers() == ()


def test_over_tls_with_an_authority_of_its_own(
    redis_server: RedisServer, store: S3Store, tmp_path: Path
) -> None:
    fill(redis_server)
    before = everything(redis_server)
    secure = redis_server.adapter(port=redis_server.tls_port, tls=True, authority=redis_server.authority)
    manifest = snapshot_of([RedisSource("cache", secure)], store, tmp_path / "scratch")
    redis_server.client().flushdb()
    put_back(manifest, RedisTarget("cache", secure, tmp_path / "scratch/restore"), store, tmp_path)
    assert everything(redis_server) == before


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_that_proves_nothing_gets_no_password(
    redis_server: RedisServer, tmp_path: Path, host: str
) -> None:
    """An authority that is unknown here; a name that the certificate is not made out to."""
    authority = redis_server.authority if host == "localhost" else None
    strange = redis_server.adapter(host=host, port=redis_server.tls_port, tls=True, authority=authority)
    for ask in (strange.facts, lambda: strange.save(tmp_path / "rdb", lambda _: None)):
        with pytest.raises(Refused, match="certificate that is not trusted") as caught:
            ask()
        assert "ca_bundle" in caught.value.remedy
    lost = redis_server.adapter(port=redis_server.tls_port, tls=True, authority=tmp_path / "none.pem")
    with pytest.raises(Refused, match="is no file with the authority"):
        lost.facts()


def test_what_earlier_restores_kept_is_no_part_of_the_next_backup(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    """Else each restore would bring back the kept copies of those before it, and need room for them."""
    put_back(manifest, target, store, tmp_path)
    put_back(manifest, target, store, tmp_path, into="drill")
    before = everything(redis_server)
    source = RedisSource("cache", redis_server.adapter())
    later = snapshot_of([source], store, tmp_path / "later")
    assert sorted(later.parts[0].facts["databases"]) == ["0", "3"]
    redis_server.client().set("new", "since")
    put_back(later, target, store, tmp_path)
    assert everything(redis_server) == before


def test_a_snapshot_that_counted_what_was_kept_is_still_restored(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The first version did not know its own marks in a save."""
    put_back(manifest, target, store, tmp_path)
    before = everything(redis_server)
    with monkeypatch.context() as first_version:
        first_version.setattr(redis_saves, "_MARK", b"")
        source = RedisSource("cache", redis_server.adapter())
        later = snapshot_of([source], store, tmp_path / "later")
    assert sorted(later.parts[0].facts["databases"]) == ["0", "1", "2", "3"]
    redis_server.client().set("new", "since")
    put_back(later, target, store, tmp_path)
    assert everything(redis_server) == before
    assert target.leftovers() == ()


def test_what_is_kept_goes_by_its_name_and_nothing_else_does(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    put_back(manifest, target, store, tmp_path)
    put_back(manifest, target, store, tmp_path, into="drill")
    live = [everything(redis_server, number) for number in (0, 3)]
    keeper = KeptNumbers("cache", redis_server.adapter())
    assert KeptNumbers("other", redis_server.adapter()).kept() == ()
    assert [one.detail for one in keeper.kept()] == ["once logical database 0", "once logical database 3"]
    for name in ("cache@0", "0", keeper.kept()[0].name.replace("@1", "@0")):
        with pytest.raises(Refused):
            keeper.remove(name)
    for one in keeper.kept():
        keeper.remove(one.name)
    assert [redis_server.client(number).dbsize() for number in (1, 2)] == [0, 0]
    assert [everything(redis_server, number) for number in (0, 3)] == live
    assert (keeper.kept(), target.leftovers()) == ((), ("cache__restore_drill",))


def test_a_copy_beside_leaves_the_live_keys(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    live = everything(redis_server)
    result = put_back(manifest, target, store, tmp_path, into="drill")
    assert result.parts[0].place == "cache__restore_drill"
    assert everything(redis_server) == live == everything(redis_server, 1)
    assert target.leftovers() == ("cache__restore_drill",)
    target.discard("cache__restore_drill")
    assert [redis_server.client(number).dbsize() for number in (1, 2)] == [0, 0]
    with pytest.raises(PartFailed):
        target.discard("0")
    assert everything(redis_server) == live


def test_one_logical_database_leaves_the_others(
    redis_server: RedisServer, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    fill(redis_server)
    manifest = snapshot_of(
        [RedisSource("cache", redis_server.adapter(), only=3)], store, tmp_path / "scratch"
    )
    assert list(manifest.parts[0].facts["databases"]) == ["3"]
    redis_server.client(3).flushdb()
    redis_server.client().set("new", "since")
    assert put_back(manifest, target, store, tmp_path).parts[0].kept == ""
    assert redis_server.client(3).dbsize() == 10
    assert redis_server.client().get("new") == b"since"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.delete("hash"), "keys that stay instead of"),
        (lambda c: (c.delete("hash"), c.set("other", 1)), "other names or types"),
        (lambda c: (c.delete("hash"), c.set("hash", "text")), "other names or types"),
        (lambda c: c.set("another", 1, ex=999), "2 keys that expire; there were 1"),
    ],
    ids=["gone", "renamed", "another type", "more that expire"],
)
def test_what_is_not_as_saved_fails_the_check(
    redis_server: RedisServer,
    manifest: Manifest,
    target: RedisTarget,
    store: S3Store,
    change: Any,
    words: str,
) -> None:
    part = manifest.parts[0]
    place = target.stage(part, None, fetcher(store, LAYOUT, manifest.snapshot), silent)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [True, True]
    change(redis_server.client(1))
    first, second = target.check(part, place, full=True)
    assert (first.ok, second.ok) == (False, True)
    assert words in first.message
    target.discard(place)
    assert [finding.ok for finding in target.check(part, place, full=True)] == [False, False]


def test_keys_that_have_expired_since_are_no_loss(
    redis_server: RedisServer, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    client = redis_server.client()
    client.set("stays", 1)
    client.set("goes", 1, pxat=int(time.time() * 1000) + 300)
    manifest = snapshot_of([RedisSource("cache", redis_server.adapter())], store, tmp_path / "scratch")
    assert manifest.parts[0].facts["databases"]["0"]["expiring"] == 1
    while client.exists("goes"):
        pass
    result = put_back(manifest, target, store, tmp_path)
    assert "1 keys: as recorded, 1 have expired since" in [one.message for one in result.parts[0].findings]


def test_a_save_that_is_cut_off_or_altered_is_refused(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, tmp_path: Path
) -> None:
    save = tmp_path / "save"
    redis_server.adapter().save(save, lambda done: None)
    content = save.read_bytes()
    for broken in (content[:-20], content[:400] + b"\0" + content[401:]):

        def bring(entry: Any, path: Path, broken: bytes = broken) -> None:
            path.write_bytes(broken)

        with pytest.raises((PartFailed, Refused)):
            target.stage(manifest.parts[0], None, bring, silent)
        for place in target.leftovers():
            target.discard(place)


def test_too_little_memory_is_said_before_anything_is_filled(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    used = redis_server.adapter().facts().memory
    redis_server.client().config_set("maxmemory", used + 100_000)
    with pytest.raises(PartFailed, match="more until it is switched") as caught:
        put_back(manifest, target, store, tmp_path)
    assert "raise maxmemory" in caught.value.remedy
    assert redis_server.client(1).dbsize() == 0


def test_no_empty_logical_database_is_said(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, store: S3Store, tmp_path: Path
) -> None:
    for number in (1, 2, 4, 5, 6):
        redis_server.client(number).set("taken", 1)
    with pytest.raises(PartFailed, match="8 logical databases, and no empty one is left"):
        put_back(manifest, target, store, tmp_path)
    assert target.leftovers() == ()
    assert [redis_server.client(number).dbsize() for number in (1, 7)] == [1, 0]


def test_a_save_of_a_newer_server_is_refused_with_words(
    redis_server: RedisServer, manifest: Manifest, target: RedisTarget, tmp_path: Path
) -> None:
    save = tmp_path / "save"
    redis_server.adapter().save(save, lambda done: None)
    newer = b"REDIS0999" + save.read_bytes()[9:-8]
    newer += crc64(newer).to_bytes(8, "little")

    def bring(entry: Any, path: Path) -> None:
        path.write_bytes(newer)

    with pytest.raises(Refused, match="does not take the key") as caught:
        target.stage(manifest.parts[0], None, bring, silent)
    assert "not older than the one that was saved" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"password": "wrong"}, Refused, "WRONGPASS"),
        ({"password": None}, Refused, "NOAUTH|Authentication required"),
        ({"port": 9}, Unreachable, "does not answer"),
    ],
)
def test_a_server_that_lets_nobody_in(
    redis_server: RedisServer, tmp_path: Path, changes: Any, error: type[Exception], words: str
) -> None:
    adapter = redis_server.adapter(**changes)
    with pytest.raises(error, match=words):
        adapter.save(tmp_path / "save", lambda done: None)
    with pytest.raises(error):
        adapter.facts()


def test_a_user_with_only_the_rights_of_the_how_to_can_do_it(
    redis_server: RedisServer, manifest: Manifest, store: S3Store, tmp_path: Path
) -> None:
    page = Path(__file__).parents[2] / "docs/how-to/back-up-databases.md"
    line = next(one for one in page.read_text().splitlines() if "ACL SETUSER" in one)
    words = line.replace("PASSWORD", "theirs").split()
    redis_server.client().execute_command(*words)
    try:
        adapter = redis_server.adapter(user=words[2], password="theirs")
        source, target = RedisSource("cache", adapter), RedisTarget("cache", adapter, tmp_path / "restore")
        taken = snapshot_of([source], store, tmp_path / "s2")
        put_back(taken, target, store, tmp_path)
        put_back(taken, target, store, tmp_path, into="look")
        target.discard("cache__restore_look")
    finally:
        redis_server.client().execute_command("ACL", "DELUSER", words[2])


def test_a_server_that_is_gone_fails_the_backup_by_name(
    redis_server: RedisServer, store: S3Store, tmp_path: Path
) -> None:
    source = RedisSource("cache", redis_server.adapter(port=free_port()))
    with pytest.raises(PartFailed, match=r"database/cache cannot be read: Redis at .* does not answer"):
        snapshot_of([source], store, tmp_path / "s")
    assert list(store.list("")) == []
