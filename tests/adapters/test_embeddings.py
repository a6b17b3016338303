"""Embedding servers: a real one, and answers that no good one gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from ops_pipelines.adapters.embeddings import OllamaEmbeddings, OpenAIEmbeddings
from ops_pipelines.errors import Refused, SchemaMismatch, Unreachable
from tests.examples.model_server import MODEL
from tests.serving import serve
from tests.waiting import free_port

Embedder = OpenAIEmbeddings | OllamaEmbeddings
OLLAMA_TAGS = {
    "models": [
        {
            "name": "minilm:latest",
            "model": "minilm:latest",
            "modified_at": "2026-11-21T10:18:35.018732354Z",
            "size": 45949702,
            "digest": "6cf97aa9ab2e7b3b0dc526238904e189ea5bf0076e1d102b61d21fa09e34caea",
            "details": {"parent_model": "", "format": "gguf", "family": "bert", "families": ["bert"],
                        "parameter_size": "22.57M", "quantization_level": "F16"},
        }
    ]
}  # fmt: skip


@contextmanager
def answering(
    answer: Callable[[str, Any], tuple[int, Any]],
) -> Iterator[tuple[str, list[tuple[str, Any, str]]]]:
    """A server with one answer for all, and what was asked of it: path, body, authorization."""
    asked: list[tuple[str, Any, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            asked.append((self.path, body, self.headers.get("Authorization", "")))
            status, content = answer(self.path, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with serve(Handler) as url:
        yield url, asked


def openai_backwards(path: str, body: Any) -> tuple[int, Any]:
    """As `/v1/embeddings` may: in any order, each with its index."""
    data = [
        {"object": "embedding", "index": i, "embedding": [float(len(text)), 1.0]}
        for i, text in enumerate(body["input"])
    ]
    return 200, {"object": "list", "model": body["model"], "data": data[::-1], "usage": {"prompt_tokens": 1}}


def ollama(path: str, body: Any) -> tuple[int, Any]:
    """As recorded from Ollama 0.17."""
    if path == "/api/tags":
        return 200, OLLAMA_TAGS
    return 200, {
        "model": body["model"],
        "embeddings": [[float(len(text)), 1.0] for text in body["input"]],
        "total_duration": 953951949, "load_duration": 478378959, "prompt_eval_count": 6,
    }  # fmt: skip


def test_a_real_server_gives_the_same_vectors_in_the_order_of_the_texts(embedding_server: str) -> None:
    for url in (embedding_server, f"{embedding_server}/v1/"):
        embedder = OpenAIEmbeddings(url, batch=2)
        assert MODEL in embedder.models()
        texts = ["a cat", "a dog", "a treatise on ports", "a cat", "é"]
        vectors = embedder.embed(MODEL, texts)
        assert [len(vector) for vector in vectors] == [384] * 5
        assert vectors[0] == pytest.approx(vectors[3], abs=1e-6)
        assert vectors[0] == pytest.approx(embedder.embed(MODEL, ["a cat"])[0], abs=1e-6)
        cat, dog, ports = vectors[:3]
        assert sum(a * b for a, b in zip(cat, dog, strict=True)) > sum(
            a * b for a, b in zip(cat, ports, strict=True)
        )
    with pytest.raises(Refused, match="nobody"):
        embedder.embed("nobody", ["a"])


def test_openai_is_asked_in_batches_and_ordered_by_index() -> None:
    with answering(openai_backwards) as (url, asked):
        vectors = OpenAIEmbeddings(url, "key-1", batch=2).embed("m", ["a", "bb", "ccc"])
    assert [vector[0] for vector in vectors] == [1.0, 2.0, 3.0]
    assert [body["input"] for _, body, _ in asked] == [["a", "bb"], ["ccc"]]
    assert {(path, key) for path, _, key in asked} == {("/v1/embeddings", "Bearer key-1")}


def test_ollama_is_asked_in_its_own_words() -> None:
    with answering(ollama) as (url, asked):
        embedder = OllamaEmbeddings(url + "/", batch=2)
        assert embedder.models() == ("minilm:latest",)
        assert [v[0] for v in embedder.embed("minilm", ["a", "bb", "ccc"])] == [1.0, 2.0, 3.0]
    assert [path for path, _, _ in asked] == ["/api/tags", "/api/embed", "/api/embed"]
    assert OllamaEmbeddings("http://127.0.0.1:1").embed("minilm", []) == []


BAD: list[tuple[Any, type[Exception], str]] = [
    ([], SchemaMismatch, "0 vectors to 2 texts"),
    ([[1.0]], SchemaMismatch, "1 vectors to 2 texts"),
    ([[1.0], []], SchemaMismatch, "vectors to 2 texts"),
    ([[1.0], [1.0, 2.0]], SchemaMismatch, "different lengths"),
    ([[1.0], [float("nan")]], SchemaMismatch, "NaN"),
    ([[1.0], ["x"]], Refused, "does not answer as an embedding server"),
    ([[1.0], None], Refused, "does not answer as an embedding server"),
]


@pytest.mark.parametrize(("vectors", "error", "said"), BAD)
@pytest.mark.parametrize("kind", [OpenAIEmbeddings, OllamaEmbeddings])
def test_answers_that_are_none(
    kind: Callable[[str], Embedder], vectors: Any, error: type[Exception], said: str
) -> None:
    content = {
        "data": [{"index": i, "embedding": v} for i, v in enumerate(vectors)],
        "embeddings": vectors,
    }
    with answering(lambda path, body: (200, content)) as (url, _), pytest.raises(error, match=said):
        kind(url).embed("m", ["a", "b"])


@pytest.mark.parametrize("kind", [OpenAIEmbeddings, OllamaEmbeddings])
@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (200, b"<html>", "does not answer as an embedding server"),
        (200, {}, "does not answer as an embedding server"),
        (404, {"error": 'model "m" not found, try pulling it first'}, "404.*not found"),
        (500, b"", "500"),
    ],
)
def test_refusals(kind: Callable[[str], Embedder], status: int, content: Any, said: str) -> None:
    with answering(lambda path, body: (status, content)) as (url, _):
        for ask in (lambda: kind(url).embed("m", ["a"]), lambda: kind(url).models()):
            with pytest.raises(Refused, match=said):
                ask()


@pytest.mark.parametrize("kind", [OpenAIEmbeddings, OllamaEmbeddings])
def test_nobody_there(kind: Callable[[str], Embedder]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=url):
        kind(url).embed("m", ["a"])
