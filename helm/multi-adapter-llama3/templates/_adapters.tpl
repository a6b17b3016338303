{{/* Each of `adapters` is a component like the one that `like` names, with what it says itself. */}}
{{- define "multi-adapter.grown" -}}
{{- $values := .Values -}}
{{- range $name, $own := $values.adapters -}}
{{- if not (hasKey $values.components $name) -}}
{{- $one := deepCopy (index $values.components $values.like) -}}
{{- range $key, $value := omit (default dict $own) "env" }}{{ $_ := set $one.gpu $key $value }}{{ end -}}
{{- $_ := set $one "replicas" 1 -}}
{{- $_ := set $one "description" (printf "Adapter %s, like %s." $name $values.like) -}}
{{- $_ := set $one "env" (merge (dig "env" dict (default dict $own)) $one.env) -}}
{{- $_ := set $values.components $name $one -}}
{{- $_ := set (index $values.components "router") "connects" (append (index $values.components "router" "connects") $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* HAProxy by path: a client stays at one replica (its prompt is in that replica's cache) while that one is well. */}}
{{- define "multi-adapter.router" -}}
global
    log stdout format raw local0 info
    maxconn 1000

defaults
    mode http
    log global
    option httplog
    option dontlognull
    option redispatch
    option httpchk GET /api/tags
    retries 2
    timeout connect 5s
    timeout client 60s
    timeout server 600s
    timeout http-request 30s
    timeout queue 60s
    default-server check inter 5s fall 3 rise 2 init-addr none resolvers cluster

resolvers cluster
    parse-resolv-conf
    resolve_retries 3
    hold valid 5s
    accepted_payload_size 8192

frontend paths
    bind :8080
    # The first word of the path names the backend.
    use_backend %[path,field(2,/)]
    default_backend unknown

backend unknown
    http-request return status 404 content-type text/plain string "no such adapter: the first word of the path is its name\n"
{{ range $name, $c := .Values.components }}
{{- if and (ne $name "router") (ne (toString (dig "enabled" true $c)) "false") }}
backend {{ $name }}
    balance source
    hash-type consistent
    http-request replace-path /{{ $name }}(/(.*))? /\2
    server-template {{ $name }} 5 {host.{{ $name }}}-pods.{namespace}.svc.{{ $.Values.clusterDomain }}:{{ $c.ports.http }}
{{ end }}
{{- end }}
frontend stats
    bind :8404
    http-request use-service prometheus-exporter if { path /metrics }
    monitor-uri /ready
{{- end -}}
