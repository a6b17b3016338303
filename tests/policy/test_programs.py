"""From a declaration to programs and addresses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_pipelines.errors import DeclarationError
from ops_pipelines.policy.processes import Program, Ready, programs_from_json, programs_to_json
from ops_pipelines.policy.programs import (
    Places,
    cache_place,
    endpoints,
    external_targets,
    port_findings,
    render_programs,
    with_replicas,
)
from ops_pipelines.stack.model import Stack

PLACES = Places(home="/var/ops", python="/usr/bin/python3", cwd="/etc/stacks/demo")


def stack(components: dict[str, Any], **rest: Any) -> Stack:
    return Stack.model_validate(
        {"stack": "demo", "description": "", "owners": ["team:a"], "target": {"kind": "process"},
         "components": components, **rest}
    )  # fmt: skip


def server(**facts: Any) -> dict[str, Any]:
    return {"kind": "app", "command": ["serve"], "ports": {"http": 8000}, **facts}


def test_words_are_filled_in_for_each_replica() -> None:
    declared = stack(
        {
            "web": server(
                command=[
                    "{python}",
                    "-m",
                    "web",
                    "--port={port.http}",
                    "--admin={port.admin}",
                    "--n={replica}",
                ],
                environment={"STORE": "{cache.models}", "HOME_DIR": "{home}/x"},
                ports={"http": 8000, "admin": 9000},
                shared_ports=["http"],
                replicas=2,
            )
        },
        caches={"models": {"layout": "directory", "path": "../models/{replica}", "replicas": 2}},
    )
    first, second = render_programs(declared, PLACES)
    assert (first.name, second.name) == ("demo.web.0", "demo.web.1")
    assert first.component == "web"
    assert first.command == ("/usr/bin/python3", "-m", "web", "--port=8000", "--admin=9000", "--n=0")
    assert second.command == ("/usr/bin/python3", "-m", "web", "--port=8000", "--admin=9001", "--n=1")
    assert second.environment == {"STORE": "/etc/stacks/models/1", "HOME_DIR": "/var/ops/x"}
    assert (second.ports, second.shared_ports) == ((9001,), (8000,))
    assert second.directory == "/etc/stacks/demo"


@pytest.mark.parametrize(
    "text",
    ["{{.Names}}", "{{ replica }}", '{"a": 1}', "{HOME}", "{}", "{ replica }"],
)
def test_what_is_no_word_is_left_alone(text: str) -> None:
    (program,) = render_programs(stack({"web": server(command=["serve", text])}), PLACES)
    assert program.command[1] == text


def test_all_problems_are_told_at_once_with_what_is_known() -> None:
    declared = stack(
        {
            "web": server(command=["serve", "{prot.http}"], environment={"A": "{cache.none}"},
                          secrets={"TOKEN": "nope"}, health={"path": "/", "port": "admin"}, replicas=2),
            "bare": {"kind": "app"},
        },
        secrets={"token": "${TOKEN}"},
    )  # fmt: skip
    with pytest.raises(DeclarationError) as caught:
        render_programs(declared, PLACES)
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert "components.web.command: unknown word {prot.http}" in text
    assert "{home}, {port.http}, {python}, {replica}" in text
    assert "components.web.environment.A" in text
    assert "unknown secret `nope`" in text
    assert "declared: token" in text
    assert "no port `admin`" in text
    assert "components.bare: it has neither a `command` nor an `address`" in text


def test_secrets_stay_references() -> None:
    declared = stack({"web": server(secrets={"TOKEN": "token", "KEY": "key"})},
                     secrets={"token": "${THE_TOKEN}", "key": "file:/run/key"})  # fmt: skip
    (program,) = render_programs(declared, PLACES)
    assert program.secrets == {"TOKEN": "${THE_TOKEN}", "KEY": "file:/run/key"}


def test_dependencies_come_first_and_what_runs_elsewhere_gives_no_program() -> None:
    declared = stack(
        {
            "web": server(depends_on=["db", "cache"]),
            "db": server(ports={"sql": 5432}, depends_on=["cache"]),
            "cache": {"kind": "redis", "address": "redis://cache:6379"},
        }
    )
    assert [program.name for program in render_programs(declared, PLACES)] == ["demo.db.0", "demo.web.0"]
    assert render_programs(declared, PLACES)[1].after == ("db", "cache")


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, "a ring: `b` -> `c` -> `b`"),
        ({"a": ["a"], "b": [], "c": []}, "a ring: `a` -> `a`"),
        ({"a": ["x"], "b": ["y"], "c": []}, "unknown component `y`; no order"),
    ],
)
def test_a_ring_is_named(links: dict[str, list[str]], words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        render_programs(stack({name: server(depends_on=others) for name, others in links.items()}), PLACES)


def test_health_is_asked_on_the_port_that_is_named() -> None:
    ports = {"http": 8000, "admin": 9000}
    health = {"path": "/ok", "port": "admin", "within": "30s", "every": "1s"}
    second = render_programs(stack({"web": server(ports=ports, health=health, replicas=2)}), PLACES)[1]
    assert second.ready == Ready(9001, "/ok", 30.0, 1.0)
    (only,) = render_programs(stack({"db": server(ports={"sql": 5432})}), PLACES)
    assert only.ready.port == 5432
    (none,) = render_programs(stack({"job": {"kind": "app", "command": ["work"]}}), PLACES)
    assert none.ready.port is None


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (server(), ("http://127.0.0.1:8000",)),
        (server(replicas=2), ("http://127.0.0.1:8000", "http://127.0.0.1:8001")),
        (server(replicas=2, shared_ports=["http"]), ("http://127.0.0.1:8000",)),
        (server(replicas=0), ()),
        (server(ports={}), ()),
        ({**server(ports={"sql": 5432}), "kind": "postgres"}, ("postgresql://127.0.0.1:5432",)),
        (server(ports={"admin": 9000, "http": 8000}), ("http://127.0.0.1:8000",)),
        ({"kind": "milvus", "address": "http://db:19530"}, ("http://db:19530",)),
    ],
)
def test_endpoints(facts: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert endpoints(stack({"c": facts}))["c"] == expected


def test_what_runs_elsewhere_is_asked_at_its_health_path() -> None:
    declared = stack(
        {
            "a": {"kind": "milvus", "address": "http://db:19530/", "health": {"path": "/healthz"}},
            "b": {"kind": "redis", "address": "redis://r:6379", "health": {"path": "/x"}},
            "c": server(),
        }
    )
    assert external_targets(declared) == {"a": "http://db:19530/healthz", "b": "redis://r:6379"}


@pytest.mark.parametrize(
    ("components", "ports"),
    [
        ({"a": server(), "b": server(ports={"http": 8001})}, []),
        ({"a": server(), "b": server()}, ["port/8000"]),
        ({"a": server(replicas=2), "b": server(ports={"http": 8001})}, ["port/8001"]),
        ({"a": server(replicas=3, shared_ports=["http"])}, []),
        ({"a": server(shared_ports=["http"]), "b": server(shared_ports=["http"])}, ["port/8000"]),
        ({"a": server(ports={"http": 65535}, replicas=2)}, ["port/65536"]),
        ({"a": server(ports={"http": 8000, "admin": 8001}, replicas=2)}, ["port/8001"]),
    ],
)
def test_ports_that_collide_are_found(components: dict[str, Any], ports: list[str]) -> None:
    findings = port_findings(render_programs(stack(components), PLACES))
    assert [finding.subject for finding in findings] == ports
    assert all(finding.ok is False for finding in findings)


def test_a_cache_with_one_place_is_shared() -> None:
    declared = stack({}, caches={"m": {"layout": "directory", "path": "/data/m"}})
    assert {cache_place(declared, "m", replica, PLACES) for replica in range(3)} == {"/data/m"}


def test_other_numbers_of_replicas() -> None:
    declared = stack({"a": server(), "b": server(ports={"http": 9000})})
    names = [program.name for program in render_programs(with_replicas(declared, {"a": 3}), PLACES)]
    assert names == ["demo.a.0", "demo.a.1", "demo.a.2", "demo.b.0"]
    assert declared.components["a"].replicas == 1


def test_programs_survive_json_and_other_versions() -> None:
    program = Program(
        "s.c.0",
        ("a", "b c"),
        {"K": "v"},
        "/x",
        3.5,
        {"S": "${S}"},
        (1, 2),
        (3,),
        Ready(1, "/h", 5, 0.5),
        ("d",),
    )
    record = json.loads(json.dumps(programs_to_json([program])))
    assert programs_from_json(record) == (program,)
    assert programs_from_json(record)[0].digest == program.digest
    record[0]["of_a_later_version"] = 1
    record[0]["ready"]["too"] = 1
    assert programs_from_json(record) == (program,)
    old = {"name": "s.c.0", "command": ["a"], "environment": {}, "directory": "/"}
    assert programs_from_json([old]) == (Program("s.c.0", ("a",), {}, "/"),)


@pytest.mark.parametrize(
    ("facts", "restart"),
    [
        ({"command": ("b",)}, True),
        ({"environment": {"A": "1"}}, True),
        ({"directory": "/y"}, True),
        ({"secrets": {"A": "${B}"}}, True),
        ({"inherit": True}, True),
        ({"ready": Ready(8000)}, False),
        ({"after": ("db",)}, False),
    ],
)
def test_the_digest_changes_exactly_when_a_restart_is_needed(facts: dict[str, Any], restart: bool) -> None:
    base: dict[str, Any] = {"name": "s.c.0", "command": ("a",), "environment": {}, "directory": "/x"}
    assert (Program(**base).digest != Program(**{**base, **facts}).digest) is restart
