"""A migration that is killed before, within or after any step: the old form serves, and the next run ends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ops_pipelines.engines.migrate import Migration, migrate, read, write
from ops_pipelines.engines.ports import Progress, silent
from ops_pipelines.errors import PartFailed
from ops_pipelines.policy.migration import STEPS
from ops_pipelines.policy.plan import Finding


class Killed(BaseException):
    """As by kill -9: nothing of ours catches it."""


@dataclass
class Forms:
    """Two forms of a stack; `serving` is the one that the verbs act on."""

    die: str = ""
    """`before:step`, `after:step`."""
    good: bool = True
    serving: str = "old"
    calls: list[str] = field(default_factory=list)

    def _do(self, name: str) -> None:
        self._die(f"before:{name}")
        self.calls.append(name)
        if name == "switch":
            self.serving = "new"
        self._die(f"after:{name}")

    def _die(self, at: str) -> None:
        if self.die == at:
            raise Killed

    def backup(self, _progress: Progress) -> str:
        self._do("backup")
        return f"snapshot-{self.calls.count('backup')}"

    def files(self, _snapshot: str, _progress: Progress) -> None:
        self._do("files")

    def deploy(self, _snapshot: str, _progress: Progress) -> None:
        self._do("deploy")

    def servers(self, _snapshot: str, _progress: Progress) -> None:
        self._do("servers")

    def verify(self, _snapshot: str, _progress: Progress) -> tuple[Finding, ...]:
        self._do("verify")
        return (Finding("smoke", self.good, "a vector" if self.good else "no answer", "look at the log"),)

    def switch(self) -> None:
        self._do("switch")


NEW = Migration("chat", "local", "compose", "2026-11-21T00:00:00+00:00")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_step_and_gone_on_with(tmp_path: Path, step: str, when: str) -> None:
    path, forms = tmp_path / "migration.json", Forms(f"{when}:{step}")
    with pytest.raises(Killed):
        migrate(NEW, forms, lambda one: write(path, one), silent)
    assert forms.serving == ("new" if (when, step) == ("after", "switch") else "old")
    left = read(path)
    assert left is not None
    assert left.done == STEPS[: STEPS.index(step)]  # type: ignore[arg-type]
    forms.die = ""
    done = migrate(left, forms, lambda one: write(path, one), silent)
    assert done.switched
    assert forms.serving == "new"
    assert read(path) == done
    assert [forms.calls.count(name) for name in STEPS] == [
        2 if (name, when) == (step, "after") else 1 for name in STEPS
    ]


def test_what_does_not_check_out_is_not_switched_to(tmp_path: Path) -> None:
    path, forms = tmp_path / "migration.json", Forms(good=False)
    with pytest.raises(PartFailed, match="is not as local was: smoke: no answer") as caught:
        migrate(NEW, forms, lambda one: write(path, one), silent)
    assert "local still serves" in caught.value.remedy
    assert forms.serving == "old"
    forms.good = True
    left = read(path)
    assert left is not None
    assert migrate(left, forms, lambda one: write(path, one), silent).switched
    assert forms.calls.count("deploy") == 1


def test_an_unreadable_journal_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"half')
    assert read(tmp_path / "m.json") is None
    assert read(tmp_path / "absent.json") is None
