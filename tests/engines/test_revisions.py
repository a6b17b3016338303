"""Revisions on a real bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.revisions import Revision, latest, record, revision, revisions
from ops_pipelines.errors import RevisionUnknown, StoreError
from ops_pipelines.policy.layout import Layout

LAYOUT = Layout("ops")


def deploy(store: S3Store, **changes: Any) -> Revision:
    facts: dict[str, Any] = {
        "stack": "chat",
        "at": "2026-11-21T12:00:00+00:00",
        "declaration": "d" * 64,
        "profile": "local",
        "target": "process",
        "artifact": [{"name": "chat.web.0", "command": ["serve", "é"]}],
        "models": {"minilm": "m" * 64},
        "aliases": {"docs": "docs_1"},
        "by": "anna",
        "note": "deploy",
    }
    return record(store, LAYOUT, **(facts | changes))


def test_numbers_count_from_one_and_all_comes_back(store: S3Store) -> None:
    assert latest(store, LAYOUT, "chat") is None
    made = [deploy(store, note=f"deploy {number}") for number in (1, 2, 3)]
    assert [one.number for one in made] == [1, 2, 3]
    assert revisions(store, LAYOUT, "chat") == tuple(reversed(made))
    assert latest(store, LAYOUT, "chat") == made[-1]
    assert revision(store, LAYOUT, "chat", 2) == made[1]
    assert deploy(store, stack="other").number == 1


def test_eight_at_once_get_eight_numbers(store: S3Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: deploy(store, note=str(number)), range(8)))
    assert sorted(one.number for one in made) == list(range(1, 9))
    assert {one.number: one.note for one in revisions(store, LAYOUT, "chat")} == {
        one.number: one.note for one in made
    }


def test_unknown_number_names_the_known_ones(store: S3Store) -> None:
    with pytest.raises(RevisionUnknown) as caught:
        revision(store, LAYOUT, "chat", 1)
    assert "none" in caught.value.remedy
    for _ in range(12):
        deploy(store)
    with pytest.raises(RevisionUnknown, match="no revision 99") as caught:
        revision(store, LAYOUT, "chat", 99)
    assert "12, 11, 10, 9, 8, 7, 6, 5, 4, 3, ..." in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"number": 1}'])
def test_a_damaged_one_is_left_out_and_said(store: S3Store, content: bytes) -> None:
    first, second = deploy(store), deploy(store)
    store.put(LAYOUT.revision("chat", 2), content)
    assert revisions(store, LAYOUT, "chat") == (first,)
    with pytest.raises(StoreError, match="damaged"):
        revision(store, LAYOUT, "chat", second.number)
    with pytest.raises(StoreError, match="damaged"):
        latest(store, LAYOUT, "chat")
    assert deploy(store).number == 3


def test_a_revision_under_another_number_is_damaged(store: S3Store) -> None:
    deploy(store)
    store.put(LAYOUT.revision("chat", 7), store.get(LAYOUT.revision("chat", 1))[0])
    with pytest.raises(StoreError, match="it says that it is revision 1"):
        revision(store, LAYOUT, "chat", 7)


def test_an_artifact_that_is_no_json_is_refused(store: S3Store) -> None:
    with pytest.raises((TypeError, ValueError)):
        deploy(store, artifact={"time": object()})
    with pytest.raises(ValueError, match="JSON compliant"):
        deploy(store, artifact=float("nan"))
    assert revisions(store, LAYOUT, "chat") == ()
