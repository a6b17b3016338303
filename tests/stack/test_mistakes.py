"""Each kind of mistake in a declaration: where it is shown, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack.toy import load, problems, told

HEAD = "stack: t\n"

# name: (what follows the first line, every problem in order)
MISTAKES: dict[str, tuple[str, list[str]]] = {
    "unknown key": (
        "colections: []\n",
        ["2:1: colections: unknown key `colections`; it would set nothing; did you mean `collections`?"],
    ),
    "unknown key unlike any": (
        "zzz: 1\n",
        ["2:1: zzz: unknown key `zzz`; it would set nothing; known here: collections, components, environment, "
         "every, mode, region, retries, secrets, stack"],
    ),
    "unknown key in one form of several": (
        "components:\n  cache:\n    kind: redis\n    port: 6379\n    modles: [a]\n",
        ["6:5: components.cache.modles: unknown key `modles`; it would set nothing; "
         "known here: kind, password, port"],
    ),
    "unknown key near one of its own form": (
        "components:\n  llm:\n    kind: ollama\n    modles: [a]\n",
        ["5:5: components.llm.modles: unknown key `modles`; it would set nothing; did you mean `models`?"],
    ),
    "unknown key in an item of a list": (
        "collections:\n  - name: a\n    shar: 1\n",
        ["4:5: collections.0.shar: unknown key `shar`; it would set nothing; did you mean `share`?"],
    ),
    "missing key": (
        "components:\n  cache:\n    kind: redis\n",
        ["3:3: components.cache.port: `port` is missing; it has no default (Port that clients use); "
         "add `port: …`"],
    ),
    "unknown form": (
        "components:\n  llm: {kind: olama}\n",
        ["3:15: components.llm.kind: the text 'olama'; only `ollama` or `redis` can stand here; "
         "did you mean `ollama`?"],
    ),
    "missing form": (
        "components:\n  llm: {port: 1}\n",
        ["3:3: components.llm: `kind` is missing; it says which form is meant; "
         "add `kind: …`, one of `ollama`, `redis`"],
    ),
    "text for a number": (
        "retries: many\n",
        ["2:10: retries: the text 'many'; a whole number is needed here; write a whole number, without quotes"],
    ),
    "quoted number": (
        'retries: "3"\n',
        ["2:10: retries: the text '3'; a whole number is needed here; write a whole number, without quotes"],
    ),
    "fraction for a whole number": (
        "retries: 1.5\n",
        ["2:10: retries: the number 1.5; a whole number is needed here; write a whole number, without quotes"],
    ),
    "yes for true": (
        "components:\n  llm: {kind: ollama, gpu: yes}\n",
        ["3:28: components.llm.gpu: the text 'yes'; true or false is needed here; write `true`"],
    ),
    "number for a text": (
        "region: 12\n",
        ['2:9: region: the number 12; a text is needed here; put it in quotes: "12"'],
    ),
    "nothing for a text": ("region:\n", ["2:8: region: nothing; a text is needed here; write a text"]),
    "text for a list": (
        "collections: docs\n",
        ["2:14: collections: the text 'docs'; a list is needed here; write `- item` lines below it"],
    ),
    "list for a mapping": (
        "components:\n  - llm\n",
        ["2:1: components: a list; a mapping of keys is needed here; write `key: value` lines below it"],
    ),
    "neither of two forms": (
        "collections: [1]\n",
        ["2:15: collections.0: the number 1; a mapping of keys or a text is needed here; "
         "write `key: value` lines below it"],
    ),
    "nearest of two forms": (
        "collections:\n  - nme: a\n",
        ["3:5: collections.0.name: `name` is missing; it has no default; add `name: …`",
         "3:5: collections.0.nme: unknown key `nme`; it would set nothing; did you mean `name`?"],
    ),
    "word that is not known": (
        "mode: observ\n",
        ["2:7: mode: the text 'observ'; only `observe` or `approve` or `auto` can stand here; "
         "did you mean `observe`?"],
    ),
    "out of bounds": (
        "components:\n  llm: {kind: ollama, port: 70000}\n",
        ["3:29: components.llm.port: the number 70000; it should be less than or equal to 65535; "
         "write such a value"],
    ),
    "a validator's own words": (
        "every: 5 minutes\n",
        ["2:8: every: the text '5 minutes'; the stack cannot be loaded; "
         "write a duration as a number with a unit: 30s, 10m, 24h or 30d"],
    ),
    "variable that is not set": (
        "environment:\n  A: x-${NOT_SET}\n",
        ["3:6: environment.A: environment variable NOT_SET is not set; it has no default; "
         "set it, or write ${NOT_SET:-default}"],
    ),
    "variable without a name": (
        "region: ${1x}\n",
        ["2:9: region: `${1x}`, which names no variable; it cannot be filled in; "
         "write ${NAME}, ${NAME:-default}, or $${ for a plain ${"],
    ),
    "default that holds a variable": (
        "region: ${A:-${B}}\n",
        ["2:9: region: `${A:-${B}`, which names no variable; it cannot be filled in; "
         "write ${NAME}, ${NAME:-default}, or $${ for a plain ${"],
    ),
    "value of the environment, of the wrong type": (
        "retries: ${WORD}\n",
        ["2:10: retries: the value of `${WORD}`; a whole number is needed here; "
         "write a whole number, without quotes"],
    ),
    "quoted value of the environment": (
        'retries: "${NUMBER}"\n',
        ["2:10: retries: the value of `${NUMBER}`; a whole number is needed here; "
         "write a whole number, without quotes"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    text, expected = MISTAKES[name]
    path = tmp_path / "stack.yaml"
    assert told(path, HEAD + text, {"WORD": "hunter2", "NUMBER": "3"}) == [
        f"stack.yaml:{each}" for each in expected
    ]


def test_the_words_of_a_name_show_how_to_write_it(tmp_path: Path) -> None:
    assert told(tmp_path / "stack.yaml", "stack: My Stack\n") == [
        "stack.yaml:1:8: stack: the text 'My Stack'; it has not the form that is needed here; write it like `my-stack`"
    ]


def test_all_problems_are_told_in_one_go_by_line(tmp_path: Path) -> None:
    text = (
        "stack: t\ncolections: []\nsecrets:\n  a: hunter2\nregion: ${NOT_SET}\nregion: there\n"
        "components:\n  llm: {kind: ollama, port: x}\nprofile: nowhere\n"
    )
    found = problems(tmp_path / "stack.yaml", text)
    assert [(each.line, each.where) for each in found] == [
        (2, "colections"), (4, "secrets.a"), (5, "region"), (6, "region"), (8, "components.llm.port"), (9, "profile"),
    ]  # fmt: skip


def test_one_value_is_complained_about_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path / "stack.yaml", HEAD + "retries: ${NOT_SET}\n")) == 1


def test_nothing_is_called_missing_where_a_part_could_not_be_read(tmp_path: Path) -> None:
    assert [each.where for each in problems(tmp_path / "stack.yaml", "include: gone.yaml\nbad: 1\n")] == [
        "include",
        "bad",
    ]


def test_a_file_that_is_not_yaml_is_one_problem(tmp_path: Path) -> None:
    assert [each.line for each in problems(tmp_path / "stack.yaml", "# a\nregion: 1\nb: c: d\n")] == [3]


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.mkdir()
    from ops_pipelines.errors import DeclarationError
    from ops_pipelines.stack.loader import load_stack

    for place, why in ((path, "Is a directory"), (tmp_path / "x.yaml", "No such file or directory")):
        with pytest.raises(DeclarationError) as caught:
            load_stack(place, environ={})
        assert str(caught.value.problems[0]).startswith(f"{place}:1:1: a file that cannot be read; {why}")


def test_a_sound_file_is_loaded_with_its_places(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    loaded = load(
        path,
        HEAD + "components:\n  llm:\n    kind: ollama\n    models: [a, b]\ncollections: [x, {name: y}]\n",
    )
    assert loaded.stack.model_dump()["components"]["llm"]["models"] == ("a", "b")
    assert loaded.position("components.llm.models.1") == (str(path), 5, 17)
    assert loaded.position("components.llm.port") == (str(path), 3, 3), "a default: the place of its mapping"
    assert loaded.position("nothing.at.all") == (str(path), 1, 1)
    assert loaded.sources == (path,)
