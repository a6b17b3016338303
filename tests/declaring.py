"""What the stacks of tests declare alike: a bucket of the real store, and whose keys open it."""

from __future__ import annotations

from typing import Any

from tests.servers.seaweed import Seaweed

KEYS = {"a": "${S3A}", "s": "${S3S}"}
"""`secrets` of a stack that `backup_in` refers to."""


def backup_in(seaweed: Seaweed, bucket: str, **more: Any) -> dict[str, Any]:
    """`backup` of a stack: a bucket, the keys by reference, and a lease that a killed test leaves for a short while."""
    named = {"bucket": bucket, "endpoint": seaweed.endpoint, "access_key": "a", "secret_key": "s"}
    return {**named, "lease": "30s", **more}


def keys_of(seaweed: Seaweed) -> dict[str, str]:
    """The environment that the keys' references lead to."""
    return {"S3A": seaweed.access_key, "S3S": seaweed.secret_key}
