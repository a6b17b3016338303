"""The hold of a stack without hooks: a module of its own, as hooks bring the declaration's models (0.2 s)."""

from __future__ import annotations

from contextlib import nullcontext

from ops_pipelines.policy.manifest import HookRun


class Nothing:
    """A Guard that holds nothing."""

    quiesced = False
    runs: tuple[HookRun, ...] = ()

    def release(self) -> None:
        """There is nothing to let go."""


def hold_nothing(key: str) -> nullcontext[Nothing]:  # noqa: ARG001 - asked of every part
    """The `hold` of a stack without hooks."""
    return nullcontext(Nothing())
