"""Carry a plan out: programs in order of dependency, each component healthy before the next needs it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from ops_pipelines.engines._deploy_needs import Tools
from ops_pipelines.engines.ports import Fence, Progress
from ops_pipelines.policy.deploy_plan import program_levels, program_of
from ops_pipelines.policy.plan import Finding, Plan, Step
from ops_pipelines.policy.processes import LOCALHOST, ProcessStatus, Program

CRASHES = 3
"""So many crashes while a program is waited for, and it is given up at once."""
_ASK_WITHIN = 5.0

log = structlog.get_logger()


class NotHealthyError(Exception):
    """A program did not become healthy. Never leaves the engine."""

    def __init__(self, program: Program, why: str) -> None:
        super().__init__(why)
        self.program = program
        self.why = why


def apply_plan(
    plan: Plan, wanted: Sequence[Program], *, tools: Tools, fence: Fence, progress: Progress
) -> None:
    """Remove, start and restart what the plan says, and wait until every wanted program is healthy.

    Replicas of one component are restarted one after the other. Raises NotHealthyError; LeaseLost before the
    first change that is no longer ours to make.
    """
    steps = {name: step for step in plan.steps if (name := program_of(step))}
    total = len(plan.changes)
    done = 0
    for name, step in steps.items():
        if step.verb == "remove":
            fence.check()
            tools.supervisor.remove(name)
            done += 1
            progress(f"removed {name}", done, total, "programs")
    known = tools.supervisor.programs()
    for level in program_levels(wanted):
        waiting = []
        for program in level:
            step = steps[program.name]
            if step.verb != "keep":
                _change(program, steps, known, tools, fence)
                done += 1
                progress(f"{step.verb}ed {program.name}", done, total, "programs")
            replicas = sum(other.component == program.component for other in level)
            if step.verb == "restart" and replicas > 1:
                await_healthy([program], tools)
            else:
                waiting.append(program)
        await_healthy(waiting, tools)
        for program in level:
            progress(f"{program.name} is healthy", done, total, "programs")


def await_healthy(programs: Sequence[Program], tools: Tools) -> None:
    """Wait until all programs are healthy. Raises NotHealthyError for the first that cannot become so."""
    begun = time.monotonic()
    watches = [_Watch(program) for program in programs]
    while watches:
        statuses = tools.supervisor.status()
        waited = time.monotonic() - begun
        left = []
        for watch in watches:
            finding = watch.look(statuses.get(watch.program.name), tools)
            if finding.ok is True:
                log.info("program healthy", program=watch.program.name, seconds=round(waited, 2))
            elif waited > watch.program.ready.within:
                within = f"{watch.program.ready.within:g} s"
                raise NotHealthyError(watch.program, f"was not healthy within {within}: {finding.message}")
            else:
                left.append(watch)
        watches = left
        if watches:
            time.sleep(min(watch.program.ready.every for watch in watches))


def health_of(program: Program, status: ProcessStatus | None, tools: Tools) -> Finding:
    """Whether one program runs and answers, and whether it is itself that answers on its port."""
    subject = f"process/{program.name}"
    if status is None:
        return Finding(subject, False, "is not there", "deploy")
    if status.state == "unknown":
        return Finding(subject, None, "its state is unknown")
    if status.state not in ("running", "starting"):
        detail = f": {status.detail}" if status.detail else ""
        return Finding(subject, False, f"is {status.state}{detail}", "see its log")
    ready = program.ready
    if ready.port is None:
        return Finding(subject, status.state == "running", f"is {status.state}")
    if ready.path is not None:
        url = f"{ready.scheme}://{LOCALHOST}:{ready.port}{ready.path}"
        finding = tools.health.check_http(subject, url, timeout=_ASK_WITHIN)
    else:
        finding = tools.health.check_tcp(subject, LOCALHOST, ready.port, timeout=_ASK_WITHIN)
    if finding.ok is True and status.pid is not None:
        stranger = _stranger(ready.port, status.pid, tools)
        if stranger:
            return Finding(subject, False, f"port {ready.port} is answered by {stranger}, not by it")
    return finding


@dataclass
class _Watch:
    """One program that is waited for, and how often it was seen to have crashed."""

    program: Program
    crashes: int = 0
    pid: int | None = None
    down: bool = False

    def look(self, status: ProcessStatus | None, tools: Tools) -> Finding:
        if status is not None and status.state == "fatal":
            raise NotHealthyError(
                self.program, f"could not be started: {status.detail or 'it ended at once'}"
            )
        self._count(status)
        if self.crashes >= CRASHES:
            detail = status.detail if status is not None and status.detail else "it ends soon after its start"
            raise NotHealthyError(self.program, f"crashed {self.crashes} times while it started ({detail})")
        return health_of(self.program, status, tools)

    def _count(self, status: ProcessStatus | None) -> None:
        if status is None:
            return
        if status.state in ("backoff", "exited"):
            self.crashes += not self.down
            self.down = True
        elif status.pid is not None:
            # It may have crashed and come back between two looks.
            self.crashes += self.pid not in (None, status.pid) and not self.down
            self.pid, self.down = status.pid, False


def _change(
    program: Program, steps: Mapping[str, Step], known: Mapping[str, str], tools: Tools, fence: Fence
) -> None:
    fence.check()
    if known.get(program.name) == program.digest:
        tools.supervisor.start(program.name)
        return
    for other in _in_the_way(program, steps, tools):
        tools.supervisor.stop(other)
    tools.supervisor.apply(program, tools.secrets(program))


def _in_the_way(program: Program, steps: Mapping[str, Step], tools: Tools) -> list[str]:
    """Programs that hold a port of this one and will get another themselves, further on in the plan."""
    taken = [port for port in program.ports if tools.machine.port_state(port) == "taken"]
    if not taken:
        return []
    held = {holder.pid for port in taken for holder in tools.machine.holders(port) or ()}
    return [
        name
        for name, status in tools.supervisor.status().items()
        if name != program.name and name in steps and steps[name].verb == "restart"
        and status.pid is not None and held & tools.machine.tree(status.pid)
    ]  # fmt: skip


def _stranger(port: int, pid: int, tools: Tools) -> str:
    """Who else answers on the port of the program with this pid; empty where it is the program, or unknown."""
    holders = tools.machine.holders(port)
    if not holders:
        return ""
    tree = tools.machine.tree(pid)
    if any(holder.pid in tree for holder in holders):
        return ""
    return f"{holders[0].name} (pid {holders[0].pid})"
