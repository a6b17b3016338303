"""Real supervisord, real programs."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ops_pipelines.adapters import _supervisor_server
from ops_pipelines.adapters._supervisor_strays import running, wait_gone
from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.errors import Refused, SecretMissing, Unreachable, UsageError
from ops_pipelines.policy.processes import Program
from tests.servers.supervisord import SERVE, SupervisordServer, ask, pid_at
from tests.waiting import free_ports, until

AWKWARD = {
    "QUOTES": """a "b" 'c' `d`""",
    "COMMAS": "a,b=c,",
    "PERCENT": "100% %(here)s %%",
    "LINES": "one\ntwo\r\n\tthree",
    "COMMENT": "a ; b # c",
    "DOLLAR": "$HOME ${PATH} \\",
    "UNICODE": "zażółć 🙂",
    "EMPTY": "",
}


def test_a_program_runs_with_what_was_declared_and_nothing_else(supervisord: SupervisordServer) -> None:
    (port,) = free_ports(1)
    adapter = supervisord.another({**supervisord.environ, "OF_SOMEBODY_ELSE": "x"})
    adapter.apply(supervisord.server("demo.web.0", port, environment=AWKWARD), {})
    until(lambda: ask(port))
    seen = ask(port)
    assert seen is not None
    assert {name: seen["environ"][name] for name in AWKWARD} == AWKWARD
    assert seen["cwd"] == str(supervisord.home)
    assert not [name for name in seen["environ"] if name.startswith("SUPERVISOR") or "ELSE" in name]
    until(lambda: adapter.status()["demo.web.0"].state == "running")
    status = adapter.status()["demo.web.0"]
    assert status.pid == seen["pid"]
    assert status.since is not None
    assert 0 <= status.since < 60
    assert adapter.log_tail("demo.web.0") == f"listening on {port}\n"
    assert adapter.log_tail("demo.web.0", 6) == f"{port}\n"[-6:]


def test_our_own_services_receive_the_whole_environment(tmp_path: Path) -> None:
    server = SupervisordServer(tmp_path)
    server.environ["OPS_SOMETHING"] = "7"
    adapter = server.another(server.environ)
    (port,) = free_ports(1)
    adapter.ensure_running()
    try:
        adapter.apply(server.server("ops.web", port, inherit=True), {})
        until(lambda: ask(port))
        assert (ask(port) or {})["environ"]["OPS_SOMETHING"] == "7"
    finally:
        adapter.shutdown()


def test_a_crash_restarts_that_program_and_no_other(supervisord: SupervisordServer) -> None:
    first, second = free_ports(2)
    for name, port in (("demo.a.0", first), ("demo.b.0", second)):
        supervisord.adapter.apply(supervisord.server(name, port), {})
    until(lambda: pid_at(first) and pid_at(second))
    crashed, other = pid_at(first), pid_at(second)
    ask(first, "/crash")
    until(lambda: pid_at(first) not in (None, crashed))
    assert pid_at(second) == other
    assert supervisord.adapter.status()["demo.b.0"].pid == other


def test_a_change_replaces_that_program_and_no_other(supervisord: SupervisordServer) -> None:
    first, second = free_ports(2)
    old, other = supervisord.server("demo.a.0", first), supervisord.server("demo.b.0", second)
    for program in (old, other):
        supervisord.adapter.apply(program, {})
    until(lambda: pid_at(first) and pid_at(second))
    pids = pid_at(first), pid_at(second)
    new = supervisord.server("demo.a.0", first, environment={"V": "2"})
    supervisord.adapter.apply(new, {})
    until(lambda: (ask(first) or {}).get("environ", {}).get("V") == "2")
    assert pid_at(first) != pids[0]
    assert pid_at(second) == pids[1]
    assert supervisord.adapter.programs() == {"demo.a.0": new.digest, "demo.b.0": other.digest}
    assert len(list(supervisord.adapter.folder.specs("demo.a.0"))) == 1
    assert len(supervisord.marked()) == 2


def test_stop_start_remove(supervisord: SupervisordServer) -> None:
    (port,) = free_ports(1)
    adapter = supervisord.adapter
    adapter.apply(supervisord.server("demo.web.0", port), {})
    until(lambda: ask(port))
    adapter.stop("demo.web.0")
    assert adapter.status()["demo.web.0"].state == "stopped"
    assert ask(port) is None
    adapter.stop("demo.web.0")
    adapter.start("demo.web.0")
    until(lambda: ask(port))
    adapter.start("demo.web.0")
    adapter.remove("demo.web.0")
    assert (adapter.status(), adapter.programs(), supervisord.marked()) == ({}, {}, [])
    adapter.remove("demo.web.0")
    assert adapter.log_tail("demo.web.0").startswith("listening")
    with pytest.raises(Refused, match="BAD_NAME"):
        adapter.start("demo.web.0")


def test_what_cannot_be_started_says_why(supervisord: SupervisordServer) -> None:
    program = Program("demo.bad.0", ("no-such-program", "--x"), {}, str(supervisord.home))
    supervisord.adapter.apply(program, {})
    until(lambda: supervisord.adapter.status()["demo.bad.0"].state == "backoff")
    assert supervisord.adapter.status()["demo.bad.0"].detail
    assert "the program `no-such-program` is not on PATH" in supervisord.adapter.log_tail("demo.bad.0")
    assert "Traceback" not in supervisord.adapter.log_tail("demo.bad.0")
    gone = Program("demo.bad.1", (sys.executable,), {}, str(supervisord.home / "gone"))
    supervisord.adapter.apply(gone, {})
    until(lambda: f"{supervisord.home / 'gone'}: no such file" in supervisord.adapter.log_tail("demo.bad.1"))


@pytest.mark.parametrize("name", ["a:b", "../x", "a b", "", "a/b", "-a"])
def test_names_that_would_break_out_are_refused(supervisord: SupervisordServer, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be named"):
        supervisord.adapter.apply(Program(name, ("true",), {}, "/"), {})
    assert supervisord.adapter.programs() == {}


# --- secrets ---

SECRETS = {"FROM_ENV": "v-of-environment", "FROM_RUN_ENV": "v-of-run-env", "FROM_FILE": "v-of-file"}
REFERENCES = {"FROM_ENV": "${THE_SECRET}", "FROM_RUN_ENV": "${WRITTEN}", "FROM_FILE": "file:keys/token"}


def test_secrets_reach_the_program_at_each_start_and_no_file(tmp_path: Path) -> None:
    server = SupervisordServer(tmp_path / "home")
    (server.home / "keys").mkdir(parents=True)
    (server.home / "keys" / "token").write_text(SECRETS["FROM_FILE"] + "\n")
    (server.home / "run.env").write_text(f"WRITTEN={SECRETS['FROM_RUN_ENV']}\n")
    own = {"THE_SECRET": SECRETS["FROM_ENV"], "WRITTEN": SECRETS["FROM_RUN_ENV"]}
    adapter = server.another({**server.environ, **own})
    adapter.ensure_running()
    try:
        (port,) = free_ports(1)
        program = server.server("demo.web.0", port, secrets=REFERENCES)
        assert adapter.secrets(program) == SECRETS
        adapter.apply(program, adapter.secrets(program))
        until(lambda: ask(port))
        first = ask(port)
        ask(port, "/crash")
        until(lambda: pid_at(port) not in (None, (first or {})["pid"]))
        for seen in (first, ask(port)):
            assert {name: (seen or {})["environ"][name] for name in SECRETS} == SECRETS
            assert "THE_SECRET" not in (seen or {})["environ"]
        written = [path for path in (server.home / "supervisor").rglob("*") if path.is_file()]
        assert len(written) >= 5
        for path in written:
            assert not [value for value in SECRETS.values() if value.encode() in path.read_bytes()], path
    finally:
        adapter.shutdown()


def test_a_secret_that_a_restart_would_not_find_is_refused(supervisord: SupervisordServer) -> None:
    program = supervisord.server("demo.web.0", 1, secrets={"TOKEN": "${LATER}"})
    with pytest.raises(SecretMissing, match="environment variable LATER is not set"):
        supervisord.adapter.secrets(program)
    later = supervisord.another({**supervisord.environ, "LATER": "geheim"})
    with pytest.raises(SecretMissing, match=r"is not set where supervisord \(pid") as caught:
        later.secrets(program)
    assert "run.env" in str(caught.value)
    assert "geheim" not in str(caught.value)
    (supervisord.home / "run.env").write_text("LATER=other\n")
    with pytest.raises(SecretMissing, match="has another value"):
        later.secrets(program)
    (supervisord.home / "run.env").write_text("LATER=geheim\n")
    assert later.secrets(program) == {"TOKEN": "geheim"}
    with pytest.raises(SecretMissing, match="TOKEN"):
        later.apply(program, {})
    assert later.programs() == {}


# --- supervisord dies, hangs, is long in the path ---


def test_a_killed_supervisord_leaves_nothing_and_comes_back_with_one_of_each(
    supervisord: SupervisordServer,
) -> None:
    first, second = free_ports(2)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVE
    adapter = supervisord.adapter
    adapter.apply(supervisord.server("demo.a.0", first), {})
    adapter.apply(
        supervisord.server("demo.b.0", second, command=(sys.executable, "-c", stubborn, str(second)),
                           stop_seconds=1.0), {},
    )  # fmt: skip
    until(lambda: pid_at(first) and pid_at(second))
    before = {pid_at(first), pid_at(second)}
    supervisord.kill()
    for call in (adapter.status, adapter.programs, lambda: adapter.remove("demo.a.0"),
                 lambda: adapter.apply(supervisord.server("demo.c.0", 1), {})):  # fmt: skip
        with pytest.raises(Unreachable, match="does not answer"):
            call()
    until(lambda: ask(first) is None)
    assert pid_at(second) in before  # it ignores SIGTERM, and is ended by the next supervisord
    adapter.ensure_running()
    until(lambda: pid_at(first) and pid_at(second) not in (None, *before))
    assert len(supervisord.marked()) == 2
    assert not before & {process.pid for process in supervisord.marked()}
    assert set(adapter.programs()) == {"demo.a.0", "demo.b.0"}


def test_what_a_crashed_program_left_is_ended_before_it_starts_again(supervisord: SupervisordServer) -> None:
    # A worker in a session of its own, as servers with workers have: it outlives the program and holds the port.
    (port,) = free_ports(1)
    parent = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]], start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    command = (sys.executable, "-c", parent, str(port), SERVE)
    supervisord.adapter.apply(supervisord.server("demo.web.0", port, command=command), {})
    until(lambda: ask(port))
    worker = pid_at(port)
    main = supervisord.adapter.status()["demo.web.0"].pid
    assert main is not None
    os.kill(main, signal.SIGKILL)
    until(lambda: pid_at(port) not in (None, worker))
    assert "ended what an earlier life of the program left" in supervisord.adapter.log_tail("demo.web.0")
    assert len(supervisord.marked()) == 2


def test_nothing_runs_in_a_folder_that_was_never_used(tmp_path: Path) -> None:
    adapter = SupervisordServer(tmp_path).adapter
    assert (adapter.status(), adapter.programs(), adapter.running()) == ({}, {}, False)
    assert list(tmp_path.iterdir()) == []


def test_a_hanging_supervisord_is_not_doubled(
    supervisord: SupervisordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_supervisor_server, "_ANSWERS_WITHIN", 0.2)
    monkeypatch.setattr(_supervisor_server, "_COMES_UP_WITHIN", 0.5)
    os.kill(supervisord.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match=f"pid {supervisord.pid}.* does not answer"):
            supervisord.adapter.ensure_running()
        supervisord.adapter.folder.pid_file.rename(supervisord.home / "pid")
        with pytest.raises(Unreachable, match="lives in"):
            supervisord.adapter.ensure_running()
    finally:
        (supervisord.home / "pid").rename(supervisord.adapter.folder.pid_file)
        os.kill(supervisord.pid, signal.SIGCONT)


def test_many_at_once_start_one(tmp_path: Path) -> None:
    server = SupervisordServer(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(server.another(server.environ).ensure_running) for _ in range(4)]
        for one in started:
            one.result()  # none of them fails
    try:
        found = [p for p in psutil.process_iter(["cmdline"]) if server.adapter._is_server(p)]
        assert [process.pid for process in found] == [server.pid]
    finally:
        server.adapter.shutdown()


@pytest.mark.parametrize("name", ["a path with 100% 'quotes\" and ü", "long" * 30])
def test_odd_and_long_paths(name: str) -> None:
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    server = SupervisordServer(base / name)
    server.home.mkdir()
    server.adapter.ensure_running()
    try:
        (port,) = free_ports(1)
        server.adapter.apply(server.server("demo.web.0", port), {})
        until(lambda: ask(port))
        socket = server.adapter.folder.socket
        assert (socket.parent == server.adapter.folder.path) is (not name.startswith("long"))
        assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    finally:
        server.adapter.shutdown()
        shutil.rmtree(base)
    assert not socket.exists()


@pytest.mark.parametrize("name", ["a[b]", "a*", "a ;b", "a #b", "a\nb"])
def test_paths_that_cannot_be_written_down_are_refused(tmp_path: Path, name: str) -> None:
    server = SupervisordServer(tmp_path / name)
    with pytest.raises(UsageError, match="no way to write that path"):
        server.adapter.ensure_running()
    assert list(tmp_path.iterdir()) == []


def test_files_are_for_this_user_only(supervisord: SupervisordServer) -> None:
    supervisord.adapter.apply(supervisord.server("demo.web.0", free_ports(1)[0]), {})
    folder = supervisord.adapter.folder
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    for path in (folder.config, folder.ini("demo.web.0"), *folder.specs("demo.web.0")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- in the foreground ---

UP = """
import sys
from pathlib import Path
from ops_pipelines.adapters.supervisor import Supervisord
child = Supervisord(Path(sys.argv[1]) / "supervisor", {"PATH": sys.argv[2], "OPS_HOME": sys.argv[1]}).start_foreground()
print("child", child.pid, flush=True)
child.wait()
"""


def test_in_the_foreground_it_takes_over_and_dies_with_its_parent(supervisord: SupervisordServer) -> None:
    (port,) = free_ports(1)
    supervisord.adapter.apply(supervisord.server("demo.web.0", port), {})
    until(lambda: ask(port))
    daemon, program = psutil.Process(supervisord.pid), pid_at(port)
    up = subprocess.Popen([sys.executable, "-c", UP, str(supervisord.home), os.environ["PATH"]],
                          stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert up.stdout is not None
    child = next(int(line.split()[1]) for line in up.stdout if line.startswith("child"))
    assert not running(daemon)
    assert supervisord.pid == child
    server = psutil.Process(child)
    until(lambda: pid_at(port) not in (None, program))
    up.kill()
    up.wait()
    up.stdout.close()
    until(lambda: not supervisord.marked())
    assert wait_gone([server], 20) == []


def test_shutdown_waits_for_the_stubborn(supervisord: SupervisordServer) -> None:
    (port,) = free_ports(1)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVE
    command = (sys.executable, "-c", stubborn, str(port))
    supervisord.adapter.apply(supervisord.server("demo.web.0", port, command=command, stop_seconds=1.0), {})
    until(lambda: ask(port))
    server = psutil.Process(supervisord.pid)
    supervisord.adapter.shutdown()
    assert not wait_gone([server], 0)
    assert ask(port) is None
    assert supervisord.marked() == []
    supervisord.adapter.ensure_running()
    until(lambda: ask(port))  # a second start carries on with what was declared
    supervisord.adapter.remove("demo.web.0")


@pytest.mark.parametrize("gone", ["socket", "folder", "answer"])
def test_shutdown_ends_one_that_cannot_be_asked(
    supervisord: SupervisordServer, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr(_supervisor_server, "_ANSWERS_WITHIN", 0.5)
    monkeypatch.setattr(_supervisor_server, "KILLED_WITHIN", 1.0)
    (port,) = free_ports(1)
    supervisord.adapter.apply(supervisord.server("demo.web.0", port, stop_seconds=1.0), {})
    until(lambda: ask(port))
    server = psutil.Process(supervisord.pid)
    if gone == "socket":
        supervisord.adapter.folder.socket.unlink()
    elif gone == "folder":
        shutil.rmtree(supervisord.adapter.folder.path)
    else:
        server.suspend()
    supervisord.adapter.shutdown()
    assert not running(server)
    assert supervisord.marked() == []
    assert ask(port) is None
    supervisord.adapter.ensure_running()
    assert supervisord.pid != server.pid


def test_what_is_forgotten_does_not_come_back_with_the_next_one(supervisord: SupervisordServer) -> None:
    kept, other = free_ports(2)
    supervisord.adapter.apply(supervisord.server("demo.kept.0", kept), {})
    supervisord.adapter.apply(supervisord.server("demo.other.0", other), {})
    until(lambda: ask(kept) and ask(other))
    supervisord.adapter.shutdown()
    supervisord.adapter.forget("demo.other.0")
    supervisord.adapter.ensure_running()
    until(lambda: ask(kept))
    assert set(supervisord.adapter.status()) == {"demo.kept.0"}
    assert supervisord.adapter.log_tail("demo.other.0")
    assert not list(supervisord.adapter.folder.specs("demo.other.0"))


def test_a_broken_spec_harms_no_other(supervisord: SupervisordServer) -> None:
    first, second = free_ports(2)
    supervisord.adapter.apply(supervisord.server("demo.a.0", first), {})
    supervisord.adapter.apply(supervisord.server("demo.b.0", second), {})
    supervisord.adapter.shutdown()
    (spec,) = supervisord.adapter.folder.specs("demo.a.0")
    spec.write_text("{")
    supervisord.adapter.ensure_running()
    until(lambda: ask(second))
    until(lambda: supervisord.adapter.status()["demo.a.0"].state == "backoff")
    assert "could not be started" in supervisord.adapter.log_tail("demo.a.0")
    assert supervisord.adapter.programs()["demo.a.0"] == ""  # so a deploy applies it again
    supervisord.adapter.apply(supervisord.server("demo.a.0", first), {})
    until(lambda: ask(first))


def test_it_keeps_to_the_protocol(tmp_path: Path) -> None:
    from ops_pipelines.engines.ports import Supervisor

    keeps: Supervisor = Supervisord(tmp_path, {})
    assert keeps
