"""The verbs of snapshots: the list as it always was, and what came beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.adapters.s3 import S3Store
from tests.cli.run import CommandLine
from tests.defs.kit import small
from tests.engines import snapshot_kit
from tests.servers.seaweed import Seaweed


@pytest.fixture
def cli(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seaweed: Seaweed,
    bucket: str,
) -> CommandLine:
    (tmp_path / "deploy").mkdir()
    for name in ("chat", "diff"):
        (tmp_path / "deploy" / f"{name}.stack.yaml").write_text(
            small(name, bucket=bucket, endpoint=seaweed.endpoint)
        )
    for name, value in {
        "OPS_HOME": str(tmp_path / "home"), "S3_KEY": seaweed.access_key, "S3_SECRET": seaweed.secret_key,
        "PAGER": "json://127.0.0.1:9",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return CommandLine(monkeypatch, capsys, tmp_path)


def test_the_list_needs_no_verb(cli: CommandLine, store: S3Store, tmp_path: Path) -> None:
    home = {"OPS_HOME": str(tmp_path / "home")}
    one = snapshot_kit.commit(store)
    two = snapshot_kit.commit(store, stack="diff")
    for words, listed in (
        (["chat"], one), (["list", "chat"], one), (["--json", "chat"], one), (["chat", "--json"], one),
        (["list", "diff"], two),
    ):  # fmt: skip
        answer = cli("snapshots", *words, environ=home)
        assert answer.code == 0
        assert listed in answer.out
    assert cli("snapshots", environ=home).code == 2


def test_two_snapshots_are_compared(cli: CommandLine, store: S3Store, tmp_path: Path) -> None:
    home = {"OPS_HOME": str(tmp_path / "home")}
    one = snapshot_kit.commit(store, days_ago=1, contents=(b"same", b"old"))
    two = snapshot_kit.commit(store, contents=(b"same", b"newer"))
    answer = cli("snapshots", "diff", "chat", one, two, environ=home)
    assert answer.code == 0
    assert "configuration/stack  changed  +2 B" in answer.out
    assert "+1 -1 ~0" in answer.out
    assert "7 B -> 9 B, 5 B of it new" in answer.out
    found = cli("snapshots", "diff", "chat", one, two, "--json", environ=home).document
    assert (found["same"], found["bytes_new"]) == (False, 5)
    assert "the same" in cli("snapshots", "diff", "chat", one, one, environ=home).out
    unknown = cli("snapshots", "diff", "chat", one, "20200101T000000Z-aaaaaa", environ=home)
    assert (unknown.code, "has no snapshot" in unknown.err) == (2, True)


def test_a_pin_is_shown_in_the_list(cli: CommandLine, store: S3Store, tmp_path: Path) -> None:
    home = {"OPS_HOME": str(tmp_path / "home")}
    snapshot = snapshot_kit.commit(store)
    assert cli("pin", "chat", snapshot, "--reason", "before the move", environ=home).code == 0
    assert "pinned (before the move)" in cli("snapshots", "chat", environ=home).out
    assert cli("snapshots", "chat", "--json", environ=home).document[0]["pinned_for"] == "before the move"
    assert "no longer pinned" in cli("unpin", "chat", snapshot, environ=home).out
    assert "was not pinned" in cli("unpin", "chat", snapshot, environ=home).out


def test_restoring_to_verify_needs_the_stack(cli: CommandLine, tmp_path: Path) -> None:
    answer = cli(
        "verify", "chat", "20200101T000000Z-aaaaaa", "--depth", "restored", "--bucket", "s3://x",
        environ={"OPS_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert (answer.code, "leave --bucket out" in answer.err) == (2, True)
