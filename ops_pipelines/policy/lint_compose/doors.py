"""Who gets in: passwords of the manual, blank ones, ports open to the network, containers with too many rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from ops_pipelines.policy.lint.secrets import BLANK, DEFAULTS, OPEN
from ops_pipelines.policy.lint_compose.rule import (
    ComposeRule,
    Hit,
    Published,
    everywhere,
    kind_of,
    place,
    ports,
    words_of,
)  # fmt: skip
from ops_pipelines.stack.compose_file import ComposeFile, Scalar, Service, filled, unset_variables

_LOGIN = re.compile(r"\w+://([^:/@\s]*):([^@/\s]+)@")
_WEAK = frozenset(
    {"password", "postgres", "admin", "root", "secret", "test", "guest", "default", "clickhouse", "1234"}
)
_PASSWORD = re.compile(
    r"(^|_)(pass(word|wd)?|secret(_key)?|(api|master|access|salt|encryption)_?key|token|auth|salt)$", re.I
)
_STORES = frozenset({"redis", "mongo", "qdrant", "chroma", "clickhouse", "elasticsearch", "milvus", "etcd"})
_INNER = _STORES | {
    "ollama", "vllm", "aphrodite", "tgi", "postgres", "mysql", "minio", "prometheus", "grafana", "exporter", "ray",
    "litellm", "langfuse",
}  # fmt: skip
_OPENS = ("SYS_ADMIN", "ALL", "CAP_SYS_ADMIN")
_ASKED = {
    "mongo": ("MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_USERNAME_FILE"),
    "qdrant": ("QDRANT__SERVICE__API_KEY",),
    "chroma": ("CHROMA_SERVER_AUTHN_PROVIDER", "CHROMA_SERVER_AUTHN_CREDENTIALS"),
    "clickhouse": ("CLICKHOUSE_PASSWORD", "CLICKHOUSE_PASSWORD_FILE"),
    "elasticsearch": ("ELASTIC_PASSWORD", "ELASTIC_PASSWORD_FILE", "OPENSEARCH_INITIAL_ADMIN_PASSWORD"),
    "milvus": ("COMMON_SECURITY_AUTHORIZATIONENABLED",),
    "etcd": ("ETCD_ROOT_PASSWORD", "ETCD_CLIENT_CERT_AUTH"),
    "redis": ("REDIS_PASSWORD", "REDIS_ARGS", "VALKEY_PASSWORD"),
}


def default_credentials(file: ComposeFile) -> Iterator[Hit]:
    """A password that is in every manual (minioadmin, sk-1234, postgres): it is the first that is tried.

    A default in a variable (`${TOKEN:-sk-1234}`) counts: it is what runs where nobody sets the variable. The value
    is never shown.
    """
    for service in file.services.values():
        for name, value in service.environment.items():
            text = filled(value.text).strip()
            if _known(name, text) or any(_weak_login(login) for login in _LOGIN.findall(text)):
                yield _default(value, f"services.{service.name}.environment.{name}")
        for option in ("--requirepass", "--api-key", "--api-keys"):
            given = service.flag(option)
            if given is not None and (
                DEFAULTS.fullmatch(filled(given.text).lower()) or filled(given.text) in _WEAK
            ):
                yield _default(given, f"services.{service.name}.command")


def _default(value: Scalar, path: str) -> Hit:
    return Hit(
        value.at, path, "a password that is in every manual (not shown)", "whoever finds the port is in",
        "make one of 32 random characters, and require it: ${NAME:?set it}, or a file under `secrets`",
    )  # fmt: skip


def _known(name: str, text: str) -> bool:
    low = text.lower()
    if DEFAULTS.fullmatch(low):
        return True
    return bool(_PASSWORD.search(name)) and low in _WEAK


def _weak_login(login: tuple[str, str]) -> bool:
    user, password = unquote(login[0]).lower(), unquote(login[1]).lower()
    return bool(password) and (password == user or password in _WEAK or bool(DEFAULTS.fullmatch(password)))


def blank_password(file: ComposeFile) -> Iterator[Hit]:
    """A password that may be blank: `${DB_PASSWORD}` and `${DB_PASSWORD:-}` start without one where nobody sets it.

    Compose only warns, and most servers take a blank password for none. `${DB_PASSWORD:?set it}` stops the start.
    """
    for service in file.services.values():
        for name, value in service.environment.items():
            path, blank = f"services.{service.name}.environment.{name}", unset_variables(value.text)
            secret = [each for each in blank if BLANK.search(each)] or (
                list(blank) if BLANK.search(name) else []
            )
            if value.value == "" and BLANK.search(name):
                yield Hit(
                    value.at, path, f"{name} set to nothing", "most servers take a blank password for none",
                    "require one: ${" + name + ":?set it}",
                )  # fmt: skip
            elif secret:
                yield Hit(
                    value.at, path, f"{secret[0]}, which may be blank", "where nobody sets it, there is no password",
                    "require it: ${" + secret[0] + ":?set it}", "warning",
                )  # fmt: skip


def open_door(file: ComposeFile) -> Iterator[Hit]:
    """A setting that lets everybody in without a password (POSTGRES_HOST_AUTH_METHOD: trust)."""
    for service in file.services.values():
        for name, value in service.environment.items():
            if filled(value.text).strip().lower() in OPEN.get(name, ()):
                yield Hit(
                    value.at, f"services.{service.name}.environment.{name}", f"{name}: {filled(value.text)}",
                    "whoever reaches the port is in", "take it out and give the server a password",
                )  # fmt: skip


def store_open(file: ComposeFile) -> Iterator[Hit]:
    """A store without a password whose port is open to the network (Redis on 6379): it is everybody's."""
    for service in file.services.values():
        kind = kind_of(service)
        if kind not in _STORES or _asks(service, kind):
            continue
        for port in ports(service):
            if everywhere(port):
                yield Hit(
                    port.at, f"services.{service.name}.ports",
                    f"{kind} without a password, on {_number(port)} of every address",
                    "whoever reaches the host reads, changes and deletes what it holds",
                    "take the port out, bind it to 127.0.0.1, and give the server a password",
                )  # fmt: skip


def port_open(file: ComposeFile) -> Iterator[Hit]:
    """A port published on every address of the host: Docker opens it past the host's own firewall.

    A warning for databases, model servers and monitoring, which are rarely meant for the network; a remark for a
    service that is not known. A proxy (nginx, HAProxy, Traefik, Caddy, Envoy) is what such ports are for.
    """
    for service in file.services.values():
        kind = kind_of(service)
        if kind == "proxy" or (kind in _STORES and not _asks(service, kind)):
            continue
        for port in ports(service):
            if everywhere(port):
                yield Hit(
                    port.at, f"services.{service.name}.ports",
                    f"{_number(port)} of every address of the host", "the network reaches it, past the firewall",
                    f"bind it to this machine (127.0.0.1:{_number(port)}), or take it out and put a proxy in front",
                    "warning" if kind in _INNER else "info",
                )  # fmt: skip


def unconfined(file: ComposeFile) -> Iterator[Hit]:
    """seccomp or AppArmor switched off: the container may ask the kernel for anything.

    Milvus's own file has it for old kernels; since Docker 20.10 it is not needed.
    """
    for service in file.services.values():
        for item in service.items("security_opt"):
            if isinstance(item, Scalar) and item.text.replace("=", ":").endswith(":unconfined"):
                yield Hit(
                    item.at, f"services.{service.name}.security_opt", item.text,
                    "a fault in the server becomes one of the host", "take it out: Docker's own profile is enough",
                )  # fmt: skip


def rights(file: ComposeFile) -> Iterator[Hit]:
    """SYS_ADMIN, every capability or `privileged`: root of the container is then nearly root of the host.

    No model server needs it, AMD cards neither: /dev/kfd, /dev/dri and the groups video and render are enough.
    """
    for service in file.services.values():
        model = kind_of(service) in ("ollama", "vllm", "aphrodite", "tgi", "litellm", "ray")
        for word in words_of(entry.node if (entry := service.entry("cap_add")) else None):
            if word.text.upper() in _OPENS:
                yield _right(service, word, "cap_add", f"the capability {word.text}", model=model)
        said = service.entry("privileged")
        if said is not None and isinstance(said.node, Scalar) and said.node.value is True:
            yield _right(service, said.node, "privileged", "`privileged`", model=model)


def _right(service: Service, word: Scalar, key: str, found: str, *, model: bool) -> Hit:
    return Hit(
        word.at, f"services.{service.name}.{key}", found, "who breaks into the container has the host",
        "take it out, and give the devices and groups that it needs" if model
        else "give the one capability or device that it needs", "error" if model else "warning",
    )  # fmt: skip


def docker_socket(file: ComposeFile) -> Iterator[Hit]:
    """Docker's socket inside a container: who has it is root on the host, whether it is mounted `:ro` or not."""
    for service in file.services.values():
        for item in service.items("volumes"):
            if isinstance(item, Scalar) and item.text.startswith(
                ("/var/run/docker.sock:", "/run/docker.sock:")
            ):
                yield Hit(
                    item.at, f"services.{service.name}.volumes", "Docker's socket",
                    "who breaks into the container has the host", "put a socket proxy that only reads in between",
                    "info",
                )  # fmt: skip


def redis_inside(file: ComposeFile) -> Iterator[Hit]:
    """A store without a password that only the network of the project reaches: each service in it may read it."""
    for service in file.services.values():
        kind = kind_of(service)
        if (
            kind == "redis"
            and not _asks(service, kind)
            and not any(everywhere(port) for port in ports(service))
        ):
            yield Hit(
                place(service, "image"), f"services.{service.name}", f"{kind} without a password",
                "every container of its networks reads and writes it", "give it a password (--requirepass)", "info",
            )  # fmt: skip


def _asks(service: Service, kind: str) -> bool:
    """Whether a store asks for a password, or may, for all that the file tells."""
    if service.entry("env_file") or service.unread:
        return True
    if any(name in service.environment for name in _ASKED[kind]):
        return True
    words = [word.text for word in service.command]
    if kind == "redis":
        # A configuration file, or a shell that writes one, may have it.
        return any("requirepass" in word or word.endswith(".conf") or word == "--aclfile" for word in words)
    return kind == "mongo" and "--auth" in words


def _number(port: Published) -> str:
    first, target = port.published, port.target
    inner = str(target[0]) if target else "?"
    return f"{first[0]}:{inner}" if first else inner


RULES = (
    ComposeRule("OPS-C301", "default-credentials", (24,), default_credentials),
    ComposeRule("OPS-C302", "blank-password", (24,), blank_password),
    ComposeRule("OPS-C303", "open-door", (24,), open_door),
    ComposeRule("OPS-C304", "store-open", (24,), store_open),
    ComposeRule("OPS-C305", "port-open", (24,), port_open),
    ComposeRule("OPS-C306", "unconfined", (24,), unconfined),
    ComposeRule("OPS-C307", "rights", (27,), rights),
    ComposeRule("OPS-C308", "docker-socket", (24,), docker_socket),
    ComposeRule("OPS-C309", "store-without-password", (24,), redis_inside),
)
