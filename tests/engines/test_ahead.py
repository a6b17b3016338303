"""Reading ahead: in order, bounded, and ended with its reader."""

from __future__ import annotations

from collections.abc import Generator
from threading import Event

import pytest

from ops_pipelines.engines.parts._ahead import ahead


def test_items_come_in_order_and_no_more_than_asked_for_ahead() -> None:
    fetched: list[int] = []

    def items() -> Generator[int, None, None]:
        for number in range(100):
            fetched.append(number)
            yield number

    for number in ahead(items(), depth=2):
        assert len(fetched) <= number + 1 + 2 + 2
        assert fetched[number] == number
    assert len(fetched) == 100
    assert list(ahead(number for number in ())) == []


def test_an_error_comes_in_its_place() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise OSError("gone")

    read = ahead(items())
    assert next(read) == 1
    with pytest.raises(OSError, match="gone"):
        next(read)


def test_who_ends_early_ends_the_source_too() -> None:
    closed = Event()

    def items() -> Generator[int, None, None]:
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    for number in ahead(items()):
        if number == 3:
            break
    assert closed.wait(10)
