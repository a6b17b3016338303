"""Asset page: from the address to the words, in a real browser, with 500 stacks against one

The webserver and a code server run as they do for a user; the page is opened anew each time, with an empty cache.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.code_location import STACKS
from bench.fleet import ROOT, write_fleet
from bench.row import Row, within
from tools.parts import all_parts

_ROUNDS = 5
_LIMIT = 2.0
_START = 180.0
_LOADED = """
{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }
"""
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def run() -> list[Row]:
    """The median of some rounds; nothing where there is no Chromium."""
    chromium = all_parts()["chromium"].find()
    if chromium is None:
        print(f"  chromium is not here: {all_parts()['chromium'].how_to_get}")
        return []
    seconds = {count: _opened(chromium.path, count) for count in (1, STACKS)}
    target = within(seconds[STACKS], _LIMIT, "s")
    return [Row(f"asset page opens, {STACKS} stacks", seconds[STACKS], "s", "one stack", seconds[1], target)]


def _opened(chromium: Path, count: int) -> float:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as made, sync_playwright() as driver:
        folder = Path(made)
        with _served(folder, write_fleet(folder, count)) as url:
            taken = []
            for _ in range(_ROUNDS):
                browser = driver.chromium.launch(executable_path=chromium, args=_FLAGS)
                page = browser.new_page()
                begun = time.perf_counter()
                page.goto(f"{url}/assets/obelisk-000/restore", wait_until="commit")
                page.get_by_text("Puts a snapshot of obelisk-000 back").wait_for(timeout=60_000)
                taken.append(time.perf_counter() - begun)
                browser.close()
    return sorted(taken)[len(taken) // 2]


@contextmanager
def _served(folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """A webserver on the fleet, once its code location is loaded."""
    (folder / "dagster").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "-m",
        "dagster_webserver",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-m",
        "ops_pipelines.definitions",
    ]
    with (folder / "webserver.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **environ, "DAGSTER_HOME": str(folder / "dagster"), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _await_loaded(url, server)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _await_loaded(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START
    with httpx.Client(trust_env=False, timeout=60) as client:
        while time.monotonic() < end and server.poll() is None:
            try:
                answer = client.post(f"{url}/graphql", json={"query": _LOADED}).json()
                [entry] = answer["data"]["workspaceOrError"]["locationEntries"]
                if entry["locationOrLoadError"]:
                    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
                    return
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.2)
    raise RuntimeError(f"the webserver did not load the code location within {_START:g} s")
