"""Uploads of files: each byte is hashed as it is read, and nothing is visible unless the digest is right."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from ops_pipelines.adapters._s3_errors import Place, attempts_of, code_of, explained
from ops_pipelines.errors import ChecksumMismatch, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 * 2**20
"""Bytes of a part, and the largest file that goes as one object."""
_MOST_PARTS = 9000
_THREADS = 4
_BUFFERS = 2 * _THREADS


class Uploader:
    """Sends files to one bucket. Parts in memory are bounded for all callers together."""

    def __init__(self, client: S3Client, place: Place, *, part: int = PART) -> None:
        self._client = client
        self._place = place
        self._part = part
        self._buffers = threading.BoundedSemaphore(_BUFFERS)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3-upload")

    def upload(self, key: str, path: Path, sha256: str, progress: Callable[[int], None]) -> None:
        """Write the file at `path` under `key`.

        Raises ChecksumMismatch where its bytes are not those that `sha256` (hexadecimal) promises, StoreError
        where it cannot be read; in both cases the key is as it was before.
        """
        try:
            with path.open("rb") as file:
                with self._buffers:
                    head = file.read(self._part + 1)
                    small = len(head) <= self._part
                    if small:
                        self._put_whole(key, path, head, sha256, progress)
                        return
                    del head
                file.seek(0)
                size = max(self._part, _megabytes(path.stat().st_size / _MOST_PARTS))
                self._put_parts(key, path, file, size, sha256, progress)
        except OSError as error:
            if isinstance(error, BotoCoreError):
                raise
            raise StoreError(
                f"could not read {path} for the upload ({error.strerror or error})",
                remedy="check the file's rights and the disk that it is on, then try again",
            ) from error

    def _put_whole(
        self, key: str, path: Path, body: bytes, sha256: str, progress: Callable[[int], None]
    ) -> None:
        if hashlib.sha256(body).hexdigest() != sha256:
            raise _altered(path, sha256)
        with explained(self._place, "write", key):
            self._client.put_object(
                Bucket=self._place.bucket, Key=key, Body=body, ChecksumSHA256=checksum(body)
            )
        progress(len(body))

    def _put_parts(
        self, key: str, path: Path, file: BinaryIO, size: int, sha256: str, progress: Callable[[int], None]
    ) -> None:
        bucket = self._place.bucket
        with explained(self._place, "begin the upload of", key):
            upload = self._client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256")[
                "UploadId"
            ]
        running: list[Future[CompletedPartTypeDef]] = []
        try:
            whole = hashlib.sha256()
            number = 0
            while True:
                self._buffers.acquire()
                try:
                    body = file.read(size)
                    whole.update(body)
                    if not body:
                        self._buffers.release()
                        break
                    number += 1
                    future = self._pool.submit(self._send, key, upload, number, body, progress)
                except BaseException:
                    self._buffers.release()
                    raise
                future.add_done_callback(lambda _: self._buffers.release())
                running.append(future)
                del body, future
                _raise_first(running)
            if whole.hexdigest() != sha256:
                raise _altered(path, sha256)
            wait(running, return_when=FIRST_EXCEPTION)
            self._complete(key, upload, [future.result() for future in running])
        except BaseException:
            for future in running:
                future.cancel()
            wait(running)
            # What cannot be aborted now is swept later; the first error is the one to tell.
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            raise

    def _send(
        self, key: str, upload: str, number: int, body: bytes, progress: Callable[[int], None]
    ) -> CompletedPartTypeDef:
        digest = checksum(body)
        with explained(self._place, f"write part {number} of", key):
            answer = self._client.upload_part(
                Bucket=self._place.bucket,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=body,
                ChecksumSHA256=digest,
            )
        progress(len(body))
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest}

    def _complete(self, key: str, upload: str, parts: list[CompletedPartTypeDef]) -> None:
        with explained(self._place, "complete the upload of", key):
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._place.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
                )
            except ClientError as error:
                # The first answer may have been lost after the work was done.
                if (
                    code_of(error) != "NoSuchUpload"
                    or not attempts_of(error)
                    or not self._is_there(key, parts)
                ):
                    raise

    def _is_there(self, key: str, parts: list[CompletedPartTypeDef]) -> bool:
        head = self._client.head_object(Bucket=self._place.bucket, Key=key, ChecksumMode="ENABLED")
        return head.get("ChecksumSHA256") == composite([part["ChecksumSHA256"] for part in parts])


def checksum(body: bytes) -> str:
    """SHA-256 as S3 writes it (base64)."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def composite(parts: list[str]) -> str:
    """S3's checksum of a multipart object: the digest of the parts' digests, and their number."""
    joined = b"".join(base64.b64decode(part) for part in parts)
    return f"{checksum(joined)}-{len(parts)}"


def _raise_first(running: list[Future[CompletedPartTypeDef]]) -> None:
    for future in running:
        if future.done():
            future.result()


def _megabytes(size: float) -> int:
    """`size` bytes rounded up to whole MiB."""
    return -int(-size // 2**20) * 2**20


def _altered(path: Path, sha256: str) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"{path} is no longer the content with SHA-256 {sha256}",
        remedy="something wrote to the file while it was backed up: stop the writer, or try again later",
    )
