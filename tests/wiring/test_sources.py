"""Tags that moved: asked of a hub at the wire, remembered, and told by status, plan and the observation's check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ops_pipelines.adapters.huggingface import HuggingFace
from ops_pipelines.defs.checks import observed
from ops_pipelines.engines.ports import silent
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.wiring import data, deployments, sources
from ops_pipelines.wiring.site import Fleet, Site
from tests.adapters.hub_wire import Hub, serving
from tests.cli.run import CommandLine
from tests.defs.kit import run_things
from tests.wiring.stand import Stand

CHECK = dg.AssetCheckKey(dg.AssetKey(["chat", "model_cache"]), "at_source")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on a loopback port, which the stacks of this module ask."""
    with serving(Hub({"config.json": b"{}", "model.safetensors": b"weights " * 500})) as running:
        asked = HuggingFace(endpoint=running.url).at_source
        monkeypatch.setattr(sources, "_askers", lambda site: {"hf": asked})
        yield running


@pytest.fixture
def site(stand: Stand, hub: Hub, tmp_path: Path) -> Site:
    """A stack whose one model was pulled from the hub."""
    model = WantedModel("embed", "acme/tiny", "hf", "acme/tiny")
    HuggingFace(endpoint=hub.url).fetch(model, tmp_path / "hub", "huggingface", silent)
    return stand.change(
        caches={"hub": {"layout": "huggingface", "path": str(tmp_path / "hub")}},
        models={"embed": {"source": "hf:acme/tiny", "cache": "hub", "role": "chat"}},
    )


def check(site: Site) -> dg.AssetCheckEvaluation:
    """The check, run as the hourly observation runs it."""
    fleet = Fleet(site.settings, (site.loaded,), ())
    result = run_things(fleet, "chat", [], checks=[CHECK])
    [event] = [event for event in result.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"]
    return event.asset_check_evaluation_data


def test_a_tag_that_moved_is_told_by_check_status_and_plan(
    site: Site, hub: Hub, stand: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert CHECK in observed(site)
    assert check(site).passed
    assert deployments.plan(site).warnings == ()

    hub.main = "b" * 40
    assert check(site).passed, "asked once a day"
    command = CommandLine(monkeypatch, capsys, stand.folder)
    said = command("models", "sources", "chat", environ=stand.environ)
    assert said.code == 0, "what is here is still what was pulled"
    assert "has moved at its source: bbbbbbbbbbbb there" in said.out

    found = check(site)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    [line] = deployments.plan(site).warnings
    assert "has moved at its source" in line
    shown = command("status", "chat", environ=stand.environ)
    assert f"! {line}" in shown.out


def test_a_source_out_of_reach_is_unknown_and_nothing_is_asked_for_a_status(
    site: Site, hub: Hub, stand: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = 503
    found = check(site)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    hub.asked.clear()
    shown = CommandLine(monkeypatch, capsys, stand.folder)("status", "chat", environ=stand.environ)
    assert "! not known whether the tag of acme/tiny has moved" in shown.out
    assert hub.asked == []
    hub.status = None
    assert check(site).passed, "what was not known is asked again at once"


def test_a_pinned_model_stays_and_is_told_without_a_fault(site: Site, hub: Hub, stand: Stand) -> None:
    model = {"source": "hf:acme/tiny", "cache": "hub", "role": "chat", "digest": hub.main}
    hub.main = "b" * 40
    pinned = stand.change(models={"embed": model})
    found = check(pinned)
    assert found.passed
    assert "has moved at its source" in (found.description or "")


def test_what_was_said_is_forgotten_once_models_are_pulled(site: Site, hub: Hub, stand: Stand) -> None:
    sources.ask(site)
    assert sources.source_notes(site) == ()
    data.said_of_sources(site).write_text("[1, 2")
    assert "not known" in sources.source_notes(site)[0]


def test_a_stack_without_such_models_has_no_such_check(stand: Stand) -> None:
    assert CHECK not in observed(stand.site)
    assert sources.source_notes(stand.site) == ()
