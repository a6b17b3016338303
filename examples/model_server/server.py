"""A small embedding server with a real model, for a machine that has no Ollama.

    python examples/model_server/server.py --cache DIR --port 8080

Workers that are given the same port with --reuse-port share it: the kernel gives each new connection to
one of them. Each can be watched alone on its --admin-port.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from handler import Handler
from listener import Server
from worker import Worker

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
STOP = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    options = _options()
    # A worker is one core's worth: more load is more workers, which would otherwise fight over the cores.
    # numpy and tokenizers read these when they are imported, which is when the model is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Blocked here and so in every thread: the signal waits for `sigwait`, whatever is running.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    worker = Worker(options.worker, options.model)
    try:
        public = Server((options.host, options.port), Handler, worker, shared=options.reuse_port)
        admin = None
        if options.admin_port is not None:
            admin = Server((options.host, options.admin_port), Handler, worker, admin=True)
    except OSError as error:
        worker.telemetry.log("bind_failed", host=options.host, error=str(error))
        return 1
    if admin is not None:
        admin.start()
    if not options.reuse_port:
        public.start()  # answers 503 until the model is loaded
    failed = threading.Event()
    threading.Thread(target=_bring_up, args=(worker, public, options, failed), daemon=True).start()
    worker.telemetry.log(
        "listening", port=public.server_port, admin_port=admin.server_port if admin else None, pid=os.getpid()
    )
    worker.telemetry.log("stopping", signal=signal.Signals(signal.sigwait(STOP)).name)
    unanswered = _shut_down(worker, public, admin, options.drain_seconds)
    return 1 if failed.is_set() or unanswered else 0


def _bring_up(worker: Worker, public: Server, options: argparse.Namespace, failed: threading.Event) -> None:
    """Load the model; end the process when that fails, as a supervisor is there to start it again."""
    try:
        worker.load(options.cache)
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker cannot serve without a model
        worker.telemetry.log("load_failed", error=repr(error))
        failed.set()
        os.kill(os.getpid(), signal.SIGTERM)
        return
    if options.reuse_port:
        # Only now: the kernel gives connections to every listener, and a peer could have answered them.
        public.start()
    worker.telemetry.log("ready")


def _shut_down(worker: Worker, public: Server, admin: Server | None, seconds: float) -> int:
    worker.stopping = True
    public.stop()
    unanswered = worker.drain(seconds)
    if admin is not None:
        admin.stop()  # last, so that a probe sees 'stopping' rather than nothing
    worker.telemetry.log("stopped", unanswered=unanswered)
    return unanswered


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="Hugging Face hub cache with the model")
    parser.add_argument("--model", default=MODEL, help="its repository (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one and logs it")
    parser.add_argument("--reuse-port", action="store_true", help="share the port with other workers")
    parser.add_argument("--admin-port", type=int, help="serve this worker's /health and /metrics here too")
    parser.add_argument("--worker", default=f"worker-{os.getpid()}", help="for X-Worker, log and /health")
    parser.add_argument("--drain-seconds", type=float, default=25, help="at SIGTERM, for requests in flight")
    options = parser.parse_args()
    if not options.worker.isascii() or not options.worker.isprintable():
        parser.error("--worker goes into a header: printable ASCII only")
    return options


if __name__ == "__main__":
    sys.exit(main())
