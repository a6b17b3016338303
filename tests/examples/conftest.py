"""The real model, laid out once for all tests of the examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.examples.model_server import MODEL, hub_cache, minilm


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    hub_cache.fill_hub_cache(folder)
    return folder


@pytest.fixture(scope="session")
def model(cache: Path) -> Any:
    return minilm.MiniLM(minilm.snapshot_of(cache, MODEL)[0])
