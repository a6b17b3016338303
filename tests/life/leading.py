"""The life of a stack, led from Dagster's pages over GraphQL, and asked of the real engine and the real servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.life.living import Living
from tests.life.pages import Pages
from tests.servers.dagster import Run
from tests.waiting import until


def good(run: Run) -> Run:
    """The run, which must have ended well."""
    assert run.status == "SUCCESS", run.failure
    return run


def back(living: Living) -> Mapping[str, Any]:
    """What it answers, once it does: what rested for a switch starts, and its proxy has to see it."""
    found: dict[str, Any] = {}

    def does() -> bool:
        try:
            found.update(living.answers())
        except (AssertionError, httpx.HTTPError, *living.unreachable):
            return False
        return True

    until(does, what=f"{living.stack} to answer", seconds=120)
    return found


def lead(living: Living, pages: Pages, *, thorough: bool = False) -> None:
    """The whole life of a stack. `thorough` looks, too, at what is refused and at what changes nothing: each run costs
    seconds, and what it shows is the same for every stack."""
    stack = living.stack

    # Deployed: looked at first, then its models pulled, then started.
    if thorough:
        assert "create   volume/" in " ".join(good(pages.run(stack, "deployment")).said)
        assert living.running == {}
    if not living.bring_models():
        good(pages.run(stack, "model_cache", apply=True))
    good(pages.run(stack, "deployment", apply=True))
    living.fill()
    first, answers = living.version(), living.answers()
    if thorough:
        started = living.running
        good(pages.run(stack, "deployment", apply=True))
        assert living.running == started, "nothing had changed"

    # Upgraded, with its data.
    living.upgrade("20")
    good(pages.run(stack, "deployment", apply=True))
    assert living.version() == "20" != first
    assert living.answers() == answers

    # An upgrade that does not get well goes back by itself.
    living.spoil()
    failed = pages.run(stack, "deployment", apply=True)
    assert failed.status == "FAILURE"
    assert "the earlier revision was put back and is healthy" in failed.failure
    assert (living.version(), living.answers()) == ("20", answers)

    # Rolled back by hand.
    good(pages.run(stack, "deployment", apply=True, rollback_to=1))
    assert (living.version(), living.answers()) == (first, answers)

    # Backed up.
    living.write()
    good(pages.run(stack, "snapshot"))
    [snapshot] = pages.snapshots(stack)

    # Destroyed: only where its name is typed in.
    if thorough:
        refused = pages.job("take_down", "take_stack_down", stack=stack, apply=True, volumes=True)
        assert refused.status == "FAILURE"
        assert f"confirm: {stack}" in refused.failure
        assert living.answers() == answers
    good(pages.job("take_down", "take_stack_down", stack=stack, apply=True, volumes=True, confirm=stack))
    assert living.running == {}
    assert living.docker.engine.volumes(living.project) == {}
    with pytest.raises(living.unreachable):
        living.answers()

    # Restored: its files, then its servers, then what these are told.
    if thorough:
        too_early = pages.run(stack, "restore", partition=snapshot, apply=True)
        assert (
            f"restore its files first (parts {', '.join(living.files)}), then deploy it" in too_early.failure
        )
    good(pages.run(stack, "restore", partition=snapshot, apply=True, parts=living.files))
    good(pages.run(stack, "deployment", apply=True))
    good(pages.run(stack, "restore", partition=snapshot, apply=True))
    assert back(living) == answers

    # Proved.
    good(pages.run(stack, "drill", snapshot=snapshot, full=True))
    assert living.docker.engine.containers(f"{living.project}--drill") == ()
    assert living.answers() == answers
    good(pages.job("smoke_test", "ask_stack", stack=stack))
