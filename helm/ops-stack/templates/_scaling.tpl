{{/* Who decides how many replicas there are: HPA or KEDA, never both (`scaling.by`). */}}
{{- define "ops-stack.hpa" -}}
{{- $scaling := .c.scaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "ops-stack.workload-name" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: {{ .c.kind }}, name: {{ include "ops-stack.workload-name" . }}}
  minReplicas: {{ $scaling.minimum | int }}
  maxReplicas: {{ $scaling.maximum | int }}
  metrics:
    {{- range $name := list "cpu" "memory" }}
    {{- with index $scaling $name }}
    - {type: Resource, resource: {name: {{ $name }}, target: {type: Utilization, averageUtilization: {{ . | int }}}}}
    {{- end }}
    {{- end }}
    {{- range $metric, $target := $scaling.pods }}
    - {type: Pods, pods: {metric: {name: {{ $metric }}}, target: {type: AverageValue, averageValue: {{ $target | toString | quote }}}}}
    {{- end }}
  {{- with $scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "ops-stack.keda" -}}
{{- $root := .root -}}
{{- $scaling := .c.scaling -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "ops-stack.workload-name" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: {{ .c.kind }}, name: {{ include "ops-stack.workload-name" . }}}
  pollingInterval: {{ $scaling.poll | default 30 }}
  cooldownPeriod: {{ $scaling.cooldown | default 300 }}
  minReplicaCount: {{ $scaling.minimum | int }}
  maxReplicaCount: {{ $scaling.maximum | int }}
  # Where Prometheus does not answer there are at least as many as before: unknown is not nothing to do.
  fallback: {failureThreshold: 3, replicas: {{ $scaling.fallback | default $scaling.minimum | int }}, behavior: currentReplicasIfHigher}
  {{- with $scaling.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  triggers:
    {{- range $scaling.queries }}
    - type: prometheus
      metricType: {{ .metricType | default "AverageValue" }}
      metadata:
        serverAddress: {{ $root.Values.monitoring.prometheus | quote }}
        query: {{ include "ops-stack.filled" (dict "root" $root "text" .query) | quote }}
        threshold: {{ .threshold | toString | quote }}
        ignoreNullValues: "false"
    {{- end }}
    {{- range $name := list "cpu" "memory" }}
    {{- with index $scaling $name }}
    - {type: {{ $name }}, metricType: Utilization, metadata: {value: {{ . | toString | quote }}}}
    {{- end }}
    {{- end }}
{{- end -}}

{{/* It recommends, and changes nothing: a pod that is evicted to be resized has loaded its models for nothing. */}}
{{- define "ops-stack.vpa" -}}
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata:
  name: {{ include "ops-stack.workload-name" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
spec:
  targetRef: {apiVersion: apps/v1, kind: {{ .c.kind }}, name: {{ include "ops-stack.workload-name" . }}}
  updatePolicy: {updateMode: "Off"}
  resourcePolicy:
    containerPolicies:
      - containerName: {{ .name }}
        controlledResources: [cpu, memory]
        {{- with .c.recommend.minimum }}
        minAllowed: {{ toJson . }}
        {{- end }}
        {{- with .c.recommend.maximum }}
        maxAllowed: {{ toJson . }}
        {{- end }}
{{- end -}}

{{- define "ops-stack.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "ops-stack.workload-name" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .c.disruption.maxUnavailable | default 1 }}
  unhealthyPodEvictionPolicy: AlwaysAllow # one that is broken keeps no node from being drained
  selector:
    matchLabels:
      {{- include "ops-stack.selector" . | nindent 6 }}
{{- end -}}
