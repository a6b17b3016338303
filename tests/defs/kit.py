"""Fleets made from texts, their definitions, and runs of them in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ops_pipelines.defs.build import build
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring.site import Fleet, load_fleet

ROOT = Path(__file__).parents[2]
SMALL = """\
stack: {name}
description: A small stack.
owners: ["team:platform"]
target: {{kind: process}}
secrets: {{key: "${{S3_KEY}}", secret: "${{S3_SECRET}}", pager: "${{PAGER}}"}}
components:
  worker:
    kind: app
    command: ["{{python}}", -c, pass]
    ports: {{http: 18085}}
backup:
  bucket: {bucket}
  prefix: ops
  endpoint: {endpoint}
  access_key: key
  secret_key: secret
notify: {{urls: [pager]}}
"""


def small(
    name: str, *, bucket: str = "no-bucket", endpoint: str = "http://127.0.0.1:9", more: str = ""
) -> str:
    """Text of a stack with one component and a backup."""
    return SMALL.format(name=name, bucket=bucket, endpoint=endpoint) + more


def fleet_of(folder: Path, texts: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Fleet:
    """The fleet of some stack files, by file name without `.stack.yaml`."""
    stacks = folder / "stacks"
    stacks.mkdir(exist_ok=True)
    for name, text in texts.items():
        (stacks / f"{name}.stack.yaml").write_text(text)
    given = {"S3_KEY": "k", "S3_SECRET": "s", "PAGER": "json://127.0.0.1:9", **(environ or {})}
    settings = {"OPS_HOME": str(folder / "home"), "OPS_STACKS_DIR": str(stacks), **given}
    return load_fleet(load_settings(settings, cwd=folder))


def obelisk(**environ: str) -> Fleet:
    """Obelisk in its local form, as the repository declares it; nothing of it runs."""
    given = {
        "OPS_HOME": "/srv/ops",
        "OPS_STACKS_DIR": str(ROOT / "deploy"),
        "OPS_S3_ACCESS_KEY": "k",
        "OPS_S3_SECRET_KEY": "s",
        **environ,
    }
    found = load_fleet(load_settings(given, cwd=ROOT))
    return Fleet(found.settings, (found.site("obelisk").loaded,), ())


def run_things(
    fleet: Fleet,
    stack: str,
    things: Sequence[str],
    config: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    instance: dg.DagsterInstance | None = None,
    tags: Mapping[str, str] | None = None,
    checks: Sequence[dg.AssetCheckKey] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run assets of a stack as Dagster's own job runs them; a failure is in the result."""
    job = build(fleet).get_repository_def().get_job("__ASSET_JOB")
    part = job.get_subset(
        asset_selection={dg.AssetKey([stack, thing]) for thing in things},
        asset_check_selection=None if checks is None else set(checks),
    )
    ops = {
        f"{stack.replace('-', '_')}__{thing}": {"config": dict(each)}
        for thing, each in (config or {}).items()
    }
    return part.execute_in_process(
        run_config={"ops": ops},
        instance=instance or dg.DagsterInstance.ephemeral(),
        tags=dict(tags or {}),
        raise_on_error=False,
    )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Why the steps of a run failed."""
    found = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            told = data.user_failure_data
            found.append((told.description if told else None) or (data.error.message if data.error else ""))
    return "\n".join(one or "" for one in found)


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """Things that a run materialised."""
    return {
        event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key
    }


def observations(result: dg.ExecuteInProcessResult) -> list[dg.AssetObservation]:
    """What a run observed."""
    return [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
