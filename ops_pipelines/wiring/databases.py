"""Databases of one stack as parts, each by the adapter of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from ops_pipelines.engines.parts.database import DatabaseSource, DatabaseTarget
from ops_pipelines.engines.parts.database_clickhouse import ClickHouseSource, ClickHouseTarget, Staging
from ops_pipelines.engines.parts.database_redis import RedisSource, RedisTarget
from ops_pipelines.engines.parts.kept import Keeper, KeptDatabases, KeptNumbers
from ops_pipelines.engines.ports import PartSource, PartTarget
from ops_pipelines.errors import TargetUnsupported, UsageError
from ops_pipelines.policy.manifest import Part
from ops_pipelines.stack.data import Database
from ops_pipelines.stack.operations import Backup
from ops_pipelines.wiring.connect import backup_of, bucket_credentials, endpoint, layout, object_store, secret
from ops_pipelines.wiring.site import Site

if TYPE_CHECKING:
    from ops_pipelines.adapters.clickhouse import ClickHouse
    from ops_pipelines.adapters.postgres import Postgres
    from ops_pipelines.adapters.redis import Redis


def database_source(site: Site, name: str) -> PartSource:
    """What a backup reads. Raises SecretMissing, UsageError."""
    declared = site.stack.databases[name]
    return _SOURCES[declared.kind](site, name, declared)


def database_target(site: Site, part: Part, scratch: Path) -> PartTarget:
    """Where a restore puts it; `scratch` is the folder for its files meanwhile.

    Raises TargetUnsupported where the declaration is of another kind than the part."""
    declared = site.stack.databases[part.name]
    engine = part.facts.get("engine", "postgres")
    if engine != declared.kind:
        raise TargetUnsupported(
            f"{part.key} was {engine}, and {site.name} declares it as {declared.kind}",
            remedy=f"declare it as {engine}, or take its files from the bucket alone",
        )
    return _TARGETS[declared.kind](site, part.name, declared, scratch)


def database_keeper(site: Site, name: str) -> Keeper:
    """What finds the databases that restores have kept."""
    declared, key = site.stack.databases[name], f"database/{name}"
    if declared.kind == "redis":
        return KeptNumbers(name, _redis(site, declared))
    server = _postgres(site, declared) if declared.kind == "postgres" else _clickhouse(site, declared)
    return KeptDatabases(key, declared.name or name, server)


def _postgres_source(site: Site, name: str, declared: Database) -> PartSource:
    return DatabaseSource(
        name, declared.name or name, _postgres(site, declared), declared.needs, declared.probes
    )


def _postgres_target(site: Site, name: str, declared: Database, scratch: Path) -> PartTarget:
    return DatabaseTarget(name, declared.name or name, _postgres(site, declared), scratch)


def _redis_source(site: Site, name: str, declared: Database) -> PartSource:
    only = int(declared.name) if declared.name else None
    return RedisSource(name, _redis(site, declared), only, tuple(declared.needs))


def _redis_target(site: Site, name: str, declared: Database, scratch: Path) -> PartTarget:
    return RedisTarget(name, _redis(site, declared), scratch)


def _postgres(site: Site, declared: Database) -> Postgres:
    from ops_pipelines.adapters.postgres import Postgres

    address = _address(site, declared)
    return Postgres(
        host=address.hostname or "127.0.0.1",
        port=address.port or 5432,
        user=declared.user or "postgres",
        password=secret(site, declared.password),
        environ=site.settings.environ,
    )


def _redis(site: Site, declared: Database) -> Redis:
    from ops_pipelines.adapters.redis import Redis

    address = _address(site, declared)
    return Redis(
        host=address.hostname or "127.0.0.1",
        port=address.port or 6379,
        user=declared.user,
        password=secret(site, declared.password),
        tls=address.scheme == "rediss",
        authority=None if declared.ca_bundle is None else site.folder / declared.ca_bundle,
    )


def _clickhouse_source(site: Site, name: str, declared: Database) -> PartSource:
    server = _clickhouse(site, declared)
    return ClickHouseSource(
        name, declared.name or name, server, _staging(site, name), declared.needs, declared.probes
    )


def _clickhouse_target(site: Site, name: str, declared: Database, scratch: Path) -> PartTarget:
    server = _clickhouse(site, declared)
    return ClickHouseTarget(name, declared.name or name, server, _staging(site, name), scratch)


def _staging(site: Site, name: str) -> Staging:
    return Staging(object_store(site), layout(site).staging(site.name, name))


def _clickhouse(site: Site, declared: Database) -> ClickHouse:
    from ops_pipelines.adapters.clickhouse import ClickHouse, Handover

    backup, handover = backup_of(site), declared.handover
    if backup.store_encryption is not None and backup.store_encryption.kind == "customer":
        raise UsageError(
            f"{site.name} keeps its bucket under a customer's key, which ClickHouse's BACKUP does not send",
            remedy="use another kind of `store_encryption`, or `backup: none` for the ClickHouse database",
        )
    access, key = secret(site, handover.access_key), secret(site, handover.secret_key)
    token = None
    if access is None:
        access, key = secret(site, backup.access_key), secret(site, backup.secret_key)
        token = secret(site, backup.session_token)
    if access is None:
        access, key, token = bucket_credentials(site.settings.environ)
    if token is not None:
        raise UsageError(
            f"{site.name} opens its bucket by a session token, which ClickHouse does not take",
            remedy=f"declare keys of its own: `handover: {{access_key: …, secret_key: …}}` at {declared.component}",
        )
    return ClickHouse(
        address=endpoint(site, declared.component),
        user=declared.user or "default",
        password=secret(site, declared.password),
        handover=Handover(_bucket_url(backup, handover.endpoint), access, key),
    )


def _bucket_url(backup: Backup, seen_as: str | None) -> str:
    """Address of the bucket, in the style that the store asks for; `seen_as` is another endpoint of it."""
    url = seen_as or backup.endpoint or f"https://s3.{backup.region}.amazonaws.com"
    scheme, _, host = url.rstrip("/").partition("://")
    return f"{scheme}://{host}/{backup.bucket}" if backup.path_style else f"{scheme}://{backup.bucket}.{host}"


def _address(site: Site, declared: Database) -> SplitResult:
    return urlsplit(endpoint(site, declared.component))


_SOURCES: Mapping[str, Callable[[Site, str, Database], PartSource]] = {
    "clickhouse": _clickhouse_source,
    "postgres": _postgres_source,
    "redis": _redis_source,
}
_TARGETS: Mapping[str, Callable[[Site, str, Database, Path], PartTarget]] = {
    "clickhouse": _clickhouse_target,
    "postgres": _postgres_target,
    "redis": _redis_target,
}
