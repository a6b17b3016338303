"""Stands in for model servers that need a card (vLLM, Aphrodite) or are somebody else's (OpenAI): their addresses and
metrics, with a real small model behind them that Ollama runs.

`serving.py --as vllm --model=REPO [--port=N]` serves what lies in the hub cache under that name, as a file `*.gguf`,
and ends where it is not there, as the real ones do without a hub. `--as openai` serves embeddings of any name out of
/models, with as many numbers as text-embedding-3-large has, and words.

Names: https://docs.vllm.ai/en/v0.11.0/design/metrics.html and the OpenAI API reference.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_INNER = 11999
_PORTS = {"vllm": 8000, "aphrodite": 2242, "openai": 8080}
_NUMBERS = 3072


class Serving:
    """What is served, and how much of it was."""

    def __init__(self, kind: str, model: str, name: str, key: str) -> None:
        self.kind, self.model, self.name, self.key = kind, model, name, key
        self.lock = threading.Lock()
        self.running = 0
        self.done = 0
        self.seconds = 0.0
        self.prompt = 0
        self.written = 0

    def metrics(self) -> str:
        """What the real one tells Prometheus, as far as the stacks' rules and dashboards ask."""
        label = f'{{model_name="{self.name}"}}'
        prefix = "aphrodite" if self.kind == "aphrodite" else "vllm"
        gauges = {"num_requests_running": self.running, "num_requests_waiting": 0}
        gauges |= {"gpu_cache_usage_perc": 0} if prefix == "aphrodite" else {"kv_cache_usage_perc": 0}
        counters = {"prompt_tokens_total": self.prompt, "generation_tokens_total": self.written}
        lines = [
            f"# TYPE {prefix}:{name} gauge\n{prefix}:{name}{label} {value}" for name, value in gauges.items()
        ]
        lines += [
            f"# TYPE {prefix}:{name} counter\n{prefix}:{name}{label} {value}"
            for name, value in counters.items()
        ]
        finished = f'{{finished_reason="stop",model_name="{self.name}"}}'
        lines.append(
            f"# TYPE {prefix}:request_success_total counter\n{prefix}:request_success_total{finished} {self.done}"
        )
        for name in ("e2e_request_latency_seconds", "time_to_first_token_seconds"):
            full = f"{prefix}:{name}"
            last = f'{{le="+Inf",model_name="{self.name}"}}'
            lines.append(f"# TYPE {full} histogram\n{full}_bucket{last} {self.done}")
            lines.append(f"{full}_sum{label} {self.seconds}\n{full}_count{label} {self.done}")
        return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    serving: Serving

    def do_GET(self) -> None:
        match self.path:
            case "/health":
                self.answer(200, b"", "text/plain")
            case "/metrics":
                self.answer(200, self.serving.metrics().encode(), "text/plain; version=0.0.4")
            case "/version":
                self.answer(200, b'{"version":"0.11.0"}')
            case "/v1/models" if self.permitted():
                listed = {"id": self.serving.name, "object": "model", "owned_by": self.serving.kind}
                self.answer(200, json.dumps({"object": "list", "data": [listed]}).encode())
            case "/v1/models":
                self.answer(401, b'{"error":"Unauthorized"}')
            case _:
                self.answer(404, b'{"detail":"Not Found"}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if not self.permitted():
            self.answer(401, b'{"error":"Unauthorized"}')
        elif self.path not in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings"):
            self.answer(404, b'{"detail":"Not Found"}')
        elif self.serving.kind != "openai" and body.get("model") not in (None, self.serving.name):
            words = f"The model `{body['model']}` does not exist."
            self.answer(
                404, json.dumps({"error": {"message": words, "type": "NotFoundError", "code": 404}}).encode()
            )
        else:
            self.passed_on(body)

    def permitted(self) -> bool:
        return not self.serving.key or self.headers.get("Authorization") == f"Bearer {self.serving.key}"

    def passed_on(self, body: dict[str, Any]) -> None:
        """Ask the inner server, and answer as it does, streams piece by piece."""
        wide = self.serving.kind == "openai" and self.path == "/v1/embeddings"
        asked = {**body, "model": "all-minilm" if wide else self.serving.model}
        for name in ("dimensions", "encoding_format") if wide else ():
            asked.pop(name, None)
        began = time.monotonic()
        with self.serving.lock:
            self.serving.running += 1
        try:
            inner = http.client.HTTPConnection("127.0.0.1", _INNER, timeout=600)
            inner.request("POST", self.path, json.dumps(asked), {"Content-Type": "application/json"})
            found = inner.getresponse()
            if body.get("stream") and found.status == 200:
                self.stream(found)
            else:
                self.answer(found.status, self.told(found.read(), body, wide=wide))
        finally:
            with self.serving.lock:
                self.serving.running -= 1
                self.serving.done += 1
                self.serving.seconds += time.monotonic() - began

    def told(self, content: bytes, body: dict[str, Any], *, wide: bool) -> bytes:
        """The answer under the name that was asked for."""
        answer = json.loads(content)
        if "error" in answer:
            return content
        answer["model"] = body.get("model") or self.serving.name
        usage = answer.get("usage") or {}
        self.serving.prompt += usage.get("prompt_tokens") or 0
        self.serving.written += usage.get("completion_tokens") or 0
        for one in answer["data"] if wide else ():
            count = body.get("dimensions") or _NUMBERS
            numbers = (one["embedding"] * (count // len(one["embedding"]) + 1))[:count]
            length = sum(number * number for number in numbers) ** 0.5
            one["embedding"] = [number / length for number in numbers]
        return json.dumps(answer).encode()

    def stream(self, found: http.client.HTTPResponse) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        ours, theirs = json.dumps(self.serving.name).encode(), json.dumps(self.serving.model).encode()
        for line in found:
            piece = line.replace(b'"model":' + theirs, b'"model":' + ours)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Requests are not printed."""


def file_of(model: str) -> Path:
    """The model's file in the hub cache."""
    hub = Path(
        os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "/root/.cache/huggingface")) / "hub"
    )
    home = hub / f"models--{model.replace('/', '--')}"
    try:
        commit = (home / "refs/main").read_text().strip()
        return next((home / "snapshots" / commit).glob("*.gguf")).resolve(strict=True)
    except (OSError, StopIteration):
        sys.exit(
            f"OSError: We couldn't connect to the hub to load the files of {model}, which are not in {hub}"
        )


def inner(store: Path, model: Path | None) -> subprocess.Popen[bytes]:
    """Ollama on a store of its own; with a model's file it serves that one as `served`, and of an earlier start nothing
    is left, as with the real ones."""
    if model is not None:
        shutil.rmtree(store, ignore_errors=True)
    environ = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{_INNER}", "OLLAMA_MODELS": str(store),
               "OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_CONTEXT_LENGTH": "2048"}  # fmt: skip
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(["ollama", "serve"], env=environ, stdout=quiet, stderr=quiet)
    for _ in range(600):
        try:
            post("/api/show", b'{"model":"none"}')
            break
        except OSError:
            time.sleep(0.1)
    if model is not None:
        content = model.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        # Threads wait for each other by spinning: on a machine that does much else, two are many times slower than one.
        made = {"model": "served", "files": {"model.gguf": digest}, "parameters": {"num_thread": 1}}
        for path, body in (
            (f"/api/blobs/{digest}", content),
            ("/api/create", json.dumps({**made, "stream": False}).encode()),
            ("/api/generate", b'{"model":"served"}'),
        ):
            status = post(path, body)
            if status >= 300:
                sys.exit(f"{model} cannot be served: {path} answers {status}")
    return process


def post(path: str, content: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", _INNER, timeout=300)
    connection.request("POST", path, content)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", dest="kind", choices=_PORTS, required=True)
    parser.add_argument("--model", default="gpt-4o")
    parser.add_argument("--served-model-name")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int)
    told, others = parser.parse_known_args()
    print("serving", told.model, "told also:", *others, flush=True)
    if told.kind == "openai":
        process, model = inner(Path("/models"), None), "smollm2:135m"
    else:
        process, model = inner(Path("/tmp/serving"), file_of(told.model)), "served"  # noqa: S108 - inside its container
    Handler.serving = Serving(
        told.kind, model, told.served_model_name or told.model, os.environ.get("APHRODITE_API_KEY", "")
    )
    threading.Thread(target=lambda: os._exit(process.wait() or 1), daemon=True).start()
    ThreadingHTTPServer((told.host, told.port or _PORTS[told.kind]), Handler).serve_forever()


if __name__ == "__main__":
    main()
