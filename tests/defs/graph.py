"""The whole asset graph as text. `python -m tests.defs.graph` writes the one that is committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from ops_pipelines.defs.build import build
from tests.defs.kit import obelisk

KEPT = Path(__file__).with_name("obelisk.graph.txt")


def rendered(definitions: dg.Definitions) -> str:
    """Assets, checks, schedules, sensors and jobs, a line a fact."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    lines: list[str] = []
    for key in sorted(graph.get_all_asset_keys()):
        lines += _asset(graph.get(key))
        lines += [f"  check {c.name} - {graph.get_check_spec(c).description}" for c in _checks(graph, key)]
    lines += _automation(repository)
    lines += [
        f"job {job.name} - {job.description}"
        for job in sorted(repository.get_all_jobs(), key=lambda j: j.name)
    ]
    return "\n".join(lines) + "\n"


def _asset(node: dg.AssetNode) -> Iterator[str]:
    yield f"asset {node.key.to_user_string()}"
    yield f"  {node.description}"
    yield f"  group {node.group_name}, kinds {', '.join(sorted(node.kinds))}, owners {', '.join(node.owners)}"
    yield f"  after {', '.join(sorted(key.to_user_string() for key in node.parent_keys)) or 'nothing'}"
    tags = ", ".join(f"{key}={value}" for key, value in sorted(node.tags.items()))
    yield f"  {'made here' if node.is_materializable else 'reported'}, tags {tags}"
    if node.partitions_def is not None:
        yield f"  partitions {node.partitions_def.name}"


def _checks(graph: dg.AssetGraph, key: dg.AssetKey) -> list[dg.AssetCheckKey]:
    return sorted((check for check in graph.asset_check_keys if check.asset_key == key), key=lambda c: c.name)


def _automation(repository: dg.RepositoryDefinition) -> Iterator[str]:
    for schedule in sorted(repository.schedule_defs, key=lambda one: one.name):
        when = f"{schedule.cron_schedule} {schedule.execution_timezone}"
        yield f"schedule {schedule.name}: {when}, {schedule.default_status.value}, {schedule.job_name}"
        yield f"  {schedule.description}"
    for sensor in sorted(repository.sensor_defs, key=lambda one: one.name):
        every = f"every {sensor.minimum_interval_seconds} s"
        yield f"sensor {sensor.name}: {every}, {sensor.default_status.value}"
        yield f"  {sensor.description}"


if __name__ == "__main__":
    KEPT.write_text(rendered(build(obelisk())))
    print(KEPT)
