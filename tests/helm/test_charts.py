"""Every chart with every value file: rendered, closed, consistent, and refused with words where it could not work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops_pipelines.policy.lint_kube import lint_kube
from ops_pipelines.stack.manifests import read_manifests
from ops_pipelines.wiring.kube_charts import pack_folder
from tests.helm.charts import Form, forms, helm, of_kind, pod_of, refused, rendered, text_of, workloads
from tools.charts import CHARTS, stack_charts

FORMS = list(forms())
OBELISK = Form(CHARTS / "obelisk")
KEDA = Form(CHARTS / "obelisk", ("values-production.yaml", "values-keda.yaml"))
PRODUCTION = Form(CHARTS / "obelisk", ("values-production.yaml",))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_helm_finds_nothing_wrong(form: Form) -> None:
    files = [word for name in form.values for word in ("--values", str(form.chart / name))]
    done = helm("lint", "--strict", str(form.chart), *files)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_our_own_rules_find_nothing(form: Form) -> None:
    found = lint_kube([read_manifests(text_of(form).encode(), str(form))])
    assert [(one.code, one.hit.path) for one in found if one.hit.severity != "info"] == []


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_no_object_is_there_twice(form: Form) -> None:
    counted = Counter((one["kind"], one["metadata"]["name"]) for one in rendered(form))
    assert [name for name, times in counted.items() if times > 1] == []


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_each_service_leads_to_a_workload_and_each_scaler_scales_one(form: Form) -> None:
    objects = rendered(form)
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in workloads(objects).values()]
    for service in of_kind(objects, "Service"):
        assert any(service["spec"]["selector"].items() <= labels.items() for labels in pods), service
    names = {(one["kind"], one["metadata"]["name"]) for one in workloads(objects).values()}
    targets = [
        one["spec"].get("scaleTargetRef") or one["spec"]["targetRef"]
        for one in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject", "VerticalPodAutoscaler")
    ]
    assert {(each["kind"], each["name"]) for each in targets} <= names


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_no_pod_has_rights_that_it_does_not_need(form: Form) -> None:
    for name, workload in workloads(rendered(form)).items():
        pod = pod_of(workload)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        rights = bool(of_kind(rendered(form), "Role")) and pod["serviceAccountName"].endswith(name)
        assert pod["automountServiceAccountToken"] is rights
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"]["drop"] == ["ALL"]
            if pod["securityContext"].get("runAsNonRoot"):
                assert "readOnlyRootFilesystem" in own


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_who_may_ask_is_also_let_in(form: Form) -> None:
    """Both ends of a connection have a policy: where one of them lacks it, nothing goes through."""
    policies = {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]
        for one in of_kind(rendered(form), "NetworkPolicy")
        if "app.kubernetes.io/component" in one["metadata"]["labels"]
    }
    assert set(workloads(rendered(form))) == set(policies)
    asks = {
        (mine, other, *_ports(rule))
        for mine, spec in policies.items()
        for rule in spec["egress"]
        for other in _named(rule["to"])
    }
    lets = {
        (other, mine, *_ports(rule))
        for mine, spec in policies.items()
        for rule in spec["ingress"] or []
        for other in _named(rule["from"])
    }
    assert asks == lets
    assert asks


def _named(peers: list[Mapping[str, Any]]) -> list[str]:
    labels = [one.get("podSelector", {}).get("matchLabels", {}) for one in peers]
    return [one["app.kubernetes.io/component"] for one in labels if "app.kubernetes.io/component" in one]


def _ports(rule: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(one["port"] for one in rule.get("ports", []))


@pytest.mark.parametrize("chart", stack_charts(), ids=lambda one: one.name)
@pytest.mark.parametrize(
    "setting", ['components.olama={"replicas":2}', 'gpu.vendour="nvidia"', "replicaCount=3"], ids=str
)
def test_a_key_that_nobody_knows_is_refused(chart: Any, setting: str) -> None:
    assert "additional properties" in refused(Form(chart), setting)


_HPA = 'components.rag={"replicas":null,"scaling":{"by":"hpa"%s}}'
_QUERIES = 'components.rag.scaling.queries=[{"query":"x","threshold":1}]'
REFUSED = [
    ("two owners", PRODUCTION, 'components.rag.replicas=5', "each upgrade would undo what the scaler has set"),
    ("two scalers", PRODUCTION, _QUERIES, "one scaler owns the replicas"),
    ("keda with metrics of the hpa", PRODUCTION, 'components.rag.scaling.by="keda"', "one scaler owns the replicas"),
    ("nothing to scale by", OBELISK, _HPA % ',"minimum":1,"maximum":2', "nothing to scale by"),
    ("no bounds", OBELISK, _HPA % ',"cpu":60', "no minimum or no maximum"),
    ("bounds the wrong way", PRODUCTION, 'components.rag.scaling.minimum=21', "minimum 21 is more than maximum 20"),
    ("no request to measure by", PRODUCTION, 'components.rag.resources.requests.cpu=null', "nothing to measure by"),
    ("a vpa on a card", PRODUCTION, 'components.ollama.recommend={}', "it knows no cards"),
    ("a card of nobody", OBELISK, 'components.ollama.gpu.count=1', "gpu.vendor is none"),
    ("a card by index", PRODUCTION, 'components.ollama.gpu={"count":null,"card":0}', "device plugin chooses"),
    ("time slicing", PRODUCTION, 'gpu.placement="sliced"', "keeps nobody to a share of memory"),
    ("one volume for many", OBELISK, 'components.rag.replicas=2', "the others would wait for ever"),
    ("a moving tag", OBELISK, 'components.rag.image.tag="latest"', "it moves"),
    ("a moving tag by its end", OBELISK, 'components.litellm.image.tag="main-latest"', "it moves"),
    ("waits for nobody", OBELISK, 'components.etcd.enabled=false', "names etcd, which is switched off"),
    ("talks to nobody", OBELISK, 'components.rag.connects=["litelm"]', "names litelm, which is no component"),
    ("no such secret", OBELISK, 'components.rag.secrets.X="absent"', "not under secrets.keys"),
    ("no Secret", OBELISK, 'secrets.existingSecret=""', "name the Secret that holds them"),
    ("no store", OBELISK, 'secrets.external.enabled=true', "name the SecretStore"),
    ("keys in clear", PRODUCTION, 'ingress.tlsSecret=""', "in clear"),
    ("a door for every name", PRODUCTION, 'ingress.hosts=[]', "answer for every name"),
    ("a door to nowhere", PRODUCTION, 'ingress.component="web"', "not switched on"),
    ("root where it is refused", OBELISK, 'podSecurity="restricted"', "components.litellm has no `user`"),
    ("nodes that cannot join", PRODUCTION, 'karpenter.enabled=true', "no node could join"),
    ("no prometheus", KEDA, 'monitoring.prometheus=""', "set its address"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "setting", "words"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED]
)
def test_what_could_not_work_is_refused_with_words(form: Form, setting: str, words: str) -> None:
    said = refused(form, setting)
    assert words in said
    assert "execution error" in said


def test_all_that_is_wrong_is_told_at_once() -> None:
    said = refused(OBELISK, 'components.rag.image.tag="latest"', "components.ollama.gpu.count=1")
    assert "it moves" in said
    assert "gpu.vendor is none" in said


def test_production_is_as_the_guide_says() -> None:
    objects = rendered(PRODUCTION)
    ollama = workloads(objects)["ollama"]
    assert ollama["spec"]["replicas"] == 3
    container = pod_of(ollama)["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": "1"},
        "limits": {"cpu": 8, "memory": "32Gi", "nvidia.com/gpu": "1"},
    }
    assert ollama["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "500Gi"
    assert "requiredDuringSchedulingIgnoredDuringExecution" in pod_of(ollama)["affinity"]["podAntiAffinity"]
    assert {"name": "scratch-tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in pod_of(ollama)[
        "volumes"
    ]
    bounds = {
        one["metadata"]["name"]: (one["spec"]["minReplicas"], one["spec"]["maxReplicas"])
        for one in of_kind(objects, "HorizontalPodAutoscaler")
    }
    assert bounds == {"obelisk-litellm": (3, 10), "obelisk-rag": (3, 20)}
    assert "replicas" not in workloads(objects)["rag"]["spec"]
    door = of_kind(objects, "Ingress")[0]["metadata"]["annotations"]
    assert door["nginx.ingress.kubernetes.io/proxy-body-size"] == "100m"
    assert door["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "600"


def test_keda_scales_by_load_and_takes_silence_for_no_answer() -> None:
    scaled = of_kind(rendered(KEDA), "ScaledObject")
    spec = scaled[0]["spec"]
    assert (spec["pollingInterval"], spec["cooldownPeriod"]) == (30, 300)
    asked = [one["metadata"] for one in spec["triggers"] if one["type"] == "prometheus"]
    assert [one["threshold"] for one in asked] == ["50", "100"]
    assert {one["ignoreNullValues"] for one in asked} == {"false"}
    assert spec["fallback"]["replicas"] == 5


def test_a_scaler_of_our_own_starts_at_its_minimum() -> None:
    rule = '{"replicas":null,"scaling":{"by":"ops-pipelines","minimum":2,"maximum":4}}'
    objects = rendered(OBELISK, f"components.litellm={rule}")
    assert workloads(objects)["litellm"]["spec"]["replicas"] == 2
    assert of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject") == []


def test_a_color_names_its_own_workload_and_the_service_leads_to_it() -> None:
    objects = rendered(OBELISK, 'components.litellm.color="green"')
    litellm = workloads(objects)["litellm"]
    assert litellm["metadata"]["name"] == "obelisk-litellm-green"
    door = next(one for one in of_kind(objects, "Service") if one["metadata"]["name"] == "obelisk-litellm")
    assert door["spec"]["selector"]["ops-pipelines.io/color"] == "green"
    assert litellm["spec"]["template"]["metadata"]["labels"]["ops-pipelines.io/color"] == "green"


def test_the_routes_in_the_cluster_are_those_of_compose() -> None:
    """One Service stands for the two servers of Compose: names, models and limits are the same."""
    there = yaml.safe_load((CHARTS.parent / "deploy/obelisk/litellm/production.yaml").read_text())
    here = yaml.safe_load((CHARTS / "obelisk/files/litellm/production.yaml").read_text())

    def routes(config: Any) -> set[tuple[str, str, str]]:
        return {
            (one["model_name"], one["litellm_params"]["model"], json.dumps(one["model_info"]))
            for one in config["model_list"]
        }

    assert routes(here) == routes(there)
    for key in ("router_settings", "litellm_settings", "general_settings"):
        assert here[key] == there[key]


def test_a_file_of_compose_names_the_services_of_the_release() -> None:
    config = next(
        one for one in of_kind(rendered(OBELISK), "ConfigMap") if one["metadata"]["name"] == "obelisk-litellm"
    )
    addresses = {
        one["litellm_params"].get("api_base")
        for one in yaml.safe_load(config["data"]["app.config.yaml"])["model_list"]
    }
    assert addresses == {"http://obelisk-ollama:11434", None}


def test_no_key_is_in_any_object() -> None:
    for form in FORMS:
        assert of_kind(rendered(form), "Secret") == []


@pytest.mark.parametrize("chart", stack_charts(), ids=lambda one: one.name)
def test_packed_as_a_revision_keeps_it_the_same_is_rendered(chart: Path, tmp_path: Path) -> None:
    """The library lies in a chart's folder as a link, which a package has to follow."""
    package = pack_folder(chart, tmp_path)
    done = helm("template", chart.name, str(package.path), "--namespace", "there")
    assert done.returncode == 0, done.stderr
    assert done.stdout == text_of(Form(chart))
