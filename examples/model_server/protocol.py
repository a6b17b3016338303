"""The OpenAI embeddings protocol, without a socket: bytes of a request in, an answer or an ApiError out."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy reads its thread count when first imported, which server.py sets before
    from minilm import Encoded

MAX_INPUTS = 256  # what is in flight at SIGTERM is finished, so one request must not take minutes
MAX_BODY = 2 * 1024 * 1024


class ApiError(Exception):
    """A refusal: its HTTP status, and what to tell the client in the shape of an OpenAI error."""

    def __init__(self, status: HTTPStatus, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class EmbeddingRequest:
    """One request that can be computed: 1..MAX_INPUTS texts, none empty."""

    texts: list[str]
    as_base64: bool


def parse_embedding_request(body: bytes, *, model: str, dimensions: int) -> EmbeddingRequest:
    """Read a request to a worker that serves `model`; ApiError says what is wrong with it."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad(f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(asked, dict):
        raise _bad("the body must be a JSON object", code="invalid_json")
    _check_model(asked.get("model"), model)
    if asked.get("dimensions") not in (None, dimensions):
        raise _bad(f"{model} has {dimensions} dimensions, no other number", param="dimensions")
    encoding = asked.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise _bad("encoding_format must be 'float' or 'base64'", param="encoding_format")
    return EmbeddingRequest(_texts(asked.get("input")), encoding == "base64")


def embedding_response(encoded: Encoded, *, model: str, as_base64: bool) -> dict[str, Any]:
    """The answer's body. Base64 holds little-endian float32, as OpenAI's clients expect."""
    vectors = encoded.vectors.astype("<f4", copy=False)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.tobytes()).decode() if as_base64 else row.tolist(),
        }
        for index, row in enumerate(vectors)
    ]
    usage = {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def models_response(model: str, revision: str) -> dict[str, Any]:
    """The body of GET /v1/models. `created` is 0: a cache does not say when its model was made."""
    owner = model.partition("/")[0]
    entry = {"id": model, "object": "model", "created": 0, "owned_by": owner, "revision": revision}
    return {"object": "list", "data": [entry]}


def _check_model(asked: object, model: str) -> None:
    if not isinstance(asked, str) or not asked:
        raise _bad("name the model", param="model")
    if asked != model:
        message = f"the model {asked!r} is not served here; {model!r} is"
        raise ApiError(HTTPStatus.NOT_FOUND, message, code="model_not_found", param="model")


def _texts(given: object) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _bad("input must be a string or a list of strings", param="input")
    if not texts or not all(texts):
        raise _bad("input must hold at least one text and no empty one", code="empty_input", param="input")
    if len(texts) > MAX_INPUTS:
        raise too_large(f"{len(texts)} texts in one request; at most {MAX_INPUTS}")
    if not all(_is_unicode(text) for text in texts):
        raise _bad("input holds half of a surrogate pair, which is no text", param="input")
    return texts


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def too_large(message: str) -> ApiError:
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, code="input_too_large", param="input")


def _bad(message: str, *, code: str = "invalid_value", param: str | None = None) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, message, code=code, param=param)
