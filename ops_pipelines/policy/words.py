"""Amounts as a person reads them."""

from __future__ import annotations

from datetime import datetime

from ops_pipelines.policy.manifest import Part


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


def read_in_words(part: Part) -> str:
    """When a part was read, and which of its hooks failed: `02:00:01 to 02:00:09 UTC; hook `flush` failed`."""
    bad = [f"hook `{run.what}` failed" for run in part.hooks if not run.ok]
    try:
        times = [datetime.fromisoformat(at).strftime("%H:%M:%S") for at in (part.started, part.finished)]
    except ValueError:  # written by an early version, or by somebody else
        return "; ".join(bad)
    return "; ".join((f"{times[0]} to {times[1]} UTC", *bad))


_FLOWS = frozenset({"bytes", "rows", "blobs", "files", "points", "keys"})
"""What moves at a rate. How long a container takes to become healthy says nothing of the next one."""


def progress_line(step: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """`models: 120.0 MiB of 1.2 GiB, 10 %, 60.0 MiB/s, 18 s left`; without rate and estimate for what does not flow."""
    show = size_in_words if unit == "bytes" else (lambda amount: f"{amount:.0f} {unit}")
    if total is None:
        return f"{step}: {show(done)}"
    words = [f"{step}: {show(done)} of {show(total)}"]
    if total:
        words.append(f"{100 * done / total:.0f} %")
    if seconds > 1 and done and unit in _FLOWS:
        rate = done / seconds
        words.append(f"{show(rate)}/s")
        if done < total:
            words.append(f"{(total - done) / rate:.0f} s left")
    return ", ".join(words)
