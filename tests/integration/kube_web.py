"""A page and its database as a tiny chart, declared as a stack on a cluster: what the tests of target `kubernetes`
deploy. Where its pods only seem to run, nothing of them is asked."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ops_pipelines.settings import load_settings
from ops_pipelines.wiring import deployments
from ops_pipelines.wiring.site import Site, load_fleet
from tests.servers.seaweed import Seaweed

SECRET = "a-password-that-nobody-may-see"
IMAGE = "docker.io/ops-test/busybox:1"

CHART = {"apiVersion": "v2", "name": "web", "version": "1.0.0"}
VALUES = {
    "image": IMAGE,
    "words": "one",
    "password": "",
    "web": {"replicas": 1, "cpu": "10m", "gpus": 0, "command": ["sleep", "100000"]},
    "db": {"replicas": 1, "size": "1Mi", "cpu": "10m", "env": {}},
    "more": 0,
}
TEMPLATES = {
    "web.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
  labels: {app.kubernetes.io/component: web, app.kubernetes.io/instance: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.web.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}-web}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}-web}
      annotations: {words: {{ .Values.words | quote }}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: {{ .Values.image }}
          command: {{ .Values.web.command | toJson }}
          env: [{name: WORDS, value: {{ .Values.words | quote }}}]
          resources:
            requests: {cpu: {{ .Values.web.cpu }}}
            {{- if .Values.web.gpus }}
            limits: {nvidia.com/gpu: {{ .Values.web.gpus }}}
            {{- end }}
          {{- with .Values.web.readinessProbe }}
          readinessProbe: {{ . | toJson }}
          {{- end }}
          {{- with .Values.web.memory }}
          resources: {limits: {memory: {{ . }}}}
          {{- end }}
""",
    "db.yaml": """
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .Release.Name }}-db
  labels: {app.kubernetes.io/component: db, app.kubernetes.io/instance: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.db.replicas }}
  serviceName: {{ .Release.Name }}-db
  selector: {matchLabels: {app: {{ .Release.Name }}-db}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}-db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: db
          image: {{ .Values.image }}
          command: [sleep, "100000"]
          env: {{ range $k, $v := .Values.db.env }}[{name: {{ $k }}, value: {{ $v | quote }}}]{{ else }}[]{{ end }}
          resources: {requests: {cpu: {{ .Values.db.cpu }}}}
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: {{ .Values.db.size }}}}}
""",
    "rest.yaml": """
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}-password}
stringData: {password: {{ .Values.password | quote }}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: {{ .Release.Name }}-models}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-words}
data: {words: {{ .Values.words | quote }}, since: 2026-01-01}
{{- range $i := until (int .Values.more) }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ $.Release.Name }}-{{ $i }}}
data: {a: "{{ $i }}"}
{{- end }}
""",
}


@dataclass
class Stand:
    """The stack as its files stand now, with a bucket of a real store."""

    folder: Path
    environ: dict[str, str]
    namespace: str
    values: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    stack: dict[str, Any] = field(default_factory=dict)

    def write(self) -> Site:
        """The stack as it is declared now."""
        (self.folder / "values.yaml").write_text(yaml.safe_dump(self.values))
        target = {
            "kind": "kubernetes", "context": "tests", "namespace": self.namespace, "release": "shop",
            "chart": "chart", "values": ["values.yaml"], "set_secrets": {"password": "pw"}, "within": "60s",
        }  # fmt: skip
        declared = {**self.stack, "target": {**target, **self.target}}
        (self.folder / "stack.yaml").write_text(yaml.safe_dump(declared))
        return load_fleet(load_settings(self.environ, cwd=self.folder)).site("web")

    def template(self, name: str, text: str) -> None:
        """Change one file of the chart."""
        (self.folder / "chart" / "templates" / name).write_text(text)

    def deploy(self) -> deployments.DeployResult:
        return deployments.deploy(self.write(), by="test")

    def subjects(self) -> dict[str, str]:
        return {step.subject: step.verb for step in deployments.plan(self.write()).steps}


def make_stand(
    folder: Path, *, kubeconfig: Path, namespace: str, seaweed: Seaweed, bucket: str, helm: Path
) -> Stand:
    """The stack below a folder of the test; nothing is deployed yet."""
    here = folder / "deploy" / "web"
    (here / "chart" / "templates").mkdir(parents=True)
    (here / "chart" / "Chart.yaml").write_text(yaml.safe_dump(CHART))
    (here / "chart" / "values.yaml").write_text(json.dumps(VALUES))
    for name, text in TEMPLATES.items():
        (here / "chart" / "templates" / name).write_text(text)
    environ = {
        "PATH": f"{helm.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "KUBECONFIG": str(kubeconfig),
        "OPS_HOME": str(folder / "home"),
        "OPS_STACKS_DIR": str(folder / "deploy"),
        "WEB_PASSWORD": SECRET,
        "S3A": seaweed.access_key,
        "S3S": seaweed.secret_key,
    }
    stack = {
        "stack": "web",
        "description": "A page and its database.",
        "owners": ["team:platform"],
        "secrets": {"pw": "${WEB_PASSWORD}", "a": "${S3A}", "s": "${S3S}"},
        "components": {
            "web": {"kind": "app", "health": {"within": "20s"}},
            "db": {"kind": "app", "health": {"within": "10s"}},
        },
        "backup": {
            "bucket": bucket, "endpoint": seaweed.endpoint, "access_key": "a", "secret_key": "s", "lease": "30s",
        },
    }  # fmt: skip
    return Stand(here, environ, namespace, stack=stack)
