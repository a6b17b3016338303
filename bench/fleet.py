"""A fleet for benchmarks: copies of Obelisk's stack file, two schedules each, and a broken one among them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
_NEVER = {
    '  full_schedule: "0 4 * * 0"': "  full_schedule: null",
    'observe:\n  schedule: "0 * * * *"': "observe:\n  schedule: null",
    "  keep: {days: 30, last: 3}": "  keep: {days: 30, last: 3}\n  verify_schedule: null\n  prune_schedule: null",
}


def write_fleet(folder: Path, count: int) -> dict[str, str]:
    """Write so many stack files, and one with a mistake; the environment in which they are loaded."""
    text = (ROOT / "deploy/obelisk/stack.yaml").read_text(encoding="utf-8")
    for found, instead in _NEVER.items():
        assert text.count(found) == 1, (
            f"the stack file has changed: {found!r} is in it {text.count(found)} times"
        )
        text = text.replace(found, instead)
    text = text.replace("../../", f"{ROOT}/")
    stacks = folder / "stacks"
    stacks.mkdir(parents=True)
    for number in range(count):
        name = f"obelisk-{number:03d}"
        copy = text.replace("stack: obelisk\n", f"stack: {name}\n", 1)
        (stacks / f"{name}.stack.yaml").write_text(copy, encoding="utf-8")
    (stacks / "broken.stack.yaml").write_text("stack: broken\ntarget: {kind: proces}\n", encoding="utf-8")
    return {
        "OPS_STACKS_DIR": str(stacks),
        "OPS_HOME": str(folder / "home"),
        "OPS_PROFILES": "*=local",
        "OPS_S3_ACCESS_KEY": "k",
        "OPS_S3_SECRET_KEY": "s",
    }


def write_peer(path: Path, groups: int, things: int) -> None:
    """Write a plain Dagster project by hand, as it were: the same number of assets in chains, and nothing else."""
    lines = ["import dagster as dg\n"]
    for group in range(groups):
        for thing in range(things):
            deps = f", deps=[asset_{group}_{thing - 1}]" if thing else ""
            named = f'key=["stack-{group}", "thing-{thing}"], group_name="stack_{group}"'
            lines += [
                f'@dg.asset({named}, description="One thing."{deps})',
                f"def asset_{group}_{thing}() -> None: ...\n",
            ]
    every = ", ".join(f"asset_{group}_{thing}" for group in range(groups) for thing in range(things))
    lines.append(f"defs = dg.Definitions(assets=[{every}])")
    path.write_text("\n".join(lines), encoding="utf-8")
