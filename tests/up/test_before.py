"""What `up` looks at before it starts anything, and who holds the home folder."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from pathlib import Path

import pytest

from ops_pipelines.errors import UsageError
from ops_pipelines.settings import Settings, load_settings
from ops_pipelines.up.before import HomeUnusable, find_ollama, require_checkout, require_corpus, usable
from ops_pipelines.up.databases import there_are_databases
from ops_pipelines.up.lock import HomeHeld, hold_home
from ops_pipelines.up.steps import Steps, Terminal

ROOT = Path(__file__).parents[2]


def settings_of(tmp_path: Path, **environ: str) -> Settings:
    return load_settings({"OPS_HOME": str(tmp_path / "home"), "PATH": str(tmp_path), **environ}, cwd=ROOT)


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def steps() -> tuple[Steps, io.StringIO]:
    shown = io.StringIO()
    return Steps(Terminal(shown)), shown


def test_a_checkout_is_one(tmp_path: Path) -> None:
    require_checkout(ROOT, settings_of(tmp_path))


def test_elsewhere_it_says_what_is_missing_and_where_to_go(tmp_path: Path) -> None:
    settings = load_settings({"OPS_HOME": str(tmp_path / "home")}, cwd=tmp_path)
    with pytest.raises(UsageError) as caught:
        require_checkout(tmp_path, settings)
    assert str(tmp_path / "dagster.yaml") in caught.value.message
    assert str(tmp_path / "deploy") in caught.value.message
    assert "make run" in caught.value.remedy


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_corpus_that_is_no_folder(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "texts"
    if kind == "file":
        place.touch()
    with pytest.raises(UsageError, match=f"OPS_DEMO_CORPUS is {place}, which is no folder"):
        require_corpus(settings_of(tmp_path, OPS_DEMO_CORPUS=str(place)))
    place.unlink(missing_ok=True)
    place.mkdir()
    require_corpus(settings_of(tmp_path, OPS_DEMO_CORPUS=str(place)))
    require_corpus(settings_of(tmp_path))


def test_ollama_on_path_is_found(tmp_path: Path) -> None:
    found = program(tmp_path / "ollama", "#!/bin/sh\nexit 0\n")
    shown, text = steps()
    assert find_ollama(settings_of(tmp_path), shown) == found
    assert text.getvalue() == ""


def test_without_ollama_nothing_is_said(tmp_path: Path) -> None:
    shown, text = steps()
    assert find_ollama(settings_of(tmp_path), shown) is None
    assert text.getvalue() == ""


def test_a_stand_in_for_ollama_on_path_is_passed_over_with_a_line(tmp_path: Path) -> None:
    program(tmp_path / "ollama", "#!/bin/sh\necho 'not installed: run mise install'\nexit 1\n")
    shown, text = steps()
    assert find_ollama(settings_of(tmp_path), shown) is None
    assert "does not run; the example model server is taken" in text.getvalue()


@pytest.mark.parametrize("kind", ["missing", "broken"])
def test_an_ollama_that_was_named_must_run(tmp_path: Path, kind: str) -> None:
    program(tmp_path / "ollama", "#!/bin/sh\nexit 0\n")
    named = tmp_path / "mine"
    if kind == "broken":
        program(named, "#!/bin/sh\nexit 3\n")
    with pytest.raises(UsageError, match=f"OPS_OLLAMA is {named}, which does not run"):
        find_ollama(settings_of(tmp_path, OPS_OLLAMA=str(named)), steps()[0])


REFUSALS = {
    errno.ENOSPC: "free some space", errno.EDQUOT: "quota", errno.EACCES: "may write to",
    errno.EROFS: "may write to", errno.EEXIST: "may write to",
}  # fmt: skip


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
def test_a_home_that_cannot_be_written_to(tmp_path: Path, code: int) -> None:
    with pytest.raises(HomeUnusable) as caught, usable(tmp_path):
        raise OSError(code, os.strerror(code), str(tmp_path / "run.env"))
    assert str(tmp_path) in caught.value.message
    assert os.strerror(code) in caught.value.message
    assert REFUSALS[code] in caught.value.remedy


def test_the_home_has_one_holder_and_the_second_is_told_who(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        hold_home(home),
        pytest.raises(HomeHeld, match=f"{home} is held by process {os.getpid()} since 20") as caught,
        hold_home(home),
    ):
        pytest.fail("held twice")
    assert caught.value.exit_code == 1
    assert "OPS_HOME" in caught.value.remedy
    assert stat.S_IMODE((home / "lock").stat().st_mode) == 0o600
    with hold_home(home):
        assert json.loads((home / "lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_holder_that_has_not_written_yet(tmp_path: Path, content: str) -> None:
    with hold_home(tmp_path):
        (tmp_path / "lock").write_text(content)
        with pytest.raises(HomeHeld, match="has not said who it is yet"), hold_home(tmp_path):
            pytest.fail("held twice")


def test_databases_of_another_dagster_are_looked_at_again(tmp_path: Path) -> None:
    assert not there_are_databases(tmp_path)
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "made").write_text("0.1")
    assert not there_are_databases(tmp_path)
