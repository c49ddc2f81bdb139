{{/* The release's name, with the chart's if that is not in it. */}}
{{- define "tidegate.name" -}}
{{- $name := ternary .Release.Name (printf "%s-tidegate" .Release.Name) (contains "tidegate" .Release.Name) -}}
{{- .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "tidegate.secret" -}}
{{- .Values.secret.name | default (include "tidegate.name" .) -}}
{{- end }}

{{/* Not empty where there are workers. */}}
{{- define "tidegate.workers" -}}
{{- if and .Values.redis.enabled .Values.workers.enabled }}yes{{ end -}}
{{- end }}

{{/* The configuration. Without the admin token nobody could operate the gateway. */}}
{{- define "tidegate.config" -}}
{{- $config := .Values.config | default (.Files.Get "gateway.toml") -}}
{{- if not (regexMatch "(?m)^\\s*admin_token_(file|env)\\s*=" $config) -}}
{{- fail "config names no admin token: add to [auth]: admin_token_file = \"/run/secrets/tidegate/admin-token\"" -}}
{{- end -}}
{{- $config -}}
{{- end }}
