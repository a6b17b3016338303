"""The lease on a real SeaweedFS: races, dead holders, stale holders, a store that is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.lease import read_lease, take_lease, take_sweep_lease
from ops_pipelines.engines.ports import Fence
from ops_pipelines.errors import LeaseHeld, LeaseLost, PreconditionFailed, StoreError
from ops_pipelines.policy import leases
from ops_pipelines.policy.layout import Layout
from tests.servers.seaweed import OwnSeaweed, Seaweed
from tests.waiting import until

LAYOUT = Layout()
KEY = LAYOUT.lease("chat")


def now() -> datetime:
    return datetime.now(UTC)


def lease(
    store: S3Store,
    who: str = "anna",
    *,
    ttl: float = 60.0,
    wait: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> AbstractContextManager[Fence]:
    return take_lease(
        store, LAYOUT, "chat", holder=who, purpose="backup", ttl=ttl, clock=now, wait=wait, sleep=sleep
    )


def is_lost(fence: Fence) -> bool:
    try:
        fence.check()
    except LeaseLost:
        return True
    return False


def test_tokens_grow_and_the_object_stays(store: S3Store) -> None:
    for token in (1, 2, 3):
        with lease(store) as fence:
            fence.check()
            assert fence.token == token
            found = read_lease(store, LAYOUT, "chat")
            assert found is not None
            assert (found[0].holder, found[0].purpose, found[1]) == ("anna", "backup", False)
        found = read_lease(store, LAYOUT, "chat")
        assert found is not None
        assert (found[0].token, found[0].released, found[1]) == (token, True, True)


def test_it_is_released_when_the_work_fails(store: S3Store) -> None:
    with pytest.raises(ZeroDivisionError), lease(store):
        raise ZeroDivisionError
    with lease(store, "bert"):
        pass


def test_a_second_taker_hears_who_holds_it(store: S3Store) -> None:
    with lease(store, "anna@north (process 7)"):
        with pytest.raises(LeaseHeld) as caught, lease(store, "bert"):
            pass
    assert (
        "the stack `chat` is being changed by anna@north (process 7): backup, since 20"
        in caught.value.message
    )
    assert "free after 20" in caught.value.remedy


def test_a_taker_waits_and_says_for_whom(store: S3Store) -> None:
    holding = lease(store, "anna")
    holding.__enter__()
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 12:
            holding.__exit__(None, None, None)

    with capture_logs() as logs, lease(store, "bert", wait=30.0, sleep=sleep) as fence:
        assert fence.token == 2
    waiting = [entry for entry in logs if entry["event"] == "waiting for the lease"]
    assert len(naps) == 12
    assert [entry["holder"] for entry in waiting] == ["anna"] * 3


def test_another_stack_is_free(store: S3Store) -> None:
    with (
        lease(store),
        take_lease(store, LAYOUT, "other", holder="b", purpose="p", ttl=60, clock=now, wait=0) as fence,
    ):
        assert fence.token == 1


def test_eight_at_once_never_hold_it_together(store: S3Store) -> None:
    inside, most, tokens = 0, 0, []
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal inside, most
        with lease(store, f"worker {number}", wait=600.0, sleep=lambda _: time.sleep(0.05)) as fence:
            with lock:
                inside += 1
                most = max(most, inside)
                tokens.append(fence.token)
            fence.check()
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert most == 1
    assert tokens == list(range(1, 9))


def test_it_is_renewed_while_it_is_held(store: S3Store) -> None:
    with lease(store, ttl=1.5) as fence:
        etags: set[str] = set()

        def renewed_thrice() -> bool:
            fence.check()
            etags.add(store.get(KEY)[1])
            return len(etags) > 3

        until(renewed_thrice)
        with pytest.raises(LeaseHeld), lease(store, "bert"):
            pass


def rewrite(store: S3Store, change: Callable[[leases.Lease], leases.Lease]) -> str:
    """Write over the lease that stands, between two renewals, and give the ETag."""
    while True:
        content, etag = store.get(KEY)
        with suppress(PreconditionFailed):
            return store.put(KEY, leases.encode(change(leases.decode(content, where=KEY))), if_match=etag)


def steal(store: S3Store) -> None:
    """Write somebody else's lease over the one that stands, as a taker would."""
    rewrite(store, lambda found: replace(found, token=found.token + 1, holder="thief", nonce="other"))


def test_a_holder_whose_lease_was_taken_is_told(store: S3Store) -> None:
    with lease(store, ttl=3.0) as fence:
        fence.check()
        steal(store)
        until(lambda: is_lost(fence))
        with pytest.raises(LeaseLost, match="thief took it over"):
            fence.check()
    standing = leases.decode(store.get(KEY)[0], where=KEY)
    assert (standing.holder, standing.released) == ("thief", False)


def test_a_holder_whose_lease_was_deleted_is_told(store: S3Store) -> None:
    with lease(store, ttl=3.0) as fence:
        store.delete([KEY])
        until(lambda: is_lost(fence))
        with pytest.raises(LeaseLost, match="deleted"):
            fence.check()
    assert store.head(KEY) is None


def test_a_renewal_whose_answer_was_lost_is_not_a_loss(store: S3Store) -> None:
    """The bucket holds a write of ours that we never heard of: the same holder goes on."""
    with lease(store, ttl=3.0) as fence:
        newer = rewrite(store, lambda found: leases.renewed(found, 1.0))
        until(lambda: store.get(KEY)[1] != newer)
        fence.check()


@pytest.mark.parametrize("content", [b"", b"{", b"{}"])
def test_an_unreadable_lease_is_held_by_nobody_and_free_to_nobody(store: S3Store, content: bytes) -> None:
    store.put(KEY, content)
    with pytest.raises(StoreError, match="not readable"), lease(store):
        pass


def test_a_store_that_is_gone_ends_the_right_to_change(own_seaweed: OwnSeaweed) -> None:
    store = own_seaweed.at.store("leases", read_timeout=2.0, connect_timeout=1.0)
    store.ensure_bucket()
    with lease(store, ttl=3.0) as fence:
        own_seaweed.kill()
        fence.check()
        until(lambda: is_lost(fence))
        with pytest.raises(LeaseLost, match="could not be renewed within 3 s"):
            fence.check()


@contextmanager
def holder_process(seaweed: Seaweed, bucket: str, ttl: float) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease of `chat`."""
    program = Path(__file__).with_name("hold_lease.py")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [
            sys.executable,
            program,
            seaweed.endpoint,
            bucket,
            seaweed.access_key,
            seaweed.secret_key,
            "chat",
            str(ttl),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={"PYTHONPATH": str(root)},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return answer(process)


def answer(process: subprocess.Popen[str]) -> str:
    """The next word that the process says; its log lines are passed over."""
    assert process.stdout is not None
    for line in process.stdout:
        if (word := line.strip()) in ("good", "lost") or word.isdigit():
            return word
    raise AssertionError("the process ended")


def test_a_killed_holder_is_followed_after_its_time(seaweed: Seaweed, bucket: str, store: S3Store) -> None:
    with holder_process(seaweed, bucket, 2.0) as process:
        assert answer(process) == "1"
        assert ask(process) == "good"
        process.kill()
        process.wait()
        with pytest.raises(LeaseHeld, match="the subprocess"), lease(store):
            pass
        with lease(store, wait=60.0) as fence:
            assert fence.token == 2


def test_a_holder_that_slept_is_told_when_it_wakes(seaweed: Seaweed, bucket: str, store: S3Store) -> None:
    with holder_process(seaweed, bucket, 2.0) as process:
        assert answer(process) == "1"
        process.send_signal(signal.SIGSTOP)
        with lease(store, wait=60.0) as fence:
            assert fence.token == 2
            process.send_signal(signal.SIGCONT)
            assert ask(process) == "lost"
            fence.check()
        standing = json.loads(store.get(KEY)[0])
        assert (standing["token"], standing["holder"]) == (2, "anna")


def test_the_sweep_and_a_stack_exclude_each_other(store: S3Store) -> None:
    with take_sweep_lease(store, LAYOUT, holder="sweeper", purpose="sweep", ttl=60.0) as (fence, take):
        fence.check()
        with pytest.raises(LeaseHeld, match="sweeper: sweep"), lease(store, "new stack"):
            pass
        assert [one.token for one in take("chat")] == [2, 1]
    with lease(store) as after:
        assert after.token == 3
        with (
            take_sweep_lease(store, LAYOUT, holder="sweeper", purpose="sweep", ttl=60.0) as (_, take),
            pytest.raises(LeaseHeld, match="anna"),
        ):
            take("chat")
        after.check()


def test_clocks_that_differ_are_reported(store: S3Store) -> None:
    wrong = datetime(2020, 1, 1, tzinfo=UTC)
    with (
        capture_logs() as logs,
        take_lease(store, LAYOUT, "chat", holder="a", purpose="p", ttl=60, clock=lambda: wrong) as fence,
    ):
        fence.check()
    assert any("clock differs" in entry["event"] for entry in logs)
