"""Obelisk's configurations of LiteLLM, as the proxy of the stack's image reads them and routes by them.

Nothing is asked but LiteLLM and Redis: in place of each chat model its name answers (`mock_response`, LiteLLM's own).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.projects import DEPLOY, Form
from tests.servers.docker import Docker
from tests.servers.images import LoadImages
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.whole, pytest.mark.timeout(180)]

FILES = {file.stem: file for file in sorted((DEPLOY / "obelisk" / "litellm").glob("*.yaml"))}
every_file = pytest.mark.parametrize("name", FILES)
Read = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def read(
    docker: Docker,
    stack_images: LoadImages,
    redis_process: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Read:
    """What LiteLLM says of each file."""
    image = Form("obelisk", "dev").services["litellm"]["image"]
    stack_images([image])
    folder = tmp_path_factory.mktemp("configurations")
    shutil.copy(Path(__file__).with_name("ask_litellm.py"), folder)
    for name, file in FILES.items():
        config = yaml.safe_load(file.read_text())
        for one in config["model_list"]:
            if one["model_info"]["mode"] == "chat":
                one["litellm_params"]["mock_response"] = one["model_name"]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    words = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks GitHub
        "REDIS_HOST": redis_process.host,
        "REDIS_PORT": str(redis_process.port),
        "REDIS_PASSWORD": redis_process.password,
        **dict.fromkeys(("OPENAI_API_KEY", "LITELLM_MASTER_KEY", "DATABASE_URL"), "sk-a-word"),
    }
    given = [word for name, value in words.items() for word in ("--env", f"{name}={value}")]
    said = docker.run(
        "run", "--rm", "--network=host", *given, f"--volume={folder}:/asked:ro", "--entrypoint=python3", image,
        "/asked/ask_litellm.py", *(f"/asked/{name}.yaml" for name in FILES),
    )  # fmt: skip
    return dict(zip(FILES, json.loads(said), strict=True))


@every_file
def test_the_length_of_a_question_chooses_the_model(read: Read, name: str) -> None:
    too_long = "ContextWindowExceededError"
    last = "long" if name == "production" else too_long
    assert read[name]["answers"] == {
        "5": "auto", "2000": "balanced", "5000": "quality", "12000": last, "60000": too_long
    }  # fmt: skip


@every_file
def test_no_vectors_of_one_model_stand_in_for_those_of_another(read: Read, name: str) -> None:
    found = read[name]
    groups: dict[str, set[tuple[str, str, int | None]]] = {}
    for one in found["models"]:
        groups.setdefault(one["name"], set()).add((one["model"], one["mode"], one["vector"]))
    embedding = {
        group for group, models in groups.items() if any(mode == "embedding" for _, mode, _ in models)
    }
    assert embedding, "it serves no embedding model"
    for group in embedding:
        [(_, _, vector)] = groups[group]
        assert vector
    lists = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
    edges = [(one, others) for key in lists for pair in found[key] or () for one, others in pair.items()]
    assert edges
    for one, others in edges:
        assert not embedding & {one, *others}
        assert {one, *others} <= set(groups), "it falls back to what is not there"


@every_file
def test_retries_and_what_is_taken_out(read: Read, name: str) -> None:
    found = read[name]
    assert (found["num_retries"], found["retry_after"]) == (2, 5)
    assert (found["allowed_fails"], found["cooldown_time"]) == (3, 60)
    assert found["routing_strategy"] == "usage-based-routing-v2"
    assert found["enable_pre_call_checks"], "without it no length is looked at"
    assert found["drop_params"]
    assert found["master_key"], "anybody may ask"


@every_file
def test_cache(read: Read, name: str) -> None:
    wanted = {"type": "redis", "ttl": 3600.0, "hit": True} if name == "production" else None
    assert read[name]["cache"] == wanted
