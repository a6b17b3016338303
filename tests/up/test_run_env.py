"""`run.env`: what `up` writes down for every other command."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from ops_pipelines.errors import OpsError, UsageError
from ops_pipelines.settings import RUN_ENV, load_settings, read_env_file
from ops_pipelines.up.environment import given_of, prepare_environment, write_private


def prepare(home: Path, given: Mapping[str, str] | None = None, ollama: Path | None = None) -> dict[str, str]:
    return prepare_environment(home, is_free=lambda _: True, given=given or {}, ollama=ollama)


def test_a_first_start_writes_ports_addresses_and_credentials_for_the_owner_alone(tmp_path: Path) -> None:
    chosen = prepare(tmp_path / "home")
    file = tmp_path / "home" / RUN_ENV
    assert read_env_file(file) == chosen
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert chosen["OPS_S3_ENDPOINT"] == "http://127.0.0.1:8333"
    assert chosen["OPS_MILVUS_URI"] == "http://127.0.0.1:19530"
    assert len(chosen["OPS_S3_SECRET_KEY"]) > 30
    assert "OPS_OLLAMA" not in chosen
    assert "OPS_PROFILES" not in chosen


def test_no_two_homes_have_the_same_credentials(tmp_path: Path) -> None:
    one, other = prepare(tmp_path / "one"), prepare(tmp_path / "other")
    assert one["OPS_S3_ACCESS_KEY"] != other["OPS_S3_ACCESS_KEY"]
    assert one["OPS_S3_SECRET_KEY"] != other["OPS_S3_SECRET_KEY"]


def test_a_later_start_keeps_all_of_it(tmp_path: Path) -> None:
    assert prepare(tmp_path) == prepare(tmp_path)


def test_addresses_follow_a_port_that_had_to_change(tmp_path: Path) -> None:
    first = prepare(tmp_path)
    chosen = prepare_environment(tmp_path, is_free=lambda port: port != 8333, given={}, ollama=None)
    assert chosen["OPS_S3_ENDPOINT"] == "http://127.0.0.1:8334"
    assert chosen["OPS_S3_SECRET_KEY"] == first["OPS_S3_SECRET_KEY"]


def test_given_ports_and_credentials_are_taken(tmp_path: Path) -> None:
    chosen = prepare(tmp_path, {"OPS_DAGSTER_PORT": "4000", "OPS_S3_SECRET_KEY": "mine"})
    assert chosen["OPS_DAGSTER_URL"] == "http://127.0.0.1:4000"
    assert chosen["OPS_S3_SECRET_KEY"] == "mine"


@pytest.mark.parametrize("name", ["OPS_STACKS_DIR", "OPS_PROFILES", "OPS_DEMO_CORPUS"])
def test_what_a_person_set_is_there_for_other_terminals_until_it_is_no_longer_set(
    tmp_path: Path, name: str
) -> None:
    assert prepare(tmp_path, {name: "/there"})[name] == "/there"
    assert load_settings({"OPS_HOME": str(tmp_path)}).environ[name] == "/there"
    assert name not in prepare(tmp_path)


OLLAMA = {
    "alone": ({}, "obelisk=local-ollama"),
    "beside other stacks": ({"OPS_PROFILES": "aphrodite=ray"}, "aphrodite=ray,obelisk=local-ollama"),
    "another form is asked for": ({"OPS_PROFILES": "obelisk=local"}, "obelisk=local"),
    "one form for all": ({"OPS_PROFILES": "*=dev"}, "*=dev"),
    "one form for all, in short": ({"OPS_PROFILES": "dev"}, "dev"),
}


@pytest.mark.parametrize("case", OLLAMA)
def test_where_there_is_ollama_it_serves_the_models(tmp_path: Path, case: str) -> None:
    given, profiles = OLLAMA[case]
    chosen = prepare(tmp_path, given, Path("/usr/bin/ollama"))
    assert chosen["OPS_OLLAMA"] == "/usr/bin/ollama"
    assert chosen["OPS_PROFILES"] == profiles


def test_ollama_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    prepare(tmp_path, ollama=Path("/usr/bin/ollama"))
    chosen = prepare(tmp_path)
    assert "OPS_OLLAMA" not in chosen
    assert "OPS_PROFILES" not in chosen


def test_paths_that_were_typed_are_taken_from_where_they_were_typed(tmp_path: Path) -> None:
    environ = {"OPS_DEMO_CORPUS": "texts", "OPS_STACKS_DIR": "a:/b", "OPS_HOME": "home"}
    given = given_of(load_settings(environ, cwd=tmp_path))
    assert given["OPS_DEMO_CORPUS"] == str(tmp_path / "texts")
    assert given["OPS_STACKS_DIR"] == f"{tmp_path / 'a'}:/b"
    assert given["OPS_HOME"] == str(tmp_path / "home")


def test_a_kept_setting_is_not_taken_for_a_given_one(tmp_path: Path) -> None:
    prepare(tmp_path, {"OPS_DEMO_CORPUS": "/there"})
    settings = load_settings({"OPS_HOME": str(tmp_path), "PATH": "/bin"})
    assert set(given_of(settings)) == {"OPS_HOME", "PATH"}
    assert settings.demo_corpus == Path("/there")


def test_a_private_file_is_replaced_whole_and_its_mode_mended(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old and longer")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_home_that_is_a_file_is_said(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.touch()
    with pytest.raises(UsageError, match=f"{home} is not a folder") as caught:
        load_settings({"OPS_HOME": str(home)})
    assert "OPS_HOME" in caught.value.remedy


@pytest.mark.parametrize("damage", ["folder", "bytes"])
def test_a_run_env_that_cannot_be_read_is_said(tmp_path: Path, damage: str) -> None:
    file = tmp_path / RUN_ENV
    if damage == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OpsError, match=f"{file} cannot be read"):
        load_settings({"OPS_HOME": str(tmp_path)})
