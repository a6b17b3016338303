"""What a deploy needs of this machine, looked at before anything is changed; all findings at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ops_pipelines.engines._deploy_needs import Machine, Tools
from ops_pipelines.errors import OpsError, PreflightFailed
from ops_pipelines.policy.plan import Finding, Plan
from ops_pipelines.policy.processes import ProcessStatus, Program, of_stack
from ops_pipelines.policy.programs import port_findings


def program_findings(
    name: str, wanted: Sequence[Program], plan: Plan, statuses: Mapping[str, ProcessStatus], tools: Tools
) -> tuple[Finding, ...]:
    """Ports, programs, folders and secrets of the programs that a plan starts or restarts.

    `name` is the stack's. Programs that are kept are not looked at: they have what they need.
    """
    touched = {step.subject.partition("/")[2] for step in plan.changes}
    starting = [program for program in wanted if program.name in touched]
    findings = list(port_findings(wanted))
    for program in starting:
        findings += _ports(name, program, statuses, tools)
    findings += _commands(starting, tools.machine) + _folders(starting, tools.machine)
    return (*findings, *_secrets(starting, tools))


def refuse(findings: Sequence[Finding]) -> None:
    """Raise PreflightFailed with every finding that is bad or could not be observed, if there is any.

    Warnings do not stop a deploy.
    """
    bad = [finding for finding in findings if finding.ok is not True and finding.severity == "error"]
    if bad:
        lines = [f"  {f.subject}: {f.message}" + (f"; {f.remedy}" if f.remedy else "") for f in bad]
        count = f"{len(bad)} thing{'s' if len(bad) > 1 else ''}"
        raise PreflightFailed(
            f"{count} that the deploy needs {'are' if len(bad) > 1 else 'is'} not there:\n"
            + "\n".join(lines),
            remedy="mend what is listed and deploy again; nothing was changed",
        )


def _ports(name: str, program: Program, statuses: Mapping[str, ProcessStatus], tools: Tools) -> list[Finding]:
    findings = []
    ours = {n: s for n, s in statuses.items() if s.pid is not None}
    for port in (*program.ports, *program.shared_ports):
        subject = f"port/{port}"
        state = tools.machine.port_state(port)
        if state == "free":
            findings.append(Finding(subject, True, f"free for {program.name}"))
        elif state == "forbidden":
            findings.append(
                Finding(subject, False, f"{program.name} may not listen on it", "use one over 1023")
            )
        elif state == "unknown":
            findings.append(Finding(subject, None, f"could not be tried for {program.name}", "try another"))
        else:
            findings.append(_taken(subject, port, name, program, ours, tools.machine))
    return findings


def _taken(
    subject: str, port: int, stack: str, program: Program, ours: Mapping[str, ProcessStatus], machine: Machine
) -> Finding:
    holders = machine.holders(port)
    remedy = f"stop it, or declare another port for component {program.component}"
    if not holders:
        return Finding(
            subject, False, f"taken, by a process of another user that cannot be seen; {program.name} needs it",
            remedy,
        )  # fmt: skip
    trees = {name: machine.tree(status.pid) for name, status in ours.items() if status.pid is not None}
    for holder in holders:
        owner = next((name for name, pids in trees.items() if holder.pid in pids), None)
        if owner is not None and of_stack(owner, stack):
            continue  # this stack's own: replaced, removed, or a replica on a shared port
        who = f"{holder.name} (pid {holder.pid}" + (f", {holder.user})" if holder.user else ")")
        if owner is not None:
            who = f"program {owner} (pid {holder.pid})"
        return Finding(subject, False, f"taken by {who}; {program.name} needs it", remedy)
    return Finding(subject, True, f"held by this stack itself, for {program.name}")


def _commands(programs: Sequence[Program], machine: Machine) -> list[Finding]:
    findings: dict[tuple[str, str], Finding] = {}
    for program in programs:
        if not program.command:
            continue
        word = program.command[0]
        found = machine.find_program(word, program.environment, Path(program.directory))
        key = (program.component, word)
        if found is None:
            remedy = f"install it, or correct components.{program.component}.command"
            findings[key] = Finding(f"program/{word}", False, f"{program.component} needs it", remedy)
        else:
            findings[key] = Finding(f"program/{word}", True, str(found))
    return list(findings.values())


def _folders(programs: Sequence[Program], machine: Machine) -> list[Finding]:
    findings = []
    for folder in dict.fromkeys(program.directory for program in programs):
        path = Path(folder)
        if not machine.is_folder(path):
            findings.append(Finding(f"folder/{folder}", False, "is no folder", "make it"))
        elif not machine.writable(path):
            message = "programs run there and may not write there"
            findings.append(Finding(f"folder/{folder}", False, message, severity="warning"))
        else:
            findings.append(Finding(f"folder/{folder}", True, "writable"))
    return findings


def _secrets(programs: Sequence[Program], tools: Tools) -> list[Finding]:
    findings: dict[str, Finding] = {}
    for program in programs:
        if not program.secrets:
            continue
        subject = f"secrets/{program.component}"
        try:
            tools.secrets(program)
            findings.setdefault(subject, Finding(subject, True, "all of them can be read"))
        except OpsError as error:
            findings[subject] = Finding(subject, False, error.message, error.remedy)
    return list(findings.values())
