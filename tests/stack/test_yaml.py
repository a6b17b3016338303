"""Files that are not YAML, or more than YAML should be: each is one problem, with its place."""

from __future__ import annotations

import pytest

from ops_pipelines.stack._merge import find, plain
from ops_pipelines.stack._yaml import MAX_BYTES, parse, typed


def _told(data: bytes) -> list[str]:
    return [str(problem) for problem in parse(data, "f.yaml").problems]


UNREADABLE = {
    "empty": (b"", "f.yaml:1:1: an empty file; it declares nothing"),
    "comment only": (b"# nothing\n", "f.yaml:1:1: an empty file"),
    "list at the top": (b"# a\n- a\n", "f.yaml:2:1: a list at the top of the file; keys are needed here"),
    "value at the top": (b"hello\n", "f.yaml:1:1: a single value at the top of the file"),
    "tab": (b"a:\n\t- b\n", "f.yaml:2:1: a tab in the indentation; the file is not YAML; indent with spaces"),
    "open bracket": (b"a: [1\n", "f.yaml:1:6: a syntax error"),
    "colon in a text": (b"a: 1\nb: c: d\n", "f.yaml:2:5: a syntax error (mapping values"),
    "bare reference in a flow": (b"a: {b: ${X}}\n", "f.yaml:1:9: a syntax error"),
    "open quote": (b'a: "x\n', "f.yaml:1:6: a syntax error"),
    "second document": (b"a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document (`---`)"),
    "unknown alias": (b"a: 1\nb: *c\n", "f.yaml:2:4: a syntax error (found undefined alias)"),
    "not UTF-8": (b"a: 1\nb: caf\xe9\n", "f.yaml:2:7: a byte that is not UTF-8 (0xe9)"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "f.yaml:1:1: a byte that is not UTF-8 (0xff)"),
    "control character": (b"a: 1\nbc: \x01\n", "f.yaml:2:5: a control character"),
    "large": (b"a: " + b"x" * MAX_BYTES, f"f.yaml:1:1: a file of more than {MAX_BYTES} bytes"),
    "object": (
        b"a: !!python/name:os.system x\n",
        "f.yaml:1:4: a: the tag `tag:yaml.org,2002:python/name:os.system`",
    ),
    "own tag": (b"a: {b: !env X}\n", "f.yaml:1:8: a.b: the tag `!env`"),
    "key that is a list": (b"a: 1\n? [b]\n: 2\n", "f.yaml:2:3: a key that is a mapping or a list"),
    "key twice": (
        b"a: 1\nb: 2\na: 3\n",
        "f.yaml:3:1: a: `a` twice, on lines 1 and 3; one of the two would be lost",
    ),
    "key twice below": (b"a:\n  b: 1\n  b: 1\n", "f.yaml:3:3: a.b: `b` twice, on lines 2 and 3"),
    "merge of a value": (
        b"a: &x 1\nb:\n  <<: *x\n",
        "f.yaml:1:4: b.<<: a `<<` of something that has no keys",
    ),
    "anchor that holds itself": (b"a: &x\n  b: *x\n", "f.yaml:1:4: an anchor that holds itself"),
    "deep brackets": (b"a: " + b"[" * 200_000, "f.yaml:1:103: values nested too deeply"),
    "deep lines": (
        "".join(f"{' ' * n}a:\n" for n in range(150)).encode(),
        "f.yaml:102:102: values nested too deeply",
    ),
    "deep aliases": (
        b"a0: &a0 [" + b"[" * 60 + b"]" * 60 + b"]\na1: [" + b"[" * 60 + b"*a0" + b"]" * 60 + b"]\n",
        "f.yaml:2:26: values nested too deeply",
    ),
    "deep dashes": (b"a:\n  " + b"- " * 200_000 + b"x", "f.yaml:2:201: values nested too deeply"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_each_unreadable_file_is_one_problem_with_its_place(name: str) -> None:
    data, start = UNREADABLE[name]
    told = _told(data)
    assert len(told) == 1, told
    assert told[0].startswith(start), told[0]


def test_a_problem_says_what_mends_it() -> None:
    assert all(len(told.split("; ")) >= 3 for data, _ in UNREADABLE.values() for told in _told(data))


def test_aliases_that_blow_up_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases that add more than 10000 values" in _told("\n".join(lines).encode())[0]


def test_aliases_of_a_usual_size_are_written_out() -> None:
    document = parse(b"a: &x {k: [1, 2]}\nb: *x\nc: *x\n", "f.yaml")
    assert not document.problems
    assert plain(document.root) == {key: {"k": [1, 2]} for key in "abc"}


def test_stars_without_an_anchor_are_plain_words() -> None:
    assert plain(parse(b'a: "*/5 * * * *"\nb: x *y\n', "f").root) == {"a": "*/5 * * * *", "b": "x *y"}


def test_merge_keys_give_way_to_written_ones_and_keep_their_place() -> None:
    text = b"x: &x {p: 1, q: 1}\ny: &y {p: 2, r: 2}\nz:\n  q: 3\n  <<: [*x, *y]\n"
    document = parse(text, "f.yaml")
    assert plain(document.root)["z"] == {"p": 1, "q": 3, "r": 2}
    assert find(document.root, "z.p") == ("f.yaml", 1, 11)
    assert find(document.root, "z.q") == ("f.yaml", 4, 6)


def test_a_quoted_merge_key_is_a_key() -> None:
    assert plain(parse(b'"<<": 1\n', "f").root) == {"<<": 1}


TYPES = {
    "1": 1, "-7": -7, "+7": 7, "0": 0, "0x1F": 31, "0o17": 15, "1.5": 1.5, "1e3": 1000.0, ".5": 0.5, "2.": 2.0,
    "true": True, "False": False, "null": None, "~": None, "": None,
    # YAML 1.1 would take these for false, true, 150 minutes, 420 and a thousand.
    "no": "no", "on": "on", "02:30": "02:30", "0644": "0644", "1_000": "1_000",
    "1.2.3": "1.2.3", "-": "-", "0x": "0x", "2024-01-01": "2024-01-01", "1e": "1e", "trUe": "trUe",
}  # fmt: skip


@pytest.mark.parametrize("text", TYPES)
def test_plain_scalars_are_typed_by_yaml_1_2(text: str) -> None:
    value = typed(text)
    assert value == TYPES[text]
    assert type(value) is type(TYPES[text])


def test_a_number_too_long_for_a_number_stays_a_text() -> None:
    assert typed("9" * 5000) == "9" * 5000


@pytest.mark.parametrize("written", ['"12"', "'12'", "!!str 12", "|-\n  12"])
def test_quoted_numbers_are_texts(written: str) -> None:
    assert plain(parse(f"a: {written}\n".encode(), "f").root) == {"a": "12"}


def test_a_byte_order_mark_is_no_key() -> None:
    assert plain(parse(b"\xef\xbb\xbfa: 1\n", "f").root) == {"a": 1}


def test_places_count_from_one_in_characters() -> None:
    root = parse("ä: {ö: [x, é: 1]}\n".encode(), "f").root
    assert find(root, "ä.ö") == ("f", 1, 5)
    assert find(root, "ä.ö.1.é") == ("f", 1, 15)
    assert find(root, "ä.ü") is None
    assert find(root, "ä.ö.7") is None


def test_a_path_finds_keys_that_hold_dots() -> None:
    root = parse(b"a:\n  b.c:\n    d: 1\n  b: {c: 2}\n", "f").root
    assert find(root, "a.b.c.d") == ("f", 3, 8)
    assert find(root, "a.b") == ("f", 4, 3)
