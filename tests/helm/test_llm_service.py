"""Models that share one card: together no more than may be given away, fetched before they start, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.charts import Form, of_kind, pod_of, refused, rendered, workloads
from tools.charts import CHARTS

CHART = CHARTS / "llm-service"
ONE = Form(CHART)
TWO = Form(CHART, ("values-gpu-48.yaml",))
THREE = Form(CHART, ("values-gpu-80.yaml",))
MODELS = ("standard", "longctx", "multimodal")


def _servers(form: Form) -> dict[str, Any]:
    return {name: pod_of(one) for name, one in workloads(rendered(form)).items() if name in MODELS}


@pytest.mark.parametrize(
    ("form", "shares"),
    [
        (ONE, {"standard": 0.75}),
        (TWO, {"standard": 0.3, "longctx": 0.55}),
        (THREE, {"standard": 0.2, "longctx": 0.3, "multimodal": 0.4}),
        (Form(CHART, ("values-throughput.yaml",)), {"standard": 0.9}),
        (Form(CHART, ("values-latency.yaml",)), {"standard": 0.7}),
        (Form(CHART, ("values-memory.yaml",)), {"standard": 0.6}),
    ],
)
def test_each_server_is_told_its_share(form: Form, shares: dict[str, float]) -> None:
    told = {}
    for name, pod in _servers(form).items():
        words = dict(one.split("=", 1) for one in pod["containers"][0]["args"] if "=" in one)
        told[name] = float(words["--gpu-memory-utilization"])
    assert told == shares


def test_a_shared_card_is_named_and_a_whole_one_is_asked_for() -> None:
    assert _servers(ONE)["standard"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for pod in _servers(THREE).values():
        container = pod["containers"][0]
        assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "0"} in container["env"]
        assert "nvidia.com/gpu" not in container["resources"]["limits"]
    claims = of_kind(rendered(Form(CHART, ("values-gpu-80.yaml", "values-dra.yaml"))), "ResourceClaim")
    assert len(claims) == 1


@pytest.mark.parametrize(
    ("form", "setting", "words"),
    [
        (TWO, "components.longctx.gpu.share=0.6", "servers take 0.9 of it together (longctx 1 x 0.6"),
        (THREE, "components.longctx.gpu.share=0.85", "gpu.atMost is 0.9"),
        (THREE, "components.longctx.replicas=2", "servers take 1.2 of it together"),
        (ONE, "components.standard.gpu.share=0.9", "takes 0.9 of its card, and gpu.atMost is 0.75"),
        (ONE, "components.standard.gpu.count=0", "is on none"),
        (ONE, 'components.standard.fetch.secrets={"HF_TOKEN":"absent"}', "not under secrets.keys"),
    ],
)  # fmt: skip
def test_more_than_a_card_may_give_is_refused(form: Form, setting: str, words: str) -> None:
    assert words in refused(form, setting)


def test_a_model_is_there_before_its_server_starts() -> None:
    for name, pod in _servers(THREE).items():
        first, server = pod["initContainers"][0], pod["containers"][0]
        assert first["name"] == "fetch"
        model = next(one.removeprefix("--model=") for one in server["args"] if one.startswith("--model="))
        assert model in first["command"], name
        assert {"name": "HF_HUB_OFFLINE", "value": "1"} in server["env"]
        assert not any(one["name"] == "HF_TOKEN" for one in server["env"])
        mounts = {one["mountPath"]: one.get("readOnly", False) for one in server["volumeMounts"]}
        writes = {one["mountPath"]: one.get("readOnly", False) for one in first["volumeMounts"]}
        assert mounts["/root/.cache/huggingface/hub"] is True
        assert writes["/root/.cache/huggingface/hub"] is False
        volume = next(one for one in pod["volumes"] if one["name"] == "models")
        assert "readOnly" not in volume["persistentVolumeClaim"]


def test_servers_on_one_card_start_one_after_the_other_and_are_given_the_time() -> None:
    waits = {
        name: [one["name"] for one in pod["initContainers"][1:]] for name, pod in _servers(THREE).items()
    }
    assert waits == {
        "standard": [],
        "longctx": ["wait-for-standard"],
        "multimodal": ["wait-for-longctx"],
    }
    patience = {name: workloads(rendered(THREE))[name]["spec"]["progressDeadlineSeconds"] for name in MODELS}
    assert patience["multimodal"] > patience["longctx"] > patience["standard"] > 3600 + 600


def test_alerts_of_compose_find_their_servers() -> None:
    objects = rendered(Form(CHART, ("values-gpu-80.yaml", "values-production.yaml")))
    jobs = {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["endpoints"][0]["relabelings"][
            0
        ]["replacement"]
        for one in of_kind(objects, "ServiceMonitor")
    }
    assert jobs == {**dict.fromkeys(MODELS, "models"), "llm-service": "router"}
