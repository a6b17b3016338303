"""More or fewer replicas of one component; no other program is touched."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import structlog

from ops_pipelines.engines._deploy_apply import await_healthy
from ops_pipelines.engines._deploy_carry import failure
from ops_pipelines.engines._deploy_needs import Deployed, Record, RevisionFacts, Tools
from ops_pipelines.engines._deploy_preflight import program_findings, refuse
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import LeaseLost, OpsError, TargetUnsupported, UsageError
from ops_pipelines.policy.deploy_plan import plan_deploy, program_of
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.processes import Program
from ops_pipelines.policy.programs import Places, render_programs, with_replicas
from ops_pipelines.stack.model import Stack

log = structlog.get_logger()


def scale(
    stack: Stack,
    places: Places,
    component: str,
    replicas: int,
    tools: Tools,
    *,
    fence: Fence,
    record: Record,
    before: Sequence[Program],
    progress: Progress = silent,
) -> Deployed:
    """Bring one component to so many replicas: new ones are started and waited for, then surplus ones go.

    `before` are the programs of the present revision. Replicas that run are left alone, so one whose
    declaration has changed is refused: two versions would answer. Raises UsageError, TargetUnsupported,
    PreflightFailed, and DeployFailed with the new replicas removed again.
    """
    begun = time.monotonic()
    wanted = _wanted(stack, places, component, replicas)
    digests, statuses = tools.supervisor.programs(), tools.supervisor.status()
    of_component = {n: d for n, d in digests.items() if n.startswith(f"{stack.stack}.{component}.")}
    plan = plan_deploy(stack.stack, wanted, of_component, statuses, before=before)
    plan = Plan(f"scale {component} of {stack.stack} to {replicas}", plan.steps)
    findings = (
        *_unchanged(component, plan),
        *program_findings(stack.stack, wanted, plan, statuses, tools),
    )
    refuse(findings)
    others = tuple(program for program in before if program.component != component)
    facts = RevisionFacts(stack.stack, (*others, *wanted), f"scale of {component} to {replicas}")
    steps = {program_of(step): step for step in plan.changes}
    new = [program for program in wanted if program.name in steps]
    try:
        for program in new:
            fence.check()
            tools.supervisor.apply(program, tools.secrets(program))
            progress(f"started {program.name}", new.index(program) + 1, len(new), "programs")
        await_healthy(new, tools)
        for name in [name for name, step in steps.items() if step.verb == "remove"]:
            fence.check()
            tools.supervisor.remove(name)
            progress(f"removed {name}", 1, 1, "programs")
        fence.check()
        revision = record(facts) if steps else None
    except LeaseLost:
        raise
    except Exception as error:
        raise failure(facts, plan, error, tools, lambda: _undo(new, of_component, tools, fence)) from error
    except BaseException:
        log.warning("scaling interrupted", undone=_undo(new, of_component, tools, fence))
        raise
    log.info("scaled", stack_name=stack.stack, component=component, replicas=replicas)
    return Deployed(plan, revision, findings, time.monotonic() - begun)


def _wanted(stack: Stack, places: Places, component: str, replicas: int) -> tuple[Program, ...]:
    if component not in stack.components:
        known = ", ".join(stack.components)
        raise UsageError(f"{stack.stack} has no component {component!r}", remedy=f"its components: {known}")
    if stack.components[component].address is not None:
        raise TargetUnsupported(
            f"component {component} of {stack.stack} runs elsewhere", remedy="change its replicas there"
        )
    if replicas < 0:
        raise UsageError(f"{replicas} replicas cannot be", remedy="say 0 or more")
    programs = render_programs(with_replicas(stack, {component: replicas}), places)
    return tuple(program for program in programs if program.component == component)


def _unchanged(component: str, plan: Plan) -> list[Finding]:
    return [
        Finding(
            step.subject,
            False,
            f"{step.detail} since it was deployed",
            f"deploy first, then scale {component}",
        )
        for step in plan.steps
        if step.verb == "restart"
    ]


def _undo(new: Sequence[Program], known: Mapping[str, str], tools: Tools, fence: Fence) -> str:
    try:
        added = [program.name for program in new if not known.get(program.name)]
        for name in reversed(added):
            fence.check()
            tools.supervisor.remove(name)
    except OpsError as error:
        return f"removing the new replicas failed too: {error.message}; {error.remedy}"
    return f"the new replicas were removed again ({', '.join(added)})" if added else "no replica was added"
