"""A failed run is told: to the log, and to whoever the stack names."""

import dagster as dg
import structlog

from ops_pipelines.defs import names
from ops_pipelines.wiring import notices
from ops_pipelines.wiring.site import Fleet

log = structlog.get_logger()


def failure_sensor(fleet: Fleet) -> dg.SensorDefinition:
    """Tells a failed run to the log and to the `notify.urls` of every stack that it touched."""

    @dg.run_failure_sensor(
        name="fleet_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Tells a failed run to the log and to the stack's `notify.urls`.",
    )
    def fleet_failures(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        words = _what_failed(context)
        touched = stacks_of(run)
        for name in touched:
            notices.tell(fleet, name, title=f"{name}: run {run.run_id[:8]} failed", text=words)
        if not touched:
            log.error("run.failed", run=run.run_id, job=run.job_name, message=words)

    return fleet_failures


def stacks_of(run: dg.DagsterRun) -> list[str]:
    """The stacks that a run acts on: by its assets, its checks, and the tag that schedules set."""
    found = {key.path[0] for key in run.asset_selection or () if len(key.path) > 1}
    found |= {key.asset_key.path[0] for key in run.asset_check_selection or ()}
    if names.STACK_TAG in run.tags:
        found.add(run.tags[names.STACK_TAG])
    return sorted(found)


def _what_failed(context: dg.RunFailureSensorContext) -> str:
    """Each failed step with its reason; the run's own words where no step failed."""
    lines = []
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        error = data.error.message if data.error else None
        lines.append(f"{event.step_key}: {(told or error or event.message or 'it failed').strip()}")
    return "\n".join(lines) or context.failure_event.message or "the run failed"
