"""Manifests of somebody who means harm, or of a disk that forgets: each is refused with words, as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ops_pipelines.errors import SnapshotDamaged
from ops_pipelines.policy import manifest_check
from ops_pipelines.policy.manifest import FileEntry, FolderEntry, Manifest, Part, decode, encode

DIGEST = "a" * 64
GOOD = Manifest(
    "20260102T030405Z-abcdef",
    "demo",
    "2026-01-02T03:04:05+00:00",
    (
        Part(
            "volume", "data",
            (
                FileEntry("a/b", 3, DIGEST), FileEntry("link", 0, "", link="a/b"),
                FileEntry("a/up", 0, "", link="../a"),
                FileEntry("a/deep/d", 0, "", link="../.."), FileEntry("loop", 0, "", link="loop"),
            ),
            folders=(FolderEntry("."), FolderEntry("a", 0o2750, 0, 0, 1)),
        ),
        Part("bucket", "events", (FileEntry("x/%-/y%2541", 3, DIGEST),)),
    ),
)  # fmt: skip
"""A good one, of which each case below alters one thing."""


def at(*way: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets one value of the manifest's JSON."""

    def change(raw: dict[str, Any]) -> None:
        place: Any = raw
        for word in way[:-1]:
            place = place[word]
        place[way[-1]] = value

    return change


def file(**words: Any) -> Callable[[dict[str, Any]], None]:
    """Adds a file to the volume."""

    def change(raw: dict[str, Any]) -> None:
        raw["parts"][0]["files"].append({"size": 3, "sha256": DIGEST, **words})

    return change


def link(path: str, target: Any) -> Callable[[dict[str, Any]], None]:
    return file(path=path, link=target, size=0, sha256="")


def folder(**words: Any) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["parts"][0]["folders"].append(words)


def both(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for each in changes:
            each(raw)

    return change


FIRST = ("parts", 0, "files", 0)
CASES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "path that goes up": (file(path="../x"), "would leave its folder"),
    "path that goes up in the middle": (file(path="a/../../x"), "would leave its folder"),
    "absolute path": (file(path="/etc/passwd"), "would leave its folder"),
    "path of Windows": (file(path="a\\..\\x"), "would leave its folder"),
    "path with a NUL": (file(path="a\0b"), "would leave its folder"),
    "no path": (file(path=""), "would leave its folder"),
    "path that is a number": (file(path=7), "is no text"),
    "the folder itself as a file": (file(path="."), "a file is named '.'"),
    "two spellings of one path": (file(path="a//b"), "another spelling"),
    "path without end": (file(path="x" * 5000), "is longer than"),
    "deeper than any disk": (file(path="x/" * 4000 + "y"), "is longer than"),
    "coded path that goes up": (file(path="%2E%2E/x"), "no right percent form"),
    "coded slash": (file(path="x%2Fy"), "no right percent form"),
    "coded NUL": (file(path="x%00"), "holds a NUL"),
    "code in small letters": (file(path="x%0a"), "no right percent form"),
    "key in another form": (at("parts", 1, "files", 0, "path", value="x%2Fy"), "is the form of no key"),
    "key that is no text": (at("parts", 1, "files", 0, "path", value="x%FF"), "can't decode"),
    "path twice": (file(path="a/b"), "holds a path twice"),
    "file below a file": (file(path="a/b/c"), "lies below 'a/b', which is no folder"),
    "file below a link": (file(path="link/c"), "lies below 'link', which is no folder"),
    "folder below a link": (folder(path="a/up/x/y"), "lies below 'a/up', which is no folder"),
    "file that is a folder": (folder(path="a/b"), "is a file and a folder"),
    "folder twice": (folder(path="a"), "holds a path twice"),
    "folder that goes up": (folder(path="../x"), "would leave its folder"),
    "absolute link": (link("l", "/etc/passwd"), "would leave its folder"),
    "link that goes up": (link("l", "../x"), "would leave its folder"),
    "link to nothing": (link("l", ""), "would leave its folder"),
    "link that is a number": (link("l", 7), "would leave its folder"),
    "link through a link, upwards": (link("l", "a/deep/d/../x"), "'l' -> 'a/deep/d/../x' would leave"),
    "link through two links": (
        both(link("a/one", "deep/d"), link("two", "a/one/../x")), "'two' -> 'a/one/../x' would leave",
    ),
    "link with content": (file(path="l", link="a", size=3), "the link 'l' has a size"),
    "digest that is none": (at(*FIRST, "sha256", value="../../../etc/passwd"), "has no SHA-256 digest"),
    "digest in capitals": (at(*FIRST, "sha256", value="A" * 64), "has no SHA-256 digest"),
    "digest too short": (at(*FIRST, "sha256", value="a" * 63), "has no SHA-256 digest"),
    "digest that is a list": (at(*FIRST, "sha256", value=["a"] * 64), "has no SHA-256 digest"),
    "one digest, two sizes": (at(*FIRST, "size", value=4), "share a digest, not a size"),
    "size below nothing": (file(path="n", size=-1), "has the size -1"),
    "size beyond any disk": (file(path="n", size=2**63), "has the size 9223372036854775808"),
    "size that is a text": (file(path="n", size="3"), "has the size '3'"),
    "size that is true": (file(path="n", size=True), "has the size True"),
    "size that is no number": (file(path="n", size=3.5), "has the size 3.5"),
    "mode beyond modes": (file(path="n", mode=0o104755), "has the mode"),
    "mode that is a text": (file(path="n", mode="755"), "has the mode '755'"),
    "owner -1": (file(path="n", uid=-1), "has the owner -1"),
    "owner that means nobody changes": (file(path="n", gid=2**32 - 1), "has the owner 4294967295"),
    "time that is a text": (file(path="n", mtime_ns="now"), "bad operand type"),
    "time beyond times": (file(path="n", mtime_ns=2**80), "has the time"),
    "field that nobody knows": (file(path="n", setuid=True), "unexpected keyword"),
    "part outside": (at("parts", 0, "name", value="../data"), "would leave its folder"),
    "part in a folder": (at("parts", 0, "name", value="a/data"), "a part is named"),
    "hidden part": (at("parts", 0, "name", value=".ssh"), "a part is named"),
    "part that is everything": (at("parts", 0, "name", value="."), "a part is named"),
    "part of no kind": (at("parts", 0, "kind", value="program"), "unknown kind of part"),
    "part twice": (lambda raw: raw["parts"].append(raw["parts"][0]), "it holds volume/data twice"),
    "consistency of no kind": (at("parts", 0, "consistency", value="fine"), "unknown consistency"),
    "facts that are a list": (at("parts", 0, "facts", value=[]), "are no mapping"),
    "no parts": (lambda raw: raw.pop("parts"), "parts"),
    "files that are a text": (at("parts", 0, "files", value="abc"), "must be a mapping"),
}  # fmt: skip


def test_the_good_one_is_read() -> None:
    assert decode(encode(GOOD), where="it") == GOOD


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    change, words = CASES[name]
    raw = json.loads(encode(GOOD))
    change(raw)
    with pytest.raises(SnapshotDamaged) as caught:
        decode(json.dumps(raw).encode(), where="the manifest of X")
    assert caught.value.message.startswith("the manifest of X is damaged: ")
    assert words in caught.value.message
    assert len(caught.value.message) < 800


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"null", b"7", b'{"format": 1', b'{"format": 1}', b"\xff\xfe",
        b'{"format": 1, "parts": ' + b"[" * 100_000,
    ],
    ids=["empty", "list", "null", "number", "cut off", "bare", "no text", "nested without end"],
)  # fmt: skip
def test_what_is_no_manifest(content: bytes) -> None:
    with pytest.raises(SnapshotDamaged):
        decode(content, where="it")


def test_more_than_any_backup_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_check, "MOST_FILES", 7)
    with pytest.raises(SnapshotDamaged, match="8 files, more than the 7 of any snapshot"):
        decode(encode(GOOD), where="it")
    monkeypatch.setattr(manifest_check, "LARGEST_MANIFEST", 100)
    with pytest.raises(SnapshotDamaged, match="more than the 100 of any manifest"):
        decode(encode(GOOD), where="it")


def test_one_that_was_written_before_folders_and_owners() -> None:
    old = {
        "snapshot": "20260102T030405Z-abcdef", "stack": "demo", "created": "2026-01-02T03:04:05+00:00",
        "revision": None, "declaration": "", "writer": "0.1", "fence": 1, "uploaded": 3, "format": 1, "questions": [],
        "parts": [
            {
                "kind": "model_cache", "name": "models", "facts": {"layout": "directory"}, "consistency": "fuzzy",
                "started": "", "finished": "",
                "files": [{"path": "100%.bin", "size": 3, "sha256": DIGEST, "mode": 420, "link": None}],
            }
        ],
    }  # fmt: skip
    (part,) = decode(json.dumps(old).encode(), where="it").parts
    assert part.files == (FileEntry("100%.bin", 3, DIGEST),)
    assert part.folders == ()
