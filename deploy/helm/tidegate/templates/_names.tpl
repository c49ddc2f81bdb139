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

{{/* Labels of the namespaces that may connect to the admin listener. */}}
{{- define "tidegate.operators" -}}
{{- .Values.networkPolicy.operators | default (dict "kubernetes.io/metadata.name" "monitoring") | toYaml -}}
{{- end }}

{{/* The configuration. Without the admin token nobody could operate the gateway. */}}
{{- define "tidegate.config" -}}
{{- $config := .Values.config | default (.Files.Get "gateway.toml") -}}
{{- $has_token := regexMatch "(?m)^[^#\\n]*\\badmin_token_(file|env)\\b" $config -}}
{{- range .Values.env -}}
{{- if eq .name "ADMIN_TOKEN" }}{{ $has_token = true }}{{ end -}}
{{- end -}}
{{- if not $has_token -}}
{{- fail "config names no admin token: add to [auth]: admin_token_file = \"/run/secrets/tidegate/admin-token\"" -}}
{{- end -}}
{{- $config -}}
{{- if and (not .Values.config) (not .Values.redis.enabled) }}
# Without Redis flags are in the volume.
[flags]
state_file = "/data/flags.json"
{{ end -}}
{{- end }}
