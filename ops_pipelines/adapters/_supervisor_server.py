"""The life of one supervisord: started once, ended with everything that it started."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import structlog

from ops_pipelines.adapters import _supervisor_files as files
from ops_pipelines.adapters import _supervisor_rpc as rpc
from ops_pipelines.adapters._process import run
from ops_pipelines.adapters._supervisor_strays import MARK, end, running, strays, wait_gone
from ops_pipelines.errors import CommandFailed, Unreachable
from ops_pipelines.settings import RUN_ENV, read_env_file

KILLED_WITHIN = 20.0
"""Seconds that supervisord gets on top of a program's own to stop it (it sends SIGKILL at the end of those)."""
_ANSWERS_WITHIN = 3.0
_COMES_UP_WITHIN = 10.0
_MAIN = Path(__file__).with_name("_supervisor_main.py")
_UP = ("STARTING", "RUNNING", "BACKOFF", "STOPPING")

log = structlog.get_logger()


class Server:
    """One supervisord.

    `environ` is what it is started with, and so where its programs' secrets come from (with `run.env` and
    files); it holds OPS_HOME.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], *, python: str = sys.executable) -> None:
        self.folder = files.Folder(folder.resolve())
        self._environ = {name: value for name, value in environ.items() if name != MARK}
        self._python = python

    def running(self) -> bool:
        """Whether supervisord answers and is not on its way out."""
        try:
            state = rpc.call(self.folder.socket, "getState", log=self.folder.log, timeout=_ANSWERS_WITHIN)
            return bool(state["statename"] == "RUNNING")
        except (Unreachable, rpc.Fault):
            return False

    def ensure_running(self) -> None:
        """Start supervisord as a daemon if none answers; its programs start with it.

        Raises Unreachable where one lives and does not answer, CommandFailed where it cannot be started.
        """
        with self._starting() as there:
            if there:
                return
            run(
                [self._python, "-I", "-m", "supervisor.supervisord", "-c", self.folder.config.name],
                timeout=30,
                remedy=f"its log is {self.folder.log}",
                environ=self._start_environment(),
                cwd=self.folder.path,
            )
            self._await_answer(None)

    def start_foreground(self) -> subprocess.Popen[bytes]:
        """Start supervisord as a child that ends, with all its programs, when the caller's process does.

        A supervisord that runs already (a deploy started it) is ended first; its programs come back with the
        new one. SIGTERM ends it; `shutdown` also waits for the programs.
        """
        if self.running():
            self.shutdown()
        with self._starting() as there:
            if there:
                raise Unreachable(
                    f"somebody else started supervisord in {self.folder.path} just now",
                    remedy="stop the other `ops-pipelines up` first",
                )
            child = subprocess.Popen(
                [self._python, "-I", str(_MAIN), str(os.getpid()), "-n", "-c", self.folder.config.name],
                env=self._start_environment(),
                cwd=self.folder.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._await_answer(child)
        return child

    def shutdown(self) -> None:
        """Stop every program, all at once, then supervisord; returns when each process has ended.

        One that does not answer (its socket was deleted, it hangs) is ended by signals. Raises CommandFailed
        where not even that ends it.
        """
        server = self._server()
        if server is not None:
            patience = self._longest_stop() + KILLED_WITHIN
            if not self._asked_to_end(patience):
                log.info("supervisord does not answer and is ended by signals", pid=server.pid)
                end([server], patience)
            elif wait_gone([server], patience):
                end([server], 1.0)
            if running(server):
                raise CommandFailed(
                    f"supervisord (pid {server.pid}) did not end", remedy=f"its log is {self.folder.log}"
                )
        self._end_strays(None, 1.0)

    def _asked_to_end(self, patience: float) -> bool:
        """Have it stop its programs and itself. False where it does not answer."""
        if not self.running():
            return False
        try:
            # At once: supervisord's own way is one after the other.
            self._call("stopAllProcesses", False)
            limit = time.monotonic() + patience
            while self._any_up() and time.monotonic() < limit:
                time.sleep(0.05)
            self._call("shutdown")
        except Unreachable:
            return False
        return True

    def _call(self, method: str, *arguments: Any) -> Any:
        return rpc.call(self.folder.socket, method, *arguments, log=self.folder.log)

    def _any_up(self) -> bool:
        return any(info["statename"] in _UP for info in self._call("getAllProcessInfo"))

    def _longest_stop(self, name: str | None = None) -> float:
        seconds = 1.0
        for known in self.folder.declared() if name is None else (name,):
            for spec in self.folder.specs(known):
                try:
                    seconds = max(seconds, files.read_spec(spec).stop_seconds)
                except (OSError, ValueError, KeyError, TypeError):
                    continue
        return seconds

    def _end_strays(self, name: str | None, seconds: float) -> None:
        if ended := end(strays(self.folder.path, name), seconds):
            log.info("stray processes ended", program=name or "all", pids=ended)

    @contextmanager
    def _starting(self) -> Iterator[bool]:
        """Hold the right to start supervisord; yields whether one runs, else all is ready to start one."""
        self.folder.make()
        with self.folder.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._await_other():
                yield True
                return
            self._end_strays(None, self._longest_stop())
            files.write_config(self.folder)
            files.refresh(self.folder, self._python)
            if self.folder.socket.parent != self.folder.path:
                log.info(
                    "socket put elsewhere, as the folder's path is too long", socket=str(self.folder.socket)
                )
            yield False

    def _await_other(self) -> bool:
        """Whether another supervisord of this folder answers, given time to come up or to end."""
        limit = time.monotonic() + _COMES_UP_WITHIN
        while not self.running():
            server = self._server()
            if server is None:
                return False
            if time.monotonic() > limit:
                raise Unreachable(
                    f"supervisord (pid {server.pid}) lives in {self.folder.path} and does not answer",
                    remedy=f"end it with `kill {server.pid}` (its programs end with it); see {self.folder.log}",
                )
            time.sleep(0.05)
        return True

    def _await_answer(self, child: subprocess.Popen[bytes] | None) -> None:
        limit = time.monotonic() + 30
        while not self.running():
            if time.monotonic() > limit or (child is not None and child.poll() is not None):
                if child is not None:
                    child.kill()
                    child.wait()
                raise CommandFailed(
                    "supervisord could not be started",
                    remedy=f"see {self.folder.log}",
                    output=files.tail(self.folder.log, 2000).decode("utf-8", "replace"),
                )
            time.sleep(0.05)
        log.info("supervisord runs", folder=str(self.folder.path))

    def _server(self) -> psutil.Process | None:
        """The living supervisord of this folder, found also where its pid file was lost."""
        try:
            process = psutil.Process(int(self.folder.pid_file.read_text(encoding="ascii")))
            if self._is_server(process):
                return process
        except (OSError, ValueError, psutil.Error):
            pass
        return next((process for process in psutil.process_iter() if self._is_server(process)), None)

    def _is_server(self, process: psutil.Process) -> bool:
        try:
            words = process.cmdline()
            ours = words[-1:] == [self.folder.config.name] and Path(process.cwd()) == self.folder.path
            return ours and running(process)
        except (OSError, psutil.Error):
            return False

    def _start_environment(self) -> dict[str, str]:
        """What supervisord is started with. What came from run.env is left there, where it can change."""
        written = self._run_env()
        return {name: value for name, value in self._environ.items() if written.get(name) != value}

    def _run_env(self) -> dict[str, str]:
        return read_env_file(self._home() / RUN_ENV)

    def _home(self) -> Path:
        return Path(self._environ.get("OPS_HOME") or self.folder.path.parent)
