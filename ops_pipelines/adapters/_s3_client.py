"""botocore clients. Making one reads the service's whole description (0.1 s), so equal ones are made once, and the
library is imported (0.2 s) when the first is made."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CONNECTIONS = 32
_requests: WeakKeyDictionary[S3Client, int] = WeakKeyDictionary()
_lock = Lock()


@dataclass(frozen=True)
class Encryption:
    """How the store is asked to encrypt what it keeps: `s3` by its own key, `kms` by one of its key service,
    `customer` by a key that comes with each request and that it forgets."""

    kind: Literal["s3", "kms", "customer"] | None = None
    kms_key: str | None = None
    """Name or ARN of the key, for `kms`; none is the bucket's default one."""
    customer_key: bytes | None = field(default=None, repr=False)
    """32 bytes, for `customer`."""

    @property
    def writing(self) -> dict[str, Any]:
        """Arguments of requests that begin an object."""
        if self.kind == "s3":
            return {"ServerSideEncryption": "AES256"}
        if self.kind == "kms":
            named = {"SSEKMSKeyId": self.kms_key} if self.kms_key else {}
            return {"ServerSideEncryption": "aws:kms", **named}
        return self.reading

    @property
    def reading(self) -> dict[str, Any]:
        """Arguments of requests that read an object, or go on with writing one."""
        if self.kind != "customer" or self.customer_key is None:
            return {}
        digest = hashlib.md5(self.customer_key, usedforsecurity=False).digest()
        return {
            "SSECustomerAlgorithm": "AES256",
            # As text: botocore repeats a value of a wrong type in its error, and this is a secret.
            "SSECustomerKey": base64.b64encode(self.customer_key).decode(),
            "SSECustomerKeyMD5": base64.b64encode(digest).decode(),
        }


@dataclass(frozen=True)
class Connection:
    """How a store is reached."""

    endpoint: str | None
    region: str
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)
    session_token: str | None = field(repr=False)
    path_style: bool
    ca_bundle: str | None
    connect_timeout: float
    """Seconds, for each attempt."""
    read_timeout: float
    attempts: int = 5
    """How often a request is tried, with growing, random pauses between."""

    def require_url(self) -> None:
        """Raise ValueError where the endpoint is no URL of a server."""
        if self.endpoint is None:
            return
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", self.endpoint):
            raise ValueError(f"Invalid endpoint: {self.endpoint}")
        parts.port  # noqa: B018 - it raises where the port is none

    @property
    def local(self) -> bool:
        """Whether it is on this machine: a proxy of the environment never stands in between."""
        return self.endpoint is not None and urlsplit(self.endpoint).hostname in _LOOPBACK


def client(connection: Connection, *, signs_content: bool = True) -> S3Client:
    """A client, which threads may share. Without keys it takes the machine's own, as they are at this moment.

    With `signs_content` False, requests are signed without their bodies, which are then not hashed here: for
    writes whose SHA-256 stands in a header, which is signed. Raises botocore's errors, or ValueError where the
    endpoint is no URL."""
    make = _make if connection.access_key is None else _cached
    return make(connection, signs_content)


def _make(connection: Connection, signs_content: bool) -> S3Client:
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(
        region_name=connection.region,
        connect_timeout=connection.connect_timeout,
        read_timeout=connection.read_timeout,
        retries={"mode": "standard", "total_max_attempts": connection.attempts},
        s3={
            "addressing_style": _addressing(connection),
            **({} if signs_content else {"payload_signing_enabled": False}),
        },
        max_pool_connections=_CONNECTIONS,
        proxies={} if connection.local else None,
    )
    # botocore alone: boto3 would bring its own transfers, at 0.1 s of every start.
    session = get_session()
    session.register_component("data_loader", _loader())
    if connection.access_key is not None and connection.secret_key is not None:
        session.set_credentials(connection.access_key, connection.secret_key, connection.session_token)
    plain = session.create_client(
        "s3",
        region_name=connection.region,
        endpoint_url=connection.endpoint,
        config=config,
        verify=connection.ca_bundle,
    )
    made = cast("S3Client", plain)
    made.meta.events.register("before-send.s3", lambda **_: _count(made))
    return made


@lru_cache(maxsize=1)
def _loader() -> Any:
    """The one that reads the service's description, shared: a second client takes half the time (0.05 s less)."""
    from botocore.session import get_session

    return get_session().get_component("data_loader")


def _count(made: S3Client) -> None:
    with _lock:
        _requests[made] = _requests.get(made, 0) + 1


def requests_of(made: S3Client) -> int:
    """How many requests a client has sent, repeated ones included."""
    return _requests.get(made, 0)


def _addressing(connection: Connection) -> Literal["path", "auto", "virtual"]:
    """`auto` would put the bucket into the path for every store but Amazon's."""
    if connection.path_style:
        return "path"
    return "auto" if connection.endpoint is None else "virtual"


_cached = lru_cache(maxsize=32)(_make)
