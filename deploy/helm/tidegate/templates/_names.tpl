{{/* The release's name, with the chart's if that is not in it. A Service's name has at most 63 characters, and the longest ends in
`-worker-operators`; it has no dots, and begins with a letter. */}}
{{- define "tidegate.name" -}}
{{- $name := ternary .Release.Name (printf "%s-tidegate" .Release.Name) (contains "tidegate" .Release.Name) -}}
{{- $name = .Values.fullnameOverride | default $name | replace "." "-" | trunc 46 | trimSuffix "-" -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- fail (printf "the release's name begins with a digit, and so would Services (%s), which Kubernetes refuses: set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
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
