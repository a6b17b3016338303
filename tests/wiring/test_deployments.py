"""Plan, deploy, scale, roll back: what each may touch, and what one leaves to the next."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from ops_pipelines.engines import revisions as engine
from ops_pipelines.errors import (
    LeaseHeld,
    OpsError,
    PreflightFailed,
    RevisionUnknown,
    Unreachable,
    UsageError,
)
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.processes import ProcessStatus, programs_to_json
from ops_pipelines.policy.programs import render_programs, with_replicas
from ops_pipelines.wiring import deployments, process_target, revisions, status
from ops_pipelines.wiring.connect import lease, places, supervisor
from tests.servers.supervisord import pid_at
from tests.waiting import until
from tests.wiring.stand import Stand


def note(stand: Stand, what: str, replicas: int = 1, **facts: Any) -> int:
    """Record a revision without deploying it."""
    site = stand.site
    programs = render_programs(with_replicas(site.stack, {"web": replicas}), places(site)) if replicas else ()
    return revisions.record(site, programs_to_json(programs), "test", what, **facts)


def test_a_plan_starts_nothing(stand: Stand) -> None:
    site = stand.site
    planned = deployments.plan(site)
    assert [(step.verb, step.subject) for step in planned.steps] == [("start", "process/chat.web.0")]
    assert deployments.preflight(site)
    assert deployments.replicas(site, "web") == 0
    assert not supervisor(site.settings).folder.pid_file.exists()


def test_a_plan_tells_settings_that_do_not_fit_this_machine(stand: Stand) -> None:
    stand.change(components={"web": stand.web(kind="ollama", environment={"OLLAMA_MAX_LOADED_MODELS": "99"})})
    planned = deployments.plan(stand.site)
    [told] = [step for step in planned.steps if step.subject == "tuning/web"]
    assert "OLLAMA_MAX_LOADED_MODELS is 99, and " in told.detail
    assert told not in planned.changes


def test_a_stack_that_rests_is_planned_and_not_started(stand: Stand) -> None:
    """An operator has stopped the platform: a plan, or the hourly look, must not bring it back."""
    site = stand.site
    deployments.deploy(site, by="test")
    supervisor(site.settings).shutdown()
    planned = deployments.plan(site)
    assert [(step.verb, step.detail) for step in planned.steps] == [("start", "is not running")]
    assert "a deploy starts it" in planned.warnings[0]
    deployments.preflight(site)
    with pytest.raises(Unreachable):
        deployments.drift_findings(site)
    assert deployments.replicas(site, "web") is None
    assert not supervisor(site.settings).running()
    assert pid_at(stand.ports[0]) is None
    assert deployments.deploy(site, by="test").recorded is False
    assert pid_at(stand.ports[0])


def test_a_deploy_starts_nothing_while_somebody_else_changes_the_stack(stand: Stand) -> None:
    site = stand.site
    with lease(site, "a colleague's work"), pytest.raises(LeaseHeld, match="a colleague's work"):
        deployments.deploy(site, by="test")
    assert not supervisor(site.settings).running()


def test_what_a_deploy_lacks_is_said_before_anything_is_pulled(stand: Stand) -> None:
    site = stand.change(components={"web": stand.web(command=["no-such-program"])})
    with pytest.raises(PreflightFailed, match="no-such-program"):
        deployments.require_preflight(site)


@pytest.mark.parametrize("harm", ["damaged", "cut off"])
def test_a_damaged_revision_keeps_nobody_from_deploying(stand: Stand, harm: str) -> None:
    site = stand.site
    deployments.deploy(site, by="test")
    note(stand, "deploy", 2)
    stand.store.put(stand.layout.revision("chat", 2), b"{}" if harm == "damaged" else b'{"number": 2, "sta')
    found = revisions.newest(site)
    assert found is not None
    assert found.number == 1
    done = deployments.deploy(stand.change(components={"web": stand.web(environment={"A": "b"})}), by="test")
    assert done.revision == 3


def test_a_database_that_is_gone_keeps_nothing_from_being_recorded(stand: Stand) -> None:
    """The day the vector database dies is a day to roll back on."""
    milvus = {"kind": "milvus", "address": "http://127.0.0.1:9"}
    fields = {"id": {"type": "int64", "primary": True}, "vector": {"type": "float_vector", "dimension": 2}}
    stand.change(
        components={"web": stand.web(), "milvus": milvus},
        collections={"docs": {"store": "milvus", "fields": fields}},
    )
    assert note(stand, "deploy") == 1
    found = engine.revision(stand.store, stand.layout, "chat", 1)
    assert found.aliases == {}


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        (["deploy", "deploy"], 1),
        (["deploy", "deploy", "scale of web to 2", "scale of web to 3"], 1),
        (["deploy", "scale of web to 2", "deploy"], 2),
        (["deploy", "rollback to 1"], 1),
        (["deploy", "scale of web to 2"], None),
        (["deploy"], None),
        ([], None),
    ],
)
def test_rolling_back_means_the_deploy_before_and_not_the_scaling(
    stand: Stand, notes: list[str], expected: int | None
) -> None:
    for what in notes:
        note(stand, what)
    if expected is None:
        with pytest.raises(RevisionUnknown, match="none before"):
            deployments.previous(stand.site)
    else:
        assert deployments.previous(stand.site) == expected


@pytest.mark.parametrize(
    ("mode", "minimum", "last", "expected"),
    [
        ("approve", 1, [("scale of web to 3", 3)], 3),
        ("auto", 1, [("scale of web to 3", 3)], 3),
        ("observe", 1, [("scale of web to 3", 3)], 1),
        ("approve", 1, [("scale of web to 9", 9)], 4),
        ("approve", 2, [("deploy", 1)], 2),
        ("approve", 0, [("deploy", 1), ("scale of web to 0", 0)], 0),
        ("approve", 0, [("deploy", 1), ("scale of web to 0", 0), ("scale of other to 2", 0)], 0),
        ("approve", 0, [("deploy", 1), ("scale of web to 0", 0), ("scale of web to 2", 2)], 2),
        ("approve", 0, [("deploy", 0)], 1),
        ("approve", 0, [], 1),
    ],
)
def test_a_deploy_keeps_what_scaling_has_chosen(
    stand: Stand, mode: str, minimum: int, last: list[tuple[str, int]], expected: int
) -> None:
    other = stand.web(ports={"http": stand.ports[5]})
    site = stand.change(
        components={"web": stand.web(), "other": other},
        scaling=stand.scaling(mode=mode, minimum=minimum, maximum=4),
    )
    for what, replicas in last:
        everything = render_programs(with_replicas(site.stack, {"web": replicas}), places(site))
        revisions.record(site, programs_to_json(everything), "test", what)
    stack = revisions.scaled(site, revisions.before(site))
    assert stack.components["web"].replicas == expected


def test_a_rollback_is_of_the_declaration_that_it_was_and_asks_for_no_more_than_health(stand: Stand) -> None:
    """Today's smoke test is of today's declaration, which may be what is wrong."""
    site = stand.site
    deployments.deploy(site, by="test")
    first = engine.revision(stand.store, stand.layout, "chat", 1)
    model = {"source": "hosted:x/y", "role": "embedding", "served_by": "web"}
    site = stand.change(
        components={"web": stand.web(environment={"A": "b"})}, models={"m": model}, smoke={"model": "m"}
    )
    note(stand, "deploy")
    assert any(finding.ok is False for finding in deployments.smoke(site))
    done = deployments.deploy(site, to=1, by="test")
    assert done.recorded
    assert {finding.severity for finding in done.findings if finding.ok is False} == {"warning"}
    third = engine.revision(stand.store, stand.layout, "chat", 3)
    assert (third.declaration, third.note) == (first.declaration, "rollback to 1")
    assert site.loaded.digest != first.declaration


def test_what_a_rollback_leaves_is_said_in_its_plan(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    site = stand.site
    engine.record(
        stand.store, stand.layout, stack="chat", at="2026-01-01T00:00:00+00:00", declaration="x", profile=None,
        target="process", artifact=[], models={"llama": "aaaaaaaaaaaaaaaa"}, aliases={"docs": "docs__1"},
    )  # fmt: skip
    note(stand, "deploy", 2)
    warnings = "\n".join(deployments.plan(site, to=1).warnings)
    assert "the model llama was aaaaaaaaaaaa then and is not there now" in warnings
    assert "the collection docs was docs__1 then" in warnings
    assert "no snapshot was taken of revision 1" in warnings
    third = note(stand, "deploy", 1)
    assert "web goes from 1 replicas to 2" in deployments.plan(site, to=third - 1).warnings[0]
    assert deployments.plan(site, to=third).warnings == ()


def test_scaling_starts_no_stack_that_was_never_deployed(stand: Stand) -> None:
    site = stand.change(scaling=stand.scaling())
    with lease(site, "test") as fence, pytest.raises(UsageError, match="never deployed"):
        deployments.scale_held(site, "web", 2, fence)
    assert not supervisor(site.settings).running()


def test_a_stack_without_a_bucket_is_planned_and_its_deploy_says_what_it_lacks(stand: Stand) -> None:
    site = stand.change(backup=None)
    assert not deployments.plan(site).empty
    with pytest.raises(UsageError, match="declares no backup; its bucket also holds"):
        deployments.deploy(site, by="test")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"chat.web.0": "running", "chat.web.1": "starting"}, (0, 1)),
        ({"chat.web.0": "fatal", "chat.web.2": "running"}, (2,)),
        ({"chat.web.0": "stopped", "chat.web.1": "stopping"}, ()),
        ({"chat.web.0": "backoff", "chat.web.1": "exited"}, (0, 1)),
        ({"chat.web.0": "running", "chat.web.1": "unknown"}, None),
        ({"chat--drill.web.0": "running", "chat.webs.0": "running", "chatty.web.0": "running"}, ()),
        ({}, ()),
        (None, None),
    ],
)
def test_replicas_that_carry_load_are_counted(
    stand: Stand,
    monkeypatch: pytest.MonkeyPatch,
    states: dict[str, Any] | None,
    expected: tuple[int, ...] | None,
) -> None:
    class Seen:
        def status(self) -> dict[str, ProcessStatus]:
            if states is None:
                raise Unreachable("gone", remedy="none")
            return {name: ProcessStatus(name, state, None, None) for name, state in states.items()}

    monkeypatch.setattr(process_target, "supervisor", lambda settings: Seen())
    assert status.replica_numbers(stand.site, "web") == expected
    assert status.replica_numbers(stand.site, "nobody") is None


def test_a_supervisord_that_was_killed_leaves_the_number_of_replicas_unknown(stand: Stand) -> None:
    site = stand.site
    deployments.deploy(site, by="test")
    assert deployments.replicas(site, "web") == 1
    os.kill(int(supervisor(site.settings).folder.pid_file.read_text()), signal.SIGKILL)
    until(lambda: deployments.replicas(site, "web") is None, what="supervisord to be gone")
    assert {row["answers"] for row in deployments.status_rows(site)} == {"unknown"}


def test_settings_that_a_process_is_not_given_are_said(stand: Stand) -> None:
    site = stand.change(components={"web": stand.web(settings={"a": {"b": "{port.http}"}})})
    [found] = [one for one in deployments.preflight(site) if one.subject == "component/web"]
    assert (found.ok, found.severity) == (False, "warning")


def test_an_error_in_comparing_is_a_warning(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    note(stand, "deploy")

    def fails(site: object) -> tuple[Finding, ...]:
        raise OpsError("the disk died", remedy="")

    monkeypatch.setattr(revisions, "before", fails)
    found = engine.revision(stand.store, stand.layout, "chat", 1)
    assert "unknown: the disk died" in revisions.differences(stand.site, found)[0]
