"""Reading objects: large ones by some ranges at once, and a connection that breaks is taken up where it broke."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters._s3_client import Encryption
from ops_pipelines.adapters._s3_errors import Place, explained
from ops_pipelines.adapters._s3_fast import Fast, FastFailedError
from ops_pipelines.adapters._s3_rate import Rate
from ops_pipelines.errors import StoreError, Unreachable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PIECE = 4 * 2**20
"""Bytes of a range."""
_RESUMES = 3


class Reader:
    """Reads objects of one bucket, for many threads: of each at most `ranges` pieces are on their way at once."""

    def __init__(
        self,
        client: S3Client,
        fast: Fast | None,
        place: Place,
        *,
        ranges: int,
        rate: Rate,
        encryption: Encryption,
    ) -> None:
        self._client = client
        self._fast = fast
        self._place = place
        self._ranges = ranges
        self._rate = rate
        self._encryption = encryption
        self._pool = ThreadPoolExecutor(4 * ranges, thread_name_prefix="s3-read")

    def get(self, key: str) -> tuple[bytes, str]:
        """Content and ETag of a small object. Raises ObjectMissing."""
        if self._fast is not None:
            try:
                content, etag, size = self._fast.get(key, 0, PIECE)
            except FastFailedError:
                pass
            else:
                if len(content) == size:
                    return content, etag
        with explained(self._place, "read", key):
            answer = self._client.get_object(Bucket=self._place.bucket, Key=key, **self._encryption.reading)
            return answer["Body"].read(), answer["ETag"]

    def stream(self, key: str) -> Iterator[bytes]:
        """Content of an object in pieces of at most 8 MiB. Raises ObjectMissing before the first piece."""
        if self._fast is not None:
            try:
                first, etag, size = self._fast.get(key, 0, PIECE)
            except FastFailedError:
                pass
            else:
                return self._by_ranges(self._fast, key, first, etag, size)
        with explained(self._place, "read", key):
            answer = self._client.get_object(Bucket=self._place.bucket, Key=key, **self._encryption.reading)
        return self._in_line(key, answer["ETag"], answer["ContentLength"], 0, answer["Body"])

    def _by_ranges(self, fast: Fast, key: str, first: bytes, etag: str, size: int) -> Iterator[bytes]:
        """The first piece, and the others while some more are fetched. What fails is read in line from there."""
        self._rate.take(len(first))
        yield first
        done = asked = len(first)
        del first
        coming: deque[Future[tuple[bytes, str, int]]] = deque()
        try:
            while done < size:
                while asked < size and len(coming) < self._ranges:
                    end = min(asked + PIECE, size)
                    coming.append(self._pool.submit(fast.get, key, asked, end, etag))
                    asked = end
                try:
                    piece, _, _ = coming.popleft().result()
                except FastFailedError:
                    break
                self._rate.take(len(piece))
                done += len(piece)
                yield piece
                del piece
        finally:
            for one in coming:
                one.cancel()
        if done < size:
            yield from self._in_line(key, etag, size, done, None)

    def _in_line(self, key: str, etag: str, size: int, done: int, body: Any) -> Iterator[bytes]:
        """The rest of an object, one piece after the other; `body` is what an answer has begun to give, if any.

        What is read after a break is of the same version of the object (If-Match). Raises Unreachable where
        the connection broke four times, PreconditionFailed where the object was replaced meanwhile.
        """
        for attempt in range(_RESUMES + 1):
            try:
                with explained(self._place, "read", key):
                    if body is None:
                        body = self._client.get_object(
                            Bucket=self._place.bucket, Key=key, Range=f"bytes={done}-", IfMatch=etag,
                            **self._encryption.reading,
                        )["Body"]  # fmt: skip
                    while piece := body.read(PIECE):
                        self._rate.take(len(piece))
                        done += len(piece)
                        yield piece
                if done == size:
                    return
                raise StoreError(
                    f"{key} in {self._place} ended after {done} of {size} bytes", remedy="try again"
                )
            except Unreachable:
                if attempt == _RESUMES or done >= size:
                    raise
            finally:
                if body is not None:
                    body.close()
                body = None


def full_digest(value: str | None, kind: str | None) -> str | None:
    """Hexadecimal digest of a whole object from S3's base64 one; None where it is composite or not there."""
    if value is None or "-" in value or kind == "COMPOSITE":
        return None
    raw = base64.b64decode(value)
    return raw.hex() if len(raw) == 32 else None
