"""Code location: 500 stacks of two schedules each, against as many assets of a plain Dagster project

The peer is what a team would write by hand: `@dg.asset` for each, no schedules, no checks, no configuration.
Both are resolved and serialised as the code server does, in processes of their own, one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.fleet import ROOT, write_fleet, write_peer
from bench.row import Row, within

STACKS = 500
_ROUNDS = 3
_LIMIT = 5.0


def run() -> list[Row]:
    """Best of three rounds, ours and theirs in turn."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        environ = write_fleet(folder, STACKS)
        ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()
        for _ in range(_ROUNDS):
            ours.append(_resolve("ops_pipelines.definitions", environ))
            if not theirs:
                write_peer(folder / "peer_project.py", STACKS, round(ours[0]["assets"] / STACKS))
            theirs.append(_resolve("peer_project", {"PYTHONPATH": str(folder)}))
    found = ours[0]
    assert found["broken"] == ["broken/stack_file"], "the broken file is not shown as one asset"
    assert found["schedules"] == 2 * STACKS
    seconds, peer = min(one["seconds"] for one in ours), min(one["seconds"] for one in theirs)
    cpu, peer_cpu = min(one["cpu"] for one in ours), min(one["cpu"] for one in theirs)
    named = f"plain Dagster, {theirs[0]['assets']} assets"
    return [
        Row("resolved and serialised", seconds, "s", named, peer, within(seconds, _LIMIT, "s")),
        Row("the same, processor time", cpu, "s", named, peer_cpu),
        Row("what the webserver receives", found["bytes"] / 2**20, "MiB", named, theirs[0]["bytes"] / 2**20),
        Row("  of it: checks", found["checks"], "", named, None),
    ]


def _resolve(module: str, environ: Mapping[str, str]) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, [str(ROOT), environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "bench._resolve", module],
        env={**os.environ, **environ, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} did not resolve: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
