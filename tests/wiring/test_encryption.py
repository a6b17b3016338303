"""Snapshots that hold encrypted parts and secrets: written by a stack file, opened with the key, useless without."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
import structlog

from ops_pipelines.adapters.age import AgeOpener, AgeSealer
from ops_pipelines.engines.parts import encrypted
from ops_pipelines.errors import (
    ChecksumMismatch,
    IdentityMissing,
    PartFailed,
    SecretMissing,
    SnapshotDamaged,
    UsageError,
)
from ops_pipelines.policy.manifest import Manifest
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import bucket, drills, snapshots
from ops_pipelines.wiring.site import Site
from tests.engines.killed import run_killed
from tests.servers.seaweed import Seaweed
from tests.wiring.stand import Stand

SALT = "sk-salt-7f3a9c21d8"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----"
WORDS = b"weights that nobody may read " * 3000


class Keys:
    """A pair of keys in a file, as `age-keygen` writes it."""

    def __init__(self, path: Path) -> None:
        made = pyrage.x25519.Identity.generate()
        self.public, self.private, self.path = str(made.to_public()), str(made), path
        path.write_text(f"# created: today\n# public key: {self.public}\n{self.private}\n")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.txt")


def declare(stand: Stand, keys: Keys, **encrypt: Any) -> Site:
    """A volume and the configuration encrypted, and the values of two secrets."""
    data = stand.folder / "data"
    data.mkdir(exist_ok=True)
    if not (data / "a.bin").exists():
        (data / "a.bin").write_bytes(WORDS)
        (data / "same.bin").write_bytes(WORDS)
        (data / "empty").write_bytes(b"")
    (stand.folder / "deploy" / "chat").mkdir(parents=True, exist_ok=True)
    (stand.folder / "deploy" / "chat" / "pem").write_text(PEM)
    stand.environ |= {"SALT_KEY": SALT}
    secrets = {**stand.declared["secrets"], "salt-key": "${SALT_KEY}", "pem": "file:pem"}
    if "identity" in encrypt:
        stand.environ["AGE_KEY"] = keys.private
        secrets["age-key"] = "${AGE_KEY}"
    words = {
        "recipients": [keys.public],
        "parts": ["volumes", "configuration"],
        "secrets": ["salt-key", "pem"],
    }
    backup = {**stand.declared["backup"], "encrypt": {**words, **encrypt}}
    volumes = {"data": {"path": str(data), "needs": ["salt-key"]}}
    return stand.change(secrets=secrets, backup=backup, volumes=volumes)


def with_identity(site: Site, keys: Keys) -> Site:
    return replace(site, settings=replace(site.settings, age_identity=keys.path))


def everything_in(stand: Stand) -> bytes:
    return b"".join(b"".join(stand.store.stream(info.key)) for info in stand.store.list(""))


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


def test_nothing_of_it_is_in_the_bucket_or_the_log_and_all_of_it_comes_back(
    stand: Stand, keys: Keys, logged: list[Any]
) -> None:
    site = declare(stand, keys)
    manifest = snapshots.backup(site, by="test")
    everything = everything_in(stand) + json.dumps(logged, default=str).encode()
    for hidden in (
        b"nobody may read",
        SALT.encode(),
        PEM.encode(),
        b"MIIEvQIBADANBgkqhkiG9w0",
        b"A web server.",
    ):
        assert hidden not in everything
    assert keys.private.encode() not in everything
    assert {part.key: part.recipients for part in manifest.parts} == dict.fromkeys(
        ["configuration/chat", "volume/data", "secrets/chat"], (keys.public,)
    )
    assert all(one.ok for one in snapshots.verify(site, manifest.snapshot, depth="checksums"))
    (stand.folder / "data" / "a.bin").write_bytes(b"lost")
    result = snapshots.restore(with_identity(site, keys), manifest.snapshot, by="test")
    assert result.switched
    assert (stand.folder / "data" / "a.bin").read_bytes() == WORDS
    assert (stand.folder / "data" / "same.bin").read_bytes() == WORDS
    assert (stand.folder / "data" / "empty").read_bytes() == b""
    assert any("secrets/chat is left out" in words for words in result.skipped)
    assert SALT not in json.dumps(logged, default=str)
    assert not list(stand.folder.rglob(".opening-*")) + list(stand.folder.rglob(".sealed-*"))


def test_the_secrets_are_restored_when_they_are_asked_for_into_files_of_their_own(
    stand: Stand, keys: Keys
) -> None:
    site = declare(stand, keys)
    manifest = snapshots.backup(site, by="test")
    [restored] = snapshots.restore(
        with_identity(site, keys), manifest.snapshot, parts=["secrets"], by="test"
    ).parts
    place = site.state / "secrets" / manifest.snapshot
    assert str(place) in restored.kept
    assert f"SALT_KEY={SALT}\n" in (place / "secrets.env").read_text()
    exact = json.loads((place / "secrets.json").read_text())["secrets"]
    assert exact["pem"] == {"reference": "file:pem", "value": PEM}
    assert exact.keys() == {"salt-key", "pem"}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    first = [entry.plain for entry in manifest.part("secrets/chat").files]  # type: ignore[union-attr]
    again = snapshots.backup(site, by="test").part("secrets/chat")
    assert again is not None
    assert not {entry.plain for entry in again.files} & set(first), "a digest that could be guessed at"


def test_what_is_as_before_is_not_encrypted_again(stand: Stand, keys: Keys) -> None:
    first = snapshots.backup(declare(stand, keys), by="test").part("volume/data")
    (stand.folder / "data" / "new").write_bytes(b"new")
    second = snapshots.backup(stand.site, by="test").part("volume/data")
    assert first is not None
    assert second is not None
    before = {entry.path: entry.sha256 for entry in first.files}
    after = {entry.path: entry.sha256 for entry in second.files}
    assert before.items() < after.items()
    assert before["a.bin"] == before["same.bin"]
    other = Keys(stand.folder / "other.txt")
    third = snapshots.backup(declare(stand, keys, recipients=[keys.public, other.public]), by="test")
    assert not {entry.sha256 for entry in third.part("volume/data").files} & set(after.values())  # type: ignore[union-attr]


def test_what_was_deleted_from_the_bucket_is_encrypted_again(stand: Stand, keys: Keys) -> None:
    first = snapshots.backup(declare(stand, keys), by="test").part("volume/data")
    assert first is not None
    gone = {entry.path: entry.sha256 for entry in first.files}["a.bin"]
    stand.store.delete([stand.layout.blob(gone)])
    second = snapshots.backup(stand.site, by="test")
    assert gone not in {digest for digest, _ in second.blobs()}
    assert all(one.ok for one in snapshots.verify(stand.site, second.snapshot, depth="checksums"))


def test_any_one_recipient_opens_it(stand: Stand, keys: Keys) -> None:
    other = Keys(stand.folder / "other.txt")
    listed = stand.folder / "deploy" / "chat" / "recipients.txt"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text(f"# offline, in the safe\n{other.public}\n\n")
    site = declare(stand, keys, recipients=[keys.public, "file:recipients.txt"])
    manifest = snapshots.backup(site, by="test")
    for who in (keys, other):
        assert snapshots.restore(with_identity(site, who), manifest.snapshot, by="test").switched


@pytest.mark.parametrize("wrong", [False, True])
def test_without_the_key_it_is_said_which_one_is_needed(stand: Stand, keys: Keys, wrong: bool) -> None:
    site = declare(stand, keys)
    manifest = snapshots.backup(site, by="test")
    other = Keys(stand.folder / "other.txt")
    here = with_identity(site, other) if wrong else site
    before = sorted(stand.folder.rglob("*"))
    with pytest.raises(IdentityMissing, match=keys.public) as raised:
        snapshots.restore(here, manifest.snapshot, by="test")
    assert (other.public in raised.value.message) is wrong
    assert "OPS_AGE_IDENTITY" in raised.value.remedy
    assert sorted(stand.folder.rglob("*")) == before
    plan = snapshots.plan_restore(here, manifest.snapshot)
    assert any(keys.public in words for words in plan.warnings)
    assert drills.drill(here, full=True).verdict == "unknown"
    assert [one.ok for one in snapshots.verify(here, manifest.snapshot, depth="checksums")] == [True] * 3


def test_a_drill_with_the_key_opens_it(stand: Stand, keys: Keys) -> None:
    site = declare(stand, keys, identity="age-key")
    snapshots.backup(site, by="test")
    report = drills.drill(site, full=True)
    bad = [one for one in report.findings if one.ok is not True]
    assert (report.verdict, bad) == ("passed", [])
    assert not (site.state / "drill").exists()
    found = snapshots.verify(site, snapshots.newest(site), depth="restored")
    assert [one for one in found if one.ok is not True] == []


def test_the_key_itself_is_never_kept(stand: Stand, keys: Keys) -> None:
    site = declare(stand, keys, identity="age-key", secrets=True)
    manifest = snapshots.backup(site, by="test")
    part = manifest.part("secrets/chat")
    assert part is not None
    assert part.facts["secrets"] == ["key", "pem", "salt-key", "secret"]


def test_a_secret_that_is_asked_for_and_unset_is_no_backup(stand: Stand, keys: Keys) -> None:
    declare(stand, keys)
    stand.environ["SALT_KEY"] = ""
    with pytest.raises(SecretMissing, match="SALT_KEY"):
        snapshots.backup(stand.site, by="test")
    assert snapshots.restorable(stand.site) == []


@pytest.mark.parametrize(
    ("recipient", "words"),
    [
        ("age1qqqq", "damaged or of another kind"),
        ("file:absent.txt", "cannot be read"),
        ("file:private.txt", "a private key"),
    ],
)  # fmt: skip
def test_a_recipient_that_is_none_is_no_backup(stand: Stand, keys: Keys, recipient: str, words: str) -> None:
    site = declare(stand, keys, recipients=[recipient])
    (site.folder / "private.txt").write_text(keys.private)
    with pytest.raises(UsageError, match=words) as raised:
        snapshots.backup(site, by="test")
    assert keys.private not in str(raised.value)


def test_an_altered_blob_is_refused(stand: Stand, keys: Keys) -> None:
    site = declare(stand, keys)
    manifest = snapshots.backup(site, by="test")
    part = manifest.part("volume/data")
    assert part is not None
    digest = {entry.path: entry.sha256 for entry in part.files}["a.bin"]
    size = {entry.path: entry.size for entry in part.files}["a.bin"]
    stand.store.put(stand.layout.blob(digest), b"x" * size)
    with pytest.raises(SnapshotDamaged, match="altered"):
        snapshots.restore(with_identity(site, keys), manifest.snapshot, by="test", parts=["volume/data"])
    assert (stand.folder / "data" / "a.bin").read_bytes() == WORDS


# --- from the bucket alone ---


def opened(stand: Stand, seaweed: Seaweed) -> bucket.OpenBucket:
    environ = {"AWS_ACCESS_KEY_ID": seaweed.access_key, "AWS_SECRET_ACCESS_KEY": seaweed.secret_key}
    settings = load_settings(environ, cwd=stand.folder / "elsewhere")
    name = stand.declared["backup"]["bucket"]
    return bucket.open_bucket(f"s3://{name}/ops", seaweed.endpoint, "us-east-1", settings)


def test_files_come_back_on_an_empty_machine(stand: Stand, keys: Keys, seaweed: Seaweed) -> None:
    manifest = snapshots.backup(declare(stand, keys), by="test")
    where, into = opened(stand, seaweed), stand.folder / "restored"
    plan = bucket.plan_restore(where, "chat", manifest.snapshot, into=into)
    assert any(keys.public in words for words in plan.warnings)
    assert any("salt-key" in words and "SALT_KEY" in words for words in plan.warnings)
    with pytest.raises(IdentityMissing, match=keys.public):
        bucket.restore(where, "chat", manifest.snapshot, into=into)
    assert not into.exists()
    where = replace(where, settings=replace(where.settings, age_identity=keys.path))
    bucket.restore(where, "chat", manifest.snapshot, into=into)
    assert (into / "volume" / "data" / "a.bin").read_bytes() == WORDS
    assert f"SALT_KEY={SALT}\n" in (into / "secrets" / "chat" / "secrets.env").read_text()
    assert stat.S_IMODE(into.stat().st_mode) == 0o700
    assert stat.S_IMODE((into / "secrets" / "chat").stat().st_mode) == 0o700


# --- kill -9 ---


def die_sealing(folder: str, declared: str, environ: dict[str, str], at: int) -> None:
    """Back up, and die at the `at`-th piece that is sealed."""
    pieces = 0
    wire = encrypted._Hashed.write

    def counted(self: Any, piece: bytes, /) -> int:
        nonlocal pieces
        pieces += 1
        if pieces == at:
            os.kill(os.getpid(), 9)
        return wire(self, piece)

    encrypted._Hashed.write = counted  # type: ignore[method-assign]
    del declared
    from ops_pipelines.wiring.site import load_fleet

    snapshots.backup(load_fleet(load_settings(environ, cwd=Path(folder))).site("chat"), by="test")


def test_what_a_killed_backup_left_in_clear_is_removed_by_the_next(stand: Stand, keys: Keys) -> None:
    lease = {**stand.declared["backup"], "lease": "30s"}
    stand.change(backup=lease)
    site = declare(stand, keys)
    scratch = site.scratch / "backup"
    assert run_killed(die_sealing, str(stand.folder), "", stand.environ, 2)
    left = [path for path in scratch.rglob("*") if path.is_file()]
    assert left, "it was to die in the midst of it"
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
    stand.store.delete([stand.layout.lease("chat")])
    manifest: Manifest = snapshots.backup(stand.site, by="test")
    assert not scratch.exists()
    assert snapshots.restore(with_identity(site, keys), manifest.snapshot, by="test").switched


# --- age itself ---


def test_a_full_disk_is_told_as_such(tmp_path: Path, keys: Keys) -> None:
    class Full:
        def read(self, size: int = -1, /) -> bytes:
            return b"x" * size

        def write(self, piece: bytes, /) -> int:  # noqa: ARG002
            raise OSError(28, "No space left on device")

        def flush(self) -> None: ...

    with pytest.raises(OSError, match="No space left") as raised:
        AgeSealer((keys.public,)).seal(Full(), Full())
    assert raised.value.errno == 28


@pytest.mark.parametrize("spoil", ["cut", "flip", "other"])
def test_what_is_not_what_was_sealed_is_not_opened(tmp_path: Path, keys: Keys, spoil: str) -> None:
    sealed = pyrage.encrypt(b"x" * 200_000, [pyrage.x25519.Recipient.from_str(keys.public)])
    content = {"cut": sealed[:-70_000], "flip": sealed[:-5] + b"\0" + sealed[-4:], "other": b"not age"}[spoil]
    path = tmp_path / "sealed"
    path.write_bytes(content)
    with path.open("rb") as file, (tmp_path / "out").open("wb") as out, pytest.raises(ChecksumMismatch):
        AgeOpener(lambda: [keys.private]).open(file, out)


def test_an_identity_that_is_none_is_told_without_being_shown(keys: Keys) -> None:
    with pytest.raises(UsageError, match="no private key") as raised:
        AgeOpener(lambda: ["AGE-SECRET-KEY-1NOTONE"]).require([keys.public], "x")
    assert "NOTONE" not in str(raised.value)


def test_a_file_that_changes_while_it_is_sealed_fails_its_part(
    stand: Stand, keys: Keys, monkeypatch: Any
) -> None:
    site = declare(stand, keys)
    seal = AgeSealer.seal

    def changing(self: AgeSealer, plain: Any, sealed: Any) -> None:
        plain.file.seek(1)
        seal(self, plain, sealed)

    monkeypatch.setattr(AgeSealer, "seal", changing)
    with pytest.raises(PartFailed, match="changed while it was read"):
        snapshots.backup(site, by="test")
