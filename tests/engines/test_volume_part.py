"""Volumes: everything that a folder can hold comes back, and nothing is left out in silence."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_pipelines.adapters.volumefiles import read_volume
from ops_pipelines.engines.parts.volume import VolumeSource, VolumeTarget
from ops_pipelines.engines.ports import Capture, Fetch, Progress, silent
from ops_pipelines.errors import PartFailed, SnapshotDamaged
from ops_pipelines.policy.manifest import FileEntry, FolderEntry, Manifest, Part, decode, encode
from ops_pipelines.policy.plan import failed
from ops_pipelines.policy.volumes import VolumeReading
from tests.caches import forget_the_write, rot
from tests.waiting import until

OLD = 1_700_000_000
NOT_TEXT = os.fsdecode(b"caf\xe9")


def source(
    *roots: Path, index: Path | None = None, before: Callable[[], None] = lambda: None, **words: object
) -> VolumeSource:
    options = {name: words.pop(name) for name in ("exclude", "changing") if name in words}

    def read(replica: int, scratch: Path, progress: Progress) -> VolumeReading:
        def told(step: str, done: int, total: int | None, unit: str) -> None:
            before()
            progress(step, done, total, unit)

        return read_volume(roots[replica], scratch, index=index, progress=told, **options)  # type: ignore[arg-type]

    return VolumeSource("data", len(roots), read, **words)  # type: ignore[arg-type]


def captured(volume: VolumeSource, scratch: Path) -> tuple[Part, Fetch, Capture]:
    """A part as it comes back out of a manifest, and what fetches its content."""
    scratch.mkdir(parents=True, exist_ok=True)
    capture = volume.capture(scratch, silent)
    bucket = {one.entry.sha256: one.source.read_bytes() for one in capture.files if one.source}
    files = tuple(one.entry for one in capture.files)
    part = Part("volume", "data", files, capture.facts, folders=capture.folders)
    manifest = Manifest("20260102T030405Z-abcdef", "demo", "2026-01-02T03:04:05+00:00", (part,))
    (part,) = decode(encode(manifest), where="the manifest").parts

    def fetch(entry: FileEntry, destination: Path) -> None:
        if entry.link is not None:
            destination.symlink_to(entry.link)
        else:
            destination.write_bytes(bucket[entry.sha256])

    return part, fetch, capture


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """All that a restore gives back, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for base, folders, names in os.walk(root):
        for name in [*folders, *names]:
            path = os.path.join(base, name)
            now = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(now.st_mode) else ""
            if stat.S_ISREG(now.st_mode):
                what = Path(path).read_bytes().hex()
            mode = stat.S_IMODE(now.st_mode)
            time = 0 if stat.S_ISLNK(now.st_mode) else now.st_mtime_ns
            found[os.path.relpath(path, root)] = (
                stat.S_IFMT(now.st_mode),
                mode,
                now.st_uid,
                now.st_gid,
                time,
                what,
            )
    return found


def write(path: Path, content: bytes, *, old: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if old:
        os.utime(path, (OLD, OLD))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume with one of everything."""
    top = tmp_path / "data"
    write(top / "plain.txt", b"plain")
    write(top / "name with spaces\nand a line", b"odd")
    write(top / NOT_TEXT / "back\\slash%41", b"odder")
    write(top / "wide" / ("ж" * 120), b"long")
    write(top / "empty-file", b"")
    (top / "empty" / "folder").mkdir(parents=True)
    (top / "empty").chmod(0o2750)
    write(top / "secret", b"mine").chmod(0o600)
    write(top / "program", b"#!").chmod(0o6755)
    (top / "link").symlink_to("plain.txt")
    (top / "wide" / "up").symlink_to("../name with spaces\nand a line")
    (top / "here").symlink_to(".")
    (top / "loop").symlink_to("loop")
    (top / "dangling").symlink_to("not/there")
    (top / "absolute").symlink_to(top / "plain.txt")
    if os.geteuid() == 0:
        os.chown(top / "secret", 4711, 4712)
        os.chown(top / "empty", 4711, 4712)
        (top / "empty").chmod(0o2750)
        os.chown(top / "link", 4711, 4712, follow_symlinks=False)
    os.utime(top / "empty", (OLD, OLD))
    return top


def expected(root: Path) -> dict[str, tuple[object, ...]]:
    """What comes back: all, but for the right to act as another, and links into the volume made relative."""
    wanted = tree(root)
    kind, mode, *rest = wanted["program"]
    assert mode == 0o6755
    wanted["program"] = (kind, 0o755, *rest)
    wanted["absolute"] = (*wanted["absolute"][:-1], "plain.txt")
    return wanted


def test_everything_comes_back(root: Path, tmp_path: Path) -> None:
    part, fetch, _ = captured(source(root), tmp_path / "scratch")
    wanted = expected(root)
    shutil.rmtree(root)
    write(root / "other", b"what is live now")
    target = VolumeTarget("data", (root,))
    place = target.stage(part, None, fetch, silent)
    assert failed(target.check(part, place, full=True)) == []
    assert tree(root).keys() == {"other"}
    kept = target.switch(part, place)
    assert tree(root) == wanted
    assert tree(Path(kept)).keys() == {"other"}
    assert target.leftovers() == ()


def test_a_name_of_any_bytes_is_plain_text_in_the_manifest(root: Path, tmp_path: Path) -> None:
    part, _, _ = captured(source(root), tmp_path / "scratch")
    paths = {entry.path for entry in part.files}
    assert {"name with spaces%0Aand a line", "caf%E9/back%5Cslash%2541", "wide/" + "ж" * 120} <= paths


def test_the_second_reading_reads_nothing(root: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.json"
    volume = source(root, index=index)
    newest = max(path.lstat().st_ctime_ns for path in root.rglob("*"))
    until(lambda: time.time_ns() - newest > 50_000_000, what="the clock to tick")
    assert captured(volume, tmp_path / "one")[0].facts["read"] > 5
    assert captured(volume, tmp_path / "two")[0].facts["read"] == 0
    write(root / "plain.txt", b"other", old=False)
    again, _, _ = captured(volume, tmp_path / "three")
    assert again.facts["read"] == 1


DAY = 86_400.0


def nightly(root: Path, index: Path, scratch: Path, night: float, days: int = 5) -> VolumeReading:
    """The volume as it is read in that night."""
    clock = 1e9 + night * DAY
    scratch.mkdir(exist_ok=True)
    folder = scratch / str(night)
    folder.mkdir()
    return read_volume(root, folder, index=index, reread_days=days, clock=lambda: clock, progress=silent)


def test_rot_is_found_within_the_cycle_and_never_backed_up_as_good(tmp_path: Path) -> None:
    root, index, scratch = tmp_path / "data", tmp_path / "index.json", tmp_path / "scratch"
    for number in range(20):
        file = write(root / f"file-{number:02}", b"%d" % number * 1000)
    until(lambda: time.time_ns() - file.stat().st_ctime_ns > 10**8)  # it settles, and is remembered
    assert nightly(root, index, scratch, 0).hashed == 20
    rot(root / "file-07")
    forget_the_write(index, root / "file-07", "file-07")
    assert nightly(root, index, scratch, 0.5, days=0).rotten == ()
    nights = [nightly(root, index, scratch, night) for night in range(1, 6)]
    found = [night.rotten != () for night in nights]
    assert found == sorted(found)
    assert found[-1], "found within the cycle, and not forgotten after"
    assert all(3 <= night.again == night.hashed <= 6 for night in nights), "a share of them each night"
    assert nightly(root, index, scratch, 5.1).again == 1, "the second run of a day reads the rotten one alone"

    def read(replica: int, folder: Path, progress: Progress) -> VolumeReading:
        return read_volume(root, folder, index=index, progress=progress)

    volume = VolumeSource("data", 1, read)
    with pytest.raises(PartFailed, match=r"although nothing wrote to it.*file-07 \(it was ") as failed_part:
        captured(volume, tmp_path / "one")
    assert "`touch`" in failed_part.value.remedy
    os.utime(root / "file-07")
    _, _, capture = captured(volume, tmp_path / "two")
    assert capture.facts["read_again"] == 0
    assert capture.facts["read"] == 1


def test_what_reads_right_again_was_no_rot(tmp_path: Path) -> None:
    root, index = tmp_path / "data", tmp_path / "index.json"
    file = write(root / "file", b"good" * 1000)
    until(lambda: time.time_ns() - file.stat().st_ctime_ns > 10**8)
    nightly(root, index, tmp_path / "scratch", 0)
    for rotten in (True, False):
        rot(file)  # a flipped bit flips back
        forget_the_write(index, file, "file")
        night = nightly(root, index, tmp_path / "scratch", 10 + rotten, days=1)
        assert (night.rotten != (), night.again) == (rotten, 1)


@contextmanager
def as_somebody() -> Iterator[Path]:
    """A folder, and the rights of a user who is not root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(me)
        shutil.rmtree(folder)


def test_all_that_cannot_be_read_is_named() -> None:
    with as_somebody() as folder:
        write(folder / "data" / "plain.txt", b"x").chmod(0)
        write(folder / "data" / "fine", b"x")
        write(folder / "data" / "wide" / "below", b"x")
        (folder / "data" / "wide").chmod(0)
        with pytest.raises(PartFailed, match=r"plain.txt: Permission denied; wide: Permission denied"):
            captured(source(folder / "data"), folder / "scratch")


def test_who_is_not_root_restores_what_is_his(root: Path, tmp_path: Path) -> None:
    part, fetch, _ = captured(source(root), tmp_path / "scratch")
    with as_somebody() as folder:
        target = VolumeTarget("data", (folder / "data",))
        place = target.stage(part, None, fetch, silent)
        assert failed(target.check(part, place, full=True)) == []
        target.switch(part, place)
        assert (folder / "data" / "secret").read_bytes() == b"mine"


def test_what_cannot_be_kept_is_named(root: Path, tmp_path: Path) -> None:
    (root / "out").symlink_to("/etc/hostname")
    (root / "up").symlink_to("../elsewhere")
    (root / "wide" / "top").symlink_to("..")
    (root / "sly").symlink_to("wide/top/../x")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    os.setxattr(root / "plain.txt", "user.note", b"x")
    part, fetch, _ = captured(source(root), tmp_path / "scratch")
    assert part.facts["outside"] == ["out -> /etc/hostname", "sly -> wide/top/../x", "up -> ../elsewhere"]
    assert part.facts["special"] == ["pipe", "socket"]
    assert part.facts["attributes"] == ["plain.txt"]
    target = VolumeTarget("data", (root,))
    place = target.stage(part, None, fetch, silent)
    (finding,) = failed(target.check(part, place, full=True))
    assert finding.severity == "warning"
    assert "out -> /etc/hostname" in finding.message


def test_a_missing_and_an_empty_folder_are_no_backup(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match="is not there"):
        captured(source(tmp_path / "none"), tmp_path / "scratch")
    (tmp_path / "bare").mkdir()
    with pytest.raises(PartFailed, match="is empty"):
        captured(source(tmp_path / "bare"), tmp_path / "again")
    part, fetch, _ = captured(source(tmp_path / "bare", may_be_empty=True), tmp_path / "third")
    assert part.facts["files"] == 0
    target = VolumeTarget("data", (tmp_path / "bare",))
    target.switch(part, target.stage(part, None, fetch, silent))
    assert list((tmp_path / "bare").iterdir()) == []


def test_excluded(root: Path, tmp_path: Path) -> None:
    words = ["*.txt", "wide/", "/empty/*", "**/back*"]
    part, _, _ = captured(source(root, exclude=words), tmp_path / "scratch")
    paths = {entry.path for entry in part.files} | {folder.path for folder in part.folders}
    assert not {path for path in paths if path.startswith("wide") or path.endswith(".txt")}
    assert "empty" in paths
    assert "empty/folder" not in paths
    assert not {path for path in paths if "back" in path}
    assert part.facts["excluded"] == 4


def appending(path: Path) -> Callable[[], None]:
    def write() -> None:
        with path.open("ab") as file:
            file.write(b"a line\n")

    return write


def rewriting(path: Path) -> Callable[[], None]:
    def write() -> None:
        path.write_bytes(os.urandom(8) + b"x" * 2_000_000)

    return write


def test_a_file_that_grows_is_kept_as_long_as_it_was(root: Path, tmp_path: Path) -> None:
    log = write(root / "log", b"first\n" * 300_000)
    part, fetch, capture = captured(source(root, before=appending(log)), tmp_path / "scratch")
    assert part.facts["grown"] == ["log"]
    (entry,) = (entry for entry in part.files if entry.path == "log")
    fetch(entry, tmp_path / "copy")
    assert log.read_bytes().startswith((tmp_path / "copy").read_bytes())
    assert not {one.source for one in capture.files if one.entry.path == "log"} & {log}


def test_a_file_that_never_holds_still(root: Path, tmp_path: Path) -> None:
    database = root / "app.sqlite"
    rewriting(database)()
    with pytest.raises(PartFailed, match=r"written each time they are read: app.sqlite") as caught:
        captured(source(root, before=rewriting(database)), tmp_path / "scratch")
    assert "changing: fuzzy" in caught.value.remedy
    part, _, _ = captured(source(root, before=rewriting(database), changing="fuzzy"), tmp_path / "again")
    assert part.facts["fuzzy"] == ["app.sqlite"]


def test_a_file_that_changes_once_is_read_again(root: Path, tmp_path: Path) -> None:
    settings = write(root / "settings", b"old" * 1000)
    calls: list[int] = []

    def once() -> None:
        if not calls:
            settings.write_bytes(b"new" * 1001)
        calls.append(1)

    part, fetch, _ = captured(source(root, before=once), tmp_path / "scratch")
    (entry,) = (entry for entry in part.files if entry.path == "settings")
    fetch(entry, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new" * 1001
    assert not {"fuzzy", "grown"} & part.facts.keys()


def test_a_file_that_goes_and_one_that_is_renamed(root: Path, tmp_path: Path) -> None:
    write(root / "aaa", b"first")
    write(root / "log", b"the old log" * 1000)
    calls: list[int] = []

    def turn_over() -> None:
        if not calls:
            (root / "log").rename(root / "log.1")
            (root / "plain.txt").unlink()
        calls.append(1)

    part, _, _ = captured(source(root, before=turn_over), tmp_path / "scratch")
    paths = {entry.path for entry in part.files}
    assert "log.1" in paths
    assert not {"log", "plain.txt"} & paths


def test_holes_stay_holes(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with (root / "sparse").open("wb") as file:
        file.write(b"start")
        file.seek(8 << 20)
        file.write(b"end")
    if (root / "sparse").stat().st_blocks > 1000:
        pytest.skip("this file system keeps no holes")
    part, fetch, _ = captured(source(root), tmp_path / "scratch")
    assert part.files[0].sparse
    content = (root / "sparse").read_bytes()
    (root / "sparse").unlink()
    target = VolumeTarget("data", (root,))
    target.switch(part, target.stage(part, None, fetch, silent))
    assert (root / "sparse").read_bytes() == content
    assert (root / "sparse").stat().st_blocks * 512 < 1 << 20


def test_each_replica_has_its_own(tmp_path: Path) -> None:
    roots = (tmp_path / "r0", tmp_path / "r1")
    for number, root in enumerate(roots):
        write(root / "own", str(number).encode())
    part, fetch, _ = captured(source(*roots), tmp_path / "scratch")
    assert [entry.path for entry in part.files] == ["0/own", "1/own"]
    for root in roots:
        shutil.rmtree(root)
    target = VolumeTarget("data", roots)
    target.switch(part, target.stage(part, None, fetch, silent))
    assert [(root / "own").read_bytes() for root in roots] == [b"0", b"1"]
    with pytest.raises(PartFailed, match="was kept of 2 replicas, and 1 are declared"):
        VolumeTarget("data", roots[:1]).stage(part, None, fetch, silent)


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ([FileEntry("0/a", 0, "", link="../1/b"), FileEntry("1/b", 1, "a" * 64)], {"replicas": 2}),
        ([FileEntry("a", 1, "a" * 64)], {"replicas": 2}),
        ([FileEntry("a", 1, "a" * 64)], {"replicas": "many"}),
        ([FileEntry("a", 1, "a" * 64)], {"replicas": 0}),
    ],
)
def test_replicas_that_cannot_be(tmp_path: Path, files: list[FileEntry], facts: dict[str, object]) -> None:
    part = Part("volume", "data", tuple(files), facts, folders=(FolderEntry("0"), FolderEntry("1")))
    target = VolumeTarget("data", (tmp_path / "r0", tmp_path / "r1"))
    with pytest.raises(SnapshotDamaged):
        target.stage(part, None, lambda entry, path: None, silent)
    assert not (tmp_path / "r0.restore").exists()


def test_what_the_live_folder_has_is_not_fetched(root: Path, tmp_path: Path) -> None:
    part, fetch, _ = captured(source(root), tmp_path / "scratch")
    fetched: list[str] = []

    def counting(entry: FileEntry, destination: Path) -> None:
        fetched.append(entry.path)
        fetch(entry, destination)

    write(root / "plain.txt", b"PLAIN")  # size and time as before, and another content
    target = VolumeTarget("data", (root,))
    place = target.stage(part, None, counting, silent)
    assert [path for path in fetched if not (Path(place) / path).is_symlink()] == ["plain.txt"]
    fetched.clear()
    target.stage(part, "drill", counting, silent)
    assert "secret" in fetched
    target.discard(str(root.with_name("data.restore-drill")))


def test_a_mount_point_is_refused_with_words(tmp_path: Path) -> None:
    part = Part("volume", "data", (FileEntry("a", 1, "a" * 64),))
    target = VolumeTarget("data", (Path("/proc"),))
    with pytest.raises(PartFailed, match="is the top of a mounted volume"):
        target.stage(part, None, lambda entry, path: None, silent)
