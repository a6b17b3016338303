"""Rules on volumes and buckets: state on a disk of which nobody has said what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ops_pipelines.policy.lint.rule import Found, Rule, Severity, started
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.data import Bucket, Collection, Database, ModelCache, Volume
from ops_pipelines.stack.model import Stack

_COVERED = ("postgres", "clickhouse", "redis", "milvus", "qdrant")
"""Kinds whose state is in the backup by databases and collections (rule state-uncovered)."""


@dataclass(frozen=True)
class _Keeps:
    """A program that keeps state on its disk."""

    word: str
    """Its kind, or a word of its image."""
    what: str
    where: str


_KEEPERS = (
    _Keeps("grafana", "dashboards, users and alerts", "/var/lib/grafana"),
    _Keeps("prometheus", "its series", "/prometheus"),
    _Keeps("open-webui", "users, talks and uploads", "/app/backend/data"),
    _Keeps("langflow", "flows and files", "/app/langflow"),
    _Keeps("flowise", "flows and keys", "/root/.flowise"),
    _Keeps("n8n", "flows and keys", "/home/node/.n8n"),
    _Keeps("etcd", "its keys", "/etcd"),
    _Keeps("alertmanager", "silences", "/alertmanager"),
    _Keeps("jupyter", "notebooks", "/home/jovyan/work"),
)


def volume_uncovered(stack: Stack) -> Iterator[Found]:
    """State on a volume that is neither a part of the backup nor left out of it with a reason."""
    if stack.backup is None:
        return
    for name, component in started(stack).items():
        if component.kind in _COVERED:
            continue
        for volume in component.volumes:
            if volume not in stack.volumes and volume not in stack.caches:
                yield Found(
                    f"components.{name}.volumes.{volume}", "a volume that is declared nowhere", "it is in no backup",
                    f"declare it under `volumes`, with `backup: none` and a `reason` where it may go: {volume}",
                )  # fmt: skip
        yield from _keeper(stack, name, component)


def _keeper(stack: Stack, name: str, component: Component) -> Iterator[Found]:
    """A program that is known to keep state, and says nothing of where."""
    if component.volumes or any(f"{{volume.{one}}}" in _words(component) for one in stack.volumes):
        return
    if component.kind == "object-store":
        if not any(bucket.component == name for bucket in stack.buckets.values()):
            yield Found(
                f"components.{name}", "an object store of which nothing is backed up", "its objects are lost with it",
                f"declare what it holds under `buckets` (component: {name}), or its `volumes`; with `backup: none` "
                "and a `reason` where it may go",
            )  # fmt: skip
        return
    image = (component.image or "").partition(":")[0]
    keeps = next((one for one in _KEEPERS if one.word == component.kind or one.word in image), None)
    if keeps is not None:
        yield Found(
            f"components.{name}", f"{keeps.word}, which keeps {keeps.what}, without a volume",
            "they are in no backup, and gone with the container",
            f"name its volume under `volumes` of the component (`NAME: {keeps.where}`) and declare that under "
            "`volumes` of the stack",
        )  # fmt: skip


def _words(component: Component) -> str:
    return " ".join((*component.command, *component.environment.values()))


def no_reason(stack: Stack) -> Iterator[Found]:
    """Something that is left out of the backup, and nobody has said why: the next one takes it for a mistake."""
    for name, volume in stack.volumes.items():
        yield from _unsaid(f"volumes.{name}", volume, "error")
    for name, bucket in stack.buckets.items():
        yield from _unsaid(f"buckets.{name}", bucket, "error")
    # Stacks that were written before `reason` go on without an error.
    for name, cache in stack.caches.items():
        yield from _unsaid(f"caches.{name}", cache, "warning")
    for name, collection in stack.collections.items():
        yield from _unsaid(f"collections.{name}", collection, "warning")
    for name, database in stack.databases.items():
        yield from _unsaid(f"databases.{name}", database, "warning")


def _unsaid(
    path: str, thing: Volume | Bucket | ModelCache | Collection | Database, severity: Severity
) -> Iterator[Found]:
    if not thing.backup and not thing.reason.strip():
        yield Found(
            path, "`backup: none` without a `reason`", "nobody can tell a choice from a mistake",
            "say why it may be lost (`reason: filled again within an hour`), or back it up", severity,
        )  # fmt: skip


def volume_unmounted(stack: Stack) -> Iterator[Found]:
    """A volume that no component of the stack uses: a name that was changed in one place only."""
    used = {volume for component in stack.components.values() for volume in component.volumes}
    words = " ".join(_words(component) for component in stack.components.values())
    for name in stack.volumes:
        if name not in used and f"{{volume.{name}}}" not in words:
            yield Found(
                f"volumes.{name}", "no component uses it", "nothing is stopped while it is restored",
                f"name it under `volumes` of the component (`{name}: /path`), or as {{volume.{name}}} in its command",
                "warning",
            )  # fmt: skip


RULES = (
    Rule("volume-uncovered", (4,), volume_uncovered),
    Rule("no-reason", (4,), no_reason),
    Rule("volume-unmounted", (6,), volume_unmounted),
)
