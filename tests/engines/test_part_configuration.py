"""Configuration as a part: all files, no secret, and never over the files in use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ops_pipelines.engines.parts.configuration import LARGEST, ConfigurationSource, ConfigurationTarget
from ops_pipelines.engines.ports import Fetch, silent
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.manifest import FileEntry, Part
from tests.engines.folders import contents, write_files

SNAPSHOT = "20260102T030405Z-abcdef"
STACK = b"stack: obelisk\ninclude: [../shared/models.yaml]\nsecrets:\n  key: ${KEY}\n"


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    files = {
        "obelisk/stack.yaml": STACK,
        "shared/models.yaml": b"models: {}\n",
        "obelisk/litellm/config.yaml": b"model_list: []\n",
        "obelisk/litellm/deep/prompt.txt": b"hello\n",
        "other/stack.yaml": b"not ours\n",
    }
    return write_files(tmp_path / "deploy", files)


@pytest.fixture
def source(deploy: Path) -> ConfigurationSource:
    return ConfigurationSource(
        "obelisk",
        deploy / "obelisk/stack.yaml",
        included=[deploy / "obelisk/../shared/models.yaml"],
        extra=[deploy / "obelisk/litellm"],
        artifact={"compose.yaml": b"services: {}\n"},
        secrets={"key": "sk-0123456789abcdef"},
    )


def captured(source: ConfigurationSource, scratch: Path) -> tuple[Part, Fetch]:
    scratch.mkdir(exist_ok=True)
    capture = source.capture(scratch, silent)
    sources = {one.entry.sha256: one.source for one in capture.files}

    def fetch(entry: FileEntry, destination: Path) -> None:
        where = sources[entry.sha256]
        assert where is not None
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(where, destination)
        destination.chmod(entry.mode)

    part = Part("configuration", "obelisk", tuple(one.entry for one in capture.files), capture.facts)
    return part, fetch


def test_every_file_is_there_with_its_way_to_the_others(source: ConfigurationSource, tmp_path: Path) -> None:
    part, _ = captured(source, tmp_path / "scratch")
    assert {entry.path for entry in part.files} == {
        "files/obelisk/stack.yaml",
        "files/shared/models.yaml",
        "files/obelisk/litellm/config.yaml",
        "files/obelisk/litellm/deep/prompt.txt",
        "artifact/compose.yaml",
    }
    assert part.facts == {"stack_file": "files/obelisk/stack.yaml", "secrets": ["key"]}


@pytest.mark.parametrize(
    "file", ["obelisk/stack.yaml", "obelisk/litellm/deep/prompt.txt", "shared/models.yaml"]
)
def test_a_secret_is_named_with_file_and_line_and_never_shown(
    source: ConfigurationSource, deploy: Path, tmp_path: Path, file: str
) -> None:
    (deploy / file).write_bytes(b"first: line\nkey: sk-0123456789abcdef\n")
    with pytest.raises(PartFailed, match=f"{file}: line 2: the value of key") as caught:
        captured(source, tmp_path / "scratch")
    assert "0123456789abcdef" not in str(caught.value)
    assert "0123456789abcdef" not in repr(source)


def test_a_secret_in_the_artifact_is_found_too(source: ConfigurationSource, tmp_path: Path) -> None:
    leaky = ConfigurationSource(
        "obelisk",
        source.stack_file,
        artifact={"compose.yaml": b"KEY=sk-0123456789abcdef"},
        secrets=source.secrets,
    )
    with pytest.raises(PartFailed, match=r"compose.yaml: line 1: the value of key"):
        captured(leaky, tmp_path / "scratch")


def test_a_file_that_is_not_there_is_named(source: ConfigurationSource, deploy: Path, tmp_path: Path) -> None:
    (deploy / "shared/models.yaml").unlink()
    with pytest.raises(PartFailed, match=r"shared/models.yaml cannot be read: No such file"):
        captured(source, tmp_path / "scratch")


def test_it_comes_back_beside_the_files_in_use(
    source: ConfigurationSource, deploy: Path, tmp_path: Path
) -> None:
    part, fetch = captured(source, tmp_path / "scratch")
    before = contents(deploy)
    target = ConfigurationTarget("obelisk", tmp_path / "home", SNAPSHOT)
    assert str(target.place) in target.plan(part, None)[0].detail
    for _ in range(2):
        place = target.stage(part, None, fetch, silent)
        assert target.leftovers() == (place,)
        assert [finding.ok for finding in target.check(part, place, full=True)] == [True]
        said = target.switch(part, place)
        assert str(target.place) in said
        assert "not touched" in said
        assert (target.place / "files/obelisk/stack.yaml").read_bytes() == STACK
        assert target.leftovers() == ()
    assert "an earlier copy is in" in said
    assert contents(deploy) == before


def test_an_altered_place_fails_its_check(source: ConfigurationSource, tmp_path: Path) -> None:
    part, fetch = captured(source, tmp_path / "scratch")
    target = ConfigurationTarget("obelisk", tmp_path / "home", SNAPSHOT)
    place = target.stage(part, None, fetch, silent)
    (Path(place) / "files/obelisk/stack.yaml").write_bytes(b"stack: other\n")
    assert [finding.ok for finding in target.check(part, place, full=True)] == [False]


def test_a_copy_elsewhere_never_covers_what_is_there(
    source: ConfigurationSource, deploy: Path, tmp_path: Path
) -> None:
    part, fetch = captured(source, tmp_path / "scratch")
    target = ConfigurationTarget("obelisk", tmp_path / "home", SNAPSHOT)
    with pytest.raises(PartFailed, match="is not empty"):
        target.stage(part, str(deploy / "obelisk"), fetch, silent)
    place = target.stage(part, str(tmp_path / "copy"), fetch, silent)
    assert place == str(tmp_path / "copy")
    assert target.leftovers() == ()
    with pytest.raises(PartFailed):
        target.switch(part, place)
    target.discard(place)
    assert not Path(place).exists()


def test_only_what_a_restore_made_is_discarded(source: ConfigurationSource, tmp_path: Path) -> None:
    part, fetch = captured(source, tmp_path / "scratch")
    target = ConfigurationTarget("obelisk", tmp_path / "home", SNAPSHOT)
    target.switch(part, target.stage(part, None, fetch, silent))
    for place in (str(target.place), str(tmp_path)):
        with pytest.raises(PartFailed):
            target.discard(place)
    assert target.place.exists()


def test_a_killed_restore_is_cleared_away(source: ConfigurationSource, tmp_path: Path) -> None:
    part, fetch = captured(source, tmp_path / "scratch")
    target = ConfigurationTarget("obelisk", tmp_path / "home", SNAPSHOT)

    def dying(entry: FileEntry, destination: Path) -> None:
        if entry is part.files[2]:
            raise KeyboardInterrupt
        fetch(entry, destination)

    with pytest.raises(KeyboardInterrupt):
        target.stage(part, None, dying, silent)
    (left,) = ConfigurationTarget("obelisk", tmp_path / "home", "20270102T030405Z-abcdef").leftovers()
    target.discard(left)
    assert target.leftovers() == ()
    assert not target.place.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (os.fsdecode(b"caf\xe9"), "is no UTF-8 text"),
        ("back\\slash", "has a backslash"),
        ("large", "more than any"),
    ],
)
def test_what_is_no_configuration_is_refused_by_name(
    source: ConfigurationSource, deploy: Path, tmp_path: Path, name: str, words: str
) -> None:
    with (deploy / "obelisk/litellm" / name).open("wb") as file:
        file.truncate(LARGEST + 1 if name == "large" else 1)
    with pytest.raises(PartFailed, match=words):
        captured(source, tmp_path / "scratch")


def test_a_pipe_is_not_waited_for(source: ConfigurationSource, deploy: Path, tmp_path: Path) -> None:
    os.mkfifo(deploy / "obelisk/litellm/pipe")
    with pytest.raises(PartFailed, match="is no file"):
        captured(source, tmp_path / "scratch")
