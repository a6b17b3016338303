"""What a terminal shows: a line a step, with its time; on a real one, what is under way."""

from __future__ import annotations

import io

import pytest

from ops_pipelines.up.steps import Steps, Terminal


def lines(shown: io.StringIO) -> list[str]:
    return shown.getvalue().splitlines()


def test_a_step_is_one_line() -> None:
    shown = io.StringIO()
    steps = Steps(Terminal(shown))
    with steps.step("object store") as note:
        assert lines(shown) == []
        note.words = "127.0.0.1:8333"
    [line] = lines(shown)
    assert line.startswith("ok      object store  127.0.0.1:8333  (0.")


def test_a_step_that_fails_says_so_and_raises() -> None:
    shown = io.StringIO()
    steps = Steps(Terminal(shown))
    with pytest.raises(ZeroDivisionError), steps.step("object store"):
        raise ZeroDivisionError
    [line] = lines(shown)
    assert line.startswith("failed  object store  (0.")


def test_brackets_are_shown_as_they_are() -> None:
    shown = io.StringIO()
    steps = Steps(Terminal(shown))
    with steps.step("a [bold] title") as note:
        note.words = "[/] of [red]"
    assert "a [bold] title  [/] of [red]" in shown.getvalue()


def test_a_terminal_shows_what_is_under_way_and_keeps_the_line() -> None:
    shown = io.StringIO()
    steps = Steps(Terminal(shown, force_terminal=True, color_system=None))
    with steps.working("the first") as spinner:
        spinner.show("the second")
    with steps.step("object store"):
        pass
    assert "the second" in shown.getvalue()
    assert any("ok      object store" in line for line in lines(shown))


class Gone(io.StringIO):
    """A terminal that was closed, or a pipe that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_is_gone_stops_no_work(terminal: bool) -> None:
    steps = Steps(Terminal(Gone(), force_terminal=terminal))
    done = []
    with steps.step("stopped every process"):
        done.append(True)
    steps.say("goodbye")
    assert done
