"""Cards, quotas, storage classes, what pods refer to, rights, replicas, and Helm's records."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops_pipelines.policy import kube_cards, kube_needs, kube_release, kube_replicas, kube_rights
from ops_pipelines.policy.kube_diff import Tried, by_hand, differences, gone_from, plan_of
from ops_pipelines.policy.kube_objects import Key, laid_out, workloads_of
from ops_pipelines.policy.kube_release import Recorded, Release

GPU = "nvidia.com/gpu"


def workload(name: str, *, kind: str = "Deployment", replicas: int = 1, **pod: Any) -> dict[str, Any]:
    labels = pod.pop("labels", {})
    limits = pod.pop("limits", {})
    container = {"name": "main", "resources": {"limits": limits}, **pod.pop("container", {})}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container], **pod}}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def node(name: str, cards: int, *, resource: str = GPU, taints: Any = (), **labels: str) -> dict[str, Any]:
    known = {f"nvidia.com/gpu.{key}": value for key, value in labels.items()}
    status = {"allocatable": {resource: str(cards)}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "labels": known}, "spec": {"taints": taints}, "status": status}


def cards(
    objects: list[dict[str, Any]], nodes: list[dict[str, Any]], *pods: Any, memory: int = 0
) -> list[bool | None]:
    asked = {Key("apps", "Deployment", "ns", "a"): memory} if memory else {}
    wanted = kube_cards.wanted_of(objects, "ns", asked)
    return [one.ok for one in kube_cards.card_findings(wanted, kube_cards.nodes_of(nodes, pods, ()))]


def holder(where: str, count: int) -> dict[str, Any]:
    limits = {"resources": {"limits": {GPU: count}}}
    return {
        "metadata": {"uid": where},
        "spec": {"nodeName": where, "containers": [limits]},
        "status": {"phase": "Running"},
    }


TAINT = [{"key": GPU, "effect": "NoSchedule"}]
A = workload("a", replicas=2, limits={GPU: 1})
TWO_EACH = [workload("a", replicas=2, limits={GPU: 2})]


@pytest.mark.parametrize(
    ("found", "ok"),
    [
        (cards([A], [node("n", 2)]), [True]),
        (cards([A], [node("n", 1)]), [False]),
        (cards([A], [node("n", 2)], holder("n", 1)), [False]),
        (cards([A], []), [False]),
        (cards([workload("a")], []), []),
        (cards(TWO_EACH, [node("n", 2), node("m", 2)]), [True]),
        # Four cards are free, and no node has two twice.
        (cards(TWO_EACH, [node("n", 3), node("m", 1)]), [False]),
        (cards([A], [node("n", 2, taints=TAINT)]), [False]),
        (
            cards(
                [workload("a", limits={GPU: 1}, tolerations=[{"key": GPU, "operator": "Exists"}])],
                [node("n", 2, taints=TAINT)],
            ),
            [True],
        ),
        (cards([workload("a", limits={GPU: 1}, nodeSelector={"x": "y"})], [node("n", 2)]), [False]),
        # Memory of each card: 24 GiB is enough for 20, and no longer once four share it.
        (cards([A], [node("n", 2, memory="24576")], memory=20 << 30), [True]),
        (cards([A], [node("n", 8, memory="24576", replicas="4")], memory=20 << 30), [False]),
        (cards([A], [node("n", 2, memory="16384")], memory=20 << 30), [False]),
        # Nobody says how much: that is not refused.
        (cards([A], [node("n", 2)], memory=20 << 30), [True]),
        (
            cards(
                [workload("a", limits={"nvidia.com/mig-3g.20gb": 1})],
                [node("n", 2, resource="nvidia.com/mig-3g.20gb")],
                memory=18 << 30,
            ),
            [True],
        ),
        (
            cards(
                [workload("a", limits={"nvidia.com/mig-1g.5gb": 1})],
                [node("n", 2, resource="nvidia.com/mig-1g.5gb")],
                memory=18 << 30,
            ),
            [False],
        ),
        (cards([workload("a", limits={"amd.com/gpu": 1})], [node("n", 1, resource="amd.com/gpu")]), [True]),
        (cards([workload("a", limits={"gpu.intel.com/i915": 1})], [node("n", 1)]), [False]),
    ],
)
def test_cards(found: list[bool | None], ok: list[bool | None]) -> None:
    assert found == ok


@pytest.mark.parametrize(
    ("text", "number"), [("500m", 0.5), ("2Gi", 2**31), ("3", 3), ("1k", 1000), ("many", 0), (4, 4)]
)
def test_amounts(text: object, number: float) -> None:
    assert kube_cards.amount(text) == number


def test_quota_counts_what_the_release_gives_back() -> None:
    quota = {"metadata": {"name": "q"}, "status": {"hard": {"pods": "3", GPU: "1"}, "used": {"pods": "3"}}}
    wanted = kube_needs.demand([workload("a", replicas=3)])
    assert [one.ok for one in kube_needs.quota_findings([quota], wanted, {})] == [False]
    assert [one.ok for one in kube_needs.quota_findings([quota], wanted, {"pods": 3})] == [True]


def test_storage_classes() -> None:
    def claim(name: str, **spec: str) -> dict[str, Any]:
        return {"kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}

    def ok(default: bool, *there: str) -> list[bool | None]:
        notes = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
        classes = [{"metadata": {"name": "fast", "annotations": notes}}]
        objects = [claim("a"), claim("b", storageClassName="fast"), claim("c", storageClassName="slow")]
        return [one.ok for one in kube_needs.storage_findings(objects, there, classes)]

    assert ok(True) == [True, True, False]
    assert ok(False) == [False, True, False]
    assert ok(False, "a", "c") == [True]


def test_what_pods_refer_to() -> None:
    env = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "made", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "optional", "key": "k", "optional": True}}},
    ]
    one = workload(
        "a",
        container={"env": env, "envFrom": [{"configMapRef": {"name": "words"}}]},
        serviceAccountName="x",
        imagePullSecrets=[{"name": "pull"}],
        volumes=[{"name": "v", "secret": {"secretName": "tls"}}],
    )
    made = {"kind": "Secret", "metadata": {"name": "made"}}
    external = {"kind": "ExternalSecret", "metadata": {"name": "e"}, "spec": {"target": {"name": "tls"}}}
    assert set(kube_needs.references([one, made, external])) == {
        ("Secret", "absent"), ("ConfigMap", "words"), ("ServiceAccount", "x"), ("Secret", "pull"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "ok"), [("4.3.1", True), ("3.18.0", True), ("3.17.9", False), ("dev", None)]
)
def test_helm(version: str, ok: bool | None) -> None:
    assert kube_needs.helm_finding(version).ok is ok


def test_rights_are_asked_once_each() -> None:
    kinds = kube_rights.of_kinds([("", "secrets", True), ("", "nodes", False)])
    asked = kube_rights.questions((*kube_rights.FIXED, *kinds), "ns")
    assert len(asked) == len(set(asked))
    answers = {one: one.verb != "delete" for one in asked}
    lacking = [str(one) for one, right in kube_rights.missing(answers, asked) if right.needed]
    assert "delete secrets" in lacking
    assert "delete pods" in lacking
    [rule] = [
        one for one in kube_rights.rules(kube_rights.FIXED, wide=False) if one["resources"] == ["pods/log"]
    ]
    assert rule["verbs"] == ["get"]


# --- objects, differences, records ---


def test_components() -> None:
    objects = [
        workload("x-web"),
        workload("db", kind="StatefulSet"),
        workload("z", labels={"app.kubernetes.io/component": "api"}),
        workload("other"),
    ]
    found = workloads_of(objects, ["web", "db", "api", "cache", "gone"], {"cache": "Deployment/other"}, "ns")
    assert {name: str(key) for name, key in found.items()} == {
        "web": "Deployment/x-web", "db": "StatefulSet/db", "api": "Deployment/z", "cache": "Deployment/other",
    }  # fmt: skip


def test_lists_are_laid_out() -> None:
    one = {"apiVersion": "v1", "kind": "Secret"}
    assert list(laid_out([None, "x", {"apiVersion": "v1", "kind": "SecretList", "items": [one]}, one])) == [
        one,
        one,
    ]


def test_differences_hide_secrets_and_the_servers_own() -> None:
    old = {
        "kind": "Secret",
        "metadata": {"name": "a", "uid": "1", "generation": 1},
        "data": {"a": "b2xk", "b": "x"},
    }
    new = {
        "kind": "Secret",
        "metadata": {"name": "a", "uid": "2", "generation": 2},
        "data": {"a": "bmV3", "b": "x"},
    }
    assert differences(old, new) == ("data.a: *** → ***",)
    env = [{"name": "API_KEY", "value": "k1"}, {"name": "MODE", "value": "a"}]
    after = [{"name": "API_KEY", "value": "k2"}, {"name": "MODE", "value": "b"}]
    found = differences(workload("a", container={"env": env}), workload("a", container={"env": after}))
    assert [one.rpartition("env")[2] for one in found] == [
        "[API_KEY].value: *** → ***",
        "[MODE].value: a → b",
    ]


def test_what_is_wanted_no_longer() -> None:
    kept = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "p", "annotations": {"helm.sh/resource-policy": "keep"}},
    }
    hook = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "h", "annotations": {"helm.sh/hook": "pre-install"}},
    }
    gone = gone_from([kept, hook, workload("a"), workload("b")], [workload("b")], "ns")
    assert [(str(key), stays) for key, stays in gone] == [
        ("PersistentVolumeClaim/p", True),
        ("Deployment/a", False),
    ]
    key = Key("apps", "Deployment", "ns", "b")
    plan = plan_of("t", [Tried(key, {}, None, "no", 422)], gone, {key: "b"})
    assert [(step.verb, step.subject) for step in plan.steps] == [
        ("check", "component/b"), ("keep", "PersistentVolumeClaim/p"), ("remove", "Deployment/a"),
    ]  # fmt: skip
    assert plan.warnings == ("Deployment/b is refused by the cluster: no",)


def test_what_people_set_by_hand() -> None:
    fields = {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {"f:image": {}, ".": {}}}}}}
    }
    managed = [
        {"manager": "kubectl-set", "fieldsV1": fields},
        {"manager": "kube-controller-manager", "fieldsV1": fields},
        {"manager": "kubectl-rollout", "fieldsV1": fields},
        {"manager": "helm", "fieldsV1": fields},
    ]
    key = Key("apps", "Deployment", "ns", "a")
    [step] = by_hand([Tried(key, {"metadata": {"managedFields": managed}}, None)], {})
    assert "kubectl-set set spec.template.spec.containers[web].image by hand" in step.detail


def secret_of(record: dict[str, Any], status: str = "pending-upgrade") -> dict[str, Any]:
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
    labels = {"owner": "helm", "name": "r", "version": "3", "status": status, "modifiedAt": "1795262400"}
    return {"metadata": {"name": "sh.helm.release.v1.r.v3", "labels": labels}, "data": {"release": packed}}


def test_a_record_of_helms_is_given_up() -> None:
    secret = secret_of({"info": {"status": "pending-upgrade", "notes": "n"}, "manifest": "m"})
    found = kube_release.given_up(secret, "why")
    assert found["metadata"]["labels"]["status"] == "failed"
    assert kube_release.unpacked(found) == {
        "info": {"status": "failed", "notes": "n", "description": "why"}, "manifest": "m",
    }  # fmt: skip
    with pytest.raises(ValueError, match="cannot be read"):
        kube_release.unpacked({"data": {"release": "xx"}})


@pytest.mark.parametrize(
    ("token", "age", "stale"),
    [(4, 1, True), (5, 1, False), (None, 1, False), (None, 601, True)],
)
def test_whose_unfinished_change_it_is(token: int | None, age: int, stale: bool) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    latest = Recorded("s", 3, "pending-upgrade", token, now - timedelta(seconds=age))
    assert kube_release.stale(latest, 5, now, 600) is stale


def test_a_release_is_kept_and_read() -> None:
    one = Release(
        "r", "ns", "c-1", "d" * 64, ("a: 1",), {"x": 1}, {"p": "pw"}, {"web.replicas": 2}, {"i": "d"}
    )
    assert kube_release.from_json(json.loads(json.dumps(kube_release.to_json(one)))) == one
    assert one.layers == ({"x": 1}, {"web": {"replicas": 2}})
    assert kube_release.nested({r"a\.b.c": 1}) == {"a.b": {"c": 1}}


def test_claims_of_a_release() -> None:
    def claim(name: str, **labels: str) -> dict[str, Any]:
        return {"metadata": {"name": name, "labels": labels}}

    db = {**workload("db", kind="StatefulSet")}
    db["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}}]
    there = [claim("data-db-0"), claim("data-db-12"), claim("data-db-x"), claim("other"),
             claim("left", **{"app.kubernetes.io/instance": "r"})]  # fmt: skip
    assert kube_replicas.claims_among(there, "r", [db]) == ["data-db-0", "data-db-12", "left"]
    assert kube_replicas.candidates("model-server", {})[:2] == (
        "components.model-server.replicas",
        "components.modelServer.replicas",
    )


@pytest.mark.parametrize(("label", "token"), [("7-3", 7), ("7-2", None), ("7", None), ("", None)])
def test_a_label_is_of_one_revision(label: str, token: int | None) -> None:
    """Helm hands labels down: what somebody did by hand after us is not ours."""
    secret = secret_of({})
    secret["metadata"]["labels"][kube_release.OURS] = label
    found = kube_release.recorded_of(secret)
    assert found is not None
    assert found.token == token
    assert kube_release.ours(7, 3) == "7-3"
