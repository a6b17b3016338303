"""boto3 clients. Making one reads the service's whole description (0.1 s), so equal ones are made once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CONNECTIONS = 32
_ATTEMPTS = 3


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


def client(connection: Connection) -> S3Client:
    """A client, which threads may share. Without keys it takes the machine's own, as they are at this moment.

    Raises botocore's errors, or ValueError where the endpoint is no URL."""
    return _make(connection) if connection.access_key is None else _cached(connection)


def _make(connection: Connection) -> S3Client:
    local = connection.endpoint is not None and urlsplit(connection.endpoint).hostname in _LOOPBACK
    config = Config(
        region_name=connection.region,
        connect_timeout=connection.connect_timeout,
        read_timeout=connection.read_timeout,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        s3={"addressing_style": "path" if connection.path_style else "auto"},
        max_pool_connections=_CONNECTIONS,
        # A proxy of the environment never stands between this machine and itself.
        proxies={} if local else None,
    )
    session = boto3.Session(
        aws_access_key_id=connection.access_key,
        aws_secret_access_key=connection.secret_key,
        aws_session_token=connection.session_token,
        region_name=connection.region,
    )
    return session.client("s3", endpoint_url=connection.endpoint, config=config, verify=connection.ca_bundle)


_cached = lru_cache(maxsize=32)(_make)
