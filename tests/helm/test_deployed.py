"""The stack files of deploy/ put on a cluster by ops-pipelines itself, through their charts.

Pods only seem to run here (kwok): what is shown is that plan, preflight, deploy and refusals know the charts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops_pipelines.errors import OpsError
from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import deployments
from ops_pipelines.wiring.site import Site, load_fleet
from tests.cluster.use import Namespace
from tests.parts import require
from tests.servers.seaweed import Seaweed
from tools.charts import CHARTS

pytestmark = pytest.mark.slow

_STACK = "multi-adapter-llama3"
# Nobody answers on a node that only seems to run pods: nothing is asked of the servers.
_UNASKED: dict[str, Any] = {"smoke": None, "models": None, "adapters": None}
_CARDS = {"ops-pipelines.io/card-0-gb": "20", "ops-pipelines.io/card-1-gb": "20"}
_RUNTIME = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "nvidia"},
    "handler": "nvidia",
}


class _Declared:
    """A stack of deploy/ in a namespace of a test."""

    def __init__(self, name: str, folder: Path, space: Namespace, seaweed: Seaweed, bucket: str) -> None:
        self.name, self.file = name, folder / "deploy" / name / "stack.yaml"
        self.file.parent.mkdir(parents=True)
        self.target = {
            "kind": "kubernetes",
            "context": "tests",
            "namespace": space.name,
            "release": name,
            "chart": str(CHARTS / name),
        }
        self.laid_over: dict[str, Any] = {
            "include": str(CHARTS.parent / "deploy" / name / "stack.yaml"),
            "backup": {"bucket": bucket, "endpoint": seaweed.endpoint},
        }
        self.environ = {
            "PATH": f"{require('helm').path.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(space.cluster.kubeconfig),
            "OPS_HOME": str(folder / "home"),
            "OPS_STACKS_DIR": str(folder / "deploy"),
            "MULTI_ADAPTER_S3_ACCESS_KEY": seaweed.access_key,
            "MULTI_ADAPTER_S3_SECRET_KEY": seaweed.secret_key,
        }

    def site(self, **more: Any) -> Site:
        self.file.write_text(yaml.safe_dump({**self.laid_over, "target": self.target, **more}))
        return load_fleet(load_settings(self.environ, cwd=self.file.parent)).site(self.name)


@pytest.fixture
def declared(namespace: Namespace, seaweed: Seaweed, bucket: str, tmp_path: Path) -> _Declared:
    namespace.cluster.ask("create", "-f", "-", stdin=json.dumps(_RUNTIME))  # another test may have made it
    namespace.gpu_node(
        gpus=2,
        memory_mib=20475,
        cpu="16",
        memory="64Gi",
        labels={"ops-pipelines.io/cards": _STACK},
        allocatable=_CARDS,
    )
    found = _Declared(_STACK, tmp_path, namespace, seaweed, bucket)
    found.target["values"] = [str(CHARTS / _STACK / "values-counted.yaml")]
    return found


def test_seven_servers_are_deployed_and_an_eighth_is_refused_in_the_plan(
    declared: _Declared, namespace: Namespace
) -> None:
    done = deployments.deploy(declared.site(**_UNASKED), by="test")
    assert done.revision == 1
    rows = {
        str(row["component"]): row["answers"] for row in deployments.status_rows(declared.site(**_UNASKED))
    }
    assert rows == dict.fromkeys(("base", "chatbot", "code", "summarization", "router"), "yes")
    servers = [one for one in namespace.get("pods")["items"] if "router" not in one["metadata"]["name"]]
    assert len(servers) == 7
    assert deployments.plan(declared.site(**_UNASKED)).empty

    with pytest.raises(OpsError, match="no card has room: card 0 has 0 GB left of 20 GB"):
        deployments.plan(declared.site(adapters={"models": {"legal": "ollama:legal-llama3:8b"}}))
    with pytest.raises(OpsError, match="card 0 has 20 GB, and 24 are asked of it"):
        deployments.set_replicas(declared.site(**_UNASKED), "chatbot", 4)
    assert namespace.get("statefulset/multi-adapter-llama3-chatbot")["spec"]["replicas"] == 3
