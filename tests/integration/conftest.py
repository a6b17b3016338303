"""A stack of the local form on this machine: real store, real Milvus Lite, real supervisord, real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops_pipelines.adapters.supervisor import Supervisord
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring.connect import object_store
from ops_pipelines.wiring.site import Site, load_fleet
from tests.servers.seaweed import Seaweed
from tests.waiting import free_port

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("ops-pipelines")


@dataclass(frozen=True)
class Stand:
    """Obelisk's local form in a home folder of its own, driven by the command line."""

    home: Path
    environ: dict[str, str]
    corpus: Path

    def cli(self, *words: str, expect: int = 0) -> Any:
        """Run a verb with --json and return its answer. Fails where it exits otherwise than expected."""
        done = self.run(*words, "--json")
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb as a user does."""
        return subprocess.run(
            [PROGRAM, *words],
            env=self.environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @property
    def site(self) -> Site:
        """The stack as it is declared now."""
        return load_fleet(load_settings(self.environ, cwd=ROOT)).site("obelisk")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed, milvus_lite: str) -> Iterator[Stand]:
    """Nothing is deployed yet; the bucket is there and empty. Everything is stopped at the end."""
    folder = tmp_path_factory.mktemp("stand")
    corpus = folder / "corpus"
    corpus.mkdir()
    for name, text in TEXTS.items():
        (corpus / f"{name}.md").write_text(text)
    admin = free_port()
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPS_")},
        "OPS_HOME": str(folder / "home"),
        "OPS_DEMO_CORPUS": str(corpus),
        "OPS_S3_ENDPOINT": seaweed.endpoint,
        "OPS_S3_ACCESS_KEY": seaweed.access_key,
        "OPS_S3_SECRET_KEY": seaweed.secret_key,
        "OPS_MILVUS_URI": milvus_lite,
        "OPS_MODEL_SERVER_PORT": str(free_port()),
        "OPS_MODEL_SERVER_ADMIN_PORT": str(admin),
        "OPS_GPU_EXPORTER_PORT": str(free_port()),
    }
    made = Stand(folder / "home", environ, corpus)
    object_store(made.site).ensure_bucket()
    try:
        yield made
    finally:
        Supervisord(made.home / "supervisor", environ).shutdown()


TEXTS = {
    "backup": "# Backups\n\nA backup is committed only when every part was stored and verified. "
    "When one part fails, no snapshot is listed, and the blobs that were uploaded are used by the next try.",
    "restore": "# Restores\n\nA restore is staged beside the live stack, checked, and only then switched. "
    "To restore a snapshot, choose it in the drop-down and look at the plan first.",
    "scaling": "# Scaling\n\nA reading that is unknown holds: no replica is removed because a metric is missing.",
    "secrets": "# Secrets\n\nSecrets are kept by reference: an environment variable, or a file.",
    "prune": "# Pruning\n\nThe last verified and the last drilled snapshot are never pruned.",
    "rollback": "# Roll back\n\nA failed deployment puts the earlier revision back.",
    "cooking": "# Bread\n\nKnead the dough for ten minutes and let it rest in a warm place overnight.",
    "garden": "# Garden\n\nTomatoes want sun, water at their feet and a stake to climb.",
}
