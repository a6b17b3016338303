"""What is slow to come is asked for while the last of it is worked on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
_WAIT = 0.1
"""Seconds after which a full queue is looked at again, for whether anybody still reads."""


def ahead(items: Generator[Item, None, None], *, depth: int = 2) -> Generator[Item, None, None]:
    """The items, up to `depth` of them fetched before they are asked for, by a thread of their own.

    What the iterator raises is raised here, in its place. Where the reader ends early the iterator is closed,
    by the thread that ran it, before this returns."""
    queue: Queue[tuple[Item | None, BaseException | None]] = Queue(depth)
    over = Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not over.is_set():
            try:
                queue.put((item, error), timeout=_WAIT)
                return
            except Full:
                continue

    def fetch() -> None:
        try:
            with closing(items):
                for item in items:
                    put(item, None)
                    if over.is_set():
                        return
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are read
            put(None, error)
        else:
            put(None, StopIteration())

    thread = Thread(target=fetch, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc] # no error, so it is an item
    finally:
        over.set()
        while thread.is_alive():
            try:
                queue.get_nowait()
            except Empty:
                thread.join(_WAIT)
