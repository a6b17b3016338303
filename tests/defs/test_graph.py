"""The graph of Obelisk is the one that is committed: a change of it is seen by whoever reviews."""

from __future__ import annotations

import dataclasses
import difflib

import dagster as dg
import pytest

from ops_pipelines.defs.build import build
from ops_pipelines.wiring.site import Fleet
from tests.defs.graph import KEPT, rendered
from tests.defs.kit import obelisk


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return obelisk()


def test_graph_is_the_committed_one(fleet: Fleet) -> None:
    now, kept = rendered(build(fleet)), KEPT.read_text()
    change = "".join(difflib.unified_diff(kept.splitlines(True), now.splitlines(True), "committed", "now"))
    assert not change, f"where that is meant, run `python -m tests.defs.graph`:\n{change}"


def test_every_asset_says_what_it_is_and_who_is_asked(fleet: Fleet) -> None:
    graph = build(fleet).get_repository_def().asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners == ["team:platform"], key
        assert node.kinds, key


def test_schedules_are_off_where_this_version_cannot_act() -> None:
    fleet = obelisk(
        OPS_PROFILES="obelisk=dev",
        LITELLM_MASTER_KEY="a", LITELLM_SALT_KEY="b", OBELISK_POSTGRES_PASSWORD="c", OPENAI_API_KEY="d",
    )  # fmt: skip
    loaded = fleet.stacks[0]
    target = loaded.stack.target.model_copy(update={"files": ["a-file-that-is-not-there.yaml"]})
    changed = dataclasses.replace(loaded, stack=loaded.stack.model_copy(update={"target": target}))
    for stack, status in (
        (loaded, dg.DefaultScheduleStatus.RUNNING),
        (changed, dg.DefaultScheduleStatus.STOPPED),
    ):
        schedules = build(dataclasses.replace(fleet, stacks=(stack,))).get_repository_def().schedule_defs
        assert len(schedules) == 6
        assert {one.default_status for one in schedules} == {status}


def test_a_schedule_that_is_null_is_not_there(fleet: Fleet) -> None:
    loaded = fleet.stacks[0]
    never = loaded.stack.observe.model_copy(update={"schedule": None})
    changed = dataclasses.replace(loaded, stack=loaded.stack.model_copy(update={"observe": never}))
    schedules = build(dataclasses.replace(fleet, stacks=(changed,))).get_repository_def().schedule_defs
    assert "obelisk__observe" not in {one.name for one in schedules}
    assert len(schedules) == 5


def test_schedules_ask_for_their_own_stack_only(fleet: Fleet) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for schedule in build(fleet).get_repository_def().schedule_defs:
            with dg.build_schedule_context(instance) as context:
                [request] = schedule.evaluate_tick(context).run_requests or []
            assert request.tags["ops-pipelines/stack"] == "obelisk"
            assert {key.path[0] for key in request.asset_selection or ()} <= {"obelisk"}
