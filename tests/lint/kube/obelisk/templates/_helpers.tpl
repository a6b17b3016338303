{{- define "obelisk.fullname" -}}{{ .Release.Name }}{{- end -}}
