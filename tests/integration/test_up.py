"""`ops-pipelines up` on the real thing: first start, later starts, signals, kills, strangers at its ports.

The tests of this module follow one another on one home folder, as a person would go on.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from ops_pipelines.up.bring_up import TAGS
from ops_pipelines.wiring import snapshots
from ops_pipelines.wiring.connect import embedder, object_store, served_name, vector_store
from tests.parts import require
from tests.servers.up import READY, ROOT, TEXTS, Up, assert_nothing_left, assert_short
from tests.waiting import until

RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
PURPOSE, VALUE = next(iter(TAGS.items()))
left_over: list[str] = []
"""Runs that one test leaves to the next: under way, of an earlier bring-up, and wanted by a person."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A home folder on which nothing was started yet."""
    require("seaweedfs")
    require("milvus-lite")
    made = Up(tmp_path_factory.mktemp("up"), OPS_PROFILES="obelisk=local")
    yield made
    made.close()


def runs(up: Up) -> dict[str, str]:
    """Status of each run that `up` launched, by id."""
    return {
        run["runId"]: run["status"]
        for run in up.dagster.ask(RUNS)["runsOrError"]["results"]
        if {"key": PURPOSE, "value": VALUE} in run["tags"]
    }


def launch(up: Up, thing: str, check: str, **tags: str) -> str:
    """Launch a run of one thing of the stack; of a stack, one such run goes at a time."""
    return up.dagster.launch(
        [["obelisk", thing]],
        {},
        checks=[(["obelisk", thing], check)],
        tags={"ops-pipelines/stack": "obelisk", **tags},
    )


def status(up: Up, run: str) -> str:
    return up.dagster.follow(run, None)[0]


def nearest(up: Up, text: str) -> str:
    """Source of the row nearest to a text, asked of the live stack."""
    site = up.site
    vector = embedder(site, "text-embedding").embed(served_name(site, "text-embedding"), [text])[0]
    store = vector_store(site, "obelisk_docs")
    [[(key, _)]] = store.search("obelisk_docs", [vector], field="vector", limit=1)
    return str(store.get("obelisk_docs", [key])[0]["source"])


def assert_whole(up: Up) -> None:
    """The data that the first run made are there, and answer."""
    assert vector_store(up.site, "obelisk_docs").count("obelisk_docs") == len(TEXTS)
    assert nearest(up, "growing vegetables") == "garden.md"
    [snapshot] = snapshots.listed(up.site)
    assert {"verified", "drilled"} <= set(snapshot.marks)


@pytest.mark.slow
def test_1_a_first_start_ends_with_a_stack_that_was_proven(up: Up) -> None:
    up.start()
    up.until_said(READY)
    for step in ("object store", "vector database", "filled the model cache", "embedded the corpus", "drill"):
        assert re.search(rf"^ok .*{step}.*\(\d+\.\d s\)$", up.log, re.M), up.log
    assert f"collection      obelisk_docs: {len(TEXTS)} rows" in up.log
    assert re.search(r"recall@10 1\.000, passed", up.log), up.log
    assert up.chosen["OPS_DAGSTER_URL"] in up.log
    assert_short(up.log)
    assert list(runs(up).values()) == ["SUCCESS"]
    assert_whole(up)
    assert httpx.get(up.chosen["OPS_DAGSTER_URL"], trust_env=False).is_success
    assert object_store(up.site).ensure_bucket() is False


def test_2_prometheus_reads_what_the_stack_tells(up: Up) -> None:
    require("prometheus")
    asked = f"http://127.0.0.1:{up.chosen['OPS_PROMETHEUS_PORT']}/api/v1/targets"

    def health() -> list[str]:
        targets = httpx.get(asked, trust_env=False).json()["data"]["activeTargets"]
        return [target["health"] for target in targets]

    until(lambda: health() == ["up", "up"], what=f"Prometheus to reach its targets: {health()}", seconds=60)


def test_3_a_second_one_is_told_who_holds_the_folder(up: Up) -> None:
    second = up.again()
    assert second.returncode == 1
    assert f"the folder {up.home} is held by process {up.pid} since" in second.stderr
    assert_short(second.stderr, 2)
    assert_whole(up)


@pytest.mark.parametrize("word", ["milvus-lite server", "weed mini", "examples/model_server/server.py"])
def test_4_what_is_killed_comes_back_with_its_data(up: Up, word: str) -> None:
    [before] = up.pids(word)
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        try:
            assert_whole(up)
        except Exception:  # noqa: BLE001 - each client has its own way to say that nobody answers
            return False
        return True

    until(lambda: up.pids(word) - {before}, what=f"supervisord to start {word} again", seconds=60)
    until(back, what=f"the stack to answer as before, without {word} for a moment", seconds=90)
    assert before not in up.pids(word)
    if "milvus" in word:
        up.until_said("Milvus Lite was started again; collections loaded: 1")


def test_5_killed_itself_it_leaves_nothing_behind(up: Up) -> None:
    up.kill()
    assert_nothing_left(up)


def test_6_a_supervisord_that_ends_ends_it_with_words(up: Up) -> None:
    """A run under way dies with it, as all its services do: nobody can write down that it has ended."""
    up.start()
    up.until_said(READY)
    assert_whole(up)
    left_over.append(launch(up, "drill", "answers_as_before"))
    until(lambda: status(up, left_over[0]) == "STARTED", what="a run to begin", seconds=60)
    left_over.append(launch(up, "artifact", "lint", **TAGS))
    left_over.append(launch(up, "artifact", "lint"))
    until(lambda: status(up, left_over[2]) == "QUEUED", what="a run to wait")
    assert status(up, left_over[0]) == "STARTED"
    up.kill_all_below()
    assert up.ended() == 1
    assert "supervisord ended by itself (status -9), and every service with it" in up.log
    assert_short(up.log)
    assert_nothing_left(up)


def test_7_a_later_start_ends_what_nobody_carries_out_and_goes_on_with_what_was_wanted(up: Up) -> None:
    under_way, stale, wanted = left_over
    up.start()
    up.until_said(READY)
    assert re.search(r"^ok +runs that were cut off are canceled  2 ", up.log, re.M), up.log
    assert {status(up, under_way), status(up, stale)} == {"CANCELED"}
    until(lambda: status(up, wanted) == "SUCCESS", what="the queue to go on", seconds=60)
    assert sorted(runs(up).values()) == ["CANCELED", "SUCCESS"], (
        "a stack that is whole is not brought up again"
    )
    assert_short(up.log)
    assert_whole(up)


def test_8_ctrl_c_stops_everything(up: Up) -> None:
    assert up.interrupt() == 0
    assert up.log.splitlines()[-1].startswith("ok      stopped every process")
    assert_nothing_left(up)


def test_9_a_later_start_goes_on_at_other_ports_where_strangers_have_taken_its_own(up: Up) -> None:
    before = up.chosen
    with ExitStack() as strangers:
        for variable, more in (("OPS_DAGSTER_PORT", 0), ("OPS_S3_PORT", 10_000), ("OPS_MILVUS_PORT", 0)):
            address = ("127.0.0.1", int(before[variable]) + more)
            strangers.enter_context(socket.create_server(address))
        up.start("--once")
        up.until_said(READY)
        assert up.ended() == 0
        assert_nothing_left(up)
    after = up.chosen
    for variable in ("OPS_DAGSTER_PORT", "OPS_S3_PORT", "OPS_MILVUS_PORT"):
        assert after[variable] != before[variable]
        assert f"127.0.0.1:{after[variable]}" in up.log
    assert after["OPS_S3_SECRET_KEY"] == before["OPS_S3_SECRET_KEY"]
    assert f"collection      obelisk_docs: {len(TEXTS)} rows" in up.log
    assert "verified, drilled" in up.log
    assert "filled the model cache" not in up.log, "a whole stack is not brought up again"
    assert "Dagster's databases" not in up.log
    assert_short(up.log, 30)


def test_10_a_signal_in_the_midst_of_starting_stops_what_was_started(up: Up) -> None:
    up.start()
    up.until_said("object store")
    assert up.terminate() == 0
    assert READY not in up.log
    assert_short(up.log, 12)
    assert_nothing_left(up)


def test_11_definitions_that_do_not_load_are_told_at_once(up: Up, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ops_pipelines.defs.build':\n"
        "            raise ImportError('somebody broke the definitions')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    up.start(PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    assert up.ended() == 1
    assert "failed  the stacks' definitions" in up.log
    assert "waited for" not in up.log, "it is no use to wait"
    assert "somebody broke the definitions" in up.log
    assert "Traceback" not in up.log
    assert len(up.log.splitlines()) <= 20, up.log
    assert_nothing_left(up)


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Up]:
    """A home folder that will not do."""
    made = Up(tmp_path, OPS_PROFILES="obelisk=local")
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk, with the options of a tmpfs."""
    libc = ctypes.CDLL(None, use_errno=True)
    mounted: list[bytes] = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        flags = 1 if options == "ro" else 0
        data = b"" if flags else options.encode()
        if libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, data) != 0:
            pytest.skip(
                f"no disk can be mounted here ({os.strerror(ctypes.get_errno())}): run as root on Linux"
            )
        mounted.append(os.fsencode(folder))
        return folder

    yield mount
    for folder in mounted:
        libc.umount2(folder, 2)


def refused(up: Up, words: str, code: int = 1, *, cwd: Path = ROOT, **environ: str) -> None:
    """`up` says one thing, starts nothing and ends."""
    up.start(cwd=cwd, **environ)
    assert up.ended() == code
    assert words in up.log
    assert "What to do:" in up.log
    assert_short(up.log, 3)
    assert_nothing_left(up)


def test_a_corpus_that_is_missing(nowhere: Up, tmp_path: Path) -> None:
    refused(nowhere, f"OPS_DEMO_CORPUS is {tmp_path / 'no'}", 2, OPS_DEMO_CORPUS=str(tmp_path / "no"))


def test_a_home_that_is_a_file(nowhere: Up) -> None:
    file = nowhere.home / "file"
    file.touch()
    refused(nowhere, f"{file} is not a folder", 2, OPS_HOME=str(file))


def test_elsewhere_than_in_a_checkout(nowhere: Up, tmp_path: Path) -> None:
    refused(nowhere, f"does not find {tmp_path / 'dagster.yaml'} and {tmp_path / 'deploy'}", 2, cwd=tmp_path)


def test_a_home_that_cannot_be_made(nowhere: Up) -> None:
    refused(nowhere, "the folder /proc/here cannot be used", OPS_HOME="/proc/here")


def test_a_port_that_was_asked_for_and_is_taken(nowhere: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = str(stranger.getsockname()[1])
        refused(nowhere, f"OPS_DAGSTER_PORT is {port}, and that port is taken", OPS_DAGSTER_PORT=port)


def test_a_disk_with_too_little_room(nowhere: Up, disk: Callable[[str], Path]) -> None:
    folder = disk("size=8m")
    refused(nowhere, f"the disk of {folder} has 7 MiB left, and 512 MiB are needed", OPS_HOME=str(folder))


def test_a_disk_that_is_full(nowhere: Up, disk: Callable[[str], Path]) -> None:
    folder = disk("size=16k")
    (folder / "full").write_bytes(bytes(16 << 10))
    refused(nowhere, f"the folder {folder}/home cannot be used: No space left", OPS_HOME=f"{folder}/home")


def test_a_disk_that_cannot_be_written_to(nowhere: Up, disk: Callable[[str], Path]) -> None:
    folder = disk("ro")
    refused(
        nowhere, f"the folder {folder}/home cannot be used: Read-only file system", OPS_HOME=f"{folder}/home"
    )
