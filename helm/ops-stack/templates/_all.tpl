{{/* Every object of a stack, from its values. */}}
{{- define "ops-stack.all" -}}
{{- $root := . -}}
{{- $components := include "ops-stack.components" . | fromJson -}}
{{- $both := dict "root" $root "components" $components -}}
{{- include "ops-stack.validate" $both -}}
{{ include "ops-stack.accounts" $both }}
{{- if .Values.secrets.external.enabled }}
---
{{ include "ops-stack.external-secret" . }}
{{- end }}
{{- include "ops-stack.claims" $both }}
{{- if eq .Values.gpu.placement "claim" }}
{{- include "ops-stack.card-claims" . }}
{{- end }}
{{- range $name, $c := $components }}
{{- $here := dict "root" $root "name" $name "c" $c }}
{{- $most := include "ops-stack.most" $here | int }}
{{- if $c.files }}
---
{{ include "ops-stack.config" $here }}
{{- end }}
{{- if not (include "ops-stack.by-operator" $here) }}
---
{{ include "ops-stack.workload" $here }}
{{- end }}
{{- if and $c.ports (not $c.service.none) }}
---
{{ include "ops-stack.service" $here }}
{{- end }}
{{- if eq $c.kind "StatefulSet" }}
---
{{ include "ops-stack.headless" $here }}
{{- end }}
{{- if gt $most 1 }}
---
{{ include "ops-stack.disruption" $here }}
{{- end }}
{{- if eq ($c.scaling.by | default "none") "hpa" }}
---
{{ include "ops-stack.hpa" $here }}
{{- else if eq ($c.scaling.by | default "none") "keda" }}
---
{{ include "ops-stack.keda" $here }}
{{- end }}
{{- if and (kindIs "map" $c.recommend) $.Values.recommend (not (include "ops-stack.by-operator" $here)) }}
---
{{ include "ops-stack.vpa" $here }}
{{- end }}
{{- if and $c.metrics.port $.Values.monitoring.enabled }}
---
{{ include "ops-stack.service-monitor" $here }}
{{- end }}
{{- end }}
{{- include "ops-stack.ray" $both }}
{{- if .Values.networkPolicy.enabled }}
---
{{ include "ops-stack.network" $both }}
{{- end }}
{{- if .Values.ingress.enabled }}
---
{{ include "ops-stack.ingress" . }}
{{- end }}
{{- if .Values.monitoring.enabled }}
---
{{ include "ops-stack.rules" . }}
{{- if .Files.Glob "files/dashboards/*.json" }}
---
{{ include "ops-stack.dashboards" . }}
{{- end }}
{{- end }}
{{- if .Values.karpenter.enabled }}
---
{{ include "ops-stack.karpenter" . }}
{{- end }}
{{- end -}}
