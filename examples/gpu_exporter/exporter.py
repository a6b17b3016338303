"""Replays readings of a graphics card under the names of NVIDIA's dcgm-exporter, where there is no card.

It lets scaling be tried. `readings.csv` is no recording of a card: it is the load of an hour of the public Azure
LLM inference trace (2023, conversation; CC BY 4.0), tokens in each 15 s, scaled to the utilisation and memory
that a 24 GB card would show. The readings are those of `--file` (CSV:
gpu,utilisation_percent,free_mib,used_mib a line, one line a card and moment), over and over, one moment each
`--every` seconds. POST /hold {"utilisation": 95} holds a utilisation, and DELETE /hold goes on replaying.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_HELP = {
    "DCGM_FI_DEV_GPU_UTIL": "GPU utilization (in %).",
    "DCGM_FI_DEV_FB_FREE": "Framebuffer memory free (in MiB).",
    "DCGM_FI_DEV_FB_USED": "Framebuffer memory used (in MiB).",
}
_COLUMNS = ("utilisation_percent", "free_mib", "used_mib")


@dataclass(frozen=True)
class Moment:
    """One reading of one card."""

    gpu: str
    utilisation: float
    free: float
    used: float


def load(path: Path) -> list[list[Moment]]:
    """The moments of a file, the cards of one moment together. A card seen again begins the next moment.

    Raises SystemExit that says what is wrong with the file.
    """
    moments: list[list[Moment]] = [[]]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                card = _card(row, f"{path}, line {number}")
                if any(seen.gpu == card.gpu for seen in moments[-1]):
                    moments.append([])
                moments[-1].append(card)
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from error
    if not moments[0]:
        raise SystemExit(f"{path} holds no reading")
    return moments


def _card(row: Mapping[str, str], where: str) -> Moment:
    try:
        utilisation, free, used = (float(row[name]) for name in _COLUMNS)
        return Moment(row["gpu"], utilisation, free, used)
    except (KeyError, TypeError, ValueError) as error:
        wanted = ",".join(("gpu", *_COLUMNS))
        raise SystemExit(f"{where}: a line has {wanted} ({type(error).__name__}: {error})") from error


def page(cards: Sequence[Moment], held: float | None) -> str:
    """The cards as a page in Prometheus' text format."""
    lines: list[str] = []
    for name, text in _HELP.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for card in cards:
            value = {
                "DCGM_FI_DEV_GPU_UTIL": card.utilisation if held is None else held,
                "DCGM_FI_DEV_FB_FREE": card.free,
                "DCGM_FI_DEV_FB_USED": card.used,
            }[name]
            lines.append(f'{name}{{gpu="{card.gpu}",modelName="replayed"}} {value:g}')
    return "\n".join(lines) + "\n"


class Replay(ThreadingHTTPServer):
    """The exporter; `held` is the utilisation that is held, if any."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], moments: list[list[Moment]], every: float) -> None:
        super().__init__(address, Handler)
        self.moments, self.every, self.begun = moments, every, time.monotonic()
        self.held: float | None = None

    def now(self) -> list[Moment]:
        """The moment that is replayed now."""
        return self.moments[int((time.monotonic() - self.begun) / self.every) % len(self.moments)]


class Handler(BaseHTTPRequestHandler):
    """GET /metrics, POST and DELETE /hold."""

    server: Replay
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/metrics":
            return self._answer(404, "only /metrics is here\n")
        return self._answer(200, page(self.server.now(), self.server.held))

    def do_POST(self) -> None:
        try:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path != "/hold":
                return self._answer(404, "only /hold is here\n")
            self.server.held = _percent(json.loads(content)["utilisation"])
        except (ValueError, KeyError, TypeError):
            return self._answer(400, 'send {"utilisation": 95}, a percentage\n')
        return self._answer(200, "held\n")

    def do_DELETE(self) -> None:
        if self.path != "/hold":
            return self._answer(404, "only /hold is here\n")
        self.server.held = None
        return self._answer(200, "replaying\n")

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not worth a line each."""


def _percent(value: float) -> float:
    if not 0 <= float(value) <= 100:  # NaN included
        raise ValueError(value)
    return float(value)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9400)
    parser.add_argument("--file", type=Path, default=Path(__file__).with_name("readings.csv"))
    parser.add_argument("--every", type=float, default=15.0, help="seconds a moment lasts")
    args = parser.parse_args()
    server = Replay((args.host, args.port), load(args.file), args.every)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
