"""The right to change a stack: one object in the bucket, taken and renewed by conditional writes.

    with take_lease(store, layout, "obelisk", holder=..., purpose="backup", ttl=60, clock=now) as fence:
        fence.check()   # before every change

Whoever takes a stack's lease looks at the sweep's afterwards, and the sweep lists the stacks after it took
its own: so one of the two always sees the other, and no blob is removed while a new stack's first backup
counts on it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import structlog

from ops_pipelines.engines._lease_held import HeldLease, Seat, Standing, read_standing, seconds
from ops_pipelines.engines.ports import Clock, Fence, ObjectStore
from ops_pipelines.errors import LeaseHeld, ObjectMissing, PreconditionFailed
from ops_pipelines.policy import leases, swept
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.leases import Lease

log = structlog.get_logger()

WAIT = 30.0
"""Seconds that a taker waits for another holder."""
_PAUSE = 1.0
_LOG_EVERY = 5.0
_SKEW = 60.0


@contextmanager
def take_lease(
    store: ObjectStore,
    layout: Layout,
    stack: str,
    *,
    holder: str,
    purpose: str,
    ttl: float,
    clock: Clock,
    wait: float = WAIT,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Fence]:
    """Hold a stack's lease for the time of a `with`. It is renewed in the background every `ttl` / 3 seconds.

    `holder` and `purpose` are shown to whoever waits. Who may hold it goes by the store's clock; `clock`, the
    machine's own, is only compared with it, as snapshots are named and kept by it. Raises LeaseHeld where
    somebody else still holds it after `wait` seconds.
    """
    seat = Seat(
        store, layout.lease(stack), f"the stack `{stack}`", guard=layout.sweep, floor=layout.swept(stack)
    )
    with _held(seat, holder, purpose, ttl, wait, sleep, clock) as fence:
        yield fence


@contextmanager
def take_drill_lease(
    store: ObjectStore,
    layout: Layout,
    stack: str,
    *,
    holder: str,
    purpose: str,
    ttl: float,
    clock: Clock,
    wait: float = WAIT,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Fence]:
    """Hold the right to drill a stack for the time of a `with`: the throw-away places have fixed names, and a
    second drill, also one from another machine, would clear them away. Whoever changes the stack is not held up;
    the sweep is, as a snapshot that is pruned meanwhile is still read.

    Raises LeaseHeld where another drill still runs after `wait` seconds.
    """
    seat = Seat(store, layout.drill(stack), f"the drill of the stack `{stack}`", guard=layout.sweep)
    with _held(seat, holder, purpose, ttl, wait, sleep, clock) as fence:
        yield fence


@contextmanager
def take_sweep_lease(
    store: ObjectStore, layout: Layout, *, holder: str, purpose: str, ttl: float
) -> Iterator[tuple[Fence, Callable[[str], Sequence[Fence]]]]:
    """Hold the right to remove unused blobs for the time of a `with`.

    It gives the fence, and a function that takes one stack's lease and its drill's as well, without waiting,
    until the `with` ends. Both raise LeaseHeld at once where somebody else is there.
    """
    held: list[HeldLease] = []

    def take(stack: str) -> Sequence[Fence]:
        seats = (
            Seat(store, layout.lease(stack), f"the stack `{stack}`", floor=layout.swept(stack)),
            Seat(store, layout.drill(stack), f"the drill of the stack `{stack}`"),
        )
        for seat in seats:
            held.append(  # noqa: PERF401 - the first is to be released where the second is held
                _acquire(seat, holder, purpose, ttl, 0.0, time.sleep)
            )
        return held[-len(seats) :]

    seat = Seat(store, layout.sweep, "the sweep of the bucket")
    with _held(seat, holder, purpose, ttl, 0.0, time.sleep) as fence:
        try:
            yield fence, take
        finally:
            for one in held:
                one.release()


def read_lease(store: ObjectStore, layout: Layout, stack: str) -> tuple[Lease, bool] | None:
    """A stack's lease and whether it is free now; None where it was never taken."""
    standing = read_standing(Seat(store, layout.lease(stack), stack))
    if standing is None:
        return None
    return standing.lease, leases.may_take(standing.lease, standing.written, store.now())


@contextmanager
def _held(
    seat: Seat, holder: str, purpose: str, ttl: float, wait: float, sleep: Callable[[float], None],
    clock: Clock | None = None,
) -> Iterator[HeldLease]:  # fmt: skip
    held = _acquire(seat, holder, purpose, ttl, wait, sleep)
    if clock is not None:
        _compare_clocks(held.since, clock())
    log.info("lease taken", lease=seat.key, token=held.token, purpose=purpose)
    try:
        yield held
    finally:
        held.release()


def _acquire(
    seat: Seat, holder: str, purpose: str, ttl: float, wait: float, sleep: Callable[[float], None]
) -> HeldLease:
    waited, logged = 0.0, -_LOG_EVERY
    while True:
        found = _try(seat, holder, purpose, ttl)
        if isinstance(found, HeldLease):
            return found
        if waited >= wait:
            raise _refusal(seat, found)
        if waited - logged >= _LOG_EVERY:
            logged = waited
            log.info(
                "waiting for the lease",
                lease=seat.key,
                holder=found.lease.holder,
                purpose=found.lease.purpose,
                since=found.lease.since,
            )
        pause = min(_PAUSE, wait - waited)
        sleep(pause)
        waited += pause


def _try(seat: Seat, holder: str, purpose: str, ttl: float) -> HeldLease | Standing:
    """The lease, or whose it is."""
    while True:
        standing = read_standing(seat)
        now = seat.store.now()
        earlier = standing.lease if standing else None
        if standing and not leases.may_take(standing.lease, standing.written, now):
            return standing
        nonce = secrets.token_hex(8)
        lease = leases.taken(
            earlier, holder=holder, purpose=purpose, ttl=ttl, nonce=nonce, now=now,
            above=_floor(seat) if earlier is None else 0,
        )  # fmt: skip
        asked = seconds()
        condition = standing.etag if standing else None
        try:
            etag = seat.store.put(
                seat.key, leases.encode(lease), if_absent=standing is None, if_match=condition
            )
        except PreconditionFailed:
            continue  # another was faster: look whose it is
        held = HeldLease(seat, lease, etag, asked)
        try:
            other = _guard(seat)
        except BaseException:
            held.release()
            raise
        if other is None:
            return held
        held.release()
        return other


def _floor(seat: Seat) -> int:
    """The highest token that somebody went by, where the lease itself is not there to say it."""
    if seat.floor is None:
        return 0
    try:
        return swept.decode(seat.store.get(seat.floor)[0], where=seat.floor).token
    except ObjectMissing:
        return 0


def _guard(seat: Seat) -> Standing | None:
    """The lease that must be free too, where it is held."""
    if seat.guard is None:
        return None
    standing = read_standing(Seat(seat.store, seat.guard, seat.guard))
    if standing is None or leases.may_take(standing.lease, standing.written, seat.store.now()):
        return None
    return standing


def _refusal(seat: Seat, standing: Standing) -> LeaseHeld:
    lease = standing.lease
    free = leases.free_at(lease, standing.written)
    return LeaseHeld(
        f"{seat.name} is being changed by {lease.holder}: {lease.purpose}, since {lease.since}, "
        f"held until {lease.expires} and renewed while it works",
        remedy=f"wait until it is done; if {lease.holder} is gone, the lease is free after "
        f"{free:%Y-%m-%d %H:%M:%S} UTC",
    )


def _compare_clocks(stores: datetime, ours: datetime) -> None:
    skew = (ours - stores).total_seconds()
    if abs(skew) > _SKEW:
        log.warning("this machine's clock differs from the store's: set it", seconds=round(skew))
