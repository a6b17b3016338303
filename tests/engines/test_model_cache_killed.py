"""SIGKILL at every step of staging and switching a model cache, and then again: the old state or the new."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from ops_pipelines.engines.parts import _folders
from ops_pipelines.engines.ports import silent
from ops_pipelines.policy.manifest import Part
from ops_pipelines.policy.plan import failed
from tests.caches import captured, fetch_from, ollama_model, put, sha256, target, tree

_CHANGES = {
    "os.rename",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.symlink",
    "os.truncate",
}
BIG = b"weights" * 20_000


def kill_at(step: int) -> None:
    """Kill this process just before its `step`-th change of the file system."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in _CHANGES or writes or event == "ops.exchange":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def exchange_in_steps(one: Path, other: Path) -> bool:
    """The real exchange, with a step before it and one after it."""
    sys.audit("ops.exchange")
    done = real_exchange(one, other)
    sys.audit("ops.exchange")
    return done


real_exchange = _folders.exchange


def _restore(roots: list[Path], part: Part, bucket: dict[str, bytes]) -> None:
    restore = target("ollama", *roots)
    place = restore.stage(part, None, fetch_from(bucket), silent)
    assert failed(restore.check(part, place, full=True)) == []
    restore.switch(part, place)


def _killed_at(
    step: int, roots: list[Path], part: Part, bucket: dict[str, bytes], *, can_exchange: bool
) -> bool:
    """Restore in a child that dies at that step. False where it came to its end before."""
    child = os.fork()
    if child == 0:
        try:
            _folders.exchange = exchange_in_steps if can_exchange else lambda one, other: False
            kill_at(step)
            _restore(roots, part, bucket)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the status
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) != 0


@pytest.mark.slow
@pytest.mark.parametrize("can_exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("then", ["again", "discard"])
def test_killed_at_every_step(tmp_path: Path, can_exchange: bool, then: str) -> None:
    model = tmp_path / "model"
    ollama_model(model, "llama3:8b", [BIG, b"licence"])
    new = tree(model)
    part, bucket = captured("ollama", model)
    put(model / "later", b"made after the backup")
    (model / "blobs" / f"sha256-{sha256(b'licence')}").unlink()
    old = tree(model)
    step, gaps = 0, 0
    while True:
        step += 1
        roots = [tmp_path / str(step) / f"r{number}" / "models" for number in range(2)]
        for root in roots:
            shutil.copytree(model, root)
        if not _killed_at(step, roots, part, bucket, can_exchange=can_exchange):
            break
        for root in roots:
            if root.exists() or can_exchange:
                assert tree(root) in (old, new), f"step {step}: {root} is half"
            else:
                gaps += 1
        restore = target("ollama", *roots)
        if then == "again":
            _restore(roots, part, bucket)
            assert [tree(root) for root in roots] == [new, new], f"step {step}"
        else:
            for place in restore.leftovers():
                restore.discard(place)
            assert all(tree(root) in (old, new) for root in roots), f"step {step}"
        assert restore.leftovers() == (), f"step {step}"
        for root in roots:
            others = [path for path in root.parent.iterdir() if path != root]
            assert all(path.name.startswith("models.before-") for path in others), f"step {step}: {others}"
            replaced = tree(root) == new
            assert not replaced or old in [tree(path) for path in others], (
                f"step {step}: the old content is lost"
            )
    assert step > 40
    assert (gaps > 0) is not can_exchange
