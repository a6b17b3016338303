"""What a rule on manifests is, and what such rules look at: workloads, their pods and containers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops_pipelines.policy.lint_compose.rule import Hit, kind_of
from ops_pipelines.stack.compose_file import Entry, Service
from ops_pipelines.stack.manifests import (
    UNKNOWN,
    Items,
    Manifest,
    Node,
    Position,
    Scalar,
    Table,
    at,
    look,
    text,
)

__all__ = [
    "UNKNOWN", "Container", "Hit", "KubeRule", "Manifest", "Objects", "at", "containers", "items", "look", "scalars",
    "text", "where",
]  # fmt: skip

Objects = Sequence[Manifest]
"""All objects that are applied together: those of a file, a folder or a chart."""

_SERVERS = ("ollama", "vllm", "aphrodite", "tgi")
_CARDS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe")
_POD = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController"),
        ("spec", "template", "spec"),
    ),
}


@dataclass(frozen=True)
class KubeRule:
    """One rule. `code` never changes its meaning."""

    code: str
    name: str
    faults: tuple[int, ...]
    look: Callable[[Objects], Iterable[Hit]]

    @property
    def about(self) -> str:
        """What it looks for, in one sentence."""
        return (self.look.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class Container:
    """One container of a workload's pod."""

    of: Manifest
    pod: Table
    table: Table
    init: bool

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.table, "name")

    @property
    def path(self) -> str:
        """Where it stands, for people."""
        return f"{where(self.of)}.containers.{self.name}"

    @property
    def at(self) -> Position:
        """Where it begins."""
        return at(self.table, "name")

    @property
    def cards(self) -> bool:
        """Whether it asks for a card."""
        return any(
            look(self.table, "resources", kind, card) for kind in ("limits", "requests") for card in _CARDS
        )

    @property
    def image_kind(self) -> str:
        """What runs in it, by its image's name."""
        return kind_of(self.service)

    @property
    def loads_models(self) -> bool:
        """Whether it is a model server."""
        return self.image_kind in _SERVERS or self.cards

    @property
    def service(self) -> Service:
        """The same as a service of Compose, for rules that hold for both."""
        entries = {"image": self.table.entries["image"]} if "image" in self.table.entries else {}
        variables = {}
        for one in items(self.table, "env"):
            name = look(one, "name")
            if isinstance(one, Table) and isinstance(name, Scalar):
                value = look(one, "value")
                node = value if isinstance(value, Scalar) else Scalar("${SET:?}", "${SET:?}", False, name.at)
                variables[name.text] = Entry(name.at, node)
        start = self.table.at
        entries["environment"] = Entry(start, Table(variables, start))
        words = tuple(one for key in ("command", "args") for one in items(self.table, key))
        entries["command"] = Entry(start, Items(words, start))
        mounts = tuple(_mount(one) for one in items(self.table, "volumeMounts") if isinstance(one, Table))
        entries["volumes"] = Entry(start, Items(mounts, start))
        unread = bool(look(self.table, "envFrom")) or self.init
        return Service(self.path, self.at, Table(entries, start), unread=unread)

    def volume(self, name: str) -> Table | None:
        """The pod's volume of that name."""
        found = (one for one in items(self.pod, "volumes") if text(one, "name") == name)
        return next((one for one in found if isinstance(one, Table)), None)


def _mount(mount: Table) -> Scalar:
    words = f"{text(mount, 'name')}:{text(mount, 'mountPath')}"
    return Scalar(words, words, False, at(mount, "mountPath"))


def containers(objects: Objects) -> Iterator[Container]:
    """Every container of every workload."""
    for one in objects:
        for pod in _pods(one):
            for key, init in (("containers", False), ("initContainers", True)):
                for found in items(pod, key):
                    if isinstance(found, Table):
                        yield Container(one, pod, found, init)


def pods(objects: Objects) -> Iterator[tuple[Manifest, Table]]:
    """Every pod of every workload."""
    for one in objects:
        for pod in _pods(one):
            yield one, pod


def _pods(one: Manifest) -> Iterator[Table]:
    if one.kind in _POD:
        found = look(one.root, *_POD[one.kind])
        if isinstance(found, Table):
            yield found
    elif one.kind in ("RayCluster", "RayService", "RayJob"):
        spec = look(one.root, "spec", "rayClusterConfig") or look(one.root, "spec")
        groups = [look(spec, "headGroupSpec"), *items(spec, "workerGroupSpecs")]
        for group in groups:
            found = look(group, "template", "spec")
            if isinstance(found, Table):
                yield found


def items(node: Node | None, *keys: str) -> tuple[Node, ...]:
    """The items of a list; none where there is no list."""
    found = look(node, *keys)
    return found.items if isinstance(found, Items) else ()


def where(one: Manifest) -> str:
    """An object, for people."""
    return f"{one.kind}/{one.name or '?'}"


def scalars(node: Node, path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Every single value below a node, with its dotted path."""
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, Items):
        for number, item in enumerate(node.items):
            yield from scalars(item, f"{path}.{number}")
    else:
        for key, entry in node.entries.items():
            yield from scalars(entry.node, f"{path}.{key}" if path else key)
