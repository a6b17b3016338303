"""Carry a plan out to its end: healthy, answering, recorded; or put back what was there."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import structlog

from ops_pipelines.engines._deploy_apply import NotHealthyError, apply_plan
from ops_pipelines.engines._deploy_needs import Deployed, Record, RevisionFacts, Smoke, Tools
from ops_pipelines.engines.ports import Fence, Progress, silent
from ops_pipelines.errors import DeployFailed, LeaseLost, OpsError
from ops_pipelines.policy.deploy_plan import plan_deploy, program_of
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.processes import Program

_TAIL = 2000
_LOGS = 3

log = structlog.get_logger()


class SmokeFailedError(Exception):
    """The deployed stack did not answer what it must. Never leaves the engine."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(f"{finding.subject}: {finding.message}" for finding in findings))


def carry_out(
    plan: Plan,
    facts: RevisionFacts,
    before: Sequence[Program],
    findings: tuple[Finding, ...],
    tools: Tools,
    fence: Fence,
    record: Record,
    smoke: Smoke,
    progress: Progress,
) -> Deployed:
    """Apply, wait, smoke, record. Raises DeployFailed with what was there put back.

    An interrupt puts it back too and goes on. LeaseLost puts nothing back: the stack is somebody else's.
    """
    begun = time.monotonic()
    known = {name for name, digest in tools.supervisor.programs().items() if digest}
    log.info("deploy begins", stack_name=facts.stack, reason=facts.reason, changes=len(plan.changes))

    def back() -> str:
        return put_back(facts.stack, plan, before, known, tools, fence)

    try:
        apply_plan(plan, facts.programs, tools=tools, fence=fence, progress=progress)
        asked = smoke()
        bad = [finding for finding in asked if finding.ok is not True and finding.severity == "error"]
        if bad:
            raise SmokeFailedError(bad)
        fence.check()
        revision = record(facts) if tuple(before) != facts.programs else None
    except LeaseLost:
        raise
    except Exception as error:
        raise failure(facts, plan, error, tools, back) from error
    except BaseException:  # Ctrl-C, or the end of a Dagster run
        log.warning("deploy interrupted", stack_name=facts.stack, put_back=back())
        raise
    log.info("deploy ends", stack_name=facts.stack, revision=revision)
    return Deployed(plan, revision, (*findings, *asked), time.monotonic() - begun)


def failure(
    facts: RevisionFacts, plan: Plan, error: Exception, tools: Tools, back: Callable[[], str]
) -> DeployFailed:
    """What went wrong, the end of the logs that tell why, and what was done about it. Holds no secret."""
    if isinstance(error, NotHealthyError):
        programs = [error.program]
        what = f"component `{error.program.component}` ({error.program.name}) {error.why}"
    else:
        changed = {program_of(step) for step in plan.changes}
        programs = [program for program in facts.programs if program.name in changed][:_LOGS]
        kind = "the smoke test failed" if isinstance(error, SmokeFailedError) else type(error).__name__
        what = error.message if isinstance(error, OpsError) else f"{kind}: {error}"
    tails = "".join(_tail(program, tools) for program in programs)
    done = back()  # after the logs were read, as it may remove what they are of
    words = _masked(
        f"the {facts.reason} of {facts.stack} failed: {what}\n{tails}{done}", facts.programs, tools
    )
    log.error("deploy failed", stack_name=facts.stack, reason=facts.reason, error=type(error).__name__)
    remedy = error.remedy if isinstance(error, OpsError) else "mend what its log names, then deploy again"
    return DeployFailed(words, remedy=remedy)


def put_back(
    stack: str, plan: Plan, before: Sequence[Program], known: Collection[str], tools: Tools, fence: Fence
) -> str:
    """Bring the earlier revision's programs back and say how it went; never raises an OpsError.

    Without an earlier revision, what was not there before (`known`) is removed.
    """
    try:
        if before:
            digests, statuses = tools.supervisor.programs(), tools.supervisor.status()
            steps = plan_deploy(stack, before, digests, statuses)
            apply_plan(steps, before, tools=tools, fence=fence, progress=silent)
            return "the programs of the earlier revision were put back and are healthy"
        started = [
            name for step in reversed(plan.changes) if (name := program_of(step)) and name not in known
        ]
        there = tools.supervisor.programs()
        for name in started:
            if name in there:
                fence.check()
                tools.supervisor.remove(name)
        left = sorted(name for step in plan.changes if (name := program_of(step)) in known)
        changed = f"; {', '.join(left)} ran without a recorded revision and stay as they are" if left else ""
        return f"there is no earlier revision, so what the deploy had started was removed{changed}"
    except NotHealthyError as error:
        return f"the programs of the earlier revision were put back, but {error.program.name} {error.why}"
    except OpsError as error:
        return f"putting the earlier revision back failed too: {error.message}; {error.remedy}"


def _tail(program: Program, tools: Tools) -> str:
    try:
        text = tools.supervisor.log_tail(program.name, _TAIL).rstrip()
    except OpsError as error:
        text = f"(its log cannot be read: {error.message})"
    return f"--- the end of the log of {program.name} ---\n{text or '(it printed nothing)'}\n---\n"


def _masked(text: str, programs: Sequence[Program], tools: Tools) -> str:
    for program in programs:
        if not program.secrets:
            continue
        try:
            values = sorted(tools.secrets(program).values(), key=len, reverse=True)
        except OpsError:
            continue
        for value in values:
            text = text.replace(value, "***") if value else text
    return text
