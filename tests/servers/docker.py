"""A real Docker Engine with Compose v2, in folders of its own; its one image is busybox, as no registry is asked."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from ops_pipelines.adapters.docker_engine import DockerEngine
from tests.parts import require
from tests.waiting import free_port, until

IMAGE = "ops-test/busybox:1"
_TLS = {"cacert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
_NETS = range(130, 200)
"""Second numbers of the addresses 10.N.0.0/16 of which each engine takes one."""


@dataclass(frozen=True)
class Docker:
    """A running engine, and how it is reached."""

    socket: Path
    config: Path
    folder: Path
    tls_port: int = 0
    """Port of 127.0.0.1 at which it answers with TLS, to clients with a certificate of its CA (`certificates`)."""

    @property
    def certificates(self) -> Path:
        """Folder with ca.pem, cert.pem, key.pem of a client."""
        return self.folder / "client"

    @property
    def environ(self) -> Mapping[str, str]:
        """What a client's environment holds."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.config),
        }

    @property
    def engine(self) -> DockerEngine:
        """The project's own adapter on it."""
        return DockerEngine(self.environ)

    def run(self, *words: str, stdin: bytes = b"") -> str:
        """`docker ...`, which must succeed; what it printed."""
        done = subprocess.run(
            ["docker", *words],
            env=dict(self.environ),
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"docker {words}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def image(self, name: str, *changes: str, programs: Sequence[Path] = ()) -> str:
        """Make an image of busybox and some real programs of this machine, with the libraries that they load, and
        return its id. `changes` are Dockerfile instructions."""
        archive = io.BytesIO()
        applets = subprocess.run(
            ["busybox", "--list"], capture_output=True, text=True, check=True
        ).stdout.split()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(shutil.which("busybox") or "/bin/busybox", "bin/busybox")
            for applet in applets:
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                if applet != "busybox":
                    tar.addfile(link)
            for program in programs:
                tar.add(program.resolve(), f"usr/bin/{program.name}")
            for library in {library for program in programs for library in libraries(program)}:
                tar.add(library.resolve(), str(library).lstrip("/"))
        words = [word for change in changes for word in ("--change", change)]
        return self.run("import", *words, "-", name, stdin=archive.getvalue())

    def remove(self, project: str) -> None:
        """Everything of a Compose project, its volumes too."""
        label = f"label=com.docker.compose.project={project}"
        for kind, delete in (
            ("ps -aq", "rm -fv"),
            ("volume ls -q", "volume rm"),
            ("network ls -q", "network rm"),
        ):
            found = self.run(*kind.split(), "--filter", label).split()
            if found:
                self.run(*delete.split(), *found)


class OwnDocker:
    """An engine that a test may stop or kill, and start again on the same folder."""

    def __init__(self, folder: Path, *flags: str, data: Path | None = None) -> None:
        """`data` is where images, containers and volumes lie: a small disk, for a test that fills it."""
        found, compose = require("docker"), require("compose")
        if os.geteuid() != 0:
            pytest.skip("a Docker Engine of one's own needs root")
        self._program, self._folder, self._flags = found.path, folder, flags
        self._net, self._held = _own_net()
        self._data = data or folder / "data"
        plugins = folder / "config" / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        shutil.copy(compose.path, plugins / "docker-compose")
        self.at = Docker(folder / "docker.sock", folder / "config", folder, free_port())
        self._tls = signed(folder, "engine", alt="IP:127.0.0.1")
        signed(folder, "client")
        self._daemon: subprocess.Popen[bytes] | None = None
        self._let_containers_talk("-I")
        self.start()

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        assert self._daemon is None, "stop() or kill() it first"
        words = [
            f"--data-root={self._data}",
            f"--exec-root={self._folder / 'exec'}",
            f"--pidfile={self._folder / 'pid'}",
            f"--host=unix://{self.at.socket}",
            f"--host=tcp://127.0.0.1:{self.at.tls_port}",
            "--tlsverify",
            *(f"--tls{name}={self._tls / file}" for name, file in _TLS.items()),
            # Another engine's bridge and rules, where one runs on this machine, are left alone: each engine that
            # starts throws the chains of all of them away. Ports are published by docker-proxy.
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            f"--default-address-pool=base={self._net},size=24",
            *self._flags,
        ]
        with self._log.open("ab") as log, _alone():
            daemon = subprocess.Popen([self._program, *words], stdout=log, stderr=log, start_new_session=True)
            self._daemon = daemon
            try:
                until(self._answers, what="the Docker Engine to answer", seconds=60)
            except BaseException:
                os.killpg(daemon.pid, signal.SIGKILL)
                raise

    def _let_containers_talk(self, how: str) -> None:
        """Another engine may have left all that is forwarded to be dropped."""
        rule = ["FORWARD", "-s", self._net, "-d", self._net, "-j", "ACCEPT"]
        if shutil.which("iptables"):
            subprocess.run(["iptables", "--wait", how, *rule], capture_output=True, check=False)

    def stop(self) -> None:
        """Stop the daemon as a service manager does; its containers stop with it."""
        if self._daemon is None:
            return
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._daemon.pid, signal.SIGKILL)
            self._daemon.wait()
        self._daemon = None

    def end(self) -> None:
        """Stop it for good."""
        self.stop()
        self._let_containers_talk("-D")
        self._held.close()

    def kill(self) -> None:
        """kill -9 of the daemon; its containers run on without it."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()
        self._daemon = None
        # Its containerd dies with it; where PID 1 is no init that buries it, it would be taken for one that runs.
        (self._folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _answers(self) -> bool:
        assert self._daemon is not None
        assert self._daemon.poll() is None, self._log.read_text(errors="replace")[-2000:]
        if not self.at.socket.exists():
            return False
        done = subprocess.run(
            ["docker", "info"], env=dict(self.at.environ), capture_output=True, timeout=30, check=False
        )
        return done.returncode == 0


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """One engine for the session."""
    with own_docker() as own:
        yield own.at


@contextmanager
def own_docker(*flags: str, data: Path | None = None) -> Iterator[OwnDocker]:
    """An engine with its one image, in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="ops-docker-"))
    own = OwnDocker(folder, *flags, data=data)
    try:
        own.at.image(IMAGE, 'CMD ["/bin/sh"]')
        yield own
    finally:
        own.end()
        shutil.rmtree(folder, ignore_errors=True)


def _own_net() -> tuple[str, IO[str]]:
    """Addresses that no other engine of the tests has, for as long as the file is open: of two networks with the same
    ones on one machine, the later takes the traffic of the earlier."""
    for number in _NETS:
        file = (Path(tempfile.gettempdir()) / f"ops-docker-net-{number}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            return f"10.{number}.0.0/16", file
    raise RuntimeError("every network of the tests is taken")


@contextmanager
def _alone() -> Iterator[None]:
    """While no other engine starts: two at one moment both make the packet filter's chains, and one gives up."""
    with (Path(tempfile.gettempdir()) / "ops-docker-start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def signed(folder: Path, name: str, *, ca: str = "ca", alt: str = "DNS:client") -> Path:
    """A folder below `folder` with ca.pem, and a cert.pem and key.pem that this CA has signed."""
    authority = folder / f"{ca}-made"
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    if not authority.is_dir():
        authority.mkdir()
        words = ["-x509", "-days", "2", "-subj", f"/CN={ca}", "-keyout", "key.pem", "-out", "ca.pem"]
        _openssl(authority, *new, *words)
    made = folder / name
    made.mkdir()
    shutil.copy(authority / "ca.pem", made / "ca.pem")
    _openssl(made, *new, "-subj", f"/CN={name}", "-keyout", "key.pem", "-out", "request.pem")
    (made / "extensions").write_text(f"subjectAltName={alt}\nextendedKeyUsage=serverAuth,clientAuth\n")
    words = ["-CA", str(authority / "ca.pem"), "-CAkey", str(authority / "key.pem"), "-CAcreateserial"]
    _openssl(
        made,
        "x509",
        "-req",
        "-in",
        "request.pem",
        *words,
        "-days",
        "2",
        "-extfile",
        "extensions",
        "-out",
        "cert.pem",
    )
    return made


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True, timeout=60)


def libraries(program: Path) -> list[Path]:
    """Shared libraries that a program loads, the loader included (none for a static one)."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    words = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
    return [Path(word) for word in words]
