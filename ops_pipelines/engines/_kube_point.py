"""Services of a release pointed at one of two versions, and what was made beside removed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ops_pipelines.engines._kube_needs import Cluster, Hands, Object
from ops_pipelines.engines._kube_watch import await_well
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import DeployFailed
from ops_pipelines.policy.kube_colors import (
    COLOR,
    GREEN,
    HASH,
    RELEASE,
    TRAFFIC,
    Side,
    mark,
    name_of,
    pointed,
    side_of,
    with_replicas,
)  # fmt: skip
from ops_pipelines.policy.kube_objects import label, replicas_of
from ops_pipelines.policy.kube_release import Release

_MOVES = 60.0
"""Seconds within which the cluster's controllers follow a Service's new selector."""
_ENDS = 120.0
_POLL = 0.2
_REVISION = "deployment.kubernetes.io/revision"


def workload_path(namespace: str, name: str = "") -> str:
    """Path of a Deployment, or of all of them."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments" + (f"/{name}" if name else "")


def beside(release: Release, cluster: Cluster) -> list[Object]:
    """Deployments that stand beside others of a release."""
    marks = f"{COLOR}={GREEN},{RELEASE}={release.name}"
    return cluster.listed(workload_path(release.namespace), labelSelector=marks)


def astray(release: Release, objects: Sequence[Object], cluster: Cluster) -> list[Object]:
    """Services of a release that do not send where its chart says."""
    there = cluster.listed(f"/api/v1/namespaces/{release.namespace}/services", labelSelector=TRAFFIC)
    ours = {name_of(one) for one in objects if one.get("kind") == "Service"}
    return [one for one in there if name_of(one) in ours]


def blue(side: Side, release: Release, cluster: Cluster) -> Mapping[str, str]:
    """The label that tells the pods of a Deployment's newest version. Raises DeployFailed where that is unknown."""
    live = cluster.get(workload_path(release.namespace, side.name))
    uid, revision = live["metadata"]["uid"], (live["metadata"].get("annotations") or {}).get(_REVISION)
    for one in cluster.listed(f"/apis/apps/v1/namespaces/{release.namespace}/replicasets"):
        meta = one["metadata"]
        owned = any(owner.get("uid") == uid for owner in meta.get("ownerReferences") or ())
        if owned and revision and (meta.get("annotations") or {}).get(_REVISION) == revision:
            return {HASH: label(one, HASH)}
    raise DeployFailed(
        f"which pods are of the newest version of Deployment/{side.name} is unknown",
        remedy="look whether the cluster's deployment controller works, then deploy again",
    )


def point(side: Side, extra: Mapping[str, str], release: Release, cluster: Cluster, fence: Fence) -> None:
    """Have every Service of a component send to those of its pods that have `extra` labels, and wait until the
    cluster's endpoints are those. Without labels: as the chart says. Raises DeployFailed where they do not follow."""
    for one in side.services:
        fence.check()
        cluster.apply(pointed(one, extra), release.namespace, release.name)
    end = time.monotonic() + _MOVES
    for one in side.services:
        while not _followed(cluster, release.namespace, name_of(one), mark(extra) if extra else ""):
            if time.monotonic() > end:
                raise DeployFailed(
                    f"the endpoints of Service/{name_of(one)} did not follow its selector within {_MOVES:.0f} s",
                    remedy="look whether the cluster's endpointslice controller works, then deploy again",
                )
            time.sleep(_POLL)


def _followed(cluster: Cluster, namespace: str, service: str, wanted: str) -> bool:
    """Slices take over the labels of their Service when they are made anew for its selector."""
    slices = cluster.listed(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        labelSelector=f"kubernetes.io/service-name={service}",
    )
    ready = any(
        (end.get("conditions") or {}).get("ready") is not False
        for one in slices
        for end in one.get("endpoints") or ()
    )
    return bool(slices) and ready and all(label(one, TRAFFIC) == wanted for one in slices)


def settle(
    release: Release,
    objects: Sequence[Object],
    names: Sequence[str],
    hands: Hands,
    *,
    within: float,
    drain: float,
    fence: Fence,
    progress: Progress = silent,
) -> None:
    """Bring Deployments to what `objects` say while their traffic stays where it is, then the traffic to them, then
    remove what stands beside. Raises DeployFailed where they do not get well: traffic then stays where it is."""
    sides = [side for name in names if (side := side_of(objects, name)) is not None]
    progress("settle", 0, 3, "steps")
    renew(release, objects, names, hands, within=within, fence=fence)
    progress("settle", 1, 3, "steps")
    for side in sides:
        point(side, blue(side, release, hands.cluster), release, hands.cluster, fence)
    progress("settle", 2, 3, "steps")
    remove(release, hands.cluster, fence, drain)
    for side in sides:
        point(side, {}, release, hands.cluster, fence)
    progress("settle", 3, 3, "steps")


def renew(
    release: Release,
    objects: Sequence[Object],
    names: Sequence[str],
    hands: Hands,
    *,
    within: float,
    fence: Fence,
    progress: Progress = silent,
) -> None:
    """Bring Deployments, and what their pods read, to what `objects` say, with as many pods as there are now, and wait.

    They are applied as Helm applies them, so that Helm finds its own fields when its turn comes."""
    sides = [side for name in names if (side := side_of(objects, name)) is not None]
    for side in sides:
        for one in side.configs:
            fence.check()
            hands.cluster.apply(one, release.namespace, release.name)
        live = hands.cluster.find(workload_path(release.namespace, side.name))
        now = replicas_of(live) if live is not None else None
        # A number that the chart leaves to an autoscaler stays the autoscaler's.
        keeps = now is None or replicas_of(side.deployment) is None
        wanted = side.deployment if keeps else with_replicas(side.deployment, now or 0)
        fence.check()
        hands.cluster.apply(wanted, release.namespace, release.name)
    progress("renew", 1, 2, "steps")
    await_well(
        [side.deployment for side in sides], release.namespace, hands, within=within, check=fence.check
    )


def remove(release: Release, cluster: Cluster, fence: Fence, drain: float) -> None:
    """Remove what stands beside, `drain` seconds after its last new request, and wait until its pods are gone."""
    greens = beside(release, cluster)
    marks = f"{COLOR}={GREEN},{RELEASE}={release.name}"
    if greens:
        _rest(drain, fence)
    for one in greens:
        fence.check()
        cluster.delete(workload_path(release.namespace, name_of(one)), uid=one["metadata"]["uid"])
    end = time.monotonic() + _ENDS
    while _pods(release, cluster, greens) and time.monotonic() < end:
        time.sleep(_POLL)
    for plural in ("configmaps", "secrets"):
        path = f"/api/v1/namespaces/{release.namespace}/{plural}"
        for one in cluster.listed(path, brief=True, labelSelector=marks):
            fence.check()
            cluster.delete(f"{path}/{name_of(one)}")


def _pods(release: Release, cluster: Cluster, greens: Sequence[Object]) -> bool:
    path = f"/api/v1/namespaces/{release.namespace}/pods"
    for one in greens:
        labels = one["spec"]["selector"]["matchLabels"]
        if cluster.listed(path, brief=True, labelSelector=",".join(f"{k}={v}" for k, v in labels.items())):
            return True
    return False


def _rest(seconds: float, fence: Fence) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        fence.check()
        time.sleep(min(1.0, left))
