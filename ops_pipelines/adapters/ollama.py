"""Ollama: what it has, what it runs, and how a model comes into its store.

Written against the documented API (docs/api.md of github.com/ollama/ollama, checked with 0.17.4). The server
writes its store; nothing here does. Progress is a stream of JSON lines, of which the last is `success`; an
error after the first line comes as `{"error": ...}` under status 200.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters import _http
from ops_pipelines.adapters._ollama_words import ask_registry, error_of, mirror_name, said_no
from ops_pipelines.errors import OpsError, Refused, Unreachable
from ops_pipelines.policy.cache_names import shown_name
from ops_pipelines.policy.models import CacheModel, WantedModel
from ops_pipelines.policy.plan import Finding

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str, int, int | None, str], None]
_SILENCE = 900.0
"""Seconds without a line of progress after which a pull counts as stuck: the digest of 40 GB is checked without
a word."""
_PROBE = 10.0


def _silent(step: str, done: int, total: int | None, unit: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Held:
    """One model that the server lists."""

    name: str
    digest: str
    """Digest of its manifest."""
    size: int
    """Bytes on disk (tags) or in memory (ps)."""
    vram: int | None = None
    """Bytes on cards, for a loaded model; None where the server does not say."""
    until: str = ""
    """When a loaded model will be let go, as the server says."""


class Ollama:
    """One Ollama server. Also the ModelSource of `ollama:` models."""

    def __init__(
        self,
        base_url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        mirror: str | None = None,
    ) -> None:
        """`mirror` (`[http://]HOST[:PORT]`) is a registry that has what Ollama's own has.

        `transport` stands in for the network in tests, the registry's included."""
        self._mirror = mirror
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._transport = transport

    def version(self) -> str:
        """Version of the server. Raises Unreachable."""
        return str(self._json("GET", "/api/version").get("version", ""))

    def tags(self) -> tuple[Held, ...]:
        """Models that are installed."""
        return tuple(_held(raw) for raw in self._json("GET", "/api/tags").get("models") or ())

    def ps(self) -> tuple[Held, ...]:
        """Models that are loaded."""
        return tuple(_held(raw) for raw in self._json("GET", "/api/ps").get("models") or ())

    def show(self, name: str) -> Mapping[str, Any]:
        """Details of a model: template, parameters, licence, architecture. Raises Refused where it is not there."""
        return self._json("POST", "/api/show", json={"model": name})

    def delete(self, name: str) -> None:
        """Delete a model. Raises Refused where it is not there."""
        self._request("DELETE", "/api/delete", json={"model": name})

    def pull(self, name: str, progress: Progress = _silent) -> str:
        """Let the server download a model and return its manifest digest. A pull that was cut off goes on.

        Raises Refused that names the model (not in the library, gated, disk full), Unreachable."""
        self._stream("/api/pull", {"model": name}, f"pull {shown_name(name)}", progress)
        return self._digest(name)

    def create_from_files(self, name: str, files: Mapping[str, Path], progress: Progress = _silent) -> str:
        """Make a model of files (safetensors or GGUF, with their notes), by path inside the model.

        A file whose content the server has is not sent again. Returns the manifest digest. Raises Refused,
        Unreachable."""
        digests: dict[str, str] = {}
        total = sum(path.stat().st_size for path in files.values())
        done = 0
        for inside, path in files.items():
            digests[inside] = f"sha256:{_sha256(path)}"
            self._send_blob(digests[inside], path)
            done += path.stat().st_size
            progress(f"send {shown_name(name)}", done, total, "bytes")
        self._stream("/api/create", {"model": name, "files": digests}, f"create {shown_name(name)}", progress)
        return self._digest(name)

    def load(self, name: str, *, embeds: bool, keep_alive: str | None = None) -> None:
        """Bring a model into memory, for `keep_alive` (a duration such as `10m`, `-1` for good) where given.

        An empty prompt loads, and so does an empty text to embed (docs/api.md). Raises Refused, Unreachable."""
        body: dict[str, Any] = {"model": name, "stream": False}
        if keep_alive is not None:
            body["keep_alive"] = int(keep_alive) if keep_alive.lstrip("-").isdecimal() else keep_alive
        self._long("/api/embed" if embeds else "/api/generate", {**body, **({"input": ""} if embeds else {})})

    def unload(self, name: str) -> None:
        """Let a model go from memory at once; one that is not there stays away. Raises Refused, Unreachable."""
        self._long("/api/generate", {"model": name, "keep_alive": 0, "stream": False})

    def _long(self, url: str, body: Mapping[str, Any]) -> None:
        with self._client(timeout=_SILENCE) as http:
            _http.request(http, "POST", url, what=self._what, remedy=_START, json=dict(body))

    # --- ModelSource ---

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:  # noqa: ARG002
        """Pull through the server, which writes into the store that it was started with."""
        if layout != "ollama":
            raise Refused(
                f"model {model.name} is Ollama's and its cache has layout {layout}",
                remedy="give the cache `layout: ollama`",
            )
        mirrored = mirror_name(model.reference, self._mirror)
        if mirrored is None:
            return self.pull(model.reference, progress)
        self._pull(mirrored, progress)
        # Servers know it by its own name; the two share their blobs.
        self._request("POST", "/api/copy", json={"source": mirrored, "destination": model.reference})
        self.delete(mirrored)
        return self._digest(model.reference)

    def _pull(self, mirrored: str, progress: Progress) -> None:
        clear = (self._mirror or "").startswith("http://")
        body = {"model": mirrored, **({"insecure": True} if clear else {})}
        self._stream("/api/pull", body, f"pull {shown_name(mirrored)}", progress)

    def probe(self, model: WantedModel) -> Finding:
        """Ask the registry that the name points at for the manifest."""
        with self._client(timeout=_PROBE, outside=True) as http:
            return ask_registry(http, model, mirror=self._mirror)

    def at_source(self, model: WantedModel, held: CacheModel) -> Finding:
        """Whether the registry's tag still is what the cache holds; None where it does not answer."""
        with self._client(timeout=_PROBE, outside=True) as http:
            found = ask_registry(http, model, held)
        return replace(found, severity="warning") if found.ok is not True else found

    # --- the wire ---

    def _client(self, *, timeout: float, outside: bool = False) -> httpx.Client:
        base = "" if outside else self.base_url
        return _http.client(base, timeout=timeout, transport=self._transport, outside=outside)

    @property
    def _what(self) -> str:
        return f"Ollama at {self.base_url}"

    def _request(self, method: str, url: str, **words: Any) -> httpx.Response:
        with self._client(timeout=self._timeout) as http:
            return _http.request(http, method, url, what=self._what, remedy=_START, **words)

    def _json(self, method: str, url: str, **words: Any) -> Mapping[str, Any]:
        response = self._request(method, url, **words)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unreachable(f"{self._what} answered {url} with no JSON: is it Ollama?", remedy=_START)
        return answer

    def _send_blob(self, digest: str, path: Path) -> None:
        import httpx

        with self._client(timeout=_SILENCE) as http:
            try:
                if http.head(f"/api/blobs/{digest}").status_code == 200:
                    return
            except httpx.HTTPError as error:
                raise self._gone(error) from error
            with path.open("rb") as content:
                url = f"/api/blobs/{digest}"
                _http.request(http, "POST", url, what=self._what, remedy=_START, content=_pieces(content))

    def _stream(self, url: str, body: Mapping[str, Any], step: str, progress: Progress) -> None:
        import httpx

        last = ""
        try:
            with (
                self._client(timeout=_SILENCE) as http,
                http.stream("POST", url, json=dict(body)) as response,
            ):
                if not response.is_success:
                    response.read()
                    raise said_no(step, error_of(response.text), str(body["model"]))
                for line in _lines(response):
                    if error := line.get("error"):
                        raise said_no(step, str(error), str(body["model"]))
                    last = str(line.get("status", ""))
                    total = line.get("total")
                    done = line.get("completed") or 0
                    progress(f"{step}: {last}", int(done), int(total) if total else None, "bytes")
        except httpx.HTTPError as error:
            raise self._gone(error) from error
        if last != "success":
            raise Unreachable(
                f"{self._what} ended {step} without success (last: {last or 'nothing'})",
                remedy="run it again: it goes on where it stopped; the server's log says why it ended",
            )

    def _digest(self, name: str) -> str:
        shown = shown_name(name)
        for held in self.tags():
            if shown_name(held.name) == shown:
                return held.digest
        raise Refused(f"{self._what} does not list {shown} after it was made", remedy="see the server's log")

    def _gone(self, error: httpx.HTTPError) -> OpsError:
        return Unreachable(f"{self._what} does not answer ({error or type(error).__name__})", remedy=_START)


_START = "start it (`ollama serve`), or correct its address in the stack file"


def _held(raw: Mapping[str, Any]) -> Held:
    return Held(
        name=str(raw.get("name", "")),
        digest=str(raw.get("digest", "")),
        size=int(raw.get("size") or 0),
        vram=_vram(raw),
        until=str(raw.get("expires_at") or ""),
    )


def _vram(raw: Mapping[str, Any]) -> int | None:
    """Ollama always says it of a loaded model (api/types.go, ProcessModelResponse): 0 is all in main memory."""
    return int(raw["size_vram"] or 0) if "size_vram" in raw else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(content: Any) -> Iterator[bytes]:
    while piece := content.read(1 << 20):
        yield piece


def _lines(response: httpx.Response) -> Iterator[Mapping[str, Any]]:
    for line in response.iter_lines():
        try:
            parsed = json.loads(line) if line.strip() else {}
        except ValueError:
            continue  # a line that was cut off: the end without `success` says so
        if isinstance(parsed, dict):
            yield parsed
