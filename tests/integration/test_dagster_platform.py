"""The embedded default as a user has it: every service real, Dagster asked over GraphQL as its own pages ask it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_pipelines.wiring import snapshots
from ops_pipelines.wiring.connect import vector_store
from tests.servers.dagster import Platform, Run
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_ASSETS = """
{ assetNodes { assetKey { path } groupName kinds description owners { ... on TeamAssetOwner { team } }
  assetMaterializations(limit: 1) { metadataEntries { label } }
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization {
    status evaluation { description severity } } } } } } }
"""
_AUTOMATION = """
{ schedulesOrError(repositorySelector: {repositoryLocationName: "ops_pipelines", repositoryName: "__repository__"}) {
    ... on Schedules { results { name cronSchedule executionTimezone scheduleState { status
      ticks(limit: 5) { status runIds error { message } } } } } }
  sensorsOrError(repositorySelector: {repositoryLocationName: "ops_pipelines", repositoryName: "__repository__"}) {
    ... on Sensors { results { name sensorState { status ticks(limit: 5) { status error { message } } } } } } }
"""
_SNAPSHOTS = """
{ assetNodeOrError(assetKey: {path: ["obelisk", "restore"]}) { ... on AssetNode { partitionKeys
  assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions } } } } }
"""
_DRY_TICK = """
mutation Tick($name: String!) { scheduleDryRun(selectorData: {scheduleName: $name,
    repositoryLocationName: "ops_pipelines", repositoryName: "__repository__"}, timestamp: 1767229200) {
  __typename ... on PythonError { message }
  ... on DryRunInstigationTick { evaluationResult { error { message } runRequests {
    runConfigYaml jobName tags { key value } assetSelection { path } assetChecks { name assetKey { path } } } } } } }
"""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message } } }
"""
_RUNS = """
{ runsOrError(limit: 100) { ... on Runs { results { runId status tags { key value } } } } }
"""


def _nodes(platform: Platform) -> dict[str, dict[str, Any]]:
    nodes = platform.dagster.ask(_ASSETS)["assetNodes"]
    return {"/".join(node["assetKey"]["path"]): node for node in nodes}


def _drop_down(platform: Platform) -> list[str]:
    keys: list[str] = platform.dagster.ask(_SNAPSHOTS)["assetNodeOrError"]["partitionKeys"]
    return keys


def _checks(node: dict[str, Any]) -> dict[str, Any]:
    return {
        one["name"]: one["executionForLatestMaterialization"] for one in node["assetChecksOrError"]["checks"]
    }


def _restore(platform: Platform, snapshot: str, **config: Any) -> Run:
    return platform.run(["restore"], {"restore": config}, tags={"dagster/partition": snapshot})


def _content(platform: Platform) -> dict[str, tuple[float, ...]]:
    store = vector_store(platform.site, "obelisk_docs")
    rows = [row for batch in store.rows("obelisk_docs", batch=100) for row in batch]
    return {str(row["id"]): tuple(row["vector"]) for row in rows}


def test_first_run_leaves_one_graph_from_model_blob_to_drill(platform: Platform) -> None:
    nodes = _nodes(platform)
    obelisk = {key.split("/")[1]: node for key, node in nodes.items() if key.startswith("obelisk/")}
    assert set(obelisk) == {
        "artifact", "model_cache", "deployment", "collections", "scaling", "snapshot", "drill", "restore",
    }  # fmt: skip
    for thing, node in obelisk.items():
        assert node["groupName"] == "obelisk", thing
        assert node["kinds"], thing
        assert node["description"], thing
        assert node["owners"] == [{"team": "platform"}], thing
    for thing in ("artifact", "model_cache", "deployment", "collections", "snapshot", "drill"):
        assert obelisk[thing]["assetMaterializations"][0]["metadataEntries"], thing


def test_first_run_leaves_every_check_green(platform: Platform) -> None:
    ended: dict[str, str] = {}

    def all_ended() -> bool:
        found = {
            f"{key}:{name}": (result or {}).get("status")
            for key, node in _nodes(platform).items()
            if key.startswith("obelisk/")
            for name, result in _checks(node).items()
            if not key.endswith("/scaling")  # its check is the sensor's, which may not have looked yet
        }
        assert len(found) == 7
        assert None not in found.values(), found
        # The observation of this minute may be on its way: then a check that it repeats is in progress.
        ended.update({name: status for name, status in found.items() if status != "IN_PROGRESS"})
        return ended.keys() == found.keys()

    until(all_ended, what="every check to end", seconds=180)
    assert set(ended.values()) == {"SUCCEEDED"}, ended


def test_broken_file_is_one_failed_check_with_file_and_line(platform: Platform) -> None:
    def shown() -> bool:
        return _checks(_nodes(platform)["broken/stack_file"])["parses"] is not None

    until(shown, what="the mirror sensor to show the broken file", seconds=120)
    result = _checks(_nodes(platform)["broken/stack_file"])["parses"]
    assert result["status"] == "FAILED"
    assert result["evaluation"]["severity"] == "ERROR"
    assert "broken.stack.yaml:4:16:" in result["evaluation"]["description"]


def test_schedules_and_sensors_are_on(platform: Platform) -> None:
    found = platform.dagster.ask(_AUTOMATION)
    schedules = {one["name"]: one for one in found["schedulesOrError"]["results"]}
    assert {name: one["cronSchedule"] for name, one in schedules.items()} == {
        "obelisk__observe": "* * * * *",
        "obelisk__nightly_backup": "0 2 * * *",
        "obelisk__light_drill": "0 3 * * *",
        "obelisk__full_drill": "0 4 * * 0",
        "obelisk__verify": "0 5 * * *",
        "obelisk__prune": "30 5 * * *",
    }
    assert {one["scheduleState"]["status"] for one in schedules.values()} == {"RUNNING"}
    sensors = {one["name"]: one["sensorState"]["status"] for one in found["sensorsOrError"]["results"]}
    assert sensors == dict.fromkeys(("fleet_failures", "fleet_mirror", "fleet_scaling"), "RUNNING")


def test_sensors_tick_without_error(platform: Platform) -> None:
    def ticks() -> dict[str, list[dict[str, Any]]]:
        found = platform.dagster.ask(_AUTOMATION)["sensorsOrError"]["results"]
        return {one["name"]: one["sensorState"]["ticks"] for one in found}

    def ended() -> bool:
        return all(any(tick["status"] != "STARTED" for tick in done) for done in ticks().values())

    until(ended, what="a tick of every sensor to end", seconds=120)
    for name, done in ticks().items():
        assert {tick["status"] for tick in done} <= {"SUCCESS", "SKIPPED", "STARTED"}, (name, done)


def test_scaling_sensor_records_a_decision_with_its_signals(platform: Platform) -> None:
    def decisions() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _nodes(platform)["obelisk/scaling"]["assetMaterializations"]
        return found

    # A look before the first deployment knows of no replica, and is recorded as an observation: no decision.
    until(lambda: decisions() != [], what="a decision of the scaling sensor", seconds=120)
    assert "signals" in {entry["label"] for entry in decisions()[0]["metadataEntries"]}


def test_restore_without_apply_shows_its_plan_and_changes_nothing(platform: Platform) -> None:
    snapshot, physical = snapshots.newest(platform.site), _physical(platform)
    run = _restore(platform, snapshot)
    assert run.status == "SUCCESS", run.failure
    [seen] = run.of("ObservationEvent")
    assert seen["partition"] == snapshot
    entries = {entry["label"]: entry for entry in seen["metadataEntries"]}
    records = [json.loads(record) for record in entries["plan"]["table"]["records"]]
    assert {"collection/obelisk_docs", "model_cache/models"} <= {record["what"] for record in records}
    changing = [record for record in records if record["action"] not in ("keep", "check")]
    assert entries["changes"]["intValue"] == len(changing) > 0
    assert not run.of("MaterializationEvent")
    assert _materialized_partitions(platform) == []
    assert _physical(platform) == physical


def test_restore_with_apply_switches_to_a_new_collection_with_the_same_rows(platform: Platform) -> None:
    snapshot, physical, before = snapshots.newest(platform.site), _physical(platform), _content(platform)
    assert before
    run = _restore(platform, snapshot, apply=True, parts=["collection/obelisk_docs"])
    assert run.status == "SUCCESS", run.failure
    assert _physical(platform) != physical
    assert _content(platform) == before
    assert _materialized_partitions(platform) == [snapshot]


def test_restore_of_some_rows_under_another_name(platform: Platform) -> None:
    snapshot, physical, before = snapshots.newest(platform.site), _physical(platform), _content(platform)
    some = sorted(before)[: len(before) // 2]
    words = ", ".join(f'"{key}"' for key in some)
    asked = {"parts": ["collection/obelisk_docs"], "as_name": "docs_of_may", "filter": f"id in [{words}]"}
    run = _restore(platform, snapshot, apply=True, **asked)
    assert run.status == "SUCCESS", run.failure
    store = vector_store(platform.site, "obelisk_docs")
    found = [str(row["id"]) for page in store.rows("docs_of_may", fields=()) for row in page]
    assert sorted(found) == some
    assert _physical(platform) == physical


def test_restore_refuses_unknown_none_and_many(platform: Platform) -> None:
    newest, physical = snapshots.newest(platform.site), _physical(platform)
    cases: list[tuple[dict[str, str], dict[str, Any], str]] = [
        ({"dagster/partition": "20200101T000000Z-ffffff"}, {}, "20200101T000000Z-ffffff"),
        ({}, {}, "no snapshot of obelisk was chosen"),
        (
            {"dagster/partition": newest, "dagster/backfill": "some"},
            {"apply": True},
            "a backfill cannot restore",
        ),
        (
            {"dagster/partition": newest},
            {"apply": True, "filter": "n > 1"},
            "name it: `--part collection/NAME`",
        ),
    ]
    begun = [platform.begin(["restore"], {"restore": config}, tags=tags) for tags, config, _ in cases]
    for run, (_, _, words) in zip(begun, cases, strict=True):
        ended = platform.ended(run)
        assert ended.status == "FAILURE"
        assert words in ended.failure
    assert _physical(platform) == physical
    told = f"obelisk: run {begun[0][:8]} failed"
    until(lambda: told in _logs(platform), what="the failure sensor to tell the log", seconds=120)


def _logs(platform: Platform) -> str:
    found = (platform.home / "supervisor").rglob("ops.dagster-*.log")
    return "".join(path.read_text(errors="replace") for path in found)


def test_snapshots_of_the_command_line_appear_and_deleted_keys_come_back(platform: Platform) -> None:
    made = platform.cli("backup", "obelisk")["snapshot"]
    until(lambda: made in _drop_down(platform), what="the new snapshot in the drop-down", seconds=120)
    assert sorted(_drop_down(platform)) == snapshots.restorable(platform.site)


def _processes(platform: Platform) -> dict[str, int]:
    """The process of each replica that runs."""
    return {row["replica"]: row["pid"] for row in platform.cli("status", "obelisk")["replicas"]}


def test_deploy_without_apply_plans_and_a_healthy_stack_is_left_alone(platform: Platform) -> None:
    before = _processes(platform)
    run = platform.run(["deployment"])
    assert run.status == "SUCCESS", run.failure
    assert [event["assetKey"]["path"][-1] for event in run.of("MaterializationEvent")] == ["deployment"]
    assert _processes(platform) == before


def test_materialize_all_leaves_what_runs_and_what_is_kept(platform: Platform) -> None:
    processes = _processes(platform)
    physical, content, kept = _physical(platform), _content(platform), snapshots.restorable(platform.site)
    things = ["artifact", "model_cache", "deployment", "collections", "snapshot", "drill"]
    nodes = _nodes(platform)
    # With every check of them, as the button of the page asks.
    run = platform.run(
        things, checks=[(thing, name) for thing in things for name in _checks(nodes[f"obelisk/{thing}"])]
    )
    assert run.status == "SUCCESS", run.failure
    assert _processes(platform) == processes
    assert (_physical(platform), _content(platform)) == (physical, content)
    assert set(kept) < set(snapshots.restorable(platform.site)), "it adds a snapshot, and removes none"
    assert {event["assetKey"]["path"][-1] for event in run.of("MaterializationEvent")} == set(things)


def test_what_the_schedules_ask_for_really_runs(platform: Platform) -> None:
    asked = ("nightly_backup", "light_drill", "full_drill", "verify", "prune", "observe")
    begun = {schedule: _launch_as_scheduled(platform, schedule) for schedule in asked}
    for schedule, run in begun.items():
        ended = platform.ended(run)
        assert ended.status == "SUCCESS", (schedule, ended.failure)


def _launch_as_scheduled(platform: Platform, schedule: str) -> str:
    """Evaluate a schedule in the code server, and launch what it asks for."""
    tick = platform.dagster.ask(_DRY_TICK, {"name": f"obelisk__{schedule}"})["scheduleDryRun"]
    assert tick["__typename"] == "DryRunInstigationTick", tick
    [request] = tick["evaluationResult"]["runRequests"]
    own = {"verify": "verify", "prune": "prune"}
    selector: dict[str, Any] = {
        "repositoryLocationName": "ops_pipelines",
        "repositoryName": "__repository__",
        "jobName": own.get(schedule, "__ASSET_JOB"),
    }
    if schedule not in own:
        selector["assetSelection"] = [{"path": key["path"]} for key in request["assetSelection"] or []]
        selector["assetCheckSelection"] = [
            {"name": check["name"], "assetKey": {"path": check["assetKey"]["path"]}}
            for check in request["assetChecks"] or []
        ] or None
    params = {
        "selector": selector, "runConfigData": request["runConfigYaml"], "mode": "default",
        "executionMetadata": {"tags": request["tags"]},
    }  # fmt: skip
    answer = platform.dagster.ask(_LAUNCH, {"params": params})["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run: str = answer["run"]["runId"]
    return run


def test_daemon_ticks_and_its_observation_runs(platform: Platform) -> None:
    def of_schedule(run: dict[str, Any]) -> bool:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        return tags.get("dagster/schedule_name") == "obelisk__observe"

    def ticked() -> list[str]:
        runs = platform.dagster.ask(_RUNS)["runsOrError"]["results"]
        return [run["runId"] for run in runs if of_schedule(run)]

    until(ticked, what="a run of the schedule `observe`", seconds=150)
    run = platform.ended(ticked()[-1])
    assert run.status == "SUCCESS", run.failure
    assert len(run.of("AssetCheckEvaluationEvent")) == 5


def _physical(platform: Platform) -> str:
    state = vector_store(platform.site, "obelisk_docs").state("obelisk_docs")
    assert state is not None
    return state.name


def _materialized_partitions(platform: Platform) -> list[str]:
    found = platform.dagster.ask(_SNAPSHOTS)["assetNodeOrError"]["assetPartitionStatuses"]
    keys: list[str] = found["materializedPartitions"]
    return keys
