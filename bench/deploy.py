"""A deploy on a real Docker Engine beyond bare `docker compose up --wait` of the same files

The whole command line is measured, from its start to its end: lease, preflight, plan, health, revision. The peer is
given the same Compose file and the same images. Both are warm, take turns, and the median of the rounds is shown.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.row import Row, within
from tests.parts import require
from tests.servers.docker import IMAGE, Docker, own_docker
from tests.servers.seaweed import OwnSeaweed, Seaweed

_REDIS = "ops-bench/redis:7"
_ROUNDS = 3
_MANY = 40
_PROGRAM = Path(sys.executable).with_name("ops-pipelines")
_PEER = "docker compose up --wait"
_ASK = {"test": ["CMD", "wget", "-qO-", "http://127.0.0.1/"], "interval": "0.5s", "retries": 20}
_PAGE = "mkdir -p /w; echo $WORDS > /w/index.html; exec httpd -f -p 80 -h /w"


@dataclass(frozen=True)
class Stand:
    """One project on one engine, for both."""

    folder: Path
    environ: Mapping[str, str]

    def write(self, words: str) -> None:
        """The project, with something that tells one deploy from the next."""
        declared = {"services": _services(words), "volumes": {"data": {}}}
        (self.folder / "compose.yaml").write_text(yaml.safe_dump(declared))

    def ours(self, *words: str) -> float:
        """Seconds of one of our commands."""
        return self._timed([str(_PROGRAM), *words])

    def theirs(self, *words: str) -> float:
        """Seconds of one of Compose's."""
        return self._timed(["docker", "compose", "--project-name", "bench", *words])

    def _timed(self, command: Sequence[str]) -> float:
        begun = time.perf_counter()
        done = subprocess.run(
            command, env=dict(self.environ), cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return time.perf_counter() - begun


def run() -> list[Row]:
    """First deploy, change of one service, nothing changed, plan of many services."""
    with tempfile.TemporaryDirectory() as made, own_docker() as own:
        server = OwnSeaweed(Path(made) / "weed")
        try:
            own.at.image(_REDIS, programs=[require("redis").path])
            return list(_rows(Path(made), own.at, server.at))
        finally:
            server.kill()


def _rows(folder: Path, docker: Docker, seaweed: Seaweed) -> Iterator[Row]:
    with _stand(folder / "few", docker, seaweed, _stack(["redis", "back", "web"])) as stand:
        stand.write("warm")
        stand.ours("deploy", "bench")
        first, change, none = _Pairs(), _Pairs(), _Pairs()
        for round_ in range(_ROUNDS):
            # Each from an empty engine; then one service of three changed; then nothing.
            for pairs, deploy in ((first.ours, _our_deploy), (first.theirs, _their_deploy)):
                stand.theirs("down", "--volumes")
                stand.write(f"first {round_}")
                pairs.append(deploy(stand))
                name = "ours" if deploy is _our_deploy else "theirs"
                stand.write(f"changed {round_} {name}")
                getattr(change, name).append(deploy(stand))
                getattr(none, name).append(deploy(stand))
        yield _beyond("a first deploy of 3 services", first, 1.5)
        yield _beyond("one of 3 services changed", change, 1.5)
        yield Row(
            "nothing changed",
            none.our_median,
            "s",
            _PEER,
            none.their_median,
            within(none.our_median, 1.0, "s"),
        )
        stand.theirs("down", "--volumes")
    many = [f"page{number}" for number in range(_MANY)]
    with _stand(folder / "many", docker, seaweed, _stack(many)) as stand:
        services = {name: {**_page("many")} for name in many}
        (stand.folder / "compose.yaml").write_text(yaml.safe_dump({"services": services}))
        stand.ours("plan", "bench")
        ours = _median(lambda: stand.ours("plan", "bench"))
        theirs = _median(lambda: stand.theirs("config", "--hash", "*"))
        yield Row(
            f"plan of {_MANY} services",
            ours,
            "s",
            "docker compose config --hash",
            theirs,
            within(ours, 1.0, "s"),
        )


class _Pairs:
    """Seconds of both."""

    def __init__(self) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []

    @property
    def our_median(self) -> float:
        return statistics.median(self.ours)

    @property
    def their_median(self) -> float:
        return statistics.median(self.theirs)


def _our_deploy(stand: Stand) -> float:
    return stand.ours("deploy", "bench")


def _their_deploy(stand: Stand) -> float:
    return stand.theirs("up", "--detach", "--wait")


def _median(work: Callable[[], float]) -> float:
    return statistics.median(work() for _ in range(_ROUNDS))


def _beyond(what: str, pairs: _Pairs, limit: float) -> Row:
    more = pairs.our_median - pairs.their_median
    target = f"{more:.2f} s beyond it, {within(more, limit, 's')}"
    return Row(what, pairs.our_median, "s", _PEER, pairs.their_median, target)


@contextmanager
def _stand(folder: Path, docker: Docker, seaweed: Seaweed, stack: dict[str, Any]) -> Iterator[Stand]:
    at = folder / "bench"
    at.mkdir(parents=True)
    bucket = f"bench-{folder.name}"
    seaweed.client().create_bucket(Bucket=bucket)
    stack["backup"] = {
        "bucket": bucket, "endpoint": seaweed.endpoint, "access_key": "a", "secret_key": "s",
    }  # fmt: skip
    (at / "stack.yaml").write_text(yaml.safe_dump(stack))
    environ = {
        **docker.environ,
        "OPS_HOME": str(folder / "home"),
        "OPS_STACKS_DIR": str(folder),
        "S3A": seaweed.access_key,
        "S3S": seaweed.secret_key,
    }
    try:
        yield Stand(at, environ)
    finally:
        docker.remove("bench")


def _stack(components: Sequence[str]) -> dict[str, Any]:
    return {
        "stack": "bench",
        "description": "Services that are up at once.",
        "owners": ["team:platform"],
        "target": {"kind": "compose", "project": "bench"},
        "secrets": {"a": "${S3A}", "s": "${S3S}"},
        "components": {name: {"kind": "app", "health": {"within": "60s"}} for name in components},
    }


def _services(words: str) -> dict[str, Any]:
    redis = {
        "image": _REDIS,
        "init": True,
        "command": ["redis-server", "--dir", "/data", "--save", ""],
        "volumes": ["data:/data"],
        "healthcheck": {"test": ["CMD", "redis-server", "--version"], "interval": "0.5s", "retries": 20},
    }
    back = {**_page("back"), "depends_on": {"redis": {"condition": "service_healthy"}}}
    web = {**_page(words), "depends_on": {"back": {"condition": "service_healthy"}}}
    return {"redis": redis, "back": back, "web": web}


def _page(words: str) -> dict[str, Any]:
    return {
        "image": IMAGE,
        "init": True,
        "command": ["sh", "-c", _PAGE.replace("$", "$$")],
        "environment": {"WORDS": words},
        "healthcheck": _ASK,
    }
