"""Volume claims behind the caches and volumes of a stack on a cluster.

A `path` of the declaration is the path inside the pods of the component that uses it; the pod template of its workload
says which claim lies behind it. What of a release is not deployed (yet, or any more) is known from its chart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ops_pipelines.engines import kube as engine
from ops_pipelines.errors import ClusterRefused, TargetUnsupported
from ops_pipelines.policy.compose_plan import Behind
from ops_pipelines.policy.kube_objects import key_of
from ops_pipelines.policy.kube_volumes import Elsewhere, claims_behind, missing_claims
from ops_pipelines.wiring.beside import users
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.site import Site

Object = Mapping[str, Any]


def objects_of(here: KubeSite) -> tuple[Object, ...]:
    """What stands of the release; where nothing does, what its chart would make."""
    standing = engine.standing(here.release, here.hands).objects
    return tuple(standing) or here.render(here.release)


def sides(here: KubeSite, kind: str, name: str) -> tuple[tuple[Behind, ...], Object]:
    """The claim behind each replica of a cache or a volume, and the workload that mounts it.

    Raises TargetUnsupported where none does, or where what it mounts there is no claim."""
    site = here.site
    declared = (site.stack.caches if kind == "model_cache" else site.stack.volumes)[name]
    names = users(site, kind, name)
    for workload in _workloads(here, names):
        found = claims_behind(workload, declared.path, declared.replicas)
        if isinstance(found, Elsewhere):
            raise TargetUnsupported(
                f"{kind}/{name} of {site.name} is {declared.path}, which is {found.kind or 'no volume'} of "
                f"{workload['kind']}/{workload['metadata']['name']}, and no volume claim",
                remedy="let the chart keep it in a PersistentVolumeClaim, or set `backup` to leave it out",
            )
        if found:
            return found, workload
    raise TargetUnsupported(
        f"{kind}/{name} of {site.name} is {declared.path}, and no workload of "
        f"{', '.join(names) or 'any component'} mounts anything there",
        remedy="name the path inside the pod, below one of its volumeMounts; `target.workloads` says which workload "
        "runs a component",
    )


def _workloads(here: KubeSite, components: tuple[str, ...]) -> Iterator[Object]:
    objects = objects_of(here)
    known = here.workloads(objects)
    by_key = {key_of(one, here.target.namespace): one for one in objects}
    for name in components:
        if name in known:
            yield by_key[known[name]]


def make_claims(site: Site) -> None:
    """Make the claims of caches and volumes that are not there, as the chart would."""
    here = KubeSite(site)
    namespace = here.target.namespace
    parts = [("model_cache", n) for n in site.stack.caches] + [("volume", n) for n in site.stack.volumes]
    wanted: dict[str, None] = {}
    for kind, name in parts:
        try:
            wanted |= dict.fromkeys(one.volume for one in sides(here, kind, name)[0])
        except TargetUnsupported:
            continue  # it is said of the part itself, when it is asked for
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    if here.cluster.find(f"/api/v1/namespaces/{namespace}") is None and here.target.create_namespace:
        here.cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    there = {str(one["metadata"]["name"]) for one in here.cluster.listed(path, brief=True)}
    gone = [name for name in wanted if name not in there]
    for claim in missing_claims(objects_of(here), gone, here.target.release, namespace):
        try:
            here.cluster.create(path, claim)
        except ClusterRefused as error:
            if error.code != 409:
                raise
