"""What keeps the data: the snapshot, and the drill that proves it."""

from __future__ import annotations

import time

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.defs.configs import DrillConfig, NoConfig
from ops_pipelines.defs.drill_metadata import drill_metadata, past_drills
from ops_pipelines.defs.making import Events, make_asset
from ops_pipelines.defs.metadata import check_result, snapshots_table, table
from ops_pipelines.defs.running import LogProgress, failures, stop_if_bad
from ops_pipelines.errors import OpsError
from ops_pipelines.policy.drills import NOT_GENERATED
from ops_pipelines.policy.words import read_in_words, size_in_words
from ops_pipelines.wiring import drills, snapshots
from ops_pipelines.wiring.site import Site


def snapshot(site: Site) -> dg.AssetsDefinition:
    """A backup of every part, verified. One that does not hold fails the run, so that somebody is told."""
    key = names.key(site.name, "snapshot")
    deps = ["model_cache"] if site.stack.caches else []
    deps.append("collections" if site.stack.collections else "deployment")

    def run(context: dg.AssetExecutionContext, _config: NoConfig) -> Events:
        progress = LogProgress(context)
        with failures():
            manifest = snapshots.backup(site, by=f"run {context.run_id}", progress=progress)
            findings = snapshots.verify(site, manifest.snapshot, depth="sizes", progress=progress)
        context.instance.add_dynamic_partitions(names.snapshots(site.name).name or "", [manifest.snapshot])
        rows = [
            {"part": part.key, "files": len(part.files), "size": size_in_words(part.size),
             "consistency": part.consistency, "read": read_in_words(part),
             "encrypted": "for " + ", ".join(one[:12] + "…" for one in part.recipients) if part.recipients else "",
             "needs": ", ".join(part.needs)}
            for part in manifest.parts
        ]  # fmt: skip
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(manifest.snapshot),
            metadata={
                "snapshot": manifest.snapshot,
                "parts": table(rows),
                "size": size_in_words(manifest.size),
                "bytes": manifest.size,
                "bytes uploaded": manifest.uploaded,
                "questions kept": len(manifest.questions),
                "kept": _kept(site),
            },
        )
        verified = check_result(key, "verified", (*findings, *snapshots.kept_findings(site, manifest)))
        yield verified
        stop_if_bad(f"{manifest.snapshot} is not whole", verified)

    return make_asset(
        site,
        "snapshot",
        run,
        NoConfig,
        kinds={"s3"},
        deps=deps,
        description=f"The newest backup of every part of {site.name}, under one manifest, verified.",
        checks={"verified": "Every blob is in the bucket with its size and digest."},
    )


def _kept(site: Site) -> dg.MetadataValue:
    """The newest snapshots. That they cannot be listed just now does not fail the backup that was taken."""
    try:
        return snapshots_table(snapshots.listed(site))
    except OpsError as error:
        return dg.MetadataValue.text(f"unknown: {error.message}")


def drill(site: Site) -> dg.AssetsDefinition:
    """The proof. One that fails, fails its run, so that somebody is told."""
    key = names.key(site.name, "drill")

    def run(context: dg.AssetExecutionContext, config: DrillConfig) -> Events:
        with failures():
            report = drills.drill(
                site, config.snapshot or None, full=config.full, progress=LogProgress(context)
            )
        earlier = past_drills(context.instance, key)
        yield dg.MaterializeResult(metadata=drill_metadata(report, earlier, time.time()))
        proven = check_result(key, "answers_as_before", report.findings)
        if report.verdict == NOT_GENERATED:  # nothing is wrong, and nothing is proven: no alarm every night
            proven = proven._replace(severity=dg.AssetCheckSeverity.WARN)
        yield proven
        stop_if_bad(f"the drill of {report.snapshot} has {report.verdict}", proven)

    return make_asset(
        site,
        "drill",
        run,
        DrillConfig,
        kinds={"task"},
        deps=["snapshot"],
        description=(
            f"Proof that a snapshot of {site.name} answers as before: restored to a throw-away place, started, "
            "and asked the questions whose answers were kept. The live stack is not touched."
        ),
        checks={
            "answers_as_before": (
                f"Digests and counts hold, recall@10 is at least {site.stack.drill.recall_at_10:g}."
            )
        },
    )
