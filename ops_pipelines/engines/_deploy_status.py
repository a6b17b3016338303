"""Each replica of a stack as it is seen now."""

from __future__ import annotations

from ops_pipelines.engines._deploy_apply import health_of
from ops_pipelines.engines._deploy_needs import ReplicaStatus, Tools
from ops_pipelines.errors import Unreachable
from ops_pipelines.policy.processes import ProcessStatus, Program, of_stack
from ops_pipelines.policy.programs import Places, external_targets, render_programs
from ops_pipelines.stack.model import Stack


def status(stack: Stack, places: Places, tools: Tools) -> tuple[ReplicaStatus, ...]:
    """Each replica as it is now, declared or not; a component that runs elsewhere is asked.

    Where supervisord does not answer, states are `unknown` and health is None: never `stopped`. Raises
    DeclarationError.
    """
    wanted = {program.name: program for program in render_programs(stack, places)}
    elsewhere = tuple(_elsewhere(name, address, tools) for name, address in external_targets(stack).items())
    try:
        seen, known = tools.supervisor.status(), tools.supervisor.programs()
    except Unreachable as error:
        unknown = (
            ReplicaStatus(program.component, name, "unknown", None, detail=error.message)
            for name, program in wanted.items()
        )
        return (*unknown, *elsewhere)
    programs = (_here(program, known.get(name), seen.get(name), tools) for name, program in wanted.items())
    extra = (
        ReplicaStatus(name.split(".")[1], name, one.state, None, one.pid, one.since, "is not declared")
        for name, one in seen.items()
        if of_stack(name, stack.stack) and name not in wanted
    )
    return (*programs, *extra, *elsewhere)


def _here(program: Program, digest: str | None, seen: ProcessStatus | None, tools: Tools) -> ReplicaStatus:
    if seen is None:
        return ReplicaStatus(program.component, program.name, "stopped", False, detail="is not deployed")
    finding = health_of(program, seen, tools)
    changed = "; its declaration has changed since it was deployed" if digest != program.digest else ""
    return ReplicaStatus(
        program.component,
        program.name,
        seen.state,
        finding.ok,
        seen.pid,
        seen.since,
        finding.message + changed,
    )


def _elsewhere(name: str, address: str, tools: Tools) -> ReplicaStatus:
    finding = tools.health.check_address(f"component/{name}", address)
    return ReplicaStatus(name, address, None, finding.ok, detail=finding.message)
