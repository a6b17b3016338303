"""A stand-in for Qdrant, whose server is on no registry: its REST API as published, as far as our adapter speaks it.

`python _qdrant.py` serves it as its image does, with the key of QDRANT__SERVICE__API_KEY and a file in /qdrant/storage.

Written from https://github.com/qdrant/qdrant/blob/2d1d55281e53ca84ab047fb42f271409402479ca/docs/redoc/v1.16.x/openapi.json
and, for what an upload checks (the SHA-256 that its `checksum` names, before anything is made), from
src/actix/api/snapshot_api.rs. What a real server does with a snapshot's content is not proved by it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from ops_pipelines.adapters.qdrant import Qdrant

KEY = "an-api-key"
PARAMS = {"vectors": {"size": 384, "distance": "Cosine"}, "shard_number": 1, "replication_factor": 1,
          "write_consistency_factor": 1, "on_disk_payload": True}  # fmt: skip


@dataclass
class QdrantServer:
    """What the stand-in holds, and how it is to misbehave."""

    address: str = ""
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    snapshots: dict[tuple[str, str], bytes] = field(default_factory=dict)
    peers: int = 0
    cut: int | None = None
    """Send so many bytes of a download, and no more."""
    alter: bool = False
    """Send other bytes than were checksummed."""
    size: int = 3 << 20
    """Bytes of a snapshot."""
    between: Any = None
    """Called while a snapshot is made."""
    lock: Lock = field(default_factory=Lock)

    def make(self, name: str, points: int) -> None:
        """A collection."""
        self.collections[name] = {
            "points": points,
            "params": dict(PARAMS),
            "payload": {"source": "keyword"},
            "kept": {},
        }

    def adapter(self, **changes: Any) -> Qdrant:
        """Our adapter on it; `changes` replace its arguments."""
        from ops_pipelines.adapters.qdrant import Qdrant

        return Qdrant(**({"address": self.address, "api_key": KEY} | changes))

    # --- what it answers: (status, result) ---

    def answer(self, method: str, words: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """One request, its path in words."""
        match method, words:
            case "GET", ["cluster"]:
                peers = {str(number): {"uri": "http://x"} for number in range(self.peers)}
                return 200, {"status": "enabled", "peers": peers} if peers else {"status": "disabled"}
            case "GET", ["collections"]:
                return 200, {"collections": [{"name": name} for name in self.collections]}
            case "GET", ["aliases"]:
                pairs = self.aliases.items()
                return 200, {"aliases": [{"alias_name": a, "collection_name": c} for a, c in pairs]}
            case "POST", ["collections", "aliases"]:
                return self.change_aliases(json.loads(body)["actions"])
            case "PUT", ["collections", name]:
                self.make(name, 0)
                self.collections[name]["params"] = {**PARAMS, **json.loads(body)}
                return 200, True
            case "DELETE", ["collections", name]:
                return 200, self.collections.pop(name, None) is not None
            case "POST", ["collections", name, "snapshots", "upload"]:
                return self.upload(name, query, body)
            case _, ["collections", name, *rest] if self.aliases.get(name, name) in self.collections:
                return self.of_collection(method, self.aliases.get(name, name), rest, body)
        return 404, {"error": f"Not found: {'/'.join(words)}"}

    def of_collection(self, method: str, name: str, rest: list[str], body: bytes) -> tuple[int, Any]:
        """What is asked of one collection."""
        one = self.collections[name]
        match method, rest:
            case "GET", []:
                payload = {key: {"data_type": kind, "points": 1} for key, kind in one["payload"].items()}
                config = {"params": one["params"], "hnsw_config": {"m": 16}}
                return 200, {
                    "status": one.get("status", "green"),
                    "config": config,
                    "payload_schema": payload,
                }
            case "POST", ["points", "count"]:
                return 200, {"count": one["points"]}
            case "PUT", ["points"]:
                told = {str(point["id"]): point for point in json.loads(body)["points"]}
                one["points"] += len(told.keys() - one["kept"].keys())
                one["kept"] |= told
                return 200, {"operation_id": 0, "status": "completed"}
            case "POST", ["points"]:
                return 200, [
                    found for name in json.loads(body)["ids"] if (found := one["kept"].get(str(name)))
                ]
            case "GET", ["snapshots"]:
                return 200, [{"name": file, "size": 1} for of, file in self.snapshots if of == name]
            case "POST", ["snapshots"]:
                content = json.dumps(one).encode().ljust(self.size)
                file = f"{name}-2026-11-21.snapshot"
                self.snapshots[name, file] = content
                if self.between is not None:
                    self.between()
                digest = hashlib.sha256(content).hexdigest()
                return 200, {"name": file, "creation_time": None, "size": len(content), "checksum": digest}
            case "DELETE", ["snapshots", file]:
                return 200, self.snapshots.pop((name, file), None) is not None
        return 404, {"error": "Not found"}

    def upload(self, name: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Recover a collection from what was sent."""
        digest = hashlib.sha256(body).hexdigest()
        if query.get("checksum") not in (None, digest):
            return 400, {"error": f"Snapshot checksum mismatch: expected {query['checksum']}, got {digest}"}
        assert query["priority"] == "snapshot"
        self.collections[name] = json.loads(body)
        return 200, True

    def change_aliases(self, actions: list[dict[str, Any]]) -> tuple[int, Any]:
        """All of them, or none."""
        aliases = dict(self.aliases)
        for action in actions:
            match action:
                case {"delete_alias": {"alias_name": alias}}:
                    del aliases[alias]
                case {"create_alias": {"alias_name": alias, "collection_name": name}}:
                    if alias in self.collections or name not in self.collections:
                        return 400, {"error": f"Wrong input: {alias} or {name}"}
                    aliases[alias] = name
        self.aliases = aliases
        return 200, True


def handler(state: QdrantServer, key: str) -> type[BaseHTTPRequestHandler]:
    """What answers for `state` those who know the key."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            if key not in (self.headers.get("api-key"), (self.headers.get("Authorization") or "")[7:]):
                self.send(401, b"Must provide an API key or an Authorization bearer token")
                return
            where = urlsplit(self.path)
            words = [unquote(word) for word in where.path.split("/") if word]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/"):
                message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
                (part,) = message.get_payload()
                assert part.get_param("name", header="content-disposition") == "snapshot"  # type: ignore[union-attr]
                body = part.get_payload(decode=True)  # type: ignore[union-attr,assignment]
            with state.lock:
                if not words:
                    self.send(200, b'{"title": "qdrant - vector search engine", "version": "1.16.0"}')
                elif self.command == "GET" and words[2:3] == ["snapshots"] and len(words) == 4:
                    self.download(state.snapshots[words[1], words[3]])
                else:
                    status, result = state.answer(self.command, words, dict(parse_qsl(where.query)), body)
                    good = {"result": result, "status": "ok", "time": 0.001}
                    answer = good if status == 200 else {"status": result, "time": 0.001}
                    self.send(status, json.dumps(answer).encode())

        do_GET = do_POST = do_DELETE = do_PUT = handle_one

        def download(self, content: bytes) -> None:
            if state.alter:
                content = content[:-1] + b"!"
            self.send(200, content, cut=state.cut)

        def send(self, status: int, content: bytes, cut: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:cut])
            if cut is not None:
                self.close_connection = True

        def log_message(self, *words: object) -> None:
            """Nothing is printed."""

    return Handler


def main() -> None:
    """Serve until told to end, with what the folder holds."""
    kept = Path("/qdrant/storage/stand-in.json")
    state = QdrantServer()
    if kept.is_file():
        state.collections, state.aliases = json.loads(kept.read_text())
    key = os.environ.get("QDRANT__SERVICE__API_KEY", "")
    answering = handler(state, key)

    class Handler(answering):  # type: ignore[valid-type,misc]
        def handle_one(self) -> None:
            if self.path in ("/readyz", "/healthz", "/livez"):
                self.send(200, b"all shards are ready")
                return
            if self.path == "/metrics" and (self.headers.get("Authorization") or "")[7:] == key:
                self.send(
                    200, b"# TYPE collections_total gauge\ncollections_total %d\n" % len(state.collections)
                )
                return
            super().handle_one()
            kept.write_text(json.dumps([state.collections, state.aliases]))

        do_GET = do_POST = do_DELETE = do_PUT = handle_one

    ThreadingHTTPServer(("0.0.0.0", 6333), Handler).serve_forever()  # noqa: S104 - inside its container


if __name__ == "__main__":
    main()
