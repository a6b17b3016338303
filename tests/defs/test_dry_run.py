"""What changes something is done only where the launchpad says so. The engines are replaced by a notebook here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from ops_pipelines.defs import configs
from ops_pipelines.defs.restore_assets import wish_of
from ops_pipelines.engines.drill import DrillReport
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.plan import Finding, Plan, Step
from ops_pipelines.wiring import data, deployments, drills, linting, snapshots
from ops_pipelines.wiring.site import Fleet
from ops_pipelines.wiring.wishes import Wish
from tests.defs.kit import failure_of, materialized, obelisk, observations, run_things

SNAPSHOT = "20261121T020000Z-1f3a9c"
CHANGE = Plan("Something differs", (Step("start", "component/model-server", "it is not there", 7),))
SAME = Plan("Nothing differs", (Step("keep", "component/model-server", "as declared"),))
ABSENT = Plan("Collections", (Step("create", "collection/obelisk_docs"),))
THERE = Plan("Collections", (Step("keep", "collection/obelisk_docs"),))
GOOD = (Finding("all", True, "good"),)


@dataclass
class Engines:
    """What was asked of the engines."""

    plan: Plan = CHANGE
    plan_collections: Plan = ABSENT
    findings: tuple[Finding, ...] = GOOD
    done: list[str] = field(default_factory=list)

    def act(self, name: str, answer: object = None) -> Callable[..., Any]:
        """A stand-in that notes that it was called."""

        def call(*_words: object, **facts: object) -> object:
            self.done.append(f"{name}{'' if facts.get('fill', True) else ' without filling'}")
            return answer

        return call


@pytest.fixture
def fleet() -> Fleet:
    return obelisk()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    made = Engines()
    deployed = SimpleNamespace(digest="d" * 64, revision=3, findings=GOOD, watched=())
    report = SimpleNamespace(rows=({"collection": "obelisk_docs", "rows": 5},), total=5, written=0, removed=0)
    manifest = Manifest(SNAPSHOT, "obelisk", "2026-11-21T02:00:00+00:00", ())
    drilled = DrillReport(
        SNAPSHOT, "passed", GOOD, recall=1.0, questions=2, seconds=1.0, age=60.0, size=1, full=False,
    )  # fmt: skip
    restored = SimpleNamespace(parts=(), switched=True)
    looks: dict[tuple[object, str], object] = {
        (data, "plan_fill"): lambda *_: made.plan,
        (data, "inventories"): lambda *_: (),
        (deployments, "plan"): lambda *_, **__: made.plan,
        (deployments, "standing"): lambda *_: deployed,
        (deployments, "status_rows"): lambda *_: [],
        (deployments, "model_rows"): lambda *_: [],
        (deployments, "card_rows"): lambda *_: [],
        (data, "plan_collections"): lambda *_: made.plan_collections,
        (linting, "lint"): lambda *_: made.findings,
        (snapshots, "plan_restore"): lambda *_, **__: CHANGE,
        (snapshots, "verify"): lambda *_, **__: made.findings,
        (snapshots, "listed"): lambda *_: (),
    }
    acts: dict[tuple[object, str], object] = {
        (data, "fill"): (),
        (deployments, "deploy"): deployed,
        (data, "bring_collections"): report,
        (snapshots, "backup"): manifest,
        (drills, "drill"): drilled,
        (snapshots, "restore"): restored,
        (snapshots, "prune"): CHANGE,
    }
    for (module, name), look in looks.items():
        monkeypatch.setattr(module, name, look)
    for (module, name), answer in acts.items():
        monkeypatch.setattr(module, name, made.act(name, answer))
    return made


THINGS = ["artifact", "model_cache", "deployment", "collections", "snapshot", "drill"]


def _all(fleet: Fleet, config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
    return run_things(fleet, "obelisk", THINGS, config, checks=_own_checks())


def _own_checks() -> list[dg.AssetCheckKey]:
    own = {"artifact": "lint", "snapshot": "verified", "drill": "answers_as_before"}
    return [dg.AssetCheckKey(dg.AssetKey(["obelisk", thing]), name) for thing, name in own.items()]


def test_every_config_is_a_dry_run_by_default() -> None:
    for config in (
        configs.FillConfig,
        configs.DeployConfig,
        configs.CollectionsConfig,
        configs.RestoreConfig,
    ):
        assert config().apply is False
    assert configs.PruneConfig(stack="obelisk").apply is False


def test_materialize_all_on_a_stack_that_differs_changes_nothing(fleet: Fleet, engines: Engines) -> None:
    result = _all(fleet)
    assert result.success
    assert engines.done == [], "what differs is shown; nothing is changed, and nothing odd is backed up"
    assert materialized(result) == {"artifact"}
    seen = {one.asset_key.path[-1]: one for one in observations(result)}
    assert set(seen) == {"model_cache"}, "what comes after it waits"
    assert "Dry run" in (seen["model_cache"].description or "")
    assert isinstance(seen["model_cache"].metadata["plan"], dg.TableMetadataValue)


def test_materialize_all_on_a_healthy_stack_backs_up_and_drills(fleet: Fleet, engines: Engines) -> None:
    engines.plan = SAME
    engines.plan_collections = THERE
    result = _all(fleet)
    assert result.success
    assert engines.done == ["bring_collections without filling", "backup", "drill"]
    assert materialized(result) == set(THINGS)


def test_a_model_for_which_no_card_was_free_is_no_pass_and_no_alarm(
    fleet: Fleet, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    unloaded = (*GOOD, Finding("model/m", None, "not generated: no card (no card: none is free)"))
    report = DrillReport(
        SNAPSHOT, "not generated: no card", unloaded, recall=None, questions=0, seconds=1.0, age=60.0, size=1,
        full=False,
    )  # fmt: skip
    monkeypatch.setattr(drills, "drill", lambda *_, **__: report)
    result = run_things(fleet, "obelisk", ["drill"])
    assert result.success
    [check] = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "not generated: no card" in (check.description or "")


def test_what_is_asked_for_is_done(fleet: Fleet, engines: Engines) -> None:
    apply = {"apply": True}
    result = _all(fleet, {"model_cache": apply, "deployment": apply, "collections": apply})
    assert result.success
    assert engines.done == ["fill", "deploy", "bring_collections", "backup", "drill"]


def test_a_restore_without_apply_shows_its_plan_and_marks_no_partition(
    fleet: Fleet, engines: Engines
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("obelisk_snapshots", [SNAPSHOT])
        tags = {"dagster/partition": SNAPSHOT}
        result = run_things(fleet, "obelisk", ["restore"], instance=instance, tags=tags)
        assert result.success
        assert engines.done == []
        [seen] = observations(result)
        assert seen.partition == SNAPSHOT
        assert not instance.get_materialized_partitions(dg.AssetKey(["obelisk", "restore"]))
        config = {"restore": {"apply": True}}
        assert run_things(fleet, "obelisk", ["restore"], config, instance=instance, tags=tags).success
        assert engines.done == ["restore"]
        assert instance.get_materialized_partitions(dg.AssetKey(["obelisk", "restore"])) == {SNAPSHOT}


@pytest.mark.parametrize(
    ("tags", "apply", "words"),
    [
        ({}, False, "no snapshot of obelisk was chosen"),
        ({}, True, "no snapshot of obelisk was chosen"),
        ({"dagster/partition": SNAPSHOT, "dagster/backfill": "x"}, True, "a backfill cannot restore"),
    ],
)
def test_a_restore_refuses(
    fleet: Fleet, engines: Engines, tags: dict[str, str], apply: bool, words: str
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("obelisk_snapshots", [SNAPSHOT])
        config = {"restore": {"apply": apply}}
        result = run_things(fleet, "obelisk", ["restore"], config, instance=instance, tags=tags)
    assert not result.success
    assert words in failure_of(result)
    assert engines.done == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": "llama3:8b", "into": "look"}, "--into-cache or --into-path"),
        ({"model": "llama3:8b", "filter": "year > 1"}, "are for a collection"),
        ({"into_path": "/srv/models"}, "name a model"),
        ({"model": "llama3:8b", "into_cache": "spare", "into_path": "/srv"}, "leave one of them out"),
    ],
)
def test_wishes_that_exclude_each_other_are_refused(
    fleet: Fleet, engines: Engines, config: dict[str, Any], words: str
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("obelisk_snapshots", [SNAPSHOT])
        tags = {"dagster/partition": SNAPSHOT}
        asked = {"restore": {"apply": True, **config}}
        result = run_things(fleet, "obelisk", ["restore"], asked, instance=instance, tags=tags)
    assert not result.success
    assert words in failure_of(result)
    assert engines.done == []


def test_the_form_asks_what_the_command_line_asks() -> None:
    """Each option of `restore` has its field, and an empty one asks for nothing."""
    assert wish_of(configs.RestoreConfig()) == Wish()
    config = configs.RestoreConfig(
        parts=["collection/docs"], into="look", as_name="docs_of_may", filter="year > 1", partitions=["west"],
        model="llama3:8b", into_cache="spare", into_path="/srv/models", allow_wrong_secrets=["salt"],
    )  # fmt: skip
    only = snapshots.Only(snapshots.Choice("year > 1", ("west",)), "docs_of_may")
    assert wish_of(config) == Wish(
        ("collection/docs",), "look", only, "llama3:8b", "spare", Path("/srv/models"), ("salt",)
    )


def test_what_the_form_chose_reaches_the_engine(
    fleet: Fleet, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    bad = SimpleNamespace(
        part="collection/docs", place="p", kept="", findings=(Finding("server", False, "down"),)
    )

    def restored(*_: object, **words: object) -> object:
        asked.append(words["only"])
        return SimpleNamespace(parts=(bad,), switched=True)

    monkeypatch.setattr(snapshots, "restore", restored)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("obelisk_snapshots", [SNAPSHOT])
        config = {
            "restore": {"apply": True, "parts": ["collection/docs"], "as_name": "may", "filter": "n > 1"}
        }
        tags = {"dagster/partition": SNAPSHOT}
        result = run_things(fleet, "obelisk", ["restore"], config, instance=instance, tags=tags)
    assert asked == [snapshots.Only(snapshots.Choice("n > 1"), "may")]
    assert "server: down" in failure_of(result), "what is live and not right fails the run"
    assert materialized(result) == {"restore"}


def test_a_backup_that_does_not_hold_fails_its_run(fleet: Fleet, engines: Engines) -> None:
    engines.findings = (Finding("blob/ab", False, "is missing", "back up again"),)
    result = run_things(fleet, "obelisk", ["snapshot"], checks=_own_checks()[1:2])
    assert not result.success
    assert "blob/ab: is missing" in failure_of(result)
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR


def test_a_warning_does_not(fleet: Fleet, engines: Engines) -> None:
    engines.findings = (Finding("blob/ab", False, "is old", "", "warning"),)
    result = run_things(fleet, "obelisk", ["snapshot"], checks=_own_checks()[1:2])
    assert result.success
    [evaluation] = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
