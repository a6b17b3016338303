"""S3Store as other stores want to be spoken to: their own authority, tokens, encryption, hosts; a limit on the rate."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters._s3_rate import Rate
from ops_pipelines.adapters.s3 import Encryption, S3Store
from ops_pipelines.errors import OpsError, Refused, StoreError, Unreachable
from tests.servers.faults import Proxy, faulty
from tests.servers.seaweed import Seaweed

PART = 5 * 2**20
KEY = bytes(range(32))
FILES = {"small": 1000, "whole": 2**20 + 5, "parts": PART + 1}


@pytest.fixture
def proxy(seaweed: Seaweed) -> Iterator[Proxy]:
    with faulty(seaweed.endpoint) as made:
        yield made


def round_trip(store: S3Store, folder: Path) -> None:
    """Write and read an object of each way that there is."""
    for name, size in FILES.items():
        content = random.Random(size).randbytes(size)
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        store.put_file(f"blobs/{name}", folder / name, sha256=digest, progress=lambda _: None)
        assert b"".join(store.stream(f"blobs/{name}")) == content
    etag = store.put("lease", b"mine", if_absent=True)
    store.put("lease", b"again", if_match=etag)
    assert store.get("lease")[0] == b"again"
    found = store.head("lease")
    assert found is not None
    assert found.size == 5
    assert [info.key for info in store.list("blobs/")] == [f"blobs/{name}" for name in sorted(FILES)]


def test_a_customers_key_is_needed_to_read(
    seaweed: Seaweed, bucket: str, proxy: Proxy, tmp_path: Path
) -> None:
    wanted = Encryption("customer", None, KEY)
    store = seaweed.store(bucket, endpoint=proxy.endpoint, whole=PART, part=PART, encryption=wanted)
    round_trip(store, tmp_path)
    for request in proxy.seen:
        if request.method in ("PUT", "GET", "HEAD") and "/blobs/" in request.path and "?" not in request.path:
            sent = request.headers["x-amz-server-side-encryption-customer-key"]
            assert base64.b64decode(sent) == KEY, request
    with pytest.raises(OpsError):
        seaweed.store(bucket).get("lease")
    assert str(KEY) not in repr(wanted)
    assert str(KEY) not in repr(store._uploader.__dict__)


@pytest.mark.parametrize(
    ("wanted", "headers"),
    [
        (Encryption("s3"), {"x-amz-server-side-encryption": "AES256"}),
        (
            Encryption("kms", "our-key"),
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "our-key",
            },
        ),
    ],
)
def test_the_store_is_asked_to_encrypt_each_object(
    wanted: Encryption, headers: dict[str, str], seaweed: Seaweed, bucket: str, proxy: Proxy, tmp_path: Path
) -> None:
    """Only what is asked: whether this store does it is its own matter."""
    store = seaweed.store(bucket, endpoint=proxy.endpoint, whole=PART, part=PART, encryption=wanted)
    try:
        round_trip(store, tmp_path)
    except OpsError:  # a store without a key service
        assert wanted.kind == "kms"
    begun = [one for one in proxy.seen if one.method == "PUT" and "uploadId" not in one.path]
    assert begun
    for request in begun:
        assert headers.items() <= request.headers.items()


def test_a_session_token_goes_with_every_request(
    seaweed: Seaweed, bucket: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another's")
    path = tmp_path / "small"
    path.write_bytes(b"x")
    for token in ("ours", None):
        proxy.seen.clear()
        store = seaweed.store(bucket, endpoint=proxy.endpoint, session_token=token, attempts=1)
        try:
            store.put_file("k", path, sha256=hashlib.sha256(b"x").hexdigest(), progress=lambda _: None)
            store.get("k")
        except OpsError:  # this store knows no tokens
            assert token == "ours"
        assert proxy.seen
        assert {request.headers.get("x-amz-security-token") for request in proxy.seen} == {token}


def test_its_own_authority(seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=a test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with faulty(seaweed.endpoint, tls=tls) as proxy:
        store = seaweed.store(bucket, endpoint=proxy.endpoint, ca_bundle=certificate, whole=PART, part=PART)
        round_trip(store, tmp_path)
        with pytest.raises(Unreachable, match="TLS") as caught:
            seaweed.store(bucket, endpoint=proxy.endpoint, attempts=1).get("lease")
        assert "ca_bundle" in caught.value.remedy
    with pytest.raises(StoreError, match="no file") as absent:
        seaweed.store(bucket, ca_bundle=tmp_path / "none.pem")
    assert "ca_bundle" in absent.value.remedy


def test_the_bucket_as_part_of_the_host(
    seaweed: Seaweed, bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of the wire: the name is resolved here by hand, as no server of names knows it."""
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".store.test") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    endpoint = proxy.endpoint.replace("127.0.0.1", "objects.store.test")
    store = seaweed.store(bucket, endpoint=endpoint, path_style=False, attempts=1)
    with contextlib.suppress(OpsError):  # this store looks for the bucket in the path
        list(store.list("some/"))
    assert proxy.seen[0].headers["host"].startswith(f"{bucket}.objects.store.test:")
    assert proxy.seen[0].path.startswith("/?")


def test_a_prefix_of_odd_characters(seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    """What obstore does not take goes by boto3."""
    store = seaweed.store(bucket)
    path = tmp_path / "file"
    path.write_bytes(b"content")
    for key in ("a b/ü+%41/k", "p[1]{2}~*#&=+,;@!$()/k"):
        store.put_file(key, path, sha256=hashlib.sha256(b"content").hexdigest(), progress=lambda _: None)
        assert store.get(key)[0] == b"content"
        assert [info.key for info in store.list(key[:4])] == [key]
        store.delete([key])


def test_a_rate_is_kept_to() -> None:
    now, slept = 100.0, 0.0

    def sleep(seconds: float) -> None:
        nonlocal now, slept
        now, slept = now + seconds, slept + seconds

    rate = Rate(1000, seconds=lambda: now, sleep=sleep)
    for _ in range(10):
        rate.take(1000)
    assert 8.5 <= slept <= 9.0  # ten seconds' worth, less the last one and the burst
    Rate(None, sleep=lambda _: pytest.fail("there is no limit")).take(10**9)


def test_wrong_keys_are_refused_by_both_ways(seaweed: Seaweed, bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    store = seaweed.store(bucket, secret_key="wrong")
    with pytest.raises(Refused):
        store.put_file("k", path, sha256=hashlib.sha256(b"content").hexdigest(), progress=lambda _: None)
    with pytest.raises(Refused):
        store.get("k")
