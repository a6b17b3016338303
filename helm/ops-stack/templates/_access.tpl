{{- define "ops-stack.accounts" -}}
{{- $root := .root -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $root.Release.Name }}
  labels:
    {{- include "ops-stack.release-labels" $root | nindent 4 }}
automountServiceAccountToken: false
{{- range $name, $c := .components }}
{{- if $c.rights }}
{{- $here := dict "root" $root "name" $name "c" $c }}
{{- $own := include "ops-stack.fullname" $here }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $own }}
  labels:
    {{- include "ops-stack.labels" $here | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $own }}
  labels:
    {{- include "ops-stack.labels" $here | nindent 4 }}
rules:
  {{- toYaml $c.rights | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $own }}
  labels:
    {{- include "ops-stack.labels" $here | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $own }}}
subjects: [{kind: ServiceAccount, name: {{ $own }}, namespace: {{ $root.Release.Namespace }}}]
{{- end }}
{{- end }}
{{- end -}}

{{/* The Secret is made by the External Secrets operator; the chart holds where each value is, and no value. */}}
{{- define "ops-stack.external-secret" -}}
{{- $secrets := .Values.secrets -}}
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: {{ $secrets.existingSecret }}
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
spec:
  refreshInterval: {{ $secrets.external.refresh | default "1h" }}
  secretStoreRef: {name: {{ $secrets.external.store }}, kind: {{ $secrets.external.kind | default "SecretStore" }}}
  target: {name: {{ $secrets.existingSecret }}, creationPolicy: Owner, deletionPolicy: Retain}
  data:
    {{- range $name, $one := $secrets.keys }}
    {{- if not (and $one $one.existingSecret) }}
    - secretKey: {{ dig "key" $name ($one | default dict) }}
      remoteRef: {key: {{ dig "remote" (printf "%s/%s" $.Chart.Name $name) ($one | default dict) }}{{ with dig "property" "" ($one | default dict) }}, property: {{ . }}{{ end }}}
    {{- end }}
    {{- end }}
{{- end -}}
