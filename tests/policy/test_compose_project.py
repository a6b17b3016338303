"""A Compose project as a revision keeps it: no secret's value, every configuration file by its content."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_pipelines.policy.compose_project import (
    from_json,
    is_program,
    make_project,
    pinned_files,
    placed,
    replicas_of,
    secret_variables,
    to_json,
    used,
    variables_in,
    with_replicas,
)

MODEL: dict[str, Any] = {
    "services": {
        "web": {
            "image": "web:${TAG:-1}",
            "environment": {"URL": "pg://u:${DB_PASSWORD}@h/$$x", "MODE": "${MODE}"},
            "volumes": [
                {"type": "bind", "source": "/p/web.conf", "target": "/etc/web.conf"},
                "./other.conf:/etc/other.conf:ro",
                {"type": "bind", "source": "/p/data", "target": "/data"},
                {"type": "volume", "source": "cache", "target": "/cache"},
            ],
            "secrets": [{"source": "key", "target": "/run/secrets/key"}],
        }
    },
    "secrets": {"key": {"environment": "SIGNING"}},
    "configs": {"site": {"file": "/p/site.yaml"}},
    "volumes": {"cache": {}},
}
FILES = {"/p/web.conf": "listen 80", "./other.conf": "more", "/p/site.yaml": "a: 1"}
ENVIRON = {
    "TAG": "7",
    "DB_PASSWORD": "hunter2-hunter2",
    "SIGNING": "also-secret",
    "MODE": "fast",
    "HOME": "/root",
}


def project(files: dict[str, str] = FILES, **environ: str) -> Any:
    return make_project("p", MODEL, {**ENVIRON, **environ}, secret_names={"SIGNING"}, read=files.get)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain", set()),
        ("${A}", {"A"}),
        ("$A and ${B:-x}", {"A", "B"}),
        ("${A:?must be set}", {"A"}),
        ("$$A", set()),
        ("$${A} $$$B", {"B"}),
        ("${A:-${B}}", {"A", "B"}),
        (["${A}", {"k": "${B}"}], {"A", "B"}),
        (5, set()),
    ],
)
def test_variables_are_found_as_compose_reads_them(text: Any, names: set[str]) -> None:
    assert variables_in(text) == names


def test_no_value_of_a_secret_is_kept() -> None:
    made = project()
    assert made.references == ("DB_PASSWORD", "SIGNING")
    assert made.variables == {"MODE": "fast", "TAG": "7"}
    kept = json.dumps(to_json(made))
    assert "hunter2" not in kept
    assert "also-secret" not in kept
    assert "HOME" not in kept


def test_it_comes_back_from_what_a_revision_keeps() -> None:
    made = project()
    assert from_json(json.loads(json.dumps(to_json(made)))) == made


@pytest.mark.parametrize(
    ("files", "environ", "same"),
    [
        ({}, {}, True),
        ({"/p/web.conf": "listen 81"}, {}, False),
        ({"./other.conf": "less"}, {}, False),
        ({"/p/site.yaml": "a: 2"}, {}, False),
        ({}, {"TAG": "8"}, False),
        ({}, {"DB_PASSWORD": "another"}, True),
        ({}, {"HOME": "/elsewhere"}, True),
    ],
)
def test_the_digest_changes_with_what_it_is_made_of(files: Any, environ: Any, same: bool) -> None:
    assert (project({**FILES, **files}, **environ).digest == project().digest) is same


def test_files_are_mounted_from_a_path_that_names_their_content() -> None:
    made = project()
    model = placed(made, "/state/files", {"web": {"a-label": "1"}})
    sources = [volume["source"] for volume in model["services"]["web"]["volumes"]]
    written = dict(pinned_files(made))
    assert set(written.values()) == set(FILES.values())
    assert sources[0].startswith("/state/files/")
    assert sources[0].endswith("/web.conf")
    assert written[sources[0].removeprefix("/state/files/")] == "listen 80"
    assert model["services"]["web"]["volumes"][1]["read_only"] is True
    assert sources[2:] == ["/p/data", "cache"]
    assert model["configs"]["site"]["file"].startswith("/state/files/")
    assert model["services"]["web"]["labels"] == {"a-label": "1"}
    assert "labels" not in made.services["web"], "the project itself is as it was"


def test_secrets_that_arrive_as_files_are_known_by_service() -> None:
    assert secret_variables(MODEL, "web") == ("SIGNING",)


def test_replicas_are_set_in_the_one_place_that_counts() -> None:
    made = with_replicas(project(), "web", 3)
    assert replicas_of(made, "web") == 3
    assert replicas_of(project(), "web") == 1


def test_a_program_that_is_mounted_stays_one() -> None:
    model = {"services": {"a": {"image": "i", "volumes": ["./start.sh:/start.sh:ro", "./a.conf:/a.conf:ro"]}}}
    read = {"./start.sh": "echo", "./a.conf": "x"}.get
    made = make_project("p", model, {}, secret_names=(), read=read, runs=lambda path: path.endswith(".sh"))
    kept = {path.rpartition("/")[2]: is_program(path) for path, _ in pinned_files(made)}
    assert kept == {"start.sh": True, "a.conf": False}


def test_what_only_services_that_are_off_use_is_not_used() -> None:
    resolved = {
        "services": {
            "web": {
                "volumes": [{"type": "volume", "source": "a"}, {"type": "tmpfs"}],
                "networks": {"n": None},
            },
            "bare": {"network_mode": "host"},
        },
        "volumes": {"a": None, "b": {}},
        "networks": {"n": {}, "default": {}},
    }
    assert used(resolved, "volumes") == ["a"]
    assert used(resolved, "networks") == ["n"]
    assert used({"services": {}}, "volumes") == []
