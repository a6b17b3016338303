"""What Compose refuses, or what collides: names that are not there, ports taken twice, names that forbid replicas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from ops_pipelines.policy.lint_compose.rule import (
    PORT,
    ComposeRule,
    Hit,
    Published,
    kind_of,
    named,
    place,
    ports,
    targets,
)  # fmt: skip
from ops_pipelines.stack.compose_file import ComposeFile, Items, Position, Scalar, Service, Table, filled

_NAMED_VOLUME = re.compile(r"[A-Za-z0-9][\w.-]*")
_URL = re.compile(r"\w+://(?:[^/@\s]*@)?([A-Za-z0-9][\w-]*):(\d+)")
_KNOWN_PORTS = {
    "langfuse": 3000,
    "ollama": 11434,
    "litellm": 4000,
    "postgres": 5432,
    "redis": 6379,
    "qdrant": 6333,
}


def depends_missing(file: ComposeFile) -> Iterator[Hit]:
    """A service that depends on one that the file does not have: Compose refuses the whole file.

    Most often the line came with `extends`, from a file where the other service is. `required: false` is for services
    that a profile switches off, and does not help here.
    """
    if file.partial:
        return
    for name, service in file.services.items():
        for other, at, _ in named(service.entry("depends_on")):
            if other in file.services:
                continue
            came = " (it came by `extends`)" if at.file != file.path or _inherited(service, at) else ""
            yield Hit(
                _here(file, service, at), f"services.{name}.depends_on.{other}",
                f"{name} depends on `{other}`, which the file does not have{came}", "Compose refuses the file",
                "add the service, or take the line out; a line that `extends` brings has to go where it is written",
            )  # fmt: skip


def depends_profile(file: ComposeFile) -> Iterator[Hit]:
    """A service that depends on one that only a profile switches on: without the profile Compose refuses the file."""
    for name, service in file.services.items():
        for other, at, said in named(service.entry("depends_on")):
            target = file.services.get(other)
            if target is None or not target.profiles or _optional(said):
                continue
            if not service.profiles or not service.profiles <= target.profiles:
                yield Hit(
                    _here(file, service, at), f"services.{name}.depends_on.{other}",
                    f"{name} depends on `{other}`, switched on by {', '.join(sorted(target.profiles))}",
                    "without such a profile Compose refuses the file",
                    "set `required: false`, or give both services the same profiles", "warning",
                )  # fmt: skip


def depends_health(file: ComposeFile) -> Iterator[Hit]:
    """A service that waits until another is healthy, which has no health check: it waits for ever, or is refused."""
    for name, service in file.services.items():
        for other, at, said in named(service.entry("depends_on")):
            target = file.services.get(other)
            asks = isinstance(said, Table) and "service_healthy" in _word(said, "condition")
            known = target is not None and kind_of(target) not in ("", "litellm")
            if target is not None and asks and known and not target.entry("healthcheck") and not file.partial:
                yield Hit(
                    _here(file, service, at), f"services.{name}.depends_on.{other}",
                    f"{name} waits for `{other}` to be healthy, and `{other}` has no health check",
                    "Compose stops the start: the container has no health check", f"give {other} a healthcheck",
                )  # fmt: skip


def port_taken(file: ComposeFile) -> Iterator[Hit]:
    """Two services that publish the same port of the host: the second to start fails.

    `extends` joins the ports of both files: two replicas of one service publish the same.
    """
    taken = [(service, port) for service in file.services.values() for port in ports(service)]
    for (one, first), (two, second) in combinations(taken, 2):
        if one is two and first.at == second.at:
            continue
        if _collide(first, second) and _together(one, two) and first.published:
            came = " (it came by `extends`)" if two.extends_at and _inherited(two, second.at) else ""
            yield Hit(
                _here(file, two, second.at), f"services.{two.name}.ports",
                f"port {first.published[0]} of the host for {two.name}{came}, which {one.name} has too",
                "the second to start finds the port taken",
                "give each a port of its own, or none: services reach each other without published ports",
            )  # fmt: skip


def depends_cycle(file: ComposeFile) -> Iterator[Hit]:
    """Services that wait for one another in a circle: Compose refuses the file."""
    waits = {
        name: [other for other, *_ in named(each.entry("depends_on"))] for name, each in file.services.items()
    }
    told: set[str] = set()
    for name, service in file.services.items():
        way = _way(name, waits)
        if way is None or name in told:
            continue
        told |= set(way)
        at = next(at for other, at, _ in named(service.entry("depends_on")) if other == way[1])
        circle = " -> ".join(way)
        yield Hit(
            _here(file, service, at), f"services.{name}.depends_on", circle, "Compose refuses the file",
            "let one of them start without the other, and try again until it answers",
        )  # fmt: skip


def _way(start: str, waits: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """The shortest way from a service back to itself, or None."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    for way in ways:
        for other in waits.get(way[-1], ()):
            if other == start:
                return (*way, start)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return None


def port_unread(file: ComposeFile) -> Iterator[Hit]:
    """A port that Compose cannot read (`127.0.0.1:6379`, without the port of the container): it refuses the file."""
    for name, service in file.services.items():
        for item in service.items("ports"):
            if not isinstance(item, Scalar) or "$" in item.text or PORT.fullmatch(item.text):
                continue
            yield Hit(
                _here(file, service, item.at), f"services.{name}.ports", f"`{item.text[:40]}`, which is no port",
                "Compose refuses the file", 'write "[ADDRESS:]PORT:PORT" in quotes, such as "127.0.0.1:6379:6379"',
            )  # fmt: skip


def volume_missing(file: ComposeFile) -> Iterator[Hit]:
    """A named volume that is not under `volumes`: Compose refuses the file."""
    known = file.names("volumes")
    for name, service in file.services.items():
        for source, _, at in targets(service):
            if source == "tmpfs" or not _NAMED_VOLUME.fullmatch(source) or source in known or file.partial:
                continue
            if _bind(service, at):
                continue
            yield Hit(
                _here(file, service, at), f"services.{name}.volumes",
                f"the volume `{source}`, which is not under `volumes`", "Compose refuses the file",
                f"add `{source}:` under the file's own `volumes`",
            )  # fmt: skip


def name_missing(file: ComposeFile) -> Iterator[Hit]:
    """A network, secret or config that the file does not define: Compose refuses the file."""
    for name, service in file.services.items():
        for kind in ("networks", "secrets", "configs"):
            known = file.names(kind) | ({"default"} if kind == "networks" else frozenset())
            for word, at, _ in named(service.entry(kind)):
                if word not in known and not file.partial and "$" not in word:
                    yield Hit(
                        _here(file, service, at), f"services.{name}.{kind}",
                        f"`{word}`, which is not under `{kind}`", "Compose refuses the file",
                        f"add `{word}:` under the file's own `{kind}`",
                    )  # fmt: skip


def fixed_name(file: ComposeFile) -> Iterator[Hit]:
    """`container_name` on a service: with replicas Compose refuses it, and two projects on one host collide."""
    for name, service in file.services.items():
        if not service.text("container_name"):
            continue
        many = service.text("deploy", "replicas") or service.text("scale")
        scaled = many.isdecimal() and int(many) > 1
        yield Hit(
            place(service, "container_name"), f"services.{name}.container_name",
            f"a fixed name{f' and {many} replicas' if scaled else ''}",
            "Compose refuses more than one container" if scaled
            else "the service cannot scale, and a second project on the host cannot start",
            "take it out: the service's own name works inside the network", "error" if scaled else "info",
        )  # fmt: skip


def fixed_port(file: ComposeFile) -> Iterator[Hit]:
    """One published port and several replicas: the second replica finds the port taken."""
    for name, service in file.services.items():
        many = service.text("deploy", "replicas") or service.text("scale")
        if not many.isdecimal() or int(many) < 2:
            continue
        for port in ports(service):
            if port.published and port.published[1] - port.published[0] + 1 < int(many):
                yield Hit(
                    _here(file, service, port.at), f"services.{name}.ports",
                    f"{many} replicas and the one port {port.published[0]}", "only the first replica starts",
                    "put a proxy in front, or publish a range of ports",
                )  # fmt: skip


def host_port_inside(file: ComposeFile) -> Iterator[Hit]:
    """A service addressed by the port that it publishes on the host: inside the network it listens on another.

    Langfuse is the known case: published on 3001, it listens on 3000.
    """
    inner = {name: _inner(service) for name, service in file.services.items()}
    for name, service in file.services.items():
        for variable, value in service.environment.items():
            for host, port in _URL.findall(filled(value.text)):
                outside, inside = inner.get(host, (set(), set()))
                if int(port) in outside - inside and inside:
                    listens = ", ".join(str(each) for each in sorted(inside))
                    yield Hit(
                        value.at, f"services.{name}.environment.{variable}", f"{host}:{port}, a port of the host",
                        f"inside the network {host} listens on {listens}: nobody answers",
                        f"write {host}:{min(inside)}",
                    )  # fmt: skip


def _inner(service: Service) -> tuple[set[int], set[int]]:
    """Ports of a service on the host, and in its network."""
    listed = list(ports(service))
    outside = {each.published[0] for each in listed if each.published}
    inside = {each.target[0] for each in listed if each.target}
    if kind_of(service) in _KNOWN_PORTS and not inside:
        inside.add(_KNOWN_PORTS[kind_of(service)])
    return outside, inside


def _optional(said: object) -> bool:
    return isinstance(said, Table) and _word(said, "required") == "false"


def _word(table: Table, key: str) -> str:
    entry = table.entries.get(key)
    return entry.node.text.lower() if entry and isinstance(entry.node, Scalar) else ""


def _bind(service: Service, at: Position) -> bool:
    """Whether the volume at a place is a long one of a kind that needs no name."""
    for item in service.items("volumes"):
        if isinstance(item, Table) and any(entry.at == at for entry in item.entries.values()):
            return _word(item, "type") != "volume"
    return False


def _inherited(service: Service, at: Position) -> bool:
    """Whether what stands there is not written in the service itself."""
    return service.extends_at is not None and (at.file != service.at.file or at.line < service.at.line)


def _here(file: ComposeFile, service: Service, at: Position) -> Position:
    """The place, or where the service says that it extends the one that has it."""
    return service.extends_at if at.file != file.path and service.extends_at else at


def _collide(one: Published, two: Published) -> bool:
    if not one.published or not two.published or one.protocol != two.protocol:
        return False
    if one.host is None or two.host is None:
        return False
    wide = ("", "0.0.0.0")  # noqa: S104 - they are looked for, not bound
    same = one.host == two.host or one.host in wide or two.host in wide
    return same and one.published[0] <= two.published[1] and two.published[0] <= one.published[1]


def _together(one: Service, two: Service) -> bool:
    """Whether two services may run at once."""
    return not one.profiles or not two.profiles or bool(one.profiles & two.profiles)


def no_image(file: ComposeFile) -> Iterator[Hit]:
    """A file of which every service lacks image and build: alone it starts nothing."""
    bare = [
        each
        for each in file.services.values()
        if not any(each.entry(key) for key in ("image", "build", "extends", "provider"))
    ]
    if file.partial and bare and "include" not in file.root.entries:
        names = ", ".join(each.name for each in bare)
        yield Hit(
            bare[0].at, f"services.{bare[0].name}", f"no image and no build: {names}",
            "alone the file is refused; it has to be laid over another, and names were not looked for in that one",
            "name both with `-f`, and lint what `docker compose config` writes to see them together", "info",
        )  # fmt: skip


def version_key(file: ComposeFile) -> Iterator[Hit]:
    """`version:` at the top of a file: Compose has ignored it since 2020 and warns at every call."""
    entry = file.root.entries.get("version")
    if entry is not None and not isinstance(entry.node, Items):
        words = (
            "`version`, which Compose ignores",
            "a warning at every call hides others",
            "take the line out",
        )
        yield Hit(entry.key_at, "version", *words, "info")


RULES = (
    ComposeRule("OPS-C101", "depends-missing", (16,), depends_missing),
    ComposeRule("OPS-C102", "depends-profile", (16,), depends_profile),
    ComposeRule("OPS-C103", "depends-health", (17,), depends_health),
    ComposeRule("OPS-C104", "port-taken", (16,), port_taken),
    ComposeRule("OPS-C105", "volume-missing", (16,), volume_missing),
    ComposeRule("OPS-C106", "name-missing", (16,), name_missing),
    ComposeRule("OPS-C107", "fixed-name", (17,), fixed_name),
    ComposeRule("OPS-C108", "fixed-port", (17,), fixed_port),
    ComposeRule("OPS-C109", "host-port-inside", (19,), host_port_inside),
    ComposeRule("OPS-C110", "laid-over", (16,), no_image),
    ComposeRule("OPS-C111", "version-key", (16,), version_key),
    ComposeRule("OPS-C112", "depends-cycle", (16,), depends_cycle),
    ComposeRule("OPS-C113", "port-unread", (16,), port_unread),
)
