"""Deploy on target `process`: plan, preflight, apply, wait, smoke, record; or all back as it was.

A deploy killed at any step leaves each program in its old version or its new one; the next deploy goes on
from what it finds. A deploy that fails puts the programs of the earlier revision back before it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ops_pipelines.engines._deploy_apply import apply_plan
from ops_pipelines.engines._deploy_carry import carry_out
from ops_pipelines.engines._deploy_needs import (
    Deployed,
    Health,
    Machine,
    Record,
    ReplicaStatus,
    RevisionFacts,
    Secrets,
    Smoke,
    Tools,
    no_smoke,
)
from ops_pipelines.engines._deploy_preflight import program_findings, refuse
from ops_pipelines.engines._deploy_room import stack_findings
from ops_pipelines.engines._deploy_scale import scale
from ops_pipelines.engines._deploy_status import status
from ops_pipelines.engines.ports import Fence, Progress, Supervisor, silent
from ops_pipelines.policy.deploy_plan import plan_deploy
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.processes import Program
from ops_pipelines.policy.programs import Places, external_targets, render_programs
from ops_pipelines.stack.model import Stack

__all__ = [
    "Checks", "Deployed", "Health", "Machine", "Record", "ReplicaStatus", "RevisionFacts", "Secrets", "Smoke",
    "Tools", "deploy", "no_smoke", "plan", "plan_programs", "preflight", "remove", "rollback", "scale", "status",
]  # fmt: skip

Checks = Callable[[], tuple[Finding, ...]]
"""More preflight, of other rooms: dimensions of models against collections, for one."""


def plan(stack: Stack, places: Places, supervisor: Supervisor, *, before: Sequence[Program] = ()) -> Plan:
    """What a deploy would start, restart, stop and keep. `before` are the earlier revision's programs.

    Raises DeclarationError, Unreachable.
    """
    wanted = render_programs(stack, places)
    return _plan(stack.stack, wanted, supervisor, before, tuple(external_targets(stack)))


def plan_programs(
    name: str, wanted: Sequence[Program], supervisor: Supervisor, *, before: Sequence[Program] = ()
) -> Plan:
    """The same for programs that are known already: those of an earlier revision."""
    return _plan(name, wanted, supervisor, before, ())


def preflight(
    stack: Stack, places: Places, tools: Tools, *, before: Sequence[Program] = (), checks: Checks = no_smoke
) -> tuple[Finding, ...]:
    """Everything that a deploy needs, the good findings too. Changes nothing; raises as `plan` does."""
    wanted = render_programs(stack, places)
    steps = _plan(stack.stack, wanted, tools.supervisor, before, tuple(external_targets(stack)))
    return (
        *program_findings(stack.stack, wanted, steps, tools.supervisor.status(), tools),
        *stack_findings(stack, places, steps, tools),
        *checks(),
    )


def deploy(
    stack: Stack,
    places: Places,
    tools: Tools,
    *,
    fence: Fence,
    record: Record,
    smoke: Smoke = no_smoke,
    before: Sequence[Program] = (),
    checks: Checks = no_smoke,
    progress: Progress = silent,
) -> Deployed:
    """Bring the stack's programs to its declaration.

    `before` are the programs of the earlier revision, none for a first deploy. Raises PreflightFailed with
    nothing changed, DeployFailed with the earlier revision put back, LeaseLost with nothing put back (the
    stack is somebody else's then).
    """
    wanted = render_programs(stack, places)
    findings = preflight(stack, places, tools, before=before, checks=checks)
    refuse(findings)
    steps = _plan(stack.stack, wanted, tools.supervisor, before, tuple(external_targets(stack)))
    facts = RevisionFacts(stack.stack, wanted, "deploy")
    return carry_out(steps, facts, before, findings, tools, fence, record, smoke, progress)


def rollback(
    name: str,
    programs: Sequence[Program],
    tools: Tools,
    *,
    fence: Fence,
    record: Record,
    smoke: Smoke = no_smoke,
    before: Sequence[Program] = (),
    progress: Progress = silent,
) -> Deployed:
    """Deploy the programs of an earlier revision of stack `name`; `before` are those of the present one."""
    steps = _plan(name, programs, tools.supervisor, before, ())
    findings = program_findings(name, programs, steps, tools.supervisor.status(), tools)
    refuse(findings)
    facts = RevisionFacts(name, tuple(programs), "rollback")
    return carry_out(steps, facts, before, findings, tools, fence, record, smoke, progress)


def remove(name: str, tools: Tools, *, fence: Fence, before: Sequence[Program] = ()) -> Plan:
    """Stop and forget every program of a stack; logs and data stay. Returns what was done."""
    steps = _plan(name, (), tools.supervisor, before, ())
    apply_plan(steps, (), tools=tools, fence=fence, progress=silent)
    return steps


def _plan(
    name: str,
    wanted: Sequence[Program],
    supervisor: Supervisor,
    before: Sequence[Program],
    external: Sequence[str],
) -> Plan:
    digests, statuses = supervisor.programs(), supervisor.status()
    return plan_deploy(name, wanted, digests, statuses, before=before, external=external)
