"""Amounts as a person reads them."""

from __future__ import annotations


def size_in_words(size: float) -> str:
    """Bytes: `512 B`, `87.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PiB"


def time_in_words(seconds: float) -> str:
    """A length of time: `12.3 s`, `30.5 min`, `26.0 h`."""
    if abs(seconds) < 120:
        return f"{seconds:.1f} s"
    if abs(seconds) < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
