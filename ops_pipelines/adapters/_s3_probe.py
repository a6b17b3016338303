"""Which rights a bucket's credentials have, found by using each of them once."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from ops_pipelines.errors import ObjectMissing, OpsError, PreconditionFailed, StoreError
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.store import ObjectInfo

_AFTER_WRITE = ("read", "conditional write", "upload in parts", "digests checked", "delete")


class _Store(Protocol):
    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str: ...
    def get(self, key: str) -> tuple[bytes, str]: ...
    def list(self, prefix: str) -> Iterator[ObjectInfo]: ...
    def delete(self, keys: Sequence[str]) -> None: ...
    def try_parts(self, key: str) -> None: ...
    def try_wrong_digest(self, key: str) -> None: ...
    def facts(self) -> Iterator[Finding]: ...


def probe_bucket(store: _Store, root: str) -> tuple[Finding, ...]:
    """One finding for each right: write, read, list, conditional write, upload in parts, digests checked, delete; and
    what is worth knowing of the bucket: versions and locks.

    What could not be tried, as something before it failed, is unobserved (`ok` None), never good.
    """
    key = f"{root}probe/{secrets.token_hex(8)}"
    findings = [_try("write", lambda: _write(store, key))]
    written = findings[0].ok is True
    findings.append(_try("list", lambda: _list(store, key, written)))
    if not written:
        findings += [_untried(right) for right in _AFTER_WRITE]
        return tuple(findings)
    findings.append(_try("read", lambda: _read(store, key)))
    findings.append(_try("conditional write", lambda: _conditional(store, key)))
    findings.append(_try("upload in parts", lambda: store.try_parts(f"{key}-parts")))
    findings.append(_digest(store, f"{key}-wrong"))
    findings.append(_try("delete", lambda: _delete(store, key)))
    return (*findings, *store.facts())


def _digest(store: _Store, key: str) -> Finding:
    """A store that checks no digests is slower, and no error."""
    found = _try("digests checked", lambda: store.try_wrong_digest(key))
    return found if found.ok else replace(found, severity="warning")


def _try(right: str, action: Callable[[], None]) -> Finding:
    try:
        action()
    except OpsError as error:
        return Finding(f"bucket/{right}", False, error.message, error.remedy)
    return Finding(f"bucket/{right}", True, f"{right} works")


def _untried(right: str) -> Finding:
    return Finding(f"bucket/{right}", None, f"{right} was not tried, as nothing could be written")


def _write(store: _Store, key: str) -> None:
    store.put(key, b"probe")


def _list(store: _Store, key: str, written: bool) -> None:
    keys = [info.key for info in store.list(key)]
    if written and keys != [key]:
        raise StoreError(
            "an object just written is not in the listing",
            remedy="use a store whose listings show writes at once (S3 and SeaweedFS do)",
        )


def _read(store: _Store, key: str) -> None:
    if store.get(key)[0] != b"probe":
        raise StoreError(
            "an object just written reads as something else", remedy="look for a cache in between"
        )


def _conditional(store: _Store, key: str) -> None:
    """Both conditions must be refused where they do not hold, and If-Match accepted where it does."""
    for condition in ({"if_absent": True}, {"if_match": '"00000000000000000000000000000000"'}):
        try:
            store.put(key, b"overwritten", **condition)
        except PreconditionFailed:
            continue
        raise StoreError(
            "the store overwrites an object although the write's condition does not hold",
            remedy="use a store with conditional writes (If-None-Match, If-Match): without them two "
            "operators could hold one stack's lease",
        )
    store.put(key, b"probe again", if_match=store.get(key)[1])


def _delete(store: _Store, key: str) -> None:
    store.delete([key])
    try:
        store.get(key)
    except ObjectMissing:
        return
    raise StoreError(
        "an object just deleted is still there", remedy="check the bucket's lock and lifecycle rules"
    )
