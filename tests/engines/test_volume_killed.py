"""SIGKILL at every step of staging and switching a volume, and then again: the old content or the new."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from ops_pipelines.engines.parts import _folders
from ops_pipelines.engines.parts.volume import VolumeTarget
from ops_pipelines.engines.ports import Fetch, silent
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import failed
from tests.engines.test_model_cache_killed import exchange_in_steps, kill_at
from tests.engines.test_volume_part import captured, source, tree, write


def _restore(root: Path, part: Part, fetch: Fetch) -> None:
    target = VolumeTarget("data", (root,))
    place = target.stage(part, None, fetch, silent)
    assert failed(target.check(part, place, full=True)) == []
    target.switch(part, place)


def _killed_at(step: int, root: Path, part: Part, fetch: Fetch) -> bool:
    """Restore in a child that dies at that step. False where it came to its end before."""
    child = os.fork()
    if child == 0:
        try:
            _folders.exchange = exchange_in_steps
            kill_at(step)
            _restore(root, part, fetch)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the status
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) != 0


@pytest.mark.slow
@pytest.mark.parametrize("then", ["again", "discard"])
def test_killed_at_every_step(tmp_path: Path, then: str) -> None:
    first = tmp_path / "first"
    write(first / "kept", b"as it was" * 1000)
    write(first / "inner" / os.fsdecode(b"caf\xe9"), b"coffee").chmod(0o640)
    (first / "inner" / "link").symlink_to("../kept")
    (first / "empty").mkdir()
    (first / "empty").chmod(0o500)
    part, fetch, _ = captured(source(first), tmp_path / "scratch")
    new = tree(first)
    write(tmp_path / "second" / "kept", b"altered")
    write(tmp_path / "second" / "since", b"made since")
    old = tree(tmp_path / "second")
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step) / "data"
        shutil.copytree(tmp_path / "second", root)
        if not _killed_at(step, root, part, fetch):
            break
        assert tree(root) in (old, new), f"step {step}: half"
        target = VolumeTarget("data", (root,))
        if then == "again":
            _restore(root, part, fetch)
            assert tree(root) == new, f"step {step}"
        else:
            for place in target.leftovers():
                target.discard(place)
            assert tree(root) in (old, new), f"step {step}"
        assert target.leftovers() == (), f"step {step}"
        kept = [tree(path) for path in root.parent.iterdir() if path != root]
        assert tree(root) == old or old in kept, f"step {step}: the old content is lost"
    assert step > 20
