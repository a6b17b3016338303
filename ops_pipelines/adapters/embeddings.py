"""Servers that turn texts into vectors: any that speaks OpenAI's `/v1/embeddings`, and Ollama."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ops_pipelines.adapters import _http
from ops_pipelines.errors import Refused, SchemaMismatch

_BATCH = 64
_REMEDY = "check that the model's component runs and is healthy, and its address in the declaration"


class OpenAIEmbeddings:
    """Protocol Embedder, by `POST /v1/embeddings` and `GET /v1/models`. `timeout` is seconds for a batch."""

    def __init__(
        self, base_url: str, api_key: str | None = None, *, batch: int = _BATCH, timeout: float = 120.0
    ) -> None:
        self._url = base_url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = _http.client(self._url, timeout=timeout, headers=headers)
        self._batch = batch

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, in their order. Raises Unreachable, Refused, SchemaMismatch."""

        def ask(some: list[str]) -> Any:
            answer = _json(
                _http.request(
                    self._http, "POST", "/v1/embeddings", what=f"the model server at {self._url}",
                    remedy=_REMEDY, json={"model": model, "input": some, "encoding_format": "float"},
                ), self._url)  # fmt: skip
            items = sorted(answer["data"], key=lambda item: int(item["index"]))
            return [item["embedding"] for item in items]

        return _in_batches(ask, texts, self._batch, model, self._url)

    def models(self) -> tuple[str, ...]:
        """Names that it can answer for, in order."""
        what = f"the model server at {self._url}"
        answer = _json(_http.request(self._http, "GET", "/v1/models", what=what, remedy=_REMEDY), self._url)
        return _names(answer, "data", "id", self._url)


class OllamaEmbeddings:
    """Protocol Embedder, by Ollama's `POST /api/embed` and `GET /api/tags`."""

    def __init__(self, base_url: str, *, batch: int = _BATCH, timeout: float = 120.0) -> None:
        self._url = base_url.rstrip("/")
        self._http = _http.client(self._url, timeout=timeout)
        self._batch = batch

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, in their order. Raises Unreachable, Refused, SchemaMismatch."""

        def ask(some: list[str]) -> Any:
            answer = _json(
                _http.request(
                    self._http, "POST", "/api/embed", what=f"Ollama at {self._url}", remedy=_REMEDY,
                    json={"model": model, "input": some},
                ), self._url)  # fmt: skip
            return answer["embeddings"]

        return _in_batches(ask, texts, self._batch, model, self._url)

    def models(self) -> tuple[str, ...]:
        """Names that it can answer for, in order."""
        what = f"Ollama at {self._url}"
        answer = _json(_http.request(self._http, "GET", "/api/tags", what=what, remedy=_REMEDY), self._url)
        return _names(answer, "models", "name", self._url)


def _in_batches(
    ask: Callable[[list[str]], Any], texts: Sequence[str], batch: int, model: str, url: str
) -> list[list[float]]:
    """The vectors of all texts, asked so many at a time."""
    vectors: list[list[float]] = []
    for start in range(0, len(texts), batch):
        some = list(texts[start : start + batch])
        try:
            vectors += _checked(ask(some), len(some), model, url)
        except (KeyError, TypeError, ValueError) as error:
            raise _odd(url, error) from error
    return _one_length(vectors, model, url)


def _names(answer: Any, items: str, key: str, url: str) -> tuple[str, ...]:
    """Names of the models that an answer lists, in order."""
    try:
        return tuple(sorted(str(item[key]) for item in answer[items]))
    except (KeyError, TypeError) as error:
        raise _odd(url, error) from error


def _json(response: Any, url: str) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise _odd(url, error) from error


def _odd(url: str, error: Exception) -> Refused:
    return Refused(
        f"the server at {url} does not answer as an embedding server does ({type(error).__name__}: {error})",
        remedy="check that the address is the model server's, not a proxy's page or another service's",
    )


def _checked(vectors: Any, count: int, model: str, url: str) -> list[list[float]]:
    """The vectors as floats. Raises SchemaMismatch where any is missing, empty or holds no numbers."""
    plain = [[float(number) for number in vector] for vector in vectors]
    if len(plain) != count or not all(plain):
        raise SchemaMismatch(
            f"{model} at {url} answered {len(plain)} vectors to {count} texts",
            remedy="check that the model is an embedding model",
        )
    if not all(math.isfinite(number) for vector in plain for number in vector):
        raise SchemaMismatch(
            f"{model} at {url} answered a vector with NaN or infinity in it",
            remedy="check the model's files (`ops-pipelines verify`), and its precision on this hardware",
        )
    return plain


def _one_length(vectors: list[list[float]], model: str, url: str) -> list[list[float]]:
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1:
        raise SchemaMismatch(
            f"{model} at {url} answered vectors of different lengths: {sorted(lengths)}",
            remedy="check that one model alone answers to this name",
        )
    return vectors
