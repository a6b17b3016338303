"""What a deploy on target `process` would do: programs wanted against programs seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ops_pipelines.policy.order import levels
from ops_pipelines.policy.plan import Plan, Step
from ops_pipelines.policy.processes import ProcessStatus, Program, of_stack

_UP = ("running", "starting")
_SUBJECT = "process/"


def plan_deploy(
    stack: str,
    wanted: Sequence[Program],
    digests: Mapping[str, str],
    statuses: Mapping[str, ProcessStatus],
    *,
    before: Sequence[Program] = (),
    external: Iterable[str] = (),
) -> Plan:
    """The steps that bring one stack's programs to what is wanted, in the order in which they are carried out.

    `digests` and `statuses` are what the supervisor says, by name, programs of others included: those are
    never touched. Programs no longer wanted go first, the dependent ones before what they depend on, as they
    may hold ports; the rest follows in order of dependency. `before` are the programs of the earlier
    revision, to say what changed. `external` components are checked only.
    """
    names = {program.name for program in wanted}
    gone = sorted((name for name in digests if of_stack(name, stack) and name not in names), key=_by_replica)
    old = {program.name: program for program in before}
    order = {program.name: place for place, program in enumerate(before)}
    gone.sort(key=lambda name: order.get(name, len(order)))
    steps = [Step("check", f"component/{name}", "runs elsewhere; is only asked") for name in external]
    steps += [Step("remove", _SUBJECT + name, "no longer declared") for name in reversed(gone)]
    steps += [_step(program, digests, statuses, old) for program in in_order(wanted)]
    return Plan(f"deploy {stack} on this machine", tuple(steps))


def in_order(programs: Sequence[Program]) -> tuple[Program, ...]:
    """Programs, each after those of the components that it needs. Raises DeclarationError for a ring."""
    return tuple(program for level in program_levels(programs) for program in level)


def program_levels(programs: Sequence[Program]) -> tuple[tuple[Program, ...], ...]:
    """Programs in groups: all of one may start when those of the groups before it are healthy.

    A component that is not among the programs runs elsewhere and holds nothing up.
    """
    components = {program.component for program in programs}
    depends = {
        program.component: tuple(name for name in program.after if name in components) for program in programs
    }
    return tuple(
        tuple(program for name in level for program in programs if program.component == name)
        for level in levels(depends)
    )


def program_of(step: Step) -> str:
    """Name of the program that a step acts on, empty for other steps."""
    return step.subject.removeprefix(_SUBJECT) if step.subject.startswith(_SUBJECT) else ""


def difference(old: Program, new: Program) -> str:
    """What of a program changed, in words that hold no value of the environment."""
    parts = []
    if old.command != new.command:
        parts.append("command")
    if old.directory != new.directory:
        parts.append("folder")
    if old.stop_seconds != new.stop_seconds:
        parts.append("time to stop")
    parts += _keys("environment", old.environment, new.environment)
    parts += _keys("secrets", old.secrets, new.secrets)
    return ", ".join(parts)


def _step(
    program: Program,
    digests: Mapping[str, str],
    statuses: Mapping[str, ProcessStatus],
    old: Mapping[str, Program],
) -> Step:
    subject = _SUBJECT + program.name
    if not digests.get(program.name):
        return Step("start", subject, "new")
    if digests[program.name] != program.digest:
        earlier = old.get(program.name)
        known = earlier is not None and earlier.digest == digests[program.name]
        changed = difference(earlier, program) if earlier is not None and known else ""
        return Step("restart", subject, f"changed: {changed or 'its declaration'}")
    status = statuses.get(program.name)
    if status is None or status.state not in _UP:
        state = status.state if status else "not running"
        return Step(
            "start", subject, f"is {state}" + (f": {status.detail}" if status and status.detail else "")
        )
    return Step("keep", subject, f"pid {status.pid}" if status.pid else status.state)


def _keys(what: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    words = [f"+{key}" for key in new if key not in old]
    words += [f"-{key}" for key in old if key not in new]
    words += [f"~{key}" for key in new if key in old and old[key] != new[key]]
    return [f"{what} {' '.join(sorted(words, key=lambda word: word[1:]))}"] if words else []


def _by_replica(name: str) -> tuple[str, int]:
    head, _, tail = name.rpartition(".")
    return (head, int(tail)) if tail.isdigit() else (name, 0)
