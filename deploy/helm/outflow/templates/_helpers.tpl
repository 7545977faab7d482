{{- define "outflow.name" -}}
{{- if eq .Release.Name .Chart.Name }}{{ .Chart.Name }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "outflow.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "outflow.labels" -}}
{{ include "outflow.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "outflow.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "outflow.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "outflow.name" .) }}
{{- end }}

{{- define "outflow.config" -}}
# Made by the chart from `config` of its values.
[admin]
listen = "127.0.0.1:9464"
{{- if not .Values.logsOnly }}
{{- with .Values.user }}

[process]
user = {{ . | quote }}
{{- end }}

[tap]
{{ tpl .Values.config.tap . | trim }}
{{- end }}
{{- range list .Values.config.logs .Values.config.sinks .Values.config.more }}
{{- with tpl . $ | trim }}

{{ . }}
{{- end }}
{{- end }}
{{- end }}
