"""What Docker Compose said when it failed, in short, and what mends it.

The phrases are those of Docker Engine 20.10 to 28 and Compose 2.20 to 2.40; one that is not known is shown as it is.
"""

from __future__ import annotations

import re

_BEGINS = re.compile(
    r"error|failed|invalid|no such|dependency failed|pull access denied|.*unauthorized", re.IGNORECASE
)
_PROGRESS = re.compile(r"^(Container|Network|Volume|Image|time=)\b")
_REMEDIES = (
    (
        r"port is already allocated|address already in use",
        "stop what holds the port (`ops-pipelines plan STACK` names it), or publish another one of the service",
    ),
    (
        r"no space left on device|disk quota exceeded",
        "free space on the disk of the Docker Engine (`docker system df`, `docker image prune`), then deploy again",
    ),
    (
        r"pull access denied|manifest unknown|no such image|not found: manifest|repository does not exist|no such host|"
        r"failed to resolve reference|TLS handshake|i/o timeout",
        "correct the name of the image, log in to its registry (`docker login`), or load it (`docker load`, "
        "`ops-pipelines build STACK`)",
    ),
    (
        r"Cannot connect to the Docker daemon|error during connect|EOF$|connection reset|broken pipe",
        "look at the log of the Docker Engine, which went away meanwhile; then deploy again",
    ),
    (
        r"could not select device driver|unknown or invalid runtime|nvidia-container-cli",
        "install the GPU's container runtime on the engine's machine, or choose a profile without cards",
    ),
    (r"volume is in use|Resource is still in use", "stop the containers that use it, then say it again"),
    (r"OOMKilled|exited \(137\)", "give the component more memory, or a smaller model"),
    (r"exec format error", "use an image of this machine's architecture"),
    (r"Conflict\. The container name", "rename or remove that container: it is not one of this project"),
    (r"network \S+ .*not found", "make the network, or correct its name in the Compose files"),
)


def in_short(output: str) -> str:
    """The error among what a command printed: from the last line on that begins one; else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    begun = next((place for place in reversed(range(len(lines))) if _BEGINS.match(lines[place])), None)
    if begun is None:
        return lines[-1] if lines else ""
    return " ".join(line for line in lines[begun:] if not _PROGRESS.match(line))


def remedy(output: str, default: str) -> str:
    """What mends it; `default` where that is not known."""
    return next(
        (words for phrase, words in _REMEDIES if re.search(phrase, output, re.IGNORECASE | re.MULTILINE)),
        default,
    )
