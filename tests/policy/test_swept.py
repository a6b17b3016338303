"""Which manifests are late: each row flips one fact."""

from __future__ import annotations

import pytest

from ops_pipelines.errors import StoreError
from ops_pipelines.policy.swept import Swept, decode, encode

SWEPT = Swept(5, frozenset({"found"}))


@pytest.mark.parametrize(
    ("snapshot", "fence", "late"),
    [
        ("found", 4, False),
        ("other", 4, True),
        ("other", 5, False),
        ("other", 6, False),
        ("found", 0, False),
        ("other", 0, True),
    ],
)
def test_late(snapshot: str, fence: int, late: bool) -> None:
    assert SWEPT.late(snapshot, fence) == late


def test_round_trip() -> None:
    assert decode(encode(5, ["found"]), where="k") == SWEPT


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"token": 5}', b'{"token": "5", "snapshots": []}',
        b'{"token": 5, "snapshots": [1]}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_not_no_sweep(content: bytes) -> None:
    with pytest.raises(StoreError, match="swept"):
        decode(content, where="stacks/a/snapshots/swept.json")
