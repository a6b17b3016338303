"""Health checks that can pass, and that wait long enough for a model to load."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops_pipelines.policy.lint_compose.rule import ComposeRule, Hit, kind_of, place, seconds, tag_of
from ops_pipelines.stack.compose_file import ComposeFile, Items, Scalar, Service

AS_OF = "2026-11"
"""When the table below was last looked at."""
# What official images do not have. Sources: the images' own Dockerfiles, BerriAI/litellm issues 9479 and 17645 (wget
# left with 1.80.5), qdrant/qdrant issue 4250. Only what is certain stands here: a rule must not cry wolf.
_LACKS: dict[str, tuple[str, ...]] = {
    "ollama": ("curl", "wget"),
    "litellm": ("curl",),
    "qdrant": ("curl", "wget"),
    "postgres": ("curl",),
    "redis": ("curl",),
    "prometheus": ("curl",),
    "langfuse": ("curl",),
    "etcd": ("curl", "wget"),
}
_INSTEAD = {
    "ollama": "[CMD, ollama, list], which asks the server",
    "litellm": "[CMD, python3, -c, \"import urllib.request as u; u.urlopen('http://127.0.0.1:4000/health/liveliness')\"]",
    "qdrant": "[CMD, bash, -c, ':> /dev/tcp/127.0.0.1/6333'], or a probe from outside",
    "postgres": "[CMD, pg_isready, -q, -h, 127.0.0.1]",
    "redis": "[CMD, redis-cli, ping]",
    "prometheus": "[CMD, wget, -q, -O, /dev/null, 'http://127.0.0.1:9090/-/ready']",
    "langfuse": "[CMD, wget, -q, -O, /dev/null, 'http://127.0.0.1:3000/api/public/health']",
    "etcd": "[CMD, etcdctl, endpoint, health]",
}
_MODELS = ("vllm", "aphrodite", "tgi")
_LOADING = 120.0  # seconds; an 8B model from a disk of 500 MB/s, and the start of the engine


def program_missing(file: ComposeFile) -> Iterator[Hit]:
    """A health check with a program that the image does not have (curl in ollama/ollama): it never passes.

    Whoever waits for `service_healthy` never starts. The table of images is dated, and holds only what is certain.
    """
    for service in file.services.values():
        kind, test = kind_of(service), _test(service)
        program = next(
            (word for word in ("curl", "wget") if test and re.search(rf"\b{word}\b", test.text)), None
        )
        if test is None or program is None or program not in _LACKS.get(kind, ()):
            continue
        yield Hit(
            test.at, f"services.{service.name}.healthcheck.test",
            f"{program}, which is not in {service.image.partition('@')[0]} ({AS_OF})",
            "the check never passes, and what waits for it never starts", f"ask with {_INSTEAD[kind]}",
        )  # fmt: skip


def litellm_wget(file: ComposeFile) -> Iterator[Hit]:
    """wget in LiteLLM's image, which left it with 1.80.5: after the next pull the check never passes."""
    for service in file.services.values():
        test = _test(service)
        if kind_of(service) != "litellm" or test is None or not re.search(r"\bwget\b", test.text):
            continue
        version = re.match(r"(?:main-)?v?(\d+)\.(\d+)\.(\d+)", tag_of(service.image))
        if version and tuple(map(int, version.groups())) < (1, 80, 5):
            continue
        yield Hit(
            test.at, f"services.{service.name}.healthcheck.test", "wget, which LiteLLM's image lacks since 1.80.5",
            "the check never passes, and what waits for it never starts", f"ask with {_INSTEAD['litellm']}",
        )  # fmt: skip


def says_nothing(file: ComposeFile) -> Iterator[Hit]:
    """A health check that asks the card (nvidia-smi), not the server: it passes while the server is dead."""
    for service in file.services.values():
        test = _test(service)
        if (
            test is not None
            and re.search(r"\b(nvidia-smi|rocm-smi)\b", test.text)
            and kind_of(service) != "exporter"
        ):
            instead = _INSTEAD.get(kind_of(service), "its health page")
            yield Hit(
                test.at, f"services.{service.name}.healthcheck.test", "nvidia-smi, which says nothing of the server",
                "a dead server counts as healthy", f"ask with {instead}",
            )  # fmt: skip


def start_short(file: ComposeFile) -> Iterator[Hit]:
    """A model server that is given under two minutes to load: it is unhealthy before its model is there."""
    for service in file.services.values():
        if kind_of(service) not in _MODELS or not service.entry("healthcheck"):
            continue
        start = seconds(service.text("healthcheck", "start_period") or "0s")
        interval = seconds(service.text("healthcheck", "interval") or "30s")
        retries = service.text("healthcheck", "retries") or "3"
        if start is None or interval is None or not retries.isdecimal():
            continue
        given = start + interval * int(retries)
        if given < _LOADING:
            yield Hit(
                place(service, "healthcheck"), f"services.{service.name}.healthcheck", f"{given:g} s until unhealthy",
                "a large model takes minutes to load: what waits for it gives up", "set start_period: 600s", "warning",
            )  # fmt: skip


def none(file: ComposeFile) -> Iterator[Hit]:
    """A server without a health check: nobody waits until it answers, and nobody sees that it has stopped."""
    for service in file.services.values():
        if (
            not service.unread
            and not service.entry("healthcheck")
            and kind_of(service)
            and not _ends(service)
        ):
            yield Hit(
                service.at, f"services.{service.name}", "no health check",
                "`up --wait` and `depends_on` take started for ready",
                f"add a healthcheck: {_INSTEAD.get(kind_of(service), 'one that asks the server')}", "info",
            )  # fmt: skip


def _test(service: Service) -> Scalar | None:
    """The words of a health check as one text, at its place."""
    entry = service.entry("healthcheck", "test")
    if entry is None:
        return None
    if isinstance(entry.node, Items):
        words = [item for item in entry.node.items if isinstance(item, Scalar)]
        return words[0]._replace(text=" ".join(word.text for word in words), at=entry.at) if words else None
    return entry.node if isinstance(entry.node, Scalar) else None


def _ends(service: Service) -> bool:
    """Whether it is a job: it ends, and is not started again."""
    return service.text("restart") in ("no", "on-failure") or bool(
        service.profiles & {"init", "tools", "jobs"}
    )


RULES = (
    ComposeRule("OPS-C501", "program-missing", (17,), program_missing),
    ComposeRule("OPS-C502", "litellm-wget", (17,), litellm_wget),
    ComposeRule("OPS-C503", "says-nothing", (17,), says_nothing),
    ComposeRule("OPS-C504", "start-too-short", (23,), start_short),
    ComposeRule("OPS-C505", "no-health-check", (17,), none),
)
