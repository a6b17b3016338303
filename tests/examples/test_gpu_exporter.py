"""The example exporter: what it serves, how it replays, how it is held."""

from __future__ import annotations

import http.client
import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import free_port, until

FOLDER = Path(__file__).parents[2] / "examples" / "gpu_exporter"
HEAD = "gpu,utilisation_percent,free_mib,used_mib\n"
READINGS = HEAD + "0,10,20000,4000\n1,30,18000,6000\n0,90,2000,22000\n1,95,900,23100\n"
FIRST = {("UTIL", "0"): 10.0, ("UTIL", "1"): 30.0, ("FREE", "0"): 20000.0, ("FREE", "1"): 18000.0,
         ("USED", "0"): 4000.0, ("USED", "1"): 6000.0}  # fmt: skip

# By name: an example is a script, not a package that mypy could follow.
exporter: Any = importlib.import_module("examples.gpu_exporter.exporter")


class Answer(NamedTuple):
    status: int
    kind: str
    text: str

    @property
    def readings(self) -> dict[tuple[str, str], float]:
        """(UTIL, FREE or USED; card) -> value."""
        return {
            (sample.name.rpartition("_")[2], sample.labels["gpu"]): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }


class Running:
    """The exporter as a process."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, FOLDER / "exporter.py", f"--port={self.port}", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        until(self._answers, what="the exporter to answer")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
        try:
            return self.ask("GET", "/metrics").status == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: str | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers["Content-Type"], answer.read().decode())
        finally:
            connection.close()

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Exit status after a signal, and all that was printed."""
        self.process.send_signal(number)
        printed, _ = self.process.communicate(timeout=30)
        return self.process.returncode, printed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "readings.csv"
    path.write_text(READINGS)
    return path


@pytest.fixture
def running(file: Path) -> Iterator[Running]:
    """It stands at the first moment for the length of a test."""
    made = Running(f"--file={file}", "--every=3600")
    yield made
    made.process.kill()
    made.process.communicate()


def test_the_names_and_labels_are_those_of_dcgm(running: Running) -> None:
    answer = running.ask("GET", "/metrics")
    assert answer.kind.startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert set(families) == {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_USED"}
    assert {family.type for family in families.values()} == {"gauge"}
    assert answer.readings == FIRST


def test_a_utilisation_is_held_and_let_go(running: Running) -> None:
    assert running.ask("POST", "/hold", json.dumps({"utilisation": 97})).status == 200
    held = running.ask("GET", "/metrics").readings
    assert held == FIRST | {("UTIL", "0"): 97.0, ("UTIL", "1"): 97.0}
    assert running.ask("DELETE", "/hold").status == 200
    assert running.ask("GET", "/metrics").readings == FIRST


@pytest.mark.parametrize(
    "body", ["", "{}", "x", '{"utilisation": "high"}', '{"utilisation": NaN}', "[1]", '{"utilisation": 101}']
)
def test_what_cannot_be_held_is_refused(running: Running, body: str) -> None:
    answer = running.ask("POST", "/hold", body)
    assert answer.status == 400
    assert "utilisation" in answer.text
    assert running.ask("GET", "/metrics").readings == FIRST


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/metrics"), ("DELETE", "/metrics")])
def test_nothing_else_is_there(running: Running, method: str, path: str) -> None:
    assert running.ask(method, path, json.dumps({"utilisation": 5})).status == 404
    assert running.ask("GET", "/metrics").readings == FIRST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_silence(running: Running, number: signal.Signals) -> None:
    assert running.end(number) == (0, "")


def test_moments_follow_one_another_and_begin_again(file: Path) -> None:
    made = Running(f"--file={file}", "--every=0.5")
    try:
        for utilisation in (90.0, 10.0, 90.0):
            until(
                lambda wanted=utilisation: made.ask("GET", "/metrics").readings["UTIL", "0"] == wanted,
                what=f"the moment with {utilisation} %",
            )
    finally:
        made.process.kill()
        made.process.communicate()


def test_the_cards_of_one_moment_are_together(file: Path) -> None:
    moments = exporter.load(file)
    assert [[card.gpu for card in moment] for moment in moments] == [["0", "1"], ["0", "1"]]


def test_its_own_readings_are_an_hour_of_a_card_of_24_gb() -> None:
    moments = exporter.load(FOLDER / "readings.csv")
    cards = [card for moment in moments for card in moment]
    assert len(moments) * 15 >= 3500
    assert {card.free + card.used for card in cards} == {24576.0}
    assert all(0 <= card.utilisation <= 100 for card in cards)
    assert any(card.utilisation > 80 for card in cards), "scaling has something to do"


BAD = {
    "no reading": (HEAD, "holds no reading"),
    "no columns": ("gpu\n0\n", "line 2"),
    "no number": (HEAD + "0,x,1,1\n", "line 2"),
    "no file": (None, "No such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_will_not_do_is_said(tmp_path: Path, case: str) -> None:
    text, words = BAD[case]
    path = tmp_path / "readings.csv"
    if text is not None:
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, FOLDER / "exporter.py", f"--port={free_port()}", f"--file={path}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
