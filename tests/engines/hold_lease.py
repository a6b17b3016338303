"""Run by test_lease: takes a lease, says so, and then holds it until it is killed.

Arguments: endpoint, bucket, access key, secret key, stack, seconds of the lease. While it holds, each line on
standard input is answered with `good` or `lost`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from ops_pipelines.adapters.s3 import S3Store
from ops_pipelines.engines.lease import take_lease
from ops_pipelines.errors import LeaseLost
from ops_pipelines.policy.layout import Layout


def main() -> None:
    endpoint, bucket, access, secret, stack, ttl = sys.argv[1:]
    store = S3Store.connect(bucket=bucket, endpoint=endpoint, access_key=access, secret_key=secret)
    with take_lease(
        store,
        Layout(),
        stack,
        holder="the subprocess",
        purpose="hold",
        ttl=float(ttl),
        clock=lambda: datetime.now(UTC),
    ) as fence:
        print(fence.token, flush=True)
        for _ in sys.stdin:
            try:
                fence.check()
                print("good", flush=True)
            except LeaseLost:
                print("lost", flush=True)


if __name__ == "__main__":
    main()
