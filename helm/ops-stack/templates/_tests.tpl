{{/* `helm test`: each component answers at its Service. */}}
{{- define "ops-stack.test" -}}
{{- $root := . -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-test
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
    app.kubernetes.io/component: test
    ops-pipelines.io/operator: "true" # network policies let it in
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  restartPolicy: Never
  activeDeadlineSeconds: {{ .Values.tools.testWithin }}
  serviceAccountName: {{ .Release.Name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: test
      image: {{ include "ops-stack.image" (dict "root" . "image" .Values.tools.image) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [sh, -c]
      args:
        - |
          failed=0
          ask() {
            for _ in 1 2 3 4 5 6; do
              if "$@" >/dev/null 2>&1; then return 0; fi
              sleep 5
            done
            return 1
          }
          {{- range $name, $c := include "ops-stack.components" . | fromJson }}
          {{- if and $c.ports (not $c.service.none) }}
          {{- $host := include "ops-stack.fullname" (dict "root" $root "name" $name) }}
          {{- if and $c.health.path (not $c.health.command) }}
          {{- $port := index $c.ports ($c.health.port | default (ternary "http" (keys $c.ports | sortAlpha | first) (hasKey $c.ports "http"))) | int }}
          if ask wget -q -T 10 -O /dev/null "http://{{ $host }}:{{ $port }}{{ $c.health.path }}"; then echo "{{ $name }} answers"; else echo "{{ $name }} does not answer at http://{{ $host }}:{{ $port }}{{ $c.health.path }}"; failed=1; fi
          {{- else }}
          {{- $port := include "ops-stack.main-port" (dict "c" $c) }}
          if ask nc -z -w 5 {{ $host }} {{ $port }}; then echo "{{ $name }} answers"; else echo "{{ $name }} does not answer at {{ $host }}:{{ $port }}"; failed=1; fi
          {{- end }}
          {{- end }}
          {{- end }}
          exit $failed
      resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{- define "ops-stack.notes" -}}
{{- $root := . -}}
{{ .Chart.Name }} is release {{ .Release.Name }} in namespace {{ .Release.Namespace }}.
{{ range $name, $c := include "ops-stack.components" . | fromJson }}
{{- $here := dict "root" $root "name" $name "c" $c }}
  {{ printf "%-20s" $name }} {{ include "ops-stack.image" (dict "root" $root "image" $c.image) }}{{ if and $c.ports (not $c.service.none) }}, http://{{ include "ops-stack.fullname" $here }}.{{ $root.Release.Namespace }}:{{ include "ops-stack.main-port" (dict "c" $c) }}{{ end }}
{{- with $c.scaling.by }}{{ if ne . "none" }}, {{ $c.scaling.minimum }} to {{ $c.scaling.maximum }} by {{ . }}{{ end }}{{ end }}
{{- end }}
{{ if .Values.secrets.keys }}
Its secrets are in the Secret {{ .Values.secrets.existingSecret }}: {{ keys .Values.secrets.keys | sortAlpha | join ", " }}.
{{- if not .Values.secrets.external.enabled }} Pods wait until it is there.{{ end }}
{{- end }}
Volumes outlive the release. See whether it answers:

  helm test {{ .Release.Name }} --namespace {{ .Release.Namespace }}
{{- end -}}
