"""What lint says of a file's structure, held against what Docker Compose itself does with the file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lint.compose_cases import CASES
from tests.parts import require

HERE = Path(__file__).parent
_CODES = {"OPS-C101", "OPS-C102", "OPS-C105", "OPS-C106", "OPS-C110", "OPS-C112", "OPS-C113"}
REFUSED = [row for row in CASES if row[0] in _CODES]
SET = (
    "KEY",
    "K",
    "S",
    "PW",
    "PRIVATE_ADDRESS",
    "REDIS_PASSWORD",
    "DB_PASSWORD",
    "SECRET_KEY",
    "WEBUI_SECRET_KEY",
)


def _refused(file: Path) -> str:
    """What Compose says of a file that it refuses; nothing where it takes it."""
    environ = dict.fromkeys(SET, "10.0.0.1") | {"PATH": "/usr/bin:/bin", "HOME": str(file.parent)}
    command = [str(require("compose").path), "--file", str(file), "config", "--quiet"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("row", REFUSED, ids=[f"{number}-{row[0]}" for number, row in enumerate(REFUSED)])
def test_compose_refuses_what_lint_says_that_it_refuses(
    row: tuple[str, str, str, str, int, str], tmp_path: Path
) -> None:
    _, text, wrong, right, _, _ = row
    file = tmp_path / "compose.yaml"
    file.write_text(text, encoding="utf-8")
    assert _refused(file)
    file.write_text(text.replace(wrong, right), encoding="utf-8")
    assert not _refused(file)


@pytest.mark.parametrize("name", ["production.yaml", "nvidia.yaml", "amd-gpu.yaml"])
def test_compose_refuses_these_guides(name: str) -> None:
    assert "undefined" in _refused(HERE / "guides" / name)


@pytest.mark.parametrize("file", sorted((HERE / "good").iterdir()), ids=lambda file: file.stem)
def test_compose_takes_the_files_in_good_style(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "compose.yaml"
    copy.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "app.env").touch()
    assert not _refused(copy)
