"""One-off containers of a Dagster run, through dagster-docker's Pipes client: their lines in the run's log, their end
with the run's.

The client's own `run` finds an engine by the environment of the process; ours takes the stack's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
from dagster._core.pipes.utils import extract_message_or_forward_to_stdout
from dagster_docker.pipes import PipesDockerClient, PipesDockerLogsMessageReader

from ops_pipelines.policy.one_off import OneOff, message
from ops_pipelines.wiring import one_offs
from ops_pipelines.wiring.beside import Room


class OneOffPipes(PipesDockerClient):
    """Runs a container on the engine that the stack declares."""

    def run_on(
        self,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        room: Room,
        spec: OneOff,
        heard: Callable[[str], None],
    ) -> None:
        """Run it to its end. Raises Refused, CommandFailed; an interrupted run removes its container first."""
        reader = self.message_reader
        with dg.open_pipes_session(context, self.context_injector, reader) as session:
            handler = getattr(reader, "_handler", None)

            def hear(line: str) -> None:
                found = message(line)
                if handler is not None and (found is None or found.kind in ("log", "other")):
                    extract_message_or_forward_to_stdout(handler, line)
                heard(line)

            environ = {**spec.environ, **session.get_bootstrap_env_vars()}
            room.run(replace(spec, environ=environ), hear)


@contextmanager
def moved_by_pipes(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Iterator[None]:
    """Containers that are started in the `with` are this run's."""
    client = OneOffPipes(message_reader=PipesDockerLogsMessageReader())

    def run(room: Room, spec: OneOff, heard: Callable[[str], None]) -> None:
        client.run_on(context, room, spec, heard)

    with one_offs.through(run):
        yield
