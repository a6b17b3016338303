"""A stack with a volume and a bucket, backed up and put back as its user does it, and with the bucket alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pyrage
import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import IdentityMissing, PartFailed
from ops_pipelines.wiring import bucket as bucket_only
from ops_pipelines.wiring import drills, restores, snapshots
from ops_pipelines.wiring.site import Site
from tests.caches import put
from tests.servers.seaweed import Seaweed
from tests.wiring.stand import Stand


@pytest.fixture
def objects(seaweed: Seaweed) -> S3Store:
    name = f"langfuse-{secrets.token_hex(4)}"
    seaweed.client().create_bucket(Bucket=name)
    store = seaweed.store(name)
    store.put("events/one", b"first")
    return store


@pytest.fixture
def site(stand: Stand, objects: S3Store, seaweed: Seaweed) -> Site:
    data = stand.folder / "data"
    (data / "empty").mkdir(parents=True)
    (data / os.fsdecode(b"caf\xe9")).write_bytes(b"coffee")
    (data / "noise.log").write_bytes(b"noise")
    web = stand.web()
    web["command"] = [*web["command"], "{volume.data}"]
    return stand.change(
        components={"web": web},
        volumes={
            "data": {"path": str(data), "exclude": ["*.log"]},
            "cache": {"path": "nowhere", "backup": "none", "reason": "made anew"},
        },
        buckets={
            "events": {
                "bucket": objects.name.split("/")[2].split(" ")[0], "prefix": "events/",
                "endpoint": seaweed.endpoint, "access_key": "key", "secret_key": "secret",
            }
        },
    )  # fmt: skip


def spoil(stand: Stand, objects: S3Store) -> None:
    (stand.folder / "data" / os.fsdecode(b"caf\xe9")).unlink()
    (stand.folder / "data" / "empty").rmdir()
    objects.put("events/one", b"spoilt")
    objects.put("events/two", b"since")


def test_both_come_back(stand: Stand, site: Site, objects: S3Store) -> None:
    manifest = snapshots.backup(site, by="test")
    assert {part.key for part in manifest.parts} == {"volume/data", "bucket/events", "configuration/chat"}
    spoil(stand, objects)
    plan = restores.plan_restore(site, manifest.snapshot)
    assert "restart component/web" in [f"{step.verb} {step.subject}" for step in plan.steps]
    restores.restore(site, manifest.snapshot, by="test")
    found = {str(path.relative_to(stand.folder / "data")) for path in (stand.folder / "data").rglob("*")}
    assert found == {os.fsdecode(b"caf\xe9"), "empty"}
    assert objects.get("events/one")[0] == b"first"
    assert objects.get("events/two")[0] == b"since"


def test_with_the_bucket_alone(stand: Stand, site: Site, tmp_path: Path) -> None:
    manifest = snapshots.backup(site, by="test")
    opened = bucket_only.OpenBucket(stand.store, stand.layout)
    bucket_only.restore(opened, "chat", manifest.snapshot, into=tmp_path / "new", progress=silent)
    volume = tmp_path / "new" / "volume" / "data"
    assert (volume / os.fsdecode(b"caf\xe9")).read_bytes() == b"coffee"
    assert (volume / "empty").is_dir()
    assert (tmp_path / "new" / "bucket" / "events" / "one").read_bytes() == b"first"


def test_a_folder_that_is_gone_is_no_snapshot(stand: Stand, site: Site) -> None:
    (stand.folder / "data").rename(stand.folder / "elsewhere")
    with pytest.raises(PartFailed, match="is not there"):
        snapshots.backup(site, by="test")
    assert snapshots.listed(site) == ()


def test_a_drill_opens_both_and_a_cache_and_without_the_key_each_says_which_is_needed(
    stand: Stand, site: Site, objects: S3Store
) -> None:
    pair = pyrage.x25519.Identity.generate()
    public = str(pair.to_public())
    stand.environ["AGE_KEY"] = str(pair)
    put(stand.folder / "models" / "m" / "weights.bin", b"precious" * 100)
    encrypt = {"recipients": [public], "parts": ["volumes", "buckets", "caches", "configuration"]}
    site = stand.change(
        secrets={**stand.declared["secrets"], "age-key": "${AGE_KEY}"},
        caches={"models": {"layout": "directory", "path": str(stand.folder / "models")}},
        backup={**stand.declared["backup"], "encrypt": {**encrypt, "identity": "age-key"}},
    )
    manifest = snapshots.backup(site, by="test")
    assert {part.key: part.recipients for part in manifest.parts} == dict.fromkeys(
        ["volume/data", "bucket/events", "model_cache/models", "configuration/chat"], (public,)
    )
    everything = b"".join(stand.store.get(info.key)[0] for info in stand.store.list(""))
    for hidden in (b"coffee", b"first", b"precious", b"A web server."):
        assert hidden not in everything
    report = drills.drill(site, full=True)
    assert [one for one in report.findings if one.ok is not True] == []
    assert {one.part for one in report.parts} == {part.key for part in manifest.parts}
    assert report.verdict == "passed"
    assert [info.key for info in objects.list("")] == ["events/one"], "nothing is left of the drill"
    spoil(stand, objects)
    restores.restore(site, manifest.snapshot, parts=["bucket/events", "volume/data"], by="test")
    assert objects.get("events/one")[0] == b"first"

    locked = stand.change(backup={**stand.declared["backup"], "encrypt": encrypt})
    for part in manifest.parts:
        with pytest.raises(IdentityMissing, match=f"{part.key} is encrypted for {public}, and no identity"):
            restores.restore(locked, manifest.snapshot, parts=[part.key], by="test")


def test_a_drill_that_fails_half_way_leaves_nothing_in_the_bucket(
    site: Site, objects: S3Store, stand: Stand
) -> None:
    objects.put("events/zwei", b"second")
    part = snapshots.backup(site, by="test").part("bucket/events")
    assert part is not None
    stand.store.delete([stand.layout.blob(part.files[-1].sha256)])
    report = drills.drill(site)
    assert report.verdict == "failed"
    assert not [one for one in report.findings if "cleaned up" in one.message]
    assert [info.key for info in objects.list("")] == ["events/one", "events/zwei"]
