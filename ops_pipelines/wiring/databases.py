"""Databases of one stack as parts: PostgreSQL; the others are refused with words."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ops_pipelines.adapters.postgres import Postgres
from ops_pipelines.engines.parts.database import DatabaseSource, DatabaseTarget
from ops_pipelines.engines.ports import PartSource, PartTarget
from ops_pipelines.errors import TargetUnsupported
from ops_pipelines.wiring.connect import endpoint, secret
from ops_pipelines.wiring.site import Site

_PORT = 5432


def database_source(site: Site, name: str) -> PartSource:
    """What a backup reads. Raises TargetUnsupported for a kind that is not spoken yet, SecretMissing."""
    declared = site.stack.databases[name]
    return DatabaseSource(name, declared.name or name, _server(site, name), needs=declared.needs)


def database_target(site: Site, name: str, scratch: Path) -> PartTarget:
    """Where a restore puts it; `scratch` is the folder for its dump meanwhile."""
    declared = site.stack.databases[name]
    return DatabaseTarget(name, declared.name or name, _server(site, name), scratch)


def _server(site: Site, name: str) -> Postgres:
    declared = site.stack.databases[name]
    if declared.kind != "postgres":
        raise TargetUnsupported(
            f"the database {name} of {site.name} is {declared.kind}, which this version does not back up",
            remedy=f"set `backup: false` for it, and back it up by {declared.kind}'s own means meanwhile",
        )
    address = urlsplit(endpoint(site, declared.component))
    return Postgres(
        host=address.hostname or "127.0.0.1",
        port=address.port or _PORT,
        user=declared.user or "postgres",
        password=secret(site, declared.password),
        environ=site.settings.environ,
    )
