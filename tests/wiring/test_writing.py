"""The smoke test of a model that writes text: a few words, or why there were none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_pipelines.wiring import asking
from tests.adapters.test_embeddings import answering
from tests.wiring.stand import Stand


def declared(stand: Stand, url: str, kind: str, **model: Any) -> Any:
    return stand.change(
        components={"server": {"kind": kind, "address": url}},
        caches={"models": {"layout": "directory", "path": str(stand.folder / "models")}},
        models={
            "m": {"source": "hf:a/b@c", "cache": "models", "served_by": "server", "served_as": "b", **model}
        },
        smoke={"model": "m", "text": "Say one word."},
    )


@pytest.mark.parametrize(
    ("kind", "role", "path", "answer"),
    [
        ("vllm", "chat", "/v1/chat/completions", {"choices": [{"message": {"content": "One."}}]}),
        ("aphrodite", "completion", "/v1/completions", {"choices": [{"text": "One."}]}),
        ("ollama", "chat", "/api/generate", {"response": "One."}),
    ],
)
def test_a_model_that_writes_is_asked_for_words(
    stand: Stand, kind: str, role: str, path: str, answer: Any
) -> None:
    with answering(lambda *_: (200, answer)) as (url, asked):
        [found] = asking.smoke(declared(stand, url, kind, role=role))
    assert (found.ok, found.message) == (True, "4 characters")
    [(called, body, _)] = asked
    assert called == path
    assert body["model"] == "b"
    assert "Say one word." in json.dumps(body)


@pytest.mark.parametrize(
    ("status", "answer"),
    [(404, {}), (200, {"choices": []}), (200, {"choices": [{"message": {"content": " "}}]})],
)
def test_no_words_are_no_good_answer(stand: Stand, status: int, answer: Any) -> None:
    with answering(lambda *_: (status, answer)) as (url, _):
        [found] = asking.smoke(declared(stand, url, "vllm", role="chat"))
    assert found.ok is False
    assert found.remedy
