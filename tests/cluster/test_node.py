"""The real node: pods run, print, find one another by name, keep files, and end."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.node import IMAGE
from tests.cluster.test_cluster import pod
from tests.cluster.use import Namespace
from tests.waiting import until

_ANSWER = (
    "mkdir -p /tmp/www && echo hello from $(hostname) >/tmp/www/index.html && httpd -f -p 8080 -h /tmp/www"
)


def claim(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


def test_a_pod_runs_and_its_log_is_read(real_namespace: Namespace) -> None:
    real_namespace.create(pod("says", "sh", "-c", "echo first; echo second >&2"))
    real_namespace.wait("jsonpath={.status.phase}=Succeeded", "pod/says")
    assert set(real_namespace.kubectl("logs", "says").splitlines()) == {"first", "second"}


def test_a_service_answers_by_name(real_namespace: Namespace) -> None:
    """By its short and its whole name, and a name that is not there is said to be not there."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web-0"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    asks = f"wget -qO- http://web && wget -qO- http://web.{real_namespace.name}.svc.cluster.local"
    real_namespace.create(pod("web-0", "sh", "-c", _ANSWER), service)
    real_namespace.wait("condition=Ready", "pod/web-0")
    real_namespace.create(
        pod(
            "asks",
            "sh",
            "-c",
            f"until wget -qO /dev/null http://web; do sleep 0.2; done; {asks}; nslookup nobody",
        )
    )
    until(
        lambda: real_namespace.get("pod/asks")["status"]["phase"] in ("Succeeded", "Failed"), what="the pod"
    )
    log = real_namespace.kubectl("logs", "asks")
    assert log.count("hello from web-0") == 2
    assert "NXDOMAIN" in log


def test_a_job_ends(real_namespace: Namespace) -> None:
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", "exit 0"]}
    real_namespace.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "once"},
            "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
        }
    )
    real_namespace.wait("condition=Complete", "job/once")


def test_a_volume_outlives_its_pod_and_not_its_claim(real_namespace: Namespace) -> None:
    """And it belongs to the pod's group: who is not root may write there."""

    def with_volume(name: str, command: str) -> dict[str, Any]:
        made = pod(name, "sh", "-c", command, volumeMounts=[{"name": "data", "mountPath": "/data"}])
        made["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        made["spec"]["securityContext"] = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}
        return made

    real_namespace.create(claim("data"), with_volume("writes", "echo kept >/data/file; ls -n /data"))
    real_namespace.wait("jsonpath={.status.phase}=Succeeded", "pod/writes")
    assert " 2000 " in real_namespace.kubectl("logs", "writes")
    real_namespace.create(with_volume("reads", "cat /data/file"))
    real_namespace.wait("jsonpath={.status.phase}=Succeeded", "pod/reads")
    assert real_namespace.kubectl("logs", "reads") == "kept"
    volume = real_namespace.get("pvc/data")["spec"]["volumeName"]
    real_namespace.kubectl("delete", "pod/writes", "pod/reads", "pvc/data")
    real_namespace.wait("delete", f"pv/{volume}")


def test_a_pod_asks_the_server_as_its_account(real_namespace: Namespace) -> None:
    """The API is reached from a pod, by name, and it is told from others by its account."""
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    real_namespace.create(
        pod("asks", "sh", "-c", f"nslookup kubernetes.default.svc.cluster.local; wc -c <{folder}/token")
    )
    real_namespace.wait("jsonpath={.status.phase}=Succeeded", "pod/asks")
    view = json.loads(real_namespace.cluster.kubectl("get", "svc", "kubernetes", "-o", "json"))
    assert view["spec"]["clusterIP"] in real_namespace.kubectl("logs", "asks")
