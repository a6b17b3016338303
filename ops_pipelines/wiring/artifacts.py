"""What a stack's target is given, and whether this version can act on that target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.errors import DeclarationError, TargetUnsupported
from ops_pipelines.policy.kube_release import to_json as release_to_json
from ops_pipelines.policy.plan import Finding, Plan, Step
from ops_pipelines.policy.processes import Program, programs_to_json
from ops_pipelines.policy.programs import render_programs
from ops_pipelines.wiring.compose_site import ComposeSite
from ops_pipelines.wiring.connect import places
from ops_pipelines.wiring.kube_site import KubeSite
from ops_pipelines.wiring.site import Site, site_with_profile


@dataclass(frozen=True)
class Artifact:
    """What a target is given."""

    text: str
    programs: tuple[Program, ...]
    digest: str


def supported(site: Site) -> bool:
    """Whether this version can act on the stack's target, and has what it needs for that."""
    return site.stack.target.kind == "process" or not _missing(site)


def _missing(site: Site) -> tuple[Path, ...]:
    """Files that the declaration names for its target and that are not there."""
    kind = site.stack.target.kind
    if kind == "process":
        return ()
    return ComposeSite(site).missing_files if kind == "compose" else KubeSite(site).missing_files


def require_supported(site: Site) -> None:
    """Raise TargetUnsupported, saying which forms can be deployed, where this version cannot act."""
    if not supported(site):
        finding = unsupported(site)
        raise TargetUnsupported(finding.message, remedy=finding.remedy)


def artifact(site: Site) -> Artifact:
    """The stack rendered for its target. Raises DeclarationError."""
    if site.stack.target.kind == "compose" and supported(site):
        project = ComposeSite(site).project
        return Artifact(yaml.safe_dump(dict(project.model), sort_keys=False), (), project.digest)
    if site.stack.target.kind == "kubernetes" and supported(site):
        release = KubeSite(site).release
        text = yaml.safe_dump(release_to_json(release), sort_keys=False)
        return Artifact(text, (), artifact_digest(release_to_json(release)))
    if not supported(site):
        text = json.dumps(site.stack.model_dump(mode="json"), indent=2, default=str)
        return Artifact(text, (), site.loaded.digest)
    programs = render_programs(site.stack, places(site))
    text = "\n\n".join(f"[{program.name}]\n{' '.join(program.command)}" for program in programs)
    return Artifact(text, programs, programs_digest(programs))


def programs_digest(programs: Sequence[Program]) -> str:
    """Changes exactly when one of the programs does."""
    return artifact_digest(programs_to_json(programs))


def artifact_digest(artifact: Any) -> str:
    """Changes exactly when what a revision keeps of its target does."""
    return hashlib.sha256(json.dumps(artifact, sort_keys=True).encode()).hexdigest()


def unsupported(site: Site) -> Finding:
    """That this version does not act on the stack's target; what it does with it, and which form to choose."""
    kind, here = site.stack.target.kind, _profiles_on_process(site)
    way = (
        f"deploy it with --profile {' or --profile '.join(here)}"
        if here
        else "it has no form for this machine"
    )
    what = "Compose files" if kind == "compose" else "chart and files"
    why = f"and its {what} are not there: {', '.join(map(str, _missing(site)))}"
    return Finding(
        f"target/{kind}",
        None,
        f"{site.name} runs on target {kind}, {why}",
        f"the stack is loaded, linted and shown; {way}",
    )


def _profiles_on_process(site: Site) -> list[str]:
    """Profiles of the stack's file that run as plain processes; a profile that does not load is none."""
    found = []
    for profile in site.loaded.profiles:
        with suppress(DeclarationError):
            if supported(site_with_profile(site, profile)):
                found.append(profile)
    return found


def plan_elsewhere(site: Site) -> Plan:
    """What a deploy would create on a target that this version does not act on."""
    steps = [
        Step("create", f"component/{name}", f"{component.replicas} x {component.image or component.kind}")
        for name, component in site.stack.components.items()
    ]
    return Plan(f"Deploy {site.name}", tuple(steps), (unsupported(site).message,))
