"""References of volumes and buckets."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from ops_pipelines.policy._link_problem import LinkProblem, no_component, no_secret
from ops_pipelines.stack.model import Stack


def volume_links(stack: Stack) -> Iterator[LinkProblem]:
    """Volumes: a folder for each replica, which no other volume or cache has."""
    for name, volume in stack.volumes.items():
        where = f"volumes.{name}"
        if volume.replicas > 1 and "{replica}" not in volume.path:
            yield LinkProblem(
                f"{where}.path", f"one folder for {volume.replicas} replicas",
                "one would be restored over the other", "put `{replica}` into the path",
            )  # fmt: skip
        if stack.target.kind == "process":  # inside containers, two may have one path
            yield from _own_folder(stack, name)


def _own_folder(stack: Stack, name: str) -> Iterator[LinkProblem]:
    path = posixpath.normpath(stack.volumes[name].path)
    others = {f"cache {other}": each.path for other, each in stack.caches.items()}
    others |= {f"volume {other}": each.path for other, each in stack.volumes.items() if other != name}
    for other, theirs in others.items():
        mine, outer = f"{path}/", f"{posixpath.normpath(theirs)}/"
        # Of two volumes with one path, or one in the other, the inner (else the later) one is told.
        later = mine != outer or other.startswith("cache") or list(others).index(other) < _place(stack, name)
        if mine.startswith(outer) and later:
            yield LinkProblem(
                f"volumes.{name}.path", f"{path}, which is in the folder of the {other} ({theirs})",
                "a restore of the one would replace the other", "give each its own folder",
            )  # fmt: skip


def _place(stack: Stack, name: str) -> int:
    return len(stack.caches) + list(stack.volumes).index(name)


def bucket_links(stack: Stack) -> Iterator[LinkProblem]:
    """Buckets: who serves them, and the keys that open them."""
    for name, bucket in stack.buckets.items():
        where = f"buckets.{name}"
        if bucket.component is not None and bucket.component not in stack.components:
            yield no_component(stack, f"{where}.component", bucket.component, "nobody serves the bucket")
        if bucket.component is not None and bucket.endpoint is not None:
            yield LinkProblem(
                f"{where}.endpoint", f"`endpoint` beside `component: {bucket.component}`",
                "it is not said which of the two is asked", "take one of them out",
            )  # fmt: skip
        keys = {"access_key": bucket.access_key, "secret_key": bucket.secret_key}
        for word, secret in keys.items():
            if secret is not None:
                yield from no_secret(stack, f"{where}.{word}", secret)
        if (bucket.access_key is None) != (bucket.secret_key is None):
            absent = next(word for word, secret in keys.items() if secret is None)
            yield LinkProblem(
                where, f"no `{absent}`", "one key without the other opens no bucket",
                f"add `{absent}: …`, or leave both out to use the credentials of the environment",
            )  # fmt: skip
        backup = stack.backup
        if backup is not None and (bucket.bucket, bucket.endpoint) == (backup.bucket, backup.endpoint):
            yield LinkProblem(
                f"{where}.bucket", f"{bucket.bucket}, the bucket of the backups themselves",
                "each snapshot would hold all the ones before it", "keep the backups in a bucket of their own",
            )  # fmt: skip
