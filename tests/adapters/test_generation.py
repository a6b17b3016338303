"""Servers that write text, at the wire.

Answers: Ollama's docs/api.md ("Generate a completion", no streaming); OpenAI's API reference (completions and
chat completions), which vLLM and Aphrodite keep to.
"""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.adapters.generation import ollama_words, openai_words
from ops_pipelines.errors import Refused, Unreachable
from tests.adapters.test_embeddings import answering
from tests.waiting import free_port

OLLAMA = {
    "model": "llama3.2", "created_at": "2023-08-04T19:22:45.499127Z", "response": "The sky is blue because",
    "done": True, "context": [1, 2, 3], "total_duration": 5043500667, "load_duration": 5025959,
    "prompt_eval_count": 26, "prompt_eval_duration": 325953000, "eval_count": 290, "eval_duration": 4709213000,
}  # fmt: skip
COMPLETION = {
    "id": "cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7", "object": "text_completion", "created": 1589478378, "model": "m",
    "choices": [{"text": "\n\nThis is indeed a test", "index": 0, "logprobs": None, "finish_reason": "length"}],
}  # fmt: skip
CHAT = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
}  # fmt: skip


def test_ollama_writes_a_few_words() -> None:
    with answering(lambda path, body: (200, OLLAMA)) as (url, asked):
        assert ollama_words(url, "llama3.2", "Why?") == "The sky is blue because"
    [(path, body, _)] = asked
    assert path == "/api/generate"
    assert (body["model"], body["prompt"], body["stream"]) == ("llama3.2", "Why?", False)
    assert body["options"]["num_predict"] < 64, "a few words, not an essay"


@pytest.mark.parametrize(
    ("chat", "answer", "path", "words"),
    [
        (False, COMPLETION, "/v1/completions", "\n\nThis is indeed a test"),
        (True, CHAT, "/v1/chat/completions", "Hello!"),
    ],
)
def test_an_openai_server_writes_a_few_words(chat: bool, answer: Any, path: str, words: str) -> None:
    with answering(lambda *_: (200, answer)) as (url, asked):
        assert openai_words(f"{url}/v1", "m", "Why?", chat=chat, api_key="k") == words
    [(where, body, authorization)] = asked
    assert (where, authorization) == (path, "Bearer k")
    assert body["max_tokens"] < 64
    assert (body["messages"][0]["content"] if chat else body["prompt"]) == "Why?"


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"message": {}}]}, b"<html>", []])
def test_what_is_no_model_server(answer: Any) -> None:
    with answering(lambda *_: (200, answer)) as (url, _):
        with pytest.raises(Refused, match="does not answer as a model server does"):
            openai_words(url, "m", "Why?", chat=True)
        with pytest.raises(Refused, match="does not answer as a model server does"):
            ollama_words(url, "m", "Why?")


def test_no_content_is_no_words() -> None:
    silent = {"choices": [{"message": {"role": "assistant", "content": None}}]}
    with answering(lambda *_: (200, silent)) as (url, _):
        assert openai_words(url, "m", "Why?", chat=True) == ""


def test_a_server_that_refuses_or_is_gone() -> None:
    with (
        answering(lambda *_: (404, {"error": "model 'm' not found"})) as (url, _),
        pytest.raises(Refused, match="404"),
    ):
        ollama_words(url, "m", "Why?")
    with pytest.raises(Unreachable):
        ollama_words(f"http://127.0.0.1:{free_port()}", "m", "Why?")
