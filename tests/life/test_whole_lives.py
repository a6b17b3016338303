"""The whole life of each stack of deploy/, led from Dagster's pages over GraphQL, on images of real programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.life.aphrodite import Aphrodite
from tests.life.leading import lead
from tests.life.llm_service import LlmService
from tests.life.multi_adapter import MultiAdapter
from tests.life.obelisk import Obelisk
from tests.life.pages import serve_pages
from tests.life.swarm import Swarm
from tests.life.whole_stack import WholeStack
from tests.servers.docker import Docker
from tests.servers.images import LoadImages
from tests.servers.seaweed import Seaweed
from tests.whole import removed_after

pytestmark = [pytest.mark.slow, pytest.mark.whole, pytest.mark.timeout(1800)]


STACKS = [Aphrodite, LlmService, MultiAdapter, Swarm, Obelisk]


@pytest.mark.parametrize("kind", STACKS, ids=lambda kind: kind.form.stack)
def test_the_life_of_a_whole_stack(
    kind: type[WholeStack],
    docker: Docker,
    seaweed: Seaweed,
    bucket: str,
    stack_images: LoadImages,
    tmp_path: Path,
) -> None:
    living = kind(docker, seaweed, bucket, tmp_path, stack_images)
    living.make_images()
    living.write()
    with removed_after(docker, living.project), serve_pages(living.root, living.environ) as pages:
        lead(living, pages)
