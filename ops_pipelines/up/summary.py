"""What `up` says at the end: what is there, where, and what to try next."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.markup import escape

from ops_pipelines.engines.snapshots import read_mark
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.settings import RUN_ENV
from ops_pipelines.up.steps import Steps
from ops_pipelines.wiring import data, snapshots
from ops_pipelines.wiring.connect import endpoint, layout, object_store, vector_store
from ops_pipelines.wiring.site import Fleet, Site

_GRAPH = "/locations/__repository__@ops_pipelines/asset-groups/{}/lineage"


def say_summary(site: Site, fleet: Fleet, env: Mapping[str, str], steps: Steps) -> None:
    """Print the summary. What cannot be read just now is said to be unknown."""
    steps.say()
    steps.say(f"[bold]{site.name}[/] ({site.loaded.profile}) runs on this machine.")
    for line in (*_facts(site), *_broken(fleet)):
        steps.say(f"  {escape(line)}")
    steps.say()
    steps.say(f"  Dagster         [bold]{env['OPS_DAGSTER_URL']}[/]")
    steps.say(f"  object store    {env['OPS_S3_ENDPOINT']}   credentials: {fleet.settings.home / RUN_ENV}")
    steps.say(f"  vector database {env['OPS_MILVUS_URI']}")
    for name in sorted({m.served_by for m in site.stack.models.values() if m.served_by}):
        steps.say(f"  {name:15} {endpoint(site, name)}")
    steps.say()
    program = _program()
    steps.say("Try next:")
    steps.say(
        f"  open {env['OPS_DAGSTER_URL']}{_GRAPH.format(site.name.replace('-', '_'))}, from model blob to drill"
    )
    steps.say(f"  {program} snapshots {site.name}")
    steps.say(f"  {program} restore {site.name} SNAPSHOT        (shows the plan; --apply does it)")
    steps.say(f"  {program} scale explain {site.name}")
    steps.say("Ctrl-C stops everything; the data stays, and the next start goes on with it.")


def _program() -> str:
    """How a person calls the command line from here: by name where it is on PATH, else by its path."""
    if shutil.which("ops-pipelines"):
        return "ops-pipelines"
    return os.path.relpath(Path(sys.executable).with_name("ops-pipelines"))


def _facts(site: Site) -> list[str]:
    lines: list[str] = []
    for what, look in (("model cache", _caches), ("collection", _collections), ("snapshot", _newest)):
        try:
            lines += look(site)
        except OpsError as error:
            lines.append(f"{what:15} unknown: {error.message}")
    return lines


def _caches(site: Site) -> list[str]:
    taken = data.inventories(site)
    models = sum(len(one.models) for one in taken)
    return [f"model cache     {models} model(s), {size_in_words(sum(one.size for one in taken))}"]


def _collections(site: Site) -> list[str]:
    return [
        f"collection      {name}: {vector_store(site, name).count(name)} rows"
        for name in site.stack.collections
    ]


def _newest(site: Site) -> list[str]:
    found = snapshots.listed(site)
    if not found:
        return ["snapshot        none yet"]
    newest = found[0]
    size = "size unknown" if newest.size is None else size_in_words(newest.size)
    lines = [f"snapshot        {newest.id}: {size}, {snapshots.state_in_words(newest)}"]
    mark = read_mark(object_store(site), layout(site), site.name, newest.id, "drilled")
    if mark and mark.get("recall") is not None:
        lines.append(f"drill           recall@10 {mark['recall']:.3f}, {mark['verdict']} at {mark['at']}")
    return lines


def _broken(fleet: Fleet) -> list[str]:
    return [f"broken          {problem}" for one in fleet.broken for problem in one.problems]
