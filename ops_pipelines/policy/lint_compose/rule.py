"""What a rule on Compose files is: a stable code, the faults it looks for, a pure function from a file to findings.

The function's docstring is the rule's story in docs/reference/lint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ops_pipelines.policy.lint.rule import Severity
from ops_pipelines.stack.compose_file import (
    ComposeFile,
    Entry,
    Items,
    Node,
    Position,
    Scalar,
    Service,
    Table,
    filled,
)  # fmt: skip


@dataclass(frozen=True)
class Hit:
    """One thing that a rule has to say about a Compose file."""

    at: Position
    path: str
    found: str
    breaks: str
    remedy: str
    severity: Severity = "error"


@dataclass(frozen=True)
class ComposeRule:
    """One rule. `code` never changes its meaning."""

    code: str
    name: str
    faults: tuple[int, ...]
    look: Callable[[ComposeFile], Iterable[Hit]]

    @property
    def about(self) -> str:
        """What it looks for, in one sentence."""
        return (self.look.__doc__ or "").strip().partition("\n")[0]


class Published(NamedTuple):
    """One port that a service publishes. None: it holds a variable without a default, or none is given."""

    host: str | None
    """Address of the host; '' for all of them."""
    published: tuple[int, int] | None
    target: tuple[int, int] | None
    protocol: str
    at: Position


# Last words of an image's name, by what runs in it. The first that fits counts.
_KINDS = {
    "ollama": ("ollama",),
    "litellm": ("litellm", "litellm-database", "litellm-non_root"),
    "vllm": ("vllm-openai", "vllm"),
    "aphrodite": ("aphrodite-openai", "aphrodite-engine"),
    "tgi": ("text-generation-inference",),
    "langfuse": ("langfuse",),
    "postgres": ("postgres", "postgresql", "pgvector", "timescaledb", "postgis"),
    "redis": ("redis", "valkey", "redis-stack", "redis-stack-server", "keydb", "dragonfly"),
    "mysql": ("mysql", "mariadb"),
    "mongo": ("mongo",),
    "milvus": ("milvus",),
    "qdrant": ("qdrant",),
    "chroma": ("chroma",),
    "clickhouse": ("clickhouse-server",),
    "elasticsearch": ("elasticsearch", "opensearch"),
    "minio": ("minio",),
    "etcd": ("etcd",),
    "prometheus": ("prometheus",),
    "grafana": ("grafana", "grafana-oss", "grafana-enterprise"),
    "exporter": ("dcgm-exporter", "node-exporter", "cadvisor"),
    "proxy": ("nginx", "haproxy", "traefik", "caddy", "envoy", "nginx-unprivileged"),
    "ray": ("ray", "ray-ml"),
}
_BY_WORD = {word: kind for kind, words in _KINDS.items() for word in words}
_ALL = ("", "0.0.0.0", "::", "[::]")  # noqa: S104 - they are looked for, not bound
PORT = re.compile(
    r"((\[[0-9a-fA-F:]*\]|[0-9a-fA-F:]*::[0-9a-fA-F:]*|[\w.-]+):([\d-]+)?:|[\d-]+:)?\d+(-\d+)?(/(tcp|udp|sctp))?"
)
"""A short port as Compose reads it: `[HOST:][PUBLISHED:]TARGET[/PROTOCOL]`."""
_SHORT = re.compile(
    r"(?:(?P<host>\[[0-9a-fA-F:]*\]|[^:]*):)??(?:(?P<published>[\d-]*):)?(?P<target>[\d-]+)(?:/(?P<protocol>\w+))?"
)


def kind_of(service: Service) -> str:
    """What runs in a service, by its image's name; '' where that is not known."""
    name = service.image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return _BY_WORD.get(name, "")


def tag_of(image: str) -> str:
    """The tag of an image; '' for none."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def everywhere(port: Published) -> bool:
    """Whether a port is open on every address of the host."""
    return port.host in _ALL


def ports(service: Service) -> Iterator[Published]:
    """The ports that a service publishes, short and long; what cannot be told is left out."""
    for item in service.items("ports"):
        if isinstance(item, Table):
            words = {
                key: filled(e.node.text) for key, e in item.entries.items() if isinstance(e.node, Scalar)
            }
            target = _range(words.get("target"))
            at = next((entry.at for entry in item.entries.values()), item.at)
            yield Published(
                words.get("host_ip", ""), _range(words.get("published")), target,
                words.get("protocol", "tcp"), at,
            )  # fmt: skip
        elif isinstance(item, Scalar) and (match := _SHORT.fullmatch(filled(item.text))):
            unknown = item.text.startswith("${") and not match["host"] and item.text.count("$") > 0
            host = (
                None
                if unknown and match["published"] is not None and _leads(item.text)
                else match["host"] or ""
            )
            yield Published(
                host, _range(match["published"]), _range(match["target"]), match["protocol"] or "tcp", item.at
            )


def _leads(text: str) -> bool:
    """Whether a text starts with a variable that stands for an address, as `${BIND}:80:80` does."""
    return re.sub(r"\$\{[^}]*\}", "x", text).count(":") >= 2


def _range(text: str | None) -> tuple[int, int] | None:
    first, _, last = (text or "").partition("-")
    return (int(first), int(last or first)) if first.isdecimal() and (last or first).isdecimal() else None


def targets(service: Service) -> Iterator[tuple[str, str, Position]]:
    """(source, path in the container, place) of each volume of a service; a tmpfs has the source `tmpfs`."""
    for item in service.items("volumes"):
        if isinstance(item, Table):
            words = {
                key: filled(e.node.text) for key, e in item.entries.items() if isinstance(e.node, Scalar)
            }
            at = next((entry.at for entry in item.entries.values()), item.at)
            source = "tmpfs" if words.get("type") == "tmpfs" else words.get("source", "")
            yield source, words.get("target", ""), at
        elif isinstance(item, Scalar):
            parts = filled(item.text).split(":")
            yield (parts[0] if len(parts) > 1 else "", parts[1] if len(parts) > 1 else parts[0], item.at)
    for item in service.items("tmpfs"):
        if isinstance(item, Scalar):
            yield "tmpfs", item.text.partition(":")[0], item.at


def place(service: Service, *keys: str) -> Position:
    """Where a key of a service stands, or the service where it has none."""
    entry = service.entry(*keys)
    return entry.at if entry else service.at


def words_of(node: Node | None) -> tuple[Scalar, ...]:
    """The single values of a list, or the one value."""
    if isinstance(node, Items):
        return tuple(item for item in node.items if isinstance(item, Scalar))
    return (node,) if isinstance(node, Scalar) else ()


def named(entry: Entry | None) -> Iterator[tuple[str, Position, Node | None]]:
    """(name, place, what is said of it) of a list of names, of mappings with `source`, or of a mapping by name."""
    if entry is None:
        return
    if isinstance(entry.node, Table):
        for name, below in entry.node.entries.items():
            yield name, below.key_at, below.node
    elif isinstance(entry.node, Items):
        for item in entry.node.items:
            if isinstance(item, Scalar):
                yield item.text, item.at, None
            elif (
                isinstance(item, Table)
                and (said := item.entries.get("source"))
                and isinstance(said.node, Scalar)
            ):
                yield said.node.text, said.at, item


def seconds(text: str) -> float | None:
    """A duration of Compose (`1m30s`, `500ms`) in seconds; None where it is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    factor = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * factor[unit] for number, unit in parts)
