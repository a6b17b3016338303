"""What restores have kept, found and removed: folders, collections of a real Milvus Lite, objects of a real store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_pipelines.adapters._s3_client import Connection
from ops_pipelines.adapters.milvus import MilvusStore
from ops_pipelines.adapters.s3objects import S3Objects
from ops_pipelines.engines.parts._folders import Note, Staging
from ops_pipelines.engines.parts.collection import CollectionTarget
from ops_pipelines.engines.parts.kept import KeptCollections, KeptFolders, KeptObjects
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import Refused
from tests.engines.test_part_collection import DOCS, capture, docs, fetch_from, fill, part_of
from tests.servers.seaweed import Seaweed


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A live folder, one that was kept, and a staged one."""
    for name in ("models", "models.before-a1", "models.restore-b2"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "weights").write_bytes(b"w" * 100_000)
    return tmp_path / "models"


def test_a_kept_folder_is_listed_with_its_bytes_and_goes(live: Path) -> None:
    keeper = KeptFolders("model_cache/models", [live])
    [old] = keeper.kept()
    assert (Path(old.name).name, old.detail) == ("models.before-a1", "1 files")
    assert old.size is not None
    assert 100_000 <= old.size < 200_000
    assert old.made is not None
    assert abs((datetime.now(UTC) - old.made).total_seconds()) < 3600
    (Path(old.name) / "deep").chmod(0o500)
    keeper.remove(old.name)
    assert sorted(path.name for path in live.parent.iterdir()) == ["models", "models.restore-b2"]


def test_bytes_that_the_live_folder_shares_are_not_promised(live: Path) -> None:
    kept = live.with_name("models.before-a1") / "deep" / "weights"
    kept.unlink()
    kept.hardlink_to(live / "deep" / "weights")
    [old] = KeptFolders("model_cache/models", [live]).kept()
    assert old.size == 0


def test_what_is_live_staged_linked_or_elsewhere_is_refused(live: Path, tmp_path: Path) -> None:
    keeper = KeptFolders("model_cache/models", [live])
    (tmp_path / "models.before-link").symlink_to(live)
    (tmp_path / "other.before-x").mkdir()
    for name in ("models", "models.restore-b2", "models.before-link", "other.before-x", "models.before-none"):
        with pytest.raises(Refused):
            keeper.remove(str(tmp_path / name))
    with pytest.raises(Refused):
        keeper.remove(f"{tmp_path}/models.before-a1/../models")
    assert [Path(one.name).name for one in keeper.kept()] == ["models.before-a1"]


def test_what_an_unfinished_switch_needs_stays(live: Path) -> None:
    keeper = KeptFolders("model_cache/models", [live])
    [old] = keeper.kept()
    staging = Staging(live.with_name("models.restore-b2"), live)
    staging.write_note(Note("part", whole=True, inode=1, before=old.name))
    with pytest.raises(Refused, match="not finished"):
        keeper.remove(old.name)
    staging.note_path.write_text("no note")
    with pytest.raises(Refused, match="not finished"):
        keeper.remove(old.name)
    staging.forget()
    keeper.remove(old.name)
    assert keeper.kept() == ()


def test_one_that_was_being_removed_is_listed_as_that_and_goes_on(live: Path) -> None:
    live.with_name("models.before-a1").rename(live.with_name("models.removing-a1"))
    keeper = KeptFolders("model_cache/models", [live])
    [rest] = keeper.kept()
    assert "partly removed" in rest.detail
    keeper.remove(rest.name)
    assert keeper.kept() == ()


def test_collections_that_the_name_once_led_to(
    vector_store: MilvusStore, collection_name: str, tmp_path: Path
) -> None:
    name = collection_name
    fill(vector_store, name, DOCS, docs(50))
    for own in (f"{name}__archive", f"{name}__2"):
        vector_store.create(own, DOCS)
    taken = capture(vector_store, name, tmp_path / "a")
    target = CollectionTarget(name, vector_store, tmp_path / "scratch")
    target.stage(part_of(name, taken), "look", fetch_from(taken), silent)
    target.switch(part_of(name, taken), target.stage(part_of(name, taken), None, fetch_from(taken), silent))
    keeper = KeptCollections(name, vector_store, frozenset({f"{name}__2"}))
    assert [(one.name, one.detail) for one in keeper.kept()] == [(f"{name}__1", "50 rows")]
    now = vector_store.aliases()[name]
    for other in (now, name, f"{name}__archive", f"{name}__2", f"{name}__restore_look"):
        with pytest.raises(Refused):
            keeper.remove(other)
    keeper.remove(f"{name}__1")
    assert keeper.kept() == ()
    assert vector_store.count(name) == 50
    vector_store._client.drop_alias(name)
    assert keeper.kept() == (), "without the name nobody knows what is live"


def test_objects_that_were_replaced(seaweed: Seaweed, bucket: str) -> None:
    connection = Connection(
        seaweed.endpoint, seaweed.region, seaweed.access_key, seaweed.secret_key, None, True, None, 5.0, 60.0
    )
    objects = S3Objects.connect(bucket, connection)
    for key in (
        "events/a",
        "events.before-x1/a",
        "events.before-x1/b",
        "events.before-y2/a",
        "events.other/a",
    ):
        objects.put(key, b"12345")
    keeper = KeptObjects("traces", objects, "events/")
    assert [(one.name, one.size) for one in keeper.kept()] == [
        ("events.before-x1/", 10),
        ("events.before-y2/", 5),
    ]
    objects.put("events.restores/y2.json", b'{"before": "events.before-y2/"}')
    for name in ("events/", "events.before-y2/", "events.before-", "events.other/"):
        with pytest.raises(Refused):
            keeper.remove(name)
    keeper.remove("events.before-x1/")
    assert {info.key for info in objects.list("")} == {
        "events/a", "events.before-y2/a", "events.other/a", "events.restores/y2.json",
    }  # fmt: skip
