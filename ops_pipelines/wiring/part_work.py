"""The other end of a one-off container: inside it, one verb on the one part whose files are mounted there.

The part is declared by whoever started the container, as a stack on this machine: its files lie in folders here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic
from typing import Any

import structlog
from dagster_pipes import PipesContext, decode_param, open_dagster_pipes

from ops_pipelines.engines._blobs import fetcher
from ops_pipelines.engines.lease import read_lease
from ops_pipelines.engines.part_alone import store_part
from ops_pipelines.engines.ports import PartTarget, Progress
from ops_pipelines.errors import LeaseLost, OpsError, UsageError
from ops_pipelines.policy.layout import snapshot_id
from ops_pipelines.policy.manifest import Manifest, Part, encode
from ops_pipelines.settings import Settings
from ops_pipelines.stack.loader import LoadedStack
from ops_pipelines.stack.model import Stack
from ops_pipelines.wiring import data
from ops_pipelines.wiring import parts as part_wiring
from ops_pipelines.wiring.connect import backup_of, layout, now, object_store
from ops_pipelines.wiring.encryption import encrypted
from ops_pipelines.wiring.listing import load
from ops_pipelines.wiring.one_offs import IDENTITY, WORK
from ops_pipelines.wiring.site import Site
from ops_pipelines.wiring.volumes import volume_source

log = structlog.get_logger()

_SMALL = 8000
"""Characters up to which an answer is a line; a longer one goes by the bucket, as Docker cuts lines at 16 KiB."""
_EVERY = 1.0


@dataclass(frozen=True)
class _Fence:
    """The lease of whoever started the container, as the bucket knows it."""

    site: Site
    held: int | None

    @property
    def token(self) -> int:
        """That of the holder; 0 where there is none, as for a plan."""
        return self.held or 0

    def check(self) -> None:
        """Raises LeaseLost where that holder is gone."""
        if self.held is None:
            return
        found = read_lease(object_store(self.site), layout(self.site), self.site.name)
        if found is None or found[1] or found[0].token != self.held:
            raise LeaseLost(
                f"the lease of {self.site.name} is no longer that of whoever started this container",
                remedy="look at what the other holder did, then start again",
            )


@dataclass(frozen=True)
class Work:
    """One verb, as it was asked for."""

    site: Site
    asked: Mapping[str, Any]
    pipes: PipesContext

    @property
    def fence(self) -> _Fence:
        """The right to change anything."""
        return _Fence(self.site, self.asked["fence"])

    @cached_property
    def manifest(self) -> Manifest:
        """The snapshot that is put back, with this part alone."""
        whole = load(self.site, self.asked["snapshot"])
        return replace(whole, parts=tuple(one for one in whole.parts if one.key == self.key))

    @property
    def key(self) -> str:
        """Key of the part."""
        return f"{self.asked['kind']}/{self.asked['name']}"

    @property
    def part(self) -> Part:
        """The part as the snapshot has it."""
        [part] = self.manifest.parts
        return part

    @property
    def target(self) -> PartTarget:
        """Where it is put."""
        return part_wiring.targets(self.site, self.manifest)[self.key]

    @cached_property
    def progress(self) -> Progress:
        """Says how far the work is, once a second at most."""
        last = [0.0]

        def say(step: str, done: int, total: int | None, unit: str) -> None:
            if done == total or monotonic() - last[0] >= _EVERY:
                last[0] = monotonic()
                self.pipes.report_custom_message(
                    {"ops": "progress", "step": step, "done": done, "total": total, "unit": unit}
                )

        return say


def run(settings: Settings) -> int:
    """Do what the environment asks for and say how it ended; the status of the program.

    Raises UsageError where nothing is asked for."""
    if WORK not in settings.environ:
        raise UsageError(
            "this verb is for the containers that ops-pipelines starts by itself",
            remedy="`ops-pipelines backup STACK` and `restore STACK` start them where they are needed",
        )
    asked = decode_param(settings.environ[WORK])
    with open_dagster_pipes() as pipes:
        _log_to(pipes)
        try:
            work = Work(_site(settings, asked), asked, pipes)
            log.info("part.begins", verb=asked["verb"], part=work.key)
            answer = _VERBS[asked["verb"]](work, asked["arguments"])
            pipes.report_custom_message({"ops": "result", **_packed(work, answer)})
        except OpsError as error:
            said = {"type": type(error).__name__, "message": error.message, "remedy": error.remedy}
            pipes.report_custom_message({"ops": "error", **said})
            return 1
    return 0


def _store(work: Work, arguments: Mapping[str, Any]) -> Any:
    del arguments
    site, name = work.site, str(work.asked["name"])
    found = (part_wiring.cache_source if work.asked["kind"] == "model_cache" else volume_source)(site, name)
    [source] = encrypted(site, [found])
    part, new = store_part(
        source,
        store=object_store(site),
        layout=layout(site),
        fence=work.fence,
        clock=now,
        scratch=site.scratch / "part",
        progress=work.progress,
        parallel=backup_of(site).transfer.parallel,
    )
    at = now()
    alone = Manifest(snapshot_id(at, "000000"), site.name, at.isoformat(), (part,))
    return {"manifest": encode(alone).decode(), "new": sorted(new)}


def _plan(work: Work, arguments: Mapping[str, Any]) -> Any:
    return [asdict(step) for step in work.target.plan(work.part, arguments["into"])]


def _stage(work: Work, arguments: Mapping[str, Any]) -> Any:
    work.fence.check()
    fetch = fetcher(object_store(work.site), layout(work.site), work.manifest.snapshot, each_on_disk=False)
    return work.target.stage(work.part, arguments["into"], fetch, work.progress)


def _check(work: Work, arguments: Mapping[str, Any]) -> Any:
    found = work.target.check(work.part, arguments["place"], full=arguments["full"])
    return [asdict(finding) for finding in found]


def _switch(work: Work, arguments: Mapping[str, Any]) -> Any:
    work.fence.check()
    return work.target.switch(work.part, arguments["place"])


def _discard(work: Work, arguments: Mapping[str, Any]) -> Any:
    work.target.discard(arguments["place"])


def _leftovers(work: Work, arguments: Mapping[str, Any]) -> Any:
    del arguments
    return list(work.target.leftovers())


def _inventory(work: Work, arguments: Mapping[str, Any]) -> Any:
    take = data.inventory_of(work.site, work.asked["name"])
    return asdict(take(int(arguments["replica"]), work.progress))


def _fetch(work: Work, arguments: Mapping[str, Any]) -> Any:
    work.fence.check()
    return data.fetch_one(
        work.site, work.asked["name"], arguments["model"], int(arguments["replica"]), work.progress
    )


_VERBS: Mapping[str, Callable[[Work, Mapping[str, Any]], Any]] = {
    "store": _store,
    "plan": _plan,
    "stage": _stage,
    "check": _check,
    "switch": _switch,
    "discard": _discard,
    "leftovers": _leftovers,
    "inventory": _inventory,
    "fetch": _fetch,
}


def _packed(work: Work, answer: Any) -> dict[str, Any]:
    """The answer itself, or where it lies in the bucket: a blob that no snapshot names, so that a sweep removes it."""
    text = json.dumps(answer)
    if len(text) <= _SMALL:
        return {"value": answer}
    body = text.encode()
    digest = sha256(body).hexdigest()
    object_store(work.site).put(layout(work.site).blob(digest), body)
    return {"blob": digest}


def _site(settings: Settings, asked: Mapping[str, Any]) -> Site:
    """The stack as it was handed over. What must be a file is written into the container's memory."""
    private = Path(mkdtemp())
    raw = dict(asked["stack"])
    if asked["ca"] is not None:
        (private / "ca.pem").write_text(asked["ca"])
        raw["backup"] = {**raw["backup"], "ca_bundle": str(private / "ca.pem")}
    if settings.environ.get(IDENTITY):
        (private / "identity").write_text(settings.environ[IDENTITY])
        settings = replace(settings, age_identity=private / "identity")
    path = private / "stack.yaml"
    stack = Stack.model_validate_json(json.dumps(raw))
    return Site(settings, LoadedStack(stack, path, None, (), (path,), ""))


def _log_to(pipes: PipesContext) -> None:
    """Let every event go to whoever started the container, one line each."""

    def hand_on(logger: Any, method: str, event: Any) -> str:
        del logger
        words = " ".join(f"{name}={value}" for name, value in event.items() if name != "event")
        getattr(pipes.log, "warning" if method in ("warning", "error") else "info")(
            f"{event['event']} {words}".strip()
        )
        raise structlog.DropEvent

    structlog.configure(processors=[hand_on], cache_logger_on_first_use=False)
