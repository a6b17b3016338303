{{/* Nobody reaches a pod of the release, and it reaches nobody, but for what its component says (`connects`, `internet`),
     its door, Prometheus and the operator's pods. */}}
{{- define "ops-stack.network" -}}
{{- $root := .root -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- $components := .components -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $root.Release.Name }}-deny
  labels:
    {{- include "ops-stack.release-labels" $root | nindent 4 }}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $root.Release.Name }}}}
  policyTypes: [Ingress, Egress]
{{- range $name, $c := $components }}
{{- $here := dict "root" $root "name" $name "c" $c }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "ops-stack.workload-name" $here }}
  labels:
    {{- include "ops-stack.labels" $here | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "ops-stack.selector" $here | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- $clients := list }}
    {{- range $other, $its := $components }}
    {{- if or (has $name $its.connects) (has $name $its.after) }}{{ $clients = append $clients $other }}{{ end }}
    {{- end }}
    {{- if $c.peers }}{{ $clients = append $clients $name }}{{ end }}
    {{- if and $c.ports (or $clients $policy.operators) }}
    - from:
        {{- range $clients | uniq }}
        - podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $root.Release.Name }}, app.kubernetes.io/component: {{ . }}}}
        {{- end }}
        {{- with $policy.operators }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- if not $c.peers }}
      ports:
        {{- range $c.ports }}
        - {port: {{ . | int }}, protocol: TCP}
        {{- end }}
      {{- end }}
    {{- end }}
    {{- if and $c.metrics.port $policy.monitoring }}
    - from:
        {{- toYaml $policy.monitoring | nindent 8 }}
      ports: [{port: {{ index $c.ports $c.metrics.port | int }}, protocol: TCP}]
    {{- end }}
    {{- $door := and $root.Values.ingress.enabled (eq ($root.Values.ingress.component | default "") $name) }}
    {{- if and $door $policy.ingress }}
    - from:
        {{- toYaml $policy.ingress | nindent 8 }}
      ports: [{port: {{ index $c.ports ($root.Values.ingress.port | default "http") | int }}, protocol: TCP}]
    {{- end }}
    {{- with $c.mesh }}
    - from: [{podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $root.Release.Name }}, ops-pipelines.io/mesh: {{ . }}}}}]
    {{- end }}
    {{- with $c.clients }}
    - from:
        {{- toYaml . | nindent 8 }}
    {{- end }}
  egress:
    - to:
        {{- toYaml $policy.dns | nindent 8 }}
      ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    {{- range concat $c.connects $c.after | uniq }}
    {{- $other := index $components . }}
    - to: [{podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $root.Release.Name }}, app.kubernetes.io/component: {{ . }}}}}]
      {{- with $other.ports }}
      ports:
        {{- range . }}
        - {port: {{ . | int }}, protocol: TCP}
        {{- end }}
      {{- end }}
    {{- end }}
    {{- if $c.peers }}
    - to: [{podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $root.Release.Name }}, app.kubernetes.io/component: {{ $name }}}}}]
    {{- end }}
    {{- with $c.mesh }}
    - to: [{podSelector: {matchLabels: {app.kubernetes.io/instance: {{ $root.Release.Name }}, ops-pipelines.io/mesh: {{ . }}}}}]
    {{- end }}
    {{- if $c.internet }}
    # Not the address at which clouds hand out the node's own keys.
    - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}}]
      ports: [{port: 443, protocol: TCP}]
    {{- end }}
    {{- with $c.servers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}
