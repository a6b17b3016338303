"""A real SeaweedFS: one for the session, and one of its own for a test that kills it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ops_pipelines.adapters.s3 import S3Store
from tests.parts import require
from tests.servers._child import die_with_parent
from tests.sharing import share
from tests.waiting import is_free

_SERVICES = ("s3", "master", "volume", "filer", "admin")
_READY = 60.0


@dataclass(frozen=True)
class Seaweed:
    """Where a running SeaweedFS answers, and with which credentials."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    read_access_key: str
    """An identity that may read and list, and nothing else."""
    read_secret_key: str

    def client(self) -> Any:
        """A plain boto3 client, to look past our own code."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                proxies={},
                read_timeout=20,
            ),
        )

    def store(self, bucket: str, **changes: Any) -> S3Store:
        """Our adapter on a bucket; `changes` replace arguments of S3Store.connect."""
        settings = {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
        }
        return S3Store.connect(bucket=bucket, **(settings | changes))

    @property
    def environ(self) -> dict[str, str]:
        """What a subprocess needs to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }


class OwnSeaweed:
    """A SeaweedFS that a test may kill and start again on the same folder and ports."""

    def __init__(self, folder: Path, *, memory: str = "256MiB") -> None:
        """`memory` is what Go's collector keeps to: little of it costs CPU, which a benchmark would count."""
        self._memory = memory
        self._program = require("seaweedfs").path
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        keys = [secrets.token_hex(10) for _ in range(4)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        identities = [
            _identity("tests", keys[0], keys[1], ["Admin", "Read", "Write", "List", "Tagging"]),
            _identity("reader", keys[2], keys[3], ["Read", "List"]),
        ]
        credentials = folder / "s3.json"
        credentials.touch(mode=0o600)
        credentials.write_text(json.dumps({"identities": identities}))
        self._keys = keys
        for attempt in range(3):
            self._ports = _free_ports()
            try:
                self._start()
            except RuntimeError:  # another process took a port in between
                self.kill()
                if attempt == 2:
                    raise
            else:
                break

    @property
    def at(self) -> Seaweed:
        """Where it answers."""
        endpoint = f"http://127.0.0.1:{self._ports['s3']}"
        return Seaweed(endpoint, self._keys[0], self._keys[1], "us-east-1", self._keys[2], self._keys[3])

    @property
    def pid(self) -> int:
        """Process id, for a test that sends signals of its own."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9, with everything that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self, *flags: str) -> None:
        """Start it again after `kill`, on the same ports and data, with more flags of weed's."""
        assert self._process is None, "kill() it first"
        self._start(*flags)

    def _start(self, *flags: str) -> None:
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        fixed = [
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-volume.max=8000",
            "-master.volumeSizeLimitMB=256", "-master.telemetry=false", "-s3.config=s3.json",
        ]  # fmt: skip
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "mini", f"-dir={self._folder / 'data'}", *ports, *fixed, *flags],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.defpath, "HOME": str(self._folder), "GOMEMLIMIT": self._memory},
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )
        self._wait_ready(self._process, may_write=not flags)

    def _wait_ready(self, process: subprocess.Popen[bytes], *, may_write: bool) -> None:
        """Ready is: a bucket can be made and an object written (or read, where flags may forbid it)."""
        deadline = time.monotonic() + _READY
        client = self.at.client()
        problem: Exception | None = None
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"weed ended with {process.returncode}: {self._log_tail()}")
            try:
                with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                    client.create_bucket(Bucket="ready-check")
                if may_write:
                    client.put_object(Bucket="ready-check", Key="ready", Body=b"ready")
                client.get_object(Bucket="ready-check", Key="ready")
            except (BotoCoreError, ClientError) as error:
                problem = error
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"weed was not ready within {_READY:g} s ({problem}): {self._log_tail()}")

    def _log_tail(self) -> str:
        return (self._folder / "weed.log").read_text(errors="replace")[-2000:]


def _identity(name: str, access: str, secret: str, actions: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": actions,
    }


def _free_ports() -> dict[str, int]:
    """Ports whose gRPC twin (port + 10000) is free too, both below the range that the kernel hands out."""
    found: list[int] = []
    low, high = share(12_000, 22_000)
    while len(found) < len(_SERVICES):
        port = random.randrange(low, high)
        if port not in found and is_free(port) and is_free(port + 10000):
            found.append(port)
    return dict(zip(_SERVICES, found, strict=True))


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A SeaweedFS for the whole session. Do not kill it: `own_seaweed` is for that."""
    folder = tmp_path_factory.mktemp("seaweed")
    server = OwnSeaweed(folder)
    yield server.at
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_seaweed(tmp_path: Path) -> Iterator[OwnSeaweed]:
    """A SeaweedFS of this test's own, with `kill()` and `restart()`; `at` says where it answers."""
    server = OwnSeaweed(tmp_path / "own-seaweed")
    yield server
    server.kill()
    shutil.rmtree(tmp_path / "own-seaweed", ignore_errors=True)


@pytest.fixture
def bucket(seaweed: Seaweed) -> Iterator[str]:
    """Name of a fresh, empty bucket, removed at the end: each has volumes of its own, and the store has so many."""
    name = f"test-{secrets.token_hex(6)}"
    client = seaweed.client()
    client.create_bucket(Bucket=name)
    yield name
    with contextlib.suppress(BotoCoreError, ClientError):  # a locked object keeps its bucket
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            keys = [{"Key": one["Key"]} for one in page.get("Contents", ())]
            if keys:
                client.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
        client.delete_bucket(Bucket=name)


@pytest.fixture
def store(seaweed: Seaweed, bucket: str) -> S3Store:
    """Our adapter on a fresh bucket."""
    return seaweed.store(bucket)
