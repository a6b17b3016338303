"""What a deploy on target `kubernetes` needs, looked at before anything is changed; all findings at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ops_pipelines.engines import kube as engine
from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.errors import CommandFailed, OpsError, Refused
from ops_pipelines.policy.kube_back import refusal
from ops_pipelines.policy.kube_release import Release
from ops_pipelines.policy.kube_replicas import claims_among
from ops_pipelines.policy.kube_said import in_short, remedy_for
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring.kube_site import KubeSite

__all__ = ["await_no_pods", "claims_among", "findings"]

_GONE = 300.0
_POLL = 0.5


def findings(
    here: KubeSite, title: str, release: Callable[[KubeSite], Release]
) -> tuple[tuple[Finding, ...], engine.Look | None]:
    """Everything that a deploy needs, and what it would change; the latter is None where that cannot be told."""
    try:
        version = here.cluster.version()
        tool = here.helm.version()
    except OpsError as error:
        return (Finding("cluster", False, error.message, error.remedy),), None
    found = [
        Finding("cluster", True, f"Kubernetes {version} at {here.cluster.access.server}"),
        Finding("helm", True, f"Helm {tool}"),
    ]
    try:
        looked = here.look(title, release(here))
    except CommandFailed as error:
        words = in_short(error.output) or error.message
        return (*found, Finding("chart", False, words, remedy_for(error.output, "mend what it says"))), None
    except OpsError as error:
        return (*found, Finding("release", False, error.message, error.remedy)), None
    found += _accepted(here, looked)
    return tuple(found), looked


def _accepted(here: KubeSite, looked: engine.Look) -> Iterator[Finding]:
    """Whether the cluster would take each object."""
    bad = [one for one in looked.tried if one.refused]
    for one in bad:
        words, remedy = refusal(one)
        yield Finding(str(one.key), False, words, remedy)
    for one in looked.tried:
        if one.owners and not here.target.force_conflicts:
            yield Finding(
                str(one.key),
                False,
                f"{', '.join(one.owners)} set fields of it that the chart sets to another value",
                "let one of the two own them, or set target.force_conflicts to take them over",
            )
    if not looked.namespace_there:
        name = looked.release.namespace
        if here.target.create_namespace:
            yield Finding("namespace", True, f"{name} is not there; the deploy makes it")
        else:
            yield Finding("namespace", False, f"{name} is not there", f"kubectl create namespace {name}")
    elif not bad:
        yield Finding("objects", True, f"the cluster takes all {len(looked.tried)} of them")


def await_no_pods(here: KubeSite, workload: Object) -> None:
    """Wait until a workload's pods are gone. Raises Refused where some stay."""
    labels = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    end = time.monotonic() + _GONE
    path = f"/api/v1/namespaces/{here.target.namespace}/pods"
    while pods := here.cluster.listed(path, brief=True, labelSelector=selector):
        if time.monotonic() > end:
            names = ", ".join(str(one["metadata"]["name"]) for one in pods)
            raise Refused(f"pods do not end: {names}", remedy="look why: kubectl describe pod")
        time.sleep(_POLL)
