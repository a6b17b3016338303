"""`doctor`: what is here, what is missing, and rights on a real bucket proved by using them."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.settings import load_settings
from ops_pipelines.up.lock import hold_home
from ops_pipelines.wiring._doctor_services import home_findings
from tests.cli.run import CommandLine
from tests.servers.seaweed import Seaweed

STACK = """\
stack: demo
description: A stack.
owners: ["team:platform"]
target: {{kind: compose, project: demo}}
secrets: {{access: "${{ACCESS}}", secret: "${{SECRET}}"}}
backup: {{bucket: {bucket}, endpoint: "{endpoint}", access_key: access, secret_key: secret, prefix: ops}}
"""


def _findings(answer: Any) -> dict[str, Any]:
    return {one["subject"]: one for one in answer.document["findings"]}


def _declare(folder: Path, text: str) -> None:
    (folder / "deploy/demo").mkdir(parents=True)
    (folder / "deploy/demo/stack.yaml").write_text(text)


def test_everything_is_looked_at_and_nothing_is_changed(ops: CommandLine, tmp_path: Path) -> None:
    answer = ops("doctor", "--json")
    found = _findings(answer)
    assert answer.code == 0
    assert answer.document["good"] is True
    assert {"python", "disk", "memory", "home", "home/held", "stacks", "graphics cards"} <= found.keys()
    assert found["python"]["ok"] is True
    assert found["program/supervisord"]["ok"] is True
    assert all(one["remedy"] for one in found.values() if one["ok"] is False)
    assert list(tmp_path.iterdir()) == []


def test_as_a_table(ops: CommandLine) -> None:
    answer = ops("doctor")
    assert answer.code == 0
    assert "program/supervisord" in answer.out
    assert "everything that is needed is here" in answer.out
    assert answer.err == ""


def test_a_broken_stack_is_found(ops: CommandLine, tmp_path: Path) -> None:
    _declare(tmp_path, "stack: demo\nowner: me\n")
    answer = ops("doctor", "--json")
    assert (answer.code, answer.document["good"]) == (1, False)
    assert "stack.yaml:" in _findings(answer)["stack/demo"]["message"]


def test_what_a_declared_stack_asks_for_is_missed_more(ops: CommandLine, tmp_path: Path) -> None:
    nothing_on_path = {"PATH": str(tmp_path)}
    assert _findings(ops("doctor", "--json", environ=nothing_on_path))["program/docker"]["severity"] == "info"
    _declare(tmp_path, STACK.format(bucket="abc", endpoint="http://127.0.0.1:1"))
    found = _findings(ops("doctor", "--json", environ=nothing_on_path))["program/docker"]
    assert (found["ok"], found["severity"]) == (False, "warning")
    assert "docs.docker.com" in found["remedy"]


def test_a_program_that_does_not_work_is_not_good(ops: CommandLine, tmp_path: Path) -> None:
    broken = tmp_path / "helm"
    broken.write_text("#!/bin/sh\necho cannot open shared object >&2\nexit 127\n")
    broken.chmod(0o755)
    found = _findings(ops("doctor", "--json", environ={"PATH": f"{tmp_path}:/usr/bin:/bin"}))["program/helm"]
    assert found["ok"] is False
    assert "cannot open shared object" in found["message"]


def test_who_holds_the_home_folder(ops: CommandLine, tmp_path: Path) -> None:
    with hold_home(tmp_path / ".ops"):
        assert "held by process" in _findings(ops("doctor", "--json"))["home/held"]["message"]
    assert "held by nobody" in _findings(ops("doctor", "--json"))["home/held"]["message"]


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = load_settings({}, cwd=tmp_path)
    states = [
        next(home_findings(replace(settings, home=tmp_path / name))).ok for name in ("file", "new/deep", ".")
    ]
    assert states == [False, True, True]


def test_ports_and_services(ops: CommandLine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (tmp_path / ".ops").mkdir()
        (tmp_path / ".ops/run.env").write_text(
            f"OPS_S3_PORT={port}\nOPS_S3_ENDPOINT=http://127.0.0.1:{port}\n"
        )
        found = _findings(ops("doctor", "--json"))
        assert "listens on it" in found[f"port/{port}"]["message"]
        assert found["service/object store"]["ok"] is True
    found = _findings(ops("doctor", "--json"))
    assert f"port/{port}" not in found
    assert "not running" in found["service/object store"]["message"]
    assert found["service/object store"]["ok"] is True
    with hold_home(tmp_path / ".ops"):  # now it should run
        answer = ops("doctor", "--json")
    assert (answer.code, _findings(answer)["service/object store"]["ok"]) == (1, False)


def test_rights_on_a_bucket_are_proved(
    ops: CommandLine, tmp_path: Path, seaweed: Seaweed, bucket: str
) -> None:
    _declare(tmp_path, STACK.format(bucket=bucket, endpoint=seaweed.endpoint))
    full = {"ACCESS": seaweed.access_key, "SECRET": seaweed.secret_key}
    answer = ops("doctor", "--bucket", "demo", "--json", environ=full)
    assert answer.code == 0
    assert {one["subject"] for one in answer.document["findings"]} == {
        "bucket/write", "bucket/list", "bucket/read", "bucket/conditional write", "bucket/upload in parts",
        "bucket/digests checked", "bucket/delete", "bucket/versions", "bucket/lock",
    }  # fmt: skip
    assert list(seaweed.store(bucket).list("")) == []
    reader = {"ACCESS": seaweed.read_access_key, "SECRET": seaweed.read_secret_key}
    answer = ops("doctor", "--bucket", "demo", environ=reader)
    assert answer.code == 1
    assert "bucket/write" in answer.out
    assert seaweed.read_secret_key not in answer.out + answer.err


def test_a_bucket_without_a_stack_file(ops: CommandLine, seaweed: Seaweed, bucket: str) -> None:
    words = ("--bucket", f"s3://{bucket}/some/prefix", "--endpoint", seaweed.endpoint)
    answer = ops("doctor", *words, "--json", environ=seaweed.environ)
    found = _findings(answer)
    assert (answer.code, answer.document["good"]) == (0, True)
    assert found["bucket/upload in parts"]["ok"] is True
    assert list(seaweed.store(bucket).list("")) == []
    wrong = ops("doctor", *words, "--json", environ=seaweed.environ | {"AWS_SECRET_ACCESS_KEY": "x"})
    assert wrong.code == 1
    assert _findings(wrong)["bucket/write"]["ok"] is False


@pytest.mark.parametrize(
    ("text", "code"), [(STACK.format(bucket="abc", endpoint="http://127.0.0.1:1"), 1), ("", 2)]
)
def test_a_bucket_that_cannot_be_asked(text: str, code: int, ops: CommandLine, tmp_path: Path) -> None:
    if text:
        _declare(tmp_path, text)
    answer = ops("doctor", "--bucket", "demo", "--json", environ={"ACCESS": "a", "SECRET": "b"})
    assert answer.code == code
