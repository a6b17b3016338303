"""The share of unchanged files that is read again: everything in a cycle, little in a night."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipelines.policy.cache_share import LastRead, due

DAY = 86_400.0
NOW = 2_000_000_000.0
HOUR = 3600.0


@pytest.mark.parametrize(
    ("files", "days", "expected"),
    [
        ({}, 14, set()),
        ({"a": LastRead(100, 0)}, 0, set()),
        ({"a": LastRead(100, 0)}, 1, {"a"}),
        ({"a": LastRead(100, NOW - DAY), "b": LastRead(100, NOW - 2 * DAY)}, 2, {"b"}),
        ({"a": LastRead(100, NOW - DAY), "b": LastRead(100, NOW - 2 * DAY)}, 1, {"a", "b"}),
        # read for the first time just now: not read twice in a day
        ({"a": LastRead(100, NOW - HOUR), "b": LastRead(100, NOW - 2 * HOUR)}, 2, set()),
        # what was read again today counts against tonight's share, what was pulled today does not
        ({"a": LastRead(100, NOW - HOUR, again=True), "b": LastRead(100, NOW - 2 * DAY)}, 2, set()),
        ({"a": LastRead(100, NOW - HOUR), "b": LastRead(100, NOW - 2 * DAY)}, 2, {"b"}),
        # one file that is larger than a share is read whole
        ({"big": LastRead(10_000, NOW - 9 * DAY), "b": LastRead(1, NOW - 2 * DAY)}, 14, {"big"}),
        # empty files are read as well
        ({"a": LastRead(0, NOW - 9 * DAY)}, 14, {"a"}),
        # a time that lies ahead is as good as none
        ({"a": LastRead(100, NOW + 9 * DAY, again=True), "b": LastRead(100, NOW - DAY)}, 2, {"a"}),
    ],
)
def test_due(files: dict[str, LastRead], days: int, expected: set[str]) -> None:
    assert due(files, now=NOW, days=days) == expected


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=30),
    days=st.integers(1, 20),
    late=st.lists(st.floats(-0.05, 0.05), min_size=20, max_size=20),
)
def test_all_is_read_in_a_cycle_and_not_much_more_in_a_night(
    sizes: list[int], days: int, late: list[float]
) -> None:
    files = {f"f{number}": LastRead(size, NOW) for number, size in enumerate(sizes)}
    read: set[str] = set()
    total = sum(max(1, size) for size in sizes)
    for night in range(1, days + 1):
        now = NOW + (night + late[night - 1]) * DAY
        chosen = due(files, now=now, days=days)
        assert chosen == due(dict(reversed(files.items())), now=now, days=days)
        weight = [max(1, files[path].size) for path in chosen]
        assert sum(weight) - max(weight, default=0) < -(-total // days)
        for path in chosen:
            files[path] = LastRead(files[path].size, now, again=True)
        read |= chosen
    assert read == set(files)
