"""What botocore's exceptions mean to a person: the bucket, what was tried, and what mends it.

botocore is imported where one of its exceptions may have come, not before: it takes 0.2 s, and a restore in which
nothing goes wrong has no need of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ops_pipelines.errors import (
    ChecksumMismatch,
    ObjectMissing,
    OpsError,
    PreconditionFailed,
    Refused,
    StoreError,
    Unreachable,
)


@dataclass(frozen=True)
class _Kind:
    """Answers that mean the same. `{bucket}` is filled in."""

    codes: frozenset[str]
    error: type[OpsError]
    means: str
    remedy: str

    def of(self, place: Place, said: str) -> OpsError:
        """The error, of one bucket."""
        means, remedy = (words.format(bucket=place.bucket) for words in (self.means, self.remedy))
        return self.error(f"{said}: {means}", remedy=remedy)


def _kind(codes: str, error: type[OpsError], means: str, remedy: str) -> _Kind:
    return _Kind(frozenset(codes.split()), error, means, remedy)


_LOCKED = ("ObjectLocked", "InvalidObjectState")
_CHECK = "check `bucket:`, `endpoint:` and `region:` of the backup"
_KINDS = (
    _kind(
        "PreconditionFailed ConditionalRequestConflict 412",
        PreconditionFailed,
        "it exists already, or somebody changed it in between",
        "look at who else works on this stack, then try again",
    ),
    _kind(
        "BadDigest InvalidDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch InvalidPart",
        ChecksumMismatch,
        "what arrived is not what its SHA-256 says",
        "try again; if it happens again, look for a proxy that alters uploads, or failing memory",
    ),
    _kind("NoSuchKey", ObjectMissing, "there is no such object", "check the prefix, or who deleted it"),
    _kind(
        "NoSuchBucket",
        StoreError,
        "there is no bucket `{bucket}`",
        "create it (`aws s3 mb s3://{bucket}`), or correct `bucket:` in the stack file",
    ),
    _kind(
        "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired",
        Refused,
        "the credentials are unknown, wrong or expired",
        "check the secrets that `access_key:` and `secret_key:` refer to (with --bucket: AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY), and the endpoint",
    ),
    _kind(
        "RequestTimeTooSkewed RequestExpired",
        Refused,
        "this machine's clock and the store's differ too much",
        "set the clock (`timedatectl set-ntp true`), or the clock of the container's host",
    ),
    _kind(
        "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException 301",
        Refused,
        "the bucket is in another region",
        "set `region:` (and `endpoint:`) of the stack's backup to the bucket's own",
    ),
    _kind(
        "ObjectLocked InvalidObjectState",
        Refused,
        "the object is locked",
        "wait until its retention has passed",
    ),
    _kind(
        "AccessDenied AllAccessDisabled AccountProblem Forbidden 403 401",
        Refused,
        "these credentials have no right to do that",
        "allow s3:ListBucket and s3:ListBucketMultipartUploads on `{bucket}`, and s3:GetObject, "
        "s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects",
    ),
    _kind(
        "XMinioStorageFull InsufficientStorage QuotaExceeded QuotaExceededException 507",
        StoreError,
        "the store is full, or the bucket's quota is used up",
        "free space or raise the quota; `ops-pipelines prune STACK` shows what may go",
    ),
    _kind(
        "SlowDown ServiceUnavailable TooManyRequests 503 429",
        Unreachable,
        "it is overloaded or starting",
        "try again in a few minutes",
    ),
)


@dataclass(frozen=True)
class Place:
    """Which bucket of which store, for errors."""

    bucket: str
    endpoint: str

    def __str__(self) -> str:
        return f"s3://{self.bucket} at {self.endpoint}"


@contextmanager
def explained(place: Place, action: str, key: str = "") -> Iterator[None]:
    """Raise what botocore raises inside as an error of this project. `action` continues "could not"."""
    try:
        yield
    except OpsError:
        raise
    except Exception as error:
        if not _is_botos(error):
            raise
        raise translate(error, place, action, key) from error


def botos() -> ModuleType:
    """botocore's exceptions, for an `except`."""
    from botocore import exceptions

    return exceptions


def _is_botos(error: Exception) -> bool:
    from botocore.parsers import ResponseParserError

    boto = botos()
    return isinstance(error, boto.BotoCoreError | boto.ClientError | ResponseParserError | RecursionError)


def code_of(error: BaseException) -> str:
    """The S3 error code of an exception, or an empty text."""
    return str(_detail(error).get("Code", ""))


def attempts_of(error: BaseException) -> int:
    """How often botocore repeated the request before it gave this error."""
    metadata = (getattr(error, "response", None) or {}).get("ResponseMetadata", {})
    return int(metadata.get("RetryAttempts", 0))


def translate(error: Exception, place: Place, action: str, key: str = "") -> OpsError:
    """The error of this project for one of botocore's."""
    what = _what(place, action, key)
    answered = isinstance(error, botos().ClientError)
    return _answered(error, place, what) if answered else _unanswered(error, place, what)


def _what(place: Place, action: str, key: str) -> str:
    return f"could not {action}{f' {key}' if key else ''} in {place}"


def is_locked(code: str, message: str) -> bool:
    """Whether a deletion was refused by a lock. Amazon says AccessDenied for it, and why in words."""
    words = message.lower()
    return code in _LOCKED or any(word in words for word in ("object lock", "worm protected", "legal hold"))


def missing(place: Place, action: str, key: str) -> OpsError:
    """The error for an object that is not there."""
    kind = next(kind for kind in _KINDS if kind.error is ObjectMissing)
    return kind.of(place, f"{_what(place, action, key)}: the store answered NoSuchKey")


def _answered(error: Any, place: Place, what: str) -> OpsError:
    code = code_of(error)
    metadata = error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    words = " ".join(str(_detail(error).get("Message", "")).split())[:300]
    said = f"{what}: the store answered {code or status}"
    for kind in _KINDS:
        if code in kind.codes:
            return kind.of(place, said)
    if "html" in metadata.get("HTTPHeaders", {}).get("content-type", ""):
        return _no_s3(place, what)
    if status >= 500:
        return StoreError(
            f"{said} ({words or 'no reason given'})",
            remedy="look at the store's own log and its free disk space: a full disk often shows like this",
        )
    if status in (404, 405) or not words:
        return StoreError(
            f"{said}: either the bucket is not there, or no S3 store answers at this address",
            remedy="check `endpoint:` (the S3 port, not the store's web console) and `bucket:`",
        )
    return StoreError(f"{said} ({words})", remedy=_CHECK)


def _unanswered(error: Exception, place: Place, what: str) -> OpsError:
    from botocore.parsers import ResponseParserError

    boto = botos()
    wire = (
        boto.ConnectionError | boto.HTTPClientError | boto.ResponseStreamingError | boto.IncompleteReadError
    )
    if isinstance(
        error, (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
    ):
        return Refused(
            f"{what}: there are no credentials",
            remedy="set `access_key:` and `secret_key:` of the stack's backup, or the machine's own",
        )
    if isinstance(error, boto.SSLError):
        return Unreachable(
            f"{what}: the TLS connection failed ({_short(error)})",
            remedy="give the authority's certificate as `ca_bundle`, or correct http/https in `endpoint:`",
        )
    if isinstance(error, wire):
        return Unreachable(
            f"{what}: {place.endpoint} does not answer ({_short(error)})",
            remedy="check that the store runs, and that `endpoint:` names its host and S3 port",
        )
    if isinstance(error, boto.ChecksumError | boto.FlexibleChecksumError):
        return ChecksumMismatch(
            f"{what}: what arrived is not what its checksum says",
            remedy="try again; `ops-pipelines verify STACK SNAPSHOT` says whether it is damaged in the store",
        )
    if isinstance(error, RecursionError):  # botocore follows a redirect to itself for ever
        return StoreError(
            f"{what}: {place.endpoint} redirects to somewhere else",
            remedy="check http/https in `endpoint:`, and `region:`",
        )
    if isinstance(error, ResponseParserError):
        return _no_s3(place, what)
    return StoreError(f"{what}: {_short(error)}", remedy=_CHECK)


def _no_s3(place: Place, what: str) -> StoreError:
    return StoreError(
        f"{what}: {place.endpoint} answers, but not as an S3 store",
        remedy="check `endpoint:` (the S3 port, not the store's web console or a proxy's page)",
    )


def _detail(error: BaseException) -> dict[str, Any]:
    response: dict[str, Any] = getattr(error, "response", None) or {}
    detail: dict[str, Any] = response.get("Error") or {}
    return detail


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
