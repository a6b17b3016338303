"""Each stack of deploy/, deployed whole by our own deploy on a real engine, and asked through its public port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops_pipelines.wiring import deployments
from tests.deploy.projects import Form, forms
from tests.real_models import fill_caches
from tests.servers.docker import Docker
from tests.servers.images import LoadImages
from tests.servers.seaweed import Seaweed
from tests.waiting import until
from tests.whole import Whole, removed_after, self_signed, whole
from tools.images import all_images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Start = Callable[..., Whole]
QUESTION = {"messages": [{"role": "user", "content": "Say one word."}], "max_tokens": 8}


@pytest.fixture
def start(
    docker: Docker, seaweed: Seaweed, bucket: str, stack_images: LoadImages, tmp_path: Path
) -> Iterator[Start]:
    """Deploy a form whole, its caches filled; it is removed at the end."""
    with ExitStack() as after:

        def deployed(stack: str, profile: str, *profiles: str, **more: Any) -> Whole:
            here = whole(docker, Form(stack, profile), seaweed, bucket, tmp_path, profiles=profiles, **more)
            stack_images(here.images)
            after.enter_context(removed_after(docker, here.project))
            site = here.site()
            fill_caches(site)
            assert deployments.deploy(site, by="test").revision == 1
            return here

        yield deployed


@pytest.mark.whole
def test_obelisk(start: Start) -> None:
    here = start("obelisk", "dev")
    assert [one.ok for one in deployments.smoke(here.site())] == [True, True]
    for port in (4000, 8001):  # LiteLLM itself, and the RAG server that asks it, with a row of Milvus or none
        assert words(here.url(port), "auto", here.environ["LITELLM_MASTER_KEY"])


@pytest.mark.whole
def test_multi_adapter(start: Start) -> None:
    here = start("multi-adapter-llama3", "compose", "monitoring")
    for path in ("base", "chatbot", "code", "summarization"):
        assert words(f"{here.url(8080)}/{path}", "llama3:8b")
    for port in (11434, 11440, 11441, 11442, 11450, 11451, 11460):
        models = httpx.get(f"{here.url(port)}/api/tags").json()["models"]
        assert [one["name"] for one in models] == ["llama3:8b"], f"{port}: the router may send a client there"
    watched(here, 9090, 3001, "MULTI_ADAPTER_GRAFANA_PASSWORD")


@pytest.mark.whole
def test_llm_service(start: Start) -> None:
    here = start("llm-service", "gpu-24", "monitoring")
    assert words(here.url(8002), "standard", here.environ["LITELLM_MASTER_KEY"])
    watched(here, 9090, 3001, "LLM_SERVICE_GRAFANA_PASSWORD")


@pytest.mark.whole
def test_aphrodite(start: Start) -> None:
    rights = {
        "APHRODITE_CLIENT_KEYS": "key-of-a a\nkey-of-b b\n",
        "APHRODITE_CLIENT_RIGHTS": "a:chat x\nb:embeddings x\n",
    }
    here = start(
        "aphrodite", "single-node", "monitoring", words={"APHRODITE_TLS_PEM": self_signed(), **rights}
    )
    model = "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4"
    assert words(here.url(8443, "https"), model, "key-of-a")
    assert ask(here.url(8443, "https"), model, "key-of-b").status_code == 403
    watched(here, 9090, 3000, "APHRODITE_GRAFANA_PASSWORD")


@pytest.mark.whole
def test_vllm_local_swarm(start: Start) -> None:
    here = start("vllm-local-swarm", "default", "proxy", "monitoring")
    assert words(here.url(8000), "microsoft/Phi-3.5-mini-instruct")
    alive = "import ray; ray.init(address='auto'); print(sum(node['Alive'] for node in ray.nodes()))"
    assert here.docker.run("exec", here.container("ray-head"), "python", "-c", alive).splitlines()[-1] == "3"
    watched(here, 9090, 3001, "SWARM_GRAFANA_PASSWORD")


def test_there_is_an_image_of_each_name() -> None:
    named = {one["image"] for form in forms() for one in form.services.values()}
    assert named <= set(all_images()), "a service's image has no recipe in tools/images/catalog"


def ask(url: str, model: str, key: str = "") -> httpx.Response:
    """A question to a server of OpenAI's addresses."""
    headers: Mapping[str, str] = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": model, **QUESTION}
    return httpx.post(
        f"{url}/v1/chat/completions",
        json=body,
        headers=headers,
        timeout=300,
        verify=False,  # noqa: S501 - the certificate is the test's own
    )


def words(url: str, model: str, key: str = "") -> str:
    """What the server says."""
    answer = ask(url, model, key)
    assert answer.status_code == 200, answer.text
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said.strip()


def watched(here: Whole, prometheus: int, grafana: int, password: str) -> None:
    """Prometheus reads everything that it is told of, and Grafana shows the stack's dashboard."""

    def targets() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{here.url(prometheus)}/api/v1/targets").json()["data"][
            "activeTargets"
        ]
        return found

    until(
        lambda: {one["health"] for one in targets()} == {"up"},
        what=f"all of {here.form}'s targets to be up: {targets()}",
        seconds=60,
    )
    shown = httpx.get(f"{here.url(grafana)}/api/search", auth=("admin", here.environ[password])).json()
    assert shown
