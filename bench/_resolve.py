"""Resolve one code location as Dagster's code server does, in a process of its own; the figures as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from typing import Any

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value


def main(module: str) -> dict[str, Any]:
    """Seconds from the call of the definitions to the bytes that the webserver receives, imports left out."""
    warnings.simplefilter("ignore")
    if module == "ops_pipelines.definitions":
        loaded = importlib.import_module(module)
        begun, cpu = time.perf_counter(), time.process_time()
        DefinitionsLoadContext.set(DefinitionsLoadContext(load_type=DefinitionsLoadType.INITIALIZATION))
        definitions: dg.Definitions = loaded.defs()
    else:
        begun, cpu = time.perf_counter(), time.process_time()
        definitions = importlib.import_module(module).defs
    repository = definitions.get_repository_def()
    # A code server hands out the jobs' own snapshots later, one by one.
    snapshot = RepositorySnap.from_def(repository, defer_snapshots=True)
    size = len(serialize_value(snapshot))
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "bytes": size,
        "assets": len(snapshot.asset_nodes),
        "schedules": len(snapshot.schedules),
        "checks": len(snapshot.asset_check_nodes or ()),
        "broken": [
            node.asset_key.to_user_string()
            for node in snapshot.asset_nodes
            if node.asset_key.path[-1] == "stack_file"
        ],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
