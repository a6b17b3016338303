"""The drop-down of the restore form is what the bucket holds: a real SeaweedFS, and the sensor's own tick."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.defs.mirror import mirror_sensor
from ops_pipelines.wiring.site import Fleet, Site
from tests.defs.kit import fleet_of, small
from tests.engines.snapshot_kit import LAYOUT, commit
from tests.servers.seaweed import Seaweed


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def _fleet(folder: Path, seaweed: Seaweed, bucket: str, **more: str) -> Fleet:
    texts = {"chat": small("chat", bucket=bucket, endpoint=seaweed.endpoint), **more}
    return fleet_of(folder, texts, {"S3_KEY": seaweed.access_key, "S3_SECRET": seaweed.secret_key})


def _tick(fleet: Fleet, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorExecutionData:
    """One look; what it asks for is done, as the daemon does it."""
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        done = mirror_sensor(fleet).evaluate_tick(context)
    for request in done.dynamic_partitions_requests or ():
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        else:
            for key in request.partition_keys:
                instance.delete_dynamic_partition(request.partitions_def_name, key)
    return done


def _shown(instance: dg.DagsterInstance, stack: str = "chat") -> set[str]:
    return set(instance.get_dynamic_partitions(f"{stack}_snapshots"))


def test_new_ones_appear_and_pruned_ones_go(
    tmp_path: Path, seaweed: Seaweed, bucket: str, store: S3Store, instance: dg.DagsterInstance
) -> None:
    fleet = _fleet(tmp_path, seaweed, bucket)
    first, second = commit(store, days_ago=2, suffix="aaaaaa"), commit(store, days_ago=1, suffix="bbbbbb")
    _tick(fleet, instance)
    assert _shown(instance) == {first, second}
    store.delete([LAYOUT.manifest("chat", first)])
    third = commit(store, suffix="cccccc")
    _tick(fleet, instance)
    assert _shown(instance) == {second, third}
    assert not _tick(fleet, instance).dynamic_partitions_requests, "nothing has changed since"


def test_what_somebody_did_to_the_drop_down_is_put_right(
    tmp_path: Path, seaweed: Seaweed, bucket: str, store: S3Store, instance: dg.DagsterInstance
) -> None:
    fleet, kept = _fleet(tmp_path, seaweed, bucket), commit(store)
    _tick(fleet, instance)
    instance.delete_dynamic_partition("chat_snapshots", kept)
    instance.add_dynamic_partitions("chat_snapshots", ["made-up"])
    _tick(fleet, instance)
    assert _shown(instance) == {kept}


def test_a_bucket_that_cannot_be_read_removes_nothing_and_stops_no_other(
    tmp_path: Path, seaweed: Seaweed, bucket: str, store: S3Store, instance: dg.DagsterInstance
) -> None:
    fleet = _fleet(tmp_path, seaweed, bucket, gone=small("gone"))
    instance.add_dynamic_partitions("gone_snapshots", ["20200101T000000Z-aaaaaa"])
    kept = commit(store)
    done = _tick(fleet, instance)
    assert _shown(instance, "gone") == {"20200101T000000Z-aaaaaa"}
    assert _shown(instance) == {kept}
    assert "not readable: gone" in (done.skip_message or "")


def test_a_bucket_that_is_refused_removes_nothing(
    tmp_path: Path, seaweed: Seaweed, bucket: str, instance: dg.DagsterInstance
) -> None:
    text = small("chat", bucket=bucket, endpoint=seaweed.endpoint)
    fleet = fleet_of(tmp_path, {"chat": text}, {"S3_KEY": seaweed.access_key, "S3_SECRET": "wrong"})
    instance.add_dynamic_partitions("chat_snapshots", ["20200101T000000Z-aaaaaa"])
    _tick(fleet, instance)
    assert _shown(instance) == {"20200101T000000Z-aaaaaa"}


def test_a_fault_of_ours_in_one_stack_stops_no_other(
    tmp_path: Path, seaweed: Seaweed, bucket: str, store: S3Store, instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from ops_pipelines.wiring import snapshots

    real = snapshots.restorable
    monkeypatch.setattr(snapshots, "restorable", lambda site: _odd(real, site))
    fleet = _fleet(tmp_path, seaweed, bucket, odd=small("odd"))
    kept = commit(store)
    _tick(fleet, instance)
    assert _shown(instance) == {kept}


def _odd(real: Callable[[Site], list[str]], site: Site) -> list[str]:
    if site.name == "odd":
        raise KeyError("a fault of ours")
    return real(site)


def test_a_broken_file_is_said_once_and_again_when_its_mistake_is_another(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    mistake = small("third").replace("kind: process", "kind: proces")
    first = _tick(fleet_of(tmp_path, {"third": mistake}), instance)
    [event] = first.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert not event.passed
    assert event.asset_key == dg.AssetKey(["third", "stack_file"])
    assert "third.stack.yaml:4:" in (event.description or "")
    again = _tick(fleet_of(tmp_path, {"third": mistake}), instance, first.cursor)
    assert not again.asset_events
    other = _tick(fleet_of(tmp_path, {"third": mistake + "odd: 1\n"}), instance, again.cursor)
    assert len(other.asset_events) == 1
    mended = _tick(fleet_of(tmp_path, {"third": small("third")}), instance, other.cursor)
    assert json.loads(mended.cursor or "") == []
