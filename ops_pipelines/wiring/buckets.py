"""Buckets of one stack as parts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops_pipelines.adapters.objectindex import load_objects, save_objects
from ops_pipelines.engines._deposit import BlobDeposit, CopyWithin
from ops_pipelines.engines.parts._bucket_target import BucketTarget
from ops_pipelines.engines.parts.bucket import BucketSource, Memory
from ops_pipelines.engines.parts.kept import KeptObjects
from ops_pipelines.policy.store import ObjectInfo
from ops_pipelines.policy.volumes import patterns
from ops_pipelines.wiring.connect import (
    backup_of,
    bucket_credentials,
    endpoint,
    layout,
    object_store,
    secret,
)
from ops_pipelines.wiring.site import Site

if TYPE_CHECKING:
    from ops_pipelines.adapters._s3_client import Connection
    from ops_pipelines.adapters.s3 import S3Store
    from ops_pipelines.adapters.s3objects import S3Objects


def bucket_source(site: Site, name: str) -> BucketSource:
    """What a backup reads, and where its content goes meanwhile."""
    declared = site.stack.buckets[name]
    deposit = BlobDeposit(object_store(site), layout(site), _copier(site, name))
    return BucketSource(
        name,
        _objects(site, name),
        declared.prefix,
        deposit,
        _memory(site, name),
        exclude=patterns(declared.exclude),
        may_be_empty=declared.may_be_empty,
    )


def bucket_target(site: Site, name: str, scratch: Path) -> BucketTarget:
    """Where a restore puts it; `scratch` is the folder for what is on its way."""
    prefix = site.stack.buckets[name].prefix
    return BucketTarget(name, _objects(site, name), prefix, _memory(site, name), scratch)


def bucket_keeper(site: Site, name: str) -> KeptObjects:
    """What finds the objects that restores have kept."""
    return KeptObjects(name, _objects(site, name), site.stack.buckets[name].prefix)


def bucket_store(site: Site, name: str) -> S3Store:
    """A declared bucket as a store of files."""
    from ops_pipelines.adapters.s3 import S3Store

    return S3Store(_connection(site, name), site.stack.buckets[name].bucket)


def _objects(site: Site, name: str) -> S3Objects:
    from ops_pipelines.adapters.s3objects import S3Objects

    return S3Objects.connect(site.stack.buckets[name].bucket, _connection(site, name))


def _connection(site: Site, name: str) -> Connection:
    from ops_pipelines.adapters._s3_client import Connection

    declared = site.stack.buckets[name]
    where = declared.endpoint
    if where is None and declared.component is not None:
        where = endpoint(site, declared.component)
    access, key, token = secret(site, declared.access_key), secret(site, declared.secret_key), None
    if access is None and key is None:
        access, key, token = bucket_credentials(site.settings.environ)
    return Connection(
        endpoint=where,
        region=declared.region,
        access_key=access,
        secret_key=key,
        session_token=token,
        path_style=declared.path_style,
        ca_bundle=None,
        connect_timeout=5.0,
        read_timeout=60.0,
    )


def _copier(site: Site, name: str) -> CopyWithin | None:
    """Copies inside the store, where backups and bucket are in one, opened by the same keys."""
    from ops_pipelines.adapters.s3objects import S3Objects

    backup, mine = backup_of(site), _connection(site, name)
    theirs = secret(site, backup.access_key) or bucket_credentials(site.settings.environ)[0]
    if (backup.endpoint, theirs) != (mine.endpoint, mine.access_key):
        return None
    if backup.store_encryption is not None:  # a copy would be kept as its bucket has it
        return None
    store = S3Objects.connect(backup.bucket, mine)
    source = site.stack.buckets[name].bucket

    def copy(info: ObjectInfo, key: str, sha256: str) -> bool:
        return store.copy_from(source, info, key, sha256)

    return copy


def _memory(site: Site, name: str) -> Memory:
    path = site.state / "inventory" / f"bucket-{name}.json"
    return Memory(partial(load_objects, path), partial(save_objects, path))
