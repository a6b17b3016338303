"""Reading objects: large ones by some ranges at once, and a connection that breaks is taken up where it broke."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters._s3_client import Encryption
from ops_pipelines.adapters._s3_errors import Place, explained, missing
from ops_pipelines.adapters._s3_fast import Fast, FastFailedError, FastMissingError, Opened
from ops_pipelines.adapters._s3_plain import WORTH, Plain
from ops_pipelines.adapters._s3_rate import Rate
from ops_pipelines.errors import StoreError, Unreachable
from ops_pipelines.policy.store import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MOST_RANGES = 4
"""Of one object at once: with eight objects on their way, 128 MiB are in memory."""
PIECE = 4 * 2**20
"""Bytes of a range."""
BLOCK = 1 << 20
WHOLE = 128 * 2**20
"""Bytes of the largest object that is read as one answer; more than one at a time pays over a long way."""
_RESUMES = 3


class Reader:
    """Reads objects of one bucket, for many threads: of each at most `ranges` pieces are on their way at once."""

    def __init__(
        self,
        client: Callable[[], S3Client],
        fast: Fast,
        plain: Plain,
        place: Place,
        *,
        ranges: int,
        rate: Rate,
        encryption: Encryption,
    ) -> None:
        self._client = client
        self._fast = fast
        self._plain = plain
        self._place = place
        self._ranges = min(ranges, _MOST_RANGES)
        self._rate = rate
        self._encryption = encryption
        self._pool = ThreadPoolExecutor(4 * self._ranges, thread_name_prefix="s3-read")

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """A small object and what the store says of it. Raises ObjectMissing."""
        try:
            opened = self._fast.open(key)
            content = opened.content()
        except FastMissingError as error:
            raise missing(self._place, "read", key) from error
        except FastFailedError:
            pass
        else:
            return content, ObjectInfo(key, opened.size, opened.etag, opened.modified)
        with explained(self._place, "read", key):
            answer = self._client().get_object(Bucket=self._place.bucket, Key=key, **self._encryption.reading)
            content = answer["Body"].read()
        modified = answer["LastModified"].astimezone(UTC)
        return content, ObjectInfo(key, len(content), answer["ETag"], modified)

    def stream(self, key: str) -> Iterator[bytes]:
        """Content of an object in pieces of at most 8 MiB. Raises ObjectMissing before the first piece."""
        return map(bytes, self.pieces(key, 0))

    def pieces(self, key: str, size: int) -> Iterator[bytes | memoryview]:
        """The same, where a piece holds good only until the next is asked for. `size` is what it should have: large
        objects are read in another way than small ones."""
        if size >= WORTH and self._plain.usable:
            with suppress(FastFailedError):
                flow = self._plain.open(key)
                return self._as_it_comes(key, flow.etag, flow.size, flow.pieces)
        try:
            opened = self._fast.open(key)
        except FastMissingError as error:
            raise missing(self._place, "read", key) from error
        except FastFailedError:
            pass
        else:
            if opened.size > WHOLE:
                return self._by_ranges(key, opened)
            return self._as_it_comes(key, opened.etag, opened.size, opened.pieces(BLOCK))
        with explained(self._place, "read", key):
            answer = self._client().get_object(Bucket=self._place.bucket, Key=key, **self._encryption.reading)
        return self._in_line(key, answer["ETag"], answer["ContentLength"], 0, answer["Body"])

    def _as_it_comes(
        self, key: str, etag: str, size: int, pieces: Iterator[memoryview]
    ) -> Iterator[bytes | memoryview]:
        """One answer, piece by piece: the least work. Where it breaks, the rest is read in line."""
        done = 0
        try:
            for piece in pieces:
                self._rate.take(len(piece))
                done += len(piece)
                yield piece
        except FastFailedError:
            pass
        if done < size:
            yield from self._in_line(key, etag, size, done, None)

    def _by_ranges(self, key: str, opened: Opened) -> Iterator[bytes]:
        """Some ranges at once, given in order. What fails is read in line from there."""
        done = asked = 0
        coming: deque[Future[bytes]] = deque()
        try:
            while done < opened.size:
                while asked < opened.size and len(coming) < self._ranges:
                    end = min(asked + PIECE, opened.size)
                    coming.append(self._pool.submit(self._fast.get, key, asked, end, opened.etag))
                    asked = end
                try:
                    piece = coming.popleft().result()
                except FastFailedError:
                    break
                self._rate.take(len(piece))
                done += len(piece)
                yield piece
                del piece
        finally:
            for one in coming:
                one.cancel()
        if done < opened.size:
            yield from self._in_line(key, opened.etag, opened.size, done, None)

    def _in_line(self, key: str, etag: str, size: int, done: int, body: Any) -> Iterator[bytes]:
        """The rest of an object, one piece after the other; `body` is what an answer has begun to give, if any.

        What is read after a break is of the same version of the object (If-Match). Raises Unreachable where
        the connection broke four times, PreconditionFailed where the object was replaced meanwhile.
        """
        for attempt in range(_RESUMES + 1):
            try:
                with explained(self._place, "read", key):
                    if body is None:
                        body = self._client().get_object(
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
