"""New versions beside old ones on a real node: traffic from inside the cluster, bad versions, deploys that are killed.

Requests are counted by the load itself, which a tiny page in Prometheus' form hands out: what is tested is the move."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ops_pipelines.errors import DeployFailed
from ops_pipelines.wiring import deployments, revisions
from tests.cluster.node import IMAGE
from tests.cluster.test_cluster import pod
from tests.cluster.use import Namespace
from tests.integration.kill_kube_bluegreen import finish
from tests.integration.kube_web import Stand, make_stand
from tests.parts import require
from tests.servers.seaweed import Seaweed
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SERVE = (
    "mkdir -p /tmp/www/cgi-bin; "
    "printf '#!/usr/bin/sh\\n{status}echo Content-Type: text/plain; echo; echo {word}\\n' >/tmp/www/cgi-bin/ask; "
    "chmod +x /tmp/www/cgi-bin/ask; trap 'exit 0' TERM; httpd -f -p 8080 -h /tmp/www & wait"
)
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
  labels: {app.kubernetes.io/component: web, app.kubernetes.io/instance: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}-web}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}-web}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: web
          image: {{ .Values.image }}
          command: {{ .Values.web.command | toJson }}
          ports: [{name: http, containerPort: 8080}]
          envFrom: [{configMapRef: {name: {{ .Release.Name }}-words}}]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}-web}
spec:
  selector: {app: {{ .Release.Name }}-web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-words}
data: {WORD: {{ .Values.words | quote }}}
"""
LOAD = (
    "while :; do for i in 1 2 3 4 5 6 7 8 9 10; do wget -T 5 -qO- http://shop-web/cgi-bin/ask 2>/dev/null"
    " || echo failed; done; done"
)


def _scaler(name: str, pods: int) -> dict[str, object]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "one"},
        "spec": {"scaleTargetRef": target, "minReplicas": pods, "maxReplicas": pods},
    }


class Counts:
    """A server that answers as Prometheus does: what the load has counted since it was last asked to begin anew."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace, self.known = namespace, True
        self.now = self.base = (0, 0)
        counts = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(counts.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def lines(self) -> list[str]:
        return self.namespace.ask("logs", "load", "--tail=-1").stdout.splitlines()

    def answer(self, path: str) -> dict[str, Any]:
        if "errors" not in path:  # those of the requests that were just told of
            said = self.lines()
            self.now = (len(said), said.count("failed"))
        if "vector" in path:
            self.base = self.now
        which = int("errors" in path)
        value = 1 if "vector" in path else self.now[which] - self.base[which]
        known = self.known or "vector" in path
        result = [{"metric": {}, "value": [time.time(), str(value)]}] if known else []
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


@dataclass
class Beside:
    """The stack, the load on it, and what has counted that."""

    stand: Stand
    namespace: Namespace
    counts: Counts

    def version(self, word: str, status: str = "") -> None:
        """Declare another version of the page."""
        self.stand.values["words"] = word
        self.stand.values["web"] = {"command": ["sh", "-c", SERVE.format(word=word, status=status)]}

    def load(self) -> None:
        """Begin to ask, from inside, and wait for answers."""
        self.namespace.create(pod("load", "sh", "-c", LOAD))
        until(lambda: "one" in self.counts.lines(), what="the page to answer", seconds=60)

    def turns(self) -> list[str]:
        """Which version answered, each change once, without failed requests."""
        found: list[str] = []
        for one in self.counts.lines():
            if one != "failed" and one not in found[-1:]:
                found.append(one)
        return found

    @property
    def failed(self) -> int:
        return self.counts.lines().count("failed")

    @property
    def rests(self) -> bool:
        """Whether nothing is left of a move."""
        service = self.namespace.get("service/shop-web")
        named = [one["metadata"]["name"] for one in self.namespace.get("deployments,configmaps")["items"]]
        return (
            service["spec"]["selector"] == {"app": "shop-web"}
            and "ops-pipelines.io/traffic" not in (service["metadata"].get("labels") or {})
            and not any(name.endswith("-green") for name in named)
        )


@pytest.fixture
def beside(real_namespace: Namespace, seaweed: Seaweed, bucket: str, tmp_path: Path) -> Iterator[Beside]:
    stand = make_stand(
        tmp_path,
        kubeconfig=real_namespace.cluster.kubeconfig,
        namespace=real_namespace.name,
        seaweed=seaweed,
        bucket=bucket,
        helm=require("helm").path,
    )
    stand.template("web.yaml", WEB)
    stand.template("db.yaml", "")
    stand.template("rest.yaml", "")
    stand.values["image"] = IMAGE
    stand.stack["components"] = {"web": {"kind": "app", "health": {"path": "/cgi-bin/ask", "within": "30s"}}}
    counts = Counts(real_namespace)
    stand.stack["components"]["web"]["blue_green"] = {
        "readings": {
            "kind": "prometheus", "url": counts.url, "requests": "requests[{watched}]", "errors": "errors[{watched}]",
        },
        "watch": "4s", "requests": 20, "errors": 0.05, "every": "1s", "unknown_for": "2s", "drain": "2s",
    }  # fmt: skip
    made = Beside(stand, real_namespace, counts)
    made.version("one")
    stand.deploy()
    made.load()
    yield made
    counts.server.shutdown()


def test_a_new_version_gets_the_traffic_and_no_request_is_lost(beside: Beside) -> None:
    beside.version("two")
    planned = {(step.verb, step.subject) for step in deployments.plan(beside.stand.write()).steps}
    assert planned >= {
        ("create", "component/web-green"),
        ("switch", "Service/shop-web"),
        ("check", "traffic/web"),
        ("remove", "component/web-green"),
    }
    done = beside.stand.deploy()
    until(lambda: beside.turns() == ["one", "two"], what="the new version alone to answer")
    assert beside.failed == 0
    [watched] = done.watched
    assert watched.judgement.verdict == "promote"
    assert beside.rests
    newest = revisions.newest(beside.stand.write())
    assert newest is not None
    assert re.search(r"blue-green \(web: 0 of \d+ requests failed", newest.note)
    assert deployments.plan(beside.stand.write()).empty


def test_a_version_that_fails_under_traffic_goes_back_by_itself(beside: Beside) -> None:
    # It answers who asks it at first, so that it gets the traffic.
    beside.version("two", "test -e /tmp/asked && echo Status: 500 Broken; touch /tmp/asked\\n")
    with pytest.raises(DeployFailed, match=r"traffic went back to the old version: web: \d+ of \d+") as found:
        beside.stand.deploy()
    assert "traffic is with what ran before, which is healthy" in found.value.message
    assert beside.failed
    assert beside.rests
    before = beside.failed
    count = len(beside.counts.lines())
    until(lambda: len(beside.counts.lines()) > count + 30, what="more requests")
    assert beside.failed == before
    assert beside.turns()[-1] == "one"
    assert beside.namespace.get("configmap/shop-words")["data"]["WORD"] == "one"


def test_readings_that_are_not_there_take_the_traffic_back(beside: Beside) -> None:
    """And what an autoscaler has decided meanwhile stays."""
    beside.counts.known = False
    beside.version("two")
    beside.namespace.create(_scaler("shop-web", 3))
    beside.namespace.wait("jsonpath={.status.availableReplicas}=3", "deployment/shop-web")
    with pytest.raises(DeployFailed, match="how it does is unknown"):
        beside.stand.deploy()
    assert beside.rests
    assert beside.failed == 0
    assert beside.namespace.get("deployment/shop-web")["spec"]["replicas"] == 3
    until(lambda: beside.turns()[-1] == "one", what="the old version to answer")


def test_a_killed_deploy_is_settled_by_the_next(beside: Beside) -> None:
    for token, (step, stays) in enumerate(
        (("start beside:1", "one"), ("move:1", "one"), ("renew:1", "one"), ("settle:2", "two")), start=100
    ):
        beside.version("two")
        site = beside.stand.write()
        killed = subprocess.run(
            [sys.executable, "-m", "tests.integration.kill_kube_bluegreen", step, str(2 * token)],
            env={**os.environ, **beside.stand.environ, "PYTHONPATH": str(ROOT)}, cwd=beside.stand.folder,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, f"{step}: {killed.stdout}\n{killed.stderr}"
        assert not beside.rests, step
        assert any("was killed" in one for one in deployments.plan(site).warnings), step
        assert finish(site, 2 * token + 1), step
        assert beside.rests, step
        count = len(beside.counts.lines())
        until(lambda count=count: len(beside.counts.lines()) > count + 30, what="more requests")
        assert beside.turns()[-1] == stays, step
        assert beside.failed == 0, step
