"""The collections, indexes and aliases of a Milvus server: what `milvus.MilvusStore` does besides rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

import structlog
from pymilvus import MilvusClient

from ops_pipelines.adapters import _milvus_types as types
from ops_pipelines.adapters._milvus_errors import mapped, quiet
from ops_pipelines.errors import Refused, SchemaMismatch
from ops_pipelines.policy.vectors import CollectionSchema, CollectionState

_log = structlog.get_logger()

# pymilvus pings every 10 s, with or without a call: Milvus Lite's server (gRPC's own default: once in 5 minutes)
# then closes the connection as abused, in the midst of what else goes on.
_RARE_PINGS = {"grpc.keepalive_time_ms": 600_000, "grpc.keepalive_permit_without_calls": False}


class MilvusCollections:
    """One database of a server. `timeout` and `patience` are seconds: for a call, and for loads and indexes."""

    def __init__(self, client: Any, where: str, *, timeout: float, patience: float) -> None:
        self._client = client
        self._where = where
        self._timeout = timeout
        self._patience = patience
        self._version: str | None = None
        self._missing_database: str | None = None

    @classmethod
    def connect(
        cls,
        uri: str,
        token: str | None = None,
        database: str = "default",
        *,
        timeout: float = 30.0,
        patience: float = 3600.0,
    ) -> Self:
        """Connect. `token` is `user:password` or an API key. Raises Unreachable, Refused."""
        quiet()
        where = re.sub(r"//[^/@]*@", "//", uri)
        with mapped("connect", where):
            client = MilvusClient(
                uri=uri,
                token=token or "",
                db_name=database,
                timeout=min(timeout, 10.0),
                dedicated=True,
                grpc_options=_RARE_PINGS,
            )
        store = cls(client, where, timeout=timeout, patience=patience)
        store._find_database(database)
        return store

    def _find_database(self, name: str) -> None:
        """A database that is not there holds nothing; `create` makes it."""
        if name == "default":
            return
        try:
            with mapped("list databases", self._where):
                known = self._client.list_databases(timeout=self._timeout)
        except Refused:  # who may not list them may still use this one, and is told if not
            return
        self._missing_database = None if name in known else name

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def version(self) -> str:
        """Name and version of the server: `milvus_lite-3.2.2`, `v2.3.5`."""
        if self._version is None:
            with mapped("say its version", self._where):
                self._version = str(self._client.get_server_version(timeout=self._timeout))
        return self._version

    # --- what is there ---

    def collections(self) -> tuple[str, ...]:
        """Physical names, in order."""
        if self._missing_database:
            return ()
        with mapped("list collections", self._where):
            return tuple(sorted(self._client.list_collections(timeout=self._timeout)))

    def aliases(self) -> Mapping[str, str]:
        """Alias -> physical collection."""
        found: dict[str, str] = {}
        for name in self.collections():
            found.update(dict.fromkeys(self._aliases_of(name), name))
        return found

    def _aliases_of(self, name: str) -> tuple[str, ...]:
        with mapped(f"list the aliases of {name}", self._where):
            answer = self._client.list_aliases(collection_name=name, timeout=self._timeout)
        return tuple(sorted(answer.get("aliases", ())))

    def state(self, name: str) -> CollectionState | None:
        """The collection behind a name or an alias, or None. Raises SchemaMismatch for what cannot be kept."""
        if self._missing_database:
            return None
        with mapped(f"look for {name}", self._where):
            if not self._client.has_collection(name, timeout=self._timeout):
                return None
        described, schema, notes = self._described(name)
        physical = str(described["collection_name"])
        aliases = self._aliases_of(physical)
        return CollectionState(
            name=physical,
            alias=name if name in aliases else next(iter(aliases), None),
            aliases=aliases,
            schema=schema,
            rows=self.count(physical),
            loaded=self._loaded(physical),
            notes=notes,
        )

    def _described(self, name: str) -> tuple[Mapping[str, Any], CollectionSchema, tuple[str, ...]]:
        with mapped(f"describe {name}", self._where):
            described = self._client.describe_collection(name, timeout=self._timeout)
            indexes = [
                self._client.describe_index(name, index_name=index, timeout=self._timeout)
                for index in self._client.list_indexes(name, timeout=self._timeout)
            ]
            partitions = self._client.list_partitions(name, timeout=self._timeout)
        schema, notes = types.known_schema(name, described, [i for i in indexes if i], partitions)
        return described, schema, notes

    def _loaded(self, name: str) -> bool:
        with mapped(f"see whether {name} is loaded", self._where):
            state = self._client.get_load_state(name, timeout=self._timeout)["state"]
        return str(getattr(state, "name", state)) == "Loaded"

    def count(self, name: str) -> int:
        """Rows. Of a collection that is not loaded, Milvus tells those stored, deleted ones included."""
        loaded = self._loaded(name)
        with mapped(f"count the rows of {name}", self._where):
            if not loaded:
                stats = self._client.get_collection_stats(name, timeout=self._timeout)
                return int(stats["row_count"])
            found = self._client.query(
                name, output_fields=["count(*)"], timeout=self._timeout, consistency_level="Strong"
            )
        return int(found[0]["count(*)"])

    # --- changing ---

    def create(self, name: str, schema: CollectionSchema, *, given_keys: bool = False) -> None:
        """Create an empty collection with its partitions. Raises SchemaMismatch for what the server lacks.

        With `given_keys` rows come with their keys: where the server would make its own (auto_id) and take no
        others, as Milvus does and Lite does not, the collection is made without that."""
        if lacking := types.lacking(schema, self.version()):
            raise SchemaMismatch(
                lacking, remedy="use another type (float_vector, or no nulls), or a newer Milvus server"
            )
        if self._missing_database:
            with mapped(f"create the database {self._missing_database}", self._where):
                self._client.create_database(self._missing_database, timeout=self._timeout)
            self._missing_database = None
        with mapped(f"create {name}", self._where):
            self._client.create_collection(
                name,
                schema=types.server_schema(schema, own_keys=self._lite() or not given_keys),
                timeout=self._timeout,
                **types.settings(schema),
            )
            for partition in schema.partitions:
                self._client.create_partition(name, partition, timeout=self._timeout)

    def _lite(self) -> bool:
        return self.version().startswith("milvus_lite")

    def build_indexes(self, name: str, schema: CollectionSchema) -> None:
        """Index every field that has an index in the schema, and wait for it."""
        for field, index in schema.indexes.items():
            if self._lite() and index.metric and index.type not in types.LITE_INDEXES:
                raise SchemaMismatch(
                    f"the index of {field} is {index.type}, which Milvus Lite cannot build",
                    remedy=f"use one of {', '.join(sorted(types.LITE_INDEXES))}, or a Milvus server",
                )
            params = self._client.prepare_index_params()
            params.add_index(
                field_name=field,
                index_type=index.type,
                index_name=index.name,
                params={**types.BUILD.get(index.type, {}), **index.params},
                **({"metric_type": index.metric} if index.metric else {}),
            )
            with mapped(f"index {field} of {name}", self._where):
                self._client.create_index(name, params, timeout=self._patience)

    def load(self, name: str) -> None:
        """Load into memory and wait for it."""
        with mapped(f"load {name}", self._where):
            self._client.load_collection(name, timeout=self._patience)

    def drop(self, name: str) -> None:
        """Drop a collection. Refuses an alias, and a collection that an alias points at."""
        aliases = self.aliases()
        if name in aliases or name in aliases.values():
            users = [name] if name in aliases else [a for a, target in aliases.items() if target == name]
            raise Refused(
                f"{name} is live: clients use it as {', '.join(users)}",
                remedy="point the alias at another collection first (a restore does), then drop this one",
            )
        with mapped(f"drop {name}", self._where):
            self._client.drop_collection(name, timeout=self._timeout)
        _log.info("collection dropped", collection=name, server=self._where)

    def rename(self, name: str, new: str) -> None:
        """Rename a physical collection. Lite releases it by that: load it again where it is needed."""
        with mapped(f"rename {name} to {new}", self._where):
            self._client.rename_collection(name, new, timeout=self._timeout)
        _log.info("collection renamed", collection=name, new=new, server=self._where)

    def point_alias(self, alias: str, name: str) -> None:
        """Create an alias, or move it in one step."""
        known = alias in self.aliases()
        with mapped(f"point {alias} at {name}", self._where):
            change = self._client.alter_alias if known else self._client.create_alias
            change(collection_name=name, alias=alias, timeout=self._timeout)
        _log.info("alias points", alias=alias, collection=name, server=self._where)
