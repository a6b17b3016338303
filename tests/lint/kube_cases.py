"""For each rule on manifests: objects in which it finds its fault, and the same with one text put right."""

# ruff: noqa: E501 - a case is read as a whole

from __future__ import annotations

_POD = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n    metadata: {annotations: {prometheus.io/scrape: 'true'}}\n    spec:\n"
_OLLAMA = _POD + "      containers:\n        - name: o\n          image: ollama/ollama:0.17.4\n"
_HPA = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec:\n  scaleTargetRef: {kind: Deployment, name: a}\n  metrics: [{type: Resource}]\n---\n"
_KEDA = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: k}\nspec:\n  scaleTargetRef: {name: a}\n  triggers:\n    - type: TYPE\n      metadata: {MORE}\n"
_VPA = "apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata: {name: v}\nspec:\n  targetRef: {kind: Deployment, name: a}\n"
_JOB = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: j}\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers:\n            - name: b\n              image: x:1.0.0\n              command: [bash, -c, 'SCRIPT']\n"
_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n"

# code, objects, the text that is wrong, what puts it right, line of the finding, severity
CASES: list[tuple[str, str, str, str, int, str]] = [
    ("OPS-K101", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {restartPolicy: Always}\n", "Always", "Never", 2, "error"),
    ("OPS-K102", _OLLAMA + "          livenessProbe: {httpGet: {path: /, port: 1}, initialDelaySeconds: 30}\n", "livenessProbe", "startupProbe: {}\n          livenessProbe", 11, "error"),
    ("OPS-K102", _OLLAMA + "          livenessProbe: {httpGet: {path: /, port: 1}, initialDelaySeconds: 30}\n", "30}", "900}", 11, "error"),
    ("OPS-K103", _POD + "      volumes: [{name: m, emptyDir: {}}]\n      containers:\n        - name: o\n          image: ollama/ollama:0.17.4\n          volumeMounts: [{name: m, mountPath: /root/.ollama}]\n", "emptyDir: {}", "persistentVolumeClaim: {claimName: m}", 8, "error"),
    ("OPS-K103", _POD + "      volumes: [{name: m, emptyDir: {}}]\n      containers:\n        - name: o\n          image: my/llm:1.0.0\n          env: [{name: HF_HOME, value: /models}]\n          volumeMounts: [{name: m, mountPath: /models}]\n", "mountPath: /models", "mountPath: /scratch", 8, "error"),
    ("OPS-K104", _OLLAMA + "          resources: {requests: {nvidia.com/gpu: 1}}\n", "requests", "limits", 11, "error"),
    ("OPS-K105", _OLLAMA + "          resources: {limits: {cpu: 1}}\n", "cpu: 1", "memory: 1Gi", 11, "info"),
    ("OPS-K201", _HPA + _KEDA.replace("TYPE", "cron").replace("MORE", ""), "name: a}\n  triggers", "name: b}\n  triggers", 12, "error"),
    ("OPS-K202", _KEDA.replace("TYPE", "kafka").replace("MORE", "metricName: x"), "metricName: x", "", 8, "warning"),
    ("OPS-K203", _KEDA.replace("TYPE", "cpu").replace("MORE", "type: Utilization, value: '70'"), "metadata: {type: Utilization, ", "metricType: Utilization\n      metadata: {", 8, "error"),
    ("OPS-K204", _KEDA.replace("TYPE", "prometheus").replace("MORE", "query: up"), "query: up", "query: up, ignoreNullValues: 'false'", 7, "warning"),
    ("OPS-K205", _VPA + "  resourcePolicy: {containerPolicies: [{containerName: '*', controlledResources: [cpu, nvidia.com/gpu]}]}\n", ", nvidia.com/gpu", "", 6, "error"),
    ("OPS-K206", _HPA + _VPA + "  updatePolicy: {updateMode: Auto}\n", "Auto", "'Off'", 12, "error"),
    ("OPS-K207", "apiVersion: karpenter.sh/v1alpha5\nkind: Provisioner\nmetadata: {name: g}\n", "karpenter.sh/v1alpha5\nkind: Provisioner", "karpenter.sh/v1\nkind: NodePool", 1, "error"),
    ("OPS-K208", _MAP + "  rules: histogram_quantile(0.95, latency_bucket)\n", "latency_bucket)", "sum by (le) (rate(latency_bucket[5m])))", 5, "warning"),
    ("OPS-K209", _OLLAMA, "ollama/ollama:0.17.4", "my/exporter:1.0.0", 6, "warning"),
    ("OPS-K210", _POD + "      containers:\n        - name: o\n          image: alpindale/aphrodite-openai:v0.9.1\n          ports: [{containerPort: 8000, name: metrics}]\n", "8000", "2242", 11, "warning"),
    ("OPS-K301", _MAP + "  api.yaml: 'api_key: sk-live-123456'\n", "sk-live-123456", "${API_KEY}", 5, "error"),
    ("OPS-K301", _MAP + "  DB_PASSWORD: hunter2hunter2\n", "DB_PASSWORD: hunter2hunter2", "DB_HOST: db", 5, "error"),
    ("OPS-K302", _OLLAMA + "          env: [{name: API_KEY, value: abcdefgh}]\n", "value: abcdefgh", "valueFrom: {secretKeyRef: {name: a, key: b}}", 11, "error"),
    ("OPS-K302", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  password: minioadmin\n", "minioadmin", "b52e3c8b9a", 5, "error"),
    ("OPS-K303", _OLLAMA + "          securityContext: {capabilities: {add: [SYS_ADMIN]}}\n", "SYS_ADMIN", "NET_BIND_SERVICE", 11, "error"),
    ("OPS-K303", _OLLAMA + "          securityContext: {privileged: true}\n", "true}", "false}", 11, "error"),
    ("OPS-K304", _POD + "      securityContext: {seccompProfile: {type: Unconfined}}\n", "Unconfined", "RuntimeDefault", 8, "error"),
    ("OPS-K305", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: LoadBalancer, ports: [{port: 6379}]}\n", "LoadBalancer", "ClusterIP", 4, "warning"),
    ("OPS-K401", _JOB.replace("SCRIPT", "set -e; pg_dump x | aws s3 cp - s3://b/x"), "set -e;", "set -eo pipefail;", 12, "error"),
    ("OPS-K402", _JOB.replace("SCRIPT", "aws s3 ls s3://b | awk \"$(date +%F)\" | xargs aws s3 rm"), "xargs aws s3 rm", "cat", 12, "error"),
    ("OPS-K403", _JOB.replace("SCRIPT", "milvus-backup export --collection x"), "export --collection x", "create -n x", 12, "error"),
    ("OPS-K404", _JOB.replace("SCRIPT", "kubectl exec -it db -- pg_dump x > /b/x"), "exec -it", "exec", 12, "error"),
    ("OPS-C401", _OLLAMA + "          env: [{name: OLLAMA_NUM_GPU, value: '1'}]\n", "OLLAMA_NUM_GPU", "OLLAMA_NUM_PARALLEL", 11, "error"),
    ("OPS-C201", _OLLAMA, "0.17.4", "latest", 0, ""),
]  # fmt: skip
