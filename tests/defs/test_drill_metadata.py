"""The drill's asset: time series, the last drills side by side, and a check that passes for a proof alone."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.defs.drill_metadata import RPO, RTO, Past, bars, history
from tests.defs.kit import failure_of, fleet_of, run_things, small
from tests.engines import snapshot_kit
from tests.servers.seaweed import Seaweed


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([], ""), ([0.0], "▁"), ([7.0], "█"), ([1.0, 7.0, None, 3.5], "▂█?▅"), ([None, None], "??")],
)
def test_bars(values: list[float | None], drawn: str) -> None:
    assert bars(values) == drawn


def test_history_has_the_newest_first_and_bars_from_the_oldest() -> None:
    drills = [
        Past(90000.0, "new", "passed", 14.0, 1.0), Past(0.0, "old", "not generated: no card", None, 25.0),
    ]  # fmt: skip
    lines = history(drills).splitlines()
    assert lines[0] == "RTO `?█`  RPO `█▁`"
    assert lines[4:] == [
        "| 1970-01-02 01:00 | new | passed | 14.0 s | 60.0 min |",
        "| 1970-01-01 00:00 | old | not generated: no card | unknown | 25.0 h |",
    ]


def test_each_drill_adds_a_point_to_both_series(
    tmp_path: Path, seaweed: Seaweed, store: S3Store, bucket: str
) -> None:
    snapshot = snapshot_kit.commit(store, days_ago=1)
    text = small("chat", bucket=bucket, endpoint=seaweed.endpoint)
    given = {"S3_KEY": seaweed.access_key, "S3_SECRET": seaweed.secret_key}
    fleet = fleet_of(tmp_path, {"chat": text}, given)
    missed = fleet_of(tmp_path, {"chat": text + "drill: {objectives: {rpo: 1h}}\n"}, given)
    with dg.DagsterInstance.ephemeral() as instance:
        first = run_things(fleet, "chat", ["drill"], instance=instance)
        second = run_things(missed, "chat", ["drill"], instance=instance)
        records = instance.fetch_materializations(dg.AssetKey(["chat", "drill"]), limit=9).records
    assert first.success, failure_of(first)
    assert "objective/rpo: 24.0 h since the newest snapshot" in failure_of(second)
    found = [record.asset_materialization.metadata for record in records if record.asset_materialization]
    assert [one["verdict"].value for one in found] == ["failed", "passed"]
    for one in found:
        assert one["snapshot"].value == snapshot
        assert isinstance(one[RTO], dg.FloatMetadataValue), "Dagster plots it"
        assert one[RPO].value == pytest.approx(24, abs=0.1)
    assert str(found[0]["last drills"].value).count(snapshot) == 2
    [check] = first.get_asset_check_evaluations()
    assert check.passed
