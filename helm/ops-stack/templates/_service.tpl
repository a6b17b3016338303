{{/* The door of a component, and for a StatefulSet the names of its pods. */}}
{{- define "ops-stack.service" -}}
{{- $service := .c.service -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "ops-stack.fullname" . }}
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
  {{- with $service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $service.type | default "ClusterIP" }}
  selector:
    {{- include "ops-stack.selector" . | nindent 4 }}
  {{- if $service.affinity }}
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: {{ $service.affinity }}}}
  {{- end }}
  {{- with $service.sources }}
  loadBalancerSourceRanges: {{ toJson . }}
  {{- end }}
  ports:
    {{- include "ops-stack.service-ports" . | trim | nindent 4 }}
{{- end -}}

{{- define "ops-stack.service-ports" -}}
{{- range $port, $number := .c.ports }}
- {name: {{ $port }}, port: {{ $number | int }}, targetPort: {{ $port }}}
{{- end }}
{{- end -}}

{{- define "ops-stack.headless" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "ops-stack.fullname" . }}-pods
  labels:
    {{- include "ops-stack.labels" . | nindent 4 }}
    ops-pipelines.io/headless: "true"
spec:
  clusterIP: None
  publishNotReadyAddresses: true # a pod finds its neighbours before it is ready
  selector:
    {{- include "ops-stack.selector" . | nindent 4 }}
  {{- with .c.ports }}
  ports:
    {{- include "ops-stack.service-ports" $ | trim | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "ops-stack.ingress" -}}
{{- $ingress := .Values.ingress -}}
{{- $c := index .Values.components $ingress.component -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .Release.Name }}
  labels:
    {{- include "ops-stack.release-labels" . | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- if $ingress.tlsSecret }}
  tls:
    - secretName: {{ $ingress.tlsSecret }}
      hosts: {{ toJson $ingress.hosts }}
  {{- end }}
  rules:
    {{- range $host := $ingress.hosts }}
    - host: {{ $host }}
      http:
        paths:
          - path: {{ $ingress.path | default "/" }}
            pathType: Prefix
            backend:
              service:
                name: {{ include "ops-stack.fullname" (dict "root" $ "name" $ingress.component) }}
                port: {name: {{ $ingress.port | default "http" }}}
    {{- end }}
{{- end -}}
