"""Hosted models at the wire, by the providers' documented answers."""

from __future__ import annotations

import httpx
import pytest

from ops_pipelines.adapters import hosted
from ops_pipelines.policy.plan import Finding

KEY = "a-key-that-nobody-may-see"


def ask(source: str, status: int, asked: list[httpx.Request] | None = None, **more: str | None) -> Finding:
    def answer(request: httpx.Request) -> httpx.Response:
        (asked if asked is not None else []).append(request)
        if status == 0:
            raise httpx.ConnectError("no route")
        return httpx.Response(status, json={"id": "text-embedding-3-large", "object": "model"})

    words: dict[str, str | None] = {"api": None, "token": KEY, "secret_name": "openai-key", **more}
    transport = httpx.MockTransport(answer)
    return hosted.probe(
        "embed", source, api=words["api"], token=words["token"], secret_name=words["secret_name"], transport=transport
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "ok", "severity", "said"),
    [
        (200, True, "error", "takes the key"),
        (401, False, "error", "secret 'openai-key'"),
        (403, False, "error", "refuses"),
        (404, False, "error", "has no model text-embedding-3-large"),
        (500, None, "warning", "not known"),
        (0, None, "warning", "does not answer"),
    ],
)
def test_answers(status: int, ok: bool | None, severity: str, said: str) -> None:
    found = ask("openai/text-embedding-3-large", status)
    assert (found.ok, found.severity, said in found.message) == (ok, severity, True)
    assert KEY not in found.message + found.remedy


def test_each_provider_is_asked_in_its_own_way() -> None:
    asked: list[httpx.Request] = []
    ask("openai/text-embedding-3-large", 200, asked)
    ask("anthropic/claude", 200, asked)
    ask("mine/embedder", 200, asked, api="https://models.example/v1/")
    ask("mine/embedder", 200, asked, api="https://models.example/v1", token=None)
    assert [str(one.url) for one in asked] == [
        "https://api.openai.com/v1/models/text-embedding-3-large",
        "https://api.anthropic.com/v1/models/claude",
        "https://models.example/v1/models/embedder",
        "https://models.example/v1/models/embedder",
    ]
    assert asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert asked[1].headers["x-api-key"] == KEY
    assert not any("authorization" in asked[number].headers for number in (1, 3))
    unknown = ask("mine/embedder", 200)
    assert (unknown.ok, unknown.severity) == (None, "info")
    assert ask("openai/x", 401, token=None, secret_name=None).remedy == "set models.embed.token"
