"""What moves with a stack, what stays where it is, what is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy.migration import STEPS, moves, plan_migration, same_place
from ops_pipelines.stack.components import ComposeTarget
from ops_pipelines.stack.model import Stack

POSTGRES = {"kind": "postgres", "ports": {"http": 5432}}


def stack(port: int = 80, **more: Any) -> Stack:
    declared: dict[str, Any] = {
        "stack": "chat",
        "description": "A stack.",
        "owners": ["team:platform"],
        "target": {"kind": "process"},
        "components": {"web": {"kind": "app", "ports": {"http": port}}, "db": POSTGRES},
        "caches": {"models": {"layout": "directory", "path": "/models"}},
        "volumes": {"pages": {"path": "/pages"}},
        "databases": {"keys": {"kind": "postgres", "component": "db"}},
        "buckets": {"events": {"bucket": "events", "endpoint": "http://s3:9000"}},
        **more,
    }
    return Stack.model_validate(declared)


COMPOSE = {"target": {"kind": "compose", "project": "chat"}}
ELSEWHERE = {
    "components": {"web": {"kind": "app"}, "db": {**POSTGRES, "address": "postgres://db.example.com:5432"}}
}


def test_files_come_before_servers_and_what_is_outside_stays() -> None:
    found = moves(stack(), stack(**COMPOSE))
    assert found.files == ("model_cache/models", "volume/pages")
    assert found.servers == ("database/keys",)
    assert found.stay == ("bucket/events",), "the same bucket of the same store, before and after"
    assert found.left == ()


@pytest.mark.parametrize(
    ("old", "new", "kind", "key"),
    [
        ({}, {"volumes": {}}, "left", "volume/pages"),
        (ELSEWHERE, ELSEWHERE, "stay", "database/keys"),
        (ELSEWHERE, {}, "servers", "database/keys"),
        ({}, ELSEWHERE, "servers", "database/keys"),
        ({}, {"buckets": {"events": {"bucket": "others"}}}, "servers", "bucket/events"),
    ],
)  # fmt: skip
def test_one_fact_changed(old: dict[str, Any], new: dict[str, Any], kind: str, key: str) -> None:
    assert key in getattr(moves(stack(**old), stack(**COMPOSE, **new)), kind)


def test_the_plan_names_changed_addresses_and_what_was_done() -> None:
    old, new = stack(), stack(8080, **COMPOSE)
    plan = plan_migration(old, new, ("local", "server"), (), "")
    assert any("clients reach web at http://127.0.0.1:8080 then" in words for words in plan.warnings)
    assert not any("reach db" in words for words in plan.warnings)
    over = plan_migration(old, new, ("local", "server"), STEPS[:2], "20261121T000000Z-abcdef")
    assert [step.verb for step in over.steps][:3] == ["keep", "keep", "keep"]
    assert "20261121T000000Z-abcdef" in over.steps[0].detail


def test_where_two_forms_are_one_place() -> None:
    one = ComposeTarget(kind="compose", project="a")
    far = ComposeTarget.model_validate(
        {"kind": "compose", "project": "a", "engine": {"host": "ssh://ops@box"}}
    )
    assert same_place(one, ComposeTarget(kind="compose", project="a", files=["other.yaml"]))
    assert not same_place(one, ComposeTarget(kind="compose", project="b"))
    assert not same_place(one, far)
    assert not same_place(stack().target, one)
    assert same_place(stack().target, stack().target)
