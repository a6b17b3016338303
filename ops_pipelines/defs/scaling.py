"""Scaling as Dagster shows it: an asset whose history is the decisions, a check that waits for approval."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.defs.metadata import table
from ops_pipelines.engines.scale import decision_facts
from ops_pipelines.policy.plan import Finding
from ops_pipelines.policy.readings import Decision
from ops_pipelines.wiring import scaling
from ops_pipelines.wiring.site import Site

AS_DECIDED = "as_decided"
LOCATION = "ops_pipelines"


def scaling_asset(site: Site) -> dg.AssetSpec:
    """The decisions of one stack."""
    modes = ", ".join(f"{name}: {rule.mode}" for name, rule in site.stack.scaling.items())
    return dg.AssetSpec(
        key=names.key(site.name, "scaling"),
        group_name=names.group(site.name),
        owners=names.owners(site.stack),
        kinds={"sensor"},
        deps=[names.key(site.name, "deployment")],
        tags={names.STACK_TAG: site.name},
        description=(
            f"How many replicas {site.name} should have, decided from readings ({modes}). "
            "Every decision is kept with its readings; an unknown reading never removes a replica."
        ),
    )


def scaling_findings(site: Site) -> tuple[Finding, ...]:
    """One finding for each rule, from readings taken now."""
    return tuple(scaling_finding(site, name, scaling.explain(site, name)) for name in site.stack.scaling)


def scaling_finding(site: Site, name: str, decision: Decision | None, why: str = "") -> Finding:
    """Whether a decision waits for somebody, or could not be made. It is a warning, never an error."""
    rule = site.stack.scaling[name]
    if decision is None:
        unknown = why or "how many replicas there are is unknown"
        return Finding(name, None, unknown, "see the stack's `healthy` check", "warning")
    if all(opinion.replicas is None for opinion in decision.opinions):
        return Finding(name, None, decision.reason, f"look at the source {rule.source}", "warning")
    if decision.changes and rule.mode == "approve":
        remedy = "open the link `approve`, and launch"
        return Finding(name, False, f"waits for approval: {_change(decision)}", remedy, "warning")
    return Finding(name, True, _change(decision))


def decision_events(
    site: Site, name: str, decision: Decision | None, why: str = ""
) -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """A decision with every reading, and whether it waits for somebody; without one, why there is none."""
    key, finding = names.key(site.name, "scaling"), scaling_finding(site, name, decision, why)
    metadata = _metadata(site, name, decision) if decision is not None else {}
    words = f"{name}: {finding.message}"
    checked = dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=AS_DECIDED,
        passed=finding.ok is True,
        severity=dg.AssetCheckSeverity.WARN,
        description=words,
        metadata=metadata,
    )
    if decision is None:
        return [checked]
    return [dg.AssetMaterialization(key, description=words, metadata=metadata), checked]


def scale_config(site: Site, name: str, decision: Decision) -> dict[str, object]:
    """Run config of `apply_scaling` for a decision."""
    config = {
        "stack": site.name,
        "scaling": name,
        "current": decision.current,
        "wanted": decision.wanted,
        "decided": decision.at.isoformat(),
    }
    return {"ops": {"carry_out_decision": {"config": config}}}


def approval_link(site: Site, name: str, decision: Decision) -> str:
    """Where one click opens the launchpad of `apply_scaling`, filled in."""
    config = quote(json.dumps(scale_config(site, name, decision), indent=2))
    return f"/locations/{LOCATION}/jobs/apply_scaling/playground/setup?mode=default&config={config}"


def _metadata(site: Site, name: str, decision: Decision) -> dict[str, dg.MetadataValue]:
    found: dict[str, dg.MetadataValue] = {
        "replicas": dg.MetadataValue.int(decision.current),
        "wanted": dg.MetadataValue.int(decision.wanted),
        "signals": table(_signals(decision)),
        "decision": dg.MetadataValue.json(decision_facts(decision)),
    }
    if decision.changes and site.stack.scaling[name].mode == "approve":
        found["approve"] = dg.MetadataValue.url(approval_link(site, name, decision))
    return found


def _change(decision: Decision) -> str:
    change = f"{decision.current} -> {decision.wanted}" if decision.changes else f"stay at {decision.current}"
    return f"{change} replicas: {decision.reason}"


def _signals(decision: Decision) -> Sequence[dict[str, object]]:
    return [
        {
            "signal": opinion.signal,
            "value": "unknown" if reading.value is None else f"{reading.value:g}",
            "asks for": "-" if opinion.replicas is None else str(opinion.replicas),
            "why": opinion.reason,
        }
        for opinion, reading in zip(decision.opinions, decision.readings, strict=True)
    ]
