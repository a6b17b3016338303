"""The cluster of the tests is a real one: it schedules by GPU, runs pods, keeps rights, and parts namespaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.cluster.node import IMAGE
from tests.cluster.use import Cluster, Namespace
from tests.waiting import until

GPU = "nvidia.com/gpu"
READ = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    """A pod of one container; `spec` are keys of the container."""
    container = {"name": "main", "image": IMAGE, "command": list(command) or None, **spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1},
    }


def gpus(count: int) -> Mapping[str, Any]:
    return {"limits": {GPU: str(count)}}


def test_the_server_answers(cluster: Cluster) -> None:
    assert cluster.server_version().startswith("v1.")
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"


def test_gpus_are_counted(namespace: Namespace) -> None:
    node = namespace.gpu_node(gpus=4, memory_mib=81920)
    namespace.create(pod("one", resources=gpus(1)), pod("three", resources=gpus(3)))
    for name in ("one", "three"):
        namespace.wait("condition=Ready", f"pod/{name}")
        assert namespace.get(f"pod/{name}")["spec"]["nodeName"] == node
    namespace.create(pod("fifth", resources=gpus(1)))

    def refused() -> bool:
        conditions = namespace.get("pod/fifth")["status"].get("conditions", [])
        return any(
            one["reason"] == "Unschedulable" and f"Insufficient {GPU}" in one["message"] for one in conditions
        )

    until(refused, what="the fifth GPU to be refused")


def test_a_node_says_what_its_cards_are(namespace: Namespace) -> None:
    name = namespace.gpu_node(gpus=2, product="NVIDIA-L4", memory_mib=23034, replicas=3)
    node = json.loads(namespace.cluster.kubectl("get", "node", name, "-o", "json"))
    labels = node["metadata"]["labels"]
    assert (labels[f"{GPU}.product"], labels[f"{GPU}.memory"]) == ("NVIDIA-L4-SHARED", "23034")
    assert node["status"]["allocatable"][GPU] == "6"


def test_namespaces_are_apart(cluster: Cluster, namespace: Namespace) -> None:
    """Neither things nor nodes of one are the other's."""
    namespace.gpu_node(gpus=4)
    with cluster.namespace() as other:
        other.gpu_node(gpus=1)
        other.create(pod("wide", resources=gpus(2)), pod("narrow", resources=gpus(1)))
        other.wait("condition=Ready", "pod/narrow")
        other.wait("condition=PodScheduled=false", "pod/wide")
        assert namespace.get("pods")["items"] == []


def test_an_account_has_only_its_rights(namespace: Namespace) -> None:
    reader = namespace.account([READ])

    def may(*words: str) -> tuple[bool, str]:
        done = namespace.ask(f"--kubeconfig={reader}", *words)
        return done.returncode == 0, done.stderr

    assert may("get", "pods") == (True, "No resources found in " + namespace.name + " namespace.\n")
    done, said = may("get", "secrets")
    assert not done
    assert "Forbidden" in said
    done, said = may("get", "nodes")
    assert not done
    assert "Forbidden" in said


def test_pods_run_as_accounts(namespace: Namespace) -> None:
    """The admission of accounts is on: a pod of one that does not exist is refused."""
    wanted = pod("lost")
    wanted["spec"]["serviceAccountName"] = "nobody"
    done = namespace.ask("create", "-f", "-", stdin=json.dumps(wanted))
    assert 'serviceaccount "nobody" not found' in done.stderr


def test_crds_come_once(cluster: Cluster) -> None:
    cluster.crds("keda", "karpenter", "karpenter-aws")
    cluster.crds("keda")
    listed = cluster.kubectl("get", "crds", "-o", "name")
    assert {"scaledobjects.keda.sh", "nodepools.karpenter.sh", "ec2nodeclasses.karpenter.k8s.aws"} <= {
        line.rsplit("/", 1)[1] for line in listed.splitlines()
    }
