"""A Compose project as a revision keeps it: whole, and without the value of any secret.

The model is what `docker compose config --no-interpolate` gives, so that `${NAME}` still stands where it stood.
Values of variables are kept beside it, but for those of secrets, which are looked up anew each time. Configuration
files that services mount from the project's folder are kept by their content and mounted from a path that names
it: Compose then makes exactly those containers anew whose files have changed, and an earlier revision finds its own.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_]\w*)|\$([A-Za-z_]\w*)")
_SECRET = re.compile(
    r"PASS(WORD|WD|PHRASE)?(_|$)|PWD$|SECRET|TOKEN|CREDENTIAL|SALT|(API|ACCESS|PRIVATE|ENCRYPTION|MASTER|AUTH)_?KEY|"
    r"_KEY$|_DSN$|DATABASE_URL$",
    re.IGNORECASE,
)
_PINNED = "ops-file:"
"""How the source of a mounted file begins that is kept by its content: `ops-file:<digest>/<name>`, and
`ops-file:<digest>/x/<name>` for a program."""
_SHORT = re.compile(r"^(?P<source>[./~][^:]*):(?P<target>[^:]+)(:(?P<options>[^:]*))?$")

ReadFile = Callable[[str], str | None]
"""Content of a configuration file by its path; None for what is kept where it is (a folder, a socket, data)."""


@dataclass(frozen=True)
class Project:
    """What a Docker Engine is given."""

    name: str
    model: Mapping[str, Any]
    """The Compose model, not interpolated."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Values of the variables that it names, without those of secrets."""
    references: tuple[str, ...] = ()
    """Variables that are secrets: their values are looked up when it is applied."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Content of the configuration files that it mounts, by SHA-256."""
    images: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Service -> (name of its image, what that stood for on the engine when this was deployed)."""

    @property
    def services(self) -> Mapping[str, Mapping[str, Any]]:
        """Services by name."""
        found: Mapping[str, Mapping[str, Any]] = self.model.get("services") or {}
        return found

    @property
    def digest(self) -> str:
        """Changes exactly when something of it does."""
        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()


def make_project(
    name: str,
    model: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    secret_names: Collection[str],
    read: ReadFile,
    runs: Callable[[str], bool] = lambda _: False,
) -> Project:
    """The project of a model. `secret_names` are variables that the stack declares as secrets; whatever else has the
    name of a secret is one too, as a project of somebody else declares none. `runs` tells which files are programs."""
    files: dict[str, str] = {}
    pinned = _pin(copy.deepcopy(dict(model)), read, files, runs)
    names = sorted(variables_in(pinned))
    hidden = tuple(one for one in names if one in secret_names or _SECRET.search(one))
    known = {one: environ[one] for one in names if one not in hidden and one in environ}
    return Project(name, pinned, known, hidden, files)


def to_json(project: Project) -> dict[str, Any]:
    """The project as a revision keeps it."""
    return asdict(project)


def from_json(raw: Mapping[str, Any]) -> Project:
    """The project that `to_json` gave. Raises KeyError or TypeError for anything else."""
    return Project(
        name=raw["name"],
        model=raw["model"],
        variables=dict(raw["variables"]),
        references=tuple(raw["references"]),
        files=dict(raw["files"]),
        images={service: (name, known) for service, (name, known) in (raw.get("images") or {}).items()},
    )


def volume_name(project: Project, volume: str) -> str:
    """Name on the engine of a volume of the project's files."""
    declared = (project.model.get("volumes") or {}).get(volume) or {}
    return str(declared.get("name") or f"{project.name}_{volume}")


def used(resolved: Mapping[str, Any], kind: Literal["volumes", "networks"]) -> list[str]:
    """Volumes or networks, of those that a resolved model declares, that its services use. Others, those of Compose
    profiles that are off, Compose neither makes nor asks for."""
    found: set[str] = set()
    for service in (resolved.get("services") or {}).values():
        given = service.get(kind) or ()
        found |= {one.get("source") for one in given} if kind == "volumes" else set(given)
    return [name for name in resolved.get(kind) or () if name in found]


def with_replicas(project: Project, service: str, count: int) -> Project:
    """The same project with so many containers of one service.

    Compose's hash of a service leaves the number out, but not that there is a `deploy` where there was none: containers
    that run would be made anew."""
    model = copy.deepcopy(dict(project.model))
    one = model["services"][service]
    one.pop("scale", None)
    if one.get("deploy"):
        one["deploy"] = {**one["deploy"], "replicas": count}
    else:
        one["scale"] = count
    return replace(project, model=model)


def with_image(project: Project, service: str, image: str) -> Project:
    """The same project with another image for one service, which is there and is not built."""
    model = copy.deepcopy(dict(project.model))
    model["services"][service].pop("build", None)
    model["services"][service].pop("pull_policy", None)
    model["services"][service]["image"] = image
    return replace(project, model=model)


def replicas_of(project: Project, service: str) -> int | None:
    """Containers that a project declares for a service; None where a variable decides."""
    return _count(project.services[service])


def count_of(service: Mapping[str, Any]) -> int:
    """Containers that a service asks for, once its variables are filled in."""
    found = _count(service)
    return 1 if found is None else found


def image_of(project: str, name: str, service: Mapping[str, Any]) -> str:
    """Name of a service's image; Compose names the one that it builds by project and service."""
    return str(service.get("image") or f"{project}-{name}")


def _count(service: Mapping[str, Any]) -> int | None:
    found = service.get("scale", (service.get("deploy") or {}).get("replicas", 1))
    return int(found) if str(found).isdecimal() else None


def stand_in(
    project: Project,
    name: str,
    services: Collection[str],
    *,
    folders: Mapping[str, str],
    ports: Mapping[str, tuple[int, int]],
) -> Project:
    """Some services as a project of their own, which touches nothing of the first.

    `folders` is path inside a container -> folder of the machine that is mounted there; every volume of the services is
    left out, their configuration files stay. `ports` is service -> (port inside, port of 127.0.0.1)."""
    kept = {}
    for service in services:
        one = copy.deepcopy(dict(project.services[service]))
        for key in (
            "depends_on",
            "container_name",
            "profiles",
            "networks",
            "ports",
            "links",
            "deploy",
            "scale",
        ):
            one.pop(key, None)
        cards = (project.services[service].get("deploy") or {}).get("resources")
        if cards:
            one["deploy"] = {"resources": copy.deepcopy(cards)}
        mounts = [
            volume
            for volume in one.get("volumes") or ()
            if isinstance(volume, dict) and str(volume.get("source", "")).startswith(_PINNED)
        ]
        mounts += [{"type": "bind", "source": folder, "target": path} for path, folder in folders.items()]
        one["volumes"] = mounts
        one["restart"] = "no"
        if service in ports:
            inside, outside = ports[service]
            one["ports"] = [f"127.0.0.1:{outside}:{inside}"]
        kept[service] = one
    model = {"name": name, "services": kept}
    model |= {key: project.model[key] for key in ("secrets", "configs") if key in project.model}
    return replace(project, name=name, model=model)


def placed(
    project: Project,
    folder: str,
    labels: Mapping[str, Mapping[str, str]],
    *,
    live: Collection[str] = (),
    live_folder: str = "",
) -> dict[str, Any]:
    """The model with its files at `folder`/<digest>/<name>, and more labels by service, ready for Compose.

    Services of `live` find theirs below `live_folder` instead, where they may change while they run."""
    model = copy.deepcopy(dict(project.model))
    for service in live:
        for holder, key in files_of(model, service):
            if str(holder[key]).startswith(_PINNED):
                holder[key] = f"{live_folder}/{str(holder[key]).removeprefix(_PINNED)}"
    for holder, key in _file_places(model):
        if str(holder[key]).startswith(_PINNED):
            holder[key] = f"{folder}/{str(holder[key]).removeprefix(_PINNED)}"
    for name, more in labels.items():
        service = model["services"][name]
        service["labels"] = {**_as_mapping(service.get("labels")), **more}
    return model


def pinned_of(project: Project, service: str) -> list[tuple[str, str]]:
    """(path below the folder of files, content) of each configuration file that a service mounts."""
    sources = [str(holder[key]) for holder, key in files_of(project.model, service)]
    paths = [one.removeprefix(_PINNED) for one in sources if one.startswith(_PINNED)]
    return [(path, project.files[path.split("/")[0]]) for path in paths]


def pinned_at(project: Project, service: str, target: str) -> str | None:
    """Content of the configuration file that a service finds at a path; None where none is kept."""
    for mount in project.services[service].get("volumes") or ():
        if isinstance(mount, dict) and mount.get("target") == target:
            source = str(mount.get("source", ""))
            if source.startswith(_PINNED):
                return project.files[source.removeprefix(_PINNED).split("/")[0]]
    return None


def repinned(project: Project, service: str, target: str, content: str) -> Project:
    """The same project with another content for the file that a service finds at a path."""
    model = copy.deepcopy(dict(project.model))
    digest = hashlib.sha256(content.encode()).hexdigest()
    for mount in model["services"][service].get("volumes") or ():
        if isinstance(mount, dict) and mount.get("target") == target:
            rest = str(mount["source"]).removeprefix(_PINNED).partition("/")[2]
            mount["source"] = f"{_PINNED}{digest}/{rest}"
    return replace(project, model=model, files={**project.files, digest: content})


def pinned_files(project: Project) -> Iterator[tuple[str, str]]:
    """(path below the folder of files, content) of each configuration file."""
    seen: set[str] = set()
    for holder, key in _file_places(dict(project.model)):
        source = str(holder[key])
        if source.startswith(_PINNED) and source not in seen:
            seen.add(source)
            path = source.removeprefix(_PINNED)
            yield path, project.files[path.split("/")[0]]


def is_program(path: str) -> bool:
    """Whether a path of `pinned_files` is that of a file that containers run."""
    return path.split("/")[1:2] == ["x"] and path.count("/") == 2


def variables_in(value: Any) -> set[str]:
    """Names of the variables that a model refers to, as Compose reads them (`$$` is a dollar sign)."""
    if isinstance(value, str):
        return {found[1] or found[2] for found in _VARIABLE.finditer(value) if found[1] or found[2]}
    if isinstance(value, Mapping):
        named = {
            one["environment"]
            for one in (value.get("secrets") or {}).values()
            if isinstance(one, Mapping) and isinstance(one.get("environment"), str)
        } if isinstance(value.get("secrets"), Mapping) else set()  # fmt: skip
        return named.union(*(variables_in(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(variables_in(one) for one in value))
    return set()


def secret_variables(model: Mapping[str, Any], service: str) -> tuple[str, ...]:
    """Variables whose values a service receives as files (`secrets:`), which Compose's own hash leaves out."""
    declared = model.get("secrets") or {}
    used = model["services"][service].get("secrets") or []
    names = [one if isinstance(one, str) else one.get("source", "") for one in used]
    return tuple(
        variable for name in names if (variable := (declared.get(name) or {}).get("environment")) is not None
    )


def _pin(
    model: dict[str, Any], read: ReadFile, files: dict[str, str], runs: Callable[[str], bool]
) -> dict[str, Any]:
    for service in (model.get("services") or {}).values():
        volumes = service.get("volumes")
        if volumes:
            service["volumes"] = [_long(volume) for volume in volumes]
    for holder, key in _file_places(model):
        path = str(holder[key])
        content = read(path)
        if content is not None:
            digest = hashlib.sha256(content.encode()).hexdigest()
            files[digest] = content
            way = "x/" if runs(path) else ""
            holder[key] = f"{_PINNED}{digest}/{way}{path.rpartition('/')[2]}"
    return model


def _file_places(model: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the model names a file of this machine that a service mounts: (mapping, its key)."""
    for service in (model.get("services") or {}).values():
        for volume in service.get("volumes") or ():
            if isinstance(volume, dict) and volume.get("type") == "bind" and "source" in volume:
                yield volume, "source"
    for config in (model.get("configs") or {}).values():
        if isinstance(config, dict) and "file" in config:
            yield config, "file"


def files_of(model: Mapping[str, Any], service: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the model names a file of this machine that one service mounts: (mapping, its key)."""
    one = (model.get("services") or {}).get(service) or {}
    used = {each if isinstance(each, str) else each.get("source", "") for each in one.get("configs") or ()}
    configs = {name: each for name, each in (model.get("configs") or {}).items() if name in used}
    return _file_places({"services": {service: one}, "configs": configs})


def _long(volume: Any) -> Any:
    """A bind mount in Compose's long form; without interpolation, `config` leaves some in the short one."""
    found = _SHORT.match(volume) if isinstance(volume, str) else None
    if found is None:
        return volume
    long: dict[str, Any] = {"type": "bind", "source": found["source"], "target": found["target"]}
    if "ro" in (found["options"] or "").split(","):
        long["read_only"] = True
    return long


def _as_mapping(labels: Any) -> dict[str, str]:
    if isinstance(labels, list):
        return {name: value for name, _, value in (str(one).partition("=") for one in labels)}
    return dict(labels or {})
