"""What a declaration of blue-green refers to, broken once each."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy.links import link_problems
from tests.policy.declared import declared

RULE: dict[str, Any] = {
    "proxy": "door",
    "server": "haproxy",
    "readings": {"kind": "haproxy", "url": "http://127.0.0.1:8404/metrics", "backend": "litellm"},
}
QUERIES = {
    "kind": "prometheus",
    "url": "http://127.0.0.1:9090",
    "requests": "sum(increase(a[{watched}]))",
    "errors": "sum(increase(b[{watched}]))",
}
SOUND: dict[str, Any] = {
    "components.door": {"kind": "proxy", "ports": {"http": 80}},
    "components.litellm.blue_green": RULE,
}
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"proxy": "dor"}, "proxy", "did you mean `door`?"),
    ({"proxy": "postgres"}, "proxy", "kind proxy"),
    ({"readings": {"kind": "nginx"}}, "readings.kind", "haproxy or prometheus"),
    ({"readings": {**RULE["readings"], "url": "127.0.0.1:8404"}}, "readings.url", "http://HOST:PORT"),
    ({"readings": {**QUERIES, "errors": "sum(b)"}}, "readings.errors", "{watched}"),
    ({"readings": {**QUERIES, "requests": "sum(a)"}}, "readings.requests", "{watched}"),
    ({"probe": "rag:8001"}, "probe", "http://HOST:PORT"),
    ({"watch": 5, "every": 5}, "every", "watch longer"),
]


@pytest.mark.parametrize(
    "change", [{}, {"readings": QUERIES}, {"server": "nginx", "readings": {"kind": "nginx"}}]
)
def test_sound(change: dict[str, Any]) -> None:
    assert link_problems(declared({**SOUND, "components.litellm.blue_green": {**RULE, **change}})) == ()


@pytest.mark.parametrize(("change", "path", "remedy"), CASES)
def test_broken(change: dict[str, Any], path: str, remedy: str) -> None:
    [found] = link_problems(declared({**SOUND, "components.litellm.blue_green": {**RULE, **change}}))
    assert found.path == f"components.litellm.blue_green.{path}"
    assert remedy in found.remedy
    assert found.severity == "error"


def test_a_database_never_runs_twice() -> None:
    changed = {"components.door": SOUND["components.door"], "components.postgres.blue_green": RULE}
    [found] = link_problems(declared(changed))
    assert (found.path, found.remedy) == ("components.postgres.blue_green", "take `blue_green` out")
