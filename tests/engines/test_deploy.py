"""Deploy, roll back, scale, remove: a real supervisord, real web servers."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from ops_pipelines.engines import deploy as engine
from ops_pipelines.engines._deploy_apply import health_of
from ops_pipelines.errors import (
    DeployFailed,
    LeaseLost,
    OpsError,
    PreflightFailed,
    StoreError,
    TargetUnsupported,
    UsageError,
)
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.processes import ProcessStatus, programs_from_json, programs_to_json
from ops_pipelines.policy.programs import render_programs
from tests.engines.deploying import Demo, Lease, bad_smoke
from tests.servers.supervisord import SERVE, SupervisordServer, ask, pid_at
from tests.waiting import until


@pytest.fixture
def demo(supervisord: SupervisordServer) -> Demo:
    return Demo(supervisord)


def test_a_deploy_starts_what_is_needed_in_order_and_records_it(demo: Demo) -> None:
    # `web` ends at once if `db` does not answer yet.
    needs_db = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{demo.ports[1]}')" + SERVE
    stack = demo.stack(
        {
            "web": demo.web(0, command=["{python}", "-c", needs_db, "{port.http}"], depends_on=["db"]),
            "db": demo.web(1, replicas=2),
            "job": {"kind": "app", "command": ["sleep", "600"], "depends_on": ["web"]},
        }
    )
    steps: list[str] = []
    done = demo.deploy(stack, progress=lambda step, *_: steps.append(step))
    names = ["demo.db.0", "demo.db.1", "demo.web.0", "demo.job.0"]
    assert [step for step in steps if step.startswith("started")] == [f"started {name}" for name in names]
    assert "Error" not in demo.server.adapter.log_tail("demo.web.0")
    assert done.revision == 1
    assert demo.revisions[0].replicas == {"db": 2, "web": 1, "job": 1}
    assert demo.revisions[0].programs == render_programs(stack, demo.places)
    rows = engine.status(stack, demo.places, demo.tools)
    assert [(row.name, row.state, row.healthy) for row in rows] == [(name, "running", True) for name in names]
    assert all(row.pid and row.uptime is not None for row in rows)

    pids = demo.pids()
    again = demo.deploy(stack)
    assert again.plan.empty
    assert again.revision is None
    assert (demo.pids(), len(demo.revisions)) == (pids, 1)


def test_status_tells_good_bad_and_unknown_apart(demo: Demo) -> None:
    components = {"web": demo.web(0), "db": demo.web(1)}
    demo.deploy(demo.stack(components))
    demo.server.adapter.stop("demo.db.0")
    changed = demo.stack(
        {
            "web": demo.web(0, environment={"V": "2"}),
            "db": demo.web(1),
            "new": demo.web(2),
            "gone": {"kind": "redis", "address": f"redis://127.0.0.1:{demo.ports[9]}"},
            "far": {"kind": "redis", "address": "redis://no-such-host.invalid:1"},
        }
    )
    rows = {row.component: row for row in engine.status(changed, demo.places, demo.tools)}
    assert {name: row.healthy for name, row in rows.items()} == {
        "web": True, "db": False, "new": False, "gone": False, "far": None,
    }  # fmt: skip
    assert rows["web"].detail.endswith("its declaration has changed since it was deployed")
    assert rows["db"].detail == "is stopped"
    assert rows["new"].detail == "is not deployed"
    alone = {row.name: row for row in engine.status(demo.stack({}), demo.places, demo.tools)}
    assert alone["demo.web.0"].detail == "is not declared"
    demo.server.kill()
    unknown = engine.status(demo.stack(components), demo.places, demo.tools)
    assert {(row.state, row.healthy) for row in unknown} == {("unknown", None)}
    demo.server.adapter.ensure_running()


def test_a_port_that_a_stranger_holds_is_found_before_anything_changes(demo: Demo) -> None:
    stack = demo.stack({"web": demo.web(0)})
    with socket.create_server(("127.0.0.1", demo.ports[0])), pytest.raises(PreflightFailed) as caught:
        demo.deploy(stack)
    assert f"port/{demo.ports[0]}: taken by " in str(caught.value)
    assert f"(pid {os.getpid()}, " in str(caught.value)
    assert demo.digests() == {}
    demo.server.adapter.apply(demo.server.server("other.web.0", demo.ports[0]), {})
    until(lambda: ask(demo.ports[0]))
    with pytest.raises(PreflightFailed, match=r"taken by program other\.web\.0 \(pid"):
        demo.deploy(stack)
    assert list(demo.digests()) == ["other.web.0"]


def test_all_findings_come_at_once_and_nothing_is_changed(demo: Demo) -> None:
    stack = demo.stack(
        {
            "a": demo.web(0, command=["no-such-program"], resources={"memory": "9000Ti", "disk": "9000Ti"}),
            "b": demo.web(0, secrets={"KEY": "key"}),
            "c": {"kind": "milvus", "address": f"http://127.0.0.1:{demo.ports[9]}"},
            "d": demo.web(1, resources={"gpus": 1}),
        },
        secrets={"key": "${NOT_SET_ANYWHERE}"},
        caches={"m": {"layout": "directory", "path": "m", "size": "1Ki"}},
    )

    def checks() -> tuple[Finding, ...]:
        return (Finding("collection/docs", False, "768 dimensions, the model gives 384", "declare 384"),)

    findings = engine.preflight(stack, demo.places, demo.tools, checks=checks)
    bad = {finding.subject.partition("/")[0] for finding in findings if finding.ok is False}
    assert bad == {"port", "program", "secrets", "component", "disk", "memory", "collection"}
    with pytest.raises(PreflightFailed) as caught:
        demo.deploy(stack, checks=checks)
    text = str(caught.value)
    for words in ("7 things", "demo.b.0 and demo.a.0 would both listen", "no-such-program", "NOT_SET_ANYWHERE",
                  "nobody listens there", "8.8 PiB", "384"):  # fmt: skip
        assert words in text
    assert demo.digests() == {}
    assert demo.revisions == []


Breaks = dict[str, Any]


def crashes(demo: Demo) -> tuple[Breaks, Breaks, str]:
    command = ["{python}", "-c", "print('no weights found'); raise SystemExit(3)", "{port.http}"]
    return (
        demo.web(0, command=command),
        {},
        r"component `web` \(demo\.web\.0\) crashed 3 times.*no weights found",
    )


def never_healthy(demo: Demo) -> tuple[Breaks, Breaks, str]:
    health = {"path": "/", "within": "1s"}
    web = demo.web(0, environment={"STATUS": "503"}, health=health)
    return web, {}, r"was not healthy within 1 s: http://127.0.0.1:\d+/ answers 503.*listening on"


def smoke_fails(demo: Demo) -> tuple[Breaks, Breaks, str]:
    words = r"the smoke test failed: collection/docs: could not be searched.*demo\.web\.0.*listening on"
    return demo.web(0, environment={"V": "2"}), {"smoke": bad_smoke}, words


def smoke_raises(demo: Demo) -> tuple[Breaks, Breaks, str]:
    def smoke() -> tuple[Finding, ...]:
        raise ZeroDivisionError("a mistake of ours")

    return demo.web(0, environment={"V": "2"}), {"smoke": smoke}, "ZeroDivisionError: a mistake of ours"


def record_fails(demo: Demo) -> tuple[Breaks, Breaks, str]:
    def record(facts: object) -> int:
        raise StoreError("the bucket refuses", remedy="look at its rights")

    return demo.web(0, environment={"V": "2"}), {"record": record}, "the bucket refuses"


FAILURES = [crashes, never_healthy, smoke_fails, smoke_raises, record_fails]


@pytest.mark.parametrize("fails", FAILURES)
def test_a_deploy_that_fails_puts_the_earlier_revision_back(
    demo: Demo, fails: Callable[[Demo], tuple[Breaks, Breaks, str]]
) -> None:
    demo.deploy(demo.stack({"web": demo.web(0), "gone": demo.web(1), "same": demo.web(2)}))
    before, same = demo.digests(), pid_at(demo.ports[2])
    # What is handed over is what a bucket would give back.
    earlier = programs_from_json(programs_to_json(demo.before))
    web, words, message = fails(demo)
    stack = demo.stack({"web": web, "new": demo.web(3), "same": demo.web(2)})
    with pytest.raises(DeployFailed, match=f"(?s){message}") as caught:
        demo.deploy(stack, **{"before": earlier, **words})
    assert "the programs of the earlier revision were put back and are healthy" in str(caught.value)
    assert demo.digests() == before
    assert all(ask(port) for port in demo.ports[:3])
    assert ask(demo.ports[3]) is None
    assert pid_at(demo.ports[2]) == same
    assert len(demo.revisions) == 1
    assert len(demo.server.marked()) == 3


def test_a_first_deploy_that_fails_removes_what_it_started(demo: Demo) -> None:
    demo.server.adapter.apply(demo.server.server("other.web.0", demo.ports[5]), {})
    with pytest.raises(DeployFailed, match="what the deploy had started was removed"):
        demo.deploy(demo.stack({"a": demo.web(0), "b": demo.web(1)}), smoke=bad_smoke)
    assert list(demo.digests()) == ["other.web.0"]
    assert demo.server.marked()[0].pid == pid_at(demo.ports[5])


def test_what_ran_without_a_recorded_revision_is_not_removed(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0)}))
    with pytest.raises(DeployFailed, match=r"demo\.a\.0 ran without a recorded revision"):
        demo.deploy(demo.stack({"a": demo.web(0, environment={"V": "2"}), "b": demo.web(1)}), smoke=bad_smoke,
                    before=())  # fmt: skip
    assert list(demo.digests()) == ["demo.a.0"]


def test_putting_back_that_fails_too_is_said(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0)}))

    def smoke() -> tuple[Finding, ...]:
        demo.server.kill()
        return bad_smoke()

    with pytest.raises(DeployFailed) as caught:
        demo.deploy(demo.stack({"a": demo.web(0, environment={"V": "2"})}), smoke=smoke)
    assert "the smoke test failed" in str(caught.value)
    assert "putting the earlier revision back failed too: supervisord does not answer" in str(caught.value)
    demo.server.adapter.ensure_running()


def test_a_lost_lease_stops_before_the_next_change_and_puts_nothing_back(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0), "b": demo.web(1)}))
    demo.lease = Lease(left=1)
    new = {"V": "2"}
    stack = demo.stack({"a": demo.web(0, environment=new), "b": demo.web(1, environment=new)})
    with pytest.raises(LeaseLost):
        demo.deploy(stack)
    programs = {program.name: program.digest for program in render_programs(stack, demo.places)}
    assert demo.digests() == {"demo.a.0": programs["demo.a.0"], "demo.b.0": demo.before[1].digest}
    demo.lease = Lease()
    assert demo.deploy(stack).revision == 2


def test_an_interrupt_puts_back_and_goes_on(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0)}))
    before = demo.digests()

    def smoke() -> tuple[Finding, ...]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.deploy(demo.stack({"a": demo.web(0, environment={"V": "2"})}), smoke=smoke)
    assert demo.digests() == before
    assert ask(demo.ports[0])


def test_a_secret_that_a_program_prints_is_masked(demo: Demo) -> None:
    (demo.server.home / "key").write_text("very-secret-value")
    tells = "import os; print('key is', os.environ['KEY']); raise SystemExit(1)"
    web = demo.web(0, command=["{python}", "-c", tells], secrets={"KEY": "key"})
    with pytest.raises(DeployFailed, match=r"key is \*\*\*") as caught:
        demo.deploy(demo.stack({"web": web}, secrets={"key": "file:key"}))
    assert "very-secret-value" not in str(caught.value)


def test_roll_back_brings_any_earlier_revision_back(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0)}))
    demo.deploy(demo.stack({"a": demo.web(0, environment={"V": "2"}), "b": demo.web(1)}))
    demo.deploy(demo.stack({"a": demo.web(0, environment={"V": "3"})}))
    for place, seen in ((1, "2"), (0, None)):
        programs = programs_from_json(programs_to_json(demo.revisions[place].programs))
        done = engine.rollback(
            "demo", programs, demo.tools, fence=demo.lease, record=demo.record, before=demo.before
        )
        assert done.revision == len(demo.revisions)
        assert (ask(demo.ports[0]) or {})["environ"].get("V") == seen
    assert demo.revisions[-1].programs == demo.revisions[0].programs
    assert ask(demo.ports[1]) is None


def test_remove_stops_this_stack_and_no_other(demo: Demo) -> None:
    demo.server.adapter.apply(demo.server.server("other.web.0", demo.ports[5]), {})
    demo.deploy(demo.stack({"a": demo.web(0), "b": demo.web(1)}))
    until(lambda: ask(demo.ports[5]))
    other = pid_at(demo.ports[5])
    done = engine.remove("demo", demo.tools, fence=demo.lease, before=demo.before)
    assert [step.verb for step in done.steps] == ["remove", "remove"]
    assert list(demo.digests()) == ["other.web.0"]
    assert pid_at(demo.ports[5]) == other


def test_two_components_can_change_ports_with_each_other(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0), "b": demo.web(1, depends_on=["a"])}))
    demo.deploy(demo.stack({"a": demo.web(1), "b": demo.web(0, depends_on=["a"])}))
    assert pid_at(demo.ports[0]) == demo.pids()["demo.b.0"]
    assert pid_at(demo.ports[1]) == demo.pids()["demo.a.0"]


def test_replicas_are_replaced_one_after_the_other(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0, replicas=3)}))
    answering: list[int] = []

    def progress(step: str, done: int, total: int | None, unit: str) -> None:
        if step.startswith("restarted"):
            answering.append(sum(ask(port) is not None for port in demo.ports[:3]))

    demo.deploy(demo.stack({"a": demo.web(0, replicas=3, environment={"V": "2"})}), progress=progress)
    assert len(answering) == 3
    assert min(answering) >= 2


def test_a_program_is_not_taken_for_healthy_because_another_answers(demo: Demo) -> None:
    demo.deploy(demo.stack({"a": demo.web(0)}))
    (program,) = demo.before
    real = demo.server.adapter.status()["demo.a.0"]
    assert health_of(program, real, demo.tools).ok is True
    other = ProcessStatus("demo.a.0", "running", os.getpid(), 1.0)
    finding = health_of(program, other, demo.tools)
    assert finding.ok is False
    assert f"is answered by python (pid {real.pid}), not by it" in finding.message


# --- scaling ---


def test_scaling_touches_no_other_and_a_new_replica_answers(demo: Demo) -> None:
    stack = demo.stack({"web": demo.web(0), "db": demo.web(5)})
    demo.deploy(stack)
    first = demo.pids()
    done = demo.scale(stack, "web", 3)
    assert done.revision == 2
    assert demo.revisions[-1].replicas == {"db": 1, "web": 3}
    assert {demo.pids()[f"demo.web.{i}"] for i in range(3)} == {pid_at(port) for port in demo.ports[:3]}
    assert {name: demo.pids()[name] for name in first} == first
    assert demo.scale(stack, "web", 3).revision is None
    demo.scale(stack, "web", 1)
    assert demo.pids() == first
    assert (ask(demo.ports[1]), ask(demo.ports[2])) == (None, None)
    assert len(demo.server.marked()) == 2
    demo.scale(stack, "web", 0)
    assert set(demo.pids()) == {"demo.db.0"}


def test_scaling_that_fails_removes_the_new_replicas(demo: Demo) -> None:
    only_first = f"import sys; assert sys.argv[1] != '{demo.ports[1]}', 'no room'" + SERVE
    stack = demo.stack({"web": demo.web(0, command=["{python}", "-c", only_first, "{port.http}"])})
    demo.deploy(stack)
    before = demo.pids()
    with pytest.raises(DeployFailed, match=r"(?s)demo\.web\.1.*no room.*were removed again"):
        demo.scale(stack, "web", 3)
    assert demo.pids() == before
    assert len(demo.revisions) == 1


def test_scaling_is_refused_where_two_versions_would_answer(demo: Demo) -> None:
    demo.deploy(demo.stack({"web": demo.web(0)}))
    with pytest.raises(PreflightFailed, match="deploy first, then scale web"):
        demo.scale(demo.stack({"web": demo.web(0, environment={"V": "2"})}), "web", 2)
    assert list(demo.digests()) == ["demo.web.0"]


@pytest.mark.parametrize(
    ("component", "replicas", "error"),
    [("nope", 1, UsageError), ("far", 1, TargetUnsupported), ("web", -1, UsageError)],
)
def test_scaling_what_cannot_be_scaled(
    demo: Demo, component: str, replicas: int, error: type[OpsError]
) -> None:
    stack = demo.stack({"web": demo.web(0), "far": {"kind": "redis", "address": "redis://r:1"}})
    with pytest.raises(error):
        demo.scale(stack, component, replicas)
