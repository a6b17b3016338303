"""The first run: fill the model cache, deploy, embed the corpus, back up, drill. One Dagster run, followed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops_pipelines.up.dagster_api import Dagster, RunFailed, words_of
from ops_pipelines.up.steps import Steps
from ops_pipelines.wiring import data, deployments, snapshots
from ops_pipelines.wiring.connect import object_store
from ops_pipelines.wiring.site import Site

_TITLES = {
    "artifact": ("render and lint the stack", "rendered and linted the stack"),
    "model_cache": ("fill the model cache", "filled the model cache"),
    "deployment": ("deploy", "deployed"),
    "collections": ("embed the corpus", "embedded the corpus"),
    "snapshot": ("take a snapshot and verify it", "took a snapshot and verified it"),
    "drill": (
        "restore it in a drill and ask the kept questions", "restored it in a drill and asked the kept questions",
    ),
    "observe": ("look at everything once more", "looked at everything once more"),
}  # fmt: skip
"""Of each step: what it is to do, and what it has done."""
_CONFIG = {"model_cache": {"apply": True}, "deployment": {"apply": True}, "collections": {"apply": True}}
_ENDS = ("SUCCESS", "FAILURE", "CANCELED")
_WAITS = ("QUEUED", "NOT_STARTED", "STARTING", "MANAGED")
_START = 90.0
_LOOK_EVERY = 0.3
_STEP = re.compile(r"__(\w+)$")

TAGS = {"ops-pipelines/purpose": "bring-up"}
"""Marks the runs that `up` launches itself."""


@dataclass(frozen=True)
class Event:
    """One thing that happened in a run, as `up` shows it."""

    step: str
    kind: str
    message: str


def things_missing(site: Site) -> list[str]:
    """Assets that are to be brought about before the stack is whole; empty where it is."""
    missing: list[str] = []
    if not data.plan_fill(site).empty:
        missing.append("model_cache")
    if not deployments.plan(site).empty:
        missing.append("deployment")
    if any(step.verb == "create" for step in data.plan_collections(site).steps):
        missing.append("collections")
    drilled = any("drilled" in one.marks for one in snapshots.listed(site))
    if missing or not drilled:
        return ["artifact", "model_cache", "deployment", "collections", "snapshot", "drill"]
    return []


def ensure_bucket(site: Site) -> bool:
    """Make the stack's bucket in the embedded store. True where it was not there."""
    return object_store(site).ensure_bucket()


def unwell(site: Site) -> list[str]:
    """What each component says that does not answer."""
    return [finding.message for finding in deployments.health_findings(site) if finding.ok is not True]


def bring_up(site: Site, dagster: Dagster, things: list[str], steps: Steps) -> str:
    """Launch the run and follow it to its end, a line a step. Raises RunFailed with what went wrong."""
    config = {
        "ops": {f"{site.name}__{thing}": {"config": _CONFIG[thing]} for thing in things if thing in _CONFIG}
    }
    with steps.working("to start the first run") as spinner:
        run = dagster.launch(
            [[site.name, thing] for thing in things],
            config,
            checks=_checks(things, site),
            tags={"ops-pipelines/stack": site.name, **TAGS},
        )
        begun: dict[str, float] = {}
        for event in _events(dagster, run):
            doing, done = _TITLES.get(event.step, (event.step, event.step))
            if event.kind == "ExecutionStepStartEvent":
                begun[event.step] = time.monotonic()
                spinner.show(f"to {doing}")
            elif event.kind == "ExecutionStepSuccessEvent":
                steps.done(done, time.monotonic() - begun.get(event.step, time.monotonic()))
            elif event.kind == "ExecutionStepFailureEvent":
                raise RunFailed(
                    f"failed to {doing}: {event.message}",
                    remedy=f"the run's page has the whole story: runs/{run}",
                )
    return run


def _checks(things: list[str], site: Site) -> list[tuple[list[str], str]]:
    found: list[tuple[list[str], str]] = [
        ([site.name, "artifact"], "lint"),
        ([site.name, "snapshot"], "verified"),
        ([site.name, "drill"], "answers_as_before"),
        ([site.name, "deployment"], "healthy"),
        ([site.name, "deployment"], "as_declared"),
        ([site.name, "model_cache"], "complete"),
        ([site.name, "collections"], "as_declared"),
    ]
    return [check for check in found if check[0][1] in things]


def _events(dagster: Dagster, run: str) -> Iterator[Event]:
    cursor: str | None = None
    deadline = time.monotonic() + _START
    while True:
        status, cursor, raw = dagster.follow(run, cursor)
        if status in _WAITS and time.monotonic() > deadline:
            _require_others(dagster, run, status)
            deadline = time.monotonic() + _START
        for one in raw:
            yield Event(_step(one.get("stepKey")), one["__typename"], _words(one))
        if status in _ENDS and not raw:
            if status != "SUCCESS":
                raise RunFailed(f"the run {run} ended as {status}", remedy=f"see runs/{run}")
            return
        if not raw:
            time.sleep(_LOOK_EVERY)


def _require_others(dagster: Dagster, run: str, status: str) -> None:
    """Raise RunFailed where a run waits, and for no other."""
    if all(one.id == run for one in dagster.unfinished()):
        raise RunFailed(
            f"the run {run} was not started within {_START:g} s: it is {status}",
            remedy="see ops.dagster-daemon.log in the supervisor folder of the home folder",
        )


def _step(key: str | None) -> str:
    match = _STEP.search(key or "")
    return match[1] if match else key or ""


def _words(raw: Mapping[str, Any]) -> str:
    """Why, in the words of whoever failed; of an error that nobody foresaw, the cause behind it."""
    told = (raw.get("failureMetadata") or {}).get("description")
    error = raw.get("error")
    return str(told or (words_of(error) if error else raw.get("message", ""))).strip()
