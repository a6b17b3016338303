"""Many small objects, and ranges of large ones, by obstore: a tenth of boto3's CPU for each request.

It tries each request once. Whatever goes wrong, the caller asks again by boto3, which repeats what may be repeated
and whose answers can be explained (`_s3_errors`)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters._s3_client import Connection, Encryption

if TYPE_CHECKING:
    from obstore.store import S3Store as Native

_FAILED = "obstore could not"
_SIGNED = timedelta(hours=1)
_PAGE = 1000
"""Objects that a store lists in one answer."""


class FastFailedError(Exception):
    """A request did not end well, for whatever reason: ask by boto3."""


class FastMissingError(FastFailedError):
    """The store says that there is no such object (and there is a bucket)."""


@dataclass(frozen=True)
class Opened:
    """An object whose answer has begun."""

    etag: str
    size: int
    modified: datetime
    answer: Any

    def content(self) -> bytes:
        """All of it. Raises FastFailedError."""
        content = Fast._all(self.answer)
        if len(content) != self.size:
            raise FastFailedError("an answer is incomplete")
        return content

    def pieces(self, size: int) -> Iterator[memoryview]:
        """All of it, in pieces of about `size` bytes. Raises FastFailedError where it breaks."""
        pieces = iter(self.answer.stream(min_chunk_size=size))
        while True:
            try:
                piece = next(pieces, None)
            except Exception as error:
                raise FastFailedError(_FAILED) from error
            if piece is None:
                return
            yield memoryview(piece)


class Fast:
    """One bucket, by obstore. Threads may share it."""

    def __init__(self, connection: Connection, bucket: str, encryption: Encryption) -> None:
        self._connection = connection
        self._bucket = bucket
        self._encryption = encryption
        self._made: Native | None = None
        self._lock = Lock()
        self.requests = 0
        """How many were sent."""

    def put(self, key: str, body: bytes) -> None:
        """Write a small object with its SHA-256, which the store checks. Raises FastFailedError."""
        import obstore

        self._count()
        try:
            obstore.put(self._native(), key, body, use_multipart=False)
        except Exception as error:
            raise FastFailedError(_FAILED) from error

    def get(self, key: str, start: int, end: int, etag: str) -> bytes:
        """Bytes from `start` up to `end` of one version of an object. Raises FastFailedError."""
        answer, _ = self._ask(key, {"range": (start, end), "if_match": etag})
        content = self._all(answer)
        if len(content) != end - start:
            raise FastFailedError("an answer is incomplete")
        return content

    def open(self, key: str) -> Opened:
        """An object from its begin, by one request. Raises FastFailedError, or FastMissingError."""
        answer, meta = self._ask(key, {})
        if meta["e_tag"] is None:
            raise FastFailedError("an answer without ETag")
        return Opened(meta["e_tag"], meta["size"], meta["last_modified"], answer)

    def signed(self, key: str) -> str:
        """A URL by which the object may be read for an hour. Raises FastFailedError."""
        import obstore

        try:
            return obstore.sign(self._native(), "GET", key, _SIGNED)
        except Exception as error:
            raise FastFailedError(_FAILED) from error

    def list(self, prefix: str) -> Iterator[tuple[str, int, str, datetime]]:
        """(key, bytes, ETag, modified) of objects below a `prefix` that ends with a slash. Raises FastFailedError."""
        import obstore

        try:
            for page in obstore.list(self._native(), prefix, chunk_size=_PAGE):
                self._count()
                for one in page:
                    if one["e_tag"] is None:
                        raise FastFailedError("an object without ETag")
                    yield one["path"], one["size"], one["e_tag"], one["last_modified"]
        except Exception as error:
            raise FastFailedError(_FAILED) from error

    def _ask(self, key: str, options: Any) -> tuple[Any, Any]:
        import obstore

        self._count()
        try:
            answer = obstore.get(self._native(), key, options=options)
            return answer, answer.meta
        except FileNotFoundError as error:
            kind = FastMissingError if "<Code>NoSuchKey</Code>" in str(error) else FastFailedError
            raise kind(_FAILED) from error
        except Exception as error:
            raise FastFailedError(_FAILED) from error

    @staticmethod
    def _all(answer: Any) -> bytes:
        try:
            return bytes(answer.bytes())
        except Exception as error:
            raise FastFailedError(_FAILED) from error

    def _count(self) -> None:
        with self._lock:
            self.requests += 1

    def _native(self) -> Native:
        with self._lock:
            if self._made is None:
                self._made = _make(self._connection, self._bucket, self._encryption)
            return self._made


def _make(connection: Connection, bucket: str, encryption: Encryption) -> Native:
    from obstore.store import S3Store as Native

    client: dict[str, Any] = {
        "allow_http": True,
        "connect_timeout": f"{connection.connect_timeout:g} s",
        "timeout": f"{connection.read_timeout:g} s",
    }
    if connection.local:
        client["proxy_excludes"] = "127.0.0.1,localhost,::1"
    if connection.ca_bundle is not None:
        client["root_certificate"] = Path(connection.ca_bundle).read_bytes()
    settings: dict[str, Any] = {
        "region": connection.region,
        "checksum_algorithm": "SHA256",
        "virtual_hosted_style_request": not connection.path_style,
        **_keys(connection),
        **_encrypted(encryption),
    }
    if connection.endpoint is not None:
        settings["endpoint"] = connection.endpoint
        if not connection.path_style:  # obstore wants the bucket's own host here
            scheme, _, host = connection.endpoint.partition("://")
            settings["endpoint"] = f"{scheme}://{bucket}.{host}"
    return Native(bucket, client_options=client, retry_config={"max_retries": 0}, **settings)  # type: ignore[arg-type]


def _keys(connection: Connection) -> dict[str, Any]:
    if connection.access_key is None:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return {"credential_provider": Boto3CredentialProvider()}
    given = {
        "access_key_id": connection.access_key,
        "secret_access_key": connection.secret_key,
        "token": connection.session_token,
        "expires_at": None,
    }
    # Not as settings: obstore would add a session token that it finds in the environment.
    return {"credential_provider": lambda: given}


def _encrypted(encryption: Encryption) -> dict[str, Any]:
    if encryption.kind == "s3":
        return {"server_side_encryption": "AES256"}
    if encryption.kind == "kms":
        named = {"sse_kms_key_id": encryption.kms_key} if encryption.kms_key else {}
        return {"server_side_encryption": "aws:kms", **named}
    if encryption.kind == "customer" and encryption.customer_key is not None:
        key = base64.b64encode(encryption.customer_key).decode()
        return {"server_side_encryption": "sse-c", "sse_customer_key_base64": key}
    return {}
