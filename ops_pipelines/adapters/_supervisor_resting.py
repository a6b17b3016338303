"""A supervisord that does not run, as a plan sees it: what it would start. Nothing is started by looking."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ops_pipelines.adapters import _supervisor_files as files
from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.errors import Unreachable
from ops_pipelines.policy.processes import ProcessStatus, Program

_VERSION = re.compile(r"^process_name=.+@([0-9a-f]{64})$", re.MULTILINE)


class Resting:
    """Keeps to the Protocol Supervisor; whatever would change something is refused."""

    def __init__(self, manager: Supervisord) -> None:
        self._manager = manager

    def status(self) -> Mapping[str, ProcessStatus]:
        """Nothing runs under it."""
        return {}

    def programs(self) -> Mapping[str, str]:
        """Digest of the version of each program that it would start; empty where that is damaged."""
        return {name: self._version(name) for name in self._manager.folder.declared()}

    def _version(self, name: str) -> str:
        folder = self._manager.folder
        try:
            found = _VERSION.search(folder.ini(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return ""
        return found[1] if found and files.spec_is_whole(folder, name, found[1]) else ""

    def apply(self, program: Program, environment: Mapping[str, str]) -> None:
        """Refused."""
        del environment
        raise self._refusal(program.name)

    def start(self, name: str) -> None:
        """Refused."""
        raise self._refusal(name)

    def stop(self, name: str) -> None:
        """Refused."""
        raise self._refusal(name)

    def remove(self, name: str) -> None:
        """Refused."""
        raise self._refusal(name)

    def log_tail(self, name: str, size: int = 4000) -> str:
        """The end of what a program printed."""
        return self._manager.log_tail(name, size)

    def _refusal(self, name: str) -> Unreachable:
        return Unreachable(
            f"supervisord does not run in {self._manager.folder.path}, so nothing is changed about {name}",
            remedy="start it: a deploy does, and so does `ops-pipelines up`",
        )


def resting(manager: Supervisord) -> Resting | None:
    """What a supervisord would start, where none runs on its folder; None where one lives, or nothing was
    ever put there (its own `status` answers that)."""
    if not manager.folder.declared() or manager.running() or manager._server() is not None:
        return None
    return Resting(manager)
