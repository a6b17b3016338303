"""A PostgreSQL database as a part: its dump, the server's roles, and counts that prove both.

    database.dump   custom format, of one moment
    globals.sql     roles, without passwords (a dump of a database leaves them out)

A restore makes `<name>__restore_<word>` beside the live database, compares every count, and renames both in
one transaction; the old one stays as `<name>__before_<word>`. Passwords are never backed up: they come from
the stack's secrets.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ops_pipelines.engines._blobs import file_digest
from ops_pipelines.engines.parts._names import free_before, place_of
from ops_pipelines.engines.ports import Capture, Captured, Fetch, Progress
from ops_pipelines.errors import OpsError, PartFailed
from ops_pipelines.policy.databases import (
    DatabaseState,
    differences,
    from_facts,
    word_of,
)
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.probes import AnswerTooLarge, Rows, compared, kept

DUMP, ROLES = "database.dump", "globals.sql"


class DatabaseServer(Protocol):
    """What a database part asks of its server's adapter (adapters/postgres.py)."""

    @property
    def at(self) -> str: ...
    def major(self) -> int: ...
    def databases(self) -> tuple[str, ...]: ...
    def state(self, database: str) -> DatabaseState: ...
    def dump(
        self,
        database: str,
        dump: Path,
        roles: Path,
        counted: Callable[[int], None],
        probes: Mapping[str, str],
    ) -> tuple[DatabaseState, dict[str, Rows]]: ...
    def ask(self, database: str, query: str) -> Rows: ...
    def create_roles(self, roles_dump: str, wanted: tuple[str, ...]) -> tuple[str, ...]: ...
    def restore(self, database: str, dump: Path, like: DatabaseState) -> None: ...
    def drop(self, database: str) -> None: ...
    def swap(self, live: str, place: str, before: str) -> None: ...


@dataclass(frozen=True)
class DatabaseSource:
    """One database, as a backup sees it. `name` is the part's, `database` the server's."""

    name: str
    database: str
    server: DatabaseServer
    needs: Sequence[str] = ()
    """Secrets without which its rows cannot be read."""
    probes: Mapping[str, str] = field(default_factory=dict)
    """Questions, by name, whose answers are kept and asked for again of what was restored."""
    kind: str = "database"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """Dump it and count its rows, both in one snapshot of the server's."""
        dump, roles = scratch / DUMP, scratch / ROLES
        with _watched(dump, f"dump {self.database}", progress):
            state, answers = self.server.dump(
                self.database,
                dump,
                roles,
                lambda rows: progress(f"count {self.database}", rows, None, "rows"),
                self.probes,
            )
        files = tuple(
            Captured(FileEntry(path.name, path.stat().st_size, file_digest(path), 0o600), path)
            for path in (dump, roles)
        )
        if empty := [one.entry.path for one in files if not one.entry.size]:
            raise PartFailed(
                f"database/{self.name}: {empty[0]} is empty",
                remedy=f"look what is wrong with {self.server.at}",
            )
        facts = {**state.to_facts(), "database": self.database, "needs": list(self.needs),
                 "probes": kept_probes(self.name, self.probes, answers)}  # fmt: skip
        return Capture(files, facts, "quiesced")


@dataclass(frozen=True)
class DatabaseTarget:
    """One database that is restored to, on the server that holds it."""

    name: str
    database: str
    server: DatabaseServer
    scratch: Path
    """Folder for the dump while it is restored."""
    kind: str = "database"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """The database that would be made, and what it would replace."""
        state, place = self._state(part), place_of(self.database, into or _word(part))
        rows = f"{state.rows} rows in {len(state.tables)} tables"
        steps = [Step("create", part.key, f"the database {place}: {rows}", part.size)]
        if needs := part.facts.get("needs"):
            detail = f"its rows can only be read with the secrets in use then: {', '.join(needs)}"
            steps.append(Step("check", part.key, detail))
        if into is not None:
            steps.append(Step("keep", part.key, f"{place} is for looking at: a later restore removes it"))
        elif self.database in self.server.databases():
            kept = free_before(self.database, place, self.server.databases())
            detail = f"{self.database}: clients are disconnected once; the old one is kept as {kept}"
            steps.append(Step("switch", part.key, detail))
        else:
            steps.append(Step("switch", part.key, f"{self.database}, which is not there now"))
        return tuple(steps)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Restore into a new database beside the live one and return its name; `into` is a word of it.

        Roles that are missing on the server are made, without passwords. What an earlier, killed call left of
        the place is dropped first. Raises PartFailed where the server is older than the one dumped."""
        state, place = self._state(part), place_of(self.database, into or _word(part))
        self._require_version(part, state)
        folder = self.scratch / place
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True, mode=0o700)
            files = {entry.path: entry for entry in part.files}
            for number, path in enumerate((DUMP, ROLES)):
                progress(f"fetch {self.database}", number, 2, "files")
                fetch(files[path], folder / path)
            self.server.drop(place)
            self.server.create_roles((folder / ROLES).read_text(encoding="utf-8"), state.roles)
            progress(f"restore {self.database}", 0, state.rows, "rows")
            self.server.restore(place, folder / DUMP, state)
            progress(f"restore {self.database}", state.rows, state.rows, "rows")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return place

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:  # noqa: ARG002 - all is counted
        """Tables, exact row counts and extensions against those of the dump."""
        try:
            found = self.server.state(place_of(self.database, place))
        except OpsError as error:
            return (Finding(part.key, None, error.message, error.remedy),)
        state = self._state(part)
        findings = [
            Finding(f"{part.key}: {one.subject}", False, one.message, "restore again, or another snapshot",
                    "error" if one.severe else "warning")
            for one in differences(state, found)
        ]  # fmt: skip
        if not any(finding.severity == "error" for finding in findings):
            counted = f"{found.rows} rows in {len(found.tables)} tables: as recorded"
            findings.insert(0, Finding(part.key, True, counted))
        return (*findings, *probe_findings(part, self.server.ask, place_of(self.database, place)))

    def switch(self, part: Part, place: str) -> str:  # noqa: ARG002 - the place says all
        """Rename the place to the live name, in the transaction in which the old one makes room."""
        place = place_of(self.database, place)
        there = self.server.databases()
        if place not in there:
            raise PartFailed(f"the database {place} is not there to be switched to", remedy="restore again")
        before = free_before(self.database, place, self.server.databases())
        self.server.swap(self.database, place, before)
        return before if self.database in there else ""

    def discard(self, place: str) -> None:
        """Drop a place that `stage` made. Any other database is refused."""
        if word_of(self.database, place) is None:
            raise PartFailed(
                f"{place} is no database that a restore of {self.database} made",
                remedy="drop it by hand if it is not needed",
            )
        self.server.drop(place)

    def leftovers(self) -> tuple[str, ...]:
        """Databases that an earlier restore or drill staged and nobody switched to."""
        return tuple(name for name in self.server.databases() if word_of(self.database, name) is not None)

    def _state(self, part: Part) -> DatabaseState:
        try:
            return from_facts(part.facts)
        except ValueError as error:
            raise PartFailed(f"{part.key}: {error}", remedy="restore another snapshot") from error

    def _require_version(self, part: Part, state: DatabaseState) -> None:
        here = self.server.major()
        if state.major > here:
            raise PartFailed(
                f"{part.key} was dumped from PostgreSQL {state.major}, and {self.server.at} is version {here}: "
                "a dump goes into the same version or a newer one",
                remedy=f"start a PostgreSQL {state.major} or newer and restore there",
            )


def kept_probes(
    name: str, questions: Mapping[str, str], answers: Mapping[str, Rows | None]
) -> dict[str, object]:
    """Probes as a part's fact. Raises PartFailed where an answer is too large to keep."""
    try:
        return kept(questions, answers)
    except AnswerTooLarge as error:
        raise PartFailed(
            f"database/{name}: {error}", remedy="ask for counts and sums, and order the rows"
        ) from error


def probe_findings(part: Part, ask: Callable[[str, str], Rows], place: str) -> list[Finding]:
    """Each probe of a part, asked of what was restored."""
    findings = []
    for name, one in sorted(part.facts.get("probes", {}).items()):
        try:
            rows = ask(place, one["sql"])
        except OpsError as error:
            findings.append(Finding(f"{part.key}: probe {name}", False, error.message, error.remedy))
            continue
        findings.append(compared(part.key, name, one["answer"], rows))
    return findings


def _word(part: Part) -> str:
    """Word of a place that nobody named: the same for the same content."""
    lines = sorted(f"{entry.path}\0{entry.sha256}\n" for entry in part.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


@contextmanager
def _watched(path: Path, step: str, progress: Progress) -> Iterator[None]:
    """Tell every second how large a file has become."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            if path.exists():
                progress(step, path.stat().st_size, None, "bytes")

    watcher = threading.Thread(target=watch, name="dump-size", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
