"""A hub at the wire: answers a loopback port with what huggingface.co answers, for files that a test gives.

Recorded from the hub's documented API: GET /api/models/{id}/revision/{rev}, GET /api/models/{id}/tree/{rev}, and
HEAD or GET /{id}/resolve/{rev}/{file} with X-Repo-Commit, ETag and, for LFS files, X-Linked-Etag and
X-Linked-Size. Errors carry X-Error-Code as the hub's do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.caches import COMMIT, git_id, sha256
from tests.serving import serve

LARGE = 1000


@dataclass
class Hub:
    """One repository, and who may have it."""

    files: Mapping[str, bytes]
    repo: str = "acme/tiny"
    gated: bool = False
    token: str | None = None
    """Who shows it may have the files."""
    status: int | None = None
    """Answer everything with this."""
    cut: str | None = None
    """File whose content breaks off in the middle."""
    main: str = COMMIT
    """Commit that the branch `main` points at."""
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        path = self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path}")
        allowed = not hub.gated or self.headers.get("authorization") == f"Bearer {hub.token}"
        api = f"/api/models/{hub.repo}"
        if hub.status is not None:
            self._send(hub.status, b"", {})
        elif path.startswith(f"{api}/revision/") or path == api:
            revision = path.rpartition("/")[2]
            if path != api and revision not in ("main", COMMIT):
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            else:
                siblings = [{"rfilename": name} for name in (".gitattributes", *hub.files)]
                info = {
                    "id": hub.repo,
                    "modelId": hub.repo,
                    "sha": hub.main,
                    "gated": "auto" if hub.gated else False,
                }
                self._send(200, json.dumps(info | {"siblings": siblings}).encode(), {})
        elif path.startswith(f"{api}/tree/"):
            if path.rpartition("/")[2] not in ("main", COMMIT):
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            elif allowed:
                self._send(
                    200, json.dumps([_listed(name, one) for name, one in hub.files.items()]).encode(), {}
                )
            else:
                self._gated()
        elif path.startswith(f"/{hub.repo}/resolve/"):
            name = path.removeprefix(f"/{hub.repo}/resolve/").partition("/")[2]
            if allowed:
                self._file(name, hub.files[name])
            else:
                self._gated()
        else:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def _gated(self) -> None:
        said = "Access to model acme/tiny is restricted."
        status = 401 if "authorization" not in self.headers else 403
        self._send(status, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": said})

    def _file(self, name: str, content: bytes) -> None:
        etag = sha256(content) if len(content) >= LARGE else git_id(content)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if len(content) >= LARGE:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        if name == self.hub.cut and self.command == "GET":
            self._send(200, content, headers, send=len(content) // 2)
            self.close_connection = True
            return
        self._send(200, content, headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], send: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:send])


def _listed(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": git_id(content)}
    if len(content) >= LARGE:
        entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answer on a free port of 127.0.0.1 until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with serve(handler) as hub.url:
        yield hub
