"""Paths as a manifest holds them: UTF-8 text, relative, one spelling for each file, and staying in their folder.

Names of volumes and keys of buckets may be any bytes. In these parts what is
not plain stands in percent form, as in URLs; `%-` stands for nothing and `%~` at the end of a name for "goes on
in the next", so that a key with `//` in it, or of which another one is the beginning, is a path as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

LONGEST_PATH = 4096
"""Bytes; what Linux takes. A key of S3 has at most 1024, in percent form three times as many."""
_HOPS = 40
"""Links followed before a chain of them counts as a loop, as in Linux."""
_PLAIN = re.compile(r"[^\x00-\x1f\x7f%\\\udc80-\udcff]")
_CODE = re.compile(r"%([0-9A-F]{2})")
_NAME = 200
"""Bytes of one name of a key's path; the longest that file systems take is 255."""


def safe_path(path: str) -> PurePosixPath:
    """The path, where it stays inside the folder it is put in. Raises ValueError otherwise."""
    if not isinstance(path, str):
        raise ValueError(f"the path {path!r} is no text")  # noqa: TRY004 - the callers know one error
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\0" in path or "\\" in path:
        raise ValueError(f"the path {path[:200]!r} would leave its folder")
    if str(pure) != path:
        raise ValueError(f"the path {path[:200]!r} is another spelling of {str(pure)[:200]!r}")
    if len(path.encode("utf-8", "replace")) > LONGEST_PATH:
        raise ValueError(f"the path {path[:80]!r}... is longer than {LONGEST_PATH} bytes")
    return pure


def coded_name(path: str) -> str:
    """A file's path (as `os.fsdecode` gives it) in percent form: bytes that are no UTF-8, control characters,
    `%` and the backslash are coded, all else stands as it is."""
    return "".join(_coded(char) for char in path)


def _coded(char: str) -> str:
    return char if _PLAIN.fullmatch(char) else "".join(f"%{byte:02X}" for byte in os.fsencode(char))


def decoded_name(path: str) -> str:
    """The path that `coded_name` coded. Raises ValueError for what it cannot have given."""
    name = os.fsdecode(_CODE.sub(lambda code: chr(int(code[1], 16)), _latin(path)).encode("latin-1"))
    if coded_name(name) != path:
        raise ValueError(f"the path {path[:200]!r} is in no right percent form")
    return name


def _latin(path: str) -> str:
    """The UTF-8 bytes of a text, each as one character."""
    return path.encode("utf-8").decode("latin-1")


def coded_keys(keys: Collection[str]) -> dict[str, str]:
    """Path of each key of a bucket. No two are equal, and none lies below another."""
    above = {
        "/".join(parts[:end]) for key in keys for parts in [key.split("/")] for end in range(1, len(parts))
    }
    return {key: _coded_key(key) + ("%-" if key in above else "") for key in keys}


def _coded_key(key: str) -> str:
    return "/".join(_coded_step(step) for step in key.split("/"))


def _coded_step(step: str) -> str:
    if not step.strip("."):
        return step.replace(".", "%2E") or "%-"
    names, name = [], ""
    for code in (_coded(char) for char in step):
        if len((name + code).encode()) > _NAME:
            names.append(f"{name}%~")
            name = ""
        name += code
    return "/".join([*names, name])


def decoded_key(path: str) -> str:
    """The key whose path this is. Raises ValueError for what `coded_keys` cannot have given."""
    text = path.replace("%~/", "").replace("%-", "")
    key = _CODE.sub(lambda code: chr(int(code[1], 16)), _latin(text)).encode("latin-1").decode("utf-8")
    if path not in (_coded_key(key), f"{_coded_key(key)}%-"):
        raise ValueError(f"the path {path[:200]!r} is the form of no key")
    return key


def link_target(path: str, link: str) -> str:
    """Where a relative link points by its words, seen from the part's folder (`.`: the folder itself).

    Raises ValueError where it leaves it."""
    if not isinstance(link, str) or not link or "\0" in link or PurePosixPath(link).is_absolute():
        raise leaves(path, link)
    steps: list[str] = list(PurePosixPath(path).parent.parts)
    for step in PurePosixPath(link).parts:
        if step != "..":
            steps.append(step)
        elif steps:
            steps.pop()
        else:
            raise leaves(path, link)
    return "/".join(steps) or "."


def leaving(links: Mapping[str, str]) -> tuple[str, ...]:
    """Links (path -> target) that lead out of the folder, by themselves or through one another.

    A link that leads round in a circle leads nowhere, and stays."""
    return tuple(path for path in links if _leaves(path, links))


def _leaves(path: str, links: Mapping[str, str]) -> bool:
    """Walks as the system would: a `..` after a link goes up from where the link leads."""
    todo = list(reversed(path.split("/")))
    here: list[str] = []
    hops = 0
    while todo:
        step = todo.pop()
        if step in ("", "."):
            continue
        if step == "..":
            if not here:
                return True
            here.pop()
            continue
        here.append(step)
        target = links.get("/".join(here))
        if target is None:
            continue
        hops += 1
        if hops > _HOPS:
            return False
        if target.startswith("/"):
            return True
        here.pop()
        todo += reversed(target.split("/"))
    return False


def clashing(paths: Iterable[str]) -> tuple[str, str] | None:
    """Two paths that are one where upper and lower case are the same, or None."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            return other, path
    return None


def leaves(path: str, link: str) -> ValueError:
    """The error that a link leads out of its folder."""
    return ValueError(f"the link {str(path)[:200]!r} -> {str(link)[:200]!r} would leave its folder")
