"""Dagster's pages over a folder of stacks: a webserver whose runs start at once, asked as the pages ask it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops_pipelines.errors import OpsError, Unreachable
from ops_pipelines.up.dagster_api import LOCATION, Dagster
from tests.servers._child import die_with_parent
from tests.servers.dagster import ENDS, EVENTS, ROOT, STATUS, Run
from tests.waiting import free_port, until

_log = logging.getLogger(__name__)
_HOME = """\
storage: {sqlite: {base_dir: %(home)s}}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {base_dir: %(home)s}
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config: {base_dir: %(home)s/logs}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
telemetry: {enabled: false}
nux: {enabled: false}
"""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
_PARTITIONS = """
query Partitions($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { partitionKeys } } }
"""


@dataclass(frozen=True)
class Pages:
    """A webserver, and the ways to ask it."""

    url: str
    folder: Path

    @property
    def dagster(self) -> Dagster:
        """GraphQL."""
        return Dagster(self.url, within=180)  # a machine that is busy with a whole stack

    def run(self, stack: str, thing: str, *, partition: str | None = None, **config: Any) -> Run:
        """Materialize one thing of a stack with what the launchpad would hold, and wait for the end."""
        name = f"{stack}__{thing}".replace("-", "_")
        tags = {"dagster/partition": partition} if partition else {}
        ops = {"ops": {name: {"config": config}}} if config else {}
        return self.ended(self.dagster.launch([[stack, thing]], ops, tags=tags), f"{stack} {thing} {config}")

    def job(self, job: str, op: str, **config: Any) -> Run:
        """Launch a job of the fleet, and wait for the end."""
        selector = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__", "jobName": job}
        params = {"selector": selector, "runConfigData": {"ops": {op: {"config": config}}}, "mode": "default"}
        answer = self.dagster.ask(_LAUNCH, {"params": params})["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return self.ended(answer["run"]["runId"], f"{job} {config}")

    def ended(self, run: str, what: str = "") -> Run:
        """A run, once it has ended; `what` it does, for the log (`--log-cli-level=INFO`)."""
        began = time.monotonic()

        def over() -> bool:
            try:
                return self.dagster.ask(STATUS, {"id": run})["runOrError"]["status"] in ENDS
            except Unreachable:  # a busy machine: it is asked again
                return False

        until(over, what=f"run {run} to end", seconds=900, pause=0.3)
        last = self.dagster.ask(EVENTS, {"id": run})
        ended = Run(run, last["runOrError"]["status"], last["logsForRun"]["events"])
        _log.info("%s: %s after %.1f s %s", what, ended.status, time.monotonic() - began, ended.failure)
        return ended

    def snapshots(self, stack: str) -> Sequence[str]:
        """What the drop-down of the restore form holds."""
        found = self.dagster.ask(_PARTITIONS, {"key": {"path": [stack, "restore"]}})
        keys: list[str] = found["assetNodeOrError"]["partitionKeys"]
        return keys


@contextmanager
def serve_pages(folder: Path, environ: Mapping[str, str]) -> Iterator[Pages]:
    """The pages of the stacks that `environ` names, until the end of the `with`; their data lies below `folder`."""
    home, port = folder / "dagster", free_port()
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(_HOME % {"home": home})
    log = folder / "pages.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port),
                "-w", str(ROOT / "workspace.yaml"),
            ],
            env={**_inherited(), **environ, "DAGSTER_HOME": str(home)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
        )  # fmt: skip
    pages = Pages(f"http://127.0.0.1:{port}", folder)

    def loaded() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            return pages.dagster.loaded()
        except OpsError:
            return False

    try:
        until(loaded, what="the pages to be there", seconds=120)
        yield pages
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _inherited() -> dict[str, str]:
    kept = ("OPS_", "DAGSTER_", "DOCKER_", "COMPOSE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(kept)}
