"""The whole embedded default, as `ops-pipelines up` starts it: one for the session, in a home folder of its own."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops_pipelines.settings import RUN_ENV, load_settings
from ops_pipelines.up.dagster_api import Dagster
from ops_pipelines.up.environment import PORTS
from ops_pipelines.wiring.site import Site, load_fleet
from tests.parts import require
from tests.waiting import is_free, until

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("ops-pipelines")
TEXTS = {
    "backup": "# Backups\n\nA backup is committed only when every part was stored and verified.",
    "restore": "# Restores\n\nA restore is staged beside the live stack, checked, and only then switched.",
    "prune": "# Pruning\n\nThe last verified and the last drilled snapshot are never pruned.",
    "garden": "# Garden\n\nTomatoes want sun, water at their feet and a stake to climb.",
}
BROKEN = (
    "stack: broken\ndescription: A file with a mistake.\nowners: [me@example.com]\ntarget: {kind: proces}\n"
)
_READY, _STOPPED = 240.0, 60.0

STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
ENDS = ("SUCCESS", "FAILURE", "CANCELED")
EVENTS = """
query Events($id: ID!) { runOrError(runId: $id) { ... on Run { status } }
  logsForRun(runId: $id) { ... on EventConnection { events { __typename
    ... on MessageEvent { message stepKey }
    ... on ExecutionStepFailureEvent { failureMetadata { description } error { message } }
    ... on ObservationEvent { description partition metadataEntries { label __typename
      ... on TableMetadataEntry { table { records } } ... on IntMetadataEntry { intValue }
      ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } } }
    ... on MaterializationEvent { assetKey { path } partition } } } } }
"""


@dataclass(frozen=True)
class Platform:
    """A running `ops-pipelines up`, and the ways to ask it."""

    url: str
    home: Path
    environ: Mapping[str, str]

    @property
    def dagster(self) -> Dagster:
        """GraphQL."""
        return Dagster(self.url)

    @property
    def site(self) -> Site:
        """The Obelisk stack, as the platform sees it."""
        return load_fleet(load_settings(self.environ, cwd=ROOT)).site("obelisk")

    def cli(self, *words: str) -> Any:
        """Answer of a verb of the command line, as a person in another terminal would ask."""
        done = subprocess.run(
            [PROGRAM, *words, "--json"],
            env=dict(self.environ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def run(
        self,
        assets: Sequence[str],
        config: Mapping[str, Any] | None = None,
        *,
        checks: Sequence[tuple[str, str]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Launch things of Obelisk as the UI does, and wait for the end."""
        return self.ended(self.begin(assets, config, checks=checks, tags=tags))

    def begin(
        self,
        assets: Sequence[str],
        config: Mapping[str, Any] | None = None,
        *,
        checks: Sequence[tuple[str, str]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Launch, and do not wait; the run's id."""
        ops = {f"obelisk__{thing}": {"config": values} for thing, values in (config or {}).items()}
        return self.dagster.launch(
            [["obelisk", thing] for thing in assets],
            {"ops": ops} if ops else {},
            checks=[(["obelisk", thing], name) for thing, name in checks],
            tags=tags,
        )

    def ended(self, run: str) -> Run:
        """A run, once it has ended."""

        def over() -> bool:
            return self.dagster.ask(STATUS, {"id": run})["runOrError"]["status"] in ENDS

        until(over, what=f"run {run} to end", seconds=180, pause=0.2)
        last = self.dagster.ask(EVENTS, {"id": run})
        return Run(run, last["runOrError"]["status"], last["logsForRun"]["events"])


@dataclass(frozen=True)
class Run:
    """A run that has ended, with its events."""

    id: str
    status: str
    events: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Events of one kind."""
        return [event for event in self.events if event["__typename"] == kind]

    @property
    def said(self) -> list[str]:
        """Lines of its log."""
        return [event["message"] for event in self.events if event.get("message")]

    @property
    def failure(self) -> str:
        """Why its steps failed, or the run itself."""
        found = [event["message"] for event in self.of("RunFailureEvent")]
        for event in self.of("ExecutionStepFailureEvent"):
            told = (event.get("failureMetadata") or {}).get("description")
            found.append(told or (event.get("error") or {}).get("message") or event["message"])
        return "\n".join(found)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """Obelisk's local form, brought up and drilled once, with a broken stack file beside it."""
    require("seaweedfs")
    folder = ROOT / ".ops" / "tests" / secrets.token_hex(4)
    home = folder / "home"
    home.mkdir(parents=True)
    environ = _environ(folder, home)
    log = folder / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [PROGRAM, "up"], env=environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait_ready(process, log)
        settings = load_settings(environ, cwd=ROOT)
        yield Platform(settings.environ["OPS_DAGSTER_URL"], home, environ)
    finally:
        process.send_signal(signal.SIGTERM)
        code = _code(process)
        left = _left(home)
        for one in left:
            one.kill()
    assert code == 0, f"`up` ended with {code}: {log.read_text()[-3000:]}"
    assert not left, f"`up` left {[' '.join(one.cmdline())[:200] for one in left]}"
    shutil.rmtree(folder)


def _environ(folder: Path, home: Path) -> dict[str, str]:
    corpus, stacks = folder / "corpus", folder / "stacks"
    corpus.mkdir()
    stacks.mkdir()
    for name, text in TEXTS.items():
        (corpus / f"{name}.md").write_text(text)
    declared = (ROOT / "deploy/obelisk/stack.yaml").read_text().replace("../../", f"{ROOT}/")
    assert 'schedule: "0 * * * *"' in declared
    # Every minute, so that the daemon's own ticks can be seen.
    declared = declared.replace('schedule: "0 * * * *"', 'schedule: "* * * * *"')
    (stacks / "obelisk.stack.yaml").write_text(declared)
    (stacks / "broken.stack.yaml").write_text(BROKEN)
    (home / RUN_ENV).write_text("".join(_ports()))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("OPS_", "DAGSTER_"))},
        "OPS_HOME": str(home),
        "OPS_STACKS_DIR": str(stacks),
        "OPS_PROFILES": "obelisk=local",
        "OPS_DEMO_CORPUS": str(corpus),
    }


def _ports() -> Iterator[str]:
    """Lines of the home's settings: two `up` that start at the same moment would else choose the same ports."""
    port = random.randrange(12_000, 18_000, 10)
    for wish in PORTS:
        while not all(is_free(each) for each in range(port, port + wish.count)):
            port += 10
        yield f"{wish.variable}={port}\n"
        port += 10


def _wait_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _READY
    while "Ctrl-C stops everything" not in log.read_text():
        assert process.poll() is None, f"`up` ended with {process.returncode}: {log.read_text()[-4000:]}"
        assert time.monotonic() < end, f"`up` was not ready within {_READY:g} s: {log.read_text()[-4000:]}"
        time.sleep(0.2)


def _code(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_STOPPED)
    except subprocess.TimeoutExpired:
        process.kill()
        return None


def _left(home: Path) -> list[psutil.Process]:
    """Processes of this home folder that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("OPS_HOME") == str(home)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
