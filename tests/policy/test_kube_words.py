"""What keeps a workload from being well, in words. Statuses have the form and the words of Kubernetes 1.34; on a real
node they are tried in tests/integration/test_kube_pods.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ops_pipelines.policy.kube_words import Look, job_look, look, rollout, stuck

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def deployment(**status: Any) -> dict[str, Any]:
    seen = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, **status}
    return {"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": seen}


def stateful(**status: Any) -> dict[str, Any]:
    seen = {
        "observedGeneration": 1,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "updateRevision": "b",
        **status,
    }
    return {"kind": "StatefulSet", "metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": seen}


def pod(container: dict[str, Any] | None = None, *, age: int = 5, **more: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": "Pending", "conditions": more.pop("conditions", [])}
    if container is not None:
        status["containerStatuses"] = [{"name": "web", "image": "a:1", "restartCount": 0, **container}]
    made = f"2026-11-21T11:59:{60 - age:02d}Z"
    return {"metadata": {"name": "web-0", "uid": "u", "creationTimestamp": made}, "status": status}


def unschedulable(message: str) -> list[dict[str, str]]:
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]


def seen(
    *pods: dict[str, Any], events: tuple[dict[str, Any], ...] = (), watched: float = 5, **status: Any
) -> Look:
    workload = deployment(**{"availableReplicas": 0, **status})
    return look(workload, pods, events, NOW, unschedulable_within=30, watched=watched)


def ended(reason: str, code: int, restarts: int) -> dict[str, Any]:
    last = {"terminated": {"reason": reason, "exitCode": code}}
    waiting = {
        "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
    }
    return {"state": waiting, "lastState": last, "restartCount": restarts, "ready": False}


@pytest.mark.parametrize(
    ("workload", "well"),
    [
        (deployment(), True),
        (deployment(observedGeneration=1), False),
        (deployment(availableReplicas=0), False),
        (deployment(updatedReplicas=0), False),
        (deployment(replicas=2), False),
        (stateful(), True),
        (stateful(updatedReplicas=1), False),
        (stateful(readyReplicas=1), False),
        ({"kind": "DaemonSet", "metadata": {}, "status": {"desiredNumberScheduled": 0}}, True),
        (
            {
                "kind": "DaemonSet",
                "metadata": {},
                "status": {"desiredNumberScheduled": 1, "numberAvailable": 1},
            },
            False,
        ),
    ],
)
def test_rolled_out(workload: dict[str, Any], well: bool) -> None:
    assert rollout(workload)[0] is well


def test_a_partition_is_as_far_as_it_goes() -> None:
    workload = stateful(updatedReplicas=1)
    workload["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    assert rollout(workload)[0]


WAITING_FOR_IMAGE = {
    "state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "a:1": not found'}}
}
CASES = {
    "nobody says why": (seen(pod()), "waiting", "0 of 1 pods are ready"),
    "no cards": (
        seen(pod(conditions=unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."))),
        "waiting", "no node takes pod web-0",
    ),
    "no cards for too long": (
        seen(pod(age=31, conditions=unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."))),
        "lost", "Insufficient nvidia.com/gpu",
    ),
    "image, just now": (seen(pod(WAITING_FOR_IMAGE)), "waiting", "the image a:1 cannot be pulled"),
    "image, for long": (seen(pod(WAITING_FOR_IMAGE), watched=21), "lost", "the image a:1 cannot be pulled"),
    "no image at all": (
        seen(pod({"state": {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image"}}}), watched=0),
        "lost", "couldn't parse image",
    ),
    "ended once": (seen(pod(ended("Error", 1, 1))), "waiting", "ended with status 1"),
    "ended again and again": (seen(pod(ended("Error", 1, 3))), "lost", "(3 restarts)"),
    "killed for its memory": (seen(pod(ended("OOMKilled", 137, 3))), "lost", "more memory than its limit"),
    "a Secret is not there": (
        seen(
            pod({"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}}),
            watched=31,
        ),
        "lost", 'secret "x" not found',
    ),
    "a probe": (
        seen(
            pod({"state": {"running": {}}, "ready": False}),
            events=(
                {
                    "type": "Warning", "reason": "Unhealthy", "lastTimestamp": "2026-11-21T11:59:59Z",
                    "message": "Readiness probe failed: HTTP probe failed with statuscode: 503",
                    "involvedObject": {"uid": "u"},
                },
            ),
        ),
        "waiting", "a probe of pod web-0 fails: Readiness probe failed: HTTP probe failed with statuscode: 503",
    ),
    "quota": (
        seen(
            watched=61,
            conditions=[
                {
                    "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                    "message": 'pods "web-1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1',
                }
            ],
        ),
        "lost", "the namespace's quota is used up",
    ),
    "PodSecurity": (
        seen(
            watched=11,
            events=(
                {
                    "type": "Warning", "reason": "FailedCreate",
                    "message": 'pods "web-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot'  ,
                },
            ),
        ),
        "lost", "PodSecurity level refuses the pod",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_in_words(name: str) -> None:
    found, outcome, words = CASES[name]
    assert found.outcome == outcome
    assert words in found.words


def test_what_cannot_mend_itself_is_told_first() -> None:
    found = seen(pod(ended("Error", 1, 1)), pod(ended("OOMKilled", 137, 3)))
    assert "memory" in found.words
    assert "memory" in found.remedy


def test_jobs() -> None:
    assert job_look({"status": {"active": 1}}).outcome == "ready"
    bad = {
        "status": {"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]}
    }
    assert job_look(bad).outcome == "lost"


def test_a_pod_that_holds_a_rollout_up() -> None:
    def one(name: str, revision: str, *, ready: bool) -> dict[str, Any]:
        conditions = [{"type": "Ready", "status": str(ready)}]
        labels = {"controller-revision-hash": revision}
        return {"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}}

    pods = [one("db-0", "a", ready=True), one("db-1", "a", ready=False), one("db-2", "b", ready=False)]
    assert stuck(stateful(), pods) == ("db-1",)
    assert stuck(stateful(observedGeneration=0), pods) == ()
    assert stuck(deployment(), pods) == ()
