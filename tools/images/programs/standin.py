"""Stands in for a server that no registry has: `standin.py NAME`. It is as strict about its surroundings.

It ends with words where a variable is missing, a file cannot be read, its folder cannot be written, or a server that it
is told of cannot be reached, and answers the addresses that probes and neighbours ask.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_ENV = os.environ


@dataclass(frozen=True)
class Server:
    """What one real server asks for and answers."""

    port: int
    health: str
    answer: Any
    needs: tuple[str, ...] = ()
    """Variables without which it does not start."""
    reaches: tuple[str, ...] = ()
    """Addresses, of those that are set."""
    folder: str = ""
    """Where it writes."""
    metrics: str = ""
    routes: Mapping[str, Any] = field(default_factory=dict)


def address(url: str, port: int) -> str:
    """`host:port` of a URL or `host[:port]`; empty for an empty one."""
    if not url:
        return ""
    parts = urlsplit(url if "//" in url else f"//{url}")
    return f"{parts.hostname}:{parts.port or port}"


def stores() -> tuple[str, ...]:
    """The servers that Langfuse is told of."""
    redis = _ENV.get("REDIS_HOST", "")
    return (
        address(_ENV.get("DATABASE_HOST", ""), 5432),
        address(_ENV.get("CLICKHOUSE_URL", ""), 8123),
        f"{redis}:{_ENV.get('REDIS_PORT', '6379')}" if redis else "",
        address(_ENV.get("LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT", ""), 443),
    )


def server_of(name: str) -> Server:
    """The server of this name."""
    database = (
        "DATABASE_HOST",
        "DATABASE_NAME",
        "DATABASE_USERNAME",
        "DATABASE_PASSWORD",
        "SALT",
        "ENCRYPTION_KEY",
    )
    match name:
        case "langfuse":
            healthy = {"status": "OK", "version": _ENV["STANDIN_VERSION"]}
            web = (*database, "NEXTAUTH_SECRET", "NEXTAUTH_URL")
            return Server(3000, "/api/public/health", healthy, needs=web, reaches=stores())
        case "langfuse-worker":
            return Server(3030, "/api/health", {"status": "ok"}, needs=database, reaches=stores())
        case "grafana":
            port = int(_ENV.get("GF_SERVER_HTTP_PORT", "3000"))
            found = {"/api/search": dashboards(), "/api/datasources": datasources()}
            healthy = {"database": "ok", "version": "12.0.1"}
            return Server(port, "/api/health", healthy, folder="/var/lib/grafana", routes=found)
        case "loki":
            return Server(3100, "/ready", "ready", folder="/loki")
        case "alloy":
            return Server(
                12345, "/-/ready", "Alloy is ready.", reaches=("loki:3100",), folder="/var/lib/alloy/data"
            )
        case "jaeger":  # its volume is /tmp
            return Server(13133, "/status", {"status": "StatusOK"}, folder="/tmp")  # noqa: S108 - the real one writes there
        case "open-webui":
            return Server(
                8080, "/health", {"status": True}, needs=("WEBUI_SECRET_KEY",), folder="/app/backend/data"
            )
        case "langflow":
            url = address(_ENV.get("LANGFLOW_DATABASE_URL", ""), 5432)
            healthy = {"status": "ok", "chat": "ok", "db": "ok"}
            return Server(
                7860, "/health_check", healthy, reaches=(url,), folder=_ENV.get("LANGFLOW_CONFIG_DIR", "/app")
            )
        case "dcgm-exporter":
            lines = [
                f'DCGM_FI_DEV_{one}{{gpu="0",modelName="none"}} 0'
                for one in ("GPU_UTIL", "FB_USED", "FB_FREE")
            ]
            return Server(9400, "/health", "KO", metrics="\n".join(lines) + "\n")
    sys.exit(f"nothing stands in for {name}")


def provisioned(kind: str) -> list[dict[str, Any]]:
    """What Grafana's provisioning files of a kind list."""
    import yaml

    found: list[dict[str, Any]] = []
    for file in sorted(Path("/etc/grafana/provisioning", kind).glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        if document.get("apiVersion") != 1:
            sys.exit(f"{file}: apiVersion 1 is needed")
        found += document.get("providers" if kind == "dashboards" else kind) or ()
    return found


def dashboards() -> list[dict[str, Any]]:
    """The dashboards that Grafana would show."""
    files = [
        file
        for one in provisioned("dashboards")
        for file in sorted(Path(one["options"]["path"]).glob("*.json"))
    ]
    found = [json.loads(file.read_text()) for file in files]
    return [{"uid": one.get("uid"), "title": one["title"], "type": "dash-db"} for one in found]


def datasources() -> list[dict[str, Any]]:
    """The data sources that Grafana would ask."""
    return [
        {"name": one["name"], "type": one["type"], "url": one["url"]} for one in provisioned("datasources")
    ]


def password() -> str:
    """Grafana's password, from a file where one is named."""
    file = _ENV.get("GF_SECURITY_ADMIN_PASSWORD__FILE")
    return Path(file).read_text().strip() if file else _ENV.get("GF_SECURITY_ADMIN_PASSWORD", "")


def check(server: Server) -> None:
    """End where the surroundings are not as the real one needs them."""
    if missing := [name for name in server.needs if not _ENV.get(name)]:
        sys.exit(f"{', '.join(missing)} must be set")
    if server.folder:
        Path(server.folder, ".written").write_text("yes")
    for place in server.reaches:
        if place:
            await_server(place)


def await_server(place: str) -> None:
    host, _, port = place.rpartition(":")
    for attempt in range(30):
        try:
            socket.create_connection((host, int(port)), 5).close()
        except OSError as error:
            if attempt == 29:
                sys.exit(f"{place} cannot be reached: {error}")
            time.sleep(1)
        else:
            return


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server_words: Server
    secret: str = ""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == self.server_words.health:
            self.answer(200, self.server_words.answer)
        elif path == "/metrics":
            self.answer(200, self.server_words.metrics)
        elif path not in self.server_words.routes:
            self.answer(404, {"message": "Not found"})
        elif self.secret and self.headers.get("Authorization") != self.secret:
            self.answer(401, {"message": "Unauthorized"})
        else:
            self.answer(200, self.server_words.routes[path])

    def do_POST(self) -> None:
        """Langfuse takes in batches of events."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        taken = [{"id": one.get("id"), "status": 201} for one in body.get("batch") or ()]
        self.answer(207, {"successes": taken, "errors": []})

    def answer(self, status: int, body: Any) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Requests are not printed."""


def main() -> None:
    """Serve until told to end."""
    name = sys.argv[1]
    Handler.server_words = server_of(name)
    check(Handler.server_words)
    if name == "grafana":
        Handler.secret = "Basic " + base64.b64encode(f"admin:{password()}".encode()).decode()
    # Next.js listens on the address that HOSTNAME names, which Docker sets to the container's own.
    host = _ENV.get("HOSTNAME", "0.0.0.0") if name.startswith("langfuse") else "0.0.0.0"
    print(f"stands in for {name} on {host}:{Handler.server_words.port}", flush=True)
    ThreadingHTTPServer((host, Handler.server_words.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
