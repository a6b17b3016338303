"""The command line as a process of its own: what it lets out, and what it lets go when it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

from ops_pipelines.wiring import hooks, snapshots
from ops_pipelines.wiring.encryption import identity_texts
from tests.waiting import until
from tests.wiring.stand import Stand

SALT = "sk-salt-7f3a9c21d8"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----"


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def declare(stand: Stand, *, public: str = "", **hook: Any) -> None:
    data = stand.folder / "data"
    data.mkdir(exist_ok=True)
    (data / "a.bin").write_bytes(b"a" * 1000)
    folder = stand.folder / "deploy" / "chat"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pem").write_text(PEM)
    stand.environ |= {"SALT_KEY": SALT}
    secrets = {**stand.declared["secrets"], "salt-key": "${SALT_KEY}", "pem": "file:pem"}
    backup = {**stand.declared["backup"], "lease": "30s"}
    if public:
        backup["encrypt"] = {"recipients": [public], "parts": ["volumes"], "secrets": True}
    volume = {"path": str(data), "needs": ["salt-key", "pem"], "hooks": hook}
    stand.change(secrets=secrets, backup=backup, volumes={"data": volume})


def command(stand: Stand, *words: str, **environ: str) -> list[Any]:
    program = [sys.executable, "-c", "from ops_pipelines.cli import main; main()", "-v", *words]
    return [program, {**stand.environ, **environ}]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_value_is_in_the_log_the_answer_the_home_folder_or_the_bucket(
    stand: Stand, tmp_path: Path, form: str
) -> None:
    key = pyrage.x25519.Identity.generate()
    identity = tmp_path / "identity.txt"
    identity.write_text(f"{key}\n")
    says = {
        "command": ["sh", "-c", "echo $TOKEN; exit 1"],
        "secrets": {"TOKEN": "salt-key"},
        "on_failure": "continue",
    }
    declare(stand, public=str(key.to_public()), before=[says])
    heard = b""
    for words in (
        ("backup", "chat"),
        ("snapshots", "chat", "--json"),
        ("restore", "chat", "SNAPSHOT", "--identity", str(identity), "--apply"),
        ("drill", "chat", "--identity", str(identity)),
        ("verify", "chat", "SNAPSHOT", "--json"),
    ):
        known = [snapshots.newest(stand.site) if word == "SNAPSHOT" else word for word in words]
        line, environ = command(stand, *known, OPS_LOG_FORMAT=form)
        done = subprocess.run(
            line, env=environ, cwd=stand.folder, capture_output=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        heard += done.stdout + done.stderr
    if form == "json":
        assert any(
            json.loads(line).get("hook") for line in heard.decode().splitlines() if line.startswith('{"')
        )
    heard += b"".join(b"".join(stand.store.stream(info.key)) for info in stand.store.list(""))
    heard += b"".join(path.read_bytes() for path in (stand.folder / "home").rglob("*") if path.is_file())
    assert b"***" in heard, "the hook printed one, which was masked"
    for value in (SALT, "MIIEvQIBADANBgkqhkiG9w0", stand.environ["SECRET"], str(key)):
        assert value.encode() not in heard
    assert identity_texts(stand.site.settings) == []


def wait_for(stand: Stand, word: str) -> None:
    until(lambda: (stand.folder / "ran").exists() and word in (stand.folder / "ran").read_text())


def quiesce(stand: Stand) -> dict[str, Any]:
    """Hold, then hang; let go."""
    ran = stand.folder / "ran"
    return {
        "before": [
            {"name": "stop", "command": ["sh", "-c", f"echo stop >> {ran}; exec sleep 300"], "timeout": "5m"}
        ],
        "after": [{"name": "start", "command": ["sh", "-c", f"echo start >> {ran}"]}],
    }


@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, signal.SIGINT])
def test_a_backup_that_is_stopped_lets_go(
    stand: Stand, running: list[subprocess.Popen[bytes]], stopped_by: signal.Signals
) -> None:
    declare(stand, **quiesce(stand))
    line, environ = command(stand, "backup", "chat")
    # Where a test is run in the background, SIGINT is ignored, and so it is by what it starts.
    line[2] = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {line[2]}"
    process = subprocess.Popen(line, env=environ, cwd=stand.folder, stderr=subprocess.DEVNULL)
    running.append(process)
    wait_for(stand, "stop")
    process.send_signal(stopped_by)
    assert process.wait(60) == 130
    assert (stand.folder / "ran").read_text().split() == ["stop", "start"]
    assert hooks.let_go(stand.site) == []


def test_a_backup_that_is_killed_is_let_go_by_the_next(
    stand: Stand, running: list[subprocess.Popen[bytes]]
) -> None:
    declare(stand, **quiesce(stand))
    line, environ = command(stand, "backup", "chat")
    process = subprocess.Popen(line, env=environ, cwd=stand.folder, stderr=subprocess.DEVNULL)
    running.append(process)
    wait_for(stand, "stop")
    assert hooks.let_go(stand.site) == [], "it is at work"
    process.kill()
    process.wait(30)
    stand.store.delete([stand.layout.lease("chat")])
    declare(stand)
    assert snapshots.backup(stand.site, by="test").parts
    assert (stand.folder / "ran").read_text().split() == ["stop", "start"]
