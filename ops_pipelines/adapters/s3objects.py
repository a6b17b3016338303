"""The objects of a bucket that is a part of a stack: read by version, written and copied with their headers."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from ops_pipelines.adapters._s3_client import Connection, client
from ops_pipelines.adapters._s3_errors import Place, code_of, explained
from ops_pipelines.adapters._s3_read import full_digest
from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.errors import ObjectMissing, StoreError, Unreachable
from ops_pipelines.policy.objects import Headers, kept_headers
from ops_pipelines.policy.store import ObjectInfo

_PIECE = 4 << 20
_RESUMES = 3
_WHOLE = 64 << 20
"""Bytes up to which an object goes in one request."""
_COPY = 5 * 10**9
"""Bytes up to which S3 copies in one request."""


class S3Objects:
    """One bucket of a stack. It may be used by many threads at once. Make one with `connect`."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._client = client(connection)
        self._bucket = bucket
        self._place = Place(bucket, connection.endpoint or "Amazon S3")
        self._store = S3Store(connection, bucket)

    @classmethod
    def connect(cls, bucket: str, connection: Connection) -> Self:
        """Objects of `bucket`; nothing is sent yet. Raises StoreError where the endpoint is no URL."""
        place = Place(bucket, connection.endpoint or "Amazon S3")
        try:
            with explained(place, "connect to the store for work"):
                return cls(connection, bucket)
        except ValueError as error:
            raise StoreError(
                f"no store can be reached at {place.endpoint!r}: {error}",
                remedy="write `endpoint:` as a URL with its port, such as http://127.0.0.1:8333",
            ) from error

    @property
    def name(self) -> str:
        """How a person names it: `s3://bucket at endpoint`."""
        return str(self._place)

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._bucket

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose keys begin with `prefix`, in order of their keys."""
        return self._store.list_exactly(prefix)

    def head(self, key: str) -> tuple[ObjectInfo, Headers] | None:
        """What the store says of an object, or None where it is not there."""
        with explained(self._place, "look at", key):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if code_of(error) in ("404", "NoSuchKey"):
                    return None
                raise
        digest = full_digest(answer.get("ChecksumSHA256"), answer.get("ChecksumType"))
        modified = answer["LastModified"].astimezone(UTC)
        info = ObjectInfo(key, answer["ContentLength"], answer["ETag"], modified, digest)
        return info, kept_headers(answer)

    def read(self, key: str, etag: str) -> tuple[Headers, Iterator[bytes]]:
        """Headers and content of an object in the version that has that ETag.

        Raises ObjectMissing, and PreconditionFailed where it is another version by now."""
        with explained(self._place, "read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, IfMatch=etag)
        return kept_headers(answer), self._pieces(
            key, answer["ETag"], answer["ContentLength"], answer["Body"]
        )

    def _pieces(self, key: str, etag: str, size: int, body: Any) -> Iterator[bytes]:
        """What `body` gives; where it breaks, the rest of the same version."""
        done = 0
        for attempt in range(_RESUMES + 1):
            try:
                with explained(self._place, "read", key):
                    if attempt:
                        body = self._client.get_object(
                            Bucket=self._bucket, Key=key, Range=f"bytes={done}-", IfMatch=etag
                        )["Body"]
                    while piece := body.read(_PIECE):
                        done += len(piece)
                        yield piece
            except Unreachable:
                if attempt == _RESUMES or done >= size:
                    raise
            finally:
                body.close()
            if done >= size:
                return

    def get(self, key: str) -> bytes:
        """Content of a small object. Raises ObjectMissing."""
        return self._store.get(key)[0]

    def put(self, key: str, body: bytes) -> None:
        """Write a small object."""
        self._store.put(key, body)

    def write(self, key: str, path: Path, sha256: str, headers: Headers) -> None:
        """Write a file whose digest was checked, with headers. The store checks what it receives."""
        with explained(self._place, "write", key), path.open("rb") as file:
            if path.stat().st_size <= _WHOLE:
                digest = base64.b64encode(bytes.fromhex(sha256)).decode()
                self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=file, ChecksumSHA256=digest, **dict(headers)
                )
                return
            extra: dict[str, Any] = {"ChecksumAlgorithm": "SHA256", **headers}
            self._client.upload_fileobj(file, self._bucket, key, ExtraArgs=extra)

    def copy(self, source: str, key: str) -> None:
        """Copy an object inside the bucket, with its headers; no byte of it comes here. Raises ObjectMissing."""
        origin: Any = {"Bucket": self._bucket, "Key": source}
        found = self.head(source)
        if found is None:
            raise ObjectMissing(f"{source} is not in {self._place}", remedy="look who deleted it")
        with explained(self._place, f"copy {source} to", key):
            if found[0].size > _COPY:  # in parts, which forget the headers
                self._client.copy(origin, self._bucket, key, ExtraArgs=dict(found[1]))
            else:
                self._client.copy_object(Bucket=self._bucket, Key=key, CopySource=origin)

    def copy_from(self, bucket: str, info: ObjectInfo, key: str, sha256: str) -> bool:
        """Copy an object of another bucket of the same store to a key of this one, where the store then says that
        its SHA-256 is the given one; else False, and nothing is left there."""
        if info.size > _COPY:
            return False
        try:
            answer = self._client.copy_object(
                Bucket=self._bucket, Key=key, CopySource={"Bucket": bucket, "Key": info.key},
                CopySourceIfMatch=info.etag, ChecksumAlgorithm="SHA256", MetadataDirective="REPLACE",
            )  # fmt: skip
        except (ClientError, BotoCoreError):
            return False  # it is read instead, and says then what is wrong
        said = full_digest(answer["CopyObjectResult"].get("ChecksumSHA256"), None)
        found = self.head(key) if said is None else None
        if (said or (found[0].sha256 if found else None)) == sha256:
            return True
        self.delete([key])
        return False

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; an absent one is no error."""
        self._store.delete(keys)
