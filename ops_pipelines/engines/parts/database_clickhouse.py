"""A ClickHouse database as a part: the files of its own BACKUP, and counts of rows that they carry themselves.

The server writes them below a staging prefix of a bucket that both reach; from there they go, each under its
digest, into the snapshot, so that a table's part that did not change is not stored again. A restore puts them
there again, and the server makes `<name>__restore_<word>` of them. The switch is two renames, then the views,
which keep the old name in their text, are made to refer to the new one. RENAME DATABASE takes one pair
at a time, and there is no EXCHANGE DATABASES (EXCHANGE TABLES takes one pair of tables, and would leave a mixture):
killed in between, the live name is gone until the same restore is run again, which goes on. A server that was
restarted meanwhile has made an empty `default` anew.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.parts._names import free_before, place_of
from ops_pipelines.engines.parts.database import kept_probes, probe_findings
from ops_pipelines.engines.ports import Capture, Captured, Fetch, ObjectStore, Progress
from ops_pipelines.errors import OpsError, PartFailed
from ops_pipelines.policy.clickhouse_backups import BackupState, differences, read_backup, state_from_facts
from ops_pipelines.policy.databases import before_name, word_of
from ops_pipelines.policy.manifest import FileEntry, Part, safe_path
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.probes import Rows

_WORKERS = 8


class ClickHouseServer(Protocol):
    """What the part asks of its server's adapter (adapters/clickhouse.py)."""

    @property
    def at(self) -> str: ...
    def version(self) -> str: ...
    def databases(self) -> tuple[str, ...]: ...
    def tables(self, database: str) -> dict[str, int | None]: ...
    def back_up(self, database: str, key: str, progress: Callable[[int], None]) -> None: ...
    def restore(self, database: str, place: str, key: str, progress: Callable[[int], None]) -> None: ...
    def settle(self, key: str) -> None: ...
    def start_merges(self, database: str) -> None: ...
    def rename(self, database: str, new: str) -> None: ...
    def detach_views(self, database: str) -> None: ...
    def hidden(self, database: str) -> tuple[str, ...]: ...
    def point_views(self, database: str, old: str) -> None: ...
    def drop(self, database: str) -> None: ...
    def ask(self, database: str, query: str) -> Rows: ...


@dataclass(frozen=True)
class Staging:
    """A prefix of a bucket, with its slash, that this project and the server both reach."""

    store: ObjectStore
    prefix: str

    def clear(self, below: str) -> None:
        """Remove what lies there."""
        keys = [info.key for info in self.store.list(f"{self.prefix}{below}/")]
        for start in range(0, len(keys), 500):
            self.store.delete(keys[start : start + 500])

    def bring(self, below: str, folder: Path, progress: Callable[[int], None]) -> list[Captured]:
        """Copy all that lies there to a folder, with digests."""
        root, done = f"{self.prefix}{below}/", 0

        def one(key: str) -> Captured:
            nonlocal done
            path = str(safe_path(key.removeprefix(root)))
            target, digest = folder / path, hashlib.sha256()
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                for piece in self.store.stream(key):
                    digest.update(piece)
                    file.write(piece)
                    done += len(piece)
                    progress(done)
                size = file.tell()
            return Captured(FileEntry(path, size, digest.hexdigest(), 0o600), target)

        return in_parallel(one, [info.key for info in self.store.list(root)], workers=_WORKERS)

    def send(self, below: str, entries: Sequence[FileEntry], fetch: Fetch, folder: Path) -> None:
        """Put files there, each by way of a folder."""

        def one(entry: FileEntry) -> None:
            path = folder / safe_path(entry.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(entry, path)
            key = f"{self.prefix}{below}/{entry.path}"
            self.store.put_file(key, path, sha256=entry.sha256, progress=lambda _: None)
            path.unlink()

        in_parallel(one, entries, workers=_WORKERS)


@dataclass(frozen=True)
class ClickHouseSource:
    """One database, as a backup sees it."""

    name: str
    database: str
    server: ClickHouseServer
    staging: Staging
    needs: Sequence[str] = ()
    probes: Mapping[str, str] = field(default_factory=dict)
    """Questions whose answers are kept, where they are the same before the backup and after it."""
    kind: str = "database"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Let the server write its backup, bring it here, and count the rows that it holds."""
        below = "backup"
        if self.database not in self.server.databases():
            raise PartFailed(f"database/{self.name}: {self.server.at} has no database {self.database}",
                             remedy=f"set databases.{self.name}.name")  # fmt: skip
        before = self._answers()
        self.server.settle(f"{self.staging.prefix}{below}")
        self.staging.clear(below)  # what a killed run left: the server writes nothing over it
        try:
            self.server.back_up(
                self.database,
                f"{self.staging.prefix}{below}",
                lambda done: progress(f"back up {self.database}", done, None, "bytes"),
            )
            files = self.staging.bring(
                below, scratch, lambda done: progress(f"read {self.database}", done, None, "bytes")
            )
        finally:
            self.staging.clear(below)
        try:
            paths = [one.entry.path for one in files]
            state = read_backup(paths, lambda path: (scratch / path).read_text(encoding="utf-8"),
                                database=self.database, server=self.server.version())  # fmt: skip
        except (ValueError, OSError) as error:
            raise PartFailed(f"database/{self.name}: what {self.server.at} wrote is no whole backup: {error}",
                             remedy="try again; look into the server's log")  from error  # fmt: skip
        answers = {name: rows if rows == before[name] else None for name, rows in self._answers().items()}
        facts = {**state.to_facts(), "database": self.database, "needs": list(self.needs),
                 "probes": kept_probes(self.name, self.probes, answers)}  # fmt: skip
        return Capture(tuple(files), facts, "fuzzy")

    def _answers(self) -> dict[str, Rows]:
        return {name: self.server.ask(self.database, sql) for name, sql in self.probes.items()}


@dataclass(frozen=True)
class ClickHouseTarget:
    """One database that is restored to, on the server that holds it."""

    name: str
    database: str
    server: ClickHouseServer
    staging: Staging
    scratch: Path
    """Folder for files on their way."""
    kind: str = "database"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """The database that would be made, and what it would replace."""
        state, place = _state(part), place_of(self.database, into or _word(part))
        rows = f"{state.rows} rows in {len(state.tables)} tables and views"
        steps = [Step("create", part.key, f"the database {place}: {rows}", part.size)]
        if needs := part.facts.get("needs"):
            detail = f"its rows can only be read with the secrets in use then: {', '.join(needs)}"
            steps.append(Step("check", part.key, detail))
        if into is not None:
            steps.append(Step("keep", part.key, f"{place} is for looking at: a later restore removes it"))
        elif self.database in self.server.databases():
            old = free_before(self.database, place, self.server.databases())
            kept = f"the old one is kept as {old}, its materialized views detached"
            detail = f"{self.database}: not there for a moment; stop what writes into it; {kept}"
            steps.append(Step("switch", part.key, detail))
        else:
            steps.append(Step("switch", part.key, f"{self.database}, which is not there now"))
        return tuple(steps)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Let the server restore into a new database, and count every row before merges may drop any."""
        state, place = _state(part), place_of(self.database, into or _word(part))
        origin, folder = str(part.facts["database"]), self.scratch / place
        self.server.settle(f"{self.staging.prefix}{place}")
        self.server.drop(place)
        self.staging.clear(place)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True, mode=0o700)
            progress(f"send {self.database}", 0, part.size, "bytes")
            self.staging.send(place, part.files, fetch, folder)
            self.server.restore(
                origin,
                place,
                f"{self.staging.prefix}{place}",
                lambda done: progress(f"restore {self.database}", done, part.size, "bytes"),
            )
            if different := differences(state, self.server.tables(place), fresh=True):
                table, how = different[0]
                raise PartFailed(
                    f"{part.key}: the restored table {table} {how}", remedy="restore another snapshot"
                )
            self.server.start_merges(place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.staging.clear(place)
        if hidden := self.server.hidden(place):
            raise PartFailed(
                f"{part.key}: {', '.join(hidden)} name a secret, which {self.server.at} does not show, so they could "
                "not follow the database to its name",
                remedy="let the user see them (display_secrets_in_show_and_select), or drop them before the backup",
            )
        return place

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:  # noqa: ARG002 - all is counted
        """Tables, views and row counts against those of the backup. Merges may have dropped rows since, where
        the engine does that; every count was compared before they could."""
        state = _state(part)
        try:
            place = place_of(self.database, place)
            if place not in self.server.databases():
                return (Finding(part.key, None, f"the database {place} is not there", "restore again"),)
            found = self.server.tables(place)
        except OpsError as error:
            return (Finding(part.key, None, error.message, error.remedy),)
        bad = [Finding(f"{part.key}: {table}", False, how, "restore again, or another snapshot")
               for table, how in differences(state, found, fresh=False)]  # fmt: skip
        counted = sum(one.rows is not None for one in state.tables.values())
        words = f"{state.rows} rows in {counted} tables: as recorded"
        good = [] if bad else [Finding(part.key, True, words)]
        return (*good, *bad, *probe_findings(part, self.server.ask, place))

    def switch(self, part: Part, place: str) -> str:  # noqa: ARG002 - the place says all
        """Rename the live database away and the place to its name, and let the views follow."""
        place = place_of(self.database, place)
        there = self.server.databases()
        if place not in there:
            raise PartFailed(f"the database {place} is not there to be switched to", remedy="restore again")
        kept = self._interrupted(place)
        if kept and self.database in there:
            self.server.drop(self.database)
        elif self.database in there:
            kept = free_before(self.database, place, self.server.databases())
            self.server.rename(self.database, kept)
        if kept:
            self.server.detach_views(kept)
        self.server.rename(place, self.database)
        self.server.point_views(self.database, place)
        return kept

    def discard(self, place: str) -> None:
        """Drop a place that `stage` made. Any other database is refused."""
        if word_of(self.database, place) is None:
            raise PartFailed(f"{place} is no database that a restore of {self.database} made",
                             remedy="drop it by hand if it is not needed")  # fmt: skip
        self.server.drop(place)
        self.staging.clear(place)

    def leftovers(self) -> tuple[str, ...]:
        """Databases that an earlier restore or drill staged and nobody switched to."""
        return tuple(name for name in self.server.databases() if word_of(self.database, name) is not None)

    def _interrupted(self, place: str) -> str:
        """Where a switch that was killed between its two renames put the old database: the live one is gone, or an
        empty one was made in its place."""
        there, name = self.server.databases(), before_name(self.database, word_of(self.database, place) or "")
        if name not in there or (self.database in there and self.server.tables(self.database)):
            return ""
        return name


def _state(part: Part) -> BackupState:
    try:
        return state_from_facts(part.facts)
    except ValueError as error:
        raise PartFailed(f"{part.key}: {error}", remedy="restore another snapshot") from error


def _word(part: Part) -> str:
    lines = sorted(f"{entry.path}\0{entry.sha256}\n" for entry in part.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
