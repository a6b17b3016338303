"""Hooks: what began is ended, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.backup import take_snapshot
from ops_pipelines.engines.hooks import HookKeeper
from ops_pipelines.engines.ports import Capture, Progress
from ops_pipelines.errors import CommandFailed, PartFailed
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.stack.safeguards import Hook, Hooks
from tests.engines.folders import FolderSource, HeldFence, now, write_files
from tests.engines.killed import Fuse, FusedStore, run_killed
from tests.servers.seaweed import Seaweed


class LiveFolder(FolderSource):
    """Files that are read while others may write them."""

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        if not self.root.exists():
            raise PartFailed(f"{self.root} is not there", remedy="")
        return replace(super().capture(scratch, progress), consistency="fuzzy")


def hook(name: str, **facts: object) -> Hook:
    return Hook(name=name, command=["true"], **facts)  # type: ignore[arg-type]


STOP = Hooks(before=[hook("stop", quiesces=True)], after=[hook("start")])
EARLIER = Hooks(before=[hook("announce")], after=[hook("first"), hook("second")])


@dataclass
class Runs:
    """Notes what ran in a file, so that a killed process tells too; some hooks fail."""

    path: Path
    bad: tuple[str, ...] = ()
    tick: Callable[[], None] = lambda: None
    seen: list[str] = field(default_factory=list)

    def __call__(self, one: Hook) -> None:
        self.tick()
        with self.path.open("a") as file:
            file.write(f"{one.label}\n")
        self.tick()
        if one.label in self.bad:
            raise CommandFailed(f"`{one.label}` ended with status 1", remedy="mend it", output="why")

    @property
    def all(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []


def keeper(folder: Path, hooks: dict[str, Hooks], *bad: str) -> tuple[HookKeeper, Runs]:
    runs = Runs(folder / "ran", bad)
    return HookKeeper("demo", folder / "state", hooks, runs, now), runs


def back_up(
    store: S3Store | FusedStore, folder: Path, keep: HookKeeper, fuse: Fuse | None = None
) -> Manifest:
    tick = (fuse or Fuse(0)).tick
    with keep.session():
        return take_snapshot(
            "demo",
            [LiveFolder("one", folder / "one"), LiveFolder("two", folder / "two")],
            store=store,
            layout=Layout("ops"),
            fence=HeldFence(tick=tick),
            clock=now,
            scratch=folder / "scratch",
            progress=lambda *_: tick(),
            hold=keep.hold,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path / "one", {"a": b"alpha"})
    write_files(tmp_path / "two", {"b": b"beta"})
    return tmp_path


def key(folder: Path, name: str) -> str:
    return f"{FolderSource(name, folder / name).kind}/{name}"


def test_a_part_is_held_still_until_it_is_stored(store: S3Store, folder: Path) -> None:
    keep, runs = keeper(folder, {"": EARLIER, key(folder, "two"): STOP})
    manifest = back_up(store, folder, keep)
    one, two = manifest.parts
    assert runs.all == ["announce", "stop", "start", "first", "second"]
    assert [(run.when, run.what, run.ok) for run in two.hooks] == [
        ("before", "stop", True),
        ("after", "start", True),
    ]
    assert (one.consistency, two.consistency, one.hooks) == ("fuzzy", "quiesced", ())
    assert [run.what for run in manifest.hooks] == ["announce", "first", "second"]
    assert two.started >= two.hooks[0].at
    assert not keep.path.exists()


def test_what_holds_the_whole_stack_holds_each_part(store: S3Store, folder: Path) -> None:
    keep, _ = keeper(folder, {"": STOP})
    assert [part.consistency for part in back_up(store, folder, keep).parts] == ["quiesced", "quiesced"]


def test_one_that_fails_first_ends_the_backup_and_what_it_began(store: S3Store, folder: Path) -> None:
    keep, runs = keeper(folder, {key(folder, "one"): STOP, "": EARLIER}, "stop")
    with pytest.raises(PartFailed, match="hook `stop` failed") as raised:
        back_up(store, folder, keep)
    assert "why" in raised.value.message
    assert runs.all == ["announce", "stop", "start", "first", "second"]


def test_one_that_may_fail_makes_it_fuzzy(store: S3Store, folder: Path) -> None:
    lax = Hooks(before=[hook("stop", quiesces=True, on_failure="continue")], after=[hook("start")])
    keep, _ = keeper(folder, {key(folder, "one"): lax}, "stop")
    one = back_up(store, folder, keep).parts[0]
    assert one.consistency == "fuzzy"
    assert [run.ok for run in one.hooks] == [False, True]


def test_a_part_that_fails_is_let_go(store: S3Store, folder: Path) -> None:
    keep, runs = keeper(folder, {key(folder, "two"): STOP})
    (folder / "two" / "b").unlink()
    (folder / "two").rmdir()
    with pytest.raises(PartFailed, match="not there"):
        back_up(store, folder, keep)
    assert runs.all == ["stop", "start"]


def test_an_interrupted_one_is_let_go(store: S3Store, folder: Path) -> None:
    keep, runs = keeper(folder, {key(folder, "one"): STOP})
    with pytest.raises(KeyboardInterrupt), keep.hold(key(folder, "one")):
        raise KeyboardInterrupt
    assert runs.all == ["stop", "start"]


def test_what_cannot_be_let_go_is_told_and_tried_again(store: S3Store, folder: Path) -> None:
    keep, runs = keeper(folder, {"": EARLIER}, "first")
    manifest = back_up(store, folder, keep)
    assert [run.ok for run in manifest.hooks] == [True, False, True]
    assert len(keep.failures) == 1
    assert "`first` of the stack" in keep.failures[0]
    again, runs = keeper(folder, {})
    assert again.settle_killed() == ["the stack"]
    assert runs.all[-1] == "first"
    assert not again.failures
    assert not again.path.exists()


def test_a_run_at_work_is_left_alone(folder: Path) -> None:
    keep, runs = keeper(folder, {"x": STOP})
    other, _ = keeper(folder, {})
    with keep.session(), keep.hold("x"):
        assert other.settle_killed() == []
        assert runs.all == ["stop"]
    assert runs.all == ["stop", "start"]


def test_a_note_that_cannot_be_read_is_told(folder: Path) -> None:
    keep, _ = keeper(folder, {})
    keep.state.mkdir()
    keep.path.write_text('{"x": {"after": [{"command": []}]}}')
    assert keep.settle_killed() == []
    assert "unreadable" in keep.failures[0]


def back_up_and_die(seaweed: Seaweed, bucket: str, folder: Path, at: int) -> None:
    fuse = Fuse(at)
    keep, runs = keeper(folder, {"": EARLIER, key(folder, "one"): STOP})
    runs.tick = fuse.tick
    back_up(FusedStore(seaweed.store(bucket), fuse), folder, keep, fuse)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_step_it_is_killed_at_the_next_run_lets_go(
    seaweed: Seaweed, bucket: str, folder: Path
) -> None:
    for at in range(1, 200):
        (folder / "ran").unlink(missing_ok=True)
        killed = run_killed(back_up_and_die, seaweed, bucket, folder, at)
        keep, runs = keeper(folder, {})
        keep.settle_killed()
        ran = runs.all
        for began, ended in (("stop", "start"), ("announce", "first"), ("announce", "second")):
            if began in ran:
                assert ended in ran[ran.index(began) :], f"killed at {at}: {ran}"
        assert not keep.path.exists()
        if not killed:
            assert at > 20
            return
    raise AssertionError("it never came to its end")
