"""What a stack file declares for a cluster is what its chart makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_pipelines.stack.loader import load_stack
from ops_pipelines.stack.model import Stack
from ops_pipelines.wiring.site import linked
from tests.deploy.projects import environ_of
from tests.helm.charts import Form, pod_of, rendered, workloads
from tools.charts import CHARTS

_DEPLOY = CHARTS.parent / "deploy"


def _stacks() -> Iterator[tuple[str, Stack, Form]]:
    for file in sorted(_DEPLOY.glob("*/stack.yaml")):
        for profile in load_stack(file, environ=environ_of(file)).profiles:
            stack = linked(load_stack(file, profile=profile, environ=environ_of(file))).stack
            if (
                stack.target.kind != "kubernetes"
                or not (file.parent / stack.target.chart / "Chart.yaml").is_file()
            ):
                continue
            chart = (file.parent / stack.target.chart).resolve()
            yield (
                f"{stack.stack}-{profile}",
                stack,
                Form(chart, tuple(Path(one).name for one in stack.target.values)),
            )


_ALL = list(_stacks())
each = pytest.mark.parametrize(("stack", "form"), [one[1:] for one in _ALL], ids=[one[0] for one in _ALL])


@each
def test_the_components_are_the_same(stack: Stack, form: Form) -> None:
    assert set(workloads(rendered(form))) == {
        name for name, one in stack.components.items() if one.address is None
    }


@each
def test_images_ports_and_variables_are_the_same(stack: Stack, form: Form) -> None:
    for name, workload in workloads(rendered(form)).items():
        declared, container = stack.components[name], pod_of(workload)["containers"][0]
        assert container["image"] == declared.image
        assert {one["name"]: one["containerPort"] for one in container["ports"]} == declared.ports, name
        variables = {one["name"]: one.get("value") for one in container.get("env", [])}
        assert declared.environment.items() <= variables.items(), name
        if declared.health.path is not None:
            assert container["startupProbe"]["httpGet"] == {
                "path": declared.health.path,
                "port": declared.health.port,
            }


@each
def test_memory_and_cards_are_the_same(stack: Stack, form: Form) -> None:
    for name, workload in workloads(rendered(form)).items():
        declared, resources = stack.components[name].resources, pod_of(workload)["containers"][0]["resources"]
        if declared.memory_limit is not None:
            assert _bytes(resources["limits"]["memory"]) == declared.memory_limit, name
        cards = [int(amount) for key, amount in resources["limits"].items() if key.endswith("/gpu")]
        assert sum(cards) == declared.gpus, name


@each
def test_as_many_as_are_declared_unless_a_scaler_says(stack: Stack, form: Form) -> None:
    for name, workload in workloads(rendered(form)).items():
        if "replicas" in workload["spec"]:
            assert workload["spec"]["replicas"] == stack.components[name].replicas, name
        else:
            rule = next(one for one in stack.scaling.values() if one.component == name)
            assert rule.owner in ("hpa", "keda"), name


@each
def test_a_cache_lies_in_a_volume_that_its_server_mounts(stack: Stack, form: Form) -> None:
    for name, workload in workloads(rendered(form)).items():
        mounts = {one["mountPath"] for one in pod_of(workload)["containers"][0].get("volumeMounts", [])}
        assert set(stack.components[name].volumes.values()) <= mounts, name
    for name, cache in stack.caches.items():
        users = [one for one in stack.components.values() if name in one.volumes]
        assert users, name
        assert all(cache.path.startswith(one.volumes[name]) for one in users)


def _bytes(text: str) -> int:
    for unit, size in (("Gi", 1024**3), ("Mi", 1024**2), ("G", 10**9), ("M", 10**6)):
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * size)
    return int(text)
