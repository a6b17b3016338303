"""ClickHouse's own engine (chdb) behind its HTTP interface, as far as our adapter speaks it: run as a program.

`python _clickhouse_shim.py FOLDER PORT USER PASSWORD [HOST]`. One query at a time; BACKUP and RESTORE go on in the
engine. With a host it is the program of an image: readings are on port 9363 then.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import parse_qsl, urlsplit

from chdb import session

folder, port, user, password, *host = sys.argv[1:]
engine, lock = session.Session(folder), Lock()
# A server keeps `default` as it keeps any database; the engine alone begins each time with one that cannot be renamed.
kept = Path(folder, "metadata", "default.sql").is_file()
for statement in (
    "USE system",
    "DETACH DATABASE default" if kept else "DROP DATABASE default SYNC",
    "ATTACH DATABASE default" if kept else "CREATE DATABASE default ENGINE = Atomic",
):
    engine.query(statement)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = {
            "/ping": "Ok.\n",
            "/metrics": "# TYPE ClickHouseMetrics_Query gauge\nClickHouseMetrics_Query 0\n",
        }
        self.answer(200 if self.path in found else 404, found.get(self.path, "There is no handle"))

    def do_POST(self) -> None:
        words = dict(parse_qsl(urlsplit(self.path).query))
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        told = (self.headers.get("X-ClickHouse-User"), self.headers.get("X-ClickHouse-Key"))
        if told != (user, password):
            self.answer(516, "Code: 516. DB::Exception: Authentication failed: password is incorrect")
            return
        form = words.pop("default_format", "TSV")
        database = words.pop("database", None)
        readonly = words.pop("readonly", None)
        with lock:
            try:
                if readonly and not body.lstrip().upper().startswith(("SELECT", "WITH", "SHOW")):
                    raise RuntimeError("Code: 164. DB::Exception: Cannot execute query in readonly mode")
                engine.query(f"USE `{database or 'default'}`")
                for name, value in words.items():
                    engine.query(f"SET {name} = {value}")
                content = str(engine.query(body, form))
            except RuntimeError as error:
                self.answer(500, str(error))
                return
        self.answer(200, content)

    def answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status if status < 512 else 403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Queries are not printed: they hold credentials."""


if __name__ == "__main__":
    if host:
        readings = ThreadingHTTPServer((host[0], 9363), Handler)
        Thread(target=readings.serve_forever, daemon=True).start()
    ThreadingHTTPServer((host[0] if host else "127.0.0.1", int(port)), Handler).serve_forever()
