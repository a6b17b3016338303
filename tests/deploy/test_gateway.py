"""Aphrodite's gateway at the wire: the real HAProxy on the file of deploy/, before servers that keep what they hear."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.deploy.projects import DEPLOY
from tests.parts import require
from tests.waiting import free_ports, until
from tests.whole import self_signed

ISSUER, AUDIENCE = "https://login.example.com/", "aphrodite"
NAMES = ("a", "slow", "all", "none", "hourly", "monthly", "reloaded")
KEYS = "".join(f"key-of-{name}-0123456789 {name}\n" for name in NAMES)
RIGHTS = """a:chat x
a:embeddings x
slow:chat x
slow:minute 2
all:* x
all:minute 1
hourly:chat x
hourly:hour 1
monthly:chat x
monthly:month 1
reloaded:chat x
reloaded:minute 1
"""
CHAT = "/v1/chat/completions"


class _Engine(BaseHTTPRequestHandler):
    """Answers everything with the name of its pool, and keeps the headers."""

    asked: list[tuple[str, dict[str, str]]]
    pool: str

    def do_GET(self) -> None:
        body = json.dumps({"pool": self.pool}).encode()
        if self.path != "/health":
            self.asked.append((self.path, {name.lower(): text for name, text in self.headers.items()}))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *words: object) -> None:
        """Requests are not printed."""


@dataclass
class Gateway:
    """A running gateway, and what its engines were asked."""

    folder: Path
    port: int
    ready: int
    signer: rsa.RSAPrivateKey
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def audit(self) -> list[str]:
        """Its lines so far."""
        return [line for line in (self.folder / "log").read_text().splitlines() if line.startswith("audit ")]

    def post(self, token: str = "", path: str = CHAT, **headers: str) -> httpx.Response:
        """A question with a key or a token."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = f"https://127.0.0.1:{self.port}{path}"
        return httpx.post(url, json={}, headers=headers, verify=False, timeout=10)  # noqa: S501 - the test's own certificate

    def token(self, signer: rsa.RSAPrivateKey | None = None, **changed: Any) -> str:
        """A token of the provider; a claim of None is left out."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "robot", "exp": now + 300, "scope": "openid chat"}
        return _signed(
            {name: one for name, one in (claims | changed).items() if one is not None}, signer or self.signer
        )


def _signed(claims: Mapping[str, Any], signer: rsa.RSAPrivateKey, alg: str = "RS256") -> str:
    parts = [_b64(json.dumps(one).encode()) for one in ({"alg": alg, "typ": "JWT"}, claims)]
    said = ".".join(parts)
    return f"{said}.{_b64(signer.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _public(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def _configured(folder: Path, ports: Mapping[int, int]) -> Path:
    """The file of deploy/ with its places and ports moved."""
    text = (DEPLOY / "aphrodite" / "gateway" / "haproxy.cfg").read_text()
    for place in ("/run/secrets", "/usr/local/etc/haproxy"):
        text = text.replace(place, str(folder))
    for port, here in ports.items():
        assert f"bind :{port}" in text
        text = text.replace(f"bind :{port}", f"bind 127.0.0.1:{here}")
    text = text.replace(
        "\nglobal\n", f"\nglobal\n    stats socket {folder}/socket\n"
    )  # how the test looks inside
    (folder / "haproxy.cfg").write_text(text)
    return folder / "haproxy.cfg"


def _environ(pools: Mapping[str, int], **more: str) -> dict[str, str]:
    named = {f"{pool}_POOL": f"127.0.0.1:{port}" for pool, port in pools.items()}
    return {"PATH": os.environ["PATH"], "ENGINE_KEY": "the-engines-own-key", **named, **more}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """HAProxy with OAuth on, before an engine for each pool."""
    haproxy = require("haproxy")["haproxy"]
    folder = tmp_path_factory.mktemp("gateway")
    https, stats, peers, *engines = free_ports(6)
    signer = rsa.generate_private_key(65537, 2048)
    here = Gateway(folder, https, stats, signer)
    (folder / "tls.pem").write_text(self_signed())
    (folder / "jwt.pem").write_bytes(_public(signer))
    (folder / "client-keys").write_text(KEYS)
    (folder / "client-rights").write_text(RIGHTS)
    config = _configured(folder, {8443: https, 8404: stats, 10000: peers})
    pools = dict(zip(("CHAT", "COMPLETION", "EMBEDDING"), engines, strict=True))
    servers = []
    for pool, port in pools.items():
        handler = type("Engine", (_Engine,), {"pool": pool.lower(), "asked": here.asked})
        servers.append(ThreadingHTTPServer(("127.0.0.1", port), handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
    environ = _environ(pools, JWT_ISSUER=ISSUER, JWT_AUDIENCE=AUDIENCE)
    with (folder / "log").open("wb") as log:
        here.process = subprocess.Popen(
            [haproxy, "-W", "-db", "-f", config], env=environ, stdout=log, stderr=log
        )
    try:
        until(lambda: _answers(stats), what=f"the gateway: {(folder / 'log').read_text()}", seconds=20)
        yield here
    finally:
        here.process.terminate()
        here.process.wait(30)
        for server in servers:
            server.shutdown()
            server.server_close()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(
    ("path", "pool"),
    [(CHAT, "chat"), ("/v1/completions", "completion"), ("/v1/embeddings", "embedding")],
)
def test_a_path_has_its_pool(gateway: Gateway, path: str, pool: str) -> None:
    assert gateway.post("key-of-all-0123456789", path).json() == {"pool": pool}


def test_the_engine_sees_its_own_key_and_who_asks(gateway: Gateway) -> None:
    sent = {"X-Client": "somebody-else", "X-Request-ID": "mine"}
    assert gateway.post("key-of-a-0123456789", **sent).status_code == 200
    _, headers = gateway.asked[-1]
    assert headers["authorization"] == "Bearer the-engines-own-key"
    assert headers["x-client"] == "a"
    assert headers["x-request-id"] != "mine"
    until(lambda: headers["x-request-id"] in gateway.audit[-1], what="its line of the audit")


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        ("", CHAT, 401),
        ("a-key-that-nobody-has", CHAT, 401),
        ("key-of-none-0123456789", CHAT, 403),
        ("key-of-a-0123456789", "/v1/completions", 403),
        ("key-of-a-0123456789", "/v1/embeddings", 200),
        ("key-of-all-0123456789", "/v1/completions", 200),
        ("key-of-all-0123456789", "/metrics", 404),
    ],
)
def test_a_key_may_what_its_client_may(gateway: Gateway, token: str, path: str, status: int) -> None:
    assert gateway.post(token, path).status_code == status


HOUR_AGO = int(time.time()) - 3600
TOKENS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "good": ({}, 200),
    "several audiences": ({"aud": ["other", AUDIENCE]}, 200),
    "valid since an hour": ({"nbf": HOUR_AGO}, 200),
    "expired": ({"exp": HOUR_AGO}, 401),
    "without an end": ({"exp": None}, 401),
    "not yet valid": ({"nbf": HOUR_AGO + 7200}, 401),
    "for another service": ({"aud": "aphrodite-admin"}, 401),
    "for other services": ({"aud": ["aphrodite-admin", "other"]}, 401),
    "for nobody": ({"aud": None}, 401),
    "of another issuer": ({"iss": "https://evil.example.com/"}, 401),
    "of nobody": ({"sub": None}, 401),
    "with another's name": ({"sub": 'x" client="a'}, 401),
    "for other things": ({"scope": "openid embeddings chatter"}, 403),
    "for nothing": ({"scope": None}, 403),
}


@pytest.mark.parametrize("case", TOKENS)
def test_a_token_is_taken_when_all_of_it_is_right(gateway: Gateway, case: str) -> None:
    changed, status = TOKENS[case]
    before = len(gateway.asked)
    assert gateway.post(gateway.token(**changed)).status_code == status
    assert len(gateway.asked) - before == (status == 200)


def test_a_token_signed_by_another_key_is_refused(gateway: Gateway) -> None:
    assert gateway.post(gateway.token(rsa.generate_private_key(65537, 2048))).status_code == 401


def test_a_token_that_names_another_algorithm_is_refused(gateway: Gateway) -> None:
    head, body, signature = gateway.token().split(".")
    none = _b64(b'{"alg":"none","typ":"JWT"}')
    assert gateway.post(f"{none}.{body}.").status_code == 401
    assert gateway.post(f"{none}.{body}.{signature}").status_code == 401
    assert gateway.post(f"{head}.{body}.").status_code == 401


def test_a_limit_says_when_to_come_back(gateway: Gateway) -> None:
    slow = "key-of-slow-0123456789"
    assert [gateway.post(slow).status_code for _ in range(2)] == [200, 200]
    refused = gateway.post(slow)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert [gateway.post("key-of-all-0123456789").status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(("period", "later"), [("hour", "3600"), ("month", "86400")])
def test_longer_periods_have_limits_of_their_own(gateway: Gateway, period: str, later: str) -> None:
    asker = f"key-of-{period}ly-0123456789"
    assert gateway.post(asker).status_code == 200
    refused = gateway.post(asker)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, later)
    assert period in refused.json()["error"]


@pytest.mark.parametrize(
    ("token", "status"), [("key-of-a-0123456789", 200), ("nobody", 401), ("key-of-none-0123456789", 403)]
)
def test_every_answer_tells_browsers_to_be_careful(gateway: Gateway, token: str, status: int) -> None:
    answer = gateway.post(token)
    assert answer.status_code == status
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in answer.headers


def test_nothing_older_than_tls_1_3_is_spoken(gateway: Gateway) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://127.0.0.1:{gateway.port}/", verify=old)


def test_the_audit_names_who_and_what_and_no_secret(gateway: Gateway) -> None:
    token = gateway.token()
    gateway.post("key-of-a-0123456789", f"{CHAT}?api_key=key-of-a-0123456789")
    gateway.post("key-of-none-0123456789")
    gateway.post(token)
    until(lambda: 'client="oauth:robot"' in gateway.audit[-1], what="the last line")
    key, refused, by_token = gateway.audit[-3:]
    assert all(word in key for word in ('client="a"', 'right="chat"', "status=200", f'path="{CHAT}"')), key
    assert all(word in refused for word in ('client="none"', "status=403", 'refused="right"')), refused
    assert 'by="token"' in by_token
    kept = (gateway.folder / "log").read_text()
    for secret in (
        *(line.split()[0] for line in KEYS.splitlines()),
        token,
        token.split(".")[2],
        "the-engines-own-key",
    ):
        assert secret not in kept


def test_haproxy_takes_the_file_in_each_form(gateway: Gateway, tmp_path: Path) -> None:
    for name in ("tls.pem", "client-keys", "client-rights"):
        (tmp_path / name).write_text((gateway.folder / name).read_text())
    config = _configured(tmp_path, {})
    pools = {"CHAT": 1, "COMPLETION": 1, "EMBEDDING": 1}
    assert _checked(config, _environ(pools)) == ""
    assert (
        _checked(
            config, _environ(pools, OTHER_GATEWAY="127.0.0.1:1", GATEWAY_NAME="second", OTHER_NAME="first")
        )
        == ""
    )
    assert "APHRODITE_JWT_AUDIENCE" in _checked(config, _environ(pools, JWT_ISSUER=ISSUER))


def _checked(config: Path, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        [require("haproxy")["haproxy"], "-c", "-f", config],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_what_was_counted_outlives_a_reload(gateway: Gateway) -> None:
    """A worker teaches its follower once it has itself looked for somebody to learn from: 5 s after the start."""
    master = gateway.process.pid if gateway.process else 0
    until(
        lambda: "resync_timeout=<PAST>" in _peers(gateway),
        what="the gateway to be done with learning",
        seconds=30,
    )
    asker = "key-of-reloaded-0123456789"
    assert [gateway.post(asker).status_code for _ in range(2)] == [200, 429]
    old = _children(master)
    os.kill(master, signal.SIGUSR2)
    until(lambda: _children(master) and not _children(master) & old, what="the old worker to end")
    assert gateway.post(asker).status_code == 429


def _peers(gateway: Gateway) -> str:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(gateway.folder / "socket"))
        asked.sendall(b"show peers\n")
        return asked.recv(200).decode()


def _children(process: int) -> set[str]:
    return set(Path(f"/proc/{process}/task/{process}/children").read_text().split())
