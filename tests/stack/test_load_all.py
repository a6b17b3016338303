"""Folders of stacks: a broken file stops no other, and no two have one name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ops_pipelines.stack import _includes
from ops_pipelines.stack._yaml import Document, parse
from ops_pipelines.stack.loader import Loaded, load_all
from tests.stack.toy import Toy

SOUND = "stack: {name}\n"


def _load(folder: Path, files: Mapping[str, str], *dirs: str, **more: str) -> Loaded:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return load_all([folder / each for each in dirs or ("",)], environ={}, model=Toy, profile_of=more.get)


def _names(loaded: Loaded) -> list[str]:
    return [stack.stack.stack for stack in loaded.stacks]


def test_stack_files_are_found_in_a_folder_and_one_level_below(tmp_path: Path) -> None:
    files = {
        "a/stack.yaml": "stack: a\n", "b/stack.yml": "stack: b\n", "c.stack.yaml": "stack: c\n",
        "d/deeper/stack.yaml": "stack: d\n", "e/values.yaml": "stack: e\n", ".hidden/stack.yaml": "stack: f\n",
        "stack.yaml": "stack: g\n", "notstack.yaml": "stack: h\n",
    }  # fmt: skip
    loaded = _load(tmp_path, files)
    assert sorted(_names(loaded)) == ["a", "b", "c", "g"]
    assert not loaded.broken


def test_a_broken_file_stops_no_other(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path,
        {
            "a/stack.yaml": "stack: a\n",
            "b/stack.yaml": "stack: named-b\nbad: 1\n",
            "My C/stack.yaml": "stack: [\n",
            "d.stack.yaml": "{",
        },
    )
    assert _names(loaded) == ["a"]
    places = {broken.name: broken.problems[0].line for broken in loaded.broken}
    assert places == {"named-b": 2, "my-c": 1, "d": 1}


def test_the_second_stack_of_one_name_is_broken_and_told_of_the_first(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path, dict.fromkeys(("a/stack.yaml", "b/stack.yaml", "c/stack.yaml"), "# x\nstack: same\n")
    )
    assert [stack.path for stack in loaded.stacks] == [tmp_path / "a/stack.yaml"]
    assert str(loaded.broken[0].problems[0]) == (
        f"{tmp_path}/b/stack.yaml:2:8: stack: a second stack named `same`; "
        f"{tmp_path}/a/stack.yaml declares it already; give one of them another name, or remove one"
    )
    assert [broken.name for broken in loaded.broken] == ["b", "c"]


def test_names_of_broken_files_are_unique(tmp_path: Path) -> None:
    files = {f"{folder}/a/stack.yaml": "stack: a\nbad: 1\n" for folder in "xyz"}
    loaded = _load(tmp_path, files, "x", "y", "z")
    assert [broken.name for broken in loaded.broken] == ["a", "a-2", "a-3"]


def test_a_file_in_two_folders_is_loaded_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    loaded = _load(tmp_path, {"a/stack.yaml": "stack: a\n"}, "", "a", "link")
    assert _names(loaded) == ["a"]
    assert not loaded.broken


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    loaded = _load(tmp_path, {"a/stack.yaml": "stack: a\n"}, "gone", "")
    assert _names(loaded) == ["a"]
    assert [problem.found for problem in loaded.problems] == ["no such folder"]


def test_each_stack_has_the_profile_that_is_chosen_for_it(tmp_path: Path) -> None:
    text = "stack: {}\nprofile: one\nprofiles: {{one: {{}}, two: {{retries: 2}}}}\n"
    loaded = _load(tmp_path, {f"{name}/stack.yaml": text.format(name) for name in ("a", "b")}, b="two")
    assert [(stack.stack.stack, stack.profile) for stack in loaded.stacks] == [("a", "one"), ("b", "two")]


def test_a_shared_fragment_is_read_once_and_not_altered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def noted(data: bytes, file: str) -> Document:
        read.append(Path(file).name)
        return parse(data, file)

    monkeypatch.setattr(_includes, "parse", noted)
    files = {f"{name}/stack.yaml": f"stack: {name}\ninclude: [../shared.yaml]\n" for name in "abc"}
    files["shared.yaml"] = "components:\n  llm: {kind: ollama, port: 1}\n"
    files["b/stack.yaml"] += "components: {llm: {port: 2}}\n"
    loaded = _load(tmp_path, files)
    ports = [stack.stack.model_dump()["components"]["llm"]["port"] for stack in loaded.stacks]
    assert ports == [1, 2, 1]
    assert sorted(read) == ["shared.yaml", "stack.yaml", "stack.yaml", "stack.yaml"]
    places = [Path(stack.position("components.llm.port").file).resolve() for stack in loaded.stacks]
    assert places == [tmp_path / name for name in ("shared.yaml", "b/stack.yaml", "shared.yaml")]
