"""What a release asks of its cluster beyond what the API server says to its objects, as findings; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ops_pipelines.policy.kube_cards import amount
from ops_pipelines.policy.kube_objects import Object, containers_of, is_hook, pod_template
from ops_pipelines.policy.plan import Finding

OLDEST_HELM = (3, 18)
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def helm_finding(version: str) -> Finding:
    """Whether Helm is new enough; an unreadable version is not known."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return Finding("helm", None, f"its version {version!r} is not understood", severity="warning")
    if (int(found[1]), int(found[2])) < OLDEST_HELM:
        return Finding("helm", False, f"Helm {version} is too old", "install Helm 4, or 3.18 and newer")
    return Finding("helm", True, f"Helm {version}")


def storage_findings(
    objects: Sequence[Object], there: Iterable[str], classes: Sequence[Object]
) -> Iterator[Finding]:
    """Whether the storage class of each volume claim that is to be made is there. `there` are names of claims that
    are there already, whose class counts no more."""
    names = {str(one["metadata"]["name"]) for one in classes}
    default = any((one["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true" for one in classes)
    known = set(there)
    seen: set[tuple[str, str | None]] = set()
    for claim, spec in _claims(objects):
        wanted = spec.get("storageClassName")
        if any(one == claim or re.fullmatch(rf"{re.escape(claim)}-\d+", one) for one in known):
            continue
        if spec.get("volumeName") or wanted == "" or (claim, wanted) in seen:
            continue  # bound by hand
        seen.add((claim, wanted))
        subject = f"claim/{claim}"
        if wanted is None and not default:
            words = "names no storage class, and the cluster has no default one"
            yield Finding(subject, False, words, f"name one in the values: {_listed(names)}")
        elif wanted is not None and wanted not in names:
            yield Finding(
                subject, False, f"its storage class {wanted} is not there", f"there are: {_listed(names)}"
            )
        else:
            yield Finding(subject, True, f"storage class {wanted or 'by default'}")


def _claims(objects: Sequence[Object]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for one in objects:
        if one.get("kind") == "PersistentVolumeClaim":
            yield str(one["metadata"]["name"]), one.get("spec") or {}
        elif one.get("kind") == "StatefulSet":
            for claim in (one.get("spec") or {}).get("volumeClaimTemplates") or ():
                yield f"{claim['metadata']['name']}-{one['metadata']['name']}", claim.get("spec") or {}


def references(objects: Sequence[Object]) -> dict[tuple[str, str], set[str]]:
    """(kind, name) of each Secret, ConfigMap and ServiceAccount that pods need -> who needs it. What the release itself
    makes, by whatever object, is left out."""
    made = {(str(one.get("kind")), str((one.get("metadata") or {}).get("name"))) for one in objects}
    for one in objects:  # these make Secrets by themselves
        spec = one.get("spec") or {}
        if one.get("kind") in ("ExternalSecret", "SealedSecret", "Certificate"):
            target = (
                (spec.get("target") or {}).get("name") or spec.get("secretName") or one["metadata"]["name"]
            )
            made.add(("Secret", str(target)))
    found: dict[tuple[str, str], set[str]] = {}
    for one in objects:
        template = pod_template(one)
        if not template or is_hook(one):
            continue
        for what in _needed(template):
            if what not in made:
                found.setdefault(what, set()).add(f"{one.get('kind')}/{one['metadata']['name']}")
    return found


def _needed(template: Object) -> Iterator[tuple[str, str]]:
    spec = template.get("spec") or {}
    account = spec.get("serviceAccountName")
    if account and account != "default":
        yield "ServiceAccount", str(account)
    for secret in spec.get("imagePullSecrets") or ():
        yield "Secret", str(secret["name"])
    for volume in spec.get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            secret, config = source.get("secret") or {}, source.get("configMap") or {}
            for kind, one, key in (("Secret", secret, "secretName"), ("ConfigMap", config, "name")):
                name = one.get(key) or one.get("name")
                if name and not one.get("optional"):
                    yield kind, str(name)
    for container in containers_of(template):
        yield from _read_by(container)


def _read_by(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a container takes variables from."""
    sources = [(one, ("secretRef", "configMapRef")) for one in container.get("envFrom") or ()]
    sources += [
        (one.get("valueFrom") or {}, ("secretKeyRef", "configMapKeyRef"))
        for one in container.get("env") or ()
    ]
    for source, keys in sources:
        for kind, key in zip(("Secret", "ConfigMap"), keys, strict=True):
            one = source.get(key) or {}
            if one.get("name") and not one.get("optional"):
                yield kind, str(one["name"])


def reference_finding(
    what: tuple[str, str], users: Iterable[str], *, there: bool | None, namespace: str
) -> Finding:
    """Whether something that pods need is there; None: it could not be asked."""
    kind, name = what
    who = ", ".join(sorted(users))
    if there:
        return Finding(f"{kind}/{name}", True, f"is there, for {who}")
    if there is None:
        return Finding(
            f"{kind}/{name}", None, f"whether it is there is unknown; {who} needs it", severity="warning"
        )
    make = {
        "Secret": f"make it: kubectl -n {namespace} create secret generic {name} --from-literal=KEY=..., or let "
        "External Secrets make it",
        "ConfigMap": f"make it: kubectl -n {namespace} create configmap {name}",
        "ServiceAccount": f"make it: kubectl -n {namespace} create serviceaccount {name}",
    }
    return Finding(f"{kind}/{name}", False, f"is not there, and {who} needs it", make[kind])


def quota_findings(
    quotas: Sequence[Object], wanted: Mapping[str, float], runs: Mapping[str, float]
) -> Iterator[Finding]:
    """Whether what the release asks for fits each quota; `runs` is what it has now, which it gives back.

    Both are by the names that quotas use: `requests.cpu`, `pods`, `requests.nvidia.com/gpu`."""
    for one in quotas:
        name = str(one["metadata"]["name"])
        hard, used = (one.get("status") or {}).get("hard") or {}, (one.get("status") or {}).get("used") or {}
        for resource, limit in hard.items():
            key = {"cpu": "requests.cpu", "memory": "requests.memory"}.get(resource, resource)
            if key not in wanted:
                continue
            free = amount(limit) - amount(used.get(resource, 0)) + runs.get(key, 0)
            subject = f"quota/{name}"
            words = f"{resource}: {wanted[key]:g} asked for, {free:g} free of {amount(limit):g}"
            if wanted[key] > free + 1e-9:
                yield Finding(subject, False, words, "raise the ResourceQuota, or ask for less")
            else:
                yield Finding(subject, True, words)


def demand(objects: Iterable[Object]) -> dict[str, float]:
    """What the pods and claims of objects ask for altogether, by the names that quotas use."""
    found: dict[str, float] = {}
    for one in objects:
        if one.get("kind") == "PersistentVolumeClaim":
            _add(found, "persistentvolumeclaims", 1)
        template = pod_template(one)
        if not template or is_hook(one) or one.get("kind") in ("DaemonSet", "CronJob"):
            continue
        spec = one.get("spec") or {}
        count = spec.get("replicas", 1) if one.get("kind") in ("Deployment", "StatefulSet") else 1
        count = 1 if count is None else int(count)
        _add(found, "pods", count)
        for container in (template.get("spec") or {}).get("containers") or ():
            resources = container.get("resources") or {}
            limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
            for name, value in {**limits, **requests}.items():
                _add(found, f"requests.{name}", count * amount(value))
            for name, value in limits.items():
                _add(found, f"limits.{name}", count * amount(value))
    return found


def _add(found: dict[str, float], name: str, value: float) -> None:
    found[name] = found.get(name, 0) + value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
