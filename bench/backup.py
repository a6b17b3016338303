"""Backup: 1.3 GB in 12 model blobs and 500 small files, against the programs that people use for it

Each runs in a process of its own against one SeaweedFS, one after the other, from a warm page cache; in each of the
rounds another one begins, and what is shown is the median of the rounds (`BENCH_ROUNDS`, 3). Its CPU is its own
and its children's; the store's is a row of its own. Ours hashes every byte and reads back what it stored, and its
restore checks every digest; of the peers, only restic does. Ours ends when what it restored is on the disk: the peers'
are shown as they are, and once more with the time that `sync` takes after them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.fleet import ROOT
from bench.row import Row, within
from tests.servers.seaweed import OwnSeaweed
from tools.parts import all_parts

_BLOBS, _BLOB = 12, 108 * 10**6
_SMALL = 500
_PEERS = ("s5cmd", "rclone", "awscli", "restic")
_LIMIT = 600.0
_ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


@dataclass(frozen=True)
class Taken:
    """What one command took."""

    wall: float
    cpu: float
    memory: float
    """MB at most, of the largest of its processes."""
    store: float
    """CPU seconds of the store meanwhile."""
    said: str


@dataclass(frozen=True)
class Commands:
    """How a program does each step; `{bucket}` and `{out}` are filled in."""

    full: Sequence[str]
    down: Sequence[str]
    before: Sequence[str] = ()

    def ready(self, words: Sequence[str], bucket: str, out: Path) -> list[str]:
        """One command, its places filled in."""
        return [word.replace("{bucket}", bucket).replace("{out}", str(out)) for word in words]


def run() -> list[Row]:
    """Medians of some rounds; peers that are not here are left out, and said."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data = _write(folder / "data")
        server = OwnSeaweed(folder / "weed", memory="2GiB")
        try:
            client = server.at.client()
            _warm(client, data)
            rounds = [_measure(folder, data, server, client, turn) for turn in range(_ROUNDS)]
            return _rows(_medians(rounds))
        finally:
            server.kill()


def _medians(rounds: Sequence[Mapping[str, Mapping[str, Taken]]]) -> dict[str, dict[str, Taken]]:
    """Each figure's median of all rounds; what was said is the last round's."""

    def middle(name: str, step: str) -> Taken:
        all_of_them = [one[name][step] for one in rounds]
        figures = {
            field: median(getattr(one, field) for one in all_of_them)
            for field in ("wall", "cpu", "memory", "store")
        }
        return replace(all_of_them[-1], **figures)

    return {name: {step: middle(name, step) for step in steps} for name, steps in rounds[0].items()}


def _measure(
    folder: Path, data: Path, server: OwnSeaweed, client: Any, turn: int
) -> dict[str, dict[str, Taken]]:
    """One round, which the `turn`-th program begins."""
    environ = _environ(folder, server)
    found: dict[str, dict[str, Taken]] = {}
    every = list(_commands(folder, data, server.at.endpoint).items())
    first = turn * 2 % len(every)
    for name, commands in (*every[first:], *every[:first]):
        bucket, out = f"bench-{secrets.token_hex(4)}", folder / "out"
        client.create_bucket(Bucket=bucket)

        def step(
            words: Sequence[str], bucket: str = bucket, out: Path = out, commands: Commands = commands
        ) -> Taken:
            return _run(commands.ready(words, bucket, out), environ, server)

        if commands.before:
            step(commands.before)
        taken = {"full": step(commands.full)}
        taken["again"] = step(commands.full)
        os.sync()
        taken["down"] = step(commands.down)
        flushed = _run(["sync", "-f", str(out)], environ, server)
        taken["on disk"] = replace(taken["down"], wall=taken["down"].wall + flushed.wall)
        _compare(data, out)
        shutil.rmtree(out)
        with _one_changed(data):
            taken["changed"] = step(commands.full)
        found[name] = taken
        _empty(client, bucket)
    return found


def _rows(found: Mapping[str, Mapping[str, Taken]]) -> list[Row]:
    ours, peers = found["ours"], {name: one for name, one in found.items() if name != "ours"}
    said = json.loads(ours["again"].said)
    rows = [
        *_against(ours, peers, "full", "full backup", lambda one: one.wall, "s", "not above the fastest"),
        *_against(ours, peers, "full", "  its CPU", lambda one: one.cpu, "s", "below the leanest"),
        *_against(ours, peers, "full", "  the store's CPU", lambda one: one.store, "s", ""),
        Row("  its memory", ours["full"].memory, "MB", target=within(ours["full"].memory, 300, "MB")),
        Row("second run unchanged, engine", said["seconds"], "s", target=within(said["seconds"], 0.3, "s")),
        Row("  requests", said["requests"], "", target=within(said["requests"], 10, "requests")),
        Row("  model bytes read", said["read"], "B", target="none: " + ("yes" if not said["read"] else "NO")),
        *_against(ours, peers, "again", "  the whole process", lambda one: one.wall, "s", ""),
    ]
    both = {name: one for name, one in peers.items() if name.split()[0] in ("restic", "rclone")}
    rows += _against(ours, both, "changed", "one of 12 changed", lambda one: one.wall, "s", "not slower")
    rows += _against(
        ours, peers, "down", "restore, digests checked", lambda one: one.wall, "s", "not above the fastest"
    )
    rows += _against(
        ours, peers, "on disk", "  until it is on the disk", lambda one: one.wall, "s", "not slower"
    )
    rows += _against(ours, peers, "down", "  its CPU", lambda one: one.cpu, "s", "")
    rows.append(Row("  its memory", ours["down"].memory, "MB", target=within(ours["down"].memory, 300, "MB")))
    return rows


def _against(
    ours: Mapping[str, Taken], peers: Mapping[str, Mapping[str, Taken]], step: str, what: str,
    figure: Callable[[Taken], float], unit: str, target: str,
) -> list[Row]:  # fmt: skip
    """A row for each peer, the best of them first, with the target."""
    mine = figure(ours[step])
    ordered = sorted((figure(one[step]), name) for name, one in peers.items())
    rows = [Row(what, mine, unit, name, theirs) for theirs, name in ordered]
    if target and rows:
        best = rows[0]
        verdict = "yes" if mine <= (best.theirs or 0) else "NO"
        rows[0] = Row(what, mine, unit, best.peer, best.theirs, f"{target}: {verdict}")
    return rows or [Row(what, mine, unit)]


def _commands(folder: Path, data: Path, endpoint: str) -> dict[str, Commands]:
    ours = [sys.executable, "-m", "bench._backup_run"]
    known = {
        "ours": Commands(
            [*ours, "backup", "{bucket}", str(data), str(folder / "state")],
            [*ours, "restore", "{bucket}", "{out}", str(folder / "state")],
        )
    }
    at = {name: part.path for name in _PEERS if (part := all_parts()[name].find()) is not None}
    for name in _PEERS:
        if name not in at:
            print(f"  {name} is not here: {all_parts()[name].how_to_get}")
    if "s5cmd" in at:
        s5 = [str(at["s5cmd"]), "--endpoint-url", endpoint, "--log", "error", "sync"]
        known["s5cmd sync"] = Commands(
            [*s5, f"{data}/", "s3://{bucket}/"], [*s5, "s3://{bucket}/*", "{out}/"]
        )
    if "rclone" in at:
        sync = [str(at["rclone"]), "-q", "sync"]
        known["rclone sync"] = Commands(
            [*sync, str(data), "store:{bucket}"], [*sync, "store:{bucket}", "{out}"]
        )
    if "awscli" in at:
        aws = str(at["awscli"])
        sync = [aws, "s3", "sync", "--quiet"]
        known["aws s3 sync"] = Commands(
            [*sync, str(data), "s3://{bucket}"], [*sync, "s3://{bucket}", "{out}"]
        )
        known["tar | aws s3 cp"] = Commands(
            ["sh", "-c", f"tar cC {data} . | {aws} s3 cp --quiet - s3://{{bucket}}/all.tar"],
            ["sh", "-c", f"mkdir {{out}} && {aws} s3 cp --quiet s3://{{bucket}}/all.tar - | tar xC {{out}}"],
        )
    if "restic" in at:
        restic = [str(at["restic"]), "-q", "-r", f"s3:{endpoint}/{{bucket}}"]
        known["restic"] = Commands(
            [*restic, "backup", str(data)],
            [*restic, "restore", "latest", "--target", "{out}"],
            [*restic, "init"],
        )
    return known


def _environ(folder: Path, server: OwnSeaweed) -> dict[str, str]:
    at = server.at
    rclone = {"TYPE": "s3", "PROVIDER": "SeaweedFS", "ENDPOINT": at.endpoint, "REGION": at.region,
              "ACCESS_KEY_ID": at.access_key, "SECRET_ACCESS_KEY": at.secret_key}  # fmt: skip
    return {
        "PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(ROOT), **at.environ,
        "AWS_ENDPOINT_URL": at.endpoint, "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(folder / "restic"),
        **{f"RCLONE_CONFIG_STORE_{word}": value for word, value in rclone.items()},
    }  # fmt: skip


def _run(command: Sequence[str], environ: Mapping[str, str], server: OwnSeaweed) -> Taken:
    """Run it, and count what it and all its children took."""
    timed = [sys.executable, "-m", "bench._timed", *command]
    before = _cpu_of(server.pid)
    done = subprocess.run(
        timed, env=dict(environ), capture_output=True, text=True, timeout=_LIMIT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    took = json.loads(done.stderr.splitlines()[-1])
    return Taken(took["wall"], took["cpu"], took["memory"], _cpu_of(server.pid) - before, done.stdout)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _write(folder: Path) -> Path:
    """An Ollama store of 12 models of one blob each, and a folder of small files."""
    made = random.Random(1)
    store = folder / "ollama"
    (store / "blobs").mkdir(parents=True)
    (folder / "small").mkdir()
    for number in range(_BLOBS):
        _add_model(store, number, made.randbytes(_BLOB))
    for number in range(_SMALL):
        (folder / "small" / f"{number:03}").write_bytes(made.randbytes(made.randrange(200, 20_000)))
    return folder


def _add_model(store: Path, number: int, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    blob = store / "blobs" / f"sha256-{digest}"
    blob.write_bytes(content)
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{digest}",
        "size": len(content),
    }
    config = b'{"model_format": "gguf"}'
    named = hashlib.sha256(config).hexdigest()
    (store / "blobs" / f"sha256-{named}").write_bytes(config)
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / f"model{number}" / "latest"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": f"sha256:{named}",
        "size": len(config),
    }
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": about, "layers": [layer]}))
    return blob


@contextmanager
def _one_changed(data: Path) -> Iterator[None]:
    """The first model is another one for the time of a `with`."""
    store, aside = data / "ollama", data.parent
    manifest = store / "manifests/registry.ollama.ai/library/model0/latest"
    kept = manifest.read_text()
    old = store / "blobs" / json.loads(kept)["layers"][0]["digest"].replace(":", "-")
    old.rename(aside / old.name)
    new = _add_model(store, 0, secrets.token_bytes(_BLOB))
    try:
        yield
    finally:
        new.unlink()
        (aside / old.name).rename(old)
        manifest.write_text(kept)


def _compare(data: Path, out: Path) -> None:
    """What came back holds every blob."""
    wanted = {path.name for path in (data / "ollama" / "blobs").iterdir()}
    found = {path.name for path in out.rglob("sha256-*")}
    assert wanted <= found, f"{len(wanted - found)} blobs did not come back"


def _warm(client: Any, data: Path) -> None:
    """Let the store grow its files once, so that whoever comes first does not pay for it."""
    client.create_bucket(Bucket="warm")
    for blob in (data / "ollama" / "blobs").iterdir():
        client.upload_file(str(blob), "warm", blob.name)
    _empty(client, "warm")


def _empty(client: Any, bucket: str) -> None:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for page in pages:
        keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
