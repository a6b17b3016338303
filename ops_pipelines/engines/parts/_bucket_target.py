"""Where the objects of a bucket are restored to.

S3 has no rename: what differs is staged beside the prefix and checked, and then copied over inside the store,
object by object. The list of it lies in the bucket itself until all is done, so that a restore that was killed is
finished by the next one. Objects that a restore replaces are copied aside first, and objects that the snapshot does
not hold stay.

    events/...                     the live objects
    events.restore-WORD/...        what was staged
    events.restores/WORD.json      what is to be written, and how far the switch has come
    events.before-WORD/...         the objects that were replaced
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from ops_pipelines.engines._blobs import in_parallel
from ops_pipelines.engines.parts.bucket import Memory, Objects
from ops_pipelines.engines.ports import Fetch, Progress
from ops_pipelines.errors import ObjectMissing, PartFailed
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.objects import (
    Differences,
    beside,
    differences,
    digest_lines,
    headers_of,
    is_ours,
)
from ops_pipelines.policy.paths import decoded_key
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.store import ObjectInfo

_BATCH = 1000

Item = TypeVar("Item")


@dataclass(frozen=True)
class BucketNote:
    """What is known of a place that was made."""

    part: str
    """Digest of what is staged there."""
    staged: tuple[str, ...] = ()
    """Keys below the prefix that are to be written, once all are staged."""
    same: tuple[tuple[str, str], ...] = ()
    """Keys that were right already, with their ETags."""
    whole: bool = False
    before: str = ""
    """Prefix that replaced objects are copied to; from when a switch began."""
    replaced: tuple[str, ...] = ()
    """Keys that had another object when the switch began."""
    done: bool = False
    """True once all is copied: what was staged may be gone."""


@dataclass(frozen=True)
class BucketTarget:
    """The objects below one prefix. A place is a prefix without its last `/`: `events.restore-WORD`. One that has
    a `/` and is not beside the prefix is a copy elsewhere in the bucket, and is never switched."""

    name: str
    objects: Objects
    prefix: str
    memory: Memory
    scratch: Path
    kind: str = "bucket"

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """Which objects would be written."""
        if into is not None:
            where = f"{len(part.files)} objects to {self._place(into)}/"
            return (Step("fetch", part.key, where, part.size),)
        found = self._differences(part)
        size = sum(entry.size for entry in found.needed)
        detail = f"{len(found.missing)} missing and {len(found.other)} other objects of {self.objects.name}"
        steps = [Step("fetch", part.key, detail, size)]
        if found.same:
            steps.append(Step("keep", part.key, f"{len(found.same)} objects are right already"))
        if found.beside:
            words = f"{found.beside} objects below {self.prefix!r} that the snapshot does not hold stay"
            steps.append(Step("keep", part.key, words))
        if found.needed:
            words = f"{self.prefix or 'the bucket'}; replaced objects are copied aside"
            steps.append(Step("switch", part.key, words))
        return tuple(steps)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Bring what differs (of a named place: everything) beside the prefix. Called again it goes on."""
        place = self._place(into or _digest(part)[:12])
        note = self._note(place)
        if note is not None and note.before:
            self._finish(place, note)
            note = None
        if note is None and next(iter(self.objects.list(f"{place}/")), None) is not None:
            raise PartFailed(
                f"{place}/ in {self.objects.name} is not empty, and nothing says that a restore made it",
                remedy="name another place, or move what is there away",
            )
        if note is not None and note.part != _digest(part):
            self.discard(place)
        self._write(place, BucketNote(_digest(part)))
        live = self._live()
        found = self._differences(part, live) if into is None else Differences(part.files, (), (), 0)
        there = {info.key: info.size for info in self.objects.list(f"{place}/")}
        self.scratch.mkdir(parents=True, exist_ok=True)
        done, total = 0, sum(entry.size for entry in found.needed)

        def bring(numbered: tuple[int, FileEntry]) -> int:
            number, entry = numbered
            key = f"{place}/{decoded_key(entry.path)}"
            if there.get(key) != entry.size or not self._is_right(key, entry):
                path = self.scratch / f"object-{number}"
                try:
                    fetch(entry, path)
                    self.objects.write(key, path, entry.sha256, headers_of(part, entry.path))
                finally:
                    path.unlink(missing_ok=True)
            return entry.size

        for batch in _batches(list(enumerate(found.needed))):
            done += sum(in_parallel(bring, batch))
            progress(f"stage {place}", done, total, "bytes")
        same = tuple(
            (key, live[self.prefix + key].etag) for key in (decoded_key(entry.path) for entry in found.same)
        )
        staged = tuple(decoded_key(entry.path) for entry in found.needed)
        self._write(place, BucketNote(_digest(part), staged, same, whole=True))
        return place

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """Every staged object against the manifest (`full`: read back where the store keeps no SHA-256), and
        whether those that were right already still are the same ones."""
        note = self._note(place)
        if note is None or not note.whole or note.part != _digest(part):
            remedy = "restore again"
            return (Finding(part.key, False, f"{place}/ does not hold {part.key} whole", remedy),)
        entries = {decoded_key(entry.path): entry for entry in part.files}
        checked = [entries[key] for key in note.staged if key in entries]

        def look(entry: FileEntry) -> Finding | None:
            key = f"{place}/{decoded_key(entry.path)}"
            if self._is_right(key, entry, read=full):
                return None
            return Finding(part.key, False, f"{key} is not what the snapshot holds", "restore again")

        findings = [one for one in in_parallel(look, checked) if one is not None]
        live = self._live() if note.same else {}
        for key, etag in note.same:
            found = live.get(self.prefix + key)
            if found is None or found.etag != etag:
                words = f"{self.prefix}{key} was written while the restore went on"
                findings.append(Finding(part.key, False, words, "stop the writer, and restore again"))
        if not findings:
            said = f"{len(note.staged)} objects in {place}/ match, {len(note.same)} were right already"
            findings.append(Finding(part.key, True, said))
        return tuple(findings)

    def switch(self, part: Part, place: str) -> str:
        """Copy what was staged over the prefix, what it replaces aside, and say where that is kept.

        After a crash the same call does what is left."""
        note = self._note(place)
        if not self._is_beside(place) or note is None or not note.whole or note.part != _digest(part):
            raise PartFailed(
                f"{place}/ does not hold {part.key} whole beside {self.prefix!r}",
                remedy="restore again without naming a place; a named prefix is a copy and is not switched",
            )
        return self._finish(place, note)

    def discard(self, place: str) -> None:
        """Delete a staged place. Where its switch has begun, it is finished: nothing live is deleted."""
        note = self._note(place)
        if note is None:
            raise PartFailed(
                f"{place}/ in {self.objects.name} was not made by a restore and is not deleted",
                remedy="delete it by hand if nobody misses it",
            )
        if note.before:
            self._finish(place, note)
            return
        self._delete(info.key for info in self.objects.list(f"{place}/"))
        self.objects.delete([self._note_key(place)])

    def leftovers(self) -> tuple[str, ...]:
        """Places that an earlier restore or drill left."""
        top = f"{self.prefix.rstrip('/')}.restores/"
        names = (info.key.removeprefix(top) for info in self.objects.list(top))
        words = (name.removesuffix(".json") for name in names if name.endswith(".json") and "/" not in name)
        return tuple(beside(self.prefix, word, "restore")[:-1] for word in words)

    def _finish(self, place: str, note: BucketNote) -> str:
        if not note.before:
            live = self._live()
            replaced = tuple(key for key in note.staged if self.prefix + key in live)
            note = replace(note, before=self._free(place), replaced=replaced)
            self._write(place, note)
        if not note.done:
            self._copy_over(place, note)
            self._write(place, replace(note, done=True))
        # The note goes last: without it, what is staged would be nobody's.
        self._delete(info.key for info in self.objects.list(f"{place}/"))
        self.objects.delete([self._note_key(place)])
        if not note.replaced:
            return ""
        return f"{len(note.replaced)} replaced objects in {note.before} of {self.objects.name}"

    def _copy_over(self, place: str, note: BucketNote) -> None:
        aside = {info.key for info in self.objects.list(note.before)}
        replaced_keys = frozenset(note.replaced)

        def put(key: str) -> None:
            # Once its copy lies aside, the live object may be the new one already.
            if key in replaced_keys and note.before + key not in aside:
                with suppress(ObjectMissing):  # deleted since: there is nothing to keep
                    self.objects.copy(self.prefix + key, note.before + key)
            self.objects.copy(f"{place}/{key}", self.prefix + key)

        in_parallel(put, note.staged)

    def _free(self, place: str) -> str:
        """A prefix for replaced objects that nothing has yet."""
        base = place.replace(".restore-", ".before-", 1) if self._is_beside(place) else f"{place}.before"
        names = (f"{base}{suffix}/" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
        return next(name for name in names if next(iter(self.objects.list(name)), None) is None)

    def _live(self) -> dict[str, ObjectInfo]:
        return {
            info.key: info for info in self.objects.list(self.prefix) if not is_ours(self.prefix, info.key)
        }

    def _differences(self, part: Part, live: Mapping[str, ObjectInfo] | None = None) -> Differences:
        """What there is against the part: by what is remembered of an object, else by the store's SHA-256."""
        there = self._live() if live is None else live
        known = {key: one for key, one in self.memory.load().items() if key in there}
        digests = {key: one.sha256 for key, one in known.items() if one.unchanged(there[key])}
        sizes = {self.prefix + decoded_key(entry.path): entry.size for entry in part.files}
        unknown = [key for key, info in there.items() if key not in digests and sizes.get(key) == info.size]
        for key, found in zip(unknown, in_parallel(self.objects.head, unknown), strict=True):
            if found is not None and found[0].sha256 is not None and found[0].etag == there[key].etag:
                digests[key] = found[0].sha256
        return differences(part.files, self.prefix, there, digests)

    def _is_right(self, key: str, entry: FileEntry, *, read: bool = True) -> bool:
        found = self.objects.head(key)
        if found is None or found[0].size != entry.size:
            return False
        if found[0].sha256 is not None or not read:
            return found[0].sha256 in (None, entry.sha256)
        digest = hashlib.sha256()
        for piece in self.objects.read(key, found[0].etag)[1]:
            digest.update(piece)
        return digest.hexdigest() == entry.sha256

    def _place(self, word: str) -> str:
        if "/" in word and not self._is_beside(word):
            return word.strip("/")
        if self._is_beside(word):
            return word
        if not word.strip("./"):
            raise PartFailed(f"{word!r} names no place", remedy="name a place by a word, or by a prefix")
        return beside(self.prefix, word.strip("/"), "restore")[:-1]

    def _is_beside(self, place: str) -> bool:
        start = beside(self.prefix, "", "restore")[:-1]
        return place.startswith(start) and "/" not in place.removeprefix(start) and place != start

    def _note_key(self, place: str) -> str:
        if self._is_beside(place):
            word = place.removeprefix(beside(self.prefix, "", "restore")[:-1])
            return f"{self.prefix.rstrip('/')}.restores/{word}.json"
        return f"{place}.restore.json"

    def _note(self, place: str) -> BucketNote | None:
        try:
            raw = json.loads(self.objects.get(self._note_key(place)))
            return BucketNote(
                part=str(raw["part"]),
                staged=tuple(raw["staged"]),
                same=tuple((key, etag) for key, etag in raw["same"]),
                whole=bool(raw["whole"]),
                before=str(raw["before"]),
                replaced=tuple(raw["replaced"]),
                done=bool(raw["done"]),
            )
        except ObjectMissing:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise PartFailed(
                f"{self._note_key(place)} in {self.objects.name} cannot be read: {error}",
                remedy=f"look what wrote it; delete it and all below {place}/ if nobody misses that",
            ) from error

    def _write(self, place: str, note: BucketNote) -> None:
        self.objects.put(self._note_key(place), json.dumps(asdict(note)).encode())

    def _delete(self, keys: Iterable[str]) -> None:
        for batch in _batches(list(keys)):
            self.objects.delete(batch)


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _digest(part: Part) -> str:
    return hashlib.sha256(digest_lines(part.files).encode()).hexdigest()
