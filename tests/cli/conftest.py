from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.run import CommandLine


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """The command line in an empty folder."""
    return CommandLine(monkeypatch, capsys, tmp_path)
