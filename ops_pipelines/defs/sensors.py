"""Three sensors for the whole fleet: scaling, the mirror of the buckets, and the messenger of failures."""

from __future__ import annotations

import dagster as dg

from ops_pipelines.defs.failing import failure_sensor
from ops_pipelines.defs.mirror import mirror_sensor
from ops_pipelines.defs.scaling_sensor import scaling_sensor
from ops_pipelines.wiring.site import Fleet


def fleet_sensors(fleet: Fleet) -> list[dg.SensorDefinition]:
    """The sensors of a fleet."""
    return [scaling_sensor(fleet), mirror_sensor(fleet), failure_sensor(fleet)]
