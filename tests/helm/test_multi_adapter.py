"""Seven model servers on two cards: by which mechanism each comes to its card, and what is refused."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helm.charts import Form, of_kind, pod_of, refused, rendered, workloads
from tests.parts import require
from tools.charts import CHARTS

CHART = CHARTS / "multi-adapter-llama3"
PLAIN = Form(CHART)
ROOM = "components.summarization.replicas=0"


def _servers(form: Form, *settings: str) -> dict[str, Any]:
    found = workloads(rendered(form, *settings))
    return {name: one for name, one in found.items() if name != "router"}


def _variables(workload: Any) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod_of(workload)["containers"][0]["env"]}


def test_each_names_its_card_and_the_runtime_gives_it_that_one() -> None:
    servers = _servers(PLAIN)
    cards = {name: _variables(one)["NVIDIA_VISIBLE_DEVICES"] for name, one in servers.items()}
    assert cards == {"base": "0", "chatbot": "0", "code": "1", "summarization": "1"}
    assert sum(one["spec"]["replicas"] for one in servers.values()) == 7
    for one in servers.values():
        assert pod_of(one)["runtimeClassName"] == "nvidia"
        assert pod_of(one)["nodeSelector"] == {"ops-pipelines.io/cards": "multi-adapter-llama3"}
        assert not [name for name in pod_of(one)["containers"][0]["resources"]["limits"] if "/" in name]


def test_counted_the_memory_on_a_card_is_what_it_has() -> None:
    servers = _servers(Form(CHART, ("values-counted.yaml",)))
    taken: Counter[str] = Counter()
    for one in servers.values():
        for name, amount in pod_of(one)["containers"][0]["resources"]["limits"].items():
            if "/" in name:
                taken[name] += int(amount) * one["spec"]["replicas"]
    assert taken == {"ops-pipelines.io/card-0-gb": 20, "ops-pipelines.io/card-1-gb": 20}


def test_by_claim_all_pods_of_a_card_share_one() -> None:
    objects = rendered(Form(CHART, ("values-dra.yaml",)))
    claims = [one["metadata"]["name"] for one in of_kind(objects, "ResourceClaim")]
    assert claims == ["multi-adapter-llama3-card-0", "multi-adapter-llama3-card-1"]
    named = {
        name: pod_of(one)["resourceClaims"][0]["resourceClaimName"][-1]
        for name, one in workloads(objects).items()
        if name != "router"
    }
    assert named == {"base": "0", "chatbot": "0", "code": "1", "summarization": "1"}
    for name in named:
        assert pod_of(workloads(objects)[name])["containers"][0]["resources"]["claims"] == [{"name": "card"}]


def test_by_slice_each_holds_what_its_model_takes() -> None:
    for name, one in _servers(Form(CHART, ("values-mig.yaml",))).items():
        limits = pod_of(one)["containers"][0]["resources"]["limits"]
        slice_ = next(each for each in limits if "/" in each)
        needs = {"base": 8, "chatbot": 4, "code": 6, "summarization": 8}[name]
        assert int(slice_.rpartition(".")[2].removesuffix("gb")) >= needs


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("components.chatbot.replicas=5", "card 0 has 20 GB, and 28 are asked of it (base 1 x 8, chatbot 5 x 4)"),
        ("components.code.replicas=3", "card 1 has 20 GB, and 26 are asked of it (code 3 x 6, summarization 1 x 8)"),
        ('adapters.legal={"card":0,"memoryGB":1}', "card 0 has 20 GB, and 21 are asked of it"),
        ('gpu.placement="sliced"', "keeps nobody to a share of memory"),
        ("gpu.nodeSelector=null", "card 0 of which node?"),
        ("components.code.gpu.memoryGB=null", "nobody says how much of it it takes"),
        ("components.code.gpu.card=2", "placed on card 2, and gpu.cardsGB declares 2"),
        ('gpu.vendor="amd"', "which is NVIDIA's container runtime's"),
    ],
)  # fmt: skip
def test_what_no_card_has_room_for_is_refused(setting: str, words: str) -> None:
    assert words in refused(PLAIN, setting)


def test_an_hpa_may_not_go_beyond_the_card() -> None:
    rule = '{"by":"hpa","minimum":1,"maximum":5,"cpu":70}'
    said = refused(PLAIN, "components.chatbot.replicas=null", f"components.chatbot.scaling={rule}")
    assert "28 are asked of it" in said
    fits = rule.replace("5", "3")
    objects = rendered(PLAIN, "components.chatbot.replicas=null", f"components.chatbot.scaling={fits}")
    assert of_kind(objects, "HorizontalPodAutoscaler")[0]["spec"]["maxReplicas"] == 3


def test_what_was_freed_is_taken_by_another() -> None:
    assert _servers(PLAIN, ROOM, "components.code.replicas=3")["code"]["spec"]["replicas"] == 3


def test_one_line_adds_an_adapter_with_its_path() -> None:
    objects = rendered(PLAIN, ROOM, 'adapters.legal={"card":1,"memoryGB":6,"env":{"OLLAMA_KEEP_ALIVE":"5m"}}')
    legal = workloads(objects)["legal"]
    assert legal["spec"]["replicas"] == 1
    assert _variables(legal)["NVIDIA_VISIBLE_DEVICES"] == "1"
    assert _variables(legal)["OLLAMA_KEEP_ALIVE"] == "5m"
    assert "backend legal" in _router(objects)


def test_the_base_model_comes_first() -> None:
    for name, one in _servers(PLAIN).items():
        waits = [each["name"] for each in pod_of(one).get("initContainers", [])]
        assert waits == ([] if name == "base" else ["wait-for-base"])


def test_haproxy_takes_the_router_s_configuration(tmp_path: Path) -> None:
    program = require("haproxy")["haproxy"]
    file = tmp_path / "haproxy.cfg"
    file.write_text(_router(rendered(PLAIN)))
    done = subprocess.run(
        [program, "-c", "-f", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def _router(objects: tuple[dict[str, Any], ...]) -> str:
    maps = of_kind(objects, "ConfigMap")
    text: str = next(
        one["data"]["usr.local.etc.haproxy.haproxy.cfg"] for one in maps if "haproxy" in str(one["data"])
    )
    return text
