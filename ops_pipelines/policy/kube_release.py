"""A release as a revision keeps it, and as Helm records it in the cluster.

A revision keeps the chart itself (by the digest of its package, which lies in the bucket beside it), the texts of its
value files, and the names of secrets: never their values. Going back applies that chart with those values, whatever
has become of the files on disk.
"""

from __future__ import annotations

import base64
import binascii
import copy
import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal[
    "unknown", "deployed", "uninstalled", "superseded", "failed", "uninstalling", "pending-install",
    "pending-upgrade", "pending-rollback",
]  # fmt: skip
PENDING = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
OURS = "ops-pipelines.io/lease"
"""Label of Helm's records that a deploy of ours made: the fencing token of the lease it held, and the revision, as
Helm hands labels down to the records that follow."""


@dataclass(frozen=True)
class Release:
    """What a cluster is given."""

    name: str
    namespace: str
    chart: str
    """Name and version of the chart, for people."""
    package: str
    """SHA-256 of the packed chart."""
    values: tuple[str, ...] = ()
    """Texts of the value files, in their order."""
    set: Mapping[str, Any] = field(default_factory=dict)
    """Single values by their path."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Path of a value -> name of the secret that it receives."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Path of a value -> replicas that scaling has chosen."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Image -> what its name stood for when this was deployed, where a pod said so."""

    @property
    def wanted(self) -> tuple[Any, ...]:
        """What decides what is applied: two releases with the same are the same."""
        return (
            self.name, self.namespace, self.package, self.values, dict(self.set), dict(self.secrets),
            dict(self.replicas),
        )  # fmt: skip

    @property
    def layers(self) -> tuple[dict[str, Any], ...]:
        """Values beside the files, without those that are secrets, each overriding the one before."""
        return tuple(nested(one) for one in (self.set, self.replicas) if one)


def to_json(release: Release) -> dict[str, Any]:
    """The release as a revision keeps it."""
    return asdict(release)


def from_json(raw: Mapping[str, Any]) -> Release:
    """The release that `to_json` gave. Raises KeyError or TypeError for anything else."""
    return Release(
        name=raw["name"],
        namespace=raw["namespace"],
        chart=raw["chart"],
        package=raw["package"],
        values=tuple(raw["values"]),
        set=dict(raw.get("set") or {}),
        secrets=dict(raw.get("secrets") or {}),
        replicas=dict(raw.get("replicas") or {}),
        images=dict(raw.get("images") or {}),
    )


def with_replicas(release: Release, path: str, count: int) -> Release:
    """The same release with so many replicas behind one of its values."""
    return replace(release, replicas={**release.replicas, path: count})


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`; a dot of a key itself is written `\\.`, as for Helm."""
    found: dict[str, Any] = {}
    for path, value in flat.items():
        words = [word.replace("\0", ".") for word in path.replace("\\.", "\0").split(".")]
        here = found
        for word in words[:-1]:
            here = here.setdefault(word, {})
        here[words[-1]] = copy.deepcopy(value)
    return found


@dataclass(frozen=True)
class Recorded:
    """One of Helm's own records of a release: a Secret `sh.helm.release.v1.NAME.vN` of its namespace."""

    secret: str
    revision: int
    status: str
    token: int | None
    """Fencing token of the deploy of ours that made it; None where somebody else did."""
    changed: datetime | None
    """When it was last written."""


def recorded_of(secret: Mapping[str, Any]) -> Recorded | None:
    """What the labels of such a Secret say; None for another one."""
    meta = secret.get("metadata") or {}
    labels = meta.get("labels") or {}
    if labels.get("owner") != "helm" or not str(labels.get("version", "")).isdecimal():
        return None
    at = str(labels.get("modifiedAt") or labels.get("createdAt") or "")
    token, _, revision = str(labels.get(OURS, "")).partition("-")
    return Recorded(
        secret=str(meta.get("name", "")),
        revision=int(labels["version"]),
        status=str(labels.get("status", "unknown")),
        token=int(token) if token.isdecimal() and revision == labels["version"] else None,
        changed=datetime.fromtimestamp(int(at), UTC) if at.isdecimal() else None,
    )


def ours(token: int, revision: int) -> str:
    """The label of a record that a deploy of ours makes."""
    return f"{token}-{revision}"


def unpacked(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Helm's record itself: its `manifest`, `info`, `chart`, `config`. Raises ValueError where it is damaged."""
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        text = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
        found: dict[str, Any] = json.loads(text)
    except (KeyError, TypeError, binascii.Error, OSError, EOFError, ValueError) as error:
        raise ValueError("a record of Helm's cannot be read") from error
    return found


def repacked(secret: Mapping[str, Any], record: Mapping[str, Any], *, status: str) -> dict[str, Any]:
    """The Secret with another record in it."""
    text = json.dumps(record, separators=(",", ":")).encode()
    packed = base64.b64encode(base64.b64encode(gzip.compress(text, 9, mtime=0))).decode()
    meta = copy.deepcopy(dict(secret["metadata"]))
    meta["labels"] = {**(meta.get("labels") or {}), "status": status}
    meta.pop("managedFields", None)
    return {**secret, "metadata": meta, "data": {**secret["data"], "release": packed}}


def given_up(secret: Mapping[str, Any], words: str) -> dict[str, Any]:
    """The Secret of a change that somebody began and did not end, marked as failed: Helm then takes the next one."""
    record = unpacked(secret)
    record["info"] = {**record["info"], "status": "failed", "description": words}
    return repacked(secret, record, status="failed")


def stale(latest: Recorded, token: int, now: datetime, patience: float) -> bool:
    """Whether an unfinished change is nobody's any more.

    One that an earlier holder of the stack's lease began is: we hold the lease. Of one that somebody else began, with
    Helm by hand, nobody can know: it is taken for abandoned when nothing was written for `patience` seconds."""
    if latest.token is not None:
        return latest.token < token
    return latest.changed is not None and (now - latest.changed).total_seconds() > patience
