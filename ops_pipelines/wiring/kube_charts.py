"""Charts packed, so that a revision can keep one: the same files make the same package, and no file of a user's
repository is touched.

A dependency on a folder (`file://../ops-stack`) is packed into it; others must lie in `charts/`, where
`helm dependency build` puts them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ops_pipelines.adapters.helm import Helm, read_values
from ops_pipelines.errors import UsageError
from ops_pipelines.policy.kube_release import Release
from ops_pipelines.wiring.files import write_whole

_LARGEST = 20 << 20
_REMOTE = ("oci://", "http://", "https://")


@dataclass(frozen=True)
class Package:
    """A packed chart."""

    title: str
    """Its name and version."""
    digest: str
    path: Path


def is_remote(chart: str, repository: str | None) -> bool:
    """Whether a chart is brought from elsewhere, rather than a folder or a package of this machine."""
    return chart.startswith(_REMOTE) or repository is not None


def pack_folder(folder: Path, into: Path) -> Package:
    """Pack a chart's folder, with the folders that it depends on. Raises UsageError where it is no chart."""
    files = dict(_files(folder, folder.name, ()))
    about = _about(folder)
    return _kept(_archive(files), f"{about['name']}-{about['version']}", into)


def pack_manifests(name: str, files: Sequence[Path], into: Path) -> Package:
    """Pack files of objects as a chart that renders to exactly these. Raises UsageError where one is not there."""
    templates: dict[str, bytes] = {}
    for number, file in enumerate(files):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} cannot be read", remedy="correct target.manifests") from error
        plain = re.sub(r"\{\{|\}\}", lambda found: f'{{{{ "{found[0]}" }}}}', text)
        templates[f"{name}/templates/{number:03d}-{file.stem}.yaml"] = plain.encode()
    digest = hashlib.sha256(b"\0".join(templates.values())).hexdigest()[:12]
    about = f"apiVersion: v2\nname: {name}\nversion: 0.0.0-{_letters(digest)}\ntype: application\n"
    return _kept(_archive({f"{name}/Chart.yaml": about.encode(), **templates}), f"{name} (manifests)", into)


def _letters(digest: str) -> str:
    """A digest as a part of a semantic version, where digits alone may not begin with 0."""
    return f"d{digest}"


def pulled(helm: Helm, chart: str, version: str, repository: str | None, into: Path) -> Package:
    """A chart of a registry or repository; what was once brought is not brought again."""
    word = hashlib.sha256(f"{chart}\0{version}\0{repository}".encode()).hexdigest()[:16]
    note = into / f"{word}.pulled"
    if note.is_file():
        title, _, digest = note.read_text(encoding="utf-8").strip().rpartition(" ")
        if (into / f"{digest}.tgz").is_file():
            return Package(title, digest, into / f"{digest}.tgz")
    with tempfile.TemporaryDirectory() as folder:
        file = helm.pull(chart, version=version, repository=repository, folder=Path(folder))
        package = _kept(file.read_bytes(), file.name.removesuffix(".tgz"), into)
    write_whole(note, f"{package.title} {package.digest}\n")
    return package


def take_file(file: Path, into: Path) -> Package:
    """A package that lies on this machine."""
    return _kept(file.read_bytes(), file.name.removesuffix(".tgz"), into)


def put(content: bytes, release: Release, into: Path) -> Path:
    """Keep a package that came from the bucket. Raises UsageError where it is not what the revision names."""
    if hashlib.sha256(content).hexdigest() != release.package:
        raise UsageError(
            f"the chart that is kept of {release.chart} is not what was deployed then",
            remedy="deploy a declaration instead of going back to this revision",
        )
    return _kept(content, release.chart, into).path


def _kept(content: bytes, title: str, into: Path) -> Package:
    digest = hashlib.sha256(content).hexdigest()
    path = into / f"{digest}.tgz"
    if not path.is_file():
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=into, delete=False) as draft:
            draft.write(content)
        Path(draft.name).replace(path)
    return Package(title, digest, path)


def _about(folder: Path) -> Mapping[str, Any]:
    file = folder / "Chart.yaml"
    if not file.is_file():
        raise UsageError(f"{folder} is no chart: it has no Chart.yaml", remedy="correct target.chart")
    found = read_values(file.read_text(encoding="utf-8"), str(file))
    if not isinstance(found, Mapping) or not found.get("name") or not found.get("version"):
        raise UsageError(f"{file} names no chart and version", remedy="correct it")
    return found


def _files(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    """(path in the package, content) of a chart's files, and of the folders that it depends on."""
    if folder in above:
        raise UsageError(f"chart {folder} depends on itself", remedy="correct its Chart.yaml")
    ignored = _ignored(folder)
    total = 0
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if not file.is_file() or _is_ignored(path, ignored):
            continue
        total += file.stat().st_size
        if total > _LARGEST:
            raise UsageError(
                f"chart {folder} holds more than {_LARGEST >> 20} MiB",
                remedy="keep data out of it: name it in .helmignore",
            )
        yield f"{prefix}/{path}", file.read_bytes()
    for one in _about(folder).get("dependencies") or ():
        where = str(one.get("repository") or "")
        if where.startswith("file://"):
            other = (folder / where.removeprefix("file://")).resolve()
            # A link in `charts` is for Helm's sake; the walk above does not follow it.
            if not any(not each.is_symlink() for each in (folder / "charts").glob(f"{one['name']}*")):
                yield from _files(other, f"{prefix}/charts/{one['name']}", (*above, folder))
        elif not any((folder / "charts").glob(f"{one['name']}*")):
            raise UsageError(
                f"chart {folder.name} depends on {one['name']}, which is not in its `charts` folder",
                remedy=f"bring it: helm dependency build {folder}",
            )


def _ignored(folder: Path) -> tuple[str, ...]:
    file = folder / ".helmignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = [line.strip() for line in lines]
    return tuple(line for line in found if line and not line.startswith("#"))


def _is_ignored(path: str, rules: Sequence[str]) -> bool:
    """As Helm reads `.helmignore` (`internal/ignore/rules.go`): a rule with a slash is of the whole path."""
    if fnmatchcase(path, "templates/.?*"):
        return True
    parts = path.split("/")
    places = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    found = False
    for rule in rules:
        negated, pattern = rule.startswith("!"), rule.removeprefix("!")
        folders = pattern.endswith("/")
        pattern = pattern.strip("/") if "/" in pattern.rstrip("/") else pattern.rstrip("/")
        for place in places[:-1] if folders else places:
            if fnmatchcase(place if "/" in pattern else place.rpartition("/")[2], pattern):
                found = not negated
    return found


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A package in which nothing but names and contents counts."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        # Helm reads the chart's own Chart.yaml first, as the package's name is that of its folder.
        for path in sorted(files, key=lambda one: (one.count("/"), one)):
            about = tarfile.TarInfo(path)
            about.size, about.mode = len(files[path]), 0o644
            archive.addfile(about, io.BytesIO(files[path]))
    return gzip.compress(raw.getvalue(), 6, mtime=0)
