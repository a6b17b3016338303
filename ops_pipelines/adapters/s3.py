"""One bucket of an S3 store, by boto3 and obstore. Every write carries its SHA-256, so that the store checks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ops_pipelines.adapters._s3_client import Connection, Encryption, client, requests_of
from ops_pipelines.adapters._s3_errors import (
    Place,
    attempts_of,
    botos,
    code_of,
    explained,
    is_locked,
    translate,
)
from ops_pipelines.adapters._s3_fast import Fast, FastFailedError
from ops_pipelines.adapters._s3_plain import Plain
from ops_pipelines.adapters._s3_probe import probe_bucket
from ops_pipelines.adapters._s3_rate import Rate
from ops_pipelines.adapters._s3_read import Reader, full_digest
from ops_pipelines.adapters._s3_upload import PART, THREADS, WHOLE, Uploader, checksum
from ops_pipelines.errors import ObjectLocked, PreconditionFailed, Refused, StoreError
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.store import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Encryption", "S3Store"]

_DELETES = 1000


class S3Store:
    """One bucket. It may be used by many threads at once. Make one with `connect`."""

    def __init__(
        self,
        connection: Connection,
        bucket: str,
        *,
        encryption: Encryption | None = None,
        parallel: int = THREADS,
        bandwidth: int | None = None,
        whole: int = WHOLE,
        part: int = PART,
        conditional: bool = True,
    ) -> None:
        """`parallel` is for parts and ranges of one object, `bandwidth` in bytes a second for all that is sent, and
        again for all that is read. `conditional` False is for a store without conditional writes: conditions are
        looked at before a write and after it, which another writer may slip through. Raises ValueError where the
        endpoint is no URL."""
        connection.require_url()
        self._connection = connection
        self._bucket = bucket
        self._place = Place(bucket, connection.endpoint or "Amazon S3")
        self._encryption = encryption or Encryption()
        self._fast = Fast(connection, bucket, self._encryption)
        self._plain = Plain(connection, self._encryption, self._fast.signed)
        self._uploader = Uploader(
            lambda: self._client, lambda: client(connection, signs_content=False), self._fast, self._place,
            whole=whole, part=part, threads=parallel, rate=Rate(bandwidth), encryption=self._encryption,
        )  # fmt: skip
        self._reader = Reader(
            lambda: self._client, self._fast, self._plain, self._place,
            ranges=parallel, rate=Rate(bandwidth), encryption=self._encryption,
        )  # fmt: skip
        self._made: S3Client | None = None
        self._lock = Lock()
        self._conditional = conditional
        self._bucket_seen = False

    @classmethod
    def connect(
        cls,
        *,
        bucket: str,
        endpoint: str | None = None,
        region: str = "us-east-1",
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        path_style: bool = True,
        ca_bundle: Path | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        attempts: int = 5,
        encryption: Encryption | None = None,
        parallel: int = THREADS,
        bandwidth: int | None = None,
        whole: int = WHOLE,
        part: int = PART,
        conditional: bool = True,
    ) -> S3Store:
        """A store on `bucket`; nothing is sent yet. Without keys, the machine's own AWS credentials are used.

        Times are in seconds, for each of the `attempts` at a request; `bandwidth` is in bytes a second, one way.
        Files over `whole` bytes go in parts of `part`. Raises StoreError where the endpoint is no URL or the
        `ca_bundle` is not there, Refused where one of two keys is missing.
        """
        place = Place(bucket, endpoint or "Amazon S3")
        if (access_key is None) != (secret_key is None):  # boto3 would quietly use the machine's own
            raise Refused(
                f"only one half of the credentials of {place} is given",
                remedy="set both `access_key:` and `secret_key:` of the stack's backup, or neither",
            )
        connection = Connection(
            endpoint=endpoint,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            path_style=path_style,
            ca_bundle=None if ca_bundle is None else str(ca_bundle),
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            attempts=attempts,
        )
        if ca_bundle is not None and not ca_bundle.is_file():
            raise StoreError(
                f"there is no file {ca_bundle} with the authority of {place}",
                remedy="correct `ca_bundle:` of the stack's backup",
            )
        try:
            return cls(
                connection, bucket, encryption=encryption, parallel=parallel, bandwidth=bandwidth,
                whole=whole, part=part, conditional=conditional,
            )  # fmt: skip
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
    def requests(self) -> int:
        """How many requests were sent, by all stores that share this one's connection."""
        slow = requests_of(self._made) if self._made else 0
        return self._fast.requests + self._plain.requests + slow

    @property
    def _client(self) -> S3Client:
        """botocore's client, made at its first use. Raises StoreError, Refused."""
        with self._lock:
            if self._made is None:
                with explained(self._place, "connect to the store for work"):
                    self._made = client(self._connection)
            return self._made

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write a small object and return its ETag. Raises PreconditionFailed where the condition lost."""
        if not self._conditional and (if_absent or if_match is not None):
            return self._put_checked(key, body, if_match)
        condition: dict[str, Any] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = if_match
        with explained(self._place, "write", key):
            try:
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=body, ChecksumSHA256=checksum(body), **condition,
                    **self._encryption.writing,
                )  # fmt: skip
            except botos().ClientError as error:
                if not condition:
                    raise
                etag = self._lost_answer(error, key, body)
                if etag is not None:
                    return etag
                if if_match is not None and code_of(error) == "NoSuchKey":
                    raise PreconditionFailed(
                        f"{key} in {self._place} is gone: somebody deleted it in between",
                        remedy="look at who else works on this stack, then try again",
                    ) from error
                raise
        self._bucket_seen = True
        return answer["ETag"]

    def _put_checked(self, key: str, body: bytes, if_match: str | None) -> str:
        """A conditional write on a store that has none: looked at before, and read back."""
        found = self.head(key)
        if (found.etag if found else None) != if_match:
            raise self._lost(key)
        etag = self.put(key, body)
        if self.get(key) != (body, etag):
            raise self._lost(key)
        return etag

    def _lost(self, key: str) -> PreconditionFailed:
        return PreconditionFailed(
            f"{key} in {self._place} exists already, or somebody changed it in between",
            remedy="look at who else works on this bucket: `conditional_writes: none` allows nobody else",
        )

    def _lost_answer(self, error: Exception, key: str, body: bytes) -> str | None:
        """ETag, where a repeated write lost only against itself: its first answer had gone astray."""
        lost = translate(error, self._place, "write", key)
        if not isinstance(lost, PreconditionFailed) or not attempts_of(error):
            return None
        there, etag = self.get(key)
        return etag if there == body else None

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Callable[[int], None]) -> None:
        """Write a file whose digest is known, in parts where it is large. `progress` gets bytes as they go.

        `progress` may be called from other threads. Raises ChecksumMismatch where the file is no longer what
        `sha256` says; nothing is then visible."""
        self._uploader.upload(key, path, sha256, progress)

    def get(self, key: str) -> tuple[bytes, str]:
        """Content and ETag of a small object. Raises ObjectMissing."""
        content, info = self._reader.get(key)
        return content, info.etag

    def look(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Content of a small object, with its ETag and time. Raises ObjectMissing."""
        return self._reader.get(key)

    def stream(self, key: str) -> Iterator[bytes]:
        """Content of an object in pieces of at most 8 MiB. Raises ObjectMissing before the first piece.

        Some ranges of it are fetched at once. A connection that breaks on the way is taken up where it broke, on the
        same version of the object.
        """
        return self._reader.stream(key)

    def pieces(self, key: str, size: int) -> Iterator[bytes | memoryview]:
        """The same for whoever hashes or writes at once: a piece holds good only until the next is asked for. `size`
        is what the object should have: large ones are read in another way than small ones."""
        return self._reader.pieces(key, size)

    def head(self, key: str) -> ObjectInfo | None:
        """Size, ETag, time and stored SHA-256 of an object, or None where it is not there."""
        try:
            answer = self._client.head_object(
                Bucket=self._bucket, Key=key, ChecksumMode="ENABLED", **self._encryption.reading
            )
        except botos().ClientError as error:
            if code_of(error) in ("404", "NoSuchKey"):
                # A HEAD has no words: the object may be missing, or the bucket.
                self._check_bucket()
                return None
            raise translate(error, self._place, "look at", key) from error
        except botos().BotoCoreError as error:
            raise translate(error, self._place, "look at", key) from error
        return ObjectInfo(
            key=key,
            size=answer["ContentLength"],
            etag=answer["ETag"],
            modified=answer["LastModified"].astimezone(UTC),
            sha256=full_digest(answer.get("ChecksumSHA256"), answer.get("ChecksumType")),
        )

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose keys begin with `prefix`, in order of their keys."""
        last = ""
        if prefix.endswith("/"):
            with suppress(FastFailedError):
                for key, size, etag, modified in self._fast.list(prefix):
                    yield ObjectInfo(key=key, size=size, etag=etag, modified=modified)
                    last = key
                self._bucket_seen = True
                return
        yield from self.list_exactly(prefix, after=last)

    def list_exactly(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """The same from the first key after `after`, whatever the keys are: obstore, by which `list` asks where it can,
        gives a key that ends with a slash without it."""
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        with explained(self._place, "list", prefix or "all objects"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, **start
            )
            for page in pages:
                self._bucket_seen = True
                for item in page.get("Contents", ()):
                    yield ObjectInfo(
                        key=item["Key"],
                        size=item["Size"],
                        etag=item["ETag"],
                        modified=item["LastModified"].astimezone(UTC),
                    )

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; an absent one is no error. Raises StoreError that names the first one refused, ObjectLocked
        where all others were deleted."""
        locked: list[str] = []
        for start in range(0, len(keys), _DELETES):
            batch = keys[start : start + _DELETES]
            with explained(self._place, "delete", batch[0]):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
            for refused in answer.get("Errors", ()):
                if is_locked(refused.get("Code", ""), refused.get("Message", "")):
                    locked.append(refused.get("Key", ""))
                elif refused.get("Code") != "NoSuchKey":
                    reason = botos().ClientError({"Error": refused}, "DeleteObjects")
                    problem = translate(reason, self._place, "delete", refused.get("Key", ""))
                    raise StoreError(problem.message, remedy=problem.remedy) from reason
        if locked:
            raise ObjectLocked(
                f"{self._place} locks {len(locked)} of {len(keys)} objects against deletion, such as {locked[0]}",
                remedy="nothing need be done: they go at a later prune, once their retention has passed",
            )

    def unfinished_uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """(key, upload id, begun) of multipart uploads that were never completed."""
        with explained(self._place, "list unfinished uploads of", prefix or "the bucket"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=prefix
            )
            for page in pages:
                for item in page.get("Uploads", ()):
                    yield item["Key"], item["UploadId"], item["Initiated"].astimezone(UTC)

    def abort_upload(self, key: str, upload: str) -> None:
        """Drop an unfinished multipart upload; one that is gone is no error."""
        with explained(self._place, "abort the upload of", key):
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)
            except botos().ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

    def now(self) -> datetime:
        """The store's clock (UTC, whole seconds): the one that all holders of its leases share."""
        with explained(self._place, "ask the time of the store for work"):
            answer = self._client.head_bucket(Bucket=self._bucket)
        self._bucket_seen = True
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:
            raise StoreError(f"{self._place} tells no time", remedy="let the proxy pass on the Date header")
        return parsedate_to_datetime(date).astimezone(UTC)

    def ensure_bucket(self) -> bool:
        """Create the bucket where it is not there; True where it was created just now."""
        try:
            self._check_bucket()
        except Refused:
            raise
        except StoreError:
            with explained(self._place, "create the bucket"):
                try:
                    self._client.create_bucket(Bucket=self._bucket, **self._location())
                except botos().ClientError as error:
                    if code_of(error) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                        raise
                    self._check_bucket()
                    return False
            return True
        return False

    def probe(self, root: str = "") -> tuple[Finding, ...]:
        """Which rights the credentials have, found by using each below `<root>probe/`."""
        return probe_bucket(self, root)

    def try_parts(self, key: str) -> None:
        """Begin an upload in parts, send one, find it in the list, drop it. Raises what the store answers."""
        from ops_pipelines.adapters._s3_facts import try_parts

        try_parts(self._client, self._place, key, self._encryption)

    def try_wrong_digest(self, key: str) -> None:
        """Write content that its SHA-256 contradicts. Raises StoreError where the store takes it."""
        from ops_pipelines.adapters._s3_facts import try_wrong_digest

        try_wrong_digest(self._client, self._place, key, self._encryption)

    def facts(self) -> Iterator[Finding]:
        """Whether the bucket keeps old versions, and whether it locks objects; never raises."""
        from ops_pipelines.adapters._s3_facts import facts

        return facts(self._client, self._place)

    def _location(self) -> dict[str, Any]:
        region = self._client.meta.region_name
        amazon = ".amazonaws.com" in self._client.meta.endpoint_url
        if not amazon or region == "us-east-1":
            return {}
        return {"CreateBucketConfiguration": {"LocationConstraint": region}}

    def _check_bucket(self) -> None:
        """Raise StoreError where the bucket is not there; asked once, as buckets seldom go."""
        if self._bucket_seen:
            return
        with explained(self._place, "find the bucket"):
            # A listing answers with the reason; HEAD of a bucket has none.
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        self._bucket_seen = True
