"""What `up` says while it works: a line a step, with the time it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Terminal(Console):
    """Standard error. rich ends the process where nobody reads a pipe any more; here work goes on unseen."""

    def __init__(self, file: TextIO | None = None, **settings: Any) -> None:
        super().__init__(file=file or sys.stderr, highlight=False, soft_wrap=True, **settings)

    def on_broken_pipe(self) -> None:
        """Say nothing more."""
        self.quiet = True


class Steps:
    """Lines on the terminal. On a real one, the step under way is shown with a spinner.

    A terminal that is gone (closed, a pipe that nobody reads) stops no work.
    """

    def __init__(self, console: Terminal) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Note]:
        """One step; it ends with a line that has its time, and whatever note was made."""
        begun, note = time.monotonic(), Note()
        try:
            with self.working(title):
                yield note
        except BaseException:
            self.say(f"[red]failed[/]  {escape(title)}  ({time.monotonic() - begun:.1f} s)")
            raise
        self.done(title, time.monotonic() - begun, note.words)

    @contextmanager
    def working(self, title: str) -> Iterator[Spinner]:
        """What is under way, on a real terminal."""
        spinner = Spinner(self._console.status(escape(title)) if self._console.is_terminal else None)
        spinner.start()
        try:
            yield spinner
        finally:
            spinner.stop()

    def done(self, title: str, seconds: float, words: str = "") -> None:
        """The line of a step that went well."""
        more = f"  {escape(words)}" if words else ""
        self.say(f"[green]ok[/]      {escape(title)}{more}  [dim]({seconds:.1f} s)[/]")

    def say(self, markup: str = "") -> None:
        """A line of its own, in rich's markup."""
        with suppress(OSError):
            self._console.print(markup)


class Note:
    """What a step adds to its line."""

    words: str = ""


class Spinner:
    """A title with something that turns; nothing where there is no terminal."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def start(self) -> None:
        """Show it."""
        if self._status is not None:
            with suppress(OSError):
                self._status.start()

    def stop(self) -> None:
        """Take it away."""
        if self._status is not None:
            with suppress(OSError):
                self._status.stop()

    def show(self, title: str) -> None:
        """Another title."""
        if self._status is not None:
            with suppress(OSError):
                self._status.update(escape(title))
