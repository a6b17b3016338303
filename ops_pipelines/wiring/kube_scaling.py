"""Replicas of a component on a cluster: by the value of its chart, and only where nobody else decides."""

from __future__ import annotations

from ops_pipelines.engines import kube as engine
from ops_pipelines.engines._deploy_needs import no_smoke
from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.engines.ports import Fence, silent
from ops_pipelines.errors import OpsError, Refused, UsageError
from ops_pipelines.policy.kube_objects import Key, key_of, replicas_of
from ops_pipelines.policy.kube_release import Release, with_replicas
from ops_pipelines.policy.kube_replicas import candidates, owner_of
from ops_pipelines.wiring import kube_bluegreen, revisions
from ops_pipelines.wiring.kube_site import KubeSite, within
from ops_pipelines.wiring.kube_state import before, record
from ops_pipelines.wiring.site import Site


def scale(site: Site, component: str, count: int, fence: Fence) -> None:
    """Bring one component to `count` pods, by the value of the chart that says how many it has.

    Raises UsageError for a stack that was never deployed and where no value does, Refused where somebody else decides.
    """
    here, standing = KubeSite(site), before(site)
    if standing is None:
        raise UsageError(
            f"{site.name} was never deployed, so there is nothing to scale",
            remedy=f"deploy it first: ops-pipelines deploy {site.name}",
        )
    kube_bluegreen.finish(here, fence, silent)
    objects = engine.standing(standing, here.hands).objects
    key = here.workloads(objects).get(component)
    if key is None:
        raise UsageError(
            f"no workload of release {standing.name} runs the component {component}",
            remedy=f"name it: target.workloads.{component}: Deployment/NAME",
        )
    owner = owner_of(key, _scalers(here, key))
    if owner is not None:
        raise Refused(
            f"the replicas of {component} ({key}) are decided by {owner}",
            remedy=f"change its bounds, or remove it and let ops-pipelines scale {component}",
        )
    release = _scaled(here, standing, component, key, count)
    engine.deploy(
        site.name,
        here.look(f"Scale {component} of {site.name} to {count}", release),
        here.hands,
        before=standing,
        fence=fence,
        record=lambda done: record(here, done, "scaling", revisions.scale_note(component, count)),
        smoke=no_smoke,
        within=within(site),
        reason=f"scaling of {component} to {count}",
        force_conflicts=here.target.force_conflicts,
    )


def _scalers(here: KubeSite, key: Key) -> list[Object]:
    path = f"/apis/autoscaling/v2/namespaces/{key.namespace}/horizontalpodautoscalers"
    return here.cluster.listed(path)


def _scaled(here: KubeSite, release: Release, component: str, key: Key, count: int) -> Release:
    """The release with another number of replicas: the first value of the usual ones that the chart goes by."""
    chart = here.chart(release)
    tried = candidates(component, here.target.replica_values)

    def says(one: Release, path: str) -> bool:
        objects = here.helm.render(chart, here.layers(one).texts, upgrade=True)
        found = [each for each in objects if key_of(each, key.namespace) == key]
        return bool(found) and replicas_of(found[0]) == one.replicas[path]

    for path in tried:
        # A value that the chart does not read changes nothing: another number than any default tells. The smaller one,
        # as a chart may refuse more than there is room for.
        try:
            read = says(with_replicas(release, path, count - 1 if count else 1), path)
        except OpsError:  # a closed schema refuses a value that it does not know
            continue
        changed = with_replicas(release, path, count)
        if read and says(changed, path):
            return changed
    raise UsageError(
        f"no value of chart {release.chart} says how many replicas {component} has; tried: {', '.join(tried)}",
        remedy=f"name it: target.replica_values.{component}: PATH.OF.VALUE",
    )
