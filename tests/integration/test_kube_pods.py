"""Target `kubernetes` on a node whose pods run: what keeps one from starting, in words, and how one is asked."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ops_pipelines.errors import DeployFailed
from ops_pipelines.wiring import deployments
from ops_pipelines.wiring.reaching import places_of
from tests.cluster.use import Namespace
from tests.integration.kube_web import SECRET, make_stand
from tests.parts import require
from tests.servers.seaweed import Seaweed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SERVE = "mkdir -p /tmp/w; echo $WORDS > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"


def test_what_a_pod_says(
    real_namespace: Namespace,
    seaweed: Seaweed,
    bucket: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stand = make_stand(
        tmp_path,
        kubeconfig=real_namespace.cluster.kubeconfig,
        namespace=real_namespace.name,
        seaweed=seaweed,
        bucket=bucket,
        helm=require("helm").path,
    )
    stand.stack["components"]["web"]["ports"] = {"http": 8080}
    stand.values["web"] = {"command": ["sh", "-c", f"echo begun; {SERVE}"]}
    assert stand.deploy().revision == 1
    [place] = places_of(stand.write(), "web")
    assert httpx.get(f"{place.address}/index.html", timeout=10).text.strip() == "one"
    word = place.address.split("/")[3]
    assert httpx.get(place.address.replace(word, "x" * len(word)), timeout=10).status_code == 404
    assert deployments.logs(stand.write(), "web", lines=5, follow=False) == 0
    assert "begun" in capfd.readouterr().out

    # What is told as soon as it is seen has time to be seen; a probe is given up at the end only.
    for change, words, within in (
        ({"image": "nowhere.invalid/a:1"}, "the image nowhere.invalid/a:1 cannot be pulled", "60s"),
        ({"web": {"command": ["sh", "-c", "echo no luck; exit 3"]}}, "ended with status 3", "60s"),
        (
            {"web": {"readinessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1}}},
            "a probe of pod shop-web",
            "8s",
        ),
    ):
        stand.values, stand.target["within"] = change, within
        with pytest.raises(DeployFailed) as caught:
            stand.deploy()
        said = str(caught.value)
        assert words in said
        assert "what ran before was put back and is healthy" in said
        assert SECRET not in said
        if "exit 3" in str(change):
            assert "no luck" in said
    [place] = places_of(stand.write(), "web")
    assert httpx.get(f"{place.address}/index.html", timeout=10).text.strip() == "one"
