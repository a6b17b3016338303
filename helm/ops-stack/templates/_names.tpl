{{/* Names and labels. Helpers about one component take (dict "root" $ "name" NAME "c" COMPONENT). */}}

{{- define "ops-stack.fullname" -}}
{{ printf "%s-%s" .root.Release.Name .name | trunc 52 | trimSuffix "-" }}
{{- end -}}

{{/* With colors, the workload of each color has a name of its own; the Service keeps its name. */}}
{{- define "ops-stack.workload-name" -}}
{{ include "ops-stack.fullname" . }}{{ with .c.color }}-{{ . }}{{ end }}
{{- end -}}

{{- define "ops-stack.selector" -}}
{{- if not (include "ops-stack.by-operator" .) -}}{{/* the operator gives its pods a name of its own */}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
{{ end -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- with .c.color }}
ops-pipelines.io/color: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of every object. They are not on pods: a new version of the chart alone restarts nothing. */}}
{{- define "ops-stack.release-labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | default .Chart.Version | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
{{- end -}}

{{- define "ops-stack.labels" -}}
{{ include "ops-stack.release-labels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* What a component is where its values say nothing. All of it is falsy, as mergeOverwrite takes no falsy value over. */}}
{{- define "ops-stack.defaults" -}}
kind: Deployment
image: {}
env: {}
secrets: {}
secretFiles: []
ports: {}
service: {}
files: {}
volumes: {}
scratch: {}
health: {}
fetch: {}
resources: {}
gpu: {}
ray: {}
user: {}
connects: []
after: []
scaling: {}
spread: {}
metrics: {}
rights: []
disruption: {}
{{- end -}}

{{/* The components that are switched on, as JSON: {name: component}. */}}
{{- define "ops-stack.components" -}}
{{- $found := dict -}}
{{- range $name, $own := .Values.components -}}
{{- if and $own (ne (toString (dig "enabled" true $own)) "false") -}}
{{- $_ := set $found $name (mergeOverwrite (include "ops-stack.defaults" $ | fromYaml) (deepCopy $own)) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "ops-stack.image" -}}
{{- $image := .image -}}
{{- $path := ternary (printf "%s/%s" .root.Values.image.registry $image.repository) $image.repository (ne .root.Values.image.registry "") -}}
{{ $path }}{{ with $image.tag }}:{{ . }}{{ end }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* A text in which {host.NAME} is the Service of a component, and {release} the release. */}}
{{- define "ops-stack.filled" -}}
{{- $text := .text | toString | replace "{release}" .root.Release.Name | replace "{namespace}" .root.Release.Namespace -}}
{{- range $name, $_ := .root.Values.components -}}
{{- $text = $text | replace (printf "{host.%s}" $name) (include "ops-stack.fullname" (dict "root" $.root "name" $name)) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* A file of the chart, in which `//NAME:` of a Compose file's neighbour is the Service of that component. */}}
{{- define "ops-stack.file" -}}
{{- $text := .root.Files.Get .path -}}
{{- if not $text }}{{ fail (printf "\n\n%s is not in the chart %s" .path .root.Chart.Name) }}{{ end -}}
{{- range $name, $_ := .root.Values.components -}}
{{- $host := include "ops-stack.fullname" (dict "root" $.root "name" $name) -}}
{{- $text = $text | replace (printf "//%s:" $name) (printf "//%s:" $host) -}}
{{- end -}}
{{- include "ops-stack.filled" (dict "root" .root "text" $text) -}}
{{- end -}}

{{/* Name of the Secret that holds a secret of the stack. */}}
{{- define "ops-stack.secret-name" -}}
{{- $own := dig .key dict .root.Values.secrets.keys -}}
{{ $own.existingSecret | default .root.Values.secrets.existingSecret }}
{{- end -}}

{{- define "ops-stack.secret-key" -}}
{{- $own := dig .key dict .root.Values.secrets.keys -}}
{{ $own.key | default .key }}
{{- end -}}

{{/* Replicas that there may be at most. */}}
{{- define "ops-stack.most" -}}
{{- if eq (.c.scaling.by | default "none") "none" -}}
{{ ternary .c.replicas 1 (not (kindIs "invalid" .c.replicas)) | int }}
{{- else -}}
{{ .c.scaling.maximum | default 1 | int }}
{{- end -}}
{{- end -}}

{{/* GB of its card that one replica takes, rounded up. */}}
{{- define "ops-stack.card-memory" -}}
{{- $sizes := .root.Values.gpu.cardsGB | default list -}}
{{- if .c.gpu.memoryGB }}{{ .c.gpu.memoryGB | int }}
{{- else if and .c.gpu.share (lt (.c.gpu.card | int) (len $sizes)) }}{{ mulf .c.gpu.share (index $sizes (.c.gpu.card | int)) | ceil | int }}
{{- else }}0{{ end -}}
{{- end -}}

{{/* Seconds until it has started, with what it fetches and waits for. */}}
{{- define "ops-stack.patience" -}}
{{- $longest := 0 -}}
{{- range .c.after -}}
{{- $other := index $.root.Values.components . | default dict -}}
{{- $longest = max $longest (include "ops-stack.patience" (dict "root" $.root "c" (mergeOverwrite (include "ops-stack.defaults" $ | fromYaml) (deepCopy $other))) | int) -}}
{{- end -}}
{{ add (.c.health.within | default 60) (ternary (.c.fetch.within | default 3600) 0 (not (empty .c.fetch.command))) $longest }}
{{- end -}}

{{/* Whether KubeRay's operator makes its pods. */}}
{{- define "ops-stack.by-operator" -}}
{{- if and .c.ray.role .root.Values.ray.operator }}yes{{ end -}}
{{- end -}}

{{- define "ops-stack.on-card" -}}
{{- if or .c.gpu.count (not (kindIs "invalid" .c.gpu.card)) .c.gpu.resource }}yes{{ end -}}
{{- end -}}
