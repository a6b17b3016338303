"""Where a stack runs, and the services it is made of."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from ops_pipelines.stack.base import Declared
from ops_pipelines.stack.bluegreen import BlueGreen
from ops_pipelines.stack.kubernetes import KubernetesTarget
from ops_pipelines.stack.units import Duration, Name, Size

ComponentKind = Literal[
    "ollama", "vllm", "aphrodite", "model-server", "litellm", "milvus", "qdrant", "postgres", "clickhouse",
    "redis", "langfuse", "ray-head", "ray-worker", "proxy", "object-store", "prometheus", "grafana",
    "exporter", "app",
]  # fmt: skip

Port = Annotated[int, Field(ge=1, le=65535)]


class ProcessTarget(Declared):
    """Plain processes on this machine, kept running by supervisord."""

    kind: Literal["process"]


class RemoteEngine(Declared):
    """A Docker Engine that is not this machine's own. Paths are relative to the stack file."""

    host: Annotated[str, Field(pattern=r"^(unix:///|tcp://|ssh://)[^\s]+$")]
    """Where it answers, as in DOCKER_HOST: `ssh://user@machine[:port]`, `tcp://machine:2376`, `unix:///path`."""
    certificates: str | None = None
    """Folder with `ca.pem`, `cert.pem` and `key.pem` (`tcp://`)."""
    identity: str | None = None
    """File with the private key (`ssh://`); without it, what `ssh` finds by itself."""
    known_hosts: str | None = None
    """File with the machine's host key (`ssh://`); without it, those that `ssh` knows. One that is not known is
    refused."""
    address: str | None = None
    """Name or IP at which the ports are reached that its containers publish; without it, the machine of `host`."""

    @property
    def published_at(self) -> str | None:
        """Where published ports are reached; None: on this machine."""
        return self.address or urlsplit(self.host).hostname

    @model_validator(mode="after")
    def _one_way_in(self) -> RemoteEngine:
        scheme, machine = urlsplit(self.host).scheme, urlsplit(self.host).hostname
        if scheme == "tcp" and not self.certificates and machine not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("an engine at tcp:// without `certificates` makes everybody who reaches it root")
        if scheme != "tcp" and self.certificates:
            raise ValueError("`certificates` are for tcp://")
        if scheme != "ssh" and (self.identity or self.known_hosts):
            raise ValueError("`identity` and `known_hosts` are for ssh://")
        return self


class DataMoves(Declared):
    """How the data in a project's volumes is read and put back."""

    by: Literal["auto", "process", "container"] = "auto"
    """`process`: by ops-pipelines itself, in the folders behind the volumes. `container`: by a one-off container on the
    engine. `auto`: by the process where it can read those folders, else by a container."""
    image: str = f"ops-pipelines:{metadata.version('ops-pipelines')}"
    """Image of such a container, built by deploy/platform/Dockerfile (target `data`)."""
    network: str | None = None
    """Network in which it reaches the bucket; without it `host` where the bucket is on the engine's machine, else
    `bridge`."""
    endpoint: str | None = None
    """URL of the bucket's store as the engine's machine reaches it, where that is another than the backup's."""
    memory: Size = 2 * 1024**3
    """Memory that it may use."""
    cpus: Annotated[float, Field(gt=0)] = 2.0
    """Cores that it may use."""


class ComposeTarget(Declared):
    """A Docker Engine, through Docker Compose v2."""

    kind: Literal["compose"]
    project: Name
    """Name of the Compose project."""
    files: list[str] = Field(default_factory=lambda: ["compose.yaml"])
    """Compose files, in the order in which later ones override earlier ones. They may be somebody else's."""
    compose_profiles: list[str] = Field(default_factory=list)
    """Compose profiles that are switched on."""
    env_file: str | None = None
    """File with values of the project's variables; without it, `.env` beside the first Compose file."""
    context: str | None = None
    """Docker context of the engine; without it and `engine`, DOCKER_HOST, else the context that `docker` uses."""
    engine: RemoteEngine | None = None
    """An engine on another machine, with what opens it."""
    data: DataMoves = DataMoves()
    """How the data in its volumes is moved."""

    @model_validator(mode="after")
    def _one_engine(self) -> ComposeTarget:
        if self.engine is not None and self.context is not None:
            raise ValueError("`context` and `engine` both name an engine: keep one of them")
        return self


Target = Annotated[ProcessTarget | ComposeTarget | KubernetesTarget, Field(discriminator="kind")]


class Health(Declared):
    """How to tell that one replica answers."""

    path: str | None = None
    """Path of an HTTP GET that must answer 2xx. Without it, a TCP connection is enough."""
    port: str = "http"
    """Which of the component's ports is asked."""
    within: Duration = 60.0
    """Seconds a replica may take from its start until it is healthy."""
    every: Duration = 0.25
    """Seconds between two questions while waiting."""


class Resources(Declared):
    """What one replica needs, and what it may not go beyond."""

    cpu: float | None = None
    """Cores asked for."""
    cpu_limit: float | None = None
    memory: Size | None = None
    memory_limit: Size | None = None
    gpus: int = 0
    """Whole cards."""
    gpu: int | None = None
    """Index of the card on which replicas are placed."""
    gpu_memory: Size | None = None
    """Memory that one replica takes on its card."""
    gpu_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of a card's memory that the server claims at start."""
    driver: Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")] | None = None
    """Oldest version of the cards' driver that will do: `570` (NVIDIA), `6.10` (amdgpu)."""
    disk: Size | None = None


class Component(Declared):
    """One service of the stack, with its replicas."""

    kind: ComponentKind
    description: str = ""
    address: str | None = None
    """URL where the service already runs. It is then checked, never started or stopped."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    ports: dict[str, Port] = Field(default_factory=dict)
    """Ports by name; `http` is the one that clients use."""
    shared_ports: list[str] = Field(default_factory=list)
    """Ports on which all replicas listen together (SO_REUSEPORT). Of the rest, replica i has port + i."""
    image: str | None = None
    """Image with its tag or digest (targets compose and kubernetes)."""
    command: list[str] = Field(default_factory=list)
    """Program and arguments. Known words: {port.NAME}, {replica}, {cache.NAME},
    {volume.NAME}, {home}, {python}."""
    environment: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, Name] = Field(default_factory=dict)
    """Environment variable -> name of the secret whose value it receives."""
    volumes: dict[Name, str] = Field(default_factory=dict)
    """Volume -> where it is mounted in the component. Each is declared under `volumes` or `caches`."""
    depends_on: list[Name] = Field(default_factory=list)
    """Components that must be healthy before this one starts."""
    health: Health = Health()
    resources: Resources = Resources()
    stop_within: Duration = 10.0
    """Seconds a replica may take to stop before it is killed."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the service itself, in its own words (LiteLLM's configuration, for one)."""
    compose_profile: str | None = None
    """Compose profile that switches this component on; without it, it is always on."""
    blue_green: BlueGreen | None = None
    """How its traffic moves to a new version (target compose). Without it, a deploy stops the old version first."""
