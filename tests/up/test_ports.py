"""Which ports `up` takes: what is given, what was kept, the usual ones, the next that are free; none twice."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from ops_pipelines.errors import UsageError
from ops_pipelines.up.environment import PORTS, PortTaken, PortWish, choose_ports

ONE = (PortWish("WEB", 3000),)
BLOCK = (PortWish("ADMIN", 8090, count=8),)
PAIR = (PortWish("S3", 8333, grpc=True),)

CASES: Mapping[str, tuple[tuple[PortWish, ...], Mapping[str, str], Mapping[str, str], set[int], Mapping[str, str]]] = {
    # wishes, kept, given, taken -> chosen
    "the usual one": (ONE, {}, {}, set(), {"WEB": "3000"}),
    "the next where it is taken": (ONE, {}, {}, {3000, 3001}, {"WEB": "3002"}),
    "the kept one": (ONE, {"WEB": "3107"}, {}, set(), {"WEB": "3107"}),
    "the usual one again where the kept one is taken": (ONE, {"WEB": "3107"}, {}, {3107}, {"WEB": "3000"}),
    "what was kept is no number": (ONE, {"WEB": "x"}, {}, set(), {"WEB": "3000"}),
    "the given one before the kept one": (ONE, {"WEB": "3107"}, {"WEB": "4000"}, set(), {"WEB": "4000"}),
    "given, but empty": (ONE, {}, {"WEB": ""}, set(), {"WEB": "3000"}),
    "a block": (BLOCK, {}, {}, {8089, 8098}, {"ADMIN": "8090"}),
    "the next block where its last is taken": (BLOCK, {}, {}, {8097}, {"ADMIN": "8098"}),
    "a gRPC twin is taken": (PAIR, {}, {}, {18333}, {"S3": "8334"}),
    "none twice": ((*ONE, PortWish("OTHER", 3000)), {}, {}, set(), {"WEB": "3000", "OTHER": "3001"}),
    "none twice, kept or not": (
        (*ONE, PortWish("OTHER", 3005)), {"WEB": "3005"}, {}, set(), {"WEB": "3005", "OTHER": "3006"},
    ),
    "a given one is left to whom it was given": (
        (*ONE, PortWish("OTHER", 5000)), {}, {"OTHER": "3000"}, set(), {"WEB": "3001", "OTHER": "3000"},
    ),
    "a twin is nobody else's": (
        (*PAIR, PortWish("OTHER", 18333)), {}, {}, set(), {"S3": "8333", "OTHER": "18334"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_ports_chosen(case: str) -> None:
    wishes, kept, given, taken, chosen = CASES[case]
    assert choose_ports(kept, wishes, is_free=lambda port: port not in taken, given=given) == chosen


def test_the_usual_ones_do_not_meet() -> None:
    chosen = choose_ports({}, PORTS, is_free=lambda _: True)
    assert chosen == {wish.variable: str(wish.usual) for wish in PORTS}


def test_a_given_port_that_is_taken_is_not_replaced() -> None:
    with pytest.raises(PortTaken, match=re.escape("WEB is 4000, and that port is taken")) as caught:
        choose_ports({}, ONE, is_free=lambda port: port != 4000, given={"WEB": "4000"})
    assert "leave WEB out" in caught.value.remedy


def test_a_given_port_whose_twin_is_taken_names_the_twin() -> None:
    with pytest.raises(PortTaken, match=re.escape("(or one of 14000)")):
        choose_ports({}, PAIR, is_free=lambda port: port != 14000, given={"S3": "4000"})


@pytest.mark.parametrize("text", ["http", "-1", "3000.5"])
def test_a_given_port_that_is_no_number(text: str) -> None:
    with pytest.raises(UsageError, match=f"WEB is '{text}'"):
        choose_ports({}, ONE, is_free=lambda _: True, given={"WEB": text})


@pytest.mark.parametrize("text", ["0", "65536", "60000"])
def test_a_given_port_that_no_program_can_have(text: str) -> None:
    """60000's twin would be 70000."""
    with pytest.raises(PortTaken):
        choose_ports({}, PAIR, is_free=lambda _: True, given={"S3": text})


def test_nothing_is_free() -> None:
    with pytest.raises(PortTaken, match="no port for WEB is free"):
        choose_ports({}, ONE, is_free=lambda _: False)
