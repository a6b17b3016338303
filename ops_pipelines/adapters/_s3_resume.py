"""What a killed or broken upload left in the store, so that the next one goes on with it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops_pipelines.adapters._s3_client import Encryption
from ops_pipelines.adapters._s3_errors import botos

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


@dataclass(frozen=True)
class Sent:
    """A part that is in the store."""

    etag: str
    sha256: str | None
    """Hexadecimal, where the store says it."""


@dataclass(frozen=True)
class Begun:
    """An upload that was begun, or none."""

    upload: str | None = None
    parts: Mapping[int, Sent] = field(default_factory=dict)

    def part(self, number: int, sha256: str, md5: str | None) -> Sent | None:
        """The part of that number, where it is in the store with this content.

        A store that keeps no SHA-256 for it is believed its ETag, which is the MD5 of a part that the store did not
        encrypt. Completing the upload has every SHA-256 compared again by stores that do keep them."""
        sent = self.parts.get(number)
        if sent is None:
            return None
        same = sent.sha256 == sha256 if sent.sha256 is not None else sent.etag.strip('"') == md5
        return sent if same else None


def sent_before(
    client: S3Client, bucket: str, key: str, size: int, step: int, encryption: Encryption
) -> Begun:
    """The newest upload begun for `key` whose parts are as ours would be: `step` bytes, and a shorter last one.

    Raises botocore's errors; credentials that may not list uploads go on with none."""
    try:
        found = client.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
    except botos().ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 501):
            return Begun()
        raise
    for one in sorted((u for u in found if u["Key"] == key), key=lambda u: u["Initiated"], reverse=True):
        upload = one["UploadId"]
        parts = _parts(client, bucket, key, upload, size, step, encryption)
        if parts is not None:
            return Begun(upload, parts)
    return Begun()


def _parts(
    client: S3Client, bucket: str, key: str, upload: str, size: int, step: int, encryption: Encryption
) -> dict[int, Sent] | None:
    """Parts by number; None where the upload is gone, or was cut into other parts."""
    parts: dict[int, Sent] = {}
    try:
        pages = client.get_paginator("list_parts").paginate(
            Bucket=bucket, Key=key, UploadId=upload, **encryption.reading
        )
        for page in pages:
            for part in page.get("Parts", ()):
                number = part["PartNumber"]
                if part["Size"] != min(step, size - (number - 1) * step):
                    return None
                stored = part.get("ChecksumSHA256")
                parts[number] = Sent(part["ETag"], base64.b64decode(stored).hex() if stored else None)
    except botos().ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchUpload":
            return None
        raise
    return parts
