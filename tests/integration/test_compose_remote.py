"""Target `compose` on an engine reached by TLS, by ssh, by a context: declared, never guessed; refused with words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops_pipelines.errors import Refused, Unreachable, UsageError
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import deployments
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.site import Site, load_fleet
from tests.declaring import KEYS, backup_in, keys_of
from tests.servers.docker import IMAGE, Docker, signed
from tests.servers.seaweed import Seaweed
from tests.servers.sshd import Sshd
from tests.waiting import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Declare = Callable[..., Site]
SURROUNDINGS = {"DOCKER_HOST": "unix:///nowhere/else.sock", "DOCKER_CONTEXT": "somebody-elses"}


@pytest.fixture
def declare(docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Iterator[Declare]:
    """A page on an engine that the stack file names, in surroundings that name another one."""
    port = free_port()
    project = f"far{port}"
    folder = tmp_path / "deploy" / "far"
    folder.mkdir(parents=True)
    service = {
        "image": IMAGE,
        "init": True,
        "command": ["httpd", "-f", "-p", "80", "-h", "/bin"],
        "ports": [f"127.0.0.1:{port}:80"],
        "healthcheck": {
            "test": ["CMD", "wget", "-qO-", "http://127.0.0.1/sh"],
            "interval": "0.3s",
            "retries": 9,
        },
    }
    (folder / "compose.yaml").write_text(yaml.safe_dump({"services": {"web": service}}))

    def made(**target: Any) -> Site:
        declared = {
            "stack": "far",
            "description": "A page on another machine.",
            "owners": ["team:platform"],
            "target": {"kind": "compose", "project": project, **target},
            "secrets": KEYS,
            "components": {
                "web": {"kind": "app", "ports": {"http": port}, "health": {"path": "/sh", "within": "20s"}}
            },
            "backup": backup_in(seaweed, bucket),
        }
        (folder / "stack.yaml").write_text(yaml.safe_dump(declared))
        environ = {
            **docker.environ,
            **SURROUNDINGS,
            "OPS_HOME": str(tmp_path / "home"),
            "OPS_STACKS_DIR": str(tmp_path / "deploy"),
            **keys_of(seaweed),
        }
        return load_fleet(load_settings(environ, cwd=folder)).site("far")

    yield made
    docker.remove(project)


def by_tls(docker: Docker, certificates: Path | None = None) -> dict[str, Any]:
    folder = certificates or docker.certificates
    return {"engine": {"host": f"tcp://127.0.0.1:{docker.tls_port}", "certificates": str(folder)}}


def by_ssh(sshd: Sshd, **other: Path) -> dict[str, Any]:
    files = {"identity": sshd.identity, "known_hosts": sshd.known_hosts, **other}
    return {"engine": {"host": sshd.host, **{name: str(path) for name, path in files.items()}}}


def test_a_stack_lives_on_an_engine_behind_tls(declare: Declare, docker: Docker) -> None:
    _lives(declare(**by_tls(docker)), docker)


def test_a_stack_lives_on_an_engine_behind_ssh(declare: Declare, docker: Docker, sshd: Sshd) -> None:
    _lives(declare(**by_ssh(sshd)), docker)


def _lives(site: Site, docker: Docker) -> None:
    assert [one for one in deployments.preflight(site) if one.ok is False] == []
    assert deployments.deploy(site, by="test").revision == 1
    assert {row["answers"] for row in deployments.status_rows(site)} == {"yes"}
    assert [one.service for one in docker.engine.containers(ComposeSite(site).target.project)] == ["web"]
    assert deployments.deploy(site, by="test").plan.empty
    assert "httpd" not in ComposeSite(site).docker.log_tail(f"{ComposeSite(site).target.project}-web-1")
    deployments.down(site, volumes=True)
    assert docker.engine.containers(ComposeSite(site).target.project) == ()


def test_a_context_with_its_certificates(declare: Declare, docker: Docker) -> None:
    pem = docker.certificates
    files = f"ca={pem}/ca.pem,cert={pem}/cert.pem,key={pem}/key.pem"
    docker.run("context", "create", "far", "--docker", f"host=tcp://127.0.0.1:{docker.tls_port},{files}")
    try:
        here = ComposeSite(declare(context="far"))
        assert not here.docker.is_local
        assert here.docker.info().version == docker.engine.info().version
        assert here.tool(None).version()
        assert {step.verb for step in deployments.plan(here.site).steps} == {"create"}
    finally:
        docker.run("context", "rm", "-f", "far")
    with pytest.raises(UsageError, match="no Docker context 'far'"):
        declare(context="far") and ComposeSite(declare(context="far")).docker.info()


def test_a_file_of_this_machine_is_named_before_it_is_missing_there(declare: Declare, docker: Docker) -> None:
    site = declare(**by_tls(docker))
    compose = site.folder / "compose.yaml"
    declared = yaml.safe_load(compose.read_text())
    declared["services"]["web"]["volumes"] = ["./page.txt:/page.txt:ro", "/etc/hostname:/etc/name:ro"]
    compose.write_text(yaml.safe_dump(declared))
    (site.folder / "page.txt").write_text("hello")
    bad = [one for one in deployments.preflight(declare(**by_tls(docker))) if one.ok is False]
    assert [one.subject for one in bad] == ["mount//page.txt"]
    assert "`configs:` with `content:`" in bad[0].remedy


def test_refusals_have_words(declare: Declare, docker: Docker, sshd: Sshd, tmp_path: Path) -> None:
    foreign = signed(tmp_path, "foreign", ca="another-ca")
    own_ca = signed(tmp_path, "mixed", ca="third-ca")
    (own_ca / "ca.pem").write_bytes((docker.certificates / "ca.pem").read_bytes())
    empty = tmp_path / "no-hosts"
    empty.write_text("")
    closed = {"engine": {"host": f"tcp://127.0.0.1:{free_port()}", "certificates": str(docker.certificates)}}
    table: list[tuple[dict[str, Any], type[Exception], str]] = [
        (by_tls(docker, foreign), Refused, "not signed by the CA"),
        (by_tls(docker, own_ca), Refused, "refuses our client certificate"),
        (by_ssh(sshd, identity=sshd.stranger), Refused, "the key is not let in"),
        (by_ssh(sshd, known_hosts=empty), Refused, "host key is not the one"),
        (closed, Unreachable, "no Docker Engine answers"),
        (
            {"engine": {**by_ssh(sshd)["engine"], "host": f"ssh://root@127.0.0.1:{free_port()}"}},
            Unreachable,
            "refused",
        ),
    ]
    for target, kind, words in table:
        site = declare(**target)
        with pytest.raises(kind, match=words) as caught:
            ComposeSite(site).docker.info()
        assert "Traceback" not in str(caught.value)
        [found] = deployments.preflight(site)[:1]
        assert (found.subject, found.ok) == ("docker", False)
        assert words in found.message


def test_no_key_is_in_the_state_folder(declare: Declare, sshd: Sshd, tmp_path: Path) -> None:
    site = declare(**by_ssh(sshd))
    ComposeSite(site).docker.info()
    secret = sshd.identity.read_text().splitlines()[2].encode()
    held = [path for path in site.settings.home.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert held == []
    assert subprocess.run(["sh", "-n", site.state / "compose" / "ssh" / "ssh"], check=False).returncode == 0
