"""What keeps one service from taking the host down with it."""

from __future__ import annotations

from collections.abc import Iterator

from ops_pipelines.policy.lint_compose.rule import ComposeRule, Hit
from ops_pipelines.stack.compose_file import ComposeFile, Service

_LIMITS = (("deploy", "resources", "limits", "memory"), ("mem_limit",))


def no_limit(file: ComposeFile) -> Iterator[Hit]:
    """A service without a limit on memory: one leak, and the kernel kills whatever it likes on the host."""
    for service in _whole(file):
        if not any(service.entry(*keys) for keys in _LIMITS):
            yield Hit(
                service.at, f"services.{service.name}", "no limit on memory",
                "a leak takes the host's memory, and the kernel kills any process",
                "set deploy.resources.limits.memory", "info",
            )  # fmt: skip


def no_rotation(file: ComposeFile) -> Iterator[Hit]:
    """Logs that are never rotated: Docker's json-file driver keeps all of them, until the disk is full."""
    for service in _whole(file):
        driver = service.text("logging", "driver") or "json-file"
        if driver == "json-file" and not service.entry("logging", "options", "max-size"):
            yield Hit(
                service.at, f"services.{service.name}", "logs that are never rotated",
                "they fill the disk of the host", "set logging.options max-size and max-file, or the `local` driver",
                "info",
            )  # fmt: skip


def _whole(file: ComposeFile) -> Iterator[Service]:
    """Services that this file starts itself, not those that it only changes."""
    for service in file.services.values():
        if not service.unread and (service.entry("image") or service.entry("build")):
            yield service


RULES = (
    ComposeRule("OPS-C701", "no-memory-limit", (30,), no_limit),
    ComposeRule("OPS-C702", "no-log-rotation", (24,), no_rotation),
)
