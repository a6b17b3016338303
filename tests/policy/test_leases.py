"""Who may take a lease: each row flips one fact."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops_pipelines.errors import StoreError
from ops_pipelines.policy.leases import (
    Lease,
    allowance,
    decode,
    encode,
    free_at,
    may_take,
    released,
    renewed,
    taken,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEASE = taken(None, holder="anna@host", purpose="backup", ttl=60.0, nonce="n", now=NOW)
END = NOW + timedelta(seconds=66)


@pytest.mark.parametrize(
    ("lease", "written", "now", "free"),
    [
        (None, None, NOW, True),
        (LEASE, NOW, NOW, False),
        (LEASE, NOW, NOW + timedelta(seconds=61), False),
        (LEASE, NOW, END, False),
        (LEASE, NOW, END + timedelta(seconds=1), True),
        (LEASE, NOW + timedelta(seconds=30), END + timedelta(seconds=1), False),
        (LEASE, NOW, NOW - timedelta(days=1), False),
        (replace(LEASE, ttl=600.0), NOW, END + timedelta(seconds=1), False),
        (replace(LEASE, expires="2000-01-01T00:00:00+00:00"), NOW, NOW, False),
        (replace(LEASE, released=True), NOW, NOW, True),
    ],
    ids=[
        "never taken", "just taken", "ended, within the allowance", "at the allowance's end", "beyond it",
        "renewed meanwhile", "store's clock went back", "longer ttl", "expires is for people only", "released",
    ],
)  # fmt: skip
def test_may_take(lease: Lease | None, written: datetime | None, now: datetime, free: bool) -> None:
    assert may_take(lease, written, now) is free


@pytest.mark.parametrize(("ttl", "seconds"), [(2, 2.0), (20, 2.0), (60, 6.0), (600, 60.0)])
def test_allowance_is_at_least_two_seconds_and_a_tenth(ttl: float, seconds: float) -> None:
    assert allowance(ttl) == seconds
    assert free_at(replace(LEASE, ttl=ttl), NOW) == NOW + timedelta(seconds=ttl + seconds)


def test_tokens_grow_through_take_renew_and_release() -> None:
    first = LEASE
    assert first.token == 1
    assert renewed(first, 20.0).token == 1
    last = released(renewed(first, 20.0), 25.0)
    assert (last.token, last.released, last.expires) == (1, True, "2026-11-21T12:00:25.000+00:00")
    second = taken(last, holder="b", purpose="drill", ttl=30.0, nonce="m", now=NOW)
    assert (second.token, second.released, second.holder) == (2, False, "b")


def test_renewing_moves_the_end_and_changes_the_bytes() -> None:
    later = renewed(LEASE, 20.0)
    assert later.expires == "2026-11-21T12:01:20.000+00:00"
    assert encode(later) != encode(LEASE)


def test_round_trip() -> None:
    assert decode(encode(LEASE), where="k") == LEASE


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"token": 1}',
        encode(LEASE).replace(b'"token": 1', b'"token": 0'),
        encode(LEASE).replace(b'"ttl": 60.0', b'"ttl": -1'),
        encode(LEASE).replace(b'"ttl": 60.0', b'"ttl": "long"'),
        encode(LEASE).replace(b'"since": "2026', b'"since": "someday'),
        encode(LEASE).replace(b'"nonce"', b'"other"'),
    ],
)  # fmt: skip
def test_an_unreadable_lease_is_not_a_free_one(content: bytes) -> None:
    with pytest.raises(StoreError, match=r"stacks/a/lease\.json"):
        decode(content, where="stacks/a/lease.json")
