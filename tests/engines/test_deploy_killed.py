"""A deploy that is killed at each of its steps, with and without supervisord, and then run again."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from ops_pipelines.adapters import _supervisor_files, _supervisor_rpc
from ops_pipelines.adapters._supervisor_strays import MARK
from ops_pipelines.policy.programs import render_programs
from ops_pipelines.stack.model import Stack
from tests.engines.deploying import Demo
from tests.servers.supervisord import SupervisordServer, ask

ASKED_ONLY = ("getAllProcessInfo", "getState")
FINISHED = 7


class Fuse:
    """Kills this process (and supervisord first, where it is told which) before or after its nth change."""

    def __init__(self, at: int, also: int | None) -> None:
        self.left = at
        self.also = also

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            if self.also is not None:
                os.kill(self.also, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def fused(*args: Any, **words: Any) -> Any:
            if len(args) > 1 and args[1] in ASKED_ONLY:
                return work(*args, **words)
            self.tick()
            result = work(*args, **words)
            self.tick()
            return result

        return fused


def deploy_and_die(demo: Demo, stack: Stack, at: int, also: int | None) -> bool:
    """Deploy in a child that kills itself at a change; whether it got to its end before."""
    child = os.fork()
    if child == 0:
        try:
            fuse = Fuse(at, also)
            _supervisor_rpc.call = fuse.around(_supervisor_rpc.call)  # type: ignore[assignment]
            _supervisor_files.write_atomic = fuse.around(_supervisor_files.write_atomic)  # type: ignore[assignment]
            demo.deploy(stack, record=fuse.around(demo.record))
            os._exit(FINISHED)
        finally:
            os._exit(1)
    _, how = os.waitpid(child, 0)
    if os.WIFEXITED(how):
        assert os.WEXITSTATUS(how) == FINISHED
        return True
    assert os.WTERMSIG(how) == signal.SIGKILL
    return False


def copies(server: SupervisordServer) -> Counter[str]:
    return Counter(process.environ()[MARK].rpartition(":")[2] for process in server.marked())


@pytest.mark.slow
@pytest.mark.timeout(900)  # some forty deploys
@pytest.mark.parametrize("with_supervisord", [False, True])
def test_killed_at_each_step_then_again(supervisord: SupervisordServer, with_supervisord: bool) -> None:
    demo = Demo(supervisord)
    forms = [
        demo.stack({"a": demo.web(0), "b": demo.web(1)}),
        demo.stack({"a": demo.web(0, environment={"V": "2"}), "c": demo.web(2, depends_on=["a"])}),
    ]
    versions = [{p.name: p.digest for p in render_programs(form, demo.places)} for form in forms]
    allowed = {name: {form.get(name) for form in versions} for form in versions for name in form}
    demo.deploy(forms[0])
    for at in range(1, 100):
        wanted = forms[at % 2]
        finished = deploy_and_die(demo, wanted, at, supervisord.pid if with_supervisord else None)
        supervisord.adapter.ensure_running()
        for name, digest in demo.digests().items():
            assert digest in {*allowed[name], ""}, (at, name)
        assert not [name for name, count in copies(supervisord).items() if count > 1], at
        demo.deploy(wanted)
        assert demo.digests() == versions[at % 2], at
        assert copies(supervisord) == dict.fromkeys(versions[at % 2], 1), at
        assert demo.before == render_programs(wanted, demo.places)
        answering = {place for place in range(3) if ask(demo.ports[place])}
        assert answering == ({0, 2} if at % 2 else {0, 1}), at
        # Asked of the process itself, not of what was written about it.
        assert (ask(demo.ports[0]) or {})["environ"].get("V") == ("2" if at % 2 else None), at
        folder = supervisord.adapter.folder
        assert [len(list(folder.specs(name))) in (1, 2) for name in folder.declared()] == [True, True], at
        if finished:
            assert at > 15
            supervisord.adapter.shutdown()
            supervisord.adapter.ensure_running()  # sweeps what a killed removal left
            assert len(list((folder.path / "specs").iterdir())) == 2
            return
    pytest.fail("it never got to its end")
