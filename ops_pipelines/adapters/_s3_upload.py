"""Uploads of files: nothing is visible unless its SHA-256 is the promised one.

Up to `SMALL` bytes a file is read and hashed here, and goes by obstore. Up to `whole` bytes it goes as one request
that carries the promised digest, and the store refuses it where the content is another: nothing is hashed here,
unless the store is found not to check. What is larger goes in parts, which are hashed here before they are sent and
are checked by the store each; the digest of the whole is checked before they become an object.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import structlog

from ops_pipelines.adapters._s3_body import BLOCK, AlteredError, FileBody
from ops_pipelines.adapters._s3_client import Encryption
from ops_pipelines.adapters._s3_errors import Place, attempts_of, botos, code_of, explained, translate
from ops_pipelines.adapters._s3_fast import Fast, FastFailedError
from ops_pipelines.adapters._s3_rate import Rate
from ops_pipelines.adapters._s3_resume import Sent, sent_before
from ops_pipelines.errors import ChecksumMismatch, OpsError, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = structlog.get_logger()

SMALL = 1 << 20
WHOLE = 128 * 2**20
"""Bytes of the largest file that goes as one request; a larger one goes on where it was cut off."""
PART = 32 * 2**20
_MOST_PARTS = 9000
THREADS = 8

Told = Callable[[int], None]


class Uploader:
    """Sends files to one bucket, for many threads. It holds a block of a file for each request, not more."""

    def __init__(
        self, client: Callable[[], S3Client], bulk: Callable[[], S3Client], fast: Fast, place: Place, *,
        whole: int = WHOLE, part: int = PART, threads: int = THREADS, rate: Rate | None = None,
        encryption: Encryption | None = None,
    ) -> None:  # fmt: skip
        self._client = client
        self._make_bulk = bulk
        self._fast = fast
        self._place = place
        self._whole = whole
        self._part = part
        self._rate = rate or Rate(None)
        self._encryption = encryption or Encryption()
        self._lock = threading.Lock()
        self._bulk: S3Client | None = None
        self._checks: bool | None = None
        self._waiting = threading.BoundedSemaphore(2 * threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="s3-upload")

    def upload(self, key: str, path: Path, sha256: str, progress: Told) -> None:
        """Write the file at `path` under `key`.

        Raises ChecksumMismatch where its bytes are not those that `sha256` (hexadecimal) promises, StoreError
        where it cannot be read; in both cases the key is as it was before.
        """
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size <= SMALL:
                    self._put_small(key, path, file.read(SMALL + 1), sha256, progress)
                elif size <= self._whole:
                    self._put_whole(key, path, file.fileno(), size, sha256, progress)
                else:
                    self._put_parts(key, path, file.fileno(), size, sha256, progress)
        except OSError as error:
            if isinstance(error, botos().BotoCoreError):
                raise
            raise StoreError(
                f"could not read {path} for the upload ({error.strerror or error})",
                remedy="check the file's rights and the disk that it is on, then try again",
            ) from error

    def _put_small(self, key: str, path: Path, body: bytes, sha256: str, progress: Told) -> None:
        if hashlib.sha256(body).hexdigest() != sha256:
            raise _altered(path, sha256)
        self._rate.take(len(body))
        try:
            self._fast.put(key, body)
        except FastFailedError:
            with explained(self._place, "write", key):
                self._client().put_object(
                    Bucket=self._place.bucket, Key=key, Body=body, ChecksumSHA256=_base64(sha256),
                    **self._encryption.writing,
                )  # fmt: skip
        progress(len(body))

    def _put_whole(self, key: str, path: Path, handle: int, size: int, sha256: str, progress: Told) -> None:
        body = self._body(key, handle, 0, size, sha256, progress)
        try:
            with explained(self._place, "write", key):
                self._sender().put_object(
                    Bucket=self._place.bucket, Key=key, Body=cast("IO[bytes]", body), ContentLength=size,
                    ChecksumSHA256=_base64(sha256), **self._encryption.writing,
                )  # fmt: skip
        except OpsError as error:
            if body.altered or (isinstance(error, ChecksumMismatch) and not _holds(handle, size, sha256)):
                raise _altered(path, sha256) from error
            raise

    def _put_parts(self, key: str, path: Path, handle: int, size: int, sha256: str, progress: Told) -> None:
        """Hash part after part, and let threads send each from the file, which lies in memory still."""
        step = max(self._part, _megabytes(size / _MOST_PARTS))
        with explained(self._place, "look for a begun upload of", key):
            begun = sent_before(self._client(), self._place.bucket, key, size, step, self._encryption)
        upload = begun.upload or self._begin(key)
        running: list[Future[CompletedPartTypeDef]] = []
        try:
            whole = hashlib.sha256()
            for number, start in enumerate(range(0, size, step), 1):
                length = min(step, size - start)
                self._waiting.acquire()
                try:
                    digest, md5 = _hash_part(handle, start, length, whole, wants_md5=number in begun.parts)
                    future = self._pool.submit(
                        self._send, key, upload, number, handle, start, length, digest,
                        begun.part(number, digest, md5), progress,
                    )  # fmt: skip
                except BaseException:
                    self._waiting.release()
                    raise
                future.add_done_callback(lambda _: self._waiting.release())
                running.append(future)
                _raise_first(running)
            if whole.hexdigest() != sha256 or os.fstat(handle).st_size != size:
                raise AlteredError
            wait(running, return_when=FIRST_EXCEPTION)
            self._complete(key, upload, [future.result() for future in running])
        except BaseException as error:
            for future in running:
                future.cancel()
            wait(running)
            if isinstance(error, ChecksumMismatch | AlteredError):
                # What was sent is worth nothing. All else is gone on with by the next try, or swept.
                with suppress(botos().BotoCoreError, botos().ClientError):
                    self._client().abort_multipart_upload(Bucket=self._place.bucket, Key=key, UploadId=upload)
            if isinstance(error, AlteredError):
                raise _altered(path, sha256) from error
            raise

    def _begin(self, key: str) -> str:
        with explained(self._place, "begin the upload of", key):
            answer = self._client().create_multipart_upload(
                Bucket=self._place.bucket, Key=key, ChecksumAlgorithm="SHA256", **self._encryption.writing
            )
            return answer["UploadId"]

    def _send(
        self, key: str, upload: str, number: int, handle: int, start: int, length: int, digest: str,
        sent: Sent | None, progress: Told,
    ) -> CompletedPartTypeDef:  # fmt: skip
        checksum = _base64(digest)
        if sent is not None:
            progress(length)
            return {"PartNumber": number, "ETag": sent.etag, "ChecksumSHA256": checksum}
        body = self._body(key, handle, start, length, digest, progress)
        try:
            with explained(self._place, f"write part {number} of", key):
                answer = self._sender().upload_part(
                    Bucket=self._place.bucket, Key=key, UploadId=upload, PartNumber=number,
                    Body=cast("IO[bytes]", body), ContentLength=length, ChecksumSHA256=checksum,
                    **self._encryption.reading,
                )  # fmt: skip
        except OpsError as error:
            if body.altered:
                raise AlteredError from error
            raise
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _complete(self, key: str, upload: str, parts: list[CompletedPartTypeDef]) -> None:
        with explained(self._place, "complete the upload of", key):
            try:
                self._client().complete_multipart_upload(
                    Bucket=self._place.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts},
                    **self._encryption.reading,
                )  # fmt: skip
            except botos().ClientError as error:
                # The first answer may have been lost after the work was done.
                if (
                    code_of(error) != "NoSuchUpload"
                    or not attempts_of(error)
                    or not self._is_there(key, parts)
                ):
                    raise

    def _is_there(self, key: str, parts: list[CompletedPartTypeDef]) -> bool:
        head = self._client().head_object(
            Bucket=self._place.bucket, Key=key, ChecksumMode="ENABLED", **self._encryption.reading
        )
        return head.get("ChecksumSHA256") == composite([part["ChecksumSHA256"] for part in parts])

    def _body(self, key: str, handle: int, start: int, size: int, digest: str, progress: Told) -> FileBody:
        expected = None if self._store_checks(key) else digest
        return FileBody(handle, start, size, expected=expected, progress=progress, rate=self._rate)

    def _sender(self) -> S3Client:
        with self._lock:
            if self._bulk is None:
                self._bulk = self._make_bulk()
            return self._bulk

    def _store_checks(self, key: str) -> bool:
        """Whether the store refuses content that is not what its digest says, asked once by a wrong write."""
        bulk = self._sender()
        with self._lock:
            if self._checks is None:
                self._checks = self._refuses(bulk, f"{key}.check")
                if not self._checks:
                    log.warning("the store does not check digests: what it gets is hashed here",
                                store=str(self._place))  # fmt: skip
            return self._checks

    def _refuses(self, bulk: S3Client, key: str) -> bool:
        wrong = _base64(hashlib.sha256(b"something else").hexdigest())
        with explained(self._place, "write", key):
            try:
                bulk.put_object(Bucket=self._place.bucket, Key=key, Body=b"a wrong write, on purpose",
                                ChecksumSHA256=wrong, **self._encryption.writing)  # fmt: skip
            except botos().ClientError as error:
                if isinstance(translate(error, self._place, "write", key), ChecksumMismatch):
                    return True
                raise
            self._client().delete_object(Bucket=self._place.bucket, Key=key)
        return False


def checksum(body: bytes) -> str:
    """SHA-256 as S3 writes it (base64)."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def composite(parts: list[str]) -> str:
    """S3's checksum of a multipart object: the digest of the parts' digests, and their number."""
    joined = b"".join(base64.b64decode(part) for part in parts)
    return f"{checksum(joined)}-{len(parts)}"


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _hash_part(
    handle: int, start: int, length: int, whole: hashlib._Hash, *, wants_md5: bool
) -> tuple[str, str | None]:
    """SHA-256 of a part, and its MD5 where asked for; `whole` goes on with the same bytes."""
    part = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False) if wants_md5 else None
    done = 0
    while done < length:
        block = os.pread(handle, min(BLOCK, length - done), start + done)
        if not block:
            raise AlteredError
        part.update(block)
        whole.update(block)
        if md5 is not None:
            md5.update(block)
        done += len(block)
    return part.hexdigest(), None if md5 is None else md5.hexdigest()


def _holds(handle: int, size: int, sha256: str) -> bool:
    return _hash_part(handle, 0, size, hashlib.sha256(), wants_md5=False)[0] == sha256


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
