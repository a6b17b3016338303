"""Backups, prunes, sweeps, crashes and restores of two stacks in any order: every listed snapshot restores.

The two stacks share one bucket and most of their content. A crash is a kill at any request to the store, which was
done or not; a sleeper stops inside a backup at any request, and wakes after others have taken its lease over. After
every step, each snapshot that is listed holds what was backed up, bit for bit, and what must stay is there.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ops_pipelines.engines import _lease_held, lease, snapshots
from ops_pipelines.engines.attempts import attempt
from ops_pipelines.engines.backup import take_snapshot
from ops_pipelines.engines.lease import take_lease
from ops_pipelines.engines.ports import Fence, ObjectStore
from ops_pipelines.engines.prune import prune
from ops_pipelines.engines.restore import restore
from ops_pipelines.engines.sweep import sweep
from ops_pipelines.engines.verify import verify_snapshot
from ops_pipelines.errors import LeaseHeld, OpsError
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.plan import failed
from ops_pipelines.stack.operations import Keep
from tests.engines.folders import FolderSource, FolderTarget, contents, live_folder, write_files
from tests.engines.memory_store import Dying, Killed, MemoryStore

LAYOUT = Layout("ops")
STACKS = ("one", "two")
TTL = 60.0
CONTENTS = [f"content {number}".encode() for number in range(4)]
KEEPS = [Keep(days=0, last=1), Keep(days=1, last=1), Keep(days=0, last=2, daily=2)]

stacks = st.sampled_from(STACKS)
steps = st.integers(1, 45)
"""Requests of a backup of this size, and some more."""


@dataclass
class Sleeper:
    """A backup in a thread of its own that has stopped at a request."""

    stack: str
    wake: threading.Event
    thread: threading.Thread
    taken: list[Manifest] = field(default_factory=list)


class Histories(RuleBasedStateMachine):
    """The bucket, the stacks' folders, and what every snapshot must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="histories-"))
        self.store = MemoryStore()
        self.patch = pytest.MonkeyPatch()
        for module in (_lease_held, lease):
            self.patch.setattr(module, "seconds", self.seconds)
        # Time passes as the test says: nothing is renewed while a process works, nor after it was killed.
        self.patch.setattr(_lease_held.HeldLease, "_renew_for_ever", lambda _: None)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.expected: dict[tuple[str, str], dict[str, bytes]] = {}
        self.begun: dict[str, list[dict[str, bytes]]] = {name: [] for name in STACKS}
        self.sleeper: Sleeper | None = None
        self.numbers = random.Random(7)
        for name in STACKS:
            write_files(self.base / name / "files", {"a": CONTENTS[0], "b": CONTENTS[1]})
            live_folder(self.base / name / "target", {"old": b"old"})

    def teardown(self) -> None:
        """A sleeper is woken, and everything that is listed is really restored."""
        if self.sleeper is not None:
            self.wakes()
        self.store.move(timedelta(hours=1))
        self.every_listed_snapshot_holds_what_was_backed_up()
        for name, snapshot in self.listed():
            self.put_back(self.store, name, snapshot)
            live = contents(self.base / name / "target" / "live")
            assert live == self.expected[name, snapshot]
        self.patch.undo()
        structlog.reset_defaults()
        shutil.rmtree(self.base)

    # --- what processes do ---

    def now(self) -> datetime:
        return self.store.clock

    def seconds(self) -> float:
        return self.store.clock.timestamp()

    @contextmanager
    def lease(self, store: ObjectStore, stack: str) -> Iterator[Fence]:
        with take_lease(
            store, LAYOUT, stack, holder="somebody", purpose="test", ttl=TTL, clock=self.now, wait=0.0
        ) as fence:
            yield fence

    def back_up(self, store: ObjectStore, stack: str, scratch: str = "scratch") -> Manifest:
        """As wiring.snapshots does: attempt, snapshot, verification, mark."""
        self.begun[stack].append(contents(self.base / stack / "files"))
        with (
            self.lease(store, stack) as fence,
            attempt(store, LAYOUT, stack, fence=fence, clock=self.now, by="test"),
        ):
            manifest = take_snapshot(
                stack,
                [FolderSource("files", self.base / stack / "files")],
                store=store,
                layout=LAYOUT,
                fence=fence,
                clock=self.now,
                scratch=self.base / stack / scratch,
                suffix=lambda: f"{self.numbers.randrange(1 << 24):06x}",
                parallel=1,
            )
        if not failed(verify_snapshot(manifest, store=store, layout=LAYOUT, depth="sizes")):
            snapshots.mark(store, LAYOUT, stack, manifest.snapshot, "verified", {})
        return manifest

    def prune(self, store: ObjectStore, stack: str, keep: Keep) -> None:
        with self.lease(store, stack) as fence:
            prune(store, LAYOUT, stack, keep, fence=fence)

    def sweep(self, store: ObjectStore) -> None:
        sweep(store, LAYOUT, holder="sweeper", ttl=TTL)

    def put_back(self, store: ObjectStore, stack: str, snapshot: str) -> None:
        with self.lease(store, stack) as fence:
            restore(
                snapshots.load_manifest(store, LAYOUT, stack, snapshot),
                {"volume/files": FolderTarget("files", self.base / stack / "target")},
                store=store,
                layout=LAYOUT,
                fence=fence,
                state=self.base / stack / "state",
                clock=self.now,
            )

    def dies(self, at: int, done: bool, work: Callable[[ObjectStore], Any]) -> None:
        """`work` by a process that is killed at its `at`-th request, or comes to its end before, and an hour later."""
        with suppress(Killed, LeaseHeld):
            work(Dying(self.store, at, done))
        self.store.move(timedelta(hours=1))

    # --- what is there ---

    def listed(self) -> list[tuple[str, str]]:
        return [
            (name, one.id)
            for name in STACKS
            for one in snapshots.list_snapshots(self.store, LAYOUT, name)
            if one.complete
        ]

    def manifest(self, stack: str, snapshot: str) -> Manifest:
        return snapshots.load_manifest(self.store, LAYOUT, stack, snapshot)

    # --- rules ---

    @rule(stack=stacks, path=st.sampled_from("abc"), content=st.sampled_from([*CONTENTS, None]))
    def files_change(self, stack: str, path: str, content: bytes | None) -> None:
        if self.sleeper is not None and self.sleeper.stack == stack:
            return  # what it had read is what its snapshot must hold
        file = self.base / stack / "files" / path
        if content is not None:
            file.write_bytes(content)
        elif len(list(file.parent.iterdir())) > 1:
            file.unlink(missing_ok=True)

    @rule(hours=st.sampled_from([0.01, 1, 13, 25, 49]))
    def time_passes(self, hours: float) -> None:
        self.store.move(timedelta(hours=hours))

    @rule(stack=stacks)
    def backs_up(self, stack: str) -> None:
        with suppress(LeaseHeld):
            manifest = self.back_up(self.store, stack)
            assert (stack, manifest.snapshot) in self.listed()
        self.store.move(timedelta(seconds=1))

    @rule(stack=stacks, at=steps, done=st.booleans())
    def dies_in_a_backup(self, stack: str, at: int, done: bool) -> None:
        self.dies(at, done, lambda store: self.back_up(store, stack))

    @rule(stack=stacks, keep=st.sampled_from(KEEPS))
    def prunes(self, stack: str, keep: Keep) -> None:
        with suppress(LeaseHeld):
            self.prune(self.store, stack, keep)
        self.store.move(timedelta(seconds=1))

    @rule(stack=stacks, keep=st.sampled_from(KEEPS), at=steps, done=st.booleans())
    def dies_in_a_prune(self, stack: str, keep: Keep, at: int, done: bool) -> None:
        self.dies(at, done, lambda store: self.prune(store, stack, keep))

    @rule()
    def sweeps(self) -> None:
        self.sweep(self.store)
        self.store.move(timedelta(seconds=1))

    @rule(at=steps, done=st.booleans())
    def dies_in_a_sweep(self, at: int, done: bool) -> None:
        self.dies(at, done, self.sweep)

    @rule(data=st.data(), at=steps, done=st.booleans())
    def dies_in_a_restore(self, data: st.DataObject, at: int, done: bool) -> None:
        if found := self.listed():
            stack, snapshot = data.draw(st.sampled_from(found))
            self.dies(at, done, lambda store: self.put_back(store, stack, snapshot))

    @rule(data=st.data(), kind=st.sampled_from(["pinned", "drilled", "failed"]))
    def is_marked(self, data: st.DataObject, kind: str) -> None:
        if found := self.listed():
            stack, snapshot = data.draw(st.sampled_from(found))
            snapshots.mark(self.store, LAYOUT, stack, snapshot, kind, {})
        self.store.move(timedelta(seconds=1))

    @precondition(lambda self: self.sleeper is None)
    @rule(stack=stacks, at=steps, killed=st.booleans())
    def falls_asleep_in_a_backup(self, stack: str, at: int, killed: bool = False) -> None:
        """With `killed`, the request that it wakes with is its last."""
        asleep, wake = threading.Event(), threading.Event()

        def meet() -> None:
            asleep.set()
            wake.wait(60)

        store = Dying(self.store, at, meet=meet, once=killed)
        sleeper = Sleeper(stack, wake, threading.Thread(target=lambda: None))

        def work() -> None:
            with suppress(OpsError, Killed):
                sleeper.taken.append(self.back_up(store, stack, "scratch-of-the-sleeper"))
            asleep.set()

        sleeper.thread = threading.Thread(target=work, daemon=True)
        sleeper.thread.start()
        asleep.wait(60)
        self.sleeper = sleeper

    @precondition(lambda self: self.sleeper is not None)
    @rule()
    def wakes(self) -> None:
        assert self.sleeper is not None
        self.sleeper.wake.set()
        self.sleeper.thread.join(60)
        assert not self.sleeper.thread.is_alive()
        self.sleeper = None
        self.store.move(timedelta(seconds=1))

    # --- what always holds ---

    @invariant()
    def every_listed_snapshot_holds_what_was_backed_up(self) -> None:
        for stack, snapshot in self.listed():
            manifest = self.manifest(stack, snapshot)
            assert not failed(
                verify_snapshot(manifest, store=self.store, layout=LAYOUT, depth="checksums")
            ), f"{snapshot} of {stack} is not whole"
            held = {
                entry.path: self.store.get(LAYOUT.blob(entry.sha256))[0]
                for part in manifest.parts
                for entry in part.files
            }
            known = self.expected.setdefault((stack, snapshot), held)
            assert held == known, f"{snapshot} of {stack} holds something else than it did"
            assert held in self.begun[stack], f"{snapshot} of {stack} holds what {stack} never held"

    @invariant()
    def what_must_stay_is_there(self) -> None:
        """Nothing removes a pinned snapshot, nor the last that was verified."""
        there = set(self.listed())
        for stack in STACKS:
            mine = [
                one for one in snapshots.list_snapshots(self.store, LAYOUT, stack) if "pinned" in one.marks
            ]
            assert all((stack, one.id) in there for one in mine)
            if any(name == stack for name, _ in self.expected):
                assert any(name == stack for name, _ in there), f"nothing is left of {stack}"


Histories.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_histories = pytest.mark.slow(Histories.TestCase)


@pytest.fixture
def world() -> Iterator[Histories]:
    made = Histories()
    yield made
    made.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("work", ["prune", "sweep", "backup", "put back"])
def test_killed_at_any_request(world: Histories, work: str) -> None:
    """The request that it is killed at was done, or not; afterwards the same again comes to its end."""
    killed = 0
    for at in range(1, 80):
        for done in (False, True):
            for content in (b"old %d %d" % (at, done), b"new %d %d" % (at, done)):
                (world.base / "one" / "files" / "a").write_bytes(content)
                newest = world.back_up(world.store, "one").snapshot
                world.store.move(timedelta(days=2))
            act: Mapping[str, Callable[[ObjectStore], Any]] = {
                "prune": lambda store: world.prune(store, "one", KEEPS[0]),
                "sweep": world.sweep,
                "backup": lambda store: world.back_up(store, "one"),
                "put back": lambda store, chosen=newest: world.put_back(store, "one", chosen),
            }
            if work == "sweep":
                world.prune(world.store, "one", KEEPS[0])
            dying = Dying(world.store, at, done)
            with suppress(Killed):
                act[work](dying)
            killed += dying.dead
            world.store.move(timedelta(hours=1))
            world.every_listed_snapshot_holds_what_was_backed_up()
            world.what_must_stay_is_there()
            act[work](world.store)
            world.every_listed_snapshot_holds_what_was_backed_up()
        if not dying.dead:
            break
    else:
        pytest.fail("it never came to its end")
    assert killed > 12


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "killed as it wakes"])
@pytest.mark.parametrize("asleep", [timedelta(0), timedelta(days=2)], ids=["within its lease", "beyond it"])
def test_a_backup_asleep_at_any_request_never_lists_what_was_swept(
    world: Histories, asleep: timedelta, killed: bool
) -> None:
    """It counts on blobs that nothing refers to any more; while it sleeps, somebody sweeps."""
    slept = 0
    for at in range(1, 60):
        files = world.base / "one" / "files"
        (files / "a").write_bytes(b"kept by nothing %d" % at)
        first = world.back_up(world.store, "one")
        world.store.delete([LAYOUT.manifest("one", first.snapshot)])
        world.store.move(timedelta(days=2))
        world.falls_asleep_in_a_backup("one", at, killed)
        assert world.sleeper is not None
        if not world.sleeper.thread.is_alive():
            break
        slept += 1
        world.store.move(asleep)
        world.sweep(world.store)
        world.wakes()
        world.every_listed_snapshot_holds_what_was_backed_up()
        world.store.move(timedelta(days=2))
        again = world.back_up(world.store, "one")
        assert ("one", again.snapshot) in world.listed()
    else:
        pytest.fail("no backup came to its end")
    assert slept > 12
