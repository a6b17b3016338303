"""Scripts of jobs and ConfigMaps that back up, prune and restore."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint_kube.rule import Hit, KubeRule, Manifest, Objects, scalars, where
from ops_pipelines.stack.manifests import Scalar

_CARRIED = re.compile(r"(aws s3 cp -|s3cmd put -|mc pipe|rclone rcat|gzip\s*>|gzip\s*\|)")
_PIPE = re.compile(r"\|[ \t\\]*\n?\s*")
_PRUNES = re.compile(r"aws s3 rm|mc rm|s3cmd del|rclone (delete|purge)")
_GONE = (
    (
        re.compile(r"milvus-backup\s+export"),
        "milvus-backup export",
        "it knows create, list, restore, delete",
    ),
    (re.compile(r"ollama\s+list\s+--format"), "ollama list --format", "ask GET /api/tags"),
    (
        re.compile(r"docker\s+update\s+[^\n]*--env"),
        "docker update --env",
        "start the container again with it",
    ),
    (
        re.compile(r"kubectl\s+create\s+volumesnapshot"),
        "kubectl create volumesnapshot",
        "apply a VolumeSnapshot",
    ),
)
_TTY = re.compile(r"kubectl\s+exec\s+[^|>\n]*-(it|ti|t)\b[^|>\n]*[|>]")


def _scripts(objects: Objects) -> Iterator[tuple[Manifest, str, Scalar]]:
    for one in objects:
        if one.kind in ("ConfigMap", "CronJob", "Job", "Deployment", "StatefulSet", "Pod"):
            for path, value in scalars(one.root):
                if "\n" in value.text or " " in value.text:
                    yield one, path, value


def no_pipefail(objects: Objects) -> Iterator[Hit]:
    """A dump piped into a store without `pipefail`: where the dump fails, an empty object is stored as a good one."""
    for one, path, value in _scripts(objects):
        if _CARRIED.search(value.text) and _PIPE.search(value.text) and "pipefail" not in value.text:
            yield Hit(
                value.at,
                f"{where(one)}.{path}",
                "a dump that is piped into a store, without pipefail",
                "a dump that fails leaves an empty object and exit code 0",
                "begin with `set -euo pipefail` (bash)",
            )


def prunes_by_date(objects: Objects) -> Iterator[Hit]:
    """Old backups deleted by their date alone: after a month of failed ones, the last good one goes too."""
    for one, path, value in _scripts(objects):
        if _PRUNES.search(value.text) and re.search(r"\bdate\b", value.text):
            yield Hit(
                value.at,
                f"{where(one)}.{path}",
                "backups that are deleted by their date",
                "the last good one is deleted too, whatever became of the newer ones",
                "keep the last N that were verified (`backup.keep` of a stack does)",
            )


def gone_commands(objects: Objects) -> Iterator[Hit]:
    """A command that does not exist: the step fails, or, without `set -e`, is passed over."""
    for one, path, value in _scripts(objects):
        for pattern, words, instead in _GONE:
            if pattern.search(value.text):
                yield Hit(
                    value.at,
                    f"{where(one)}.{path}",
                    f"`{words}`, which does not exist",
                    "the step does nothing, or fails",
                    instead,
                )


def terminal_dump(objects: Objects) -> Iterator[Hit]:
    """`kubectl exec -it` into a file or pipe: a terminal changes line ends, and the dump is corrupt."""
    for one, path, value in _scripts(objects):
        if _TTY.search(value.text):
            yield Hit(
                value.at,
                f"{where(one)}.{path}",
                "a dump through a terminal (`kubectl exec -it`)",
                "line ends are changed: it cannot be restored",
                "leave -it out",
            )


RULES = (
    KubeRule("OPS-K401", "no-pipefail", (1,), no_pipefail),
    KubeRule("OPS-K402", "prunes-by-date", (2,), prunes_by_date),
    KubeRule("OPS-K403", "gone-command", (3, 5, 8, 19), gone_commands),
    KubeRule("OPS-K404", "terminal-dump", (8,), terminal_dump),
)
