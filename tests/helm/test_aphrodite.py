"""Engines behind their gateway: scaled by the HPA alone, one over several nodes by Ray, pools by path."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helm.charts import Form, of_kind, pod_of, refused, rendered, workloads
from tests.parts import require
from tests.whole import self_signed
from tools.charts import CHARTS

CHART = CHARTS / "aphrodite"
ONE = Form(CHART)
PRODUCTION = Form(CHART, ("values-production.yaml",))
RAY = Form(CHART, ("values-ray.yaml",))
KUBERAY = Form(CHART, ("values-ray.yaml", "values-kuberay.yaml"))


def test_production_is_as_the_guide_says() -> None:
    scaler = of_kind(rendered(PRODUCTION), "HorizontalPodAutoscaler")
    assert len(scaler) == 1
    spec = scaler[0]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    targets = {
        one["resource"]["name"]: one["resource"]["target"] for one in spec["metrics"] if "resource" in one
    }
    assert {name: one["averageUtilization"] for name, one in targets.items()} == {"cpu": 70, "memory": 80}
    assert spec["metrics"][-1]["pods"]["target"]["averageValue"] == "100"
    assert spec["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 60,
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 30}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
        },
    }
    engine = pod_of(workloads(rendered(PRODUCTION))["aphrodite"])
    assert engine["containers"][0]["resources"]["limits"] == {
        "cpu": 16,
        "memory": "64Gi",
        "nvidia.com/gpu": "4",
    }
    assert engine["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert engine["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_what_recommends_is_never_on_a_card() -> None:
    watched = {
        one["spec"]["targetRef"]["name"] for one in of_kind(rendered(PRODUCTION), "VerticalPodAutoscaler")
    }
    assert watched == {"aphrodite-gateway"}
    head = of_kind(rendered(RAY, "recommend=true"), "VerticalPodAutoscaler")
    bounds = {
        one["spec"]["targetRef"]["name"]: one["spec"]["resourcePolicy"]["containerPolicies"][0]
        for one in head
    }
    assert bounds["aphrodite-ray-head"]["minAllowed"] == {"cpu": 8, "memory": "32Gi"}
    assert bounds["aphrodite-ray-head"]["maxAllowed"] == {"cpu": 32, "memory": "128Gi"}


@pytest.mark.parametrize(
    ("form", "setting", "words"),
    [
        (ONE, "components.gateway.replicas=2", "each counts requests for itself"),
        (RAY, "components.ray-worker.replicas=8", "set it to 9"),
        (RAY, "components.ray-head.replicas=2", "each would be a cluster of its own"),
        (RAY, 'components.ray-worker.scaling={"by":"ray","minimum":4,"maximum":16}', "set ray.operator: true"),
        (PRODUCTION, "components.aphrodite.replicas=3", "each upgrade would undo what the scaler has set"),
        (PRODUCTION, 'claims.models.accessModes=["ReadWriteOnce"]', "the others would wait for ever"),
        (PRODUCTION, "components.aphrodite.recommend={}", "it knows no cards"),
        (ONE, "components.aphrodite.gpu.share=0.97", "gpu.atMost is 0.95"),
    ],
)  # fmt: skip
def test_what_could_not_work_is_refused_with_words(form: Form, setting: str, words: str) -> None:
    assert words in refused(form, setting)


def test_one_engine_over_five_nodes_joins_before_it_starts() -> None:
    found = workloads(rendered(RAY))
    engine = pod_of(found["aphrodite"])
    assert [one["name"] for one in engine["initContainers"]] == ["fetch", "wait-for-ray-head"]
    assert "ray start --address=aphrodite-ray-head:6379" in engine["containers"][0]["command"][2]
    assert found["ray-worker"]["spec"]["replicas"] == 4
    meshed = [
        one
        for one in found.values()
        if "ops-pipelines.io/mesh" in one["spec"]["template"]["metadata"]["labels"]
    ]
    assert len(meshed) == 3


def test_with_the_operator_head_and_workers_are_its_cluster() -> None:
    objects = rendered(KUBERAY)
    cluster = of_kind(objects, "RayCluster")[0]["spec"]
    group = cluster["workerGroupSpecs"][0]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (4, 4, 4)
    assert cluster["enableInTreeAutoscaling"] is False
    container = group["template"]["spec"]["containers"][0]
    assert "command" not in container, "`ray start` is the operator's"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    deployments = {one["metadata"]["name"] for one in of_kind(objects, "Deployment")}
    assert deployments == {"aphrodite-aphrodite", "aphrodite-gateway"}


def test_each_kind_of_request_has_its_pool() -> None:
    gateway = pod_of(workloads(rendered(Form(CHART, ("values-pools.yaml",))))["gateway"])["containers"][0]
    pools = {one["name"]: one.get("value") for one in gateway["env"] if one["name"].endswith("_POOL")}
    assert pools == {
        "CHAT_POOL": "aphrodite-aphrodite.there.svc.cluster.local:2242",
        "COMPLETION_POOL": "aphrodite-completion.there.svc.cluster.local:2242",
        "EMBEDDING_POOL": "aphrodite-embedding.there.svc.cluster.local:2242",
    }


def test_haproxy_takes_the_gateway_s_configuration_in_a_cluster(tmp_path: Path) -> None:
    objects = rendered(ONE)
    files = next(
        one["data"] for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == "aphrodite-gateway"
    )
    text = files["usr.local.etc.haproxy.haproxy.cfg"]
    for place in ("/run/secrets", "/usr/local/etc/haproxy"):
        text = text.replace(place, str(tmp_path))
    (tmp_path / "haproxy.cfg").write_text(text)
    (tmp_path / "jwt.pem").write_text(files["usr.local.etc.haproxy.jwt.pem"])
    (tmp_path / "tls.pem").write_text(self_signed())
    for name in ("client-keys", "client-rights"):
        (tmp_path / name).write_text("a b\n")
    environ = {**_variables(pod_of(workloads(objects)["gateway"])), "ENGINE_KEY": "x", "JWT_ISSUER": ""}
    done = subprocess.run(
        [require("haproxy")["haproxy"], "-c", "-V", "-f", tmp_path / "haproxy.cfg"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert {one["name"] for one in _volume(pod_of(workloads(objects)["gateway"]))} == {
        "tls.pem",
        "client-keys",
        "client-rights",
    }


def _variables(pod: Any) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["containers"][0]["env"] if "value" in one}


def _volume(pod: Any) -> list[dict[str, str]]:
    """The files of secrets, by what they are called in the pod."""
    sources = next(one for one in pod["volumes"] if one["name"] == "secrets")["projected"]["sources"]
    return [{"name": item["path"]} for one in sources for item in one["secret"]["items"]]
