"""One stack, and Dagster's pages over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.life.pages import Pages, serve_pages
from tests.life.small import Small
from tests.servers.docker import Docker
from tests.servers.seaweed import Seaweed


@pytest.fixture
def small(docker: Docker, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Iterator[Small]:
    """A stack of two servers, its files written, its images on the engine."""
    made = Small(docker, seaweed, bucket, tmp_path)
    made.make_images()
    made.write()
    yield made
    made.remove()


@pytest.fixture
def pages(small: Small) -> Iterator[Pages]:
    """The pages of the small stack."""
    with serve_pages(small.root, small.environ) as found:
        yield found
