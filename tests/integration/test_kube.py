"""Target `kubernetes` on a real control plane: deploy, change, fail, go back, scale, drift, take down.

Pods only seem to run here (kwok); what keeps a real pod from starting is in test_kube_pods.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ops_pipelines.errors import DeployFailed, PreflightFailed, Refused, UsageError
from ops_pipelines.policy import kube_rights
from ops_pipelines.wiring import deployments, revisions
from tests.cluster.use import Namespace
from tests.integration.kube_web import SECRET, Stand, make_stand
from tests.parts import require
from tests.servers.seaweed import Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def stand(namespace: Namespace, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Stand:
    namespace.gpu_node(gpus=2, cpu="4")
    return make_stand(
        tmp_path,
        kubeconfig=namespace.cluster.kubeconfig,
        namespace=namespace.name,
        seaweed=seaweed,
        bucket=bucket,
        helm=require("helm").path,
    )


def test_deploy_change_go_back_scale_and_take_down(stand: Stand, namespace: Namespace) -> None:
    assert set(stand.subjects().values()) == {"create"}
    assert stand.deploy().revision == 1
    rows = deployments.status_rows(stand.write())
    assert [(row["component"], row["answers"]) for row in rows] == [("web", "yes"), ("db", "yes")]
    assert [one.ok for one in deployments.drift_findings(stand.write())] == [True]
    again = stand.deploy()
    assert (again.revision, again.recorded, again.plan.empty) == (1, False, True)

    # A change is shown field by field, without the secret's value.
    stand.values["words"] = "two"
    stand.environ["WEB_PASSWORD"] = "another-password-of-theirs"
    planned = deployments.plan(stand.write())
    shown = {step.subject: step.detail for step in planned.changes}
    assert shown["ConfigMap/shop-words"] == "data.words: one → two"
    assert shown["Secret/shop-password"] == "data.password: *** → ***"
    assert "containers[web].env[WORDS].value: one → two" in shown["component/web"]
    assert "component/db" not in shown
    stand.environ["WEB_PASSWORD"] = SECRET
    assert stand.deploy().revision == 2
    held = json.dumps(namespace.get("configmap/shop-words")["data"])
    assert json.loads(held) == {"words": "two", "since": "2026-01-01"}

    # The chart on disk is another one by now; that of the first revision comes back.
    stand.template("rest.yaml", "")
    removed = {step.subject for step in deployments.plan(stand.write()).changes if step.verb == "remove"}
    assert removed == {"Secret/shop-password", "ConfigMap/shop-words", "PersistentVolumeClaim/shop-models"}
    back = deployments.deploy(stand.write(), to=1, by="test")
    assert back.revision == 3
    assert namespace.get("configmap/shop-words")["data"]["words"] == "one"
    newest = revisions.newest(stand.write())
    assert newest is not None
    assert SECRET not in json.dumps(newest.artifact)

    # Scaling goes by the chart's own value, and a deploy of the same declaration does not undo a rule's choice.
    deployments.set_replicas(stand.write(), "web", 2)
    assert namespace.get("deployment/shop-web")["spec"]["replicas"] == 2
    assert deployments.replicas(stand.write(), "web") == 2
    namespace.create(_scaler("shop-web"))
    with pytest.raises(Refused, match="decided by HorizontalPodAutoscaler one"):
        deployments.set_replicas(stand.write(), "web", 1)

    # Drift is what somebody else changed.
    namespace.kubectl("set", "env", "statefulset/shop-db", "A=by hand")
    [drifted] = [one for one in deployments.drift_findings(stand.write()) if one.subject == "component/db"]
    assert "kubectl-set set spec.template.spec.containers[db].env[A]" in drifted.message

    # Claims outlive the release, and are found again.
    claims = {"data-shop-db-0", "shop-models"}
    deployments.down(stand.write(), volumes=False)
    assert _claims(namespace) == claims
    assert namespace.get("deployments")["items"] == []
    deployments.deploy(stand.write(), to=1, by="test")
    assert _claims(namespace) == claims
    deployments.down(stand.write(), volumes=True)
    namespace.kubectl("wait", "--for=delete", "pvc", "--all", "--timeout=60s")


def test_a_failed_upgrade_puts_back_what_ran(stand: Stand, namespace: Namespace) -> None:
    stand.deploy()
    stand.values["web"] = {"cpu": "99"}
    stand.target["unschedulable_within"] = "2s"
    with pytest.raises(DeployFailed) as caught:
        stand.deploy()
    words = str(caught.value)
    assert "component `web` (Deployment/shop-web)" in words
    assert "Insufficient cpu" in words
    assert "add nodes" in words
    assert "what ran before was put back and is healthy" in words
    [container] = namespace.get("deployment/shop-web")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "10m"
    newest = revisions.newest(stand.write())
    assert newest is not None
    assert newest.number == 1

    # A StatefulSet whose new pod never starts is put back too: its controller would wait for that pod for ever.
    stand.values = {"db": {"cpu": "9999"}}
    with pytest.raises(DeployFailed, match="what ran before was put back and is healthy"):
        stand.deploy()
    assert deployments.status_rows(stand.write())[1]["answers"] == "yes"


def test_a_failed_first_deploy_leaves_claims_alone(stand: Stand, namespace: Namespace) -> None:
    stand.values["web"] = {"cpu": "99"}
    stand.target["unschedulable_within"] = "1s"
    with pytest.raises(
        DeployFailed, match="what the deploy had started was removed; volume claims stay: shop-models"
    ):
        stand.deploy()
    assert namespace.get("deployments")["items"] == []
    assert "shop-models" in _claims(namespace)
    assert revisions.newest(stand.write()) is None


def test_what_cannot_be_is_refused_before_anything_changes(stand: Stand, namespace: Namespace) -> None:
    stand.deploy()
    before = namespace.get("statefulset/shop-db")["metadata"]["generation"]
    stand.values["db"] = {"size": "2Mi"}
    with pytest.raises(PreflightFailed, match="--cascade=orphan"):
        stand.deploy()
    stand.values = {"web": {"command": "no list"}}
    with pytest.raises(PreflightFailed, match="Deployment/shop-web"):
        stand.deploy()
    stand.values = {}
    namespace.kubectl("annotate", "configmap", "shop-words", "x=y")
    namespace.kubectl(
        "patch", "configmap", "shop-words", "--field-manager=a-person", "-p", '{"data":{"words":"mine"}}'
    )
    with pytest.raises(PreflightFailed, match="a-person set fields of it"):
        stand.deploy()
    stand.target["force_conflicts"] = True
    assert not stand.deploy().recorded
    assert namespace.get("configmap/shop-words")["data"]["words"] == "one"
    assert namespace.get("statefulset/shop-db")["metadata"]["generation"] == before
    with pytest.raises(UsageError, match="builds no images"):
        deployments.build(stand.write(), ())


def test_somebody_elses_manifests(stand: Stand, namespace: Namespace) -> None:
    """Braces of theirs are no template of ours."""
    text = """
apiVersion: v1
kind: ConfigMap
metadata: {name: theirs}
data: {rule: "{{ $labels.instance }} is down"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: engine}
spec:
  selector: {matchLabels: {app: engine}}
  template:
    metadata: {labels: {app: engine}}
    spec: {containers: [{name: main, image: a}]}
"""
    (stand.folder / "theirs.yaml").write_text(text)
    stand.target = {"chart": None, "values": [], "set_secrets": {}, "manifests": ["theirs.yaml"]}
    stand.target["workloads"] = {"web": "Deployment/engine"}
    stand.stack["components"].pop("db")
    assert stand.subjects() == {"ConfigMap/theirs": "create", "component/web": "create"}
    assert stand.deploy().revision == 1
    assert namespace.get("configmap/theirs")["data"]["rule"] == "{{ $labels.instance }} is down"
    with pytest.raises(UsageError, match="no value of chart"):
        deployments.set_replicas(stand.write(), "web", 2)


def _claims(namespace: Namespace) -> set[str]:
    return {one["metadata"]["name"] for one in namespace.get("pvc")["items"]}


def _scaler(name: str) -> dict[str, object]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "one"},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 2},
    }


def test_rights_cards_quota_and_pod_security(stand: Stand, namespace: Namespace) -> None:
    """An account with the documented rights does all of it; with one fewer the preflight names that one."""
    core = [("", name, True) for name in ("secrets", "configmaps", "persistentvolumeclaims")]
    kinds = [*core, ("apps", "deployments", True), ("apps", "statefulsets", True)]
    rights = (*kube_rights.FIXED, *kube_rights.of_kinds(kinds))
    narrow, wide = (kube_rights.rules(rights, wide=each) for each in (False, True))
    stand.environ["KUBECONFIG"] = str(namespace.account(narrow, cluster=wide))
    assert [one.ok for one in deployments.preflight(stand.write()) if one.subject == "rights"] == [True]
    assert stand.deploy().revision == 1
    stand.values["words"] = "two"
    assert stand.deploy().revision == 2
    deployments.deploy(stand.write(), to=1, by="test")
    deployments.set_replicas(stand.write(), "web", 2)
    assert len(deployments.status_rows(stand.write())) == 3
    deployments.drift_findings(stand.write())
    deployments.down(stand.write(), volumes=True)
    assert namespace.get("deployments")["items"] == []
    lost = ("patch", "statefulsets")
    fewer = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if (verb, *rule["resources"]) != lost]}
        for rule in narrow
    ]
    stand.environ["KUBECONFIG"] = str(namespace.account(fewer, cluster=wide))
    with pytest.raises(PreflightFailed, match=r"may not patch statefulsets\.apps in namespace"):
        stand.deploy()

    # What would wait for ever, or be refused half-way, is said first.
    stand.environ["KUBECONFIG"] = str(namespace.cluster.kubeconfig)
    stand.values = {"web": {"gpus": 99}}
    with pytest.raises(PreflightFailed, match=r"99 nvidia\.com/gpu"):
        stand.deploy()
    namespace.kubectl("create", "quota", "q", "--hard=pods=2")
    until(lambda: namespace.get("quota/q").get("status", {}).get("used"), what="the quota to be counted")
    stand.values = {"web": {"replicas": 2}}
    with pytest.raises(PreflightFailed, match="pods: 3 asked for, 2 free of 2"):
        stand.deploy()
    namespace.kubectl("delete", "quota", "q")
    namespace.kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    with pytest.raises(PreflightFailed, match="violates PodSecurity"):
        stand.deploy()
    assert namespace.get("deployments")["items"] == []


def test_what_a_killed_deploy_left_is_settled(stand: Stand, namespace: Namespace) -> None:
    """Helm killed in a hook that does not end: the release is left in pending-upgrade."""
    stand.deploy()
    hook = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "slow", "annotations": {"helm.sh/hook": "pre-upgrade"}},
        "spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}
        },
    }
    stand.template("hook.yaml", json.dumps(hook))
    chart = stand.folder / "chart"
    for labels, words in (
        ({"ops-pipelines.io/lease": "1-2"}, ""),
        ({"by": "hand"}, "somebody is changing release shop"),
    ):
        command = [
            require("helm").path, "upgrade", "shop", chart, "--namespace", namespace.name,
            "--kubeconfig", namespace.cluster.kubeconfig, "--kube-context", "tests",
            "--labels", ",".join(f"{name}={value}" for name, value in labels.items()),
        ]  # fmt: skip
        helm = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: "pending-upgrade" in _statuses(namespace), what="the release to be in pending-upgrade")
        helm.kill()
        helm.wait()
        namespace.kubectl("delete", "job", "slow", "--ignore-not-found", "--wait=true")
        (chart / "templates" / "hook.yaml").unlink(missing_ok=True)
        assert any("left in pending-upgrade" in one for one in deployments.plan(stand.write()).warnings)
        if words:
            with pytest.raises(Refused, match=words):
                stand.deploy()
            continue
        stand.deploy()
        assert _statuses(namespace).count("deployed") == 1
        assert "pending-upgrade" not in _statuses(namespace)
        stand.template("hook.yaml", json.dumps(hook))


def _statuses(namespace: Namespace) -> list[str]:
    return [
        str(one["metadata"]["labels"].get("status"))
        for one in namespace.get("secrets")["items"]
        if "labels" in one["metadata"]
    ]
