"""A lease that this process holds, renewed by a thread of its own until it is released or lost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime

import structlog

from ops_pipelines.engines.ports import ObjectStore
from ops_pipelines.errors import LeaseLost, ObjectMissing, OpsError, PreconditionFailed
from ops_pipelines.policy import leases
from ops_pipelines.policy.leases import Lease

log = structlog.get_logger()

_JOIN = 5.0


@dataclass(frozen=True)
class Seat:
    """What can be held: an object of a store, and its name for people."""

    store: ObjectStore
    key: str
    name: str
    guard: str | None = None
    """Key of another lease that must be free too."""
    floor: str | None = None
    """Key of what the latest sweep said (`policy.swept`): where somebody deleted the lease, tokens go on from there."""


@dataclass(frozen=True)
class Standing:
    """A lease as it was found."""

    lease: Lease
    etag: str
    written: datetime
    """By the store's clock."""


class HeldLease:
    """A lease that this process holds; its thread renews it until `release`."""

    def __init__(self, seat: Seat, lease: Lease, etag: str, asked: float) -> None:
        self._seat = seat
        self._lease = lease
        self._etag = etag
        self._taken = asked
        self._good_until = asked + lease.ttl
        self._lost = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name=f"lease {seat.key}", daemon=True)
        self._thread.start()

    @property
    def token(self) -> int:
        """Grows with each holder of the lease."""
        return self._lease.token

    @property
    def since(self) -> datetime:
        """When it was taken, by the store's clock."""
        return datetime.fromisoformat(self._lease.since)

    def check(self) -> None:
        """Raises LeaseLost where the lease was taken over, or could not be renewed in time."""
        if self._lost:
            why = self._lost
        elif seconds() >= self._good_until:
            why = f"it could not be renewed within {self._lease.ttl:g} s"
        else:
            return
        raise LeaseLost(
            f"the lease of {self._seat.name} is no longer ours: {why}; nothing more is changed",
            remedy="look at what the other holder did and whether the object store answers, then start again",
        )

    def release(self) -> None:
        """Stop renewing and leave the lease free for the next. Never raises: it runs out by itself."""
        self._stop.set()
        self._thread.join(_JOIN)
        if self._lost or self._thread.is_alive():
            return
        try:
            last = leases.released(self._lease, seconds() - self._taken)
            self._seat.store.put(self._seat.key, leases.encode(last), if_match=self._etag)
        except OpsError as error:
            log.warning("lease not released", lease=self._seat.key, token=self.token, problem=error.message)

    def _renew_for_ever(self) -> None:
        pause = self._lease.ttl / 3
        while not self._lost and not self._stop.wait(pause):
            try:
                self._renew()
                pause = self._lease.ttl / 3
            except LeaseLost as error:
                self._lost = error.message
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do; check() has the say
                log.warning("lease not renewed", lease=self._seat.key, token=self.token, problem=str(error))
                pause = self._lease.ttl / 10
        if self._lost:
            log.error("lease lost", lease=self._seat.key, token=self.token, problem=self._lost)

    def _renew(self) -> None:
        asked = seconds()
        body = leases.encode(leases.renewed(self._lease, asked - self._taken))
        try:
            self._etag = self._seat.store.put(self._seat.key, body, if_match=self._etag)
        except PreconditionFailed:
            # Either somebody else wrote, or an earlier write of ours was done and its answer lost.
            self._etag = self._own_etag()
            asked = seconds()
            self._etag = self._seat.store.put(self._seat.key, body, if_match=self._etag)
        self._good_until = asked + self._lease.ttl

    def _own_etag(self) -> str:
        try:
            content, etag = self._seat.store.get(self._seat.key)
        except ObjectMissing:
            raise LeaseLost(f"{self._seat.key} was deleted", remedy="") from None
        found = leases.decode(content, where=self._seat.key)
        if found.nonce != self._lease.nonce:
            raise LeaseLost(f"{found.holder} took it over at {found.since} ({found.purpose})", remedy="")
        return etag


def read_standing(seat: Seat) -> Standing | None:
    """The lease as it stands, with the time at which the store says it was written."""
    try:
        content, info = seat.store.look(seat.key)
    except ObjectMissing:
        return None
    return Standing(leases.decode(content, where=seat.key), info.etag, info.modified)


def seconds() -> float:
    """A clock that runs evenly and also while the machine is suspended, unlike time.monotonic on Linux."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
