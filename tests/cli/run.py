"""The real command line, run in this process: its words, its exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from ops_pipelines.cli import main

_OURS = ("OPS_", "AWS_")


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)


@dataclass
class CommandLine:
    """`ops-pipelines`, in a folder and an environment of a test's own."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    folder: Path

    def __call__(self, *words: str | Path, environ: Mapping[str, str] | None = None) -> Answer:
        """Run it. Of this process's environment, it is given nothing that is the project's or Amazon's."""
        self.capsys.readouterr()
        with self.monkeypatch.context() as change:
            for name in [name for name in os.environ if name.startswith(_OURS)]:
                change.delenv(name)
            for name, value in (environ or {}).items():
                change.setenv(name, value)
            change.chdir(self.folder)
            change.setattr(sys, "argv", ["ops-pipelines", *(str(word) for word in words)])
            try:
                with pytest.raises(SystemExit) as ended:
                    main()
            finally:
                structlog.reset_defaults()  # it writes to the captured stream, which is about to close
        said = self.capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Answer(code, said.out, said.err)
