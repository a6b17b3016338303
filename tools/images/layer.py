"""A layer: files made once by a recipe and kept as a tar archive in the parts' cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.parts import cache

_FORMAT = "2"
_MERGED = ("bin", "sbin", "lib", "lib64")
_UNUSED = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/info", "usr/share/bug",
    "usr/share/bash-completion", "usr/lib/systemd", "etc/init.d", "etc/default", "etc/logrotate.d", "etc/cron.daily",
)  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A folder with an owner: a new volume takes both from the image's folder that it is mounted on."""

    path: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o755


@dataclass(frozen=True)
class Layer:
    """Files of an image, made by `fill` in an empty folder. `recipe` names all that they depend on: what changes it
    makes the layer anew."""

    name: str
    recipe: str
    fill: Callable[[Path], None]
    folders: tuple[Folder, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of the recipe, by which it is kept."""
        words = f"{_FORMAT}\n{self.recipe}\n{self.folders}"
        return hashlib.sha256(words.encode()).hexdigest()

    @property
    def path(self) -> Path:
        """Its archive; the archive's own digest lies beside."""
        return cache.root() / "layers" / f"{self.name}-{self.digest[:16]}.tar"

    @property
    def diff_id(self) -> str:
        """Digest of the archive. Raises FileNotFoundError where it is not made."""
        return self.path.with_suffix(".sha256").read_text()

    @property
    def made(self) -> bool:
        """Whether it is here, whole: the digest is written last."""
        return self.path.is_file() and self.path.with_suffix(".sha256").is_file()

    def make(self) -> None:
        """Make it where it is not here."""
        if self.made:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{self.name}.", dir=self.path.parent))
        try:
            root = work / "root"
            root.mkdir()
            self.fill(root)
            _tidy(root)
            archive = work / "layer.tar"
            _pack(root, self.folders, archive)
            with archive.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            archive.rename(self.path)
            self.path.with_suffix(".sha256").write_text(digest)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _tidy(root: Path) -> None:
    """Drop what no program reads."""
    for path in _UNUSED:
        shutil.rmtree(root / path, ignore_errors=True)


def _pack(root: Path, folders: tuple[Folder, ...], archive: Path) -> None:
    """Everything below `root`, owned by root and of no time, so that the same files give the same archive."""
    seen: set[str] = set()
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for above, names, files in os.walk(root):
            names.sort()
            links = [name for name in names if (Path(above) / name).is_symlink()]
            for name in sorted([*files, *links]):
                _add(tar, root, Path(above) / name, seen)
            for name in names:
                if name not in links:
                    _add(tar, root, Path(above) / name, seen)
        for folder in folders:
            entry = tarfile.TarInfo(folder.path.strip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, folder.mode
            entry.uid, entry.gid = folder.uid, folder.gid
            tar.addfile(entry)


def _add(tar: tarfile.TarFile, root: Path, path: Path, seen: set[str]) -> None:
    name = _merged(path.relative_to(root), link=path.is_symlink())
    entry = tar.gettarinfo(path, name)
    if entry.isdir() and name in seen:
        return
    seen.add(name)
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    if entry.islnk():
        entry = _plain(path, entry)
    if entry.isreg():
        with path.open("rb") as file:
            tar.addfile(entry, file)
    else:
        tar.addfile(entry)


def _plain(path: Path, entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The content once more, in place of a hard link to another name of it."""
    entry.type, entry.size, entry.linkname = tarfile.REGTYPE, path.stat().st_size, ""
    return entry


def _merged(path: Path, *, link: bool) -> str:
    """`lib/x` as `usr/lib/x`: /lib is a link in every image, as Debian has it, and a folder would hide it."""
    moved = path.parts[0] in _MERGED and not (link and len(path.parts) == 1)
    return str(Path("usr") / path) if moved else str(path)


def files_layer(name: str, files: dict[str, str | Path], *folders: Folder) -> Layer:
    """A layer of a few files by their paths: a text, or a file of this checkout. A path that ends with `*` is made
    executable."""
    texts = {path: one.read_text() if isinstance(one, Path) else one for path, one in files.items()}

    def fill(root: Path) -> None:
        for path, text in texts.items():
            place = root / path.rstrip("*").strip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(0o755 if path.endswith("*") else 0o644)

    return Layer(name, repr(texts), fill, folders)
