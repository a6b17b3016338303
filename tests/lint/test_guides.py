"""Compose files of the guides, as they stand there: every fault that a file can show is found, at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.wiring.linting import Line, lint_compose_file

HERE = Path(__file__).parent
GUIDES = HERE / "guides"


def _lines(file: Path) -> list[Line]:
    return lint_compose_file(file)


# file, what the line of the finding holds, code, path of the finding
FAULTS = [
    ("production.yaml", "extends:", "OPS-C104", "services.ollama-2.ports"),
    ("production.yaml", "extends:", "OPS-C101", "services.obelisk-rag-1.depends_on.milvus"),
    ("nvidia.yaml", "- ollama:/root/.ollama", "OPS-C105", "services.ollama.volumes"),
    ("amd-gpu.yaml", "- ollama:/root/.ollama", "OPS-C105", "services.ollama.volumes"),
    ("llm-service.yaml", "container_name: llm-service", "OPS-C107", "services.llm-service.container_name"),
    ("dev.yaml", '"curl", "-f", "http://localhost:11434', "OPS-C501", "services.ollama.healthcheck.test"),
    ("nvidia.yaml", '"nvidia-smi"', "OPS-C503", "services.ollama.healthcheck.test"),
    ("dev.yaml", "OLLAMA_NUM_THREAD", "OPS-C401", "services.ollama.environment.OLLAMA_NUM_THREAD"),
    ("production.yaml", "OLLAMA_NODE_ID=1", "OPS-C401", "services.ollama-1.environment.OLLAMA_NODE_ID"),
    ("dev.yaml", "MODEL_NAME_1", "OPS-C405", "services.litellm.environment.MODEL_NAME_1"),
    ("dev.yaml", "- MODEL_1=", "OPS-C405", "services.litellm.environment.MODEL_1"),
    ("docker-compose.mac.yaml", "MODEL_API_BASE_1", "OPS-C405", "services.litellm.environment.MODEL_API_BASE_1"),
    ("production.yaml", "ROUTING_STRATEGY", "OPS-C405", "services.litellm.environment.LITELLM_ROUTING_STRATEGY"),
    ("llm-service.yaml", "LANGFUSE_HOST", "OPS-C109", "services.llm-service.environment.LANGFUSE_HOST"),
    ("llm-service.yaml", "langfuse/langfuse:latest", "OPS-C407", "services.langfuse.image"),
    ("llm-service.yaml", "environment:", "OPS-C408", "services.langfuse.environment"),
    ("dev.yaml", "ollama/ollama:latest", "OPS-C201", "services.ollama.image"),
    ("dev.yaml", "litellm:main-latest", "OPS-C201", "services.litellm.image"),
    ("dev.yaml", "postgres:15-alpine", "OPS-C202", "services.litellm_db.image"),
    ("dev.yaml", "LITELLM_MASTER_KEY", "OPS-C301", "services.litellm.environment.LITELLM_MASTER_KEY"),
    ("dev.yaml", "DATABASE_URL", "OPS-C301", "services.litellm.environment.DATABASE_URL"),
    ("dev.yaml", "POSTGRES_PASSWORD", "OPS-C301", "services.litellm_db.environment.POSTGRES_PASSWORD"),
    ("dev.yaml", "MINIO_ROOT_PASSWORD", "OPS-C301", "services.minio.environment.MINIO_ROOT_PASSWORD"),
    ("dev.yaml", '"11434:11434"', "OPS-C305", "services.ollama.ports"),
    ("dev.yaml", "seccomp:unconfined", "OPS-C306", "services.milvus.security_opt"),
    ("amd-gpu.yaml", "seccomp:unconfined", "OPS-C306", "services.ollama.security_opt"),
    ("production.yaml", '"6379:6379"', "OPS-C304", "services.redis.ports"),
    ("llm-service.yaml", '"6379:6379"', "OPS-C304", "services.redis.ports"),
    ("production.yaml", "${DB_PASSWORD}", "OPS-C302", "services.postgres.environment.POSTGRES_PASSWORD"),
    ("amd-gpu.yaml", "HSA_OVERRIDE", "OPS-C403", "services.ollama.environment.HSA_OVERRIDE_GFX_VERSION"),
    ("amd-gpu.yaml", "SYS_ADMIN", "OPS-C307", "services.ollama.cap_add"),
    ("dev.yaml", "DATABASE_URL", "OPS-C406", "services.litellm.environment.DATABASE_URL"),
    ("dev.yaml", "litellm_db:", "OPS-C701", "services.litellm_db"),
    ("dev.yaml", "milvus:", "OPS-C702", "services.milvus"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "code", "path"), FAULTS, ids=[f"{row[0]}-{row[2]}-{row[3]}" for row in FAULTS]
)
def test_a_fault_of_a_guide_is_found_at_its_line(name: str, words: str, code: str, path: str) -> None:
    file = GUIDES / name
    found = [line for line in _lines(file) if (line.rule, line.path) == (code, path)]
    assert found, f"{code} finds nothing at {path}"
    assert found[0].file == str(file)
    written = file.read_text(encoding="utf-8").splitlines()
    assert words in written[found[0].line - 1]
    assert all((found[0].found, found[0].breaks, found[0].remedy))


def test_a_volume_that_replaces_an_inherited_one_is_no_fault() -> None:
    found = {(line.rule, line.path) for line in _lines(GUIDES / "production.yaml")}
    assert ("OPS-C105", "services.ollama-1.volumes") not in found


def test_no_password_is_repeated() -> None:
    for file in GUIDES.iterdir():
        words = " ".join(line.message + line.remedy for line in _lines(file))
        assert not any(
            secret in words for secret in ("sk-1234", "minioadmin", "postgres:postgres", "user:password")
        )


@pytest.mark.parametrize("file", sorted((HERE / "good").iterdir()), ids=lambda file: file.stem)
def test_nothing_is_held_against_a_file_in_good_style(file: Path) -> None:
    assert [line.message for line in _lines(file) if line.severity != "info"] == []


OWN = sorted((HERE.parents[1] / "deploy").glob("*/compose*.yaml"))


@pytest.mark.parametrize("file", OWN, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_nothing_is_held_against_our_own_files(file: Path) -> None:
    assert [line.message for line in _lines(file) if line.severity != "info"] == []
