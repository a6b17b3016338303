"""Claims behind a path of a pod, and the Job beside them."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy.compose_plan import Behind
from ops_pipelines.policy.kube_job import Beside, job, secret
from ops_pipelines.policy.kube_volumes import Elsewhere, claims_behind, missing_claims, node_of
from ops_pipelines.policy.one_off import Mounted, OneOff


def workload(kind: str = "StatefulSet", **pod: Any) -> dict[str, Any]:
    mounts = [
        {"name": "data", "mountPath": "/data"},
        {"name": "models", "mountPath": "/root/.ollama", "subPath": "ollama"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    spec = {
        "containers": [{"name": "a", "volumeMounts": mounts}],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "shared"}},
            {"name": "tmp", "emptyDir": {}},
        ],
        **pod,
    }
    return {
        "kind": kind,
        "metadata": {"name": "db"},
        "spec": {
            "template": {"spec": spec},
            "selector": {"matchLabels": {"app": "db"}},
            "volumeClaimTemplates": [
                {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
            ],
        },
    }


@pytest.mark.parametrize(
    ("path", "replicas", "found"),
    [
        ("/data", 1, (Behind("/data-db-0", "", "data-db-0"),)),
        ("/data/in", 2, (Behind("/data-db-0", "in", "data-db-0"), Behind("/data-db-1", "in", "data-db-1"))),
        ("/root/.ollama/models", 1, (Behind("/shared/ollama", "models", "shared"),)),
        ("/tmp/x", 1, Elsewhere("emptyDir")),
        ("/else", 1, None),
    ],
)
def test_what_lies_behind_a_path(path: str, replicas: int, found: Any) -> None:
    assert claims_behind(workload(), path, replicas) == found


def test_claims_are_made_as_helm_and_the_controller_would() -> None:
    [claim] = missing_claims([workload()], ["data-db-1", "unknown"], "shop", "space")
    assert claim["metadata"]["name"] == "data-db-1"
    assert claim["metadata"]["labels"] == {"app": "db", "app.kubernetes.io/managed-by": "Helm"}
    assert claim["metadata"]["annotations"]["meta.helm.sh/release-name"] == "shop"


@pytest.mark.parametrize(
    ("mode", "phase", "node"),
    [
        ("ReadWriteOnce", "Running", "n1"),
        ("ReadWriteOnce", "Succeeded", ""),
        ("ReadWriteMany", "Running", ""),
    ],
)
def test_the_node_of_who_holds_it(mode: str, phase: str, node: str) -> None:
    assert node_of([_claim(mode)], [_pod(phase)]) == node


def test_one_pod_alone_has_it() -> None:
    with pytest.raises(ValueError, match="holder"):
        node_of([_claim("ReadWriteOncePod")], [_pod("Running")])


def test_the_job_shows_no_secret_and_may_no_more_than_it_needs() -> None:
    spec = OneOff("job", "image", ("part", "store"), {"KEY": "a-secret"}, (Mounted("c", "/data/0/volume", True, True),),
                  {"l": "x"}, "", 1 << 30, 2.0)  # fmt: skip
    made = job(spec, Beside({"spec": {}}, "n1"), "space")
    assert "a-secret" not in str(made)
    assert secret(spec, "space")["stringData"] == {"KEY": "a-secret"}
    pod = made["spec"]["template"]["spec"]
    [one] = pod["containers"]
    assert one["volumeMounts"][0] == {"name": "claim-0", "mountPath": "/data/0/volume", "readOnly": True}
    assert one["securityContext"]["capabilities"]["add"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]
    assert (made["spec"]["backoffLimit"], pod["automountServiceAccountToken"]) == (0, False)
    assert "n1" in str(pod["affinity"])
    restricted = job(spec, Beside({"spec": {"securityContext": {"runAsUser": 70, "fsGroup": 70}}}), "space")
    pod = restricted["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["containers"][0]["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["fsGroup"] == 70


def _claim(mode: str) -> dict[str, Any]:
    return {"metadata": {"name": "c"}, "spec": {"accessModes": [mode]}}


def _pod(phase: str) -> dict[str, Any]:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    return {
        "metadata": {"name": "holder"},
        "spec": {"nodeName": "n1", "volumes": volumes},
        "status": {"phase": phase},
    }
