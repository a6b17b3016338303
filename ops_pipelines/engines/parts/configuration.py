"""The configuration of a stack as a part: its declaration, what that includes, its artifact.

    files/...       the stack file, its includes and `backup.configuration`, below the folder they share
    artifact/...    what was rendered for the target, where the caller has it

Secrets stand in these files by reference. Where the value of one stands there itself, there is no backup: it
would be in the bucket for as long as the snapshot. A restore never writes over the files in use.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ops_pipelines.engines._blobs import disk_error
from ops_pipelines.engines.parts._cache_stage import compare
from ops_pipelines.engines.parts._folders import Staging, sync_all
from ops_pipelines.engines.ports import Capture, Captured, Fetch, Progress
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.layout import check_snapshot_id
from ops_pipelines.policy.manifest import FileEntry, Part
from ops_pipelines.policy.plan import Finding, Step
from ops_pipelines.policy.secret_scan import find_secrets

LARGEST = 16 << 20
"""Bytes of one configuration file."""


@dataclass(frozen=True)
class ConfigurationSource:
    """The files that a stack is declared by."""

    name: str
    stack_file: Path
    included: Sequence[Path] = ()
    """Fragments that the stack file includes."""
    extra: Sequence[Path] = ()
    """`backup.configuration`: files, or folders with all that is below them."""
    artifact: Mapping[str, bytes] = field(default_factory=dict)
    """Rendered files, by name."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of the stack's secrets by name, to be looked for in the files."""
    kind: str = "configuration"

    def capture(self, scratch: Path, progress: Progress) -> Capture:
        """All files, copied as they are read. Raises PartFailed where one cannot be read, or where the value
        of a secret stands in it: the error names file, line and secret, and not the value."""
        paths = sorted({os.path.abspath(path): None for path in self._paths()})
        root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
        contents = {f"files/{Path(path).relative_to(root).as_posix()}": _read(Path(path)) for path in paths}
        contents |= {f"artifact/{name}": (content, 0o644) for name, content in self.artifact.items()}
        captured = []
        for number, (path, (content, mode)) in enumerate(contents.items()):
            self._refuse_secrets(path, content)
            copy = scratch / str(number)
            copy.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            captured.append(Captured(FileEntry(path, len(content), digest, mode), copy))
            progress("read configuration", number + 1, len(contents), "files")
        stack_file = Path(os.path.abspath(self.stack_file)).relative_to(root).as_posix()
        facts = {"stack_file": f"files/{stack_file}", "secrets": sorted(self.secrets)}
        return Capture(tuple(captured), facts, "quiesced")

    def _paths(self) -> list[Path]:
        paths = [self.stack_file, *self.included]
        for path in self.extra:
            below = [Path(base, name) for base, _, names in os.walk(path) for name in names]
            paths += below if path.is_dir() else [path]
        return paths

    def _refuse_secrets(self, path: str, content: bytes) -> None:
        if leaks := find_secrets(content, self.secrets):
            places = "; ".join(f"line {leak.line}: the value of {leak.secret}" for leak in leaks)
            raise PartFailed(
                f"configuration/{self.name}: secrets stand in {path.partition('/')[2]}: {places}",
                remedy="put a reference there (${NAME} or file:PATH) in place of each value, and change the "
                "secrets: they have been in a file that others read",
            )


def _read(path: Path) -> tuple[bytes, int]:
    try:
        _require_plain(path)
        # O_NONBLOCK: a pipe would be waited for, perhaps for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            now = os.fstat(file.fileno())
            if not stat.S_ISREG(now.st_mode):
                raise _unfit(path, "is no file")
            if now.st_size > LARGEST:
                raise _unfit(path, f"has {now.st_size} bytes, more than any configuration ({LARGEST})")
            return file.read(LARGEST), stat.S_IMODE(now.st_mode) & 0o777
    except OSError as error:
        raise PartFailed(
            f"the configuration file {path} cannot be read: {error.strerror}",
            remedy="correct `backup.configuration` or the includes of the stack file, or the file's rights",
        ) from error


def _require_plain(path: Path) -> None:
    try:
        str(path).encode()
        if "\\" in str(path):
            raise _unfit(path, "has a backslash in its name")
    except UnicodeEncodeError as error:
        raise _unfit(path, "has a name that is no UTF-8 text") from error


def _unfit(path: Path, why: str) -> PartFailed:
    return PartFailed(
        f"the configuration file {str(path)!a} {why}",
        remedy="take it out of `backup.configuration`; declare a folder of data as a volume (`volumes`)",
    )


@dataclass(frozen=True)
class ConfigurationTarget:
    """Puts the configuration of one snapshot beside the one in use: at `<folder>/configuration/<snapshot>`.
    With `kind` "secrets" it is those, at `<folder>/secrets/<snapshot>`: only their owner may look into the folder."""

    name: str
    folder: Path
    snapshot: str
    kind: str = "configuration"

    @property
    def place(self) -> Path:
        """Where the files come to lie."""
        return self.folder / self.kind / check_snapshot_id(self.snapshot)

    def plan(self, part: Part, into: str | None) -> tuple[Step, ...]:
        """The folder that would be made."""
        where = self._staging(into).path if into else self.place
        detail = f"{len(part.files)} files to {where}; the files in use stay as they are"
        return (Step("fetch", part.key, detail, part.size),)

    def stage(self, part: Part, into: str | None, fetch: Fetch, progress: Progress) -> str:
        """Bring the files to a folder of their own and return its path; `into` is a word, or a path."""
        staging = self._staging(into)
        try:
            if staging.switching:
                staging.remove()
            staging.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            staging.begin(_digest(part))
            for number, entry in enumerate(part.files):
                fetch(entry, staging.path / entry.path)
                progress("fetch configuration", number + 1, len(part.files), "files")
            sync_all(staging.path)
            if (note := staging.note()) is not None:
                staging.write_note(replace(note, whole=True))
        except OSError as error:
            raise disk_error(error, staging.path, part.size) from error
        return str(staging.path)

    def check(self, part: Part, place: str, *, full: bool) -> tuple[Finding, ...]:
        """Every file against its digest."""
        wrong = compare(self._staging(place).content, part.files, full=full)
        if wrong:
            return tuple(Finding(part.key, False, f"{path} {why}", "restore again") for path, why in wrong)
        return (Finding(part.key, True, f"{len(part.files)} files in {place}: all digests match"),)

    def switch(self, part: Part, place: str) -> str:  # noqa: ARG002 - the place says all
        """Give the folder its name. The stack file in use is not touched: a person compares and copies."""
        staging = self._staging(place)
        before = staging.finish_switch()
        staging.forget()
        note = f"; an earlier copy is in {before}" if before else ""
        return f"the files in use, which were not touched; those of the snapshot are in {self.place}{note}"

    def discard(self, place: str) -> None:
        """Delete a staged folder."""
        staging = self._staging(place)
        if staging.path == self.place or staging.note() is None:
            raise PartFailed(
                f"{staging.path} is no place that a restore staged",
                remedy="delete it by hand if it is not needed",
            )
        staging.remove()

    def leftovers(self) -> tuple[str, ...]:
        """Folders that a killed restore left, of any snapshot."""
        names = {path.name.removesuffix(".json") for path in self.place.parent.glob("*.restore-*")}
        return tuple(str(self.place.with_name(name)) for name in sorted(names))

    def _staging(self, place: str | None) -> Staging:
        """The place of that name: below our own folder it may become live, elsewhere it is a copy."""
        if place is None:
            return Staging(self.place.with_name(f"{self.snapshot}.restore-0"), self.place)
        path = Path(place) if "/" in place else self.place.with_name(f"{self.snapshot}.restore-{place}")
        live = path.with_name(path.name.partition(".restore-")[0])
        ours = path.parent == self.place.parent and ".restore-" in path.name
        return Staging(path, live if ours else None)


def _digest(part: Part) -> str:
    lines = sorted(f"{entry.path}\0{entry.sha256}\n" for entry in part.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
