"""What a bucket is asked for when it is examined: parts, digests, versions, locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from ops_pipelines.adapters._s3_client import Encryption
from ops_pipelines.adapters._s3_errors import Place, code_of, explained, translate
from ops_pipelines.adapters._s3_upload import checksum
from ops_pipelines.errors import ChecksumMismatch, StoreError
from ops_pipelines.policy.plan import Finding

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_NONE = ("ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "404")


def try_parts(client: S3Client, place: Place, key: str, encryption: Encryption) -> None:
    """Begin an upload in parts, send one, find it in the list, drop it. Raises what the store answers."""
    with explained(place, "upload in parts", key):
        upload = client.create_multipart_upload(
            Bucket=place.bucket, Key=key, ChecksumAlgorithm="SHA256", **encryption.writing
        )["UploadId"]
    try:
        with explained(place, "upload a part of", key):
            client.upload_part(
                Bucket=place.bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"probe",
                ChecksumSHA256=checksum(b"probe"), **encryption.reading,
            )  # fmt: skip
        with explained(place, "list unfinished uploads of", key):
            listed = client.list_multipart_uploads(Bucket=place.bucket, Prefix=key).get("Uploads", [])
        if upload not in [one["UploadId"] for one in listed]:
            raise StoreError(
                "an upload just begun is not in the list of unfinished ones",
                remedy="uploads that are cut off are then neither gone on with nor swept: let the bucket's lifecycle"
                " rules drop them",
            )
    finally:
        with suppress(BotoCoreError, ClientError):
            client.abort_multipart_upload(Bucket=place.bucket, Key=key, UploadId=upload)


def try_wrong_digest(client: S3Client, place: Place, key: str, encryption: Encryption) -> None:
    """Write content that its SHA-256 contradicts. Raises StoreError where the store takes it."""
    with explained(place, "write", key):
        try:
            client.put_object(
                Bucket=place.bucket, Key=key, Body=b"not what was promised", ChecksumSHA256=checksum(b"promised"),
                **encryption.writing,
            )  # fmt: skip
        except ClientError as error:
            if isinstance(translate(error, place, "write", key), ChecksumMismatch):
                return
            raise
        client.delete_object(Bucket=place.bucket, Key=key)
    raise StoreError(
        "the store takes content that its SHA-256 contradicts",
        remedy="backups hash what they send themselves then, at the cost of CPU; prefer a store that checks",
    )


def facts(client: S3Client, place: Place) -> Iterator[Finding]:
    """Whether deleted things stay, and whether they may be deleted at all; never raises."""
    yield _versions(client, place)
    yield _lock(client, place)


def _versions(client: S3Client, place: Place) -> Finding:
    subject = "bucket/versions"
    try:
        state = client.get_bucket_versioning(Bucket=place.bucket).get("Status")
    except (ClientError, BotoCoreError) as error:
        return _unasked(subject, "whether the bucket keeps old versions", error)
    if state == "Enabled":
        return Finding(
            subject, True, "the bucket keeps old versions: what is pruned goes on using space until a lifecycle rule"
            " removes noncurrent versions", severity="info",
        )  # fmt: skip
    return Finding(subject, True, "the bucket keeps no old versions", severity="info")


def _lock(client: S3Client, place: Place) -> Finding:
    subject = "bucket/lock"
    try:
        found = client.get_object_lock_configuration(Bucket=place.bucket).get("ObjectLockConfiguration", {})
    except (ClientError, BotoCoreError) as error:
        if code_of(error) in _NONE:
            return Finding(subject, True, "the bucket locks nothing", severity="info")
        return _unasked(subject, "whether the bucket locks objects", error)
    rule = found.get("Rule", {}).get("DefaultRetention")
    if not rule:
        return Finding(subject, True, "objects may be locked, and are not by themselves", severity="info")
    span = f"{rule['Days']} days" if "Days" in rule else f"{rule.get('Years', '?')} years"
    words = f"new objects are locked for {span} ({rule.get('Mode', 'no mode')}): prune leaves what it may not delete"
    return Finding(subject, True, words, severity="info")


def _unasked(subject: str, what: str, error: Exception) -> Finding:
    why = code_of(error) or type(error).__name__
    return Finding(subject, None, f"{what} could not be asked ({why})", severity="info")
