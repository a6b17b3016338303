"""The cloud forms of Aphrodite: what the vendors' own models take, and cards that can be had."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator

from ops_pipelines.policy.cloud_cards import CLOUDS, asked, refusals
from tests.deploy.projects import DEPLOY

CLOUD = DEPLOY / "aphrodite" / "cloud"


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CLOUD / name).read_text())
    return read


def _ecs(operation: str, given: Mapping[str, Any]) -> str:
    shape = get_session().get_service_model("ecs").operation_model(operation).input_shape
    return str(ParamValidator().validate(given, shape).generate_report())


@pytest.mark.parametrize(
    ("operation", "name"), [("RegisterTaskDefinition", "task-definition"), ("CreateService", "service")]
)
def test_ecs_takes_it(operation: str, name: str) -> None:
    given = _read(f"ecs/{name}.json")
    assert _ecs(operation, given) == ""
    assert "Unknown parameter" in _ecs(operation, {**given, "replicas": 3})


def test_cloud_run_takes_it() -> None:
    run = pytest.importorskip("google.cloud.run_v2")
    given = _read("cloud-run/service.json")
    service = run.Service.from_json(json.dumps(given))
    assert service.template.node_selector.accelerator == "nvidia-l4"
    assert service.template.scaling.max_instance_count == 10
    with pytest.raises(Exception, match="no field named"):
        run.Service.from_json(json.dumps({**given, "replicas": 3}))


def test_container_instances_take_it() -> None:
    models = pytest.importorskip("azure.mgmt.containerinstance.models")
    given = _read("aci/container-group.json")

    def as_taken(what: Mapping[str, Any]) -> Any:
        return models.ContainerGroup.deserialize(what).serialize(keep_readonly=True)

    assert as_taken(given) == given, "all of it is known"
    assert as_taken({**given, "properties": {**given["properties"], "replicas": 3}}) == given


def test_three_tasks_are_replaced_two_hundred_to_fifty() -> None:
    service = _read("ecs/service.json")
    assert service["desiredCount"] == 3
    rolling = service["deploymentConfiguration"]
    assert (rolling["maximumPercent"], rolling["minimumHealthyPercent"]) == (200, 50)
    task = _read("ecs/task-definition.json")
    check = task["containerDefinitions"][1]["healthCheck"]
    assert check["startPeriod"] + check["interval"] * check["retries"] >= 1200, "a slow load is not killed"


@pytest.mark.parametrize(
    ("name", "card", "count"),
    [
        ("ecs/task-definition.json", "A100", 4),
        ("cloud-run/service.json", "L4", 1),
        ("aci/container-group.json", "", 0),
    ],
)
def test_its_cards_can_be_had(name: str, card: str, count: int) -> None:
    cloud, wanted, number = asked(_read(name))
    assert (wanted, number) == (card, count)
    assert number == 0 or refusals(cloud, wanted, number) == []


@pytest.mark.parametrize(
    ("cloud", "card", "count", "memory", "words"),
    [
        ("cloud-run", "A100", 4, 0, "lends no A100, but L4, RTX-PRO-6000"),
        ("cloud-run", "L4", 4, 0, "1 L4 at most, and 4 are asked for"),
        ("cloud-run", "L4", 1, 40, "1 L4 have 24 GB together, and the model needs 40"),
        ("aci", "V100", 1, 0, "retired on 14 July 2025"),
        ("aci", "A100", 4, 0, "take AKS"),
        ("ecs", "V100", 4, 0, "lends no V100"),
        ("ecs", "A100", 16, 0, "8 A100 at most"),
        ("fargate", "T4", 1, 0, "none of ecs, cloud-run, aci"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_with_words(
    cloud: str, card: str, count: int, memory: int, words: str
) -> None:
    said = refusals(cloud, card, count, memory)
    assert len(said) == 1
    assert words in said[0]


def test_what_the_guide_asks_of_cloud_run_is_refused() -> None:
    four = copy.deepcopy(_read("cloud-run/service.json"))
    four["template"]["nodeSelector"]["accelerator"] = "nvidia-tesla-a100"
    four["template"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "4"
    assert asked(four) == ("cloud-run", "nvidia-tesla-a100", 4)
    assert refusals(*asked(four))
    group = copy.deepcopy(_read("aci/container-group.json"))
    group["properties"]["containers"][0]["properties"]["resources"]["requests"]["gpu"] = {
        "count": 1,
        "sku": "V100",
    }
    assert "retired" in refusals(*asked(group))[0]


def test_each_engine_s_model_fits_its_cards() -> None:
    assert refusals("ecs", "A100", 4, memory_gb=40) == []
    assert refusals("cloud-run", "L4", 1, memory_gb=8) == []
    assert all(one.page.startswith("https://") for one in CLOUDS.values())
