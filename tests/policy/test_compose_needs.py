"""What a project asks of its engine."""

from __future__ import annotations

from typing import Any

import pytest

from ops_pipelines.policy.compose_needs import (
    device_findings,
    disk_finding,
    driver_finding,
    gpu_findings,
    memory_finding,
    published_ports,
    secret_findings,
    version_finding,
    vram_findings,
)
from ops_pipelines.policy.compose_project import Project
from ops_pipelines.policy.machine import Card

GIB = 1 << 30


@pytest.mark.parametrize(
    ("version", "ok"),
    [
        ("2.26.1-4", True),
        ("2.20.0", True),
        ("2.19.9", False),
        ("1.29.2", False),
        ("3.0", True),
        ("dev", None),
    ],
)
def test_version(version: str, ok: bool | None) -> None:
    assert version_finding(version).ok is ok


@pytest.mark.parametrize(
    ("text", "value", "ok"),
    [
        ("${KEY}", "x", True),
        ("${KEY}", "", False),
        ("${KEY}", None, False),
        ("${KEY:?set it}", None, False),
        ("${KEY:-none}", None, True),
        ("${KEY-}", None, True),
    ],
)
def test_secrets(text: str, value: str | None, ok: bool) -> None:
    project = Project("p", {"services": {"web": {"environment": {"K": text}}}}, references=("KEY",))
    [found] = secret_findings(project, {"KEY": value})
    assert found.ok is ok
    assert (found.remedy == "") is ok


def test_a_secret_that_arrives_as_a_file_has_no_default() -> None:
    project = Project("p", {"services": {}, "secrets": {"k": {"environment": "KEY"}}}, references=("KEY",))
    [found] = secret_findings(project, {"KEY": None})
    assert found.ok is False


def test_ports_of_the_machine_are_named_once() -> None:
    ports = [
        {"published": "80", "protocol": "tcp"},
        {"published": "80", "protocol": "udp"},
        {"target": 9},
        {"published": "90-95"},
    ]
    assert list(published_ports({"a": {"ports": ports}, "b": {"ports": [{"published": "81"}]}})) == [
        (80, "a"),
        (81, "b"),
    ]


@pytest.mark.parametrize(
    ("resources", "replicas", "ok"),
    [
        ({"limits": {"memory": str(8 * GIB)}}, 1, True),
        ({"limits": {"memory": str(8 * GIB)}}, 2, True),
        ({"limits": {"memory": str(8 * GIB)}}, 3, False),
        ({"limits": {"memory": str(32 * GIB)}, "reservations": {"memory": str(GIB)}}, 1, True),
        ({}, 50, True),
    ],
)
def test_memory(resources: dict[str, Any], replicas: int, ok: bool) -> None:
    service = {"deploy": {"resources": resources, "replicas": replicas}}
    assert memory_finding({"web": service}, 16 * GIB).ok is ok


def test_memory_that_is_not_told_is_not_known() -> None:
    assert memory_finding({}, 0).ok is None


@pytest.mark.parametrize(
    ("service", "runtimes", "oks"),
    [
        ({}, (), []),
        ({"runtime": "nvidia"}, ("runc",), [False]),
        ({"runtime": "nvidia"}, ("runc", "nvidia"), [True]),
        (
            {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"]}]}}}},
            ("runc",),
            [False],
        ),
        (
            {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["tpu"]}]}}}},
            ("runc",),
            [],
        ),
    ],
)
def test_cards(service: dict[str, Any], runtimes: tuple[str, ...], oks: list[bool]) -> None:
    assert [one.ok for one in gpu_findings({"vllm": service}, runtimes)] == oks


CARDS = (Card(0, "A4500", 20 * GIB, 12 * GIB), Card(1, "A4500", 20 * GIB, None))


def test_memory_of_cards() -> None:
    found = list(vram_findings({0: 28 * GIB, 1: 8 * GIB, 2: GIB}, CARDS, ""))
    assert [(one.subject, one.ok, one.severity) for one in found] == [
        ("card/0", False, "error"),
        ("card/1", True, "error"),
        ("card/2", False, "error"),
    ]
    [unknown] = vram_findings({0: GIB}, None, "NVML cannot be asked")
    assert (unknown.ok, unknown.severity, "NVML" in unknown.message) == (None, "warning", True)
    assert not list(vram_findings({}, None, ""))


@pytest.mark.parametrize(
    ("found", "ok"),
    [("570.86.15", True), ("570", True), ("550.144.03", False), ("6.10.5", False), (None, None)],
)
def test_driver(found: str | None, ok: bool | None) -> None:
    assert driver_finding("vllm", "570", found, "no driver").ok is ok


def test_devices() -> None:
    services = {"ollama": {"devices": ["/dev/kfd:/dev/kfd", {"source": "/dev/dri", "target": "/dev/dri"}]}}
    found = device_findings(services, lambda path: path == "/dev/dri")
    assert {one.subject: one.ok for one in found} == {"device//dev/kfd": False, "device//dev/dri": True}


def test_disk() -> None:
    assert disk_finding("models", 100 * GIB, 80 * GIB, 30 * GIB).ok is True
    assert disk_finding("models", 100 * GIB, 0, 30 * GIB).ok is False
    assert disk_finding("models", 100 * GIB, 0, None).ok is None
