{{/* The pod of a component: what stands under `template:` of its workload. */}}
{{- define "ops-stack.pod" -}}
{{- $root := .root -}}
{{- $c := .c -}}
{{- $here := . -}}
{{- $gpu := $root.Values.gpu -}}
{{- $onCard := eq (include "ops-stack.on-card" .) "yes" -}}
metadata:
  labels:
    {{- include "ops-stack.selector" . | nindent 4 }}
    {{- with $c.mesh }}
    ops-pipelines.io/mesh: {{ . }}
    {{- end }}
    {{- with $c.labels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- if or $c.files $c.annotations }}
  annotations:
    {{- with $c.files }}
    checksum/files: {{ include "ops-stack.config-data" $here | sha256sum }}
    {{- end }}
    {{- with $c.annotations }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- end }}
spec:
  serviceAccountName: {{ include "ops-stack.account" . }}
  automountServiceAccountToken: {{ not (empty $c.rights) }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $c.stopWithin | default 30 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $c.priorityClass | default $root.Values.priorityClass }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if and $onCard $gpu.runtimeClass }}
  runtimeClassName: {{ $gpu.runtimeClass }}
  {{- end }}
  securityContext:
    seccompProfile: {type: RuntimeDefault}
    {{- with $c.user }}
    runAsNonRoot: true
    runAsUser: {{ .uid }}
    runAsGroup: {{ .gid | default .uid }}
    fsGroup: {{ .gid | default .uid }}
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    {{- if and $onCard $gpu.groups }}
    supplementalGroups: {{ toJson $gpu.groups }}
    {{- end }}
  {{- $selector := merge (dict) ($c.nodeSelector | default dict) (ternary ($gpu.nodeSelector | default dict) dict $onCard) }}
  {{- with $selector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $tolerations := concat ($c.tolerations | default list) (ternary ($gpu.tolerations | default list) list $onCard) }}
  {{- with $tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "ops-stack.spread" . | trim }}{{ . | nindent 2 }}{{ end }}
  {{- if and (eq $gpu.placement "claim") (not (kindIs "invalid" $c.gpu.card)) }}
  resourceClaims:
    - name: card
      resourceClaimName: {{ $root.Release.Name }}-card-{{ $c.gpu.card }}
  {{- end }}
  {{- if or $c.after $c.init $c.fetch.command }}
  initContainers:
    {{- if $c.fetch.command }}
    - name: fetch
      {{- include "ops-stack.fetch" . | nindent 6 }}
    {{- end }}
    {{- range $c.after }}
    {{- include "ops-stack.waiter" (dict "root" $root "name" .) | nindent 4 }}
    {{- end }}
    {{- with $c.init }}{{ include "ops-stack.filled" (dict "root" $root "text" (toYaml .)) | nindent 4 }}{{ end }}
  {{- end }}
  containers:
    - name: {{ .name }}
      {{- include "ops-stack.container" . | nindent 6 }}
  {{- with include "ops-stack.pod-volumes" . | trim }}{{ . | nindent 2 }}{{ end }}
{{- end -}}

{{/* Away from its like, and over the zones; `required` where two on one node would be no two. */}}
{{- define "ops-stack.spread" -}}
{{- $most := include "ops-stack.most" . | int -}}
{{- if and (gt $most 1) (ne (.c.spread.nodes | default "preferred") "any") -}}
{{- $hosts := .c.spread.nodes | default "preferred" -}}
affinity:
  podAntiAffinity:
    {{- if eq $hosts "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "ops-stack.selector" . | nindent 12 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "ops-stack.selector" . | nindent 14 }}
    {{- end }}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" (eq (.c.spread.zones | default "preferred") "required") }}
    labelSelector:
      matchLabels:
        {{- include "ops-stack.selector" . | nindent 8 }}
{{- end -}}
{{- end -}}

{{/* Waits until the Service of another component has a pod that is ready. */}}
{{- define "ops-stack.waiter" -}}
{{- $other := index .root.Values.components .name -}}
{{- $port := include "ops-stack.main-port" (dict "c" $other) -}}
- name: wait-for-{{ .name }}
  image: {{ include "ops-stack.image" (dict "root" .root "image" .root.Values.tools.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [sh, -c]
  args:
    - until nc -z -w 2 {{ include "ops-stack.fullname" . }} {{ $port }}; do echo "waiting for {{ .name }}"; sleep 2; done
  resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 32Mi}}
  securityContext: {runAsNonRoot: true, runAsUser: 65534, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{/* It alone writes where the server reads, and has the key of where it fetches. */}}
{{- define "ops-stack.fetch" -}}
{{- $root := .root -}}
{{- $c := .c -}}
image: {{ include "ops-stack.image" (dict "root" $root "image" $c.image) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: {{ toJson $c.fetch.command }}
{{- with $c.fetch.secrets }}
env:
  {{- range $variable, $key := . }}
  - name: {{ $variable }}
    valueFrom:
      secretKeyRef:
        name: {{ include "ops-stack.secret-name" (dict "root" $root "key" $key) }}
        key: {{ include "ops-stack.secret-key" (dict "root" $root "key" $key) }}
  {{- end }}
{{- end }}
resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 2, memory: {{ $c.fetch.memory | default "4Gi" }}}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
volumeMounts:
  {{- range $name, $volume := $c.volumes }}
  - {name: {{ $name }}, mountPath: {{ $volume.mount }}{{ with $volume.subPath }}, subPath: {{ . }}{{ end }}}
  {{- end }}
{{- end -}}

{{/* `http` where there is one, else the first by name. */}}
{{- define "ops-stack.main-port" -}}
{{- $ports := .c.ports | default dict -}}
{{- if hasKey $ports "http" }}{{ $ports.http | int }}{{ else }}{{ range (keys $ports | sortAlpha | first | list) }}{{ index $ports . | int }}{{ end }}{{ end -}}
{{- end -}}

{{- define "ops-stack.container" -}}
{{- $root := .root -}}
{{- $c := .c -}}
{{- $gpu := $root.Values.gpu -}}
image: {{ include "ops-stack.image" (dict "root" $root "image" $c.image) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- with $c.command }}
command:
  {{- range . }}
  - {{ include "ops-stack.filled" (dict "root" $root "text" .) | quote }}
  {{- end }}
{{- end }}
{{- with $c.args }}
args:
  {{- range . }}
  - {{ include "ops-stack.filled" (dict "root" $root "text" .) | replace "{share}" ($c.gpu.share | default "" | toString) | quote }}
  {{- end }}
{{- end }}
{{- with include "ops-stack.environment" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with $c.ports }}
ports:
  {{- range $port, $number := . }}
  - {name: {{ $port }}, containerPort: {{ $number | int }}}
  {{- end }}
{{- end }}
{{- include "ops-stack.probes" . }}
{{- with include "ops-stack.resources" . }}
resources:
  {{- . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  {{- if $c.user }}
  readOnlyRootFilesystem: {{ not $c.writableRoot }}
  {{- end }}
  capabilities:
    drop: [ALL]
    {{- with $c.capabilities }}
    add: {{ toJson . }}
    {{- end }}
{{- if and $c.ports (not $c.service.none) }}
lifecycle:
  # Until all have heard that it goes, some still send requests to it.
  preStop: {sleep: {seconds: {{ $c.drain | default 5 }}}}
{{- end }}
{{- with include "ops-stack.mounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Secrets first: a value after them may name them as $(NAME). */}}
{{- define "ops-stack.environment" -}}
{{- $root := .root -}}
{{- range $variable, $key := .c.secrets }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "ops-stack.secret-name" (dict "root" $root "key" $key) }}
      key: {{ include "ops-stack.secret-key" (dict "root" $root "key" $key) }}
{{- end }}
{{- if and (eq $root.Values.gpu.placement "device") (not (kindIs "invalid" .c.gpu.card)) }}
- {name: NVIDIA_VISIBLE_DEVICES, value: {{ .c.gpu.card | toString | quote }}}
- {name: NVIDIA_DRIVER_CAPABILITIES, value: "compute,utility"}
{{- end }}
{{- range $variable, $value := .c.env }}
{{- if not (kindIs "invalid" $value) }}
- {name: {{ $variable }}, value: {{ include "ops-stack.filled" (dict "root" $root "text" $value) | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* A slow start is waited for; once it has started, it is taken out of the Service when it is not ready, and started
     again when it has been silent for a minute. */}}
{{- define "ops-stack.probes" -}}
{{- $health := .c.health -}}
{{- $port := $health.port | default (ternary "http" (keys .c.ports | sortAlpha | first) (hasKey .c.ports "http")) -}}
{{- if or .c.ports $health.command -}}
{{- $how := dict -}}
{{- if $health.command }}{{ $_ := set $how "exec" (dict "command" $health.command) }}
{{- else if $health.path }}{{ $_ := set $how "httpGet" (dict "path" $health.path "port" $port) }}
{{- else }}{{ $_ := set $how "tcpSocket" (dict "port" $port) }}{{ end -}}
{{- $every := $health.every | default 10 | int -}}
{{- $timeout := $health.timeout | default 5 | int -}}
{{- $within := $health.within | default 60 | int }}
startupProbe:
  {{- toYaml $how | nindent 2 }}
  periodSeconds: {{ ternary 2 5 (lt $within 61) }}
  timeoutSeconds: {{ $timeout }}
  failureThreshold: {{ div (add $within 4) (ternary 2 5 (lt $within 61)) | max 1 }}
readinessProbe:
  {{- toYaml $how | nindent 2 }}
  periodSeconds: {{ $every }}
  timeoutSeconds: {{ $timeout }}
  failureThreshold: 3
{{- if not $health.neverKill }}
livenessProbe:
  {{- toYaml $how | nindent 2 }}
  periodSeconds: {{ max 20 $every }}
  timeoutSeconds: {{ max 10 $timeout }}
  failureThreshold: 3
{{- end }}
{{- end }}
{{- end -}}

{{- define "ops-stack.resources" -}}
{{- $c := .c -}}
{{- $gpu := .root.Values.gpu -}}
{{- $limits := deepCopy ($c.resources.limits | default dict) -}}
{{- $requests := deepCopy ($c.resources.requests | default dict) -}}
{{- $card := "" -}}
{{- if $c.gpu.resource }}{{ $card = $c.gpu.resource }}
{{- else if $c.gpu.count }}{{ $card = $gpu.resource | default (get (dict "nvidia" "nvidia.com/gpu" "amd" "amd.com/gpu" "intel" "gpu.intel.com/i915") $gpu.vendor) }}{{ end -}}
{{- if and $card (ne $gpu.placement "claim") }}
{{- $_ := set $limits $card ($c.gpu.count | default 1 | toString) -}}
{{- $_ := set $requests $card ($c.gpu.count | default 1 | toString) -}}
{{- end -}}
{{- if and (eq $gpu.placement "device") $gpu.counted (not (kindIs "invalid" $c.gpu.card)) }}
{{- $name := printf "ops-pipelines.io/card-%v-gb" $c.gpu.card -}}
{{- $_ := set $limits $name (include "ops-stack.card-memory" .) -}}
{{- $_ := set $requests $name (include "ops-stack.card-memory" .) -}}
{{- end -}}
{{- $all := dict -}}
{{- if $requests }}{{ $_ := set $all "requests" $requests }}{{ end -}}
{{- if $limits }}{{ $_ := set $all "limits" $limits }}{{ end -}}
{{- if and (eq $gpu.placement "claim") (not (kindIs "invalid" $c.gpu.card)) }}{{ $_ := set $all "claims" (list (dict "name" "card")) }}{{ end -}}
{{- if $all }}{{ toYaml $all }}{{ end -}}
{{- end -}}

{{- define "ops-stack.mounts" -}}
{{- range $name, $volume := .c.volumes }}
- {name: {{ $name }}, mountPath: {{ $volume.mount }}{{ with $volume.subPath }}, subPath: {{ . }}{{ end }}{{ if $volume.readOnly }}, readOnly: true{{ end }}}
{{- end }}
{{- range $path, $_ := .c.scratch }}
- {name: {{ include "ops-stack.scratch-name" $path }}, mountPath: {{ $path }}}
{{- end }}
{{- range $path, $_ := .c.files }}
- {name: files, mountPath: {{ $path }}, subPath: {{ include "ops-stack.file-key" $path }}, readOnly: true}
{{- end }}
{{- if .c.secretFiles }}
- {name: secrets, mountPath: /run/secrets, readOnly: true}
{{- end }}
{{- end -}}

{{- define "ops-stack.scratch-name" -}}
scratch{{ . | lower | replace "/" "-" | replace "." "-" | replace "_" "-" }}
{{- end -}}

{{- define "ops-stack.file-key" -}}
{{ . | trimPrefix "/" | replace "/" "." }}
{{- end -}}

{{- define "ops-stack.pod-volumes" -}}
{{- $root := .root -}}
{{- $c := .c -}}
{{- $here := . -}}
{{- $own := dict -}}
{{- range $name, $volume := $c.volumes -}}
{{- if or $volume.claim $volume.existingClaim (ne $c.kind "StatefulSet") }}{{ $_ := set $own $name $volume }}{{ end -}}
{{- end -}}
{{- if or $own $c.scratch $c.files $c.secretFiles }}
volumes:
  {{- range $name, $volume := $own }}
  - name: {{ $name }}
    persistentVolumeClaim:
      claimName: {{ include "ops-stack.claim-name" (dict "here" $here "name" $name "volume" $volume) }}
      {{- if and $volume.readOnly (not $c.fetch.command) }}
      readOnly: true
      {{- end }}
  {{- end }}
  {{- range $path, $scratch := $c.scratch }}
  - name: {{ include "ops-stack.scratch-name" $path }}
    emptyDir: {{ if $scratch.memory }}{medium: Memory, sizeLimit: {{ $scratch.size }}}{{ else }}{sizeLimit: {{ $scratch.size }}}{{ end }}
  {{- end }}
  {{- if $c.files }}
  - name: files
    configMap: {name: {{ include "ops-stack.workload-name" $here }}}
  {{- end }}
  {{- if $c.secretFiles }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- range $c.secretFiles }}
        - secret:
            name: {{ include "ops-stack.secret-name" (dict "root" $root "key" .) }}
            items: [{key: {{ include "ops-stack.secret-key" (dict "root" $root "key" .) }}, path: {{ . }}}]
        {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "ops-stack.claim-name" -}}
{{- if .volume.existingClaim }}{{ .volume.existingClaim }}
{{- else if .volume.claim }}
{{- $claim := index .here.root.Values.claims .volume.claim -}}
{{ $claim.existingClaim | default (printf "%s-%s" .here.root.Release.Name .volume.claim) }}
{{- else }}{{ include "ops-stack.fullname" .here }}-{{ .name }}{{ end -}}
{{- end -}}

{{- define "ops-stack.config-data" -}}
{{- $root := .root -}}
{{- range $path, $file := .c.files }}
{{ include "ops-stack.file-key" $path }}: |
  {{- if $file.from }}
  {{- include "ops-stack.file" (dict "root" $root "path" $file.from) | nindent 2 }}
  {{- else if $file.template }}
  {{- include "ops-stack.filled" (dict "root" $root "text" (include $file.template $root)) | nindent 2 }}
  {{- else }}
  {{- include "ops-stack.filled" (dict "root" $root "text" $file.text) | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* One account without any right for all, but for a component that asks for rights. */}}
{{- define "ops-stack.account" -}}
{{ if .c.rights }}{{ include "ops-stack.fullname" . }}{{ else }}{{ .root.Release.Name }}{{ end }}
{{- end -}}
