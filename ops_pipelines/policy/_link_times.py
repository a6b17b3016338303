"""Schedules that no scheduler would take: one of them would keep every stack from loading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from ops_pipelines.policy._link_problem import LinkProblem
from ops_pipelines.stack.model import Stack

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_ITEM = re.compile(r"(\*|(?P<low>\w+)(-(?P<high>\w+))?)(/(?P<step>\d+))?")
_SHORT_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def time_links(stack: Stack) -> Iterator[LinkProblem]:
    """Cron expressions and time zones that mean nothing."""
    backup, drill, observe = stack.backup, stack.drill, stack.observe
    crons = {
        "drill.schedule": drill.schedule,
        "drill.full_schedule": drill.full_schedule,
        "observe.schedule": observe.schedule,
    }
    zones = {"drill.timezone": drill.timezone, "observe.timezone": observe.timezone}
    if backup is not None:
        zones["backup.timezone"] = backup.timezone
        crons |= {
            "backup.schedule": backup.schedule,
            "backup.verify_schedule": backup.verify_schedule,
            "backup.prune_schedule": backup.prune_schedule,
        }
    for path, cron in crons.items():
        wrong = cron_mistake(cron) if cron is not None else None
        if wrong:
            remedy = "write five fields, such as `0 2 * * *` for 02:00 each day"
            yield LinkProblem(path, f"`{cron}`: {wrong}", "it would never run", remedy)
    for path, zone in zones.items():
        if not is_zone(zone):
            remedy = "write a name of the IANA list, such as UTC or Europe/Berlin"
            yield LinkProblem(path, f"`{zone}`", "no time zone has that name", remedy)


@lru_cache(1024)
def cron_mistake(cron: str) -> str | None:
    """What is wrong with five fields of cron (crontab(5): numbers, names, lists, ranges, steps), or None."""
    parts = cron.split()
    if len(parts) != len(_FIELDS):
        return "it has not five fields"
    values: list[set[int]] = []
    for text, (name, low, high, names) in zip(parts, _FIELDS, strict=True):
        found: set[int] = set()
        for item in text.split(","):
            numbers = _numbers(item, low, high, names)
            if not numbers:
                return f"`{item}` is no {name} ({low} to {high})"
            found |= numbers
        values.append(found)
    days, months, weekdays_free = values[2], values[3], parts[4] == "*"
    if weekdays_free and all(min(days) > _SHORT_MONTHS.get(month, 31) for month in months):
        return "no month has that day"
    return None


def _numbers(item: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    match = _ITEM.fullmatch(item.lower())
    if match is None:
        return set()
    first = low if match["low"] is None else _number(match["low"], low, names)
    last = _last(match, first, low, high, names)
    step = int(match["step"] or 1)
    if first is None or last is None or not low <= first <= last <= high or step < 1:
        return set()
    return set(range(first, last + 1, step))


def _last(match: re.Match[str], first: int | None, low: int, high: int, names: tuple[str, ...]) -> int | None:
    if match["high"] is not None:
        return _number(match["high"], low, names)
    return high if match["low"] is None or match["step"] else first


def _number(word: str, low: int, names: tuple[str, ...]) -> int | None:
    if word in names:
        return names.index(word) + low
    return int(word) if word.isdecimal() else None


@cache
def is_zone(name: str) -> bool:
    """Whether a time zone has that name."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        return False
    except KeyError:
        return False
    return True
