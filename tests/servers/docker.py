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
from functools import partial
from pathlib import Path

import pytest

from ops_pipelines.adapters.docker_engine import DockerEngine
from tests.parts import require
from tests.waiting import free_port, until

IMAGE = "ops-test/busybox:1"
_TLS = {"cacert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
_POOL = "base=10.{0}.0.0/16,size=24"


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
                tar.add(program, f"usr/bin/{program.name}")
            for library in {library for program in programs for library in _libraries(program)}:
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


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """One engine for the session."""
    found, compose = require("docker"), require("compose")
    if os.geteuid() != 0:
        pytest.skip("a Docker Engine of one's own needs root")
    folder = Path(tempfile.mkdtemp(prefix="ops-docker-"))
    plugins = folder / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    shutil.copy(compose.path, plugins / "docker-compose")
    here = Docker(folder / "docker.sock", folder / "config", folder, free_port())
    tls = signed(folder, "engine", alt="IP:127.0.0.1")
    signed(folder, "client")
    words = [
        f"--data-root={folder / 'data'}",
        f"--exec-root={folder / 'exec'}",
        f"--pidfile={folder / 'pid'}",
        f"--host=unix://{here.socket}",
        f"--host=tcp://127.0.0.1:{here.tls_port}",
        "--tlsverify",
        *(f"--tls{name}={tls / file}" for name, file in _TLS.items()),
        "--bridge=none",  # another engine's, where one runs on this machine, is then left alone
        f"--default-address-pool={_POOL.format(200 + os.getpid() % 50)}",
    ]
    with (folder / "log").open("wb") as log, _alone():
        daemon = subprocess.Popen([found.path, *words], stdout=log, stderr=log, start_new_session=True)
        answers = partial(_answers, here, daemon, folder / "log")
        try:
            until(answers, what="the Docker Engine to answer", seconds=60)
        except BaseException:
            os.killpg(daemon.pid, signal.SIGKILL)
            raise
    try:
        here.image(IMAGE, 'CMD ["/bin/sh"]')
        yield here
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


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


def _answers(here: Docker, daemon: subprocess.Popen[bytes], log: Path) -> bool:
    assert daemon.poll() is None, log.read_text(errors="replace")[-2000:]
    if not here.socket.exists():
        return False
    done = subprocess.run(
        ["docker", "info"], env=dict(here.environ), capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def _libraries(program: Path) -> list[Path]:
    """Shared libraries that a program loads, the loader included (none for a static one)."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    words = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
    return [Path(word) for word in words]
