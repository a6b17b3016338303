"""One sensor keeps the drop-downs of the restore forms equal to the buckets, and shows broken stack files."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import structlog

from ops_pipelines.defs import names
from ops_pipelines.defs.broken import broken_evaluation, in_lines
from ops_pipelines.errors import OpsError
from ops_pipelines.stack.loader import BrokenStack
from ops_pipelines.wiring import snapshots
from ops_pipelines.wiring.deployments import supported
from ops_pipelines.wiring.site import Fleet, Site

log = structlog.get_logger()

_WORKERS = 8

Change = dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest


def mirror_sensor(fleet: Fleet) -> dg.SensorDefinition:
    """Snapshots made elsewhere appear, pruned ones go; what cannot be read changes nothing."""
    backed_up = [site for site in fleet.sites() if site.stack.backup is not None and supported(site)]
    broken = {_mark(one): one for one in fleet.broken}

    @dg.sensor(
        name="fleet_mirror",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Keeps the drop-down of each restore form equal to its bucket, and shows stack files that "
            "cannot be read."
        ),
    )
    def fleet_mirror(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        said = set(json.loads(context.cursor or "[]"))
        with ThreadPoolExecutor(_WORKERS) as pool:
            listed = list(pool.map(_restorable, backed_up))
        changes = [
            change
            for site, found in zip(backed_up, listed, strict=True)
            if found is not None
            for change in _reconcile(context.instance, site.name, found)
        ]
        unread = [site.name for site, found in zip(backed_up, listed, strict=True) if found is None]
        words = f"{len(backed_up)} buckets looked at; {len(changes)} drop-downs changed"
        return dg.SensorResult(
            asset_events=[broken_evaluation(one) for mark, one in broken.items() if mark not in said],
            dynamic_partitions_requests=changes,
            cursor=json.dumps(sorted(broken)),
            skip_reason=dg.SkipReason(words + (f"; not readable: {', '.join(unread)}" if unread else "")),
        )

    return fleet_mirror


def _mark(broken: BrokenStack) -> str:
    return f"{broken.name}\n{in_lines(broken)}"


def _restorable(site: Site) -> list[str] | None:
    """Ids of the snapshots that can be restored, oldest first; None where the bucket cannot be read."""
    try:
        return snapshots.restorable(site)
    except OpsError as error:
        log.warning("mirror.unknown", stack=site.name, error=error.message)
    except Exception:  # one stack's fault must not hide the others' snapshots
        log.exception("mirror.fault", stack=site.name)
    return None


def _reconcile(instance: dg.DagsterInstance, stack: str, wanted: Sequence[str]) -> list[Change]:
    definition = names.snapshots(stack)
    shown = set(instance.get_dynamic_partitions(definition.name or ""))
    new = [snapshot for snapshot in wanted if snapshot not in shown]
    gone = sorted(shown - set(wanted))
    changes: list[Change] = []
    if new:
        changes.append(definition.build_add_request(new))
    if gone:
        changes.append(definition.build_delete_request(gone))
    return changes
