"""Plain processes kept running by supervisord, through its XML-RPC: the target `process`.

One program is one group of its own, so that a change to one never restarts another. A change is committed by
writing its ini file; supervisord killed at any moment comes back with the old version or the new one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psutil
import structlog

from ops_pipelines.adapters import _supervisor_files as files
from ops_pipelines.adapters import _supervisor_rpc as rpc
from ops_pipelines.adapters._supervisor_launch import resolve_secrets
from ops_pipelines.adapters._supervisor_server import KILLED_WITHIN, Server
from ops_pipelines.errors import OpsError, SecretMissing, Unreachable
from ops_pipelines.policy.processes import ProcessState, ProcessStatus, Program
from ops_pipelines.settings import RUN_ENV

_STATES: Mapping[str, ProcessState] = {
    "STOPPED": "stopped", "STARTING": "starting", "RUNNING": "running", "BACKOFF": "backoff",
    "STOPPING": "stopping", "EXITED": "exited", "FATAL": "fatal",
}  # fmt: skip
_AT_REST = ("stopped", "fatal", "unknown")

log = structlog.get_logger()


class Supervisord(Server):
    """One supervisord and the programs below its folder. Keeps to the Protocol Supervisor.

    Every method raises Unreachable where supervisord does not answer: the state of its programs is then
    unknown, never `stopped`.
    """

    def status(self) -> Mapping[str, ProcessStatus]:
        """Programs it knows, by name."""
        return {info["group"]: _status(info) for info in self._infos()}

    def programs(self) -> Mapping[str, str]:
        """Digest of the version of each program that supervisord really has.

        Empty where one was written down and a crash came before it was put in place, or where the file that
        it is started from was damaged since: it is then to be applied again.
        """
        found = dict.fromkeys(self.folder.declared(), "")
        for info in self._infos():
            name, digest = info["group"], str(info["name"]).rpartition("@")[2]
            found[name] = digest if files.spec_is_whole(self.folder, name, digest) else ""
        return found

    def apply(self, program: Program, environment: Mapping[str, str]) -> None:
        """Add or replace one program and start it; no other is touched.

        `environment` shows that the secrets could be resolved; their values are not written anywhere, as the
        launcher resolves the references again at each start. Raises SecretMissing where one is not in it.
        """
        missing = sorted(set(program.secrets) - set(environment))
        if missing:
            raise SecretMissing(
                f"{program.name} needs secrets that were not resolved: {', '.join(missing)}",
                remedy="set what the stack's `secrets` refer to",
            )
        self._call("getState")  # nothing is written for a supervisord that is not there
        files.write_spec(self.folder, program)
        files.write_ini(self.folder, program, self._python)
        self._call("reloadConfig")
        self._drop(program.name)
        self._end_strays(program.name, program.stop_seconds)
        self._call("addProcessGroup", program.name)
        self.start(program.name)
        self._forget_specs(program.name, keep=program.digest)
        log.info("program applied", program=program.name, version=program.digest[:12])

    def start(self, name: str) -> None:
        """Start a program, if it is not up. Raises Fault for an unknown one."""
        self._group("startProcessGroup", name)

    def stop(self, name: str) -> None:
        """Stop a program and wait until it has ended; it stays known. Raises Fault for an unknown one."""
        self._group("stopProcessGroup", name)
        self._stop(name)
        self._end_strays(name, 1.0)

    def remove(self, name: str) -> None:
        """Stop a program and forget it; its log stays. An unknown one is no error."""
        self._call("getState")
        self.folder.ini(name).unlink(missing_ok=True)
        self._drop(name)
        self._call("reloadConfig")
        self._end_strays(name, 1.0)
        self._forget_specs(name, keep="")
        log.info("program removed", program=name)

    def forget(self, name: str) -> None:
        """Have a supervisord that does not run now start without a program; its log stays."""
        self.folder.ini(name).unlink(missing_ok=True)
        self._forget_specs(name, keep="")

    def log_tail(self, name: str, size: int = 4000) -> str:
        """The last `size` bytes of what a program printed, also when supervisord is gone."""
        path = self.folder.program_log(name)
        end = b""
        for part in (path, path.with_name(path.name + ".1")):
            if len(end) < size and part.is_file():
                end = files.tail(part, size - len(end)) + end
        return end.decode("utf-8", "replace")

    def secrets(self, program: Program) -> dict[str, str]:
        """Environment variable -> value of a program's secrets, as the launcher would find them.

        A secret that is set here and not where supervisord was started, or was another one there, would be
        missing at the next crash. Raises SecretMissing for that too, and says what to do.
        """
        here = resolve_secrets(program, self._environ)
        server = self._server()
        there = _environ_of(server) if server and program.secrets else None
        if server is None or there is None:
            return here
        try:
            if resolve_secrets(program, {**self._run_env(), **there}) == here:
                return here
            state = "has another value"
        except SecretMissing:
            state = "is not set"
        raise SecretMissing(
            f"a secret of {program.name} {state} where supervisord (pid {server.pid}) was started",
            remedy=f"put it into {self._home() / RUN_ENV} (mode 0600), refer to a file, or start supervisord "
            "again with it set",
        )

    def _infos(self) -> list[dict[str, Any]]:
        try:
            return list(self._call("getAllProcessInfo"))
        except Unreachable:
            # In a folder where nothing was ever started, nothing runs: that much is known.
            if not self.folder.declared() and self._server() is None:
                return []
            raise

    def _stop(self, name: str) -> None:
        """Stop a program and wait until supervisord has seen it end."""
        limit = time.monotonic() + self._longest_stop(name) + KILLED_WITHIN
        while (status := self.status().get(name)) is not None and status.state not in _AT_REST:
            # One that has just exited by itself is about to be started again, and is then stopped.
            if status.state in ("running", "starting", "backoff"):
                self._group("stopProcessGroup", name)
            if time.monotonic() > limit:
                raise OpsError(
                    f"{name} (pid {status.pid}) cannot be stopped, not even by SIGKILL",
                    remedy="it hangs in the kernel (a dead disk or a GPU driver); see `dmesg`",
                )
            time.sleep(0.05)

    def _drop(self, name: str) -> None:
        """Take a program out of supervisord, if it is in it."""
        while name in self.status():
            self._stop(name)
            try:
                self._call("removeProcessGroup", name)
            except rpc.Fault as fault:
                if fault.code not in (rpc.STILL_RUNNING, rpc.BAD_NAME):
                    raise

    def _group(self, method: str, name: str) -> None:
        for answer in self._call(method, name, False):
            if answer["status"] not in (rpc.SUCCESS, rpc.ALREADY_STARTED, rpc.NOT_RUNNING):
                raise rpc.Fault(
                    answer["status"],
                    f"supervisord refuses {method} of {name}: {answer['description']}",
                    remedy=f"its log is {self.folder.log}",
                )

    def _forget_specs(self, name: str, *, keep: str) -> None:
        for spec in self.folder.specs(name):
            if spec != self.folder.spec(name, keep):
                spec.unlink(missing_ok=True)


def _status(info: Mapping[str, Any]) -> ProcessStatus:
    state = _STATES.get(info["statename"], "unknown")
    up = state in ("running", "starting", "stopping")
    detail = str(info["spawnerr"] or "")
    if not detail and state in ("exited", "backoff", "fatal"):
        detail = f"ended with status {info['exitstatus']}"
    since = float(info["now"] - info["start"]) if up else None
    return ProcessStatus(info["group"], state, (info["pid"] or None) if up else None, since, detail)


def _environ_of(process: psutil.Process) -> dict[str, str] | None:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return None
