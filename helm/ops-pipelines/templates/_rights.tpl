{{/* What the account of the code location may do: in each namespace that it operates, what the stacks' targets need there. */}}
{{- define "ops-pipelines.rights" -}}
{{- $root := . -}}
{{- $rights := .Files.Get "files/rights.yaml" | fromYaml -}}
{{- $account := printf "%s-code" .Release.Name -}}
{{- range $namespace := .Values.operates }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $root.Release.Name }}-operator
  namespace: {{ $namespace }}
  labels:
    {{- include "ops-stack.release-labels" $root | nindent 4 }}
rules:
  {{- toYaml $rights.namespace | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $root.Release.Name }}-operator
  namespace: {{ $namespace }}
  labels:
    {{- include "ops-stack.release-labels" $root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $root.Release.Name }}-operator}
subjects: [{kind: ServiceAccount, name: {{ $account }}, namespace: {{ $root.Release.Namespace }}}]
{{- end }}
---
# Nodes, classes and definitions belong to no namespace; they are only read.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .Release.Namespace }}-{{ .Release.Name }}-operator
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
rules:
  {{- toYaml $rights.cluster | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .Release.Namespace }}-{{ .Release.Name }}-operator
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ .Release.Namespace }}-{{ .Release.Name }}-operator}
subjects: [{kind: ServiceAccount, name: {{ $account }}, namespace: {{ .Release.Namespace }}}]
{{- end -}}

{{- define "ops-pipelines.validate" -}}
{{- if and .Values.ingress.enabled (not (regexMatch "auth" (.Values.ingress.annotations | toJson))) -}}
{{- fail "\n\nops-pipelines cannot be installed like this:\n\n- ingress.enabled, and no annotation of it asks for a login: the pages have none of their own, and who reaches them can remove stacks; set ingress.annotations for your controller (nginx.ingress.kubernetes.io/auth-url)\n" -}}
{{- end -}}
{{- end -}}

{{- define "ops-pipelines.workspace" -}}
load_from:
  - grpc_server:
      host: {host.code}
      port: 4000
      location_name: ops_pipelines
{{- end -}}
