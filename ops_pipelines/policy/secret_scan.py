"""Does a text hold the value of a secret? Answers by place, never with the value.

A long value counts wherever it stands, as it is or as base64, URL-quoted or JSON-escaped text. A short or
plain word (`postgres`, `admin`) would be found in every file that says `kind: postgres`: it counts only where
a credential stands, which is a line whose key names one, or the password of a URL.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

_PLAIN = re.compile(r"[a-z]{1,15}|.{1,7}", re.DOTALL)
_CREDENTIAL = re.compile(
    rb"(pass(word|wd|phrase)?|pwd|secret|token|credential|salt|(api|access|private|encryption|master|auth)"
    rb"[-_ ]?key)[\"'\w-]*\s*[:=]\s*[\"']?$",
    re.IGNORECASE,
)
_USERINFO = re.compile(rb"://[^\s/@:]*:$")
_LINE = 16
"""Lines of a secret of several lines count on their own from this length on."""


@dataclass(frozen=True)
class Leak:
    """One place where the value of a secret stands."""

    secret: str
    """Name of the secret."""
    line: int
    """Line of the file, counted from 1."""


def find_secrets(content: bytes, secrets: Mapping[str, str]) -> tuple[Leak, ...]:
    """Every secret (name -> value) whose value stands in `content`, at its first place there."""
    leaks = []
    for name, value in secrets.items():
        places = [place for form in _forms(value) if (place := _place(content, form, value)) is not None]
        if places:
            leaks.append(Leak(name, content.count(b"\n", 0, min(places)) + 1))
    return tuple(sorted(leaks, key=lambda leak: leak.line))


def _forms(value: str) -> set[bytes]:
    """How a value may be spelled in a file."""
    if not value.strip():
        return set()
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""),
    }
    found = {form.encode() for form in forms}
    if not _PLAIN.fullmatch(value):
        found |= {base64.b64encode(value.encode()), base64.b64encode(value.encode() + b"\n")}
        lines = (line.strip() for line in value.splitlines())
        found |= {line.encode() for line in lines if len(line) >= _LINE and not line.startswith("-----")}
    return found


def _place(content: bytes, form: bytes, value: str) -> int | None:
    """Offset at which a form stands, or None."""
    plain = _PLAIN.fullmatch(value) is not None
    at = content.find(form)
    while at >= 0:
        if not plain or _is_credential(content, at, at + len(form)):
            return at
        at = content.find(form, at + 1)
    return None


def _is_credential(content: bytes, start: int, end: int) -> bool:
    """True where a short value stands alone after a key that names a credential, or as a URL's password."""
    before = content[content.rfind(b"\n", 0, start) + 1 : start]
    after = content[end : end + 1]
    if _USERINFO.search(before):
        return after == b"@"
    return _CREDENTIAL.search(before) is not None and after in (
        b"",
        b"\n",
        b"\r",
        b" ",
        b'"',
        b"'",
        b",",
        b"}",
    )
