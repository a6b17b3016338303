"""A deploy that ends itself by SIGKILL: `python -m tests.integration.kill_bluegreen STEP`, in a stack's folder.

It runs without the stack's lease, whose holder's death the next deploy would have to wait out each time.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ops_pipelines.adapters.live_proxies import LiveProxies
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.settings import load_settings

from ops_pipelines.wiring import deployments  # isort: skip - the others reach each other through it
from ops_pipelines.wiring import compose_bluegreen, compose_target
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.site import Site, load_fleet


class Free:
    """The lease of a stack that nobody else works on."""

    token = 1

    def check(self) -> None: ...


def deploy(site: Site, progress: Progress = silent) -> None:
    """Deploy what is declared."""
    deployments.on(site).deploy(site, earlier=None, by="test", fence=Free(), progress=progress)


def finish(site: Site) -> None:
    """What the next deploy does first."""
    here, standing = ComposeSite(site), compose_target.before(site)
    assert standing is not None
    compose_bluegreen.finish(here, standing, within=60, fence=Free(), progress=silent)


def end(*_: object) -> None:
    """What a kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(step: str) -> None:
    """`reload`: before a proxy is told; `NAME:N`: when step NAME is at N; `NAME`: when it is first told."""
    name, _, at = step.partition(":")

    def progress(said: str, done: int, total: int | None, unit: str) -> None:
        if said == name and (not at or int(at) == done):
            end()

    if name == "reload":
        LiveProxies.reload = end  # type: ignore[method-assign, assignment]
    deploy(load_fleet(load_settings(os.environ, cwd=Path.cwd())).site("web"), progress)


if __name__ == "__main__":
    main(sys.argv[1])
