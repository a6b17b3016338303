"""Run a command; seconds, CPU seconds and MB of it and all that it started, as the last line of standard error."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

if __name__ == "__main__":
    begun = time.perf_counter()
    done = subprocess.run(sys.argv[1:], check=False)
    wall = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 1000}
    print(json.dumps(took), file=sys.stderr)
    raise SystemExit(done.returncode)
