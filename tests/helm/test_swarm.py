"""The swarm: who says how many agents there are, and what is switched on beside it."""

from __future__ import annotations

import pytest

from tests.helm.charts import Form, of_kind, pod_of, refused, rendered, workloads
from tools.charts import CHARTS

CHART = CHARTS / "vllm-local-swarm"
PLAIN = Form(CHART)
PRODUCTION = Form(CHART, ("values-production.yaml",))
KEDA = Form(CHART, ("values-production.yaml", "values-keda.yaml"))
KUBERAY = Form(CHART, ("values-kuberay.yaml",))


def test_two_to_ten_workers_and_one_who_says_how_many() -> None:
    hpa = of_kind(rendered(PRODUCTION), "HorizontalPodAutoscaler")
    assert [(one["spec"]["minReplicas"], one["spec"]["maxReplicas"]) for one in hpa] == [(2, 10)]
    keda = {one["metadata"]["name"]: one["spec"] for one in of_kind(rendered(KEDA), "ScaledObject")}
    assert set(keda) == {"vllm-local-swarm-ray-worker", "vllm-local-swarm-langfuse-worker"}
    worker = keda["vllm-local-swarm-ray-worker"]
    assert (worker["minReplicaCount"], worker["maxReplicaCount"]) == (2, 10)
    assert {one["type"] for one in worker["triggers"]} == {"prometheus", "cpu"}
    assert of_kind(rendered(KEDA), "HorizontalPodAutoscaler") == []

    objects = rendered(KUBERAY)
    cluster = of_kind(objects, "RayCluster")[0]["spec"]
    group = cluster["workerGroupSpecs"][0]
    assert cluster["enableInTreeAutoscaling"] is True
    assert "replicas" not in group
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 10)
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] is True
    assert of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject") == []
    doors = {
        one["metadata"]["name"]: one["spec"]["selector"]
        for one in of_kind(objects, "Service")
        if "ray" in one["metadata"]["name"]
    }
    assert "app.kubernetes.io/name" not in doors["vllm-local-swarm-ray-head"]


@pytest.mark.parametrize(
    ("form", "settings", "words"),
    [
        (PRODUCTION, ["ray.operator=true"], "the operator's RayCluster owns the number of its workers"),
        (KUBERAY, ["ray.operator=false"], "set ray.operator: true"),
        (KUBERAY, ["components.ray-worker.replicas=4"], "each upgrade would undo what the scaler has set"),
        (PLAIN, ["components.ray-head.replicas=2"], "each would be a cluster of its own"),
        (PLAIN, ["components.proxy.enabled=true"], "uses the secret proxy-key, which is not under secrets.keys"),
        (PLAIN, ["components.clickhouse.enabled=false"], "names clickhouse, which is switched off"),
    ],
)  # fmt: skip
def test_what_could_not_work_is_refused_with_words(form: Form, settings: list[str], words: str) -> None:
    assert words in refused(form, *settings)


def test_stores_are_as_large_as_the_guide_says() -> None:
    sizes = {
        name: [
            one["spec"]["resources"]["requests"]["storage"] for one in each["spec"]["volumeClaimTemplates"]
        ]
        for name, each in workloads(rendered(PLAIN)).items()
        if each["kind"] == "StatefulSet"
    }
    assert sizes == {
        "clickhouse": ["100Gi"],
        "object-store": ["50Gi"],
        "postgres": ["20Gi"],
        "qdrant": ["50Gi"],
        "redis": ["8Gi"],
    }
    claims = {
        one["metadata"]["name"]: one["spec"]["resources"]["requests"]["storage"]
        for one in of_kind(rendered(PLAIN), "PersistentVolumeClaim")
    }
    assert claims["vllm-local-swarm-models"] == "200Gi"


def test_what_is_optional_is_off_until_it_is_asked_for() -> None:
    plain = set(workloads(rendered(PLAIN)))
    for name in ("proxy", "webui", "langflow"):
        assert set(workloads(rendered(Form(CHART, (f"values-{name}.yaml",))))) - plain == {name}
    large = pod_of(workloads(rendered(Form(CHART, ("values-large-model.yaml",))))["vllm-large"])
    assert large["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "--tensor-parallel-size=2" in large["containers"][0]["args"]
