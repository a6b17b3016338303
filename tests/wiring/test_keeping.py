"""`kept` by the command line, after real restores into a real bucket's stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ops_pipelines.engines import _journal
from ops_pipelines.engines._journal import Entry, Journal
from ops_pipelines.wiring import snapshots
from tests.cli.run import Answer, CommandLine
from tests.wiring.stand import Stand

Ops = Callable[..., Answer]


@pytest.fixture
def ops(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Ops:
    """The command line, on a stack with one volume."""
    folder = tmp_path / "volume" / "files"
    folder.mkdir(parents=True)
    (folder / "file").write_text("old")
    stand.change(volumes={"files": {"path": str(folder)}})
    command = CommandLine(monkeypatch, capsys, stand.folder)
    environ = {name: value for name, value in stand.environ.items() if name != "PATH"}
    return lambda *words: command(*words, environ=environ)


def test_what_a_restore_keeps_is_listed_and_goes_when_a_person_says_so(
    ops: Ops, stand: Stand, tmp_path: Path
) -> None:
    folder = tmp_path / "volume" / "files"
    snapshot = snapshots.backup(stand.site, by="test").snapshot
    assert "nothing is kept" in ops("kept", "chat").out
    for word in ("newer", "newest"):
        (folder / "file").write_text(word)
        told = ops("restore", "chat", snapshot, "--part", "volume/files", "--apply")
        assert "ops-pipelines kept chat" in told.out
    names = [one["name"] for one in ops("kept", "chat", "--json").document["places"]]
    assert sorted((Path(name) / "file").read_text() for name in names) == ["newer", "newest"]
    planned = ops("kept", "chat", "--remove", names[0])
    assert (planned.code, "remove" in planned.out, Path(names[0]).exists()) == (0, True, True)
    assert ops("kept", "chat", "--remove", names[0], "--apply").code == 0
    assert [Path(name).exists() for name in names] == [False, True]
    assert ops("kept", "chat", "--remove", str(folder), "--apply").code == 2
    assert ops("kept", "chat", "--apply").code == 2
    state = stand.site.state
    _journal.write(
        state, Journal("chat", snapshot, "2026-11-21T00:00:00+00:00", (Entry("volume/files", "x"),))
    )
    refused = ops("kept", "chat", "--all", "--apply")
    assert (refused.code, "not finished" in refused.err, Path(names[1]).exists()) == (1, True, True)
    _journal.remove(state, "chat")
    assert ops("kept", "chat", "--all", "--apply").code == 0
    assert sorted(path.name for path in folder.parent.iterdir()) == ["files"]
    assert (folder / "file").read_text() == "old"


def test_while_one_part_is_unknown_not_all_is_removed(ops: Ops, stand: Stand, tmp_path: Path) -> None:
    old = tmp_path / "volume" / "files.before-x"
    old.mkdir()
    server = {"kind": "postgres", "address": "postgres://127.0.0.1:9"}
    databases = {"app": {"kind": "postgres", "component": "postgres"}}
    stand.change(components={"web": stand.web(), "postgres": server}, databases=databases)
    listed = ops("kept", "chat")
    assert (listed.code, "what is kept is unknown" in listed.out, "files.before-x" in listed.out) == (
        1,
        True,
        True,
    )
    refused = ops("kept", "chat", "--all", "--apply")
    assert (refused.code, old.exists()) == (1, True)
    assert "nothing was removed" in refused.err
    assert ops("kept", "chat", "--remove", str(old), "--apply").code == 0
    assert not old.exists()
