"""Settings: where they come from, and that an empty one is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.settings import load_settings


@pytest.mark.parametrize(
    ("given", "home"), [({}, ".ops"), ({"OPS_HOME": ""}, ".ops"), ({"OPS_HOME": "state"}, "state")]
)
def test_the_home_folder(tmp_path: Path, given: dict[str, str], home: str) -> None:
    """An empty OPS_HOME, as a shell script leaves it, is not the working folder."""
    settings = load_settings(given, cwd=tmp_path)
    assert settings.home == tmp_path / home
    assert settings.environ["OPS_HOME"] == str(tmp_path / home)


def test_a_path_is_meant_from_where_it_was_typed(tmp_path: Path) -> None:
    assert load_settings({"OPS_OLLAMA": "bin/ollama"}, cwd=tmp_path).ollama == tmp_path / "bin/ollama"
    assert load_settings({"OPS_OLLAMA": "/usr/bin/ollama"}, cwd=tmp_path).ollama == Path("/usr/bin/ollama")
    assert load_settings({"OPS_STACKS_DIR": ""}, cwd=tmp_path).stacks_dirs == (tmp_path / "deploy",)


def test_the_environment_beats_what_was_written_down(tmp_path: Path) -> None:
    (tmp_path / ".ops").mkdir()
    (tmp_path / ".ops" / "run.env").write_text("# ports\nA=1\nB=2=3\n\nOPS_PROFILES=x=dev,prod\n")
    settings = load_settings({"A": "9"}, cwd=tmp_path)
    assert (settings.environ["A"], settings.environ["B"]) == ("9", "2=3")
    assert (settings.profile_of("x"), settings.profile_of("y")) == ("dev", "prod")
    assert "9" not in repr(settings).replace(str(tmp_path), "")
