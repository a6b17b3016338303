"""`ops-pipelines up`: start the services, bring the stack up, say what is there, wait, stop everything."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.errors import OpsError
from ops_pipelines.settings import Settings, load_settings
from ops_pipelines.up import services
from ops_pipelines.up.before import find_ollama, port_is_free, require_checkout, require_corpus, room, usable
from ops_pipelines.up.bring_up import TAGS, bring_up, ensure_bucket, things_missing, unwell
from ops_pipelines.up.dagster_api import Dagster
from ops_pipelines.up.databases import make_databases, there_are_databases
from ops_pipelines.up.environment import given_of, prepare_environment
from ops_pipelines.up.loading import Keeper, load_collections
from ops_pipelines.up.lock import hold_home
from ops_pipelines.up.ready import await_service, until
from ops_pipelines.up.services import Service
from ops_pipelines.up.steps import Steps, Terminal
from ops_pipelines.up.summary import say_summary
from ops_pipelines.wiring.site import Site, load_fleet

STACK = "obelisk"
"""The stack that the embedded default runs."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived."""


@dataclass(frozen=True)
class Running:
    """What was started: supervisord, and who looks after what it does not."""

    child: subprocess.Popen[bytes]
    keeper: Keeper


def run(settings: Settings, *, once: bool = False) -> int:
    """Run until a signal arrives (`once`: until everything is up). Returns the exit code.

    Raises HomeHeld where another one runs on the same home folder, OpsError where something does not start or
    supervisord ends; every process that was started is stopped again.
    """
    root = Path.cwd()
    require_checkout(root, settings)
    require_corpus(settings)
    steps = Steps(Terminal())
    with usable(settings.home), hold_home(settings.home), room(settings.home), ExitStack() as cleanup:
        _listen(cleanup)
        try:
            running = _bring_everything_up(settings, root, steps, cleanup)
            if not once:
                _watch(running, settings, steps)
        except Stopped:
            steps.say()
    return 0


def _listen(cleanup: ExitStack) -> None:
    """Turn the first signal into Stopped; later ones wait until everything has stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        _ignore_signals()
        raise Stopped

    for name in _SIGNALS:
        cleanup.callback(signal.signal, name, signal.getsignal(name))
        signal.signal(name, stop)


def _ignore_signals() -> None:
    for name in _SIGNALS:
        signal.signal(name, signal.SIG_IGN)


def _watch(running: Running, settings: Settings, steps: Steps) -> None:
    """Wait for a signal. Raises OpsError where supervisord, which everything runs under, ends before."""
    status = running.keeper.wait(running.child, steps)
    raise OpsError(
        f"supervisord ended by itself (status {status}), and every service with it",
        remedy=f"start again; its log is {settings.supervisor_dir / 'supervisord.log'}",
    )


def _bring_everything_up(settings: Settings, root: Path, steps: Steps, cleanup: ExitStack) -> Running:
    Supervisord(settings.supervisor_dir, settings.environ).shutdown()
    env = prepare_environment(
        settings.home, is_free=port_is_free, given=given_of(settings), ollama=find_ollama(settings, steps)
    )
    # What was chosen here holds, whatever else is set: every process that is started shall see the same.
    settings = load_settings({**settings.given, **env, "OPS_HOME": str(settings.home)})
    fleet = load_fleet(settings)
    site = fleet.site(STACK)
    store = services.object_store(settings.home, env)
    vectors = services.vector_database(settings.home, env)
    metrics = services.metrics_server(settings.home, env, services.scraped(site.stack))
    data = [service for service in (store, vectors, metrics) if service is not None]
    code, pages = services.code_server(root, env), services.webserver(root, settings.home, env)
    daemon = services.daemon(root, settings.home, env)

    manager = Supervisord(settings.supervisor_dir, {**settings.environ, "DAGSTER_HOME": str(root)})
    _forget_others(manager, {service.program.name for service in (*data, code, pages)})
    cleanup.callback(_stop, manager, steps)
    fresh = not there_are_databases(settings.home)
    if fresh:
        manager.forget(code.program.name)
        manager.forget(pages.program.name)
    child = manager.start_foreground()
    _put(manager, data)
    if fresh:
        make_databases(root, settings, steps)
    _put(manager, (code, pages))
    for service in (*data, code, pages):
        await_service(manager, service, steps)
    with steps.step("the stack's bucket") as note:
        note.words = f"{site.stack.backup.bucket} made" if site.stack.backup and ensure_bucket(site) else ""
    dagster = Dagster(env["OPS_DAGSTER_URL"])
    with steps.step("the stacks' definitions"):
        until(dagster.loaded, "Dagster to load the stacks", manager, code.program.name)
    _clear_queue(dagster, steps)
    begun = time.time()
    _put(manager, (daemon,))
    _bring_stack_up(site, dagster, manager, steps)
    keeper = Keeper(manager, vectors.program.name, fleet.sites(), env["OPS_MILVUS_URI"])
    with steps.step("collections in memory") as note:
        loaded, problems = load_collections(fleet.sites(), env["OPS_MILVUS_URI"])
        note.words = "; ".join([*loaded, *problems])
    with steps.step(daemon.title):
        until(lambda: dagster.daemons_healthy(begun), "Dagster's daemon", manager, daemon.program.name)
    say_summary(site, fleet, env, steps)
    return Running(child, keeper)


def _bring_stack_up(site: Site, dagster: Dagster, manager: Supervisord, steps: Steps) -> None:
    things = things_missing(site)
    if things:
        bring_up(site, dagster, things, steps)
    names = [name for name in manager.programs() if name.startswith(f"{site.name}.")]
    with steps.step(f"{site.name}'s components") as note:
        until(lambda: not unwell(site), f"{site.name}'s components", manager, names[0] if names else "")
        note.words = str(len(names))


def _clear_queue(dagster: Dagster, steps: Steps) -> None:
    """Cancel runs that nobody carries out any more: what an `up` that was killed had under way.

    What waits in the queue stays, as somebody wants it, except for an earlier bring-up: what is missing now is
    found out anew. Left alone, the dead would keep their place among the stack's runs.
    """
    dead = [run for run in dagster.unfinished() if not run.waiting or TAGS.items() <= run.tags.items()]
    if dead:
        with steps.step("runs that were cut off are canceled") as note:
            note.words = str(len(dead))
            dagster.cancel([run.id for run in dead])


def _put(manager: Supervisord, wanted: Iterable[Service]) -> None:
    """Have the services run. What supervisord has brought back as it is wanted is not started twice."""
    there = manager.programs()
    for service in wanted:
        program = service.program
        if there.get(program.name) == program.digest:
            manager.start(program.name)
        else:
            manager.apply(program, {})


def _forget_others(manager: Supervisord, wanted: Sequence[str] | set[str]) -> None:
    """Have supervisord start without services of an earlier version, what a killed drill left, and the daemon.

    The daemon is started once the queue is cleared.
    """
    for name in manager.folder.declared():
        first = name.split(".", 1)[0]
        if (first == "ops" and name not in wanted) or "--" in first:
            manager.forget(name)


def _stop(manager: Supervisord, steps: Steps) -> None:
    _ignore_signals()
    with steps.step("stopped every process"):
        manager.shutdown()
