"""Secrets that a part cannot be read without, and hooks that hold it still: from the stack file to the restore."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.engines.hooks import HookKeeper
from ops_pipelines.errors import (
    CommandFailed,
    DeclarationError,
    HookFailed,
    PartFailed,
    Refused,
    SecretMismatch,
    Unreachable,
)
from ops_pipelines.settings import load_settings
from ops_pipelines.stack.safeguards import Hook
from ops_pipelines.wiring import bucket, drills, hooks, snapshots
from ops_pipelines.wiring.site import Site
from tests.waiting import until
from tests.wiring.stand import Stand

SALT = "sk-salt-7f3a9c21d8"
OTHER = "sk-salt-another-one"


def declare(stand: Stand, **cache: Any) -> Site:
    """A cache of one file that needs the secret `salt-key`."""
    models = stand.folder / "models"
    models.mkdir(exist_ok=True)
    (models / "weights.bin").write_bytes(b"weights" * 1000)
    stand.environ.setdefault("SALT_KEY", SALT)
    secrets = {**stand.declared["secrets"], "salt-key": "${SALT_KEY}"}
    declared = {"layout": "directory", "path": str(models), "needs": ["salt-key"], **cache}
    return stand.change(secrets=secrets, caches={"models": declared})


def everything_in(stand: Stand) -> bytes:
    """All bytes of the bucket."""
    return b"".join(b"".join(stand.store.stream(info.key)) for info in stand.store.list(""))


@pytest.mark.parametrize(
    ("here", "allow", "refused", "told"),
    [(SALT, (), False, ""), (None, (), False, "missing here"), (OTHER, (), True, "another one"),
     (OTHER, ("salt-key",), False, "another one")],
)  # fmt: skip
def test_with_the_bucket_alone_a_secret_that_is_another_one_is_refused(
    stand: Stand, here: str | None, allow: tuple[str, ...], refused: bool, told: str
) -> None:
    manifest = snapshots.backup(declare(stand), by="test")
    settings = load_settings({} if here is None else {"SALT_KEY": here}, cwd=stand.folder / "elsewhere")
    opened, into = bucket.OpenBucket(stand.store, stand.layout, settings), stand.folder / "restored"
    words = {"into": into, "parts": ["model_cache/models"], "allow_wrong": allow}
    warnings = " ".join(bucket.plan_restore(opened, "chat", manifest.snapshot, **words).warnings)
    assert (told in warnings) if told else not warnings
    if refused:
        with pytest.raises(SecretMismatch, match="salt-key: is another one") as raised:
            bucket.restore(opened, "chat", manifest.snapshot, **words)
        assert "--allow-wrong-secret salt-key" in raised.value.remedy
        assert not into.exists()
        return
    bucket.restore(opened, "chat", manifest.snapshot, **words)
    assert (into / "model_cache" / "models" / "weights.bin").exists()


def test_the_same_secret_is_right_and_never_in_the_bucket(stand: Stand) -> None:
    site = declare(stand)
    manifest = snapshots.backup(site, by="test")
    assert snapshots.kept_findings(site, manifest) == ()
    plan = snapshots.plan_restore(site, manifest.snapshot)
    assert [step.subject for step in plan.steps if step.verb == "check"] == ["secret/salt-key"]
    assert snapshots.restore(site, manifest.snapshot, by="test").switched
    content = everything_in(stand)
    assert b"${SALT_KEY}" in content
    assert SALT.encode() not in content


@pytest.mark.parametrize(("now", "words"), [(OTHER, "another one"), (None, "SALT_KEY is not set")])
def test_a_secret_that_is_not_that_of_then_stops_a_restore_before_anything_is_staged(
    stand: Stand, now: str | None, words: str
) -> None:
    manifest = snapshots.backup(declare(stand), by="test")
    if now is None:
        del stand.environ["SALT_KEY"]
    else:
        stand.environ["SALT_KEY"] = now
    site = stand.site
    before = sorted(stand.folder.rglob("*"))
    with pytest.raises(SecretMismatch, match=words) as raised:
        snapshots.restore(site, manifest.snapshot, parts=["model_cache/models"], by="test")
    assert "salt-key" in raised.value.message
    assert "--allow-wrong-secret salt-key" in raised.value.remedy
    assert SALT not in str(raised.value)
    assert sorted(stand.folder.rglob("*")) == before
    assert any(words in one for one in snapshots.plan_restore(site, manifest.snapshot).warnings)
    report = drills.drill(site)
    assert report.verdict == "unknown"
    assert [one.ok for one in report.findings if one.subject == "secret/salt-key"] == [None]
    assert snapshots.restore(site, manifest.snapshot, by="test", allow_wrong=["salt-key"]).switched


def test_a_part_that_needs_nothing_is_restored_all_the_same(stand: Stand) -> None:
    manifest = snapshots.backup(declare(stand), by="test")
    stand.environ["SALT_KEY"] = OTHER
    assert snapshots.restore(stand.site, manifest.snapshot, parts=["configuration/chat"], by="test").switched


def test_a_secret_that_is_unset_at_backup_is_told(stand: Stand) -> None:
    stand.environ["SALT_KEY"] = ""
    site = declare(stand)
    manifest = snapshots.backup(site, by="test")
    [found] = snapshots.kept_findings(site, manifest)
    assert (found.subject, found.ok, found.severity) == ("secret/salt-key", None, "warning")


def test_a_secret_that_nobody_declares_is_refused(stand: Stand) -> None:
    with pytest.raises(DeclarationError, match=r"caches.models.needs.0.*\n?.*pepper"):
        declare(stand, needs=["pepper"])


# --- hooks ---


def note(folder: Path, word: str) -> list[str]:
    """A command that writes what it was given into a file."""
    return ["sh", "-c", f'echo "{word} $TOKEN" >> {folder}/ran']


def test_hooks_run_where_the_stack_file_lies_with_their_own_secrets(stand: Stand) -> None:
    stop = {"command": ["sh", "-c", "echo stop $TOKEN >> ran; pwd >> ran; echo $${SECRET:-none} >> ran"]}
    held = {
        "before": [{**stop, "secrets": {"TOKEN": "salt-key"}, "quiesces": True}],
        "after": [{"command": note(stand.folder, "start")}],
    }
    site = declare(stand, hooks=held)
    manifest = snapshots.backup(site, by="test")
    part = manifest.part("model_cache/models")
    assert part is not None
    assert (part.consistency, [run.ok for run in part.hooks]) == ("quiesced", [True, True])
    assert (site.folder / "ran").read_text().split() == ["stop", SALT, str(site.folder), "none"]
    assert (stand.folder / "ran").read_text().split() == ["start"]
    assert SALT.encode() not in everything_in(stand)


def test_a_hook_that_fails_shows_what_it_printed_without_secrets(stand: Stand) -> None:
    site = declare(
        stand,
        hooks={
            "before": [{"command": ["sh", "-c", "echo no $TOKEN; exit 3"], "secrets": {"TOKEN": "salt-key"}}]
        },
    )
    with pytest.raises(PartFailed, match="ended with status 3") as raised:
        snapshots.backup(site, by="test")
    assert "no ***" in raised.value.message
    assert SALT not in str(raised.value)
    assert SALT.encode() not in everything_in(stand)
    assert snapshots.restorable(site) == []


def test_what_could_not_be_let_go_fails_the_run_and_keeps_the_snapshot(stand: Stand) -> None:
    site = declare(stand, hooks={"after": [{"name": "start", "command": ["false"]}]})
    with pytest.raises(HookFailed, match="`start` of model_cache/models"):
        snapshots.backup(site, by="test")
    assert len(snapshots.restorable(site)) == 1
    assert hooks.keeper(site).owed().keys() == {"model_cache/models"}
    declare(stand, hooks={})
    with pytest.raises(HookFailed):
        snapshots.backup(stand.site, by="test")
    assert len(snapshots.restorable(site)) == 2


def test_a_hook_that_does_not_end_is_stopped_with_all_it_started(stand: Stand) -> None:
    site = declare(stand)
    pid = stand.folder / "pid"
    slow = Hook(command=["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"], timeout=0.5)
    with pytest.raises(CommandFailed, match=r"did not end within 0.5 s"):
        hooks.run(site, slow)
    child = Path("/proc") / pid.read_text().strip() / "stat"
    until(lambda: not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z")


class Answers(BaseHTTPRequestHandler):
    """Answers as its path says, and notes what it was asked."""

    seen: list[tuple[str, str, str | None, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.seen.append((self.command, self.path, self.headers["Authorization"], body))
        self.send_response(int(self.path.strip("/")))
        self.end_headers()
        if self.path != "/204":
            self.wfile.write(f"you said {self.headers['Authorization']}".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str, str | None, bytes]]]]:
    seen: list[tuple[str, str, str | None, bytes]] = []
    handler = type("Noted", (Answers,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}", seen
        made.shutdown()


def request(url: str, **facts: Any) -> Hook:
    return Hook(http={"url": url, **facts}, secrets={"Authorization": "salt-key"}, timeout=5)  # type: ignore[arg-type]


def test_a_request_is_sent_and_its_status_counts(
    stand: Stand, server: tuple[str, list[tuple[str, str, str | None, bytes]]]
) -> None:
    site, (url, seen) = declare(stand), server
    hooks.run(site, request(f"{url}/204", body="now"))
    hooks.run(site, request(f"{url}/409", expect=[409]))
    assert seen == [("POST", "/204", SALT, b"now"), ("POST", "/409", SALT, b"")]
    with pytest.raises(Refused, match=r"500 instead of 2xx: you said \*\*\*") as raised:
        hooks.run(site, request(f"{url}/500"))
    assert SALT not in str(raised.value)
    with pytest.raises(Refused, match="200 instead of 204"):
        hooks.run(site, request(f"{url}/200", expect=[204]))
    with pytest.raises(Unreachable, match="no answer"):
        hooks.run(site, request("http://127.0.0.1:9/x"))


def test_a_secret_is_not_filled_into_a_command(stand: Stand) -> None:
    with pytest.raises(DeclarationError, match="which is the secret `salt-key`") as raised:
        declare(stand, hooks={"before": [{"command": ["sh", "-c", "stop ${SALT_KEY}"]}]})
    assert SALT not in str(raised.value)


def test_what_a_hook_is_called_says_nothing_of_its_arguments() -> None:
    url = "https://user:pw@host/stop?key=hunter2"
    assert Hook(command=["/usr/bin/redis-cli", "-a", "hunter2"]).label == "redis-cli"
    assert Hook(http={"url": url}).label == "POST https://host/stop"  # type: ignore[arg-type]


@pytest.mark.parametrize("facts", [{}, {"command": ["true"], "http": {"url": "http://a"}}, {"command": []}])
def test_a_hook_is_one_thing(stand: Stand, facts: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        declare(stand, hooks={"before": [facts]})


def test_what_a_killed_backup_left_is_let_go_by_the_observation(stand: Stand) -> None:
    site = declare(stand, hooks={"after": [{"command": note(stand.folder, "start")}]})
    keeper: HookKeeper = hooks.keeper(site)
    keeper.state.mkdir(parents=True, exist_ok=True)
    keeper.owe("model_cache/models", keeper.hooks["model_cache/models"])
    assert hooks.let_go(site) == ["model_cache/models"]
    assert (stand.folder / "ran").read_text().split() == ["start"]
    assert hooks.let_go(site) == []
