"""What a deploy would do to containers: each row flips one fact of a project that runs as it is wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_pipelines.policy.compose_plan import Container, WantedService, plan_compose, replica_health

WANTED = WantedService("web", "h1", "web:1", "sha256:1", replicas=2)
JOB = replace(WANTED, job=True)
FIRST = Container("p-web-1", "web", 1, "h1", "web:1", "sha256:1", "running", "healthy")
HALF = "0123456789ab_p-web-1"
"""How Compose names the successor of `p-web-1` until that is gone."""
BOTH = (FIRST, replace(FIRST, name="p-web-2", number=2))


def verbs(wanted: Any, containers: Any) -> list[tuple[str, str]]:
    return [(step.verb, step.subject) for step in plan_compose("t", wanted, containers).steps]


@pytest.mark.parametrize(
    ("wanted", "containers", "expected"),
    [
        (WANTED, BOTH, [("keep", "component/web")]),
        (WANTED, (), [("create", "component/web")]),
        (replace(WANTED, image_id=None), (), [("fetch", "image/web:1"), ("create", "component/web")]),
        (replace(WANTED, config_hash="h2"), BOTH, [("replace", "component/web")]),
        (replace(WANTED, image="web:2", image_id="sha256:2"), BOTH, [("replace", "component/web")]),
        (replace(WANTED, image_id="sha256:2"), BOTH, [("replace", "component/web")]),
        (replace(WANTED, image_id=None), BOTH, [("keep", "component/web")]),
        (
            replace(WANTED, image_id=None, config_hash="h2"),
            BOTH,
            [("fetch", "image/web:1"), ("replace", "component/web")],
        ),
        (WANTED, BOTH[:1], [("create", "component/web")]),
        (replace(WANTED, replicas=1), BOTH, [("remove", "component/web")]),
        (replace(WANTED, replicas=0), BOTH, [("remove", "component/web")]),
        (replace(WANTED, replicas=0), (), [("keep", "component/web")]),
        (WANTED, (replace(FIRST, state="exited", exit_code=1), BOTH[1]), [("start", "component/web")]),
        (WANTED, (replace(FIRST, state="exited", exit_code=0), BOTH[1]), [("start", "component/web")]),
        (JOB, (replace(FIRST, state="exited", exit_code=0), BOTH[1]), [("keep", "component/web")]),
        (JOB, (replace(FIRST, state="exited", exit_code=3), BOTH[1]), [("start", "component/web")]),
        (WANTED, (*BOTH, replace(FIRST, service="old")), [("keep", "component/web"), ("remove", "component/old")]),
        (WANTED, (*BOTH, replace(FIRST, service="old", oneoff=True)), [("keep", "component/web")]),
    ],
)  # fmt: skip
def test_plan(
    wanted: WantedService, containers: tuple[Container, ...], expected: list[tuple[str, str]]
) -> None:
    assert verbs([wanted], containers) == expected


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        (
            (*BOTH, replace(FIRST, name=HALF, state="created")),
            [("remove", f"container/{HALF}"), ("keep", "component/web")],
        ),
        # The old one is gone already: the successor takes its place.
        ((replace(FIRST, name=HALF, state="created"), BOTH[1]), [("start", "component/web")]),
        ((replace(FIRST, name=HALF, state="created", config_hash="h0"), BOTH[1]), [("replace", "component/web")]),
        # One that ran is nobody's leftover, whatever it is called.
        ((replace(FIRST, name=HALF), BOTH[1]), [("keep", "component/web")]),
    ],
)  # fmt: skip
def test_what_a_killed_deploy_left(
    containers: tuple[Container, ...], expected: list[tuple[str, str]]
) -> None:
    assert verbs([WANTED], containers) == expected


def test_volumes_that_are_not_there_are_made_and_none_is_ever_removed() -> None:
    steps = plan_compose("t", [WANTED], BOTH, volumes=["a", "b"], present_volumes=["b", "old"]).steps
    assert [(one.verb, one.subject) for one in steps] == [("create", "volume/a"), ("keep", "component/web")]


@pytest.mark.parametrize(
    ("change", "well"),
    [
        ({}, True),
        ({"health": "none"}, True),
        ({"health": "starting"}, None),
        ({"health": "unhealthy"}, False),
        ({"state": "restarting"}, False),
        ({"state": "created"}, False),
        ({"state": "exited", "exit_code": 0}, True),
        ({"state": "exited", "exit_code": 137}, False),
    ],
)
def test_health_of_a_container(change: dict[str, Any], well: bool | None) -> None:
    assert replica_health(replace(FIRST, **change))[0] is well
