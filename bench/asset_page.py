"""Asset page: from the address to the words, in a real browser, with 500 stacks against one

The webserver and a code server run as they do for a user. `first`: a browser that was never there, and has all of
the web application to fetch. `again`: the page of another stack, in the same browser.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from bench.code_location import STACKS
from bench.fleet import ROOT, write_fleet
from bench.row import Row, within
from tools.parts import all_parts

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
    many, one = _opened(chromium.path, STACKS), _opened(chromium.path, 1)
    return [
        Row(
            f"asset page opens, {STACKS} stacks, {what}",
            took,
            "s",
            "one stack",
            peer,
            within(took, _LIMIT, "s"),
        )
        for what, took, peer in zip(("first", "again"), many, one, strict=True)
    ]


def _opened(chromium: Path, count: int) -> tuple[float, float]:
    """Seconds until the page can be read, in a new browser and in one that was there before: medians."""
    from playwright.sync_api import sync_playwright

    first, again = [], []
    with tempfile.TemporaryDirectory() as made, sync_playwright() as driver:
        folder = Path(made)
        with _served(folder, write_fleet(folder, count)) as url:
            for number in range(_ROUNDS):
                browser = driver.chromium.launch(executable_path=chromium, args=_FLAGS)
                page = browser.new_page()
                first.append(_open(page, url, "obelisk-000"))
                page.wait_for_load_state("networkidle")
                again.append(_open(page, url, f"obelisk-{(number + 1) % count:03d}"))
                browser.close()
    return statistics.median(first), statistics.median(again)


def _open(page: Page, url: str, stack: str) -> float:
    begun = time.perf_counter()
    page.goto(f"{url}/assets/{stack}/restore", wait_until="commit")
    page.get_by_text(f"Puts a snapshot of {stack} back").wait_for(timeout=60_000)
    return time.perf_counter() - begun


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
