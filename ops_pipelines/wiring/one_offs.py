"""Work on a part's files done by a one-off container beside them: made from the declaration, asked, its answer read.

The container gets the declaration of the one part that it works on, and of all secrets those that its verb needs: as
variables of its environment, never in its command, its labels or the lines that it prints.
"""

from __future__ import annotations

import json
import secrets as randomness
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Protocol

import structlog

from ops_pipelines import errors
from ops_pipelines.engines.lease import read_lease
from ops_pipelines.engines.parts.elsewhere import Ask
from ops_pipelines.engines.ports import Progress
from ops_pipelines.errors import (
    CommandFailed,
    OpsError,
    PartFailed,
    SnapshotDamaged,
    TargetUnsupported,
)
from ops_pipelines.policy.manifest import Part, decode
from ops_pipelines.policy.one_off import DATA, FENCE_LABEL, SPARED, STACK_LABEL, OneOff, message
from ops_pipelines.wiring.beside import HOME, Room, room_of
from ops_pipelines.wiring.connect import backup_of, bucket_credentials, layout, object_store, secret
from ops_pipelines.wiring.encryption import identity_texts, recipients
from ops_pipelines.wiring.site import Site

log = structlog.get_logger()

WORK = "OPS_ONE_OFF"
IDENTITY = "OPS_ONE_OFF_IDENTITY"
_OPENS = frozenset({"stage"})
"""Verbs that may need the private keys of encrypted parts."""
_HANDED_ON = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "HF_ENDPOINT", "HF_HUB_OFFLINE")


class Runner(Protocol):
    """Runs a container to its end and hands on its lines."""

    def __call__(self, room: Room, spec: OneOff, heard: Callable[[str], None]) -> None: ...


_chosen = threading.local()


@contextmanager
def through(runner: Runner) -> Iterator[None]:
    """Containers that this thread starts in the `with` are run by `runner`: a Dagster run's Pipes client."""
    before = getattr(_chosen, "runner", None)
    _chosen.runner = runner
    try:
        yield
    finally:
        _chosen.runner = before


def asking(site: Site, kind: str, name: str, snapshot: str = "") -> Ask:
    """Asks a container beside the part; `snapshot` is the one that is put back."""

    def ask(verb: str, arguments: Mapping[str, Any], progress: Progress) -> Any:
        return _answer(site, kind, name, snapshot, verb, arguments, progress)

    return ask


def store(site: Site, kind: str, name: str) -> Callable[[Progress], tuple[Part, frozenset[str]]]:
    """Has a part stored by a container."""

    def stored(progress: Progress) -> tuple[Part, frozenset[str]]:
        answer = asking(site, kind, name)("store", {}, progress)
        found = decode(str(answer["manifest"]).encode(), where=f"the answer about {kind}/{name}")
        [part] = found.parts
        return part, frozenset(answer["new"])

    return stored


def _answer(
    site: Site,
    kind: str,
    name: str,
    snapshot: str,
    verb: str,
    arguments: Mapping[str, Any],
    progress: Progress,
) -> Any:
    room, keys = room_of(site, kind, name), layout(site)
    bucket = object_store(site)
    held = read_lease(bucket, keys, site.name)
    token = held[0].token if held is not None and not held[1] else None
    room.sweep(token)
    work = {
        "kind": kind,
        "name": name,
        "snapshot": snapshot,
        "verb": verb,
        "arguments": dict(arguments),
        "fence": token,
    }
    spec = _spec(site, room, work)
    answers: dict[str, Mapping[str, Any]] = {}

    def heard(line: str) -> None:
        found = message(line)
        if found is None:
            return
        if found.kind == "progress":
            one = found.value
            progress(str(one["step"]), int(one["done"]), one["total"], str(one["unit"]))
        elif found.kind in ("result", "error"):
            answers[found.kind] = found.value

    log.info("one_off.begins", stack_name=site.name, part=f"{kind}/{name}", verb=verb, container=spec.name)
    runner: Runner = getattr(_chosen, "runner", None) or _plain
    try:
        runner(room, spec, heard)
    except CommandFailed:
        if "error" not in answers:
            raise
    if "error" in answers:
        raise _raised(answers["error"])
    if "result" not in answers:
        raise PartFailed(
            f"the container {spec.name} ended without an answer about {kind}/{name}",
            remedy=f"look whether {spec.image} is an image of this version",
        )
    answer = answers["result"]
    if "blob" not in answer:
        return answer["value"]
    content, _ = bucket.get(keys.blob(str(answer["blob"])))
    if sha256(content).hexdigest() != answer["blob"]:
        raise SnapshotDamaged(
            f"the answer about {kind}/{name} in {bucket.name} is altered", remedy="look who else writes there"
        )
    return json.loads(content)


def _plain(room: Room, spec: OneOff, heard: Callable[[str], None]) -> None:
    """Run a container from the command line: what it logs is logged here."""

    def hear(line: str) -> None:
        found = message(line)
        if found is not None and found.kind == "log":
            log.info("one_off.says", container=spec.name, words=found.value["message"])
        heard(line)

    room.run(spec, hear)


def _raised(error: Mapping[str, Any]) -> OpsError:
    kind = getattr(errors, str(error["type"]), OpsError)
    known = (
        kind
        if isinstance(kind, type) and issubclass(kind, OpsError) and kind is not errors.DeclarationError
        else OpsError
    )
    return known(str(error["message"]), remedy=str(error["remedy"]))


def _spec(site: Site, room: Room, work: Mapping[str, Any]) -> OneOff:
    from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR, encode_param

    verb, found = str(work["verb"]), room.sides
    environ, references = _secrets(site, verb, work["kind"], work["name"])
    document = {**work, "stack": _declaration(site, room, work, references), "ca": _ca(site)}
    return room.made(
        suffix=f"{verb}-{randomness.token_hex(3)}",
        verb=verb,
        found=found,
        command=("part", verb, f"{work['kind']}/{work['name']}"),
        environ={
            **{name: site.settings.environ[name] for name in _HANDED_ON if name in site.settings.environ},
            **environ,
            "OPS_HOME": HOME,
            WORK: encode_param(document),
            DAGSTER_PIPES_CONTEXT_ENV_VAR: encode_param({"data": _context()}),
            DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param({"stdio": "stderr"}),
        },
        labels={STACK_LABEL: site.name, FENCE_LABEL: "" if work["fence"] is None else str(work["fence"])},
    )


def _declaration(
    site: Site, room: Room, work: Mapping[str, Any], references: Mapping[str, str]
) -> dict[str, Any]:
    """The declaration of the one part, as the container is to see it: its files lie in folders of its own."""
    kind, name = work["kind"], work["name"]
    whole = site.stack.model_dump(mode="json")
    section = "caches" if kind == "model_cache" else "volumes"
    found = room.sides
    names = {f"{room.top(one)}/{one.inner}".rstrip("/") for one in found}
    if len(names) > 1:
        raise TargetUnsupported(
            f"the replicas of {kind}/{name} lie in folders of different names: {', '.join(sorted(names))}",
            remedy="run ops-pipelines where it can read them (`target.data.by: process`)",
        )
    number = "{replica}" if len(found) > 1 else "0"
    part = {**whole[section][name], "path": f"{DATA}/{number}/{names.pop()}", "hooks": {}, "needs": []}
    if kind == "volume" and any(room.is_mount(one) for one in found):
        part["exclude"] = [*part["exclude"], *(f"/{one}" for one in SPARED)]
    backup = {**whole["backup"], "endpoint": room.endpoint, "hooks": {}, "configuration": []}
    encrypt = backup_of(site).encrypt
    if encrypt is not None:
        backup["encrypt"] = {
            **backup["encrypt"], "recipients": list(recipients(site, encrypt)), "secrets": False, "identity": None,
        }  # fmt: skip
    models = {
        key: {**one, "served_by": None, "token": one["token"] if one["token"] in references else None}
        for key, one in whole["models"].items()
        if kind == "model_cache" and one["cache"] == name
    }
    return {
        "stack": site.name,
        "description": whole["description"],
        "owners": whole["owners"],
        "target": {"kind": "process"},
        "secrets": {key: f"${{{variable}}}" for key, variable in references.items()},
        section: {name: part},
        "models": models,
        "backup": backup,
    }


def _secrets(site: Site, verb: str, kind: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Variables with the values that a verb needs, and secret -> its variable."""
    backup = backup_of(site)
    wanted = [backup.access_key, backup.secret_key, backup.session_token]
    wanted += [backup.store_encryption.key] if backup.store_encryption is not None else []
    if verb == "fetch" and kind == "model_cache":
        wanted += [one.token for one in site.stack.models.values() if one.cache == name]
    environ: dict[str, str] = {}
    references: dict[str, str] = {}
    for key in dict.fromkeys(one for one in wanted if one is not None):
        references[key] = f"OPS_SECRET_{len(references)}"
        environ[references[key]] = secret(site, key) or ""
    if backup.access_key is None:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        values = zip(names, bucket_credentials(site.settings.environ), strict=True)
        environ |= {variable: value for variable, value in values if value}
    if verb in _OPENS:
        texts = identity_texts(site.settings)
        if not texts and backup.encrypt is not None and backup.encrypt.identity is not None:
            texts = [secret(site, backup.encrypt.identity) or ""]
        if texts:
            environ[IDENTITY] = "\n".join(texts)
    return environ, references


def _ca(site: Site) -> str | None:
    named = backup_of(site).ca_bundle
    return None if named is None else (site.folder / named).read_text(encoding="utf-8")


def _context() -> dict[str, Any]:
    """What Pipes asks for where no run of Dagster stands behind it."""
    return {
        "asset_keys": None, "code_version_by_asset_key": None, "provenance_by_asset_key": None, "partition_key": None,
        "partition_key_range": None, "partition_time_window": None, "run_id": "", "job_name": None, "retry_number": 0,
        "extras": {},
    }  # fmt: skip
