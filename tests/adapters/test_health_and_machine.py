"""Health checks against real sockets; what is free on this machine."""

from __future__ import annotations

import os
import socket
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters import health, machine
from ops_pipelines.adapters.machine import LocalMachine, choose_port, holders, port_state
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.machine import Card
from tests.serving import serve
from tests.waiting import free_port


class Answers(BaseHTTPRequestHandler):
    released = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/hang":
            self.released.wait(10)
        self.send_response(int(self.path[1:4]) if self.path[1:4].isdigit() else 200)
        if self.path.startswith("/302"):
            self.send_header("Location", "/200")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Answers.released.clear()
    with serve(Answers) as url:
        yield int(url.rpartition(":")[2])
        Answers.released.set()


@pytest.fixture
def unused() -> int:
    return free_port()


@pytest.mark.parametrize(
    ("path", "ok", "words"),
    [
        ("/", True, "answers 200"),
        ("/204", True, "answers 204"),
        ("/302", False, "answers 302"),
        ("/404", False, "answers 404"),
        ("/503", False, "answers 503"),
        ("/hang", False, "did not answer within 0.3 s"),
    ],
)
def test_http(port: int, path: str, ok: bool, words: str) -> None:
    finding = health.check_http("c", f"http://127.0.0.1:{port}{path}", timeout=0.3)
    assert finding.ok is ok
    assert words in finding.message


def test_nobody_listens_is_bad_and_no_answer_about_a_name_is_unknown(unused: int) -> None:
    for finding in (
        health.check_http("c", f"http://127.0.0.1:{unused}/"),
        health.check_tcp("c", "127.0.0.1", unused),
    ):
        assert finding.ok is False
        assert "nobody listens there" in finding.message
    for finding in (
        health.check_http("c", "http://no-such-host.invalid/"),
        health.check_tcp("c", "no-such-host.invalid", 1),
    ):
        assert finding.ok is None
        assert "could not be asked" in finding.message


def test_what_does_not_speak_http_is_bad() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        finding = health.check_http("c", f"http://127.0.0.1:{server.getsockname()[1]}/")
    assert finding.ok is False


@pytest.mark.parametrize(
    ("address", "path", "ok"),
    [
        ("http://127.0.0.1:{port}", None, True),
        ("http://127.0.0.1:{port}/503", None, False),
        ("http://127.0.0.1:{port}", "/503", False),
        ("redis://127.0.0.1:{port}", None, True),
        ("redis://127.0.0.1:{unused}/0", None, False),
        ("127.0.0.1:{port}", None, True),
        ("unheard-of://127.0.0.1", None, False),
        ("http://127.0.0.1:99999", None, False),
        ("", None, False),
    ],
)
def test_addresses(port: int, unused: int, address: str, path: str | None, ok: bool) -> None:
    finding = health.check_address("c", address.format(port=port, unused=unused), path=path)
    assert finding.ok is ok


def test_a_password_in_an_address_is_not_told(unused: int) -> None:
    for address in (f"http://user:geheim@127.0.0.1:{unused}/x?key=geheim", "redis://:geheim@nowhere"):
        finding = health.check_address("c", address)
        assert finding.ok is not True
        assert "geheim" not in str(finding)


def test_ports(port: int, unused: int) -> None:
    assert port_state(unused) == "free"
    assert port_state(port) == "taken"
    with socket.create_server(("0.0.0.0", 0)) as everywhere:  # noqa: S104 - a listener of any address counts
        assert port_state(everywhere.getsockname()[1]) == "taken"
    (holder,) = holders(port) or ()
    assert holder.pid == os.getpid()
    assert holder.name
    assert holders(unused) == ()
    assert choose_port(unused) == unused
    assert choose_port(port) > port
    assert choose_port(unused, taken={unused}) > unused
    with pytest.raises(OpsError, match=f"none of the ports {port} to {port} is free"):
        choose_port(port, tries=1)


def test_a_connection_that_is_closing_does_not_make_a_port_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = int(server.getsockname()[1])
        client = socket.create_connection(("127.0.0.1", number))
        connection, _ = server.accept()
        connection.close()  # the side that closes first keeps the port in TIME_WAIT
        client.close()
    assert port_state(number) == "free"


def test_programs_are_found_as_they_will_be_when_started(tmp_path: Path) -> None:
    here = LocalMachine(os.environ["PATH"])
    script = tmp_path / "serve"
    script.write_text("#!/bin/sh\n")
    assert here.find_program("sh", {}, tmp_path) is not None
    assert here.find_program("sh", {"PATH": str(tmp_path)}, tmp_path) is None
    assert here.find_program("./serve", {}, tmp_path) is None  # not executable
    script.chmod(0o755)
    assert here.find_program("./serve", {}, tmp_path) == script
    assert here.find_program("serve", {"PATH": str(tmp_path)}, tmp_path) == script
    assert here.find_program(sys.executable, {}, tmp_path) == Path(sys.executable)


def test_disk_memory_and_folders(tmp_path: Path) -> None:
    here = LocalMachine("")
    disk, below = here.disk(tmp_path), here.disk(tmp_path / "not" / "there" / "yet")
    assert disk is not None
    assert below is not None
    assert disk.device == below.device
    assert disk.free > 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 1000)
    assert here.used(tmp_path) == 1000
    assert here.used(tmp_path / "none") == 0
    memory = here.memory()
    assert memory is not None
    assert 0 < memory.available <= memory.total
    assert (here.is_folder(tmp_path), here.is_folder(tmp_path / "a" / "b")) == (True, False)
    assert os.getpid() in here.tree(os.getpid())
    assert here.tree(2**22 + 1) == frozenset()


def test_cards_are_unknown_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine.cards() == "nvidia-ml-py is not installed"

    class NVMLError(Exception):
        pass

    def refuses() -> None:
        raise NVMLError("NVML Shared Library Not Found")

    library = types.SimpleNamespace(NVMLError=NVMLError, nvmlInit=refuses)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert machine.cards() == "NVML cannot be asked (NVML Shared Library Not Found)"


def test_cards_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    library = types.SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: closed.append(True),
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _: types.SimpleNamespace(total=10, free=4),
        nvmlDeviceGetName=lambda _: b"Card",
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert machine.cards() == (Card(0, "Card", 10, 4),)
    assert closed
