"""The one entry of the Dagster code location: loads every stack and builds the Definitions.

dg dev            (or: dagster dev -m ops_pipelines.definitions)
"""

from __future__ import annotations

import gc

import dagster as dg

from ops_pipelines.defs.build import build
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring.site import load_fleet

_SELDOM = (50_000, 20, 20)


@dg.definitions
def defs() -> dg.Definitions:
    """Definitions of every stack that is declared; a broken file is shown and stops no other."""
    # What is loaded stays for good. Walked through again and again by the collector, a large fleet takes twice the
    # time to load, and half as much again to be shown.
    gc.set_threshold(*_SELDOM)
    try:
        fleet = load_fleet(load_settings())
        gc.disable()
        return build(fleet)
    finally:
        gc.enable()
        gc.freeze()
