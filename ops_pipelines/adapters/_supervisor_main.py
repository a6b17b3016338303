"""supervisord in the foreground of another process: it ends, and ends its programs, when that one dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file, perhaps from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ops_pipelines.adapters._supervisor_strays import die_with_parent


def main(parent: int, arguments: list[str]) -> None:
    """Run supervisord until it is told to end, or until the process `parent` is gone."""
    from supervisor.supervisord import main as supervisord

    die_with_parent()
    if os.getppid() == parent:
        supervisord(arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
