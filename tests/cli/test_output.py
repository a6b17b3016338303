"""What is printed where, and how a command ends: 0 good, 1 a problem, 2 misuse."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.cli import output, progress
from ops_pipelines.engines.restore import Restored, RestoreResult
from ops_pipelines.errors import OpsError, SnapshotUnknown, Unreachable
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.policy.plan import Finding, Plan, Step
from ops_pipelines.policy.words import size_in_words
from ops_pipelines.wiring import data, deployments, drills, scaling, snapshots
from ops_pipelines.wiring.deployments import DeployResult
from tests.cli.run import CommandLine

STACK = """\
stack: a
description: A stack.
owners: ["team:platform"]
target: {kind: process}
components:
  web: {kind: app, command: [web], ports: {http: 8000}}
"""
GOOD = Finding("one", True, "is there")
BAD = Finding("two", False, "is not there", "bring it")
UNSEEN = Finding("three", None, "could not be seen", "look again")
MILD = Finding("four", False, "might be better", "improve it", "warning")
MANIFEST = Manifest("20260102T030000Z-aaaaaa", "a", "2026-01-02T03:00:00+00:00", ())
RESULT = DeployResult(Plan("deploy a", ()), 3, True, "x", (), 0.1)


@pytest.fixture
def cli(ops: CommandLine, tmp_path: Path) -> CommandLine:
    """The command line beside one stack."""
    path = tmp_path / "deploy" / "a" / "stack.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(STACK)
    return ops


# --- words ---


def test_brackets_and_colons_of_data_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A path in an error is no markup: `[/dev/sda]` would end the command with another error."""
    rows = [{"what": "[/dev/sda] [red]full[/red] [components.web]", "found": ":smile:"}]
    output.show_rows(rows, empty="")
    shown = capsys.readouterr().out
    assert "[/dev/sda] [red]full[/red] [components.web]" in shown
    assert ":smile:" in shown


@pytest.mark.parametrize(
    ("findings", "code", "shown"),
    [
        ([GOOD], 0, "all is well"),
        ([], 0, "nothing was looked at"),
        ([GOOD, BAD], 1, "two: bring it"),
        ([GOOD, UNSEEN], 1, "three: look again"),
        ([GOOD, MILD], 0, "four: improve it"),
        ([MILD, BAD], 1, "1 of 2 are not good"),
    ],
)
def test_findings(findings: list[Finding], code: int, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert output.show_findings(findings, as_json=False, good="all is well") == code
    assert shown in capsys.readouterr().out
    assert output.show_findings(findings, as_json=True, good="") == code


def test_the_worst_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_findings([GOOD, MILD, BAD], as_json=False, good="")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert [line[0] for line in lines] == ["BAD", "warning", "good"]


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (91_500_000, "87.3 MiB"), (2**50, "1.0 PiB")],
)
def test_sizes(size: int, words: str) -> None:
    assert size_in_words(size) == words


def test_progress_says_each_end_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress() as report:
        for done in (0, 512, 1024, 1024):
            report("store x", done, 1024, "bytes")
        report("verify", 3, 3, "blobs")
    assert capsys.readouterr().err.splitlines() == [
        "store x: 1.0 KiB of 1.0 KiB, 100 %",
        "verify: 3 blobs of 3 blobs, 100 %",
    ]


# --- ends ---


def _raises(error: BaseException) -> Any:
    def fails(*words: object, **more: object) -> None:
        raise error

    return fails


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Unreachable("the store is gone", remedy="start it"), 1, "What to do: start it"),
        (SnapshotUnknown("no such one", remedy="list them"), 2, "list them"),
        (OSError(28, "No space left on device", "/data/x"), 1, "/data/x: No space left on device"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_ends(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr(deployments, "status_rows", _raises(error))
    answer = cli("status", "a")
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert "Traceback" not in answer.err
    if code != 130:
        document = cli("status", "a", "--json").document
        assert document["remedy"]


def test_misuse_is_a_document_too(cli: CommandLine) -> None:
    answer = cli("status", "--json")
    assert answer.code == 2
    assert "Missing argument" in answer.document["message"]
    for words in (("rollback", "a", "--to", "0"), ("plan", "a", "--to", "0"), ("status", "b"), ("scale",)):
        assert cli(*words).code == 2, words


def test_a_time_limit_ends_it_as_ctrl_c_does(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout`, systemd and a cluster send SIGTERM: what holds a lease must be left in order."""
    left: list[str] = []

    def works(stack: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            left.append("in order")

    monkeypatch.setattr(deployments, "status_rows", works)
    before = signal.getsignal(signal.SIGTERM)
    assert cli("status", "a").code == 130
    assert left == ["in order"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("findings", "kept", "code", "said"),
    [((GOOD,), (), 0, "verified"), ((BAD,), (), 1, "NOT WHOLE"), ((UNSEEN,), (), 1, "NOT WHOLE"),
     ((GOOD,), (MILD,), 0, "! four: might be better")],
)  # fmt: skip
def test_a_backup_that_is_not_whole_is_no_success(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, findings: Any, kept: Any, code: int, said: str
) -> None:
    monkeypatch.setattr(snapshots, "backup", lambda *words, **more: MANIFEST)
    monkeypatch.setattr(snapshots, "verify", lambda *words, **more: findings)
    monkeypatch.setattr(snapshots, "kept_findings", lambda *words: kept)
    answer = cli("backup", "a")
    assert answer.code == code
    assert said in answer.out
    told = cli("backup", "a", "--json")
    assert (told.code, told.document["verified"]) == (code, not code)
    assert len(told.document["findings"]) == sum(one.ok is not True for one in (*findings, *kept))


def test_a_backup_that_could_not_be_verified_is_named(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "backup", lambda *words, **more: MANIFEST)
    monkeypatch.setattr(snapshots, "verify", _raises(Unreachable("gone", remedy="")))
    answer = cli("backup", "a")
    assert answer.code == 1
    assert f"{MANIFEST.snapshot} was taken, and could not be verified" in answer.err


def test_a_deploy_whose_collections_fail_says_what_stands(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "require_preflight", lambda site: None)
    monkeypatch.setattr(data, "fill", lambda *words: ())
    monkeypatch.setattr(deployments, "deploy", lambda *words, **more: RESULT)
    monkeypatch.setattr(data, "bring_collections", _raises(OpsError("the database is full", remedy="")))
    answer = cli("deploy", "a")
    assert (answer.code, answer.out) == (1, "")
    assert "deployed as revision 3; its collections were not brought up to date" in answer.err
    assert "the database is full" in answer.err


def test_a_deploy_looks_before_it_pulls(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "require_preflight", _raises(OpsError("the disk is full", remedy="")))
    monkeypatch.setattr(
        data, "plan_fill", lambda site: Plan("Fill", (Step("fetch", "model/m", "is not there"),))
    )
    monkeypatch.setattr(data, "fill", lambda *words: pytest.fail("it pulled"))
    assert cli("deploy", "a").code == 1


@pytest.mark.parametrize(("verdict", "code"), [("passed", 0), ("failed", 1), ("unknown", 1)])
def test_a_drill_ends_by_its_verdict(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, verdict: Any, code: int
) -> None:
    report = drills.DrillReport(MANIFEST.snapshot, verdict, (MILD,), None, 0, 2.5, 60.0, 2048, False, rto=1.5)
    monkeypatch.setattr(drills, "drill", lambda *words, **more: report)
    answer = cli("drill", "a")
    assert answer.code == code
    assert "recall@10 not asked over 0 questions; 1.5 s to restore 2.0 KiB" in answer.out
    assert cli("drill", "a", "--json").code == code


@pytest.mark.parametrize(("finding", "code"), [(GOOD, 0), (BAD, 1)])
def test_a_restore_tells_what_did_not_start_again(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, finding: Finding, code: int
) -> None:
    parts = (Restored("model_cache/m", "/place", "/old", (finding,)),)
    result = RestoreResult("s", parts, ("database/x is left out",), switched=True, resumed=False)
    monkeypatch.setattr(
        snapshots, "plan_restore", lambda *words, **more: Plan("restore", (Step("switch", "m"),))
    )
    monkeypatch.setattr(snapshots, "restore", lambda *words, **more: result)
    dry = cli("restore", "a", "s")
    assert (dry.code, "Nothing was changed" in dry.err) == (0, True)
    answer = cli("restore", "a", "s", "--apply")
    assert answer.code == code
    assert "database/x is left out" in answer.out
    assert ("bring it" in answer.out) is bool(code)


def test_scaling_that_cannot_be_explained(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    signals = "{q: {query: q, target: 1}}"
    rule = f"\nscaling: {{web: {{component: web, source: 'http://127.0.0.1:9/metrics', signals: {signals}}}}}"
    (cli.folder / "deploy" / "a" / "stack.yaml").write_text(STACK + rule)
    monkeypatch.setattr(scaling, "explain", lambda site, name: None)
    answer = cli("scale", "explain", "a")
    assert answer.code == 1
    assert "ops-pipelines status a" in answer.out
    assert cli("scale", "explain", "a", "--json").document == {"web": None}


def test_a_folder_that_is_not_there_is_told(cli: CommandLine) -> None:
    answer = cli("stacks", environ={"OPS_STACKS_DIR": "deploy:deplyo"})
    assert answer.code == 1
    assert "deplyo: no such folder" in answer.out
    assert len(cli("stacks", "--json", environ={"OPS_STACKS_DIR": "deplyo"}).document["problems"]) == 1
