"""Two versions in one Compose project, and the proxy's text that names either."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy.bluegreen_plan import two_fit, with_moves
from ops_pipelines.policy.bluegreen_project import (
    apart_from,
    left_over,
    moved,
    names_of,
    needs,
    places,
    port_of,
    with_green,
)
from ops_pipelines.policy.compose_project import Project
from ops_pipelines.policy.machine import Card, Memory
from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.stack.bluegreen import BlueGreen
from ops_pipelines.stack.components import Resources

GIB = 1 << 30
CFG = "backend rag\n    http-check send hdr Host rag\n    server-template rag 20 rag:8001 resolvers docker\n"
TEXTS = [
    (CFG, CFG.replace("rag:8001", "rag-green:8001")),
    ("proxy_pass http://rag;", "proxy_pass http://rag;"),
    ("upstream rag { server rag:8001; }", "upstream rag { server rag-green:8001; }"),
    ("proxy_pass http://rag:8001/;", "proxy_pass http://rag-green:8001/;"),
    ("server a my-rag:8001", "server a my-rag:8001"),
    ("server a rag-2:8001", "server a rag-2:8001"),
    ("server a rag.internal:8001", "server a rag.internal:8001"),
    ("server a the-rag:8001 rag:80", "server a rag-green:8001 rag-green:80"),
]
NAMES = {"rag": "rag-green", "the-rag": "rag-green"}


@pytest.mark.parametrize(("text", "wanted"), TEXTS)
def test_only_a_name_with_a_port_is_moved(text: str, wanted: str) -> None:
    assert moved(text, NAMES) == wanted
    assert moved(text, {}) == text
    assert (places(text, NAMES) > 0) == (text != wanted)


def test_the_port_is_the_one_that_the_proxy_knows() -> None:
    assert port_of(CFG, ["rag"]) == 8001
    assert port_of("proxy_pass http://rag;", ["rag"]) is None


def project(**service: Any) -> Project:
    mount = {"type": "bind", "source": "ops-file:ab/haproxy.cfg", "target": "/etc/haproxy.cfg"}
    model = {
        "services": {
            "rag": {"image": "rag:2", "networks": {"front": {"aliases": ["the-rag"]}}, **service},
            "door": {"image": "haproxy:2", "volumes": [mount], "depends_on": {"rag": {}}},
            "page": {"image": "page:1", "depends_on": {"door": {}}},
            "db": {"image": "db:1"},
        }
    }
    return Project("p", model, files={"ab": CFG})


def test_green_takes_nothing_that_only_one_may_have() -> None:
    first = project(
        container_name="rag", ports=["8001:8001"], environment={"A": "1"}, deploy={"replicas": 3},
        volumes=["vault:/v"],
    )  # fmt: skip
    both = with_green(first, {"rag": (8001,)})
    green = both.services["rag-green"]
    assert "container_name" not in green
    assert green["ports"] == [{"target": 8001, "host_ip": "127.0.0.1", "protocol": "tcp"}]
    assert green["networks"] == {"front": None}, "its old version alone is known by the aliases"
    assert (green["environment"], green["deploy"], green["volumes"]) == (
        {"A": "1"}, {"replicas": 3}, ["vault:/v"],
    )  # fmt: skip
    assert both.services["rag"] == first.services["rag"]
    assert names_of(first, "rag") == ("rag", "the-rag")
    assert left_over(first, {"rag", "rag-green", "other-green"}) == ("rag-green",)


def test_what_waits_for_a_proxy_stays_with_it() -> None:
    assert apart_from(project(), {"door"}) == ("rag", "db")


FAULTS = {
    "all is well": (project(), "rag", "door", [True]),
    "host network": (project(network_mode="host"), "rag", "door", [False, True]),
    "no such service": (project(), "raga", "door", [False]),
    "the proxy names it nowhere": (project(), "db", "door", [False]),
    "the proxy mounts no file": (project(), "rag", "db", [False]),
}


@pytest.mark.parametrize(("where", "component", "proxy", "wanted"), FAULTS.values(), ids=FAULTS)
def test_needs(where: Project, component: str, proxy: str, wanted: list[bool]) -> None:
    found = list(needs(where, component, proxy))
    assert [one.ok for one in found] == wanted
    assert all(one.remedy for one in found if not one.ok)


def test_a_template_is_read_at_start_only() -> None:
    there = project()
    there.model["services"]["door"]["volumes"][0]["source"] = "ops-file:ab/default.conf.template"
    assert [one.ok for one in needs(there, "rag", "door")] == [False]


CARDS = (Card(0, "A", 24 * GIB, 10 * GIB), Card(1, "A", 24 * GIB, 20 * GIB))
ROOM = {
    "no card asked": (Resources(), 2, "no driver", None, True),
    "fits its card": (Resources(gpu=0, gpu_memory=10 * GIB), 1, CARDS, None, True),
    "one byte too much": (Resources(gpu=0, gpu_memory=10 * GIB + 1), 1, CARDS, None, False),
    "two on two cards": (Resources(gpus=1, gpu_memory=10 * GIB), 3, CARDS, None, True),
    "one replica too many": (Resources(gpus=1, gpu_memory=10 * GIB), 4, CARDS, None, False),
    "a share of the card": (Resources(gpu=1, gpu_utilization=0.8), 1, CARDS, None, True),
    "a share that is not free": (Resources(gpu=0, gpu_utilization=0.8), 1, CARDS, None, False),
    "cards are unknown": (Resources(gpus=1, gpu_memory=GIB), 1, "no driver", None, None),
    "free memory is unknown": (Resources(gpu_memory=GIB), 1, (Card(0, "A", GIB, None),), None, None),
    "what it takes is unknown": (Resources(gpus=1), 1, CARDS, None, None),
    "no card is seen": (Resources(gpus=1, gpu_memory=GIB), 1, (), None, None),
    "memory is short": (Resources(memory=GIB), 3, (), Memory(8 * GIB, 2 * GIB), False),
    "memory is enough": (Resources(memory=GIB), 2, (), Memory(8 * GIB, 2 * GIB), True),
}


@pytest.mark.parametrize(("asked", "replicas", "cards", "memory", "wanted"), ROOM.values(), ids=ROOM)
def test_two_fit(
    asked: Resources, replicas: int, cards: tuple[Card, ...] | str, memory: Memory | None, wanted: bool | None
) -> None:
    fits, words = two_fit(asked, replicas, cards, memory)
    assert fits is wanted
    assert words


def test_a_plan_says_what_goes_beside() -> None:
    rule = BlueGreen.model_validate(
        {"proxy": "door", "server": "nginx", "readings": {"kind": "nginx"}, "watch": "300s"}
    )
    plan = Plan("Deploy", (Step("replace", "component/rag", "image"), Step("keep", "component/db")))
    found = with_moves(plan, {"rag": rule}, ["a note"])
    assert [(step.verb, step.subject) for step in found.steps] == [
        ("create", "component/rag-green"),
        ("switch", "proxy/door"),
        ("check", "traffic/rag"),
        ("replace", "component/rag"),
        ("keep", "component/db"),
        ("switch", "proxy/door"),
        ("remove", "component/rag-green"),
    ]
    assert found.warnings == ("a note",)
    assert with_moves(plan, {}) == plan
