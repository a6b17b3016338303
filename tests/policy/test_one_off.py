"""When a container moves data, what its lines mean, and which containers are nobody's."""

from __future__ import annotations

import json

import pytest

from ops_pipelines.policy.one_off import By, choose, is_stray, message

REMOTE = "tcp://gpu-box:2376"


@pytest.mark.parametrize(
    ("by", "engine", "unreadable", "container", "why"),
    [
        ("auto", None, [], False, "can be read here"),
        ("auto", REMOTE, [], True, "the engine is at tcp://gpu-box"),
        ("auto", None, ["/var/lib/docker/volumes/x/_data"], True, "cannot be read by this user"),
        ("process", REMOTE, ["/x"], False, "`target.data.by` says so"),
        ("container", None, [], True, "`target.data.by` says so"),
    ],
)
def test_who_moves_the_data(
    by: By, engine: str | None, unreadable: list[str], container: bool, why: str
) -> None:
    found = choose(by, engine, unreadable)
    assert found.container is container
    assert why in found.why


def _line(method: str, **params: object) -> str:
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params})


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (_line("log", message="it reads", level="INFO"), "log"),
        (_line("report_custom_message", payload={"ops": "result", "value": 1}), "result"),
        (_line("report_custom_message", payload={"ops": "progress"}), "progress"),
        (_line("report_custom_message", payload={"somebody": "else"}), "other"),
        (_line("report_custom_message", payload=[1]), "other"),
        (_line("opened"), "other"),
        ("a line of text", None),
        ('{"a": "json line"}', None),
        ('{"__dagster_pipes_version": "0.1", "method"', None),
        ('{"__dagster_pipes_version": "0.1"}', None),
    ],
)
def test_lines(line: str, kind: str | None) -> None:
    found = message(line)
    assert (found.kind if found else None) == kind


@pytest.mark.parametrize(
    ("fence", "age", "current", "stray"),
    [
        ("7", 5.0, 7, False),
        ("7", 5.0, 8, True),
        ("7", 9e9, None, False),  # who asks holds no lease: it may be somebody's at work
        ("", 5.0, 8, False),
        ("", 4000.0, None, True),
    ],
)
def test_whose_a_container_is(fence: str, age: float, current: int | None, stray: bool) -> None:
    assert is_stray(fence, age, current) is stray
