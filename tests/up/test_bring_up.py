"""What `up` makes of Dagster's answers. The webserver is a fake at the wire; its answers were recorded."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.errors import Refused, Unreachable
from ops_pipelines.settings import load_settings
from ops_pipelines.up import bring_up as module
from ops_pipelines.up.bring_up import bring_up
from ops_pipelines.up.dagster_api import Dagster, LocationBroken, RunFailed
from ops_pipelines.up.steps import Steps, Terminal
from ops_pipelines.up.summary import say_summary
from ops_pipelines.wiring.site import Fleet, load_fleet
from tests.waiting import free_port

ROOT = Path(__file__).parents[2]
RUN = "f2c1"


class Webserver(http.server.ThreadingHTTPServer):
    """Answers each query with the next of `answers`, the last one for good."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def dagster(self) -> Dagster:
        return Dagster(f"http://127.0.0.1:{self.server_port}")


class Handler(http.server.BaseHTTPRequestHandler):
    server: Webserver

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        content = json.dumps(answer if "errors" in answer else {"data": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def webserver() -> Iterator[Webserver]:
    server = Webserver()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Every stack of the checkout, their servers at ports where nobody listens."""
    environ = {
        "OPS_HOME": str(tmp_path), "OPS_PROFILES": "obelisk=local", "OPS_S3_ACCESS_KEY": "a",
        "OPS_S3_SECRET_KEY": "s", "OPS_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OPS_MILVUS_URI": f"http://127.0.0.1:{free_port()}", "OPS_DAGSTER_URL": "http://127.0.0.1:3000",
    }  # fmt: skip
    return load_fleet(load_settings(environ, cwd=ROOT))


def location(status: str, found: Any) -> dict[str, Any]:
    entry = {"name": "ops_pipelines", "loadStatus": status, "locationOrLoadError": found}
    return {"workspaceOrError": {"locationEntries": [entry]}}


LOADED = location("LOADED", {"__typename": "RepositoryLocation"})
NOT_YET = location(
    "LOADED",
    {
        "__typename": "PythonError",
        "className": "DagsterUserCodeUnreachableError",
        "message": "dagster._core.errors.DagsterUserCodeUnreachableError: Could not reach user code server.",
        "errorChain": [],
    },
)
BROKEN = location(
    "LOADED",
    {
        "__typename": "PythonError",
        "className": "DagsterImportError",
        "message": "dagster._core.errors.DagsterImportError: Encountered ImportError while importing module",
        "errorChain": [{"error": {"message": "ImportError: somebody broke the definitions\n"}}],
    },
)


@pytest.mark.parametrize(
    ("answer", "loaded"),
    [
        (LOADED, True), (NOT_YET, False), (location("LOADING", None), False),
        ({"workspaceOrError": {"locationEntries": []}}, False), ({"workspaceOrError": {}}, False),
    ],
)  # fmt: skip
def test_loaded_or_not_yet(webserver: Webserver, answer: dict[str, Any], loaded: bool) -> None:
    webserver.answers = [answer]
    assert webserver.dagster.loaded() is loaded


def test_what_will_never_load_is_told_with_its_cause(webserver: Webserver) -> None:
    webserver.answers = [BROKEN]
    with pytest.raises(LocationBroken) as caught:
        webserver.dagster.loaded()
    assert caught.value.message.splitlines()[-1] == "ImportError: somebody broke the definitions"


@pytest.mark.parametrize(
    ("statuses", "healthy"),
    [
        ([(True, True, 100.5)], True), ([(True, True, 99.5)], False), ([(False, True, 100.5)], False),
        ([(True, True, None)], False), ([(True, True, 100.5), (False, False, None)], True),
    ],
)  # fmt: skip
def test_a_daemon_is_well_once_it_was_heard_of_since_its_start(
    webserver: Webserver, statuses: list[tuple[bool, bool, float | None]], healthy: bool
) -> None:
    found = [{"healthy": well, "required": need, "lastHeartbeatTime": at} for well, need, at in statuses]
    webserver.answers = [{"instance": {"daemonHealth": {"allDaemonStatuses": found}}}]
    assert webserver.dagster.daemons_healthy(100.0) is healthy


def test_runs_that_have_not_ended(webserver: Webserver) -> None:
    found = [
        {"runId": "a", "status": "QUEUED", "tags": [{"key": "k", "value": "v"}]},
        {"runId": "b", "status": "STARTED", "tags": []},
    ]
    webserver.answers = [{"runsOrError": {"results": found}}]
    queued, begun = webserver.dagster.unfinished()
    assert (queued.waiting, begun.waiting) == (True, False)
    assert queued.tags == {"k": "v"}


@pytest.mark.parametrize(
    "answer",
    [
        {"message": "the store is gone"},
        {"terminateRunResults": [{"__typename": "TerminateRunSuccess"}, {"__typename": "RunNotFoundError"}]},
    ],
)
def test_a_run_that_is_not_canceled_is_said(webserver: Webserver, answer: dict[str, Any]) -> None:
    webserver.answers = [{"terminateRuns": answer}]
    with pytest.raises(Refused, match="did not cancel 1 of 2 runs"):
        webserver.dagster.cancel(["a", "b"])


def test_a_query_that_fails_is_said(webserver: Webserver) -> None:
    webserver.answers = [{"errors": [{"message": "Cannot query field 'x'"}]}]
    with pytest.raises(Refused, match="Cannot query field 'x'"):
        webserver.dagster.loaded()


def test_nobody_answers() -> None:
    with pytest.raises(Unreachable, match="Dagster's webserver does not answer"):
        Dagster(f"http://127.0.0.1:{free_port()}").loaded()


LAUNCHED = {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": RUN}}}


def events(status: str, *found: dict[str, Any]) -> dict[str, Any]:
    return {"runOrError": {"status": status}, "logsForRun": {"cursor": "c", "events": list(found)}}


def event(kind: str, step: str, **facts: Any) -> dict[str, Any]:
    return {"__typename": kind, "message": "", "stepKey": f"obelisk__{step}", **facts}


STARTED, DONE, FAILED = (f"ExecutionStep{word}Event" for word in ("Start", "Success", "Failure"))


def follow(webserver: Webserver, fleet: Fleet, tmp_path: Path, *answers: dict[str, Any]) -> list[str]:
    """Lines of a bring-up that is answered so."""
    webserver.answers = [LAUNCHED, *answers]
    shown = tmp_path / "shown"
    with shown.open("w+") as file:
        try:
            bring_up(
                fleet.site("obelisk"), webserver.dagster, ["artifact", "deployment"], Steps(Terminal(file))
            )
        finally:
            file.flush()
            lines = shown.read_text().splitlines()
    return lines


def test_a_step_that_was_done_is_a_line(webserver: Webserver, fleet: Fleet, tmp_path: Path) -> None:
    lines = follow(
        webserver, fleet, tmp_path,
        events("QUEUED"),
        events("STARTED", event(STARTED, "artifact"), event(DONE, "artifact"), event(STARTED, "deployment")),
        events("SUCCESS", event("LogMessageEvent", "deployment"), event(DONE, "deployment")),
        events("SUCCESS"),
    )  # fmt: skip
    assert [line.split("  (")[0] for line in lines] == [
        "ok      rendered and linted the stack",
        "ok      deployed",
    ]
    params = webserver.asked[0]["variables"]["params"]
    assert params["runConfigData"] == {"ops": {"obelisk__deployment": {"config": {"apply": True}}}}
    assert {"key": "ops-pipelines/purpose", "value": "bring-up"} in params["executionMetadata"]["tags"]
    checks = {(one["assetKey"]["path"][1], one["name"]) for one in params["selector"]["assetCheckSelection"]}
    assert checks == {("artifact", "lint"), ("deployment", "healthy"), ("deployment", "as_declared")}


UNFORESEEN = {
    "message": 'DagsterExecutionStepExecutionError: Error occurred while executing op "obelisk__deployment":',
    "errorChain": [{"error": {"message": "TypeError: deploy() got an unexpected keyword argument\n"}}],
}
WORDS = {
    "told": (
        {"failureMetadata": {"description": "port 8085 is taken"}, "error": UNFORESEEN},
        "port 8085 is taken",
    ),
    "unforeseen": ({"failureMetadata": None, "error": UNFORESEEN}, "TypeError: deploy"),
    "nothing said": ({"failureMetadata": None, "error": None, "message": "it failed"}, "it failed"),
}


@pytest.mark.parametrize("case", WORDS)
def test_a_step_that_failed_says_why(webserver: Webserver, fleet: Fleet, tmp_path: Path, case: str) -> None:
    facts, words = WORDS[case]
    with pytest.raises(RunFailed) as caught:
        follow(webserver, fleet, tmp_path, events("STARTED", event(FAILED, "deployment", **facts)))
    assert caught.value.message.startswith("failed to deploy: ")
    assert words in caught.value.message
    assert f"runs/{RUN}" in caught.value.remedy


def test_a_run_that_was_canceled_is_no_success(webserver: Webserver, fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=f"the run {RUN} ended as CANCELED"):
        follow(webserver, fleet, tmp_path, events("CANCELED"))


OTHERS = {
    "for no other": ([{"runId": RUN, "status": "QUEUED", "tags": []}], True),
    "for another": (
        [{"runId": RUN, "status": "QUEUED", "tags": []}, {"runId": "x", "status": "STARTED", "tags": []}], False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_a_run_that_waits(
    webserver: Webserver, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    found, fails = OTHERS[case]
    monkeypatch.setattr(module, "_START", -1.0)
    answers = [events("QUEUED"), {"runsOrError": {"results": found}}, events("SUCCESS"), events("SUCCESS")]
    if not fails:
        assert follow(webserver, fleet, tmp_path, *answers) == []
        return
    with pytest.raises(RunFailed, match="was not started"):
        follow(webserver, fleet, tmp_path, *answers)


def test_a_run_that_is_refused_says_why(webserver: Webserver, fleet: Fleet, tmp_path: Path) -> None:
    webserver.answers = [
        {"launchRun": {"__typename": "RunConfigValidationInvalid", "errors": [{"message": "no x"}]}}
    ]
    with pytest.raises(Refused, match=r"did not launch the run.*no x"):
        bring_up(fleet.site("obelisk"), webserver.dagster, ["drill"], Steps(Terminal(None)))


def test_a_summary_of_what_cannot_be_read_says_unknown(fleet: Fleet, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with shown.open("w") as file:
        say_summary(fleet.site("obelisk"), fleet, fleet.settings.environ, Steps(Terminal(file)))
    text = shown.read_text()
    assert "model cache     0 model(s), 0 B" in text
    assert "collection      unknown: " in text
    assert "snapshot        unknown: " in text
    assert "What to do" not in text
    assert "Ctrl-C stops everything" in text
