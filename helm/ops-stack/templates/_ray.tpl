{{/* Head and workers as one RayCluster, which KubeRay's operator keeps; `ray start` is then the operator's own. */}}
{{- define "ops-stack.ray" -}}
{{- $root := .root -}}
{{- $heads := dict -}}
{{- $workers := dict -}}
{{- range $name, $c := .components -}}
{{- if include "ops-stack.by-operator" (dict "root" $root "c" $c) -}}
{{- $_ := set (ternary $heads $workers (eq $c.ray.role "head")) $name $c -}}
{{- end -}}
{{- end -}}
{{- range $name, $c := $heads }}
---
apiVersion: ray.io/v1
kind: RayCluster
metadata:
  name: {{ $root.Release.Name }}
  labels:
    {{- include "ops-stack.release-labels" $root | nindent 4 }}
spec:
  rayVersion: {{ $root.Values.ray.version | quote }}
  {{- $scaled := false }}
  {{- range $workers }}{{ if eq (.scaling.by | default "none") "ray" }}{{ $scaled = true }}{{ end }}{{ end }}
  enableInTreeAutoscaling: {{ $scaled }}
  {{- if $scaled }}
  autoscalerOptions:
    upscalingMode: Default
    idleTimeoutSeconds: 300
    resources: {requests: {cpu: 250m, memory: 256Mi}, limits: {cpu: 500m, memory: 512Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  {{- end }}
  headGroupSpec:
    serviceType: ClusterIP
    rayStartParams: {{ toJson ($c.ray.params | default dict) }}
    template:
      {{- include "ops-stack.pod" (dict "root" $root "name" $name "c" (omit $c "command" "args")) | nindent 6 }}
  workerGroupSpecs:
    {{- range $worker, $w := $workers }}
    {{- $number := ternary $w.replicas 1 (not (kindIs "invalid" $w.replicas)) | int }}
    {{- $by := eq ($w.scaling.by | default "none") "ray" }}
    - groupName: {{ $worker }}
      {{- if not $by }}
      replicas: {{ $number }}
      {{- end }}
      minReplicas: {{ ternary $w.scaling.minimum $number $by }}
      maxReplicas: {{ ternary $w.scaling.maximum $number $by }}
      rayStartParams: {{ toJson ($w.ray.params | default dict) }}
      template:
        {{- include "ops-stack.pod" (dict "root" $root "name" $worker "c" (omit $w "command" "args")) | nindent 8 }}
    {{- end }}
{{- end }}
{{- end -}}
