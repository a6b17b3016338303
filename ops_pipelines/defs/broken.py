"""Stacks whose file does not parse: shown as an asset with a failed check, while every other stack goes on."""

from __future__ import annotations

import dagster as dg

from ops_pipelines.defs import names
from ops_pipelines.stack.loader import BrokenStack

CHECK = "parses"


def broken_asset(broken: BrokenStack) -> dg.AssetSpec:
    """What stands for the stack until its file is mended."""
    problems = "\n".join(f"- {problem}" for problem in broken.problems)
    return dg.AssetSpec(
        key=names.key(broken.name, "stack_file"),
        group_name=names.group(broken.name),
        kinds={"yaml"},
        description=f"**{broken.path} cannot be read.** Mend it and reload the code location.\n\n{problems}",
    )


def broken_check(broken: BrokenStack) -> dg.AssetChecksDefinition:
    """The check that a sensor reports as failed; run by hand, it fails as well."""

    @dg.asset_check(
        asset=names.key(broken.name, "stack_file"),
        name=CHECK,
        description="The stack's file is read and holds together.",
    )
    def parses() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=False, description=in_lines(broken), severity=dg.AssetCheckSeverity.ERROR
        )

    return parses


def broken_evaluation(broken: BrokenStack) -> dg.AssetCheckEvaluation:
    """The failed check as an event."""
    return dg.AssetCheckEvaluation(
        asset_key=names.key(broken.name, "stack_file"),
        check_name=CHECK,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=in_lines(broken),
    )


def in_lines(broken: BrokenStack) -> str:
    """Every problem, each with file and line."""
    return "\n".join(str(problem) for problem in broken.problems)
