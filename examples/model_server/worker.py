"""One worker: the model it loads, the state it is in, and the requests it still owes an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol import ApiError, embedding_response, parse_embedding_request
from telemetry import Telemetry

if TYPE_CHECKING:
    from minilm import MiniLM

FRESH_SECONDS = 0.25  # how long a stopping worker waits for a connection that has not asked anything yet


class Worker:
    """Shared by all threads of the process. It goes one way: loading -> ok -> stopping."""

    def __init__(self, name: str, model: str) -> None:
        self.name = name
        self.model = model
        self.revision = ""
        self.telemetry = Telemetry(name)
        self.stopping = False
        self._loaded: MiniLM | None = None
        self._computing = threading.Lock()
        self._changed = threading.Condition()
        self._owed = 0  # requests being answered
        self._fresh = 0  # connections accepted whose first request has not been read

    def load(self, cache: Path) -> None:
        """Read the model from a hub cache; OSError or ValueError when it is not there or not whole."""
        from minilm import MiniLM, snapshot_of

        started = time.monotonic()
        self.telemetry.log("loading", model=self.model, cache=cache)
        folder, self.revision = snapshot_of(cache, self.model)
        self._loaded = MiniLM(folder)
        self._loaded.encode(["warm up"])  # the first product starts the BLAS library
        self.telemetry.model_loaded.set(1)
        self.telemetry.log("loaded", revision=self.revision, seconds=round(time.monotonic() - started, 3))

    def health(self) -> tuple[HTTPStatus, dict[str, Any]]:
        state = "stopping" if self.stopping else "ok" if self._loaded else "loading"
        status = HTTPStatus.OK if state == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        told = {"status": state, "model": self.model, "revision": self.revision, "worker": self.name}
        return status, told

    def embeddings(self, body: bytes) -> dict[str, Any]:
        """Answer one request for embeddings; ApiError when it is wrong or the model is not loaded yet."""
        loaded = self._loaded
        if loaded is None:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "the model is loading", code="model_loading")
        asked = parse_embedding_request(body, model=self.model, dimensions=loaded.dimensions)
        # One request at a time has the worker's core; the others queue here, where the gauge counts them.
        with self._computing:
            encoded = loaded.encode(asked.texts)
        return embedding_response(encoded, model=self.model, as_base64=asked.as_base64)

    def connection_opened(self) -> None:
        with self._changed:
            self._fresh += 1

    def connection_used(self) -> None:
        """Once for each connection: its first request was read, or it ended without one."""
        with self._changed:
            self._fresh -= 1
            self._changed.notify_all()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around one request, of any kind, from its first line to the last byte of its answer."""
        with self._changed:
            self._owed += 1
        try:
            yield
        finally:
            with self._changed:
                self._owed -= 1
                self._changed.notify_all()

    def drain(self, seconds: float) -> int:
        """Wait until every request is answered, `seconds` at most; returns how many are not.

        A connection that was accepted a moment ago may have its request on the wire, so it gets a little
        time as well; one that only sits there (a pool's spare) holds nothing up for longer than that.
        """
        with self._changed:
            self._changed.wait_for(lambda: not (self._owed or self._fresh), min(FRESH_SECONDS, seconds))
            self._changed.wait_for(lambda: not self._owed, max(0.0, seconds - FRESH_SECONDS))
            return self._owed
