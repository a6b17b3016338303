"""Written quantities: `10m` is 600 seconds, `16Gi` is 17179869184 bytes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti|)B?")


def parse_duration(value: object) -> float:
    """Seconds of `90`, `90s`, `10m`, `24h`, `30d`. Raises ValueError with the forms that are known."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration as a number with a unit: 30s, 10m, 24h or 30d")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(value: object) -> int:
    """Bytes of `1024`, `8Gi`, `500M`. Raises ValueError with the forms that are known."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a size as a number with a unit: 512Mi, 16Gi, 500G")
    return int(float(match[1]) * _BYTES[match[2]])


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DURATION.pattern}]}
    ),
]
"""Seconds, written `30s`, `10m`, `24h`, `30d` or as a bare number."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(ge=0),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE.pattern}]}
    ),
]
"""Bytes, written `512Mi`, `16Gi`, `500G` or as a bare number."""

Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$", max_length=63),
]
"""A name: lower-case letters, digits, `-` and `_`, starting with a letter, at most 63 characters."""


def _none_is_no(value: object) -> object:
    return False if value == "none" else value


Backed = Annotated[
    bool,
    BeforeValidator(_none_is_no),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"const": "none"}]}),
]
"""Whether something is backed up: `true`, or `none` (`false`), for which its `reason` says why."""
