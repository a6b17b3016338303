"""The door to the real parts: a missing part skips or fails, is never half there, and make passes signals."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts import require
from tools.parts import Part, PartError, all_parts, cache, command, debian
from tools.parts import __main__ as installer

CHECKOUT = Path(__file__).resolve().parents[1]
NAMES = {
    "postgres",
    "chromium",
    "prometheus",
    "ollama",
    "milvus",
    "seaweedfs",
    "milvus-lite",
    "supervisor",
    "redis",
}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it: an empty cache, an empty PATH folder (returned), no environment."""
    monkeypatch.setenv("OPS_PARTS_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", str(tmp_path / "no-venv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("OPS_TEST_REQUIRE", raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def program(path: Path, script: str = "exit 0") -> Path:
    """A small program at this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def part(name: str = "thing", install: Callable[[Path], None] | None = None) -> Part:
    return Part(name=name, version="1", binaries=(name,), how_to_get="ask for it", install=install)


def installs(monkeypatch: pytest.MonkeyPatch, *parts: Part) -> int:
    """`make parts` with this catalog."""
    monkeypatch.setattr(installer, "all_parts", lambda: {each.name: each for each in parts})
    return installer.main([])


# --- require


def test_the_catalog_names_every_part_that_tests_ask_for() -> None:
    assert set(all_parts()) >= NAMES
    assert all(each.how_to_get.strip() and "\n" not in each.how_to_get for each in all_parts().values())


@pytest.mark.parametrize("name", sorted(NAMES - {"postgres"}))  # Debian's PostgreSQL is found without PATH
def test_a_missing_part_skips_and_says_how_to_get_it(bare: Path, name: str) -> None:
    with pytest.raises(pytest.skip.Exception, match=f"^{name} is not here: (make parts|uv sync)"):
        require(name)


@pytest.mark.parametrize("asked", ["all", "ollama", "postgres, ollama"])
def test_a_missing_part_fails_where_it_is_asked_for(
    bare: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("OPS_TEST_REQUIRE", asked)
    with pytest.raises(pytest.fail.Exception, match="ollama is not here: make parts"):
        require("ollama")


@pytest.mark.parametrize("asked", ["", "postgres", "ollama-next"])
def test_asking_for_another_part_still_skips(bare: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("OPS_TEST_REQUIRE", asked)
    with pytest.raises(pytest.skip.Exception):
        require("ollama")


def test_a_misspelt_part_is_a_failure_and_not_a_skip_for_ever() -> None:
    with pytest.raises(pytest.fail.Exception, match="no part is named postgress"):
        require("postgress")


def test_the_parts_of_our_own_environment_are_found() -> None:
    assert require("seaweedfs").path.parent == Path(sys.executable).parent


# --- find


def test_the_cache_wins_over_path(bare: Path) -> None:
    program(bare / "ollama")
    assert require("ollama").path == bare / "ollama"
    ours = program(all_parts()["ollama"].folder / "bin" / "ollama")
    assert require("ollama").path == ours


def test_a_part_with_one_program_missing_is_not_here(bare: Path) -> None:
    program(bare / "prometheus")
    assert not all_parts()["prometheus"].is_present()
    program(bare / "promtool")
    assert require("prometheus")["promtool"] == bare / "promtool"


def test_a_file_that_may_not_be_run_is_not_here(bare: Path) -> None:
    program(bare / "ollama").chmod(0o644)
    assert not all_parts()["ollama"].is_present()


# --- make parts


def test_a_part_is_installed_once(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Path] = []

    def install(folder: Path) -> None:
        calls.append(folder)
        program(folder / "bin" / "thing")

    assert installs(monkeypatch, part(install=install)) == 0
    assert "installed in 0 s" in capsys.readouterr().out
    assert installs(monkeypatch, part(install=install)) == 0
    assert "present: " in capsys.readouterr().out
    assert len(calls) == 1


def test_a_failed_part_leaves_nothing_and_does_not_stop_the_next(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(folder: Path) -> None:
        program(folder / "bin" / "broken")
        raise PartError("the disk is full")

    def works(folder: Path) -> None:
        program(folder / "bin" / "thing")

    broken = part("broken", breaks)
    assert installs(monkeypatch, broken, part(install=works)) == 1
    out = capsys.readouterr().out
    assert "cannot: the disk is full\n  how to get it: ask for it" in out
    assert "thing        1        installed" in out
    assert not broken.is_present()
    assert [path.name for path in cache.root().iterdir() if "broken" in path.name] == []


def test_a_part_that_does_not_run_is_not_installed(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(folder: Path) -> None:
        program(folder / "bin" / "thing", "echo wrong machine; exit 3")

    assert installs(monkeypatch, part(install=install)) == 1
    assert "ended with 3" in (out := capsys.readouterr().out)
    assert "wrong machine" in out
    assert not part().is_present()
    assert installs(monkeypatch, part(install=install)) == 1


def test_debian_packages_off_debian_say_what_to_install(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packaged = Part(name="thing", version="1", binaries=("thing",), how_to_get="ask", debian=("things",))
    assert installs(monkeypatch, packaged) == 1
    assert "apt-get install --no-install-recommends things" in capsys.readouterr().out


def test_services_stay_down_while_packages_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "NO_START", policy)
    with debian.services_stay_down():
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    policy.write_text("the owner's")
    with debian.services_stay_down():
        pass
    assert policy.read_text() == "the owner's"


# --- commands


def test_a_command_past_its_time_ends_with_all_it_started(bare: Path, tmp_path: Path) -> None:
    sleeper = program(tmp_path / "sleeper", f"/bin/sleep 60 & echo $! > {tmp_path}/pid; echo waiting; wait")
    with pytest.raises(PartError, match=r"was not done after 1 s[^\0]*waiting"):
        command.run([sleeper], timeout=1)
    assert gone(int((tmp_path / "pid").read_text()))


def test_output_is_kept_only_on_failure(bare: Path, tmp_path: Path) -> None:
    assert command.run([program(tmp_path / "good", "echo fine")], timeout=10) == "fine\n"
    with pytest.raises(PartError, match="ended with 4"):
        command.run([program(tmp_path / "bad", "echo why; exit 4")], timeout=10)
    kept = list((cache.root() / "logs").iterdir())
    assert [path.read_text() for path in kept] == ["why\n"]


def test_a_program_that_is_not_there_is_named(bare: Path) -> None:
    with pytest.raises(PartError, match="no-such-program does not start"):
        command.run(["no-such-program"], timeout=10)


# --- the Makefile


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process ends (a zombie has ended)."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Our Makefile over an environment that is in order, whose `ops-pipelines up` is a server that waits."""
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(CHECKOUT / name, tmp_path)
    program(
        tmp_path / ".venv" / "bin" / "ops-pipelines",
        "trap 'kill $child; wait $child; echo stopped > stopped; exit 0' INT TERM\n"
        'sleep 60 & child=$!\necho "$$ $child $*" > pids.new; mv pids.new pids\nwait $child',
    )
    # Where no `uv` is on PATH, the Makefile goes by its own, which is older than what it made.
    program(tmp_path / ".ops-tools" / "bin" / "uv", "exit 0")
    (tmp_path / ".venv" / ".synced").touch()
    return tmp_path


@pytest.mark.parametrize("target", ["run", "test", "check", "parts", "bench", "clean", "help"])
def test_every_target_is_there(made: Path, target: str) -> None:
    said = subprocess.run(["make", "-n", target], cwd=made, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert " sync " not in said.stdout, "an environment in order is not made again"


def test_a_changed_lock_is_synced(made: Path) -> None:
    later = time.time() + 5
    os.utime(made / "uv.lock", (later, later))
    said = subprocess.run(["make", "-n", "check"], cwd=made, capture_output=True, text=True, check=True)
    assert " sync --locked --all-extras" in said.stdout


@pytest.mark.parametrize("how", ["terminal", "term"])
def test_make_run_stops_with_all_it_started(made: Path, how: str) -> None:
    # A terminal sends Ctrl-C to the whole group; a service manager sends SIGTERM to make alone.
    make = subprocess.Popen(["make", "run"], cwd=made, start_new_session=True)
    try:
        until = time.monotonic() + 20
        while not (made / "pids").exists() and time.monotonic() < until:
            time.sleep(0.05)
        server, child, words = (made / "pids").read_text().split(maxsplit=2)
        assert words.strip() == "up"
        if how == "terminal":
            os.killpg(make.pid, signal.SIGINT)
        else:
            make.terminate()
        make.wait(10)
        assert gone(int(server))
        assert gone(int(child))
        assert (made / "stopped").exists(), "it was let to end by itself"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(make.pid, signal.SIGKILL)


def test_clean_keeps_what_make_run_stored(made: Path) -> None:
    for cached in (".mypy_cache", "ops_pipelines/policy/__pycache__", "tests/__pycache__"):
        (made / cached).mkdir(parents=True)
    for kept in (".ops/data/__pycache__", ".venv/lib/__pycache__"):
        (made / kept).mkdir(parents=True)
    said = subprocess.run(["make", "clean"], cwd=made, capture_output=True, text=True, check=True)
    left = {str(path.relative_to(made)) for path in made.rglob("__pycache__")}
    assert left == {".ops/data/__pycache__", ".venv/lib/__pycache__"}
    assert not (made / ".mypy_cache").exists()
    assert "kept: .ops" in said.stdout
