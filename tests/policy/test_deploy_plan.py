"""What a deploy would do: each row flips one fact."""

from __future__ import annotations

import pytest

from ops_pipelines.policy.deploy_plan import difference, plan_deploy, program_levels, program_of
from ops_pipelines.policy.processes import ProcessState, ProcessStatus, Program

OLD = Program("s.web.0", ("serve",), {"A": "1"}, "/x")


def status(name: str = "s.web.0", state: ProcessState = "running") -> ProcessStatus:
    return ProcessStatus(name, state, 7 if state == "running" else None, None, "exit status 3")


@pytest.mark.parametrize(
    ("digest", "state", "verb", "detail"),
    [
        (None, None, "start", "new"),
        ("", None, "start", "new"),
        (OLD.digest, "running", "keep", "pid 7"),
        (OLD.digest, "starting", "keep", "starting"),
        (OLD.digest, "stopped", "start", "is stopped: exit status 3"),
        (OLD.digest, "fatal", "start", "is fatal: exit status 3"),
        (OLD.digest, "backoff", "start", "is backoff: exit status 3"),
        (OLD.digest, "unknown", "start", "is unknown: exit status 3"),
        (OLD.digest, None, "start", "is not running"),
        ("other", "running", "restart", "changed: its declaration"),
        ("other", "stopped", "restart", "changed: its declaration"),
    ],
)
def test_one_program(digest: str | None, state: ProcessState | None, verb: str, detail: str) -> None:
    digests = {} if digest is None else {OLD.name: digest}
    statuses = {} if state is None else {OLD.name: status(state=state)}
    plan = plan_deploy("s", [OLD], digests, statuses)
    assert [(step.verb, step.subject, step.detail) for step in plan.steps] == [
        (verb, "process/s.web.0", detail)
    ]
    assert plan.empty is (verb == "keep")


def test_what_changed_is_said_without_values() -> None:
    new = Program("s.web.0", ("serve", "-v"), {"B": "geheim"}, "/y", secrets={"T": "${T}"})
    plan = plan_deploy("s", [new], {OLD.name: OLD.digest}, {OLD.name: status()}, before=[OLD])
    assert plan.steps[0].detail == "changed: command, folder, environment -A +B, secrets +T"
    assert "geheim" not in str(plan)
    assert difference(OLD, OLD) == ""


def test_programs_of_others_are_never_touched() -> None:
    digests = {"ops.seaweedfs": "x", "s2.web.0": "y", "s.web.0": OLD.digest, "s.gone.0": "z"}
    plan = plan_deploy("s", [OLD], digests, {OLD.name: status()})
    assert [(step.verb, program_of(step)) for step in plan.steps] == [
        ("remove", "s.gone.0"),
        ("keep", "s.web.0"),
    ]


def test_removed_programs_go_first_and_dependents_before_what_they_need() -> None:
    database, web = Program("s.db.0", ("d",), {}, "/"), Program("s.web.0", ("w",), {}, "/", after=("db",))
    digests = {program.name: program.digest for program in (database, web)}
    new = Program("s.new.0", ("n",), {}, "/")
    plan = plan_deploy("s", [new], digests, {}, before=[database, web], external=["milvus"])
    assert [(step.verb, step.subject) for step in plan.steps] == [
        ("check", "component/milvus"),
        ("remove", "process/s.web.0"),
        ("remove", "process/s.db.0"),
        ("start", "process/s.new.0"),
    ]


def test_surplus_replicas_go_from_the_top() -> None:
    digests = {f"s.web.{i}": OLD.digest for i in (0, 10, 2)}
    plan = plan_deploy("s", [OLD], digests, {OLD.name: status()})
    assert [program_of(step) for step in plan.changes] == ["s.web.10", "s.web.2"]


def test_programs_start_in_levels() -> None:
    def program(name: str, *after: str) -> Program:
        return Program(f"s.{name}.0", (name,), {}, "/", after=after)

    levels = program_levels([program("a", "c", "elsewhere"), program("b"), program("c", "b")])
    assert [[one.component for one in level] for level in levels] == [["b"], ["c"], ["a"]]
