"""Leases: who may change a stack, decided by the store's clock alone.

A lease holds for `ttl` seconds from when its object was last written. Its holder counts them from before
it sent the write, on a clock of its own that only has to run evenly; a taker adds an allowance to when the
store says that it was written. So the holder stops before the taker starts, whatever their clocks say (C.
Gray and D. Cheriton, "Leases", SOSP 1989).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from ops_pipelines.errors import StoreError


@dataclass(frozen=True)
class Lease:
    """One lease as it stands in the bucket."""

    token: int
    """Grows by 1 with each take, and never repeats."""
    holder: str
    """Who it is, in words that tell a colleague where to look: user, host, process."""
    purpose: str
    since: str
    """When it was taken (ISO 8601, the store's clock)."""
    expires: str
    """When it runs out unless renewed (ISO 8601, the store's clock): for people, decisions use `ttl`."""
    ttl: float
    """Seconds that it holds after each write."""
    nonce: str
    """Random text of this take: by it a holder knows its own writes."""
    released: bool = False


def encode(lease: Lease) -> bytes:
    """The lease as JSON."""
    return json.dumps(asdict(lease), sort_keys=True, indent=1).encode()


def decode(content: bytes, *, where: str) -> Lease:
    """The lease that `content` holds. Raises StoreError where it is none: that is not a free lease."""
    try:
        raw = json.loads(content)
        lease = Lease(**raw)
        datetime.fromisoformat(lease.since), datetime.fromisoformat(lease.expires)
        if lease.token < 1 or lease.ttl <= 0:
            raise ValueError("its token or ttl is not positive")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the lease {where} is not readable ({error})",
            remedy=f"make sure that nobody works on the stack, then delete {where}",
        ) from error
    return lease


def allowance(ttl: float) -> float:
    """Seconds that a taker waits beyond a lease's end: store times are whole seconds, requests travel."""
    return max(2.0, ttl / 10)


def free_at(lease: Lease, written: datetime) -> datetime:
    """When somebody else may take a lease that the store says was written at `written`."""
    if lease.released:
        return written
    return written + timedelta(seconds=lease.ttl + allowance(lease.ttl))


def may_take(lease: Lease | None, written: datetime | None, now: datetime) -> bool:
    """Whether a lease is free. `written` and `now` are the store's times; None where there is no lease."""
    if lease is None or written is None:
        return True
    return lease.released or now > free_at(lease, written)


def taken(
    earlier: Lease | None, *, holder: str, purpose: str, ttl: float, nonce: str, now: datetime, above: int = 0
) -> Lease:
    """The lease that a taker writes over `earlier`; without one, its token is the next `above`."""
    return Lease(
        token=1 + (above if earlier is None else earlier.token),
        holder=holder,
        purpose=purpose,
        since=_text(now),
        expires=_text(now + timedelta(seconds=ttl)),
        ttl=ttl,
        nonce=nonce,
    )


def renewed(lease: Lease, elapsed: float) -> Lease:
    """The lease that its holder writes `elapsed` seconds after the take."""
    end = datetime.fromisoformat(lease.since) + timedelta(seconds=elapsed + lease.ttl)
    return replace(lease, expires=_text(end))


def released(lease: Lease, elapsed: float) -> Lease:
    """The lease that its holder leaves behind; it keeps the token, so that the next one is higher."""
    end = datetime.fromisoformat(lease.since) + timedelta(seconds=elapsed)
    return replace(lease, expires=_text(end), released=True)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
