"""The command line's entry: its verbs, its exit codes, where its words go.

Answers go to standard output (`--json`: one JSON document), logs and progress to standard error. Exit 0: good;
1: a problem was found, or it failed; 2: the command was misused.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

import click
import structlog

from ops_pipelines.cli.output import Context, show_error, show_json
from ops_pipelines.errors import OpsError
from ops_pipelines.settings import load_settings

_MODULES = (
    "declarations", "running", "operating", "backups", "snapshots", "restoring", "keeping", "models", "scaling",
    "tuning", "doctoring", "part", "migrating",
)  # fmt: skip
_AT_ONCE = {
    **dict.fromkeys(("plan", "deploy", "status", "rollback", "revisions"), "running"),
    **dict.fromkeys(("logs", "build", "down", "test"), "operating"),
    **dict.fromkeys(("stacks", "schema", "lint"), "declarations"),
    "part": "part",
    "migrate": "migrating",
}
"""Verbs whose module alone is imported: what backups need takes longer to import than most of these take to answer."""


class _Verbs(click.Group):
    """The verbs of all modules. A verb that `_AT_ONCE` does not name is looked for in all of them."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self._bring([_AT_ONCE[cmd_name]] if cmd_name in _AT_ONCE else _MODULES)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._bring(_MODULES)
        return super().list_commands(ctx)

    def _bring(self, modules: Sequence[str]) -> None:
        for name in modules:
            for command in import_module(f"ops_pipelines.cli.{name}").COMMANDS:
                self.add_command(command)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ops-pipelines", prog_name="ops-pipelines")
@click.option("-v", "--verbose", is_flag=True, help="Show the log of what is done, on standard error.")
@click.pass_context
def cli(context: click.Context, verbose: bool) -> None:
    """Operate self-hosted LLM stacks: deploy, back up, restore, drill, scale."""
    settings = load_settings()
    configure_logs(verbose=verbose, form=settings.log_format)
    context.obj = Context(settings)


def main() -> None:
    """Run a command and exit as its result says."""
    # A start imports some 900 modules, which stay: to look through them for garbage again and again would be a tenth
    # of its time.
    gc.set_threshold(20_000, 10, 10)
    json_wanted = "--json" in sys.argv
    try:
        with _stopped_like_an_interrupt():
            code = cli.main(standalone_mode=False)
    except OpsError as error:
        show_error(error, as_json=json_wanted)
        code = error.exit_code
    except click.exceptions.Abort:
        click.echo("stopped; what was begun was put back, or is gone on with by the next run", err=True)
        code = 130
    except click.ClickException as error:
        if json_wanted:
            show_json(
                {"error": type(error).__name__, "message": error.format_message(), "remedy": "see --help"}
            )
        error.show()
        code = 2
    except OSError as error:
        show_error(_of_the_system(error), as_json=json_wanted)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _stopped_like_an_interrupt() -> Iterator[None]:
    """Let SIGTERM (a time limit, a service manager) end a command as Ctrl-C does: leases are given back, what was
    half done is put back."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _of_the_system(error: OSError) -> OpsError:
    where = f"{error.filename}: " if error.filename else ""
    return OpsError(
        f"{where}{error.strerror or error}",
        remedy="look at the disk, its free space and its rights, then run the same command again",
    )


def configure_logs(*, verbose: bool, form: str) -> None:
    """One line an event on standard error: key=value for people, JSON where OPS_LOG_FORMAT=json."""
    level = logging.INFO if verbose or form == "json" else logging.WARNING
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
    )
