"""Each stack of deploy/, deployed whole by our own deploy on a real engine, and asked through its public port."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ops_pipelines.wiring import deployments
from tests.deploy.projects import Form
from tests.real_models import fill_caches
from tests.servers.docker import Docker
from tests.servers.images import LoadImages
from tests.servers.seaweed import Seaweed
from tests.whole import removed_after, whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUESTION = {"messages": [{"role": "user", "content": "Say one word."}], "max_tokens": 8}


def test_obelisk(
    docker: Docker, seaweed: Seaweed, bucket: str, stack_images: LoadImages, tmp_path: Path
) -> None:
    here = whole(docker, Form("obelisk", "dev"), seaweed, bucket, tmp_path)
    stack_images(here.images)
    with removed_after(docker, here.project):
        site = here.site()
        fill_caches(site)
        assert deployments.deploy(site, by="test").revision == 1
        assert [one.ok for one in deployments.smoke(site)] == [True, True]
        key = {"Authorization": f"Bearer {here.environ['LITELLM_MASTER_KEY']}"}
        for port in (4000, 8001):
            asked = {"model": "auto", **QUESTION}
            answer = httpx.post(f"{here.url(port)}/v1/chat/completions", json=asked, headers=key, timeout=120)
            assert answer.json()["choices"][0]["message"]["content"].strip(), answer.text
