"""What Docker and Compose really printed, and what is said of it."""

from __future__ import annotations

import pytest

from ops_pipelines.policy.compose_words import in_short, remedy

# Recorded from Docker Engine 20.10.24 and Compose 2.26.1.
NETWORK = """ Container p-back-1  Healthy
 Container p-web-1  Starting
Error response from daemon: driver failed programming external connectivity on endpoint p-web-1: (iptables failed: \
iptables: No chain/target/match by that name.
 (exit status 1))
"""
PORT = """ Container p-web-1  Starting
Error response from daemon: driver failed programming external connectivity on endpoint p-web-1 (3e): Error starting \
userland proxy: listen tcp4 127.0.0.1:29069: bind: address already in use
"""
HEALTH = """ Container p-back-1  Waiting
 Container p-back-1  Error
dependency failed to start: container p-back-1 is unhealthy
"""
NAME = """ Container p-back-1  Recreate
Error response from daemon: Conflict. The container name "/6c62a1deac11_p-back-1" is already in use by container "fda9".
"""


@pytest.mark.parametrize(
    ("output", "short", "what_to_do"),
    [
        (NETWORK, "No chain/target/match by that name. (exit status 1))", "the default"),
        (PORT, "address already in use", "publish another one"),
        (HEALTH, "container p-back-1 is unhealthy", "the default"),
        (NAME, "Conflict. The container name", "rename or remove"),
        (
            "Error response from daemon: no space left on device",
            "no space left on device",
            "docker system df",
        ),
        ("Error response from daemon: manifest unknown: x", "manifest unknown: x", "docker login"),
        ("something new\nof two lines\n", "of two lines", "the default"),
        ("", "", "the default"),
    ],
)
def test_words(output: str, short: str, what_to_do: str) -> None:
    said = in_short(output)
    assert said.endswith(short) or short in said
    assert "Container p-" not in said
    assert what_to_do in remedy(output, "the default")
