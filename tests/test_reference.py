"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import re

import pytest

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.model import Stack
from tools import reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    written = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), "run `python -m tools.reference`"


def test_a_changed_page_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reference, "PAGES", {"cli.md": lambda: "something else\n"})
    monkeypatch.setattr("sys.argv", ["reference", "--check"])
    assert reference.main() == 1
    assert "not up to date: cli.md" in capsys.readouterr().out


def test_every_key_of_every_model_is_there() -> None:
    text = reference.stack_file()
    missing = [
        f"{model.__name__}.{name}"
        for model in _below(Stack, set())
        for name in model.model_fields
        if f"| `{name}` |" not in text
    ]
    assert not missing


def test_links_within_the_page_lead_somewhere() -> None:
    for render in reference.PAGES.values():
        text = render()
        anchors = {reference._anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def _below(model: type[Declared], seen: set[type[Declared]]) -> set[type[Declared]]:
    if model in seen:
        return seen
    seen.add(model)
    for info in model.model_fields.values():
        for inner in reference._models(info.annotation):
            _below(inner, seen)
    return seen
