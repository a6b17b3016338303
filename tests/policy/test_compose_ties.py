"""What becomes of services that hang on one that is made anew; each row flips one fact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_pipelines.policy.compose_plan import Container, WantedService, plan_compose
from ops_pipelines.policy.compose_project import Project
from ops_pipelines.policy.compose_ties import Ties, remakes_dependents, ties_of, with_containers

BASE = WantedService("base", "new", "b:1", "sha256:1")
OTHER = WantedService("other", "h", "o:1", "sha256:2")
LAST = WantedService("last", "h", "o:1", "sha256:2", ties=Ties(uses=frozenset({"other"})))
RUNNING = Container("p-base-1", "base", 1, "old", "b:1", "sha256:1", "running", id="1")
THERE = (
    RUNNING,
    replace(RUNNING, name="p-other-1", service="other", config_hash="h", image="o:1", image_id="sha256:2"),
    replace(RUNNING, name="p-last-1", service="last", config_hash="h", image="o:1", image_id="sha256:2"),
)
AFTER = Ties(after=frozenset({"base"}))
RESTARTS = replace(AFTER, restarts=frozenset({"base"}))
USES = Ties(uses=frozenset({"base"}), after=frozenset({"base"}))


@pytest.mark.parametrize(
    ("ties", "old_compose", "expected"),
    [
        (Ties(), False, ["replace", "keep", "keep"]),
        (Ties(), True, ["replace", "keep", "keep"]),
        (AFTER, False, ["replace", "keep", "keep"]),
        (AFTER, True, ["replace", "replace", "replace"]),
        (RESTARTS, False, ["replace", "restart", "keep"]),
        (RESTARTS, True, ["replace", "replace", "replace"]),
        (USES, False, ["replace", "replace", "replace"]),
    ],
)
def test_what_hangs_on_it(ties: Ties, old_compose: bool, expected: list[str]) -> None:
    wanted = [BASE, replace(OTHER, ties=ties), LAST]
    assert [
        one.verb for one in plan_compose("t", wanted, THERE, dependents_too=old_compose).steps
    ] == expected


@pytest.mark.parametrize(("ties", "expected"), [(AFTER, "keep"), (RESTARTS, "keep"), (USES, "replace")])
def test_one_that_goes_beside_leaves_what_depends_on_it_alone(ties: Ties, expected: str) -> None:
    wanted = [BASE, replace(OTHER, ties=ties)]
    plan = plan_compose("t", wanted, THERE[:2], dependents_too=True, beside=frozenset({"base"}))
    assert [one.verb for one in plan.steps] == ["replace", expected]


def test_nothing_is_made_anew() -> None:
    wanted = [replace(BASE, config_hash="old"), replace(OTHER, ties=USES), LAST]
    assert plan_compose("t", wanted, THERE, dependents_too=True).empty


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, Ties()),
        ({"network_mode": "host"}, Ties()),
        ({"network_mode": "container:abc"}, Ties()),
        ({"network_mode": "service:a"}, Ties(uses=frozenset("a"))),
        ({"ipc": "service:a", "pid": "service:b"}, Ties(uses=frozenset("ab"))),
        ({"volumes_from": ["a:ro", "container:x"]}, Ties(uses=frozenset("a"))),
        (
            {"depends_on": {"a": {"restart": True}, "b": {}}},
            Ties(restarts=frozenset("a"), after=frozenset("ab")),
        ),
    ],
)
def test_ties(service: dict[str, Any], expected: Ties) -> None:
    assert ties_of(service) == expected


def test_ids_in_the_place_of_names() -> None:
    project = Project("p", {"services": {"a": {}, "b": {"network_mode": "service:${A}"}}})
    resolved = {"a": {}, "b": {"network_mode": "service:a", "depends_on": {"a": {"restart": True}}}}
    joined = with_containers(project, resolved, {"a": "abc"})
    assert joined is not None
    assert joined.services["b"] == {"network_mode": "container:abc", "depends_on": {"a": {"restart": True}}}
    assert project.services["b"] == {"network_mode": "service:${A}"}
    assert with_containers(project, resolved, {}) is None


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.26.1-4", True),
        ("2.29.2", True),
        ("v2.29.7", False),
        ("2.40.3", False),
        ("5.0.0", False),
        ("dev", False),
    ],
)
def test_by_version(version: str, expected: bool) -> None:
    assert remakes_dependents(version) is expected
