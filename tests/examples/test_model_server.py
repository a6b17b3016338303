"""The model server, with its real model: the protocol it speaks, and how it comes and goes."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.examples.model_server import (
    MODEL,
    PATIENCE,
    REPO,
    SCRIPT,
    Running,
    eventually,
    exchange,
    request_body,
)


@pytest.fixture
def start(cache: Path) -> Iterator[Callable[..., Running]]:
    """Start servers that end with the test, whatever becomes of it."""
    with ExitStack() as stack:

        def one(*arguments: str, port: int = 0, cache: Path = cache) -> Running:
            running = Running(cache, *arguments, port=port)
            stack.callback(running.kill)
            return running

        yield one


@pytest.fixture(scope="module")
def server(cache: Path) -> Iterator[Running]:
    """One server for the tests that leave it as it was."""
    running = Running(cache, "--worker", "only")
    try:
        running.logged("ready")
        yield running
    finally:
        running.kill()


@pytest.fixture
def slow_cache(cache: Path, tmp_path: Path) -> tuple[Path, Callable[[], None]]:
    """The same model with a config.json that is a pipe: loading waits until the test calls the function."""
    folder = tmp_path / "hub"
    shutil.copytree(cache, folder, symlinks=True, copy_function=os.link)
    config = next(folder.glob(f"{REPO}/snapshots/*/config.json"))
    content = config.read_bytes()
    config.unlink()
    os.mkfifo(config)

    def let_it_load() -> None:
        config.write_bytes(content)

    return folder, let_it_load


def test_embeddings_over_http_are_the_models(server: Running, model: Any) -> None:
    texts = ["first", "a second, longer text", "third"]
    answer = server.embed(texts)
    expected = model.encode(texts)
    assert answer.status == 200
    assert answer.headers["X-Worker"] == "only"
    assert answer.json["model"] == MODEL
    assert answer.json["usage"] == {"prompt_tokens": expected.tokens, "total_tokens": expected.tokens}
    assert [(d["object"], d["index"]) for d in answer.json["data"]] == [("embedding", i) for i in range(3)]
    assert np.array([d["embedding"] for d in answer.json["data"]]) == pytest.approx(
        expected.vectors, abs=1e-6
    )


def test_base64_carries_the_same_numbers(server: Running) -> None:
    plain = server.embed("one text", dimensions=384).json["data"][0]["embedding"]
    packed = server.embed("one text", encoding_format="base64").json["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), "<f4") == pytest.approx(plain, abs=1e-7)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        pytest.param(b"{", 400, "invalid_json", None, id="not JSON"),
        pytest.param(b"\xff", 400, "invalid_json", None, id="not UTF-8"),
        pytest.param(b"[" * 200_000, 400, "invalid_json", None, id="nested too deep"),
        pytest.param(b"", 400, "invalid_json", None, id="no body"),
        pytest.param(b"[]", 400, "invalid_json", None, id="not an object"),
        pytest.param(b'{"input": "x"}', 400, "invalid_value", "model", id="no model"),
        pytest.param(request_body("x", model="gpt-4"), 404, "model_not_found", "model", id="unknown model"),
        pytest.param(request_body("x", dimensions=12), 400, "invalid_value", "dimensions", id="dimensions"),
        pytest.param(
            request_body("x", encoding_format="hex"), 400, "invalid_value", "encoding_format", id="encoding"
        ),
        pytest.param(b'{"model": "%s"}' % MODEL.encode(), 400, "invalid_value", "input", id="no input"),
        pytest.param(request_body("x", input=[1, 2]), 400, "invalid_value", "input", id="token ids"),
        pytest.param(request_body("\ud800"), 400, "invalid_value", "input", id="half a surrogate pair"),
        pytest.param(request_body(""), 400, "empty_input", "input", id="empty text"),
        pytest.param(request_body([]), 400, "empty_input", "input", id="empty list"),
        pytest.param(request_body(["x", ""]), 400, "empty_input", "input", id="one empty text"),
        pytest.param(request_body(["x"] * 257), 413, "input_too_large", "input", id="too many texts"),
        pytest.param(request_body("x" * 3_000_000), 413, "input_too_large", "input", id="too many bytes"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    server: Running, body: bytes, status: int, code: str, param: str | None
) -> None:
    before = server.metric("model_server_requests_total", status=str(status)) or 0
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    answer = exchange(connection, "POST", "/v1/embeddings", body)
    assert answer.status == status
    error = answer.json["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert error["message"]
    assert answer.headers["X-Worker"] == "only"
    assert server.metric("model_server_requests_total", status=str(status)) == before + 1
    kept = connection.sock
    assert exchange(connection, "GET", "/health", None).status == 200, (
        "the connection goes on after a refusal"
    )
    assert connection.sock is kept
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/api/embed", 404),
        ("GET", "/v1/embeddings", 405),
        ("POST", "/health", 405),
        ("BREW", "/health", 405),
    ],
)
def test_other_paths_and_methods_are_refused_in_json(
    server: Running, method: str, path: str, status: int
) -> None:
    answer = server.ask(method, path, b"{}")
    assert (answer.status, answer.json["error"]["type"]) == (status, "invalid_request_error")
    assert answer.headers["X-Worker"] == "only"
    assert (answer.headers["Allow"] is not None) == (status == 405)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no request line"),
        pytest.param(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414, id="overlong line"),
        pytest.param(
            b"POST /v1/embeddings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, id="chunked"
        ),
        pytest.param(
            b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, id="negative length"
        ),
    ],
)
def test_what_is_not_http_as_we_speak_it_is_answered_and_closed(
    server: Running, sent: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as raw:
        raw.sendall(sent)
        head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")  # to the end: the server closes
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"X-Worker: only" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_a_client_that_waits_for_100_continue_gets_it(server: Running) -> None:
    body = request_body("patient")
    head = f"POST /v1/embeddings HTTP/1.1\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as raw:
        raw.sendall(head.encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 100 ")
        raw.sendall(body)
        assert raw.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_health_and_models_name_what_is_served(server: Running, cache: Path) -> None:
    revision = (cache / REPO / "refs" / "main").read_text()
    expected = {"status": "ok", "model": MODEL, "revision": revision, "worker": "only"}
    for admin in (False, True):
        answer = server.ask("GET", "/health?probe=1", admin=admin)
        assert (answer.status, answer.json) == (200, expected)
    (listed,) = server.ask("GET", "/v1/models").json["data"]
    assert (listed["id"], listed["object"], listed["revision"]) == (MODEL, "model", revision)
    assert server.ask("POST", "/v1/embeddings", request_body("x"), admin=True).status == 404


def test_metrics_count_requests_and_their_time_but_no_probes(server: Running) -> None:
    def read() -> list[float | None]:
        return [
            server.metric("model_server_requests_total", status="200"),
            server.metric("model_server_request_duration_seconds_count"),
        ]

    eventually(lambda: server.metric("model_server_requests_in_flight") == 0, "idle")
    before = read()
    server.ask("GET", "/health")
    for _ in range(3):
        assert server.embed("count me").status == 200
    eventually(lambda: server.metric("model_server_requests_in_flight") == 0, "idle again")
    assert [after - (was or 0) for after, was in zip(read(), before, strict=True) if after is not None] == [
        3,
        3,
    ]
    assert server.metric("model_server_model_loaded") == 1
    answer = server.ask("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["X-Worker"] == "only"


def test_until_the_model_is_loaded_the_answer_is_503(
    start: Callable[..., Running], slow_cache: tuple[Path, Callable[[], None]]
) -> None:
    folder, let_it_load = slow_cache
    server = start(cache=folder)
    answer = server.ask("GET", "/health")
    assert (answer.status, answer.json["status"]) == (503, "loading")
    refused = server.embed("too early")
    assert (refused.status, refused.json["error"]["code"]) == (503, "model_loading")
    assert server.metric("model_server_model_loaded") == 0
    let_it_load()
    server.logged("ready")
    assert server.ask("GET", "/health").status == 200
    assert server.metric("model_server_model_loaded") == 1


@pytest.fixture
def shared_port() -> Iterator[int]:
    """A free port that stays ours: bound and not listening, so that it is given no connection."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_workers_on_one_port_share_its_connections(start: Callable[..., Running], shared_port: int) -> None:
    workers = {name: start("--reuse-port", "--worker", name, port=shared_port) for name in ("w1", "w2")}
    for worker in workers.values():
        worker.logged("ready")
    answered = dict.fromkeys(workers, 0)
    for _ in range(100):  # each goes to either with even odds: all to one is 1 in 10^29
        answer = workers["w1"].embed("who answers?")
        assert answer.status == 200
        answered[answer.headers["X-Worker"]] += 1
        if min(answered.values()) >= 3:
            break
    assert min(answered.values()) >= 3
    for name, worker in workers.items():
        assert worker.ask("GET", "/health", admin=True).json["worker"] == name
        assert worker.metric("model_server_requests_total", status="200") == answered[name]

    assert workers["w1"].stop() == 0
    assert {workers["w2"].embed("and now?").headers["X-Worker"] for _ in range(10)} == {"w2"}


def test_a_worker_that_still_loads_is_given_no_requests(
    start: Callable[..., Running], shared_port: int, slow_cache: tuple[Path, Callable[[], None]]
) -> None:
    folder, let_it_load = slow_cache
    start("--reuse-port", "--worker", "old", port=shared_port).logged("ready")
    new = start("--reuse-port", "--worker", "new", port=shared_port, cache=folder)
    assert new.ask("GET", "/health", admin=True).status == 503
    assert {new.embed("hello").headers["X-Worker"] for _ in range(20)} == {"old"}
    let_it_load()
    new.logged("ready")
    eventually(lambda: new.embed("hello").headers["X-Worker"] == "new", "the new worker answers")


def test_sigterm_finishes_what_is_in_flight_and_what_waits(start: Callable[..., Running]) -> None:
    server = start("--worker", "leaving")
    server.logged("ready")
    texts = ["some words to chew on " * 12] * 48
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(server.embed, texts) for _ in range(3)]
        eventually(lambda: server.metric("model_server_requests_in_flight") == 3, "three in flight")
        server.process.send_signal(signal.SIGTERM)
        server.logged("stopping")
        eventually(lambda: server.ask("GET", "/health", admin=True).status == 503, "a probe sees it stop")
        answers = [future.result(PATIENCE) for future in asked]
    assert [answer.status for answer in answers] == [200] * 3
    assert [len(answer.json["data"]) for answer in answers] == [48] * 3
    assert "close" in [answer.headers["Connection"] for answer in answers]
    assert server.process.wait(PATIENCE) == 0
    assert server.logged("stopped")["unanswered"] == 0


def test_idle_connections_do_not_hold_up_a_stop(start: Callable[..., Running]) -> None:
    server = start()
    server.logged("ready")
    used = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    assert exchange(used, "GET", "/health", None).status == 200
    with socket.create_connection(("127.0.0.1", server.port)):
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 1
    used.close()


def test_what_cannot_start_says_why_and_fails(start: Callable[..., Running], tmp_path: Path) -> None:
    empty = start(cache=tmp_path)
    assert "No such file" in empty.logged("load_failed")["error"]
    assert empty.process.wait(PATIENCE) == 1

    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        refused = subprocess.run(
            [sys.executable, str(SCRIPT), "--cache", str(tmp_path), "--port", str(port)],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    assert refused.returncode == 1
    assert json.loads(refused.stderr)["event"] == "bind_failed"
