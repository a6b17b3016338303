"""Amounts as a person reads them."""

from __future__ import annotations


def size_in_words(size: float) -> str:
    """Bytes: `512 B`, `87.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PiB"
