"""Collections kept in memory: a Milvus remembers across its own restarts which ones were, Milvus Lite does not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.errors import OpsError
from ops_pipelines.up.steps import Steps
from ops_pipelines.wiring.connect import endpoint, vector_store
from ops_pipelines.wiring.site import Site

LOOK_EVERY = 2.0
"""Seconds between two looks at whether Milvus Lite was started again."""


def load_collections(sites: Iterable[Site], uri: str) -> tuple[list[str], list[str]]:
    """Load what lies in the Milvus Lite at `uri` and is not loaded: (those that were, what failed)."""
    loaded: list[str] = []
    problems: list[str] = []
    for site in sites:
        for name, declared in site.stack.collections.items():
            try:
                if endpoint(site, declared.store).rstrip("/") != uri:
                    continue
                store = vector_store(site, name)
                state = store.state(name)
                if state is not None and not state.loaded:
                    store.load(state.name)
                    loaded.append(name)
            except OpsError as error:
                problems.append(f"{site.name}: {name}: {error.message}")
    return loaded, problems


class Keeper:
    """Loads the collections again each time that supervisord has started Milvus Lite again."""

    def __init__(self, manager: Supervisord, program: str, sites: Iterable[Site], uri: str) -> None:
        self._manager, self._program, self._uri = manager, program, uri
        self._sites = tuple(sites)
        self._pid = self._seen()

    def wait(self, child: subprocess.Popen[bytes], steps: Steps) -> int:
        """Wait for the end of a process, and keep the collections loaded meanwhile. Returns its status."""
        while True:
            try:
                return child.wait(LOOK_EVERY)
            except subprocess.TimeoutExpired:
                self.look(steps)

    def look(self, steps: Steps) -> None:
        """Load the collections, if Milvus Lite is another process than it was; until it can be done."""
        pid = self._seen()
        if pid is None or pid == self._pid:
            return
        loaded, problems = load_collections(self._sites, self._uri)
        if not problems:
            self._pid = pid
            steps.say(f"[yellow]note[/]    Milvus Lite was started again; collections loaded: {len(loaded)}")

    def _seen(self) -> int | None:
        try:
            status = self._manager.status().get(self._program)
        except OpsError:
            return None
        return status.pid if status is not None else None
