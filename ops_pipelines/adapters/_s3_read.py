"""Reading large objects: a connection that breaks on the way is taken up where it broke."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters._s3_errors import Place, explained
from ops_pipelines.errors import StoreError, Unreachable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

PIECE = 8 * 2**20
_RESUMES = 3


def pieces(client: S3Client, place: Place, key: str, first: GetObjectOutputTypeDef) -> Iterator[bytes]:
    """Content of the object that `first` answers for, in pieces of at most 8 MiB.

    What is read after a break is of the same version of the object (If-Match). Raises Unreachable where the
    connection broke four times, PreconditionFailed where the object was replaced meanwhile.
    """
    body: Any = first["Body"]
    size, done = first["ContentLength"], 0
    for attempt in range(_RESUMES + 1):
        try:
            with explained(place, "read", key):
                if attempt:
                    body = client.get_object(
                        Bucket=place.bucket, Key=key, Range=f"bytes={done}-", IfMatch=first["ETag"]
                    )["Body"]
                while piece := body.read(PIECE):
                    done += len(piece)
                    yield piece
            if done == size:
                return
            raise StoreError(f"{key} in {place} ended after {done} of {size} bytes", remedy="try again")
        except Unreachable:
            if attempt == _RESUMES or done >= size:
                raise
        finally:
            body.close()


def full_digest(value: str | None, kind: str | None) -> str | None:
    """Hexadecimal digest of a whole object from S3's base64 one; None where it is composite or not there."""
    if value is None or "-" in value or kind == "COMPOSITE":
        return None
    raw = base64.b64decode(value)
    return raw.hex() if len(raw) == 32 else None
