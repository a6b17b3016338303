"""Each reference of a declaration, broken once: the problem names the value to change, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy._link_times import cron_mistake, is_zone
from ops_pipelines.policy.links import LinkProblem, link_problems
from tests.policy.declared import GONE, SOUND, SOUND_PROCESS, declared

ERRORS: list[tuple[dict[str, Any], str, str]] = [
    ({"models.chat.cache": "modles"}, "models.chat.cache", "did you mean `models`?"),
    ({"models.chat.served_by": "olama"}, "models.chat.served_by", "did you mean `ollama`?"),
    ({"models.large.token": "hubb"}, "models.large.token", "did you mean `hub`?"),
    ({"models.chat.source": "hosted:openai/gpt-5"}, "models.chat.cache", "take `cache` out"),
    ({"models.large.cache": "models", "models.large.source": "package:x"}, "models.large.source", "known are"),
    ({"components.litellm.depends_on": ["postgers"]}, "components.litellm.depends_on.0", "`postgres`?"),
    ({"components.litellm.secrets": {"SALT": "slat"}}, "components.litellm.secrets.SALT", "`salt`?"),
    ({"components.postgres.depends_on": ["litellm"]}, "components.litellm.depends_on", "take one of them out"),
    ({"components.postgres.depends_on": ["postgres"]}, "components.postgres.depends_on", "take one of them out"),
    ({"components.vllm.health.port": "htttp"}, "components.vllm.health.port", "did you mean `http`?"),
    ({"components.vllm.shared_ports": ["api"]}, "components.vllm.shared_ports.0", "http"),
    ({"collections.docs.store": "milvs"}, "collections.docs.store", "did you mean `milvus`?"),
    ({"collections.docs.store": "redis"}, "collections.docs.store", "kind milvus"),
    ({"databases.litellm.ca_bundle": "ca.pem"}, "databases.litellm.ca_bundle", "rediss://"),
    ({"collections.docs.bulk_import": {}}, "collections.docs.bulk_import", "name the one in which it keeps its data"),
    (
        {"collections.docs.bulk_import": {"bucket": "files", "folder": "/srv"}},
        "collections.docs.bulk_import",
        "name the one",
    ),
    ({"collections.docs.bulk_import": {"bucket": "nope"}}, "collections.docs.bulk_import.bucket", "buckets"),
    ({"collections.docs.bulk_import": {"folder": "srv"}}, "collections.docs.bulk_import.folder", "absolute path"),
    (
        {"collections.docs.bulk_import": {"folder": "/srv", "seen_as": "x"}},
        "collections.docs.bulk_import.seen_as",
        "absolute path",
    ),
    ({"collections.docs.embedding": "txt", "smoke": None}, "collections.docs.embedding", "did you mean `text`?"),
    ({"models.text.role": "chat"}, "collections.docs.embedding", "role embedding"),
    ({"collections.docs.fields.id.primary": False}, "collections.docs.fields", "primary: true"),
    (
        {"collections.docs.fields.other": {"type": "int64", "primary": True}},
        "collections.docs.fields",
        "on one field",
    ),
    ({"collections.docs.fields.id.type": "float"}, "collections.docs.fields.id.type", "int64 or varchar"),
    ({"collections.docs.fields.id.max_length": GONE}, "collections.docs.fields.id", "max_length"),
    ({"collections.docs.fields.vector.dimension": 3072}, "collections.docs.fields.vector.dimension", "take it out"),
    ({"models.text.dimension": GONE}, "collections.docs.fields.vector", "set `dimension`"),
    ({"collections.docs.index.vektor": {}}, "collections.docs.index.vektor", "did you mean `vector`?"),
    ({"collections.docs.index.vector.metric": "HAMMING"}, "collections.docs.index.vector.metric", "COSINE"),
    (
        {"collections.docs.corpus": {"folder": "x", "chunk": 200, "overlap": 200}},
        "collections.docs.corpus.overlap",
        "smaller",
    ),
    ({"databases.litellm.component": "redis"}, "databases.litellm.component", "kind postgres"),
    ({"databases.litellm.component": "pg"}, "databases.litellm.component", "components:"),
    ({"databases.cache.handover": {"access_key": "s3-key"}}, "databases.cache.handover", "secret_key"),
    ({"databases.cache.probes": {"n": "select 1"}}, "databases.cache.probes", "take them out"),
    ({"databases.cache.name": "cache"}, "databases.cache.name", "number of one"),
    ({"databases.litellm.password": "pgg"}, "databases.litellm.password", "did you mean `pg`?"),
    ({"databases.litellm.needs": ["salz"]}, "databases.litellm.needs.0", "did you mean `salt`?"),
    ({"backup.access_key": "s3-kye"}, "backup.access_key", "did you mean `s3-key`?"),
    ({"backup.secret_key": GONE}, "backup", "secret_key"),
    ({"backup.lease": 29}, "backup.lease", "30s or longer"),
    ({"backup.endpoint": "s3.example.com"}, "backup.endpoint", "http://HOST:PORT"),
    ({"backup.endpoint": ""}, "backup.endpoint", "null for Amazon's"),
    ({"backup.schedule": "0 25 * * *"}, "backup.schedule", "0 2 * * *"),
    ({"backup.timezone": "Europe/Berlinn"}, "backup.timezone", "IANA"),
    ({"drill.full_schedule": "0 4 * * 8"}, "drill.full_schedule", "five fields"),
    ({"drill.questions": [" "]}, "drill.questions.0", "write one"),
    ({"scaling.ollama.component": "olama"}, "scaling.ollama.component", "did you mean `ollama`?"),
    ({"scaling.ollama.minimum": 2}, "scaling.ollama.minimum", "the maximum at most"),
    ({"scaling.ollama.signals": {}}, "scaling.ollama.signals", "add a signal"),
    ({"scaling.ollama.source": "prometheus:9090"}, "scaling.ollama.source", "http://HOST:PORT"),
    (
        {"scaling.ollama.source": "http://127.0.0.1:{port.admin}/metrics"},
        "scaling.ollama.source",
        "ports of the component: http",
    ),
    (
        {"scaling.second": {**SOUND["scaling"]["ollama"], "owner": "hpa"}},
        "scaling.second.component",
        "one rule for each component",
    ),
    ({"smoke.model": "tex"}, "smoke.model", "did you mean `text`?"),
    ({"smoke.collection": "doc"}, "smoke.collection", "did you mean `docs`?"),
    ({"smoke.model": "chat"}, "smoke.collection", "ask text"),
    ({"models.text.served_by": GONE}, "smoke.model", "models.text.served_by"),
    ({"collections.docs.token": "salz"}, "collections.docs.token", "did you mean `salt`?"),
    ({"notify.urls": ["salz"]}, "notify.urls.0", "did you mean `salt`?"),
]  # fmt: skip

PROCESS: list[tuple[dict[str, Any], str, str]] = [
    ({"caches.models.replicas": 2}, "caches.models.path", "{replica}"),
    ({"components.two.depends_on": ["on"]}, "components.two.depends_on.0", "did you mean `one`?"),
    ({"components.one.command.1": "--port={port.htp}"}, "components.one.command", "{port.http}"),
    ({"components.one.command": []}, "components.one", "the one or the other"),
    ({"components.two.ports.http": 8000}, "components.one.ports.http", "another port"),
    ({"components.two.ports.http": 8001, "components.one.replicas": 2}, "components.two.ports.http", "another port"),
    ({"caches.again": {"layout": "ollama", "path": "models"}}, "caches.again.path", "its own folder"),
]  # fmt: skip


def _errors(problems: tuple[LinkProblem, ...]) -> list[LinkProblem]:
    return [problem for problem in problems if problem.severity == "error"]


def test_a_sound_stack_has_no_problems() -> None:
    assert link_problems(declared({})) == ()
    assert link_problems(declared({}, SOUND_PROCESS)) == ()


@pytest.mark.parametrize(("changes", "path", "remedy"), ERRORS, ids=[row[1] + "-" + row[2] for row in ERRORS])
def test_one_broken_reference_is_one_problem_at_its_path(
    changes: dict[str, Any], path: str, remedy: str
) -> None:
    (problem,) = _errors(link_problems(declared(changes)))
    assert problem.path == path
    assert remedy in problem.remedy
    assert problem.found
    assert problem.breaks


@pytest.mark.parametrize(
    ("changes", "path", "remedy"), PROCESS, ids=[row[1] + "-" + row[2] for row in PROCESS]
)
def test_on_target_process_commands_and_ports_are_looked_at_too(
    changes: dict[str, Any], path: str, remedy: str
) -> None:
    (problem,) = _errors(link_problems(declared(changes, SOUND_PROCESS)))
    assert (problem.path, remedy in problem.remedy) == (path, True), problem


def test_ports_that_only_scaling_would_double_are_a_warning() -> None:
    changes = {
        "components.two.ports.http": 8002,
        "scaling.one": {**SOUND["scaling"]["ollama"], "component": "one", "maximum": 3},
    }
    (problem,) = link_problems(declared(changes, SOUND_PROCESS))
    assert (problem.severity, problem.path) == ("warning", "components.two.ports.http")
    changes["components.two.ports.http"] = 8003
    assert link_problems(declared(changes, SOUND_PROCESS)) == ()


def test_what_runs_elsewhere_is_not_scaled_from_here() -> None:
    changes = {"components.ollama.address": "http://elsewhere:11434"}
    (problem,) = link_problems(declared(changes))
    assert problem.path == "scaling.ollama.component"
    assert link_problems(declared({**changes, "scaling.ollama.owner": "hpa"})) == ()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"models.chat.cache": GONE}, "models.chat"),
        ({"drill.questions": ["Why?", "Why?"]}, "drill.questions.1"),
        ({"collections.docs.backup": False}, "drill.questions"),
    ],
)
def test_what_is_only_doubtful_is_a_warning(changes: dict[str, Any], path: str) -> None:
    (problem,) = link_problems(declared(changes))
    assert (problem.severity, problem.path) == ("warning", path)


def test_a_model_on_a_server_elsewhere_needs_no_cache() -> None:
    changes = {
        "models.chat.cache": GONE, "components.ollama.address": "http://elsewhere:11434", "scaling": {},
    }  # fmt: skip
    assert link_problems(declared(changes)) == ()


def test_a_password_in_a_url_is_not_repeated() -> None:
    (problem,) = link_problems(declared({"backup.endpoint": "ftp://me:hunter2@host"}))
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "cron",
    ["0 2 * * *", "*/15 * * * *", "0 0-6/2 * * mon-fri", "5,35 * 1,15 jan *", "0 4 * * 7", "30 5 29 2 *",
     "0 0 31 * 0"],
)  # fmt: skip
def test_a_cron_that_runs(cron: str) -> None:
    assert cron_mistake(cron) is None


@pytest.mark.parametrize(
    "cron",
    ["60 2 * * *", "0 24 * * *", "0 2 0 * *", "0 2 * 13 *", "0 2 * * 8", "0 2 * * mo", "0 5-2 * * *",
     "*/0 * * * *", "0 2 30 2 *", "@daily", "0,, * * * *", "a b c d e"],
)  # fmt: skip
def test_a_cron_that_never_runs(cron: str) -> None:
    assert cron_mistake(cron)


def test_time_zones() -> None:
    assert [is_zone(name) for name in ("UTC", "Europe/Berlin", "Berlin", "../etc", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_dagster_takes_each_cron_that_we_take() -> None:
    from dagster._utils.schedules import is_valid_cron_string

    for cron in ("0 2 * * *", "*/15 * * * *", "0 0-6/2 * * mon-fri", "5,35 * 1,15 jan *", "0 4 * * 7"):
        assert is_valid_cron_string(cron), cron
