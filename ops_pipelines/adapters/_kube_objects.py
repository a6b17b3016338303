"""How objects of a cluster are addressed, marked as Helm's, and what the server says to applying one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """How objects of one kind are addressed."""

    path: str
    """`/api/v1` or `/apis/GROUP/VERSION`."""
    plural: str
    namespaced: bool

    def at(self, namespace: str | None, name: str | None = None) -> str:
        """Path of a collection, or of one object."""
        where = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.path}{where}/{self.plural}" + (f"/{name}" if name else "")


@dataclass(frozen=True)
class DryRun:
    """What the server said to applying one object without keeping it."""

    live: Object | None
    after: Object | None
    refused: str = ""
    code: int = 0
    owners: tuple[str, ...] = ()


def noted(wanted: Mapping[str, Any], namespace: str, release: str) -> Object:
    """The object with what Helm writes on everything that it applies (`pkg/action/validate.go`)."""
    meta = dict(wanted.get("metadata") or {})
    labels = {**(meta.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
    notes = {
        **(meta.get("annotations") or {}),
        "meta.helm.sh/release-name": release,
        "meta.helm.sh/release-namespace": namespace,
    }
    return {**wanted, "metadata": {**meta, "labels": labels, "annotations": notes}}


def owners_in(said: str) -> tuple[str, ...]:
    """Who else set fields, from `conflict with "kubectl-edit" using apps/v1: .spec.replicas`."""
    found = [part.split('"')[1] for part in said.split("conflict with ")[1:] if '"' in part]
    if not found and "conflicts with" in said:
        found = [part.split('"')[1] for part in said.split("conflicts with ")[1:] if '"' in part]
    return tuple(dict.fromkeys(found)) or ("somebody else",)
