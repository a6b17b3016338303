"""A file with a mistake is shown with its place, and no other stack suffers from it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from ops_pipelines.defs.build import build
from tests.defs.kit import fleet_of, run_things, small

MISTAKE = small("third").replace("kind: process", "kind: proces")


def _groups(definitions: dg.Definitions) -> dict[str, set[str]]:
    graph = definitions.get_repository_def().asset_graph
    found: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        found.setdefault(key.path[0], set()).add(key.path[-1])
    return found


def test_one_broken_file_of_three_stops_no_other(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, {"first": small("first"), "second": small("second"), "third": MISTAKE})
    definitions = build(fleet)
    things = {"artifact", "deployment", "snapshot", "drill", "restore"}
    assert _groups(definitions) == {"first": things, "second": things, "third": {"stack_file"}}
    schedules = definitions.get_repository_def().schedule_defs
    assert {one.tags["ops-pipelines/stack"] for one in schedules} == {"first", "second"}


def test_the_check_says_file_and_line(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, {"third": MISTAKE})
    key = dg.AssetCheckKey(dg.AssetKey(["third", "stack_file"]), "parses")
    result = run_things(fleet, "third", [], checks=[key])
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    line = next(number for number, text in enumerate(MISTAKE.splitlines(), 1) if "proces" in text)
    assert f"third.stack.yaml:{line}:" in (evaluation.description or "")


def test_the_asset_says_it_too(tmp_path: Path) -> None:
    graph = build(fleet_of(tmp_path, {"third": MISTAKE})).get_repository_def().asset_graph
    node = graph.get(dg.AssetKey(["third", "stack_file"]))
    assert "third.stack.yaml" in (node.description or "")
    assert "did you mean `process`?" in (node.description or "")


def test_names_that_dagster_cannot_tell_apart_do_not_take_the_location_down(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, {"one": small("a-b"), "two": small("a_b")})
    found = _groups(build(fleet))
    assert found["a-b"] == {"artifact", "deployment", "snapshot", "drill", "restore"}
    [shown] = [things for name, things in found.items() if name != "a-b"]
    assert shown == {"stack_file"}


def test_no_stack_at_all(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    assert _groups(build(fleet_of(tmp_path, {}))) == {}
