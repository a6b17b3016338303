"""What every op does alike: find its stack, turn errors into failures, say how far long work is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import dagster as dg

from ops_pipelines.defs.metadata import failure
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.words import progress_line
from ops_pipelines.wiring.site import Fleet, Site

FLEET = "fleet"
"""Key of the resource that every op finds its stack in."""

_EVERY = 10.0


class HasLog(Protocol):
    """A Dagster context."""

    @property
    def log(self) -> logging.Logger: ...


@contextmanager
def failures() -> Iterator[None]:
    """Errors of this project become failures of the step, with what to do."""
    try:
        yield
    except OpsError as error:
        raise failure(error) from error


def site_of(context: dg.OpExecutionContext, stack: str) -> Site:
    """The stack that a run was asked about. Raises UnknownStack, DeclarationError."""
    return cast("Fleet", getattr(context.resources, FLEET)).site(stack)


def stop_if_bad(what: str, check: dg.AssetCheckResult) -> None:
    """Fail the step where a check has found an error: a failed check alone is told to nobody."""
    if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR:
        raise dg.Failure(f"{what}: {check.description}", metadata=check.metadata, allow_retries=False)


class LogProgress:
    """A Progress that writes a line every ten seconds, and one at the end of a step."""

    def __init__(self, context: HasLog) -> None:
        self._log = context.log
        self._begun: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def __call__(self, step: str, done: int, total: int | None, unit: str) -> None:
        """Say how far `step` is, if it is time to."""
        now = time.monotonic()
        begun = self._begun.setdefault(step, now)
        ended = total is not None and done >= total
        if not ended and now - self._said.get(step, begun) < _EVERY:
            return
        self._said[step] = now
        self._log.info(progress_line(step, done, total, unit, now - begun))
        if ended:
            self._begun.pop(step, None)
            self._said.pop(step, None)
