"""Many small objects, and ranges of large ones, by obstore: a tenth of boto3's CPU for each request.

It tries each request once. Whatever goes wrong, the caller asks again by boto3, which repeats what may be repeated
and whose answers can be explained (`_s3_errors`)."""

from __future__ import annotations

import base64
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters._s3_client import Connection, Encryption

if TYPE_CHECKING:
    from obstore.store import S3Store as Native

_FAILED = "obstore could not"


class FastFailedError(Exception):
    """A request did not end well, for whatever reason: ask by boto3."""


class Fast:
    """One bucket, by obstore. Threads may share it."""

    def __init__(self, connection: Connection, bucket: str, encryption: Encryption) -> None:
        self._connection = connection
        self._bucket = bucket
        self._encryption = encryption
        self._made: Native | None = None
        self._lock = Lock()

    def put(self, key: str, body: bytes) -> None:
        """Write a small object with its SHA-256, which the store checks. Raises FastFailedError."""
        import obstore

        try:
            obstore.put(self._native(), key, body, use_multipart=False)
        except Exception as error:
            raise FastFailedError(_FAILED) from error

    def get(self, key: str, start: int, end: int, etag: str | None = None) -> tuple[bytes, str, int]:
        """Bytes from `start` up to `end` (or the object's end) of an object, its ETag and whole size.

        With `etag`, of that version only. Raises FastFailedError, for an empty object too."""
        import obstore

        try:
            options: Any = {"range": (start, end)} | ({} if etag is None else {"if_match": etag})
            answer = obstore.get(self._native(), key, options=options)
            size, found = answer.meta["size"], answer.meta["e_tag"]
            content = bytes(answer.bytes())
        except Exception as error:
            raise FastFailedError(_FAILED) from error
        if found is None or len(content) != min(end, size) - start:
            raise FastFailedError("an answer is incomplete")
        return content, found, size

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
