"""Where a collection is restored to: a new one beside the live one, and one step from the old to the new.

docs                     what clients use: an alias
docs__1                  what it points at
docs__restore_<word>     a copy that a restore or a drill made: never live, and may be removed
docs__at_<word>          a copy that went live, so that nothing takes it for a leftover later
docs__before_<word>      a collection that bore the name itself and made room for the alias
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from ops_pipelines.engines.parts._collection_check import check_place
from ops_pipelines.engines.parts._collection_choice import Choice, Picked, schema_of
from ops_pipelines.engines.parts._collection_fill import (
    BulkImport,
    Filling,
    Importing,
    Inserting,
    NotImported,
)
from ops_pipelines.engines.parts._row_merge import rows_of
from ops_pipelines.engines.ports import Fetch, Progress, VectorStore
from ops_pipelines.errors import (
    FormatTooNew,
    PartFailed,
    Refused,
    SchemaMismatch,
    SnapshotDamaged,
    UsageError,
)
from ops_pipelines.policy.bulk_import import obstacle
from ops_pipelines.policy.collection_schema import SCHEMA_FILE, SchemaFile, decode_schema
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.rowfiles import kind_of
from ops_pipelines.policy.schema_drift import check_name
from ops_pipelines.policy.vectors import ROWS, CollectionSchema

_log = structlog.get_logger()
_STAGED = "__restore_"


@dataclass(frozen=True)
class CollectionTarget:
    """One collection of a server. `name` is what clients use."""

    name: str
    store: VectorStore
    scratch: Path
    """Folder for one file of rows at a time."""
    batch: int = 1000
    choice: Choice = field(default_factory=Choice)
    """Rows that are meant; all, where nothing is said."""
    kind: str = "collection"
    bulk: BulkImport | None = None
    """How the server is given files that it reads by itself; None: rows are inserted."""
    _picked: dict[str, Part] = field(default_factory=dict, init=False, compare=False)
    _filled: dict[str, Finding] = field(default_factory=dict, init=False, compare=False)
    """How the rows came into a place, where that is worth a word."""

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """What would be created, with the bytes that are fetched, and what the name would point at."""
        self._refuse(part, into)
        self.choice.shape(schema_of(part))
        place = self._place(into or _word(part))
        rows = f"{self.choice.count(part)} rows{self.choice.words}"
        size = sum(entry.size for entry in part.files if self.choice.means(entry.path))
        way = self._obstacle(part, schema_of(part))
        way = (
            f"inserted ({way})"
            if way or self.bulk is None
            else f"by bulk import through {self.bulk.depot.name}"
        )
        steps = [Step("create", part.key, f"{place}: {rows}, {way}, indexed and loaded", size)]
        if into is not None:
            detail = f"{place} is for looking at: a later restore removes it"
            return (*steps, Step("keep", part.key, detail))
        live = self._live()
        if live is None:
            return (*steps, Step("switch", part.key, f"{self.name} -> the new collection; there was none"))
        where = f"{live}, which is kept" if live != self.name else f"{self._before(part)}, its new name"
        return (
            *steps,
            Step("switch", part.key, f"{self.name} -> the new collection; the old one stays {where}"),
        )

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Create the place, fill it, index it, load it, and return its name.

        `into` is a word for its name. What an earlier, killed call left of it is dropped first. Raises
        PartFailed where the part holds no schema, SchemaMismatch where the server lacks what it needs."""
        check_name(self.name)
        self._refuse(part, into)
        place = self._place(into or _word(part))
        self.scratch.mkdir(parents=True, exist_ok=True)
        kept = self._schema(part, fetch)
        done = self._fill(part, place, kept.schema, fetch, progress)
        self._index(place, kept.schema)
        self.store.load(place)
        _log.info("collection staged", collection=place, rows=done)
        return place

    def _fill(
        self, part: Part, place: str, schema: CollectionSchema, fetch: Fetch, progress: Progress
    ) -> int:
        """Create the place and fill it: by bulk import where that goes, else, or where that fails, by insert."""
        self._filled.pop(place, None)
        why = self._obstacle(part, schema)
        if self.bulk is not None and not why:
            importing = Importing(self.store, place, schema, self.bulk, self.scratch)
            try:
                done = self._pour(part, place, schema, importing, fetch, progress)
            except NotImported as error:
                why = f"the bulk import failed ({error.message}), so rows were inserted"
                _log.warning("bulk import failed", collection=place, error=error.message)
                self._filled[place] = Finding(part.key, False, why, error.remedy, "warning")
            else:
                self._filled[place] = Finding(part.key, True, importing.words)
                return done
            finally:
                importing.close()
        elif self.bulk is not None:
            self._filled[place] = Finding(part.key, True, f"rows were inserted: {why}")
        return self._pour(part, place, schema, Inserting(self.store, place, schema), fetch, progress)

    def _pour(
        self,
        part: Part,
        place: str,
        schema: CollectionSchema,
        filling: Filling,
        fetch: Fetch,
        progress: Progress,
    ) -> int:
        """All rows that are meant into a new, empty place. What was there is dropped: never are two halves mixed."""
        if self.store.state(place) is not None:
            self.store.drop(place)
        self.store.create(place, self.choice.shape(schema), given_keys=True)
        picked = Picked(self.choice, schema)
        done, total = 0, part.facts.get("rows")
        progress(f"restore {self.name}", done, total, "rows")
        fetched = _Fetched(self.scratch, place, fetch)
        held = {kind[1] for entry in part.files if (kind := kind_of(entry.path)) is not None}
        for partition in sorted(held):
            if self.choice.partitions and partition not in self.choice.partitions:
                continue
            for path, batch in rows_of(part, partition, schema, fetched, batch=self.batch):
                meant = picked.take(path, batch) if self.choice else batch
                filling.add(partition, meant)
                done += len(meant)
                progress(f"restore {self.name}", done, total, "rows")
        filling.end()
        if self.choice:
            self._picked[place] = picked.part(part)
        return done

    def _obstacle(self, part: Part, schema: CollectionSchema) -> str:
        """Why rows are inserted; empty where the server is to read them from files."""
        if self.bulk is None:
            return "no `bulk_import` is declared"
        rows = part.facts.get("rows")
        return obstacle(
            schema, rows if isinstance(rows, int) else None, self.store.version(), self.bulk.least
        )

    def _index(self, place: str, schema: CollectionSchema) -> None:
        """Build the indexes. One of a scalar field only makes filters faster: a server without it goes on."""
        vectors = {field.name for field in schema.fields if field.type.endswith("_vector")}
        wanted = {name: index for name, index in schema.indexes.items() if name in vectors}
        self.store.build_indexes(place, replace(schema, indexes=wanted))
        for name, index in schema.indexes.items():
            if name not in vectors:
                try:
                    self.store.build_indexes(place, replace(schema, indexes={name: index}))
                except (SchemaMismatch, Refused) as error:
                    _log.warning("index not built", collection=place, field=name, error=error.message)

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """Schema and count against the part; then every row (`full`), or the kept sample of them, bit for bit."""
        staged = self._place(place)
        if self.choice and staged not in self._picked:
            words = f"{staged} was filled by another run with a choice of rows that is not known here"
            return (Finding(part.key, None, words, "restore again"),)
        held = self._picked[staged] if self.choice else part
        how = (self._filled[staged],) if staged in self._filled else ()
        return (*how, *check_place(self.store, held, staged, full=full, batch=self.batch))

    def _refuse(self, part: Part, into: str | None) -> None:
        """A choice of rows never takes the place of all, nor a new name that of a collection that is there.

        What is kept in another way than as rows is for another target."""
        if (mode := part.facts.get("mode", ROWS)) != ROWS:
            raise FormatTooNew(
                f"{part.key} is kept as {mode}, which this version cannot restore",
                remedy="upgrade ops-pipelines to the version that wrote the snapshot, or a later one",
            )
        if into is not None:
            return
        if self.choice and self.name == part.name:
            raise UsageError(
                f"some rows of {part.name} would take the place of all",
                remedy="name where they go: `--as NAME` for a collection of their own, `--into WORD` to look at them",
            )
        if self.name != part.name and self._live() is not None:
            raise UsageError(
                f"there is a collection {self.name} already", remedy="choose another name in `--as`"
            )

    def switch(self, part: Part, place: str) -> str:
        """Point the name at the place, and say where the old collection is kept (empty: there was none).

        The alias moves in one step. Only where the name is a collection's own, and no alias yet, are there two:
        the collection is renamed away, then the alias made; killed in between, the same call does the rest."""
        staged = self._place(place)
        if self.store.state(staged) is None:
            raise PartFailed(
                f"{staged} is not there to be switched to", remedy="restore again: that makes a new one"
            )
        fresh = self._free(f"{self.name}__at_{staged.split(_STAGED, 1)[1]}")
        self.store.rename(staged, fresh)
        self.store.load(fresh)
        old = self._live()
        if old == self.name:
            old = self._before(part)
            self.store.rename(self.name, old)
        self.store.point_alias(self.name, fresh)
        self._move_others(part, fresh)
        _log.info("collection switched", collection=self.name, now=fresh, kept=old or "")
        return old or ""

    def _move_others(self, part: Part, fresh: str) -> None:
        """The collection's other aliases follow, but for those that now point at a collection of another name."""
        known = self.store.aliases()
        for alias in part.facts.get("schema", {}).get("aliases", ()):
            now = known.get(alias, self.name)
            ours = now == self.name or now.startswith(f"{self.name}__")
            if alias != self.name and ours and now != fresh and alias not in self.store.collections():
                self.store.point_alias(alias, fresh)

    def discard(self, place: str) -> None:
        """Drop a place that `stage` made; one that is not there is nothing. Refuses what is live."""
        staged = self._place(place)
        if place in (self.name, self._live()) or staged in self.store.aliases().values():
            raise Refused(
                f"{place} is live: it is what clients use as {self.name}",
                remedy="name a place that a restore made (its name holds `__restore_`)",
            )
        if self.bulk is not None:
            self.bulk.depot.clear(staged)
        if self.store.state(staged) is not None:
            self.store.drop(staged)

    def leftovers(self) -> tuple[str, ...]:
        """Places that a restore or a drill made and nobody switched to."""
        live = set(self.store.aliases().values())
        return tuple(
            name
            for name in self.store.collections()
            if name.startswith(self.name + _STAGED) and name not in live
        )

    def _place(self, word: str) -> str:
        """The collection that a word, or a place's own name, means."""
        word = word.removeprefix(self.name + _STAGED)
        return check_name(self.name + _STAGED + re.sub(r"[^A-Za-z0-9_]", "_", word))

    def _live(self) -> str | None:
        """Physical collection that clients reach by the name; the name itself where it is no alias."""
        known = self.store.aliases().get(self.name)
        return known or (self.name if self.name in self.store.collections() else None)

    def _before(self, part: Part) -> str:
        return self._free(f"{self.name}__before_{_word(part)}")

    def _free(self, name: str) -> str:
        """The name, numbered where it is taken: a collection that is kept is never put in the shade."""
        taken = set(self.store.collections())
        number = 1
        while (free := name if number == 1 else f"{name}_{number}") in taken:
            number += 1
        return free

    def _schema(self, part: Part, fetch: Fetch) -> SchemaFile:
        entry = next((entry for entry in part.files if entry.path == SCHEMA_FILE), None)
        if entry is None:
            raise SnapshotDamaged(
                f"{part.key} holds no {SCHEMA_FILE}", remedy="restore from another snapshot"
            )
        return decode_schema(self._fetched(entry, fetch), where=part.key)

    def _fetched(self, entry: FileEntry, fetch: Fetch) -> bytes:
        file = self.scratch / f"{_digest(self.name)}.json"
        try:
            fetch(entry, file)
            return file.read_bytes()
        finally:
            file.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Fetched:
    """Brings a file of rows into the scratch folder for as long as it is read; several lie there side by side."""

    folder: Path
    place: str
    fetch: Fetch

    @contextmanager
    def __call__(self, entry: FileEntry) -> Iterator[Path]:
        file = self.folder / f"{self.place}.{entry.sha256[:16]}.parquet"
        try:
            self.fetch(entry, file)
            yield file
        finally:
            file.unlink(missing_ok=True)


def _word(part: Part) -> str:
    """Word for the place of a restore that names none: the same for the same content."""
    facts: Mapping[str, Any] = part.facts
    return _digest(f"{facts.get('digest')}{[entry.sha256 for entry in part.files]}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
