"""A store that does not keep to conditions is refused before a backup; one that does is asked once a week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.errors import PreconditionFailed, Refused
from ops_pipelines.policy.layout import Layout
from ops_pipelines.wiring.conditional import require_conditional_writes
from tests.servers.seaweed import Seaweed

LAYOUT = Layout("ops")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Forgetful:
    """The real store, but that it writes whatever the condition."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, body: bytes, **condition: Any) -> str:
        condition.clear()
        return self._store.put(key, body)


def test_a_store_that_keeps_to_them_is_remembered(store: S3Store, tmp_path: Path) -> None:
    memory = tmp_path / "state" / "memory.json"
    require_conditional_writes(store, LAYOUT, memory, NOW)
    before = store.requests
    require_conditional_writes(store, LAYOUT, memory, NOW + timedelta(days=6))
    assert store.requests == before
    require_conditional_writes(store, LAYOUT, memory, NOW + timedelta(days=8))
    assert store.requests > before


def test_a_store_that_does_not_is_refused_and_unharmed(store: S3Store, tmp_path: Path) -> None:
    forgetful: Any = Forgetful(store)
    memory = tmp_path / "memory.json"
    for _ in range(2):
        with pytest.raises(Refused, match="condition") as caught:
            require_conditional_writes(forgetful, LAYOUT, memory, NOW)
        assert "conditional_writes: none" in caught.value.remedy
    assert not memory.exists()
    assert [info.key for info in store.list("")] == [LAYOUT.format]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"store": 1}', '{"store": "s", "at": "never"}'])
def test_a_broken_memory_is_no_proof(store: S3Store, tmp_path: Path, content: str) -> None:
    memory = tmp_path / "memory.json"
    memory.write_text(content)
    before = store.requests
    require_conditional_writes(store, LAYOUT, memory, NOW)
    assert store.requests > before


def test_declared_single_writer_still_sees_what_is_there(seaweed: Seaweed, bucket: str) -> None:
    """Without conditional writes, a condition is looked at before the write and after it."""
    single = seaweed.store(bucket, conditional=False)
    etag = single.put("k", b"one", if_absent=True)
    with pytest.raises(PreconditionFailed):
        single.put("k", b"two", if_absent=True)
    with pytest.raises(PreconditionFailed):
        single.put("k", b"two", if_match='"another"')
    newer = single.put("k", b"two", if_match=etag)
    assert single.get("k") == (b"two", newer)
    with pytest.raises(PreconditionFailed):
        single.put("gone", b"x", if_match=etag)
