"""Includes and profiles: what wins, and where a problem of the winner is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipelines.stack._merge import apply_profile, lay_over, plain
from ops_pipelines.stack._yaml import parse
from tests.stack.toy import load, problems, told

HEAD = "stack: t\n"

# base, override, result, removals of nothing
MERGES = {
    "a new key": ("a: 1", "b: 2", {"a": 1, "b": 2}, []),
    "a value replaces": ("a: 1", "a: 2", {"a": 2}, []),
    "mappings merge": ("a: {b: 1, c: 1}", "a: {c: 2}", {"a": {"b": 1, "c": 2}}, []),
    "deeply": ("a: {b: {c: 1, d: 1}}", "a: {b: {d: 2}}", {"a": {"b": {"c": 1, "d": 2}}}, []),
    "lists replace": ("a: [1, 2]", "a: [3]", {"a": [3]}, []),
    "a mapping replaces a value": ("a: 1", "a: {b: 2}", {"a": {"b": 2}}, []),
    "a value replaces a mapping": ("a: {b: 1}", "a: 2", {"a": 2}, []),
    "null removes": ("a: {b: 1, c: 1}", "a: {b: null}", {"a": {"c": 1}}, []),
    "null removes a mapping": ("a: {b: 1}\nc: 1", "a:", {"c": 1}, []),
    "null removes nothing": ("a: {c: 1}", "a: {b: null}", {"a": {"c": 1}}, ["a.b"]),
    "another kind replaces": ("a: {kind: b, c: 1}", "a: {kind: d, e: 1}", {"a": {"kind": "d", "e": 1}}, []),
    "the same kind merges": (
        "a: {kind: b, c: 1}",
        "a: {kind: b, e: 1}",
        {"a": {"kind": "b", "c": 1, "e": 1}},
        [],
    ),
    "no kind merges": ("a: {kind: b, c: 1}", "a: {c: 2}", {"a": {"kind": "b", "c": 2}}, []),
    "a false value is a value": ("a: true", "a: false", {"a": False}, []),
}


@pytest.mark.parametrize("name", MERGES)
def test_profiles_merge_as_helm_does(name: str) -> None:
    base, over, result, idle = MERGES[name]
    first = parse(base.encode(), "f").root
    tree, removals = apply_profile(first, parse(over.encode(), "f").root)
    assert plain(tree) == result
    assert [path for path, _ in removals] == idle
    assert plain(first) == plain(parse(base.encode(), "f").root), "the base is shared and may not change"


def test_a_null_in_a_profile_outlives_the_merge_of_files() -> None:
    fragment = parse(b"profiles: {p: {a: 1, b: {c: 1}}}", "fragment").root
    file = parse(b"profiles: {p: {a: null, b: {d: null}}}", "file").root
    assert plain(lay_over(fragment, file)) == {"profiles": {"p": {"a": None, "b": {"c": 1, "d": None}}}}


PROFILES = """\
stack: t
retries: 1
components:
  llm: {kind: ollama, port: 80}
  cache: {kind: redis, port: 6379}
profile: local
profiles:
  local:
    retries: 2
  production:
    components:
      llm:
        port: many
      cache: null
  empty:
"""


def test_the_file_chooses_a_profile_and_the_caller_another(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    sound = PROFILES.replace("many", "81")
    local = load(path, sound)
    assert (local.profile, local.profiles) == ("local", ("local", "production", "empty"))
    assert local.stack.model_dump()["retries"] == 2
    assert local.position("retries") == (str(path), 9, 14)
    production = load(path, sound, profile="production")
    assert production.stack.model_dump()["retries"] == 1
    assert list(production.stack.model_dump()["components"]) == ["llm"]
    assert load(path, sound, profile="empty").stack.model_dump()["retries"] == 1
    assert load(path, sound.replace("profile: local\n", "")).profile is None
    assert load(path, sound.replace("profile: local", "profile: ${P:-empty}")).profile == "empty"
    assert len({load(path, sound, profile=name).digest for name in local.profiles}) == 3


def test_a_profile_is_laid_over_those_that_it_extends(tmp_path: Path) -> None:
    text = HEAD + (
        "retries: 1\nprofile: c\nprofiles:\n  c: {extends: b, region: c}\n  a: {retries: 2, region: a, mode: auto}\n"
        "  b: {extends: a, region: b, mode: null}\n"
    )
    stack = load(tmp_path / "stack.yaml", text).stack.model_dump()
    assert (stack["retries"], stack["region"], stack["mode"]) == (2, "c", "observe")


def test_a_problem_of_an_override_is_shown_in_the_override(tmp_path: Path) -> None:
    found = problems(tmp_path / "stack.yaml", PROFILES, profile="production")
    assert [(each.line, each.column, each.where) for each in found] == [(13, 15, "components.llm.port")]


def test_a_key_missing_from_merged_mappings_is_shown_where_they_begin(tmp_path: Path) -> None:
    text = (
        HEAD
        + "components:\n  c: {kind: redis}\nprofile: p\nprofiles: {p: {components: {c: {password: null}}}}\n"
    )
    assert [(each.line, each.where) for each in problems(tmp_path / "stack.yaml", text)] == [
        (3, "components.c.port")
    ]


def test_a_removal_of_nothing_is_a_warning(tmp_path: Path) -> None:
    loaded = load(tmp_path / "stack.yaml", HEAD + "profiles: {p: {retries: null}}\n", profile="p")
    assert [each.severity for each in loaded.warnings] == ["warning"]


def test_what_another_profile_holds_is_not_asked_of_the_environment(tmp_path: Path) -> None:
    text = PROFILES.replace("many", "${PORT}")
    assert problems(tmp_path / "stack.yaml", text) == ()
    assert [each.line for each in problems(tmp_path / "stack.yaml", text, profile="production")] == [13]


OF_PROFILES = {
    "unknown, asked for": (
        "profiles: {local: {}, production: {}}\n", "producton",
        "2:1: profile: no profile `producton` (asked for by the caller); known profiles: local, production; "
        "did you mean `production`?",
    ),
    "unknown, in the file": (
        "profiles: {local: {}}\nprofile: zzz\n", None,
        "3:10: profile: no profile `zzz`; known profiles: local; "
        "ask for another one or for none, or add it under `profiles:`",
    ),
    "no profiles": (
        "", "dev",
        "1:1: profile: no profile `dev` (asked for by the caller); this file has no profiles; "
        "ask for another one or for none, or add it under `profiles:`",
    ),
    "not a name": ("profile: [a]\n", None, "2:1: profile: a list; a name is needed here; write `profile: NAME`"),
    "name from a variable that is not set": (
        "profile: ${P}\n", None, "2:10: profile: environment variable P is not set"
    ),
    "not a mapping": (
        "profiles: [a]\n", None, "2:1: profiles: a list; overrides by profile are needed here",
    ),
    "not keys": (
        "profile: a\nprofiles:\n  a: 1\n", None, "4:6: profiles.a: the number 1; keys that override are needed here",
    ),
    "extends nothing": (
        "profiles:\n  local: {extends: bsae}\n  base: {}\n", "local",
        "3:20: profiles.local.extends: no profile `bsae`; known profiles: local, base; did you mean `base`?",
    ),
    "extends a list": (
        "profiles:\n  a: {extends: [b]}\n", "a", "3:7: profiles.a.extends: no profile ``; known profiles: a; name",
    ),
    "extends in a circle": (
        "profiles:\n  a: {extends: b}\n  b: {extends: a}\n", "a",
        "4:16: profiles.b.extends: profiles that extend each other: a → b → a; they have no end; "
        "take one `extends` out of the circle",
    ),
    "include inside": (
        "profiles:\n  a:\n    include: [x]\n", "a", "4:5: profiles.a.include: `include` inside a profile",
    ),
    "removal of nothing": (
        "profiles:\n  a:\n    retries: null\n", "a",
        "4:14: profiles.a.retries: `retries: null` removes nothing; nothing is declared there; "
        "check the key, or remove the line",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_PROFILES)
def test_each_mistake_of_profiles_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    text, profile, start = OF_PROFILES[name]
    found = told(tmp_path / "stack.yaml", HEAD + text, profile=profile)
    assert len(found) == 1, found
    assert found[0].startswith(f"stack.yaml:{start}"), found[0]


# --- includes ---------------------------------------------------------------------------------------------


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_file_wins_over_later_includes_and_those_over_earlier(tmp_path: Path) -> None:
    _write(
        tmp_path,
        a="retries: 1\nregion: a\nmode: auto\n",
        b="include: c.yaml\nregion: b\n",
        c="every: 5m\nregion: c\n",
    )
    loaded = load(tmp_path / "stack.yaml", HEAD + "include: [a.yaml, b.yaml]\nretries: 3\n")
    stack = loaded.stack.model_dump()
    assert (stack["retries"], stack["region"], stack["mode"], stack["every"]) == (3, "b", "auto", 300.0)
    assert [path.name for path in loaded.sources] == ["stack.yaml", "a.yaml", "b.yaml", "c.yaml"]
    assert loaded.position("every") == (str(tmp_path / "c.yaml"), 1, 8)
    assert loaded.position("region") == (str(tmp_path / "b.yaml"), 2, 9)


def test_an_include_is_relative_to_the_file_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "shared/deep").mkdir(parents=True)
    (tmp_path / "shared/one.yaml").write_text("include: [deep/two.yaml]\n")
    (tmp_path / "shared/deep/two.yaml").write_text("region: two\n")
    (tmp_path / "s").mkdir()
    for reference in ("../shared/one.yaml", str(tmp_path / "shared/one.yaml"), '"${DIR}/one.yaml"'):
        loaded = load(tmp_path / "s/stack.yaml", HEAD + f"include: [{reference}]\n", {"DIR": "../shared"})
        assert loaded.stack.model_dump()["region"] == "two"


def test_a_fragment_may_hold_profiles_and_be_included_twice(tmp_path: Path) -> None:
    _write(
        tmp_path, a="include: c.yaml\n", b="include: c.yaml\n", c="profiles: {p: {retries: 1, region: c}}\n"
    )
    text = HEAD + "include: [a.yaml, b.yaml]\nprofile: p\nprofiles: {p: {region: here}}\n"
    stack = load(tmp_path / "stack.yaml", text).stack.model_dump()
    assert (stack["retries"], stack["region"]) == (1, "here")


def test_a_null_takes_out_what_a_fragment_declares(tmp_path: Path) -> None:
    _write(tmp_path, a="retries: 5\nregion: there\n")
    stack = load(tmp_path / "stack.yaml", HEAD + "include: [a.yaml]\nregion: null\n").stack.model_dump()
    assert (stack["retries"], stack["region"]) == (5, "here")


OF_INCLUDES = {
    "missing": ("include:\n  - basse.yaml\n", "stack.yaml:3:5: include: no file basse.yaml; "
                "what it declares is missing; did you mean `base.yaml`?"),
    "missing, unlike any": ("include: [x/y.yaml]\n", "stack.yaml:2:11: include: no file x/y.yaml"),
    "itself": ("include: [stack.yaml]\n", "stack.yaml:2:11: include: files that include each other: "
               "stack.yaml → stack.yaml; they have no end"),
    "circle": ("include: [one.yaml]\n", "two.yaml:1:10: include: files that include each other: "
               "stack.yaml → one.yaml → two.yaml → one.yaml"),
    "number": ("include: [5]\n", "stack.yaml:2:11: include: the number 5; a path is needed here"),
    "mapping": ("include: {a: b}\n", "stack.yaml:2:10: include: a mapping of keys; a path is needed here"),
    "variable that is not set": ("include: ['${X}/a']\n", "stack.yaml:2:11: include: environment variable X"),
    "fragment that is not YAML": ("include: [tab.yaml]\n", "tab.yaml:2:1: a tab in the indentation"),
    "fragment with a mistake": ("include: [base.yaml]\n", "base.yaml:2:10: retries: the text 'many'"),
    "folder": ("include: ['.']\n", "stack.yaml:2:11: include: no file"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_INCLUDES)
def test_each_mistake_of_includes_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    _write(
        tmp_path,
        base="region: a\nretries: many\n",
        one="include: two.yaml\n",
        two="include: one.yaml\n",
        tab="a:\n\t- b\n",
    )
    text, start = OF_INCLUDES[name]
    found = told(tmp_path / "stack.yaml", HEAD + text)
    assert len(found) == 1, found
    assert found[0].startswith(start), found[0]


def test_a_problem_of_a_fragment_is_told_once(tmp_path: Path) -> None:
    _write(tmp_path, a="include: c.yaml\n", b="include: c.yaml\n", c="region: x\nregion: y\n")
    assert len(told(tmp_path / "stack.yaml", HEAD + "include: [a.yaml, b.yaml]\n")) == 1


def test_includes_that_multiply_are_stopped(tmp_path: Path) -> None:
    for level in range(12):
        (tmp_path / f"f{level}.yaml").write_text(f"include: [f{level + 1}.yaml, f{level + 1}.yaml]\n")
    (tmp_path / "f12.yaml").write_text("region: x\n")
    found = told(tmp_path / "stack.yaml", HEAD + "include: f0.yaml\n")
    assert len(found) == 1
    assert "more than 100 includes" in found[0]
