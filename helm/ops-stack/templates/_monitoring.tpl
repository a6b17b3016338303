{{- define "ops-stack.service-monitor" -}}
{{- $metrics := .c.metrics -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "ops-stack.workload-name" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
    {{- with .root.Values.monitoring.labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/instance: {{ .root.Release.Name }}
      app.kubernetes.io/component: {{ .name }}
    # A StatefulSet's second Service has the same labels, and would be read twice.
    matchExpressions: [{key: ops-pipelines.io/headless, operator: DoesNotExist}]
  endpoints:
    - port: {{ $metrics.port }}
      path: {{ $metrics.path | default "/metrics" }}
      interval: {{ $metrics.interval | default "15s" }}
      {{- with $metrics.job }}
      relabelings: # alerts and dashboards of the Compose form ask by these
        - {targetLabel: job, replacement: {{ . }}}
        - {targetLabel: server, replacement: {{ $.name }}}
      {{- end }}
{{- end -}}

{{/* Alerts of the Compose form that hold here too, by name, and those of the chart's own. */}}
{{- define "ops-stack.rules" -}}
{{- $rules := .Values.monitoring.rules -}}
{{- $all := list -}}
{{- if $rules.from -}}
{{- range (.Files.Get $rules.from | fromYaml).groups -}}
{{- range .rules -}}
{{- if has (.alert | default .record) $rules.alerts }}{{ $all = append $all . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if lt (len $all) (len $rules.alerts) }}{{ fail (printf "\n\nmonitoring.rules.alerts: not all of them are in %s" $rules.from) }}{{ end -}}
{{- end -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ .Release.Name }}
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
    {{- with .Values.monitoring.labels }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  groups:
    - name: {{ .Release.Name }}
      rules:
        {{- with concat $all ($rules.own | default list) }}
        {{- include "ops-stack.filled" (dict "root" $ "text" (toYaml .)) | nindent 8 }}
        {{- end }}
{{- end -}}

{{/* Grafana's sidecar takes a ConfigMap with this label. */}}
{{- define "ops-stack.dashboards" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-dashboards
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
    grafana_dashboard: "1"
data:
  {{- range $path, $bytes := .Files.Glob "files/dashboards/*.json" }}
  {{ base $path }}: {{ toString $bytes | quote }}
  {{- end }}
{{- end -}}
