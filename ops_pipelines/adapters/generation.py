"""Servers that write text: any that speaks OpenAI's API, and Ollama. One short answer proves that a model works."""

from __future__ import annotations

from typing import Any

from ops_pipelines.adapters import _http
from ops_pipelines.errors import Refused

_REMEDY = "check that the model's component runs and is healthy, and the name under which it serves the model"
_TOKENS = 8


def ollama_words(base_url: str, model: str, prompt: str, *, timeout: float = 300.0) -> str:
    """A few words, by `POST /api/generate`. Raises Unreachable, Refused.

    `timeout` is seconds and holds the time in which the model is loaded."""
    url = base_url.rstrip("/")
    http = _http.client(url, timeout=timeout)
    body = {
        "model": model,
        "prompt": prompt,
        "stream": False,
        "options": {"num_predict": _TOKENS, "temperature": 0},
    }
    answer = _http.request(http, "POST", "/api/generate", what=f"Ollama at {url}", remedy=_REMEDY, json=body)
    return _text(answer, url, "response")


def openai_words(
    base_url: str, model: str, prompt: str, *, chat: bool, api_key: str | None = None, timeout: float = 300.0
) -> str:
    """A few words, by `POST /v1/chat/completions` or, without `chat`, `/v1/completions`. Raises as above."""
    url = base_url.rstrip("/").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    http = _http.client(url, timeout=timeout, headers=headers)
    asked: dict[str, Any] = {"model": model, "max_tokens": _TOKENS, "temperature": 0}
    asked |= {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    path = "/v1/chat/completions" if chat else "/v1/completions"
    answer = _http.request(http, "POST", path, what=f"the model server at {url}", remedy=_REMEDY, json=asked)
    return _text(answer, url, *(("choices", 0, "message", "content") if chat else ("choices", 0, "text")))


def _text(response: Any, url: str, *steps: str | int) -> str:
    try:
        found = response.json()
        for step in steps:
            found = found[step]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Refused(
            f"the server at {url} does not answer as a model server does ({type(error).__name__}: {error})",
            remedy="check that the address is the model server's, not a proxy's page or another service's",
        ) from error
    return str(found or "")
