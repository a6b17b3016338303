"""Lint of Kubernetes manifests and Helm charts, anybody's: the faults of guides that such files can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ops_pipelines.policy.lint.rule import SEVERITIES
from ops_pipelines.policy.lint_compose import COMPOSE_RULES
from ops_pipelines.policy.lint_kube import guards, scalers, scripts, workloads
from ops_pipelines.policy.lint_kube.rule import Hit, KubeRule, containers
from ops_pipelines.stack.compose_file import ComposeFile, Table
from ops_pipelines.stack.manifests import Manifests, Position

__all__ = [
    "KUBE_GROUPS",
    "KUBE_RULES",
    "KUBE_UNREADABLE",
    "NOT_RENDERED",
    "KubeFinding",
    "KubeRule",
    "lint_kube",
]

KUBE_UNREADABLE = "OPS-K100"
"""Code of what cannot be read as YAML."""
NOT_RENDERED = "OPS-K110"
"""Code of a chart that was read as text, as Helm is not here or could not render it."""
KUBE_GROUPS: Mapping[str, tuple[str, tuple[KubeRule, ...]]] = {
    each.__name__.rpartition(".")[2]: ((each.__doc__ or "").strip(), each.RULES)
    for each in (workloads, scalers, guards, scripts)
}
KUBE_RULES: tuple[KubeRule, ...] = tuple(rule for _, rules in KUBE_GROUPS.values() for rule in rules)
_SHARED = frozenset({
    "OPS-C201", "OPS-C202", "OPS-C401", "OPS-C402", "OPS-C403", "OPS-C404", "OPS-C405", "OPS-C409", "OPS-C411",
    "OPS-C413",
})  # fmt: skip
"""Rules on Compose files that say the same of a container anywhere: images, settings of the servers in them."""


@dataclass(frozen=True)
class KubeFinding:
    """What one rule found."""

    code: str
    hit: Hit


def lint_kube(
    files: Sequence[Manifests], rules: tuple[KubeRule, ...] = KUBE_RULES
) -> tuple[KubeFinding, ...]:
    """All that is wrong with objects that are applied together, the worst first."""
    objects = [one for file in files for one in file.objects]
    found = [
        KubeFinding(
            KUBE_UNREADABLE, Hit(Position(*each.at), each.where, each.found, each.breaks, each.remedy)
        )
        for file in files
        for each in file.problems
    ]
    found += [KubeFinding(rule.code, hit) for rule in rules for hit in rule.look(objects)]
    found += _as_services(files)
    return tuple(sorted(found, key=lambda one: SEVERITIES.index(one.hit.severity)))


def _as_services(files: Sequence[Manifests]) -> Iterator[KubeFinding]:
    """What rules on Compose files say of the containers."""
    for file in files:
        services = {one.path: one.service for one in containers(file.objects)}
        if not services:
            continue
        like = ComposeFile(file.path, Table({}, Position(file.path, 1, 1)), services, (), partial=True)
        for rule in COMPOSE_RULES:
            if rule.code in _SHARED:
                for hit in rule.look(like):
                    yield KubeFinding(rule.code, replace(hit, path=hit.path.removeprefix("services.")))
