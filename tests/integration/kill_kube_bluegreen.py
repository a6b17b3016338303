"""A deploy that ends itself by SIGKILL: `python -m tests.integration.kill_kube_bluegreen STEP TOKEN`, in a stack's
folder. It runs without the stack's lease, whose holder's death the next deploy would have to wait out each time."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from ops_pipelines.engines.ports import silent
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import kube_bluegreen, kube_target
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.site import Site, load_fleet


@dataclass(frozen=True)
class Free:
    """The lease of a stack that nobody else works on."""

    token: int

    def check(self) -> None: ...


def finish(site: Site, token: int) -> bool:
    """What the next deploy does first."""
    return kube_bluegreen.finish(KubeSite(site), Free(token), silent)


def main(when: str, token: int) -> None:
    """`NAME:N`: when step NAME is at N."""

    def progress(step: str, done: int, total: int | None, unit: str) -> None:
        del total, unit
        if when == f"{step}:{done}":
            os.kill(os.getpid(), signal.SIGKILL)

    site = load_fleet(load_settings(os.environ, cwd=Path.cwd())).site("web")
    kube_target.deploy(site, earlier=None, by="test", fence=Free(token), progress=progress)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
