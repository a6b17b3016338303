"""The charts on a real control plane: every object accepted by the API server, and releases made, changed and removed.

Pods are put on nodes that only seem to run them: what is shown is scheduling, volumes, scalers and the level of Pod
Security, not the servers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.nodes import POOL
from tests.cluster.use import Cluster, Namespace
from tests.helm.charts import Form, forms, helm, rendered
from tests.waiting import until
from tools.charts import CHARTS, stack_charts

_SETS = ("keda", "karpenter", "karpenter-aws", "kuberay", "prometheus-operator", "vpa")
_TAINT = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
_MULTI = CHARTS / "multi-adapter-llama3"
_CARDS = {"ops-pipelines.io/card-0-gb": "20", "ops-pipelines.io/card-1-gb": "20"}


@pytest.fixture(scope="module")
def known(cluster: Cluster) -> Cluster:
    """A cluster that knows what operators of the charts bring."""
    cluster.crds(*_SETS)
    return cluster


@pytest.mark.parametrize("chart", stack_charts(), ids=lambda one: one.name)
def test_the_server_takes_every_object_of_every_form(known: Cluster, chart: Path) -> None:
    objects = {json.dumps(one): one for form in forms() if form.chart == chart for one in rendered(form)}
    level = yaml.safe_load((chart / "values.yaml").read_text()).get("podSecurity", "baseline")
    with known.namespace(labels={"pod-security.kubernetes.io/warn": level}) as space:
        listed = [_here(one) for one in objects.values() if one["kind"] != "ExternalSecret"]
        account = next(one for one in listed if one["kind"] == "ServiceAccount")
        space.create(account)  # without it no pod is taken, and `helm test` is one
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": listed})
        done = space.ask(
            "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", "-", stdin=text
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("serverside-applied") == len(listed)


def _here(one: Mapping[str, Any]) -> dict[str, Any]:
    """The object in this namespace, as Helm would make it."""
    return {**one, "metadata": {key: value for key, value in one["metadata"].items() if key != "namespace"}}


class _Release:
    """A release in a namespace, as an operator of it has it."""

    def __init__(self, space: Namespace, form: Form) -> None:
        self.space, self.form = space, form

    def up(self, *settings: str) -> None:
        done = self._install(*settings)
        assert done.returncode == 0, f"{done.stderr}\n{self.space.kubectl('get', 'events')[-3000:]}"

    def _install(self, *settings: str, within: str = "90s") -> Any:
        files = [word for name in self.form.values for word in ("--values", str(self.form.chart / name))]
        given = [word for one in settings for word in ("--set-json", one)]
        words = ["upgrade", "--install", self.name, str(self.form.chart), "--wait", f"--timeout={within}"]
        return self.helm(*words, *files, *given)

    def helm(self, *words: str) -> Any:
        cluster = self.space.cluster
        where = (
            f"--kubeconfig={cluster.kubeconfig}",
            f"--kube-context={cluster.context}",
            f"--namespace={self.space.name}",
        )
        return helm(*words, *where)

    @property
    def name(self) -> str:
        return self.form.chart.name

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.space.get("pods")["items"]
        return found


@pytest.fixture
def space(known: Cluster) -> Iterator[Namespace]:
    """A namespace of its own."""
    with known.namespace() as made:
        yield made


def test_obelisk_is_installed_changed_rolled_back_and_removed(space: Namespace) -> None:
    for _ in range(3):
        space.gpu_node(gpus=1, product="NVIDIA-A10G", memory_mib=23028, taints=[_TAINT])
    space.gpu_node(gpus=0)
    release = _Release(space, Form(CHARTS / "obelisk", ("values-production.yaml",)))
    release.up()
    assert {"3"} == _ready(space, "statefulset/obelisk-ollama")
    nodes = [one["spec"]["nodeName"] for one in release.pods() if "ollama" in one["metadata"]["name"]]
    assert len(set(nodes)) == 3
    # An HPA without readings keeps its minimum.
    until(lambda: _ready(space, "deployment/obelisk-rag") == {"3"}, what="the HPA's minimum")

    release.up('components.rag.image.tag="0.1.1"')
    assert _image(space, "deployment/obelisk-rag") == "obelisk/rag:0.1.1"
    assert _ready(space, "deployment/obelisk-rag") == {"3"}, "an upgrade leaves the HPA's number alone"
    assert release.helm("rollback", release.name, "1", "--wait", "--timeout=60s").returncode == 0
    assert _image(space, "deployment/obelisk-rag") == "obelisk/rag:0.1.0"

    release.up("components.ollama.replicas=2")
    assert _ready(space, "statefulset/obelisk-ollama") == {"2"}
    claims = _names(space, "pvc")
    assert "models-obelisk-ollama-2" in claims
    assert release.helm("uninstall", release.name, "--wait", "--timeout=60s").returncode == 0
    assert _names(space, "pvc") == claims
    assert _names(space, "deployments,statefulsets,services,ingresses,networkpolicies") == set()


def test_one_card_too_few_is_waited_for_and_told(space: Namespace) -> None:
    space.gpu_node(gpus=1, taints=[_TAINT])
    space.gpu_node(gpus=0)
    release = _Release(space, Form(CHARTS / "obelisk", ("values-nvidia.yaml",)))
    assert release._install(within="5s").returncode != 0
    waiting = [one for one in release.pods() if one["status"]["phase"] == "Pending"]
    assert [one["metadata"]["name"] for one in waiting] == ["obelisk-ollama-0"]
    assert "Insufficient nvidia.com/gpu" in str(waiting[0]["status"]["conditions"])


def test_seven_servers_land_on_two_cards_and_the_scheduler_holds_the_eighth_back(space: Namespace) -> None:
    labels = {"ops-pipelines.io/cards": "multi-adapter-llama3"}
    space.cluster.ask("create", "-f", "-", stdin=json.dumps(_RUNTIME))  # there already in a second run
    node = space.gpu_node(
        gpus=2, memory_mib=20475, cpu="16", memory="64Gi", labels=labels, taints=[_TAINT], allocatable=_CARDS
    )
    space.gpu_node(gpus=0, cpu="4", memory="8Gi")
    release = _Release(space, Form(_MULTI, ("values-counted.yaml",)))
    release.up()
    servers = [one for one in release.pods() if "router" not in one["metadata"]["name"]]
    assert len(servers) == 7
    assert {one["spec"]["nodeName"] for one in servers} == {node}
    assert _on_cards(servers) == {"0": 20, "1": 20}

    space.kubectl("scale", "statefulset/multi-adapter-llama3-chatbot", "--replicas=4")

    def held_back() -> bool:
        eighth = [one for one in release.pods() if one["metadata"]["name"].endswith("-chatbot-3")]
        return "Insufficient ops-pipelines.io/card-0-gb" in str([one["status"] for one in eighth])

    until(held_back, what="the eighth to be held back")


def test_seven_servers_share_two_claimed_cards(space: Namespace) -> None:
    node = space.gpu_node(gpus=0, cpu="16", memory="64Gi", taints=[_TAINT])
    space.gpu_node(gpus=0, cpu="4", memory="8Gi")
    driver = f"gpu.{space.name}"
    space.cluster.create(*_devices(driver, node, cards=2))
    try:
        release = _Release(space, Form(_MULTI, ("values-dra.yaml",)))
        release.up(f'gpu.deviceClass="{driver}"', f'gpu.driver="{driver}"', "gpu.claimConfig=[]")
        claims = {
            one["metadata"]["name"][-1]: one["status"]["allocation"]["devices"]["results"][0]["device"]
            for one in space.get("resourceclaims")["items"]
        }
        assert sorted(claims.values()) == ["card-0", "card-1"]
        servers = [one for one in release.pods() if "router" not in one["metadata"]["name"]]
        assert {one["spec"]["nodeName"] for one in servers} == {node}
        sizes = {"base": 8, "chatbot": 4, "code": 6, "summarization": 8}
        taken: Counter[str] = Counter()
        for one in servers:
            card = one["spec"]["resourceClaims"][0]["resourceClaimName"][-1]
            taken[claims[card]] += sizes[one["metadata"]["labels"]["app.kubernetes.io/component"]]
        assert taken == {"card-0": 20, "card-1": 20}
    finally:
        space.cluster.ask("delete", "deviceclass", driver)
        space.cluster.ask("delete", "resourceslice", f"{node}-cards")


def test_three_models_share_the_card_of_one_node(space: Namespace) -> None:
    space.cluster.ask("create", "-f", "-", stdin=json.dumps(_RUNTIME))  # there already in a second run
    labels = {"ops-pipelines.io/cards": "llm-service"}
    node = space.gpu_node(gpus=1, labels=labels, taints=[_TAINT])
    space.gpu_node(gpus=0)
    release = _Release(space, Form(CHARTS / "llm-service", ("values-gpu-80.yaml",)))
    release.up()
    models = [one for one in release.pods() if one["spec"]["nodeName"] == node]
    assert {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in models} == {
        "standard",
        "longctx",
        "multimodal",
    }
    assert release.helm("uninstall", release.name, "--wait", "--timeout=60s").returncode == 0
    assert "llm-service-models" in _names(space, "pvc")


def test_aphrodite_is_scaled_by_the_hpa_and_its_ray_form_lands_on_five_nodes(space: Namespace) -> None:
    for _ in range(5):
        space.gpu_node(gpus=4, taints=[_TAINT])
    space.gpu_node(gpus=0)
    shared = f'claims.models.existingClaim="{_shared(space)}"'
    release = _Release(space, Form(CHARTS / "aphrodite", ("values-production.yaml",)))
    release.up(shared)
    until(lambda: _ready(space, "deployment/aphrodite-aphrodite") == {"2"}, what="the HPA's minimum")
    engines = [one for one in release.pods() if "-aphrodite-" in one["metadata"]["name"]]
    assert len({one["spec"]["nodeName"] for one in engines}) == 2
    assert release.helm("uninstall", release.name, "--wait", "--timeout=60s").returncode == 0

    ray = _Release(space, Form(CHARTS / "aphrodite", ("values-ray.yaml",)))
    ray.up(shared)
    on_cards = [
        one for one in ray.pods() if "nvidia.com/gpu" in str(one["spec"]["containers"][0]["resources"])
    ]
    assert len(on_cards) == 5
    assert len({one["spec"]["nodeName"] for one in on_cards}) == 5


def _shared(space: Namespace) -> str:
    """A claim that many nodes mount, as a class of network storage gives it."""
    name = f"{space.name}-shared"
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    space.cluster.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": {POOL: space.name}},
            "spec": {**spec, "capacity": {"storage": "1Ti"}, "nfs": {"server": "nowhere", "path": "/"}},
        }
    )
    space.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "shared"},
            "spec": {**spec, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}},
        }
    )
    return "shared"


def test_the_swarm_is_installed_and_gets_more_agents(space: Namespace) -> None:
    space.gpu_node(gpus=1, taints=[_TAINT])
    space.gpu_node(gpus=0)
    release = _Release(space, Form(CHARTS / "vllm-local-swarm"))
    release.up()
    assert _ready(space, "deployment/vllm-local-swarm-ray-worker") == {"2"}
    release.up("components.ray-worker.replicas=10")
    assert _ready(space, "deployment/vllm-local-swarm-ray-worker") == {"10"}
    assert release.helm("rollback", release.name, "1", "--wait", "--timeout=60s").returncode == 0
    assert _ready(space, "deployment/vllm-local-swarm-ray-worker") == {"2"}


_RUNTIME = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "nvidia"},
    "handler": "nvidia",
}


def _devices(driver: str, node: str, cards: int) -> Sequence[Mapping[str, Any]]:
    """What a driver of cards publishes: its class, and the cards of a node with their memory."""
    api = "resource.k8s.io/v1"
    devices = [{"name": f"card-{i}", "capacity": {"memory": {"value": "20475Mi"}}} for i in range(cards)]
    chosen = [{"cel": {"expression": f'device.driver == "{driver}"'}}]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    return (
        {
            "apiVersion": api,
            "kind": "DeviceClass",
            "metadata": {"name": driver},
            "spec": {"selectors": chosen},
        },
        {
            "apiVersion": api,
            "kind": "ResourceSlice",
            "metadata": {"name": f"{node}-cards"},
            "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": devices},
        },
    )


def _on_cards(pods: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """GB on each card, by the variable that names it and the resource that counts it."""
    taken: Counter[str] = Counter()
    for one in pods:
        container = one["spec"]["containers"][0]
        card = next(each["value"] for each in container["env"] if each["name"] == "NVIDIA_VISIBLE_DEVICES")
        taken[card] += int(container["resources"]["limits"][f"ops-pipelines.io/card-{card}-gb"])
    return taken


def _ready(space: Namespace, what: str) -> set[str]:
    status = space.get(what)["status"]
    return {str(status.get("readyReplicas")), str(status.get("replicas"))}


def _image(space: Namespace, what: str) -> str:
    return str(space.get(what)["spec"]["template"]["spec"]["containers"][0]["image"])


def _names(space: Namespace, what: str) -> set[str]:
    return {one["metadata"]["name"] for one in space.get(what)["items"]}
