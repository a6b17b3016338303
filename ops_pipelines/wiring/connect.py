"""The adapters of one stack, made from its declaration. Secrets are resolved here and go no further."""

from __future__ import annotations

import base64
import getpass
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, cast

from ops_pipelines.adapters import health
from ops_pipelines.adapters.embeddings import OllamaEmbeddings, OpenAIEmbeddings
from ops_pipelines.adapters.machine import LocalMachine
from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.engines._deploy_needs import Health, Tools
from ops_pipelines.engines.lease import take_drill_lease, take_lease
from ops_pipelines.engines.ports import Embedder, Fence, VectorStore
from ops_pipelines.errors import OpsError, TargetUnsupported, UsageError
from ops_pipelines.policy import serving
from ops_pipelines.policy.layout import Layout
from ops_pipelines.policy.programs import Places, cache_place, endpoints
from ops_pipelines.settings import Settings
from ops_pipelines.stack.components import Component
from ops_pipelines.stack.operations import Backup
from ops_pipelines.stack.references import resolve
from ops_pipelines.wiring.site import Site

if TYPE_CHECKING:
    from ops_pipelines.adapters.milvus import MilvusStore
    from ops_pipelines.adapters.s3 import Encryption, S3Store

_KEYS = ("VLLM_API_KEY", "APHRODITE_API_KEY", "LITELLM_MASTER_KEY")
"""Variables by which servers of OpenAI's API are told the key that they ask for."""

_stores: dict[tuple[str, str, str | None], MilvusStore] = {}
"""Connections of this process by address, database and token: each costs a channel and a thread."""
_stores_lock = Lock()


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def places(site: Site) -> Places:
    """What the words {home} and {python} of the declaration mean here."""
    return Places(home=str(site.settings.home), python=sys.executable, cwd=str(site.folder))


def secret(site: Site, name: str | None) -> str | None:
    """Value of a declared secret, or None where `name` is None. Raises SecretMissing, UsageError."""
    if name is None:
        return None
    reference = site.stack.secrets.get(name)
    if reference is None:
        raise UsageError(
            f"the stack {site.name} refers to a secret {name!r} that it does not declare",
            remedy=f"add it under `secrets:` of {site.loaded.path}",
        )
    return resolve(reference, site.settings.environ, site.folder).get_secret_value()


def known_secrets(site: Site) -> dict[str, str]:
    """Values of the declared secrets that can be had here, by name: to keep them out of what others read."""
    known: dict[str, str] = {}
    for name in site.stack.secrets:
        try:
            value = secret(site, name)
        except OpsError:  # a secret that is not here cannot be given away by us
            continue
        if value:
            known[name] = value
    return known


def backup_of(site: Site) -> Backup:
    """The stack's backup section. Raises UsageError where it has none."""
    if site.stack.backup is None:
        raise UsageError(
            f"the stack {site.name} declares no backup; its bucket also holds the right to change it, and its "
            "revisions",
            remedy=f"add a `backup:` section with a bucket to {site.loaded.path}",
        )
    return site.stack.backup


def object_store(site: Site) -> S3Store:
    """The stack's bucket. Raises SecretMissing, UsageError for a customer's key that is none, StoreError, Refused."""
    from ops_pipelines.adapters.s3 import S3Store

    backup, transfer = backup_of(site), backup_of(site).transfer
    access, key = secret(site, backup.access_key), secret(site, backup.secret_key)
    token = secret(site, backup.session_token)
    if access is None and key is None:
        access, key, token = bucket_credentials(site.settings.environ)
    return S3Store.connect(
        bucket=backup.bucket,
        endpoint=backup.endpoint,
        region=backup.region,
        access_key=access,
        secret_key=key,
        session_token=token,
        path_style=backup.path_style,
        ca_bundle=None if backup.ca_bundle is None else site.folder / backup.ca_bundle,
        connect_timeout=transfer.connect_timeout,
        read_timeout=transfer.read_timeout,
        attempts=transfer.attempts,
        encryption=_encryption(site, backup),
        parallel=transfer.parallel,
        bandwidth=transfer.bandwidth,
        conditional=backup.conditional_writes == "required",
    )


def _encryption(site: Site, backup: Backup) -> Encryption | None:
    from ops_pipelines.adapters.s3 import Encryption

    wanted = backup.store_encryption
    if wanted is None:
        return None
    key = None
    if wanted.kind == "customer":
        try:
            key = base64.b64decode(secret(site, wanted.key) or "", validate=True)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise UsageError(
                f"the secret {wanted.key!r} of {site.name} is no customer's key: 32 bytes in base64 are needed",
                remedy="make one with `openssl rand -base64 32`; a lost one cannot be replaced",
            )
    return Encryption(wanted.kind, wanted.kms_key, key)


def bucket_credentials(environ: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    """Access key, secret key and session token of the environment (`run.env` included); without them, None
    thrice: boto3 then finds the machine's own. Raises UsageError where one key comes without the other."""
    access, key = environ.get("AWS_ACCESS_KEY_ID") or None, environ.get("AWS_SECRET_ACCESS_KEY") or None
    if (access is None) != (key is None):
        absent = "AWS_ACCESS_KEY_ID" if access is None else "AWS_SECRET_ACCESS_KEY"
        raise UsageError(f"{absent} is not set, and the other key is", remedy=f"set {absent} too, or neither")
    return access, key, environ.get("AWS_SESSION_TOKEN") or None if access else None


def layout(site: Site) -> Layout:
    """Keys of the stack's bucket."""
    return Layout(backup_of(site).prefix)


@contextmanager
def lease(site: Site, purpose: str) -> Iterator[Fence]:
    """Hold the stack's lease. Raises LeaseHeld that says who has it and what for."""
    backup = backup_of(site)
    with take_lease(
        object_store(site),
        layout(site),
        site.name,
        holder=holder(),
        purpose=purpose,
        ttl=backup.lease,
        clock=now,
    ) as fence:
        yield fence


@contextmanager
def drill_lease(site: Site, purpose: str) -> Iterator[Fence]:
    """Hold the right to drill the stack, wherever from. Raises LeaseHeld that says who has it."""
    with take_drill_lease(
        object_store(site),
        layout(site),
        site.name,
        holder=holder(),
        purpose=purpose,
        ttl=backup_of(site).lease,
        clock=now,
    ) as fence:
        yield fence


def holder() -> str:
    """Who acts, in words that tell a colleague where to look."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"


def component(site: Site, name: str) -> Component:
    """A component of the stack. Raises UsageError that names the known ones."""
    found = site.stack.components.get(name)
    if found is None:
        raise UsageError(
            f"the stack {site.name} has no component {name!r}",
            remedy=f"its components: {', '.join(site.stack.components) or 'none'}",
        )
    return found


def endpoint(site: Site, name: str) -> str:
    """Address at which a component is reached from here. Raises UsageError where it has no port."""
    component(site, name)
    found = endpoints(site.stack)[name]
    if not found:
        raise UsageError(
            f"the component {name} of {site.name} has no port, so nobody can ask it",
            remedy=f"declare `ports: {{http: ...}}` under components.{name}",
        )
    return found[0]


def vector_store(site: Site, collection: str) -> VectorStore:
    """The database that holds a collection, by a connection that this process keeps.

    Raises TargetUnsupported for a kind that is not spoken yet, SecretMissing, Unreachable, Refused.
    """
    declared = site.stack.collections[collection]
    kind = component(site, declared.store).kind
    if kind != "milvus":
        raise TargetUnsupported(
            f"the collection {collection} lies in {kind}, which this version does not speak to",
            remedy="use a store of kind milvus",
        )
    from ops_pipelines.adapters.milvus import MilvusStore

    where = (endpoint(site, declared.store), declared.database, secret(site, declared.token))
    with _stores_lock:
        if where not in _stores:
            address, database, token = where
            _stores[where] = MilvusStore.connect(address, token, database)
        return _stores[where]


def embedder(site: Site, model: str, at: str | None = None) -> Embedder:
    """What turns texts into vectors for a model; `at` is another address than the declared one."""
    declared = site.stack.models[model]
    if declared.served_by is None:
        raise UsageError(
            f"the model {model} of {site.name} is served by no component",
            remedy=f"set models.{model}.served_by",
        )
    address = at or endpoint(site, declared.served_by)
    if component(site, declared.served_by).kind == "ollama":
        return OllamaEmbeddings(address)
    return OpenAIEmbeddings(address, api_key=model_key(site, model))


def server_key(site: Site, component: str) -> str | None:
    """Value of the key that a component's server asks its clients for; None where it declares none.

    Raises SecretMissing."""
    named = site.stack.components[component].secrets
    return secret(site, next((named[variable] for variable in _KEYS if variable in named), None))


def model_key(site: Site, model: str) -> str | None:
    """Value of the key with which a model is asked for: its server's, else a hosted one's own."""
    declared = site.stack.models[model]
    key = server_key(site, declared.served_by) if declared.served_by else None
    if key is None and declared.hosted:
        return secret(site, declared.token)
    return key


def served_name(site: Site, model: str) -> str:
    """The name under which the model's server knows it."""
    return serving.served_name(site.stack.models[model])


def supervisor(settings: Settings) -> Supervisord:
    """The supervisord of this home folder."""
    return Supervisord(settings.supervisor_dir, settings.environ)


def tools(manager: Supervisord, settings: Settings) -> Tools:
    """What a deploy on this machine works with."""
    machine = LocalMachine(settings.environ.get("PATH", ""))
    return Tools(manager, machine, cast("Health", health), manager.secrets)


def caches(site: Site) -> Mapping[str, tuple[Path, ...]]:
    """Folder of each replica of each model cache. Raises TargetUnsupported where it cannot be reached from here."""
    if site.stack.target.kind == "compose":
        from ops_pipelines.wiring import compose_data

        return {name: compose_data.folders(site, "model_cache", name) for name in site.stack.caches}
    if site.stack.target.kind == "kubernetes" and site.stack.caches:
        raise in_a_cluster(site)
    return {
        name: tuple(Path(cache_place(site.stack, name, i, places(site))) for i in range(cache.replicas))
        for name, cache in site.stack.caches.items()
    }


def in_a_cluster(site: Site) -> TargetUnsupported:
    """That the volumes of a cluster are no folders of this machine."""
    return TargetUnsupported(
        f"the data of {site.name} lies in volumes of a cluster, and in no folders of this machine",
        remedy="back up and restore work, by Jobs beside the volumes; for the rest, use the cluster's own tools",
    )


def cache_servers(site: Site, cache: str) -> tuple[str, ...]:
    """Components that answer with a model of a cache."""
    found = [model.served_by for model in site.stack.models.values() if model.cache == cache]
    return tuple(dict.fromkeys(server for server in found if server is not None))
