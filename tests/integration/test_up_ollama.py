"""`ops-pipelines up` where Ollama is installed: it is the model server, and its store the model cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import require
from tests.servers.up import READY, TEXTS, Up, assert_nothing_left, assert_short


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    require("seaweedfs")
    require("milvus-lite")
    made = Up(tmp_path, OPS_OLLAMA=str(require("ollama").path))
    yield made
    made.close()


@pytest.mark.slow
def test_ollama_serves_is_backed_up_and_its_copy_is_drilled(up: Up) -> None:
    """The model is created in an Ollama of a moment's life, and the drill asks one that runs on the restored store."""
    up.start("--once")
    up.until_said(READY)
    assert up.ended() == 0
    assert "obelisk (local-ollama) runs on this machine." in up.log
    assert re.search(r"^  model cache +1 model\(s\)", up.log, re.M), up.log
    assert f"collection      obelisk_docs: {len(TEXTS)} rows" in up.log
    assert re.search(r"^  snapshot .*verified, drilled$", up.log, re.M), up.log
    assert re.search(r"recall@10 1\.000, passed", up.log), up.log
    assert re.search(rf"^  ollama +http://127\.0\.0\.1:{up.chosen['OPS_OLLAMA_PORT']}$", up.log, re.M), up.log
    assert up.chosen["OPS_PROFILES"] == "obelisk=local-ollama"
    store = up.home / "stacks/obelisk/ollama"
    assert [path.name for path in store.glob("manifests/*/*/*/*")], "the model lies in the stack's own store"
    supervised = (up.home / "supervisor/supervisord.log").read_text()
    assert "obelisk--fill.ollama.0" in supervised
    assert "obelisk--drill.ollama.0" in supervised
    assert_short(up.log)
    assert_nothing_left(up)


def test_a_named_ollama_that_is_none_is_said(up: Up, tmp_path: Path) -> None:
    up.start(OPS_OLLAMA=str(tmp_path / "none"))
    assert up.ended() == 2
    assert f"OPS_OLLAMA is {tmp_path / 'none'}, which does not run" in up.log
    assert_short(up.log, 3)
    assert_nothing_left(up)
