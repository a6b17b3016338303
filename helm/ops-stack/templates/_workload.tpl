{{/* The Deployment or StatefulSet of a component. */}}
{{- define "ops-stack.workload" -}}
{{- $root := .root -}}
{{- $c := .c -}}
{{- $here := . -}}
apiVersion: apps/v1
kind: {{ $c.kind }}
metadata:
  name: {{ include "ops-stack.workload-name" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
    {{- with $c.color }}
    ops-pipelines.io/color: {{ . }}
    {{- end }}
  {{- with $c.description }}
  annotations: {ops-pipelines.io/description: {{ . | quote }}}
  {{- end }}
spec:
  {{- with include "ops-stack.replicas" . }}
  replicas: {{ . }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- include "ops-stack.selector" . | nindent 6 }}
  {{- if eq $c.kind "StatefulSet" }}
  serviceName: {{ include "ops-stack.fullname" . }}-pods
  podManagementPolicy: {{ $c.podManagement | default "Parallel" }}
  updateStrategy: {type: RollingUpdate}
  # Removing or shrinking a workload never removes what it has stored.
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  {{- else }}
  progressDeadlineSeconds: {{ add 120 (include "ops-stack.patience" . | int) }}
  {{- if include "ops-stack.alone" . }}
  strategy: {type: Recreate} # its volume is mounted once
  {{- else if include "ops-stack.on-card" . }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 1}} # there is no card to spare
  {{- else }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  {{- end }}
  {{- end }}
  template:
    {{- include "ops-stack.pod" . | nindent 4 }}
  {{- if eq $c.kind "StatefulSet" }}
  {{- $claims := dict }}
  {{- range $name, $volume := $c.volumes }}{{ if not (or $volume.claim $volume.existingClaim) }}{{ $_ := set $claims $name $volume }}{{ end }}{{ end }}
  {{- with $claims }}
  volumeClaimTemplates:
    {{- range $name, $volume := . }}
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: {{ $name }}
        labels:
          {{- include "ops-stack.selector" $here | nindent 10 }}
      spec:
        {{- include "ops-stack.claim-spec" (dict "root" $root "claim" $volume) | nindent 8 }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* One owner of the number: the chart, or a scaler. A scaler of our own keeps what it has set. */}}
{{- define "ops-stack.replicas" -}}
{{- $by := .c.scaling.by | default "none" -}}
{{- if eq $by "none" }}{{ ternary .c.replicas 1 (not (kindIs "invalid" .c.replicas)) | int }}
{{- else if eq $by "ops-pipelines" -}}
{{- $live := lookup "apps/v1" .c.kind .root.Release.Namespace (include "ops-stack.workload-name" .) -}}
{{- if $live }}{{ $live.spec.replicas | int }}{{ else }}{{ .c.scaling.minimum | int }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Whether a pod on another node could not mount its volume. */}}
{{- define "ops-stack.alone" -}}
{{- $root := .root -}}
{{- $found := "" -}}
{{- range $_, $volume := .c.volumes -}}
{{- $claim := $volume -}}
{{- if $volume.claim }}{{ $claim = dig $volume.claim dict ($root.Values.claims | default dict) }}{{ end -}}
{{- $modes := $claim.accessModes | default list -}}
{{- if not (or $claim.existingClaim (has "ReadWriteMany" $modes) (has "ReadOnlyMany" $modes)) }}{{ $found = "yes" }}{{ end -}}
{{- end -}}
{{ $found }}
{{- end -}}

{{- define "ops-stack.claim-spec" -}}
accessModes: {{ toJson (.claim.accessModes | default (list "ReadWriteOnce")) }}
{{- with .claim.storageClass | default .root.Values.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests: {storage: {{ .claim.size }}}
{{- with .claim.dataSource }}
dataSource:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Volumes of Deployments, and those that components share. They outlive the release. */}}
{{- define "ops-stack.claims" -}}
{{- $root := .root -}}
{{- range $name, $c := .components }}
{{- $here := dict "root" $root "name" $name "c" $c }}
{{- if ne $c.kind "StatefulSet" }}
{{- range $volume, $spec := $c.volumes }}
{{- if not (or $spec.claim $spec.existingClaim) }}
---
{{ include "ops-stack.claim" (dict "root" $root "labels" (include "ops-stack.labels" $here) "name" (printf "%s-%s" (include "ops-stack.fullname" $here) $volume) "claim" $spec) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $claim := .root.Values.claims }}
{{- if not $claim.existingClaim }}
---
{{ include "ops-stack.claim" (dict "root" $root "labels" (include "ops-stack.release-labels" $root) "name" (printf "%s-%s" $root.Release.Name $name) "claim" $claim) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ops-stack.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
  labels:
    {{- .labels | nindent 4 }}
  annotations: {helm.sh/resource-policy: keep}
spec:
  {{- include "ops-stack.claim-spec" . | nindent 2 }}
{{- end -}}

{{- define "ops-stack.config" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "ops-stack.workload-name" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
data:
  {{- include "ops-stack.config-data" . | trim | nindent 2 }}
{{- end -}}
