"""A release taken down; its volume claims stay unless they are to go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ops_pipelines.engines import kube as engine
from ops_pipelines.engines import kube_bluegreen as beside
from ops_pipelines.engines.ports import Fence
from ops_pipelines.policy.kube_objects import is_kept, key_of
from ops_pipelines.policy.kube_replicas import claims_among
from ops_pipelines.policy.plan import Plan, Step, Verb
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.kube_state import before, release
from ops_pipelines.wiring.site import Site

_DOWN = 300.0
"""Seconds that a hook may take while a release is removed."""


def down_plan(site: Site, *, volumes: bool) -> Plan:
    """What `down` would remove."""
    here = KubeSite(site)
    objects = engine.standing(release(here), here.hands).objects
    standing = before(site)
    # The claims of one that was taken down before are those that its objects name.
    last = objects or (here.render(standing) if standing is not None else ())
    steps = [
        Step("keep" if is_kept(one) else "remove", str(key_of(one, here.target.namespace)))
        for one in objects
        if one.get("kind") != "PersistentVolumeClaim"
    ]
    verb: Verb = "remove" if volumes else "keep"
    words = "with all that is in it" if volumes else ""
    steps += [Step(verb, f"PersistentVolumeClaim/{name}", words) for name in _claims(here, last)]
    return Plan(f"Take {site.name} down", tuple(steps))


def _claims(here: KubeSite, objects: Iterable[Mapping[str, object]]) -> list[str]:
    """Volume claims of the release that are there: its own, and those that its StatefulSets made."""
    there = here.cluster.listed(
        f"/api/v1/namespaces/{here.target.namespace}/persistentvolumeclaims", brief=True
    )
    return claims_among(there, here.target.release, list(objects))


def down(site: Site, *, volumes: bool, fence: Fence) -> Plan:
    """Remove the release; its volume claims stay, unless `volumes` says otherwise. What was done."""
    here = KubeSite(site)
    steps = down_plan(site, volumes=volumes)
    fence.check()
    now, _ = engine.mend(engine.standing(release(here), here.hands), fence.token, within=_DOWN)
    engine.keep_claims(now)  # whatever goes first, data goes last, and by its own step
    fence.check()
    here.helm.uninstall(within=_DOWN)
    beside.remove(release(here), here.cluster, fence, 0.0)
    if volumes:
        for step in steps.changes:
            kind, _, name = step.subject.partition("/")
            if kind == "PersistentVolumeClaim":
                fence.check()
                here.cluster.delete(
                    f"/api/v1/namespaces/{here.target.namespace}/persistentvolumeclaims/{name}"
                )
    return steps
