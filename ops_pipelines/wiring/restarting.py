"""Servers of a model cache or a volume rest while it is replaced: they hold its files open, and Ollama removes what no
manifest names when it starts, which must not meet a cache that is half the old one and half the new.

What was stopped is noted in a file first, so that a restore that was killed in between is not the end of them:
the next restore starts them, and so does a deploy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from ops_pipelines.engines.deploy import ReplicaStatus
from ops_pipelines.engines.parts._forwarding import Forwarding
from ops_pipelines.engines.ports import Fence, PartTarget, Progress, silent
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.wiring.connect import cache_servers
from ops_pipelines.wiring.files import write_whole
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.targets import on
from ops_pipelines.wiring.volumes import users_of

log = structlog.get_logger()

_KINDS = ("model_cache", "volume")
_POLL = 0.5


def servers_of(site: Site, part: str) -> tuple[str, ...]:
    """Components that have the files of a part (`kind/name`) open: those that answer with a model of a cache,
    those that mount a volume."""
    kind, _, name = part.partition("/")
    if kind == "volume":
        return users_of(site, name) if name in site.stack.volumes else ()
    if kind != "model_cache":
        return ()
    return cache_servers(site, name)


def restart_steps(site: Site, parts: Iterable[str]) -> tuple[Step, ...]:
    """What a switch of these parts does to their servers."""
    names = dict.fromkeys(name for part in parts for name in servers_of(site, part))
    steps: list[Step] = []
    for name in names:
        elsewhere = site.stack.components[name].address is not None
        detail = (
            "runs elsewhere: start it anew there, it keeps the files that it opened"
            if elsewhere
            else "stopped for the moment of the switch, then started"
        )
        steps.append(Step("check" if elsewhere else "restart", f"component/{name}", detail))
    return tuple(steps)


@dataclass
class Rest:
    """The servers of one stack, at rest while a cache of theirs is switched."""

    site: Site
    fence: Fence
    findings: list[Finding] = field(default_factory=list)
    """What could not be started again, and who must be told."""
    started: set[str] = field(default_factory=set)
    """Replicas that were started again."""

    def wrap(self, targets: Mapping[str, PartTarget]) -> dict[str, PartTarget]:
        """The same targets; the servers of a model cache or a volume rest while it is switched."""
        return {
            key: WhileAtRest(target, self) if target.kind in _KINDS else target
            for key, target in targets.items()
        }

    def begin(self, part: str) -> None:
        """Stop the servers of a part. Raises OpsError, with those that were stopped started again."""
        components = servers_of(self.site, part)
        up = on(self.site).running(self.site, components) if components else ()
        if components:
            on(self.site).require_free(self.site, components)
        if not up:
            return
        write_whole(self._note, json.dumps(sorted({*up, *self._noted()})))
        try:
            for name in up:
                self.fence.check()
                on(self.site).halt(self.site, name)
                log.info("stopped", stack_name=self.site.name, program=name, why=f"{part} is switched")
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Start what rests. Never raises an OpsError: what cannot be started is a finding, and stays noted."""
        names = self._noted()
        if not names:
            return
        left = [name for name in names if not self._started(name)]
        if left:
            write_whole(self._note, json.dumps(left))
        else:
            self._note.unlink(missing_ok=True)

    def settle(self, progress: Progress = silent) -> None:
        """Wait until what was started again is well, for as long as its declaration gives it (`health.within`).

        Never raises an OpsError: who is not well by then is a finding."""
        try:
            waiting = self._ailing()
            within = (self.site.stack.components[one.component].health.within for one in waiting)
            end = time.monotonic() + max(within, default=0.0)
            while waiting and time.monotonic() < end:
                progress("start", len(self.started) - len(waiting), len(self.started), "servers")
                time.sleep(_POLL)
                waiting = self._ailing()
        except OpsError as error:
            words = f"whether its servers are well again is unknown: {error.message}"
            self.findings.append(Finding(f"stack/{self.site.name}", None, words, error.remedy))
            return
        for one in waiting:
            words = f"was started again and is not well: {one.detail or one.state}"
            remedy = f"look at what it says: ops-pipelines logs {self.site.name} {one.component}"
            self.findings.append(Finding(f"process/{one.name}", False, words, remedy))

    def _ailing(self) -> list[ReplicaStatus]:
        if not self.started:
            return []
        seen = on(self.site).status(self.site)
        return [one for one in seen if one.name in self.started and one.healthy is not True]

    def _started(self, name: str) -> bool:
        try:
            if on(self.site).resume(self.site, name):
                self.started.add(name)
                log.info(
                    "started", stack_name=self.site.name, program=name, why="what it serves was restored"
                )
        except OpsError as error:
            log.error("not started", stack_name=self.site.name, program=name, error=error.message)
            words = f"was stopped for the switch and could not be started again: {error.message}"
            remedy = f"start it: ops-pipelines deploy {self.site.name}"
            self.findings.append(Finding(f"process/{name}", False, words, remedy))
            return False
        return True

    @property
    def _note(self) -> Path:
        return self.site.state / "at-rest.json"

    def _noted(self) -> list[str]:
        try:
            return [str(name) for name in json.loads(self._note.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return []


@dataclass(frozen=True)
class WhileAtRest(Forwarding):
    """A PartTarget whose servers rest during the switch; they go on while it is staged."""

    rest: Rest

    def switch(self, part: Part, place: str) -> str:
        """Stop the servers, switch, start them, whatever came of it."""
        self.rest.begin(f"{self.kind}/{self.name}")
        try:
            return self.inner.switch(part, place)
        finally:
            self.rest.end()
