"""Adapters of one line: each row changes one fact of a stack in which one more fits."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ops_pipelines.policy.adapters import placement, with_adapters
from ops_pipelines.policy.adapters_project import backends
from ops_pipelines.policy.links import link_problems
from tests.policy.declared import GONE, declared

G = 10**9
OLLAMA = {"kind": "ollama", "image": "ollama/ollama:0.17.4"}
BASE: dict[str, Any] = {
    "stack": "llama",
    "description": "A base and an adapter on two cards.",
    "owners": ["team:a"],
    "target": {"kind": "compose", "project": "llama"},
    "cards": ["20G", "20G"],
    "caches": {
        "base-models": {"layout": "ollama", "path": "/root/.ollama/models"},
        "sum-models": {"layout": "ollama", "path": "/root/.ollama/models"},
    },
    "models": {
        "base": {"source": "ollama:llama3:8b", "cache": "base-models", "served_by": "base"},
        "sum": {"source": "ollama:sum", "role": "adapter", "cache": "sum-models", "served_by": "sum", "digest": "x"},
    },
    "components": {
        "base": {
            **OLLAMA, "ports": {"http": 11434}, "resources": {"gpu": 0, "gpu_memory": "8G"},
            "volumes": {"base-models": "/root/.ollama"},
        },
        "sum": {
            **OLLAMA, "ports": {"http": 11460}, "resources": {"gpu": 1, "gpu_memory": "8G"}, "depends_on": ["base"],
            "environment": {"OLLAMA_HOST": "0.0.0.0:11460"}, "volumes": {"sum-models": "/root/.ollama"},
        },
        "router": {"kind": "proxy", "image": "haproxy:2.8.15", "ports": {"http": 8080}},
    },
    "adapters": {"like": "sum", "proxy": "router", "models": {"legal": "ollama:legal-llama3:8b"}},
}  # fmt: skip


def test_one_line_is_a_component_a_model_a_cache_a_port_and_a_card() -> None:
    stack, against = with_adapters(declared({}, BASE))
    assert (against, link_problems(stack)) == ((), ())
    legal, model = stack.components["legal"], stack.models["legal"]
    assert (legal.ports, legal.environment) == ({"http": 11461}, {"OLLAMA_HOST": "0.0.0.0:11461"})
    assert (legal.depends_on, legal.image) == (["base"], "ollama/ollama:0.17.4"), "after the base model"
    assert (legal.resources.gpu, legal.resources.gpu_memory) == (0, 8 * G), "both have 12 GB left: the first"
    assert legal.volumes == {"legal-models": "/root/.ollama"}
    assert (model.source, model.role, model.served_by) == ("ollama:legal-llama3:8b", "adapter", "legal")
    assert (model.cache, model.memory, model.digest) == ("legal-models", 8 * G, None)
    assert stack.caches["legal-models"] == stack.caches["sum-models"]
    said = "adapter: like sum, path /legal of router, 8 GB on card 0, which then has 16 GB of 20 GB taken"
    assert (placement(stack, "legal"), placement(stack, "sum")) == (said, "")


LEGAL = "adapters.models.legal"


@pytest.mark.parametrize(
    ("facts", "card"),
    [
        ({"components.base.resources.gpu_memory": "9G"}, 1),
        ({"components.base.resources.gpu_memory": "12G"}, 1),
        ({"components.sum.resources.gpu_memory": "2G"}, 1),
        ({"cards": ["20G", "20G", "20G"]}, 2),
        ({LEGAL: {"source": "ollama:legal", "card": 1}}, 1),
        ({LEGAL: {"source": "ollama:legal", "memory": "12G"}}, 0),
        ({"components.sum.resources": {}, "cards": []}, None),
    ],
)
def test_card(facts: dict[str, Any], card: int | None) -> None:
    stack, against = with_adapters(declared(facts, BASE))
    assert against == ()
    assert stack.components["legal"].resources.gpu == card


MORE = {"legal": "ollama:legal", "med": "ollama:med"}


def test_one_more_moves_none_before_it() -> None:
    stack, _ = with_adapters(
        declared({"adapters.models": {**MORE, "tax": {"source": "ollama:t", "memory": "4G"}}}, BASE)
    )
    placed = [
        (stack.components[name].resources.gpu, stack.components[name].ports["http"])
        for name in ("legal", "med", "tax")
    ]
    assert placed == [(0, 11461), (1, 11462), (0, 11463)]


@pytest.mark.parametrize(
    ("facts", "path", "words"),
    [
        ({"cards": ["15G", "15G"]}, LEGAL, r"8 GB for legal, and no.*: card 0 has 7 GB left of 15 GB \(base 8 GB\)"),
        ({"adapters.models": {**MORE, "tax": "ollama:t"}}, "adapters.models.tax", r"room.*\(base 8 GB, legal 8 GB\)"),
        ({LEGAL: {"source": "ollama:l", "memory": "13G"}}, LEGAL, "no card has room"),
        ({LEGAL: {"source": "ollama:l", "card": 1, "memory": "13G"}}, LEGAL, "room: card 1 has 12 GB left"),
        ({LEGAL: {"source": "ollama:l", "card": 2}}, f"{LEGAL}.card", "card 2, where 2 are declared"),
        ({"cards": []}, LEGAL, "no card is declared"),
        ({"components.sum.resources.gpu_memory": GONE}, LEGAL, "nobody says how much"),
        ({LEGAL: {"source": "ollama:l", "port": 11434}}, f"{LEGAL}.port", "a port of base"),
        ({"adapters.models": {"base": "ollama:l"}}, "adapters.models.base", "the name of a component already"),
        ({"models.legal": BASE["models"]["base"]}, LEGAL, "the name of a model already"),
        ({"adapters.like": "summ"}, "adapters.like", "no component `summ`"),
        ({"adapters.like": "router"}, "adapters.like", "which serves 0 models"),
        ({"models.sum.cache": "base-models"}, "adapters.like", "serves 1 models, not one with a cache of its own"),
        ({"components.sum.replicas": 2}, "adapters.like", "not one replica"),
        ({"components.sum.volumes.base-models": "/base"}, "adapters.like", "not sum-models alone"),
        ({"adapters.proxy": "base"}, "adapters.proxy", "of kind ollama"),
        ({"adapters.proxy": "rooter"}, "adapters.proxy", "no component `rooter`"),
        ({"target": {"kind": "process"}}, LEGAL, "that of `sum-models` too"),
    ],
)  # fmt: skip
def test_refused(facts: dict[str, Any], path: str, words: str) -> None:
    wanted = declared(facts, BASE)
    stack, against = with_adapters(wanted)
    assert stack is wanted
    assert [one.path for one in against] == [path]
    assert re.search(words, against[0].found), against[0].found
    assert against[0].remedy


def test_in_a_cluster_each_has_the_port_of_its_like() -> None:
    cluster = {"kind": "kubernetes", "context": "k3s", "namespace": "a", "release": "a", "chart": "c"}
    stack, against = with_adapters(
        declared({"target": cluster, "caches.sum-models.path": "/adapters/sum"}, BASE)
    )
    assert against == ()
    assert stack.components["legal"].ports == {"http": 11460}
    assert stack.caches["legal-models"].path == "/adapters/legal"


CFG = """frontend paths
    use_backend %[path,field(2,/)]

backend sum
    balance source
    http-request replace-path /sum(/(.*))? /\\2
    server sum sum:11460 # summary

# what is read of it
frontend stats
    bind :8404
"""


def test_backend() -> None:
    assert backends(CFG, "sum", {"legal": (11461, 11460)}) == CFG + (
        "\nbackend legal\n    balance source\n    http-request replace-path /legal(/(.*))? /\\2\n"
        "    server legal legal:11461 # summary\n"
    )
    assert backends(CFG.replace("backend sum", "backend all"), "sum", {"legal": (2, 1)}) is None
    assert (
        backends(CFG.replace("%[path,field(2,/)]", "sum if { path /sum }"), "sum", {"legal": (2, 1)}) is None
    )
