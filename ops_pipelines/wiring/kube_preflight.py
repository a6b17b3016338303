"""What a deploy on target `kubernetes` needs, looked at before anything is changed; all findings at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from ops_pipelines.engines import kube as engine
from ops_pipelines.engines._kube_needs import Object
from ops_pipelines.errors import ClusterRefused, CommandFailed, OpsError
from ops_pipelines.policy import kube_cards, kube_needs, kube_rights
from ops_pipelines.policy.kube_back import refusal
from ops_pipelines.policy.kube_diff import Tried
from ops_pipelines.policy.kube_objects import CLUSTER_WIDE, WORKLOADS, is_hook, pod_template
from ops_pipelines.policy.kube_release import Release
from ops_pipelines.policy.kube_said import in_short, remedy_for
from ops_pipelines.policy.kube_words import short
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring.kube_site import KubeSite

_PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts"}


def findings(
    here: KubeSite, title: str, release: Callable[[KubeSite], Release], *, all_of_them: bool = True
) -> tuple[tuple[Finding, ...], engine.Look | None]:
    """Everything that a deploy needs, and what it would change; the latter is None where that cannot be told.

    Without `all_of_them`, what runs already is not asked whether it has what it needs."""
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(here.helm.version)
        looking = pool.submit(lambda: here.look(title, release(here)))
        try:
            version, tool = here.cluster.version(), asked.result()
        except OpsError as error:
            looking.cancel()
            return (Finding("cluster", False, error.message, error.remedy),), None
    found = [
        Finding("cluster", True, f"Kubernetes {version} at {here.cluster.access.server}"),
        kube_needs.helm_finding(tool),
    ]
    try:
        looked = looking.result()
    except CommandFailed as error:
        words = in_short(error.output) or error.message
        found.append(Finding("chart", False, words, remedy_for(error.output, "mend what it says")))
        return (*found, *_rights(here, ())), None
    except OpsError as error:
        found.append(Finding("release", False, error.message, error.remedy))
        forbidden = isinstance(error, ClusterRefused) and error.code == 403
        return (*found, *(_rights(here, ()) if forbidden else ())), None
    if not all_of_them and looked.plan.empty:
        return (*found, *_accepted(here, looked)), looked
    rights = tuple(_rights(here, looked.objects))
    found += rights
    if all(one.ok is not False or one.severity != "error" for one in rights):
        found += _accepted(here, looked)
        found += _needs(here, looked)
    return tuple(found), looked


# --- rights ---


def _rights(here: KubeSite, objects: Sequence[Object]) -> Iterator[Finding]:
    """Whether we have every right; one question where we have them all."""
    namespace, cluster = here.target.namespace, here.cluster
    try:
        if cluster.may("*", "*", "*", None):
            yield Finding("rights", True, "all that there are")
            return
        kinds = []
        for version, kind in {(str(one.get("apiVersion")), str(one.get("kind"))) for one in objects}:
            known = cluster.resource(version, kind)
            if known is not None:
                kinds.append(
                    (version.rpartition("/")[0], known.plural, kind not in CLUSTER_WIDE and known.namespaced)
                )
        asked = kube_rights.questions((*kube_rights.FIXED, *kube_rights.of_kinds(kinds)), namespace)
        said = cluster.may_all(
            [(one.verb, one.group, one.resource, one.namespace or None, one.subresource) for one in asked]
        )
    except OpsError as error:
        yield Finding("rights", None, f"are unknown: {error.message}", error.remedy, "warning")
        return
    lacking = kube_rights.missing(dict(zip(asked, said, strict=True)), asked)
    for one, right in lacking:
        where = f"in namespace {one.namespace}" if one.namespace else "in the whole cluster"
        words = f"this user may not {one} {where} ({right.why})"
        remedy = "give it the right: docs/reference/kubernetes-rights.md lists all, as a Role"
        yield Finding(f"right/{one}", False, words, remedy, "error" if right.needed else "warning")
    if not lacking:
        yield Finding("rights", True, f"all {len(asked)} that are needed")


# --- what the API server says to the objects, and to their pods ---


def _accepted(here: KubeSite, looked: engine.Look) -> Iterator[Finding]:
    """Whether the cluster would take each object, and each pod that they make."""
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
    name = looked.release.namespace
    if not looked.namespace_there:
        if here.target.create_namespace:
            yield Finding("namespace", True, f"{name} is not there; the deploy makes it")
        else:
            yield Finding("namespace", False, f"{name} is not there", f"kubectl create namespace {name}")
        return
    if not bad:
        yield Finding("objects", True, f"the cluster takes all {len(looked.tried)} of them")
    yield from _pods_accepted(here, looked)


def _pods_accepted(here: KubeSite, looked: engine.Look) -> Iterator[Finding]:
    """Whether the namespace would take each pod: PodSecurity, webhooks, limits. Only what changes is asked."""
    changed = {one.key for one in looked.tried if one.live is None or one.after != one.live}
    made = {str(one["metadata"]["name"]) for one in looked.objects if one.get("kind") == "ServiceAccount"}
    for tried, one in zip(looked.tried, [one for one in looked.objects if not is_hook(one)], strict=True):
        template = pod_template(one)
        if one.get("kind") not in (*WORKLOADS, "Job") or tried.key not in changed or not template:
            continue
        meta = {
            **(template.get("metadata") or {}),
            "generateName": "ops-asks-",
            "namespace": tried.key.namespace,
        }
        spec = dict(template.get("spec") or {})
        if spec.get("serviceAccountName") in made:
            spec.pop("serviceAccountName")  # the deploy makes it, before the pod
        # A StatefulSet's controller adds those of its claims.
        claims = (one.get("spec") or {}).get("volumeClaimTemplates") or ()
        own = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
        spec["volumes"] = [*(spec.get("volumes") or ()), *own]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        try:
            here.cluster.create(f"/api/v1/namespaces/{tried.key.namespace}/pods?dryRun=All", pod)
        except ClusterRefused as error:
            if error.code == 403 and "cannot create resource" in error.said:
                return
            if error.code == 422:  # its form was looked at with its workload
                continue
            refused = Tried(tried.key, None, None, error.said, error.code)
            words, remedy = refusal(refused)
            # What it replaces gives some of the quota back.
            severity: Literal["warning", "error"] = "warning" if "exceeded quota" in error.said else "error"
            yield Finding(f"pod of {tried.key}", False, words, remedy, severity)


# --- what is there ---


def _needs(here: KubeSite, looked: engine.Look) -> Iterator[Finding]:
    space = f"/api/v1/namespaces/{looked.release.namespace}"
    objects = [one for one in looked.objects if not is_hook(one)]
    if looked.namespace_there:
        yield from _references(here, objects, space)
        quotas = _listed(here, f"{space}/resourcequotas")
        if quotas is not None:
            live = [one.live for one in looked.tried if one.live is not None]
            yield from kube_needs.quota_findings(quotas, kube_needs.demand(objects), kube_needs.demand(live))
    claims = _listed(here, f"{space}/persistentvolumeclaims", brief=True) if looked.namespace_there else []
    classes = _listed(here, "/apis/storage.k8s.io/v1/storageclasses")
    if classes is not None:
        there = [str(one["metadata"]["name"]) for one in claims or ()]
        yield from kube_needs.storage_findings(objects, there, classes)
    yield from _cards(here, looked)


def _listed(here: KubeSite, path: str, *, brief: bool = False) -> list[Object] | None:
    """What a collection holds; None where we may not ask (a finding on rights says so)."""
    try:
        return here.cluster.listed(path, brief=brief)
    except ClusterRefused:
        return None


def _references(here: KubeSite, objects: Sequence[Object], space: str) -> Iterator[Finding]:
    for what, users in sorted(kube_needs.references(objects).items()):
        kind, name = what
        try:
            there: bool | None = here.cluster.find(f"{space}/{_PLURALS[kind]}/{name}") is not None
        except ClusterRefused:
            there = None
        yield kube_needs.reference_finding(what, users, there=there, namespace=here.target.namespace)


def _cards(here: KubeSite, looked: engine.Look) -> Iterator[Finding]:
    """Free cards and their memory, for the pods that ask for cards."""
    components = here.site.stack.components
    memory = {
        key: size
        for name, key in here.workloads(looked.objects).items()
        if (size := components[name].resources.gpu_memory) is not None
    }
    wanted = kube_cards.wanted_of(looked.objects, looked.release.namespace, memory)
    if not wanted:
        return
    nodes, pods = _listed(here, "/api/v1/nodes"), _listed(here, "/api/v1/pods")
    if nodes is None or pods is None:
        words = "whether cards are free is unknown: nodes and the pods on them may not be listed"
        yield Finding("cards", None, words, "give this user the right to list nodes and pods", "warning")
        return
    keys = engine.watched_of(looked.standing.objects, looked.release.namespace)
    ours = [str(pod["metadata"]["uid"]) for one in engine.seen(here.cluster, keys) for pod in one.every]
    for one in kube_cards.card_findings(wanted, kube_cards.nodes_of(nodes, pods, ours)):
        if one.ok is False and here.target.unschedulable_within > 0 and "no node has any" not in one.message:
            yield Finding(
                one.subject, False, short(one.message), one.remedy, "warning" if _grows(nodes) else "error"
            )
        else:
            yield one


def _grows(nodes: Sequence[Object]) -> bool:
    """Whether nodes are made on demand here, so that one that is too few today may come."""
    marks = (
        "karpenter.sh/nodepool",
        "cloud.google.com/gke-nodepool",
        "eks.amazonaws.com/nodegroup",
        "agentpool",
    )
    return any(mark in (node["metadata"].get("labels") or {}) for node in nodes for mark in marks)
