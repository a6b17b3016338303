"""One ClickHouse server, over HTTP: its own BACKUP and RESTORE, through a bucket that both reach.

Credentials go in headers and in the body, never in an address. ClickHouse masks the bucket's secret key where it
keeps a query (query_log, system.backups); our own errors are masked here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops_pipelines.adapters._clickhouse_sql import VIEWS, identifier, literal, repointed
from ops_pipelines.adapters._http import client, request
from ops_pipelines.errors import OpsError, PartFailed, Refused

_POLL = 0.2
_SETTLED = 600.0
"""Seconds that an earlier backup or restore is waited for."""
_REMEDY = "mend what the server names, and try again; it must reach the bucket (`handover` in the stack file)"
_JSON = {"default_format": "JSONEachRow", "output_format_json_quote_64bit_integers": "0"}


@dataclass(frozen=True)
class Handover:
    """The bucket through which files go, as the server reaches it."""

    url: str
    """Address of the bucket: endpoint and name."""
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    """Without keys, the server uses those of its own machine."""


@dataclass(frozen=True)
class ClickHouse:
    """A ClickHouse server and the user by which it is used."""

    address: str
    """URL of its HTTP interface."""
    user: str
    password: str | None = field(repr=False)
    handover: Handover
    timeout: float = 6 * 3600.0
    """Seconds that one backup or restore may take."""
    silence: float = 300.0
    """Seconds in which it must have moved its first byte: a server that does not reach the bucket tries for hours."""

    @property
    def at(self) -> str:
        """How a person names it."""
        return f"ClickHouse at {self.address}"

    def version(self) -> str:
        """Version of the server."""
        return str(self._rows("SELECT version() AS version")[0]["version"])

    def databases(self) -> tuple[str, ...]:
        """Names of all databases."""
        return tuple(
            str(row["name"]) for row in self._rows("SELECT name FROM system.databases ORDER BY name")
        )

    def tables(self, database: str) -> dict[str, int | None]:
        """Rows by table, as they lie in its parts; None for what keeps none. Inner tables count as their views."""
        of = literal(database)
        parts = self._rows(
            f"SELECT table, sum(rows) AS total FROM system.parts WHERE active AND database = {of} GROUP BY table"
        )
        rows = {str(row["table"]): int(row["total"]) for row in parts}
        listed = self._rows(
            f"SELECT name, engine, toString(uuid) AS id FROM system.tables WHERE database = {of}"
        )
        names = {str(row["name"]) for row in listed}
        found: dict[str, int | None] = {}
        for row in listed:
            name, engine = str(row["name"]), str(row["engine"])
            if name.startswith(".inner"):
                continue
            if engine == "MaterializedView":
                inner = next((n for n in (f".inner_id.{row['id']}", f".inner.{name}") if n in names), None)
                found[name] = rows.get(inner, 0) if inner else None
            elif engine.endswith("MergeTree"):
                found[name] = rows.get(name, 0)
            elif engine.endswith("Log"):
                place = f"{identifier(database)}.{identifier(name)}"
                found[name] = int(self._rows(f"SELECT count() AS total FROM {place}")[0]["total"])
            else:
                found[name] = None
        return found

    def back_up(self, database: str, key: str, progress: Callable[[int], None]) -> None:
        """BACKUP a database below `key` of the bucket. Raises PartFailed with the server's words."""
        command = f"BACKUP DATABASE {identifier(database)} TO {self._place(key)}"
        self._work(f"{command} SETTINGS deduplicate_files = 0 ASYNC", f"back up {database}", progress)

    def restore(self, database: str, place: str, key: str, progress: Callable[[int], None]) -> None:
        """RESTORE a backup of `database` as the new database `place`, and leave merges stopped in it."""
        command = f"RESTORE DATABASE {identifier(database)} AS {identifier(place)} FROM {self._place(key)}"
        self._work(f"{command} SETTINGS structure_only = 1 ASYNC", f"make the tables of {place}", progress)
        for table in self._merging(place):
            self._run(f"SYSTEM STOP MERGES {identifier(place)}.{identifier(table)}")
        self._work(f"{command} ASYNC", f"restore {place}", progress)

    def settle(self, key: str) -> None:
        """Wait until the server does no work below `key` of the bucket any more: it goes on with what a process
        that was killed had asked for. Raises PartFailed where that takes longer than ten minutes."""
        query = (
            "SELECT count() AS total FROM system.backups WHERE status IN ('CREATING_BACKUP', 'RESTORING')"
            f" AND position(name, {literal(key)}) > 0"
        )
        end = time.monotonic() + _SETTLED
        while int(self._rows(query)[0]["total"]):
            if time.monotonic() > end:
                raise PartFailed(
                    f"{self.at} is still at an earlier backup or restore of this database",
                    remedy="wait for it (system.backups says how far it is), or end it by KILL QUERY",
                )
            time.sleep(_POLL)

    def start_merges(self, database: str) -> None:
        """Let merges run in a database again."""
        for table in self._merging(database):
            self._run(f"SYSTEM START MERGES {identifier(database)}.{identifier(table)}")

    def rename(self, database: str, new: str) -> None:
        """Rename a database, whatever refers to its tables."""
        names = f"{identifier(database)} TO {identifier(new)}"
        self._run(f"RENAME DATABASE {names} SETTINGS check_table_dependencies = 0")

    def detach_views(self, database: str) -> None:
        """Take materialized views out of work: under another name they would go on to read and write the live one."""
        query = f"SELECT name FROM system.tables WHERE engine = 'MaterializedView' AND database = {literal(database)}"
        for row in self._rows(query):
            self._run(f"DETACH TABLE {identifier(database)}.{identifier(str(row['name']))} PERMANENTLY")

    def hidden(self, database: str) -> tuple[str, ...]:
        """Views and dictionaries whose text the server will not show whole, as it holds a secret."""
        return tuple(one["name"] for one in self._views(database) if "[HIDDEN]" in one["sql"])

    def point_views(self, database: str, old: str) -> None:
        """Make the views and dictionaries of a renamed database refer to itself, where they name it `old`."""
        waiting = [one for one in self._views(database) if old in one["sql"] or old in one["query"]]
        while waiting:  # one may read from another that is not there yet
            left, trouble = [], None
            for one in waiting:
                try:
                    for statement in repointed(one, old, database):
                        self._run(statement)
                except Refused as error:
                    left.append(one)
                    trouble = error
            if trouble is not None and len(left) == len(waiting):
                raise trouble
            waiting = left

    def drop(self, database: str) -> None:
        """Drop a database; one that is not there is nothing."""
        limits = "max_table_size_to_drop = 0, max_partition_size_to_drop = 0"
        self._run(
            f"DROP DATABASE IF EXISTS {identifier(database)} SYNC SETTINGS check_table_dependencies = 0, {limits}"
        )

    def weigh(self, database: str) -> int | None:
        """Bytes of a database on the server's disk."""
        rows = self._rows(
            f"SELECT sum(bytes_on_disk) AS total FROM system.parts WHERE database = {literal(database)}"
        )
        return int(rows[0]["total"]) if rows else None

    def drop_unused(self, database: str) -> None:
        """Drop a database. ClickHouse's clients keep none open: a query that still reads from it ends first."""
        self.drop(database)

    def ask(self, database: str, query: str) -> tuple[tuple[Any, ...], ...]:
        """Rows that a question brings, asked of one database, which it cannot change."""
        settings = {"default_format": "JSONCompactEachRow", "readonly": "1"}
        answer = self._run(query, database=database, settings=settings)
        return tuple(tuple(json.loads(line)) for line in answer.splitlines() if line.strip())

    # --- the wire ---

    def _views(self, database: str) -> list[dict[str, str]]:
        of = literal(database)
        names = {
            str(row["name"]) for row in self._rows(f"SELECT name FROM system.tables WHERE database = {of}")
        }
        rows = self._rows(
            "SELECT name, engine, create_table_query AS sql, as_select AS query, toString(uuid) AS id"
            f" FROM system.tables WHERE database = {of} AND engine IN {VIEWS} ORDER BY name"
        )
        inner = ({f".inner_id.{row['id']}", f".inner.{row['name']}"} & names for row in rows)
        return [{**row, "inner": next(iter(held), "")} for row, held in zip(rows, inner, strict=True)]

    def _merging(self, database: str) -> list[str]:
        of = literal(database)
        query = f"SELECT name FROM system.tables WHERE database = {of} AND engine LIKE '%MergeTree'"
        return [str(row["name"]) for row in self._rows(query)]

    def _place(self, key: str) -> str:
        words = [f"{self.handover.url.rstrip('/')}/{key}"]
        if self.handover.access_key is not None and self.handover.secret_key is not None:
            words += [self.handover.access_key, self.handover.secret_key]
        return f"S3({', '.join(literal(word) for word in words)})"

    def _work(self, command: str, doing: str, progress: Callable[[int], None]) -> None:
        """Start a BACKUP or RESTORE and wait for its end."""
        number = self._run(command).split("\t")[0].strip()
        query = (
            f"SELECT status, error, bytes_read, total_size FROM system.backups WHERE id = {literal(number)}"
        )
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < self.timeout:
            row = next(iter(self._rows(query)), None)
            if row is None:
                raise PartFailed(
                    f"{self.at} no longer knows that it was to {doing}",
                    remedy="it was restarted meanwhile, or several servers share the address; try again",
                )
            moved = int(row["bytes_read"]) or int(row["total_size"])
            progress(moved)
            if row["status"] in ("BACKUP_CREATED", "RESTORED"):
                return
            if row["status"] not in ("CREATING_BACKUP", "RESTORING"):
                words = self._masked(" ".join(str(row["error"]).split()))[:600]
                raise PartFailed(f"{self.at} could not {doing}: {words or row['status']}", remedy=_REMEDY)
            if not moved and passed > self.silence:
                raise PartFailed(
                    f"{self.at} was told to {doing}, and moved no byte in {self.silence:g} s: it may not reach "
                    f"{self.handover.url}, and goes on trying",
                    remedy="name the bucket's address as the server (its container) reaches it: `handover: {endpoint:"
                    " …}` at the database in the stack file; then restart the server or KILL QUERY, to end its trying",
                )
            time.sleep(_POLL)
        raise PartFailed(
            f"{self.at} did not {doing} within {self.timeout:g} s", remedy="look what it is doing"
        )

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._run(query, settings=_JSON).splitlines() if line.strip()]

    def _run(
        self, query: str, *, database: str | None = None, settings: Mapping[str, str] | None = None
    ) -> str:
        headers = {"X-ClickHouse-User": self.user}
        if self.password is not None:
            headers["X-ClickHouse-Key"] = self.password
        # Without one it is `default`, which is not there in the middle of its own switch.
        words = {**(settings or {}), "database": database or "system"}
        remedy = "check its address, user, password and rights, and what it says"
        try:
            with client(self.address, timeout=600.0, headers=headers) as http:
                answer = request(
                    http, "POST", "/", what=self.at, remedy=remedy, params=words, content=query.encode()
                )
        except OpsError as error:
            raise type(error)(self._masked(error.message), remedy=error.remedy) from None
        return answer.text

    def _masked(self, words: str) -> str:
        for secret in (self.password, self.handover.secret_key):
            if secret:
                words = words.replace(secret, "***")
        return words
