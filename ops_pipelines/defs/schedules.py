"""Each stack's own times: backup, light and full drill, verify, prune, observe.

They start Dagster's own asset job with a selection of the stack, so that a hundred stacks cost no hundred jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.defs.checks import observed
from ops_pipelines.wiring.deployments import supported
from ops_pipelines.wiring.site import Site

ASSET_JOB = "__ASSET_JOB"

_WORDS = {
    "observe": "Looks whether {stack} is still as declared, and healthy.",
    "nightly_backup": "Takes a snapshot of {stack} and verifies it.",
    "light_drill": "Proves the newest snapshot of {stack} on a sample.",
    "full_drill": "Proves the newest snapshot of {stack}, every row and every blob.",
    "verify": "Reads the newest snapshot of {stack} from the bucket, all of it.",
    "prune": "Deletes what `backup.keep` of {stack} lets go.",
}

Request = Callable[[], dg.RunRequest]


def stack_schedules(site: Site) -> list[dg.ScheduleDefinition]:
    """The schedules of one stack; on from the start where this version can act on the stack's target."""
    stack, name = site.stack, site.name
    rows: list[tuple[str, str | None, str, str, Request]] = [
        ("observe", stack.observe.schedule, stack.observe.timezone, ASSET_JOB, _observe(site)),
    ]
    if stack.backup is not None:
        backup, drill = stack.backup, stack.drill
        zone, at = backup.timezone, drill.timezone
        rows += [
            ("nightly_backup", backup.schedule, zone, ASSET_JOB, _asset(name, "snapshot")),
            ("light_drill", drill.schedule, at, ASSET_JOB, _asset(name, "drill", full=False)),
            ("full_drill", drill.full_schedule, at, ASSET_JOB, _asset(name, "drill", full=True)),
            ("verify", backup.verify_schedule, zone, "verify", _job(name, "verify_snapshot")),
            ("prune", backup.prune_schedule, zone, "prune", _job(name, "prune_snapshots", apply=True)),
        ]
    running = supported(site)
    return [_schedule(name, running, *row) for row in _set(rows)]


def _set(
    rows: Sequence[tuple[str, str | None, str, str, Request]],
) -> list[tuple[str, str, str, str, Request]]:
    return [(what, cron, zone, job, make) for what, cron, zone, job, make in rows if cron is not None]


def _schedule(
    name: str, running: bool, what: str, cron: str, timezone: str, job: str, make: Request
) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=f"{names.group(name)}__{what}",
        cron_schedule=cron,
        job_name=job,
        execution_timezone=timezone,
        execution_fn=lambda _context: make(),
        description=_WORDS[what].format(stack=name),
        tags=names.tags(name),
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
    )


def _asset(name: str, thing: str, **config: object) -> Request:
    run_config = {"ops": {names.op(name, thing): {"config": config}}} if config else {}
    return lambda: dg.RunRequest(
        asset_selection=[names.key(name, thing)], run_config=run_config, tags=names.tags(name)
    )


def _observe(site: Site) -> Request:
    return lambda: dg.RunRequest(
        asset_selection=[], asset_check_keys=observed(site), tags=names.tags(site.name)
    )


def _job(name: str, op: str, **config: object) -> Request:
    run_config = {"ops": {op: {"config": {"stack": name, **config}}}}
    return lambda: dg.RunRequest(run_config=run_config, tags=names.tags(name))
