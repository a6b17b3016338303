"""What a deploy on target `kubernetes` is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ops_pipelines.policy.kube_objects import Key
from ops_pipelines.policy.kube_release import Release

Object = dict[str, Any]


class Tried(Protocol):
    """What the API server said to a dry run (adapters/kube.py)."""

    @property
    def live(self) -> Object | None: ...
    @property
    def after(self) -> Object | None: ...
    @property
    def refused(self) -> str: ...
    @property
    def code(self) -> int: ...
    @property
    def owners(self) -> tuple[str, ...]: ...


class Cluster(Protocol):
    """An API server (adapters/kube.py). Paths are those of its REST interface."""

    @property
    def name(self) -> str: ...
    def now(self) -> datetime: ...
    def version(self) -> str: ...
    def get(self, path: str, **params: str) -> Object: ...
    def find(self, path: str, **params: str) -> Object | None: ...
    def listed(self, path: str, *, brief: bool = False, **params: str) -> list[Object]: ...
    def try_all(
        self, objects: Sequence[Mapping[str, Any]], namespace: str, release: str
    ) -> Sequence[Tried]: ...
    def look_all(self, objects: Sequence[Mapping[str, Any]], namespace: str) -> list[Object | None]: ...
    def path_of(self, found: Mapping[str, Any], namespace: str) -> str | None: ...
    def replace(self, path: str, body: Mapping[str, Any]) -> Object: ...
    def merge(self, path: str, patch: Mapping[str, Any]) -> Object: ...
    def apply(self, wanted: Mapping[str, Any], namespace: str, release: str | None = None) -> Object: ...
    def delete(self, path: str, *, uid: str | None = None) -> None: ...
    def log_tail(
        self, namespace: str, pod: str, container: str, lines: int = 30, *, previous: bool = False
    ) -> str: ...
    def follow(
        self, namespace: str, pod: str, container: str, *, lines: int, follow: bool
    ) -> Iterator[str]: ...


class HelmTool(Protocol):
    """Helm for one release (adapters/helm.py)."""

    def render(self, chart: Path, layers: Sequence[str], *, upgrade: bool) -> tuple[Object, ...]: ...
    def apply(
        self,
        chart: Path,
        layers: Sequence[str],
        *,
        within: float,
        labels: Mapping[str, str],
        secrets: Sequence[str],
        force_conflicts: bool = False,
        create_namespace: bool = False,
    ) -> None: ...
    def back(self, revision: int, *, within: float, force_conflicts: bool = False) -> None: ...
    def uninstall(self, *, within: float) -> None: ...


@dataclass(frozen=True)
class Layers:
    """Values as Helm is given them."""

    texts: tuple[str, ...]
    """Each overrides the one before."""
    secrets: tuple[str, ...] = ()
    """Values that are masked wherever they would be shown."""


@dataclass(frozen=True)
class Hands:
    """Everything outside that a deploy on a cluster uses."""

    cluster: Cluster
    helm: HelmTool
    chart: Callable[[Release], Path]
    """The packed chart of a release, here. Raises OpsError where it is nowhere."""
    layers: Callable[[Release], Layers]
    """Its values with those of secrets. Raises SecretMissing."""
    read: Callable[[str], tuple[Object, ...]]
    """The objects of a manifest's text."""
    workloads: Callable[[Iterable[Mapping[str, Any]]], Mapping[str, Key]]
    """Component -> the workload that runs it, of a manifest's objects."""
    create_namespace: bool = False
    unschedulable_within: float = 120.0
    """Seconds that a pod may wait for a node."""
