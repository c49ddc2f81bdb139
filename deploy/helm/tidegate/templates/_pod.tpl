{{/* What the pods of gateways and workers have in common. It takes a list: the root, the pods' name, the command, the number of
the `callers` port or none. */}}

{{- define "tidegate.podMetadata" -}}
{{- $root := index . 0 -}}
labels: { app.kubernetes.io/name: {{ index . 1 }} }
annotations:
  {{- $own := dict "prometheus.io/scrape" "true" "prometheus.io/port" "9901" }}
  {{- merge (dict) $root.Values.podAnnotations $own | toYaml | nindent 2 }}
{{- end }}

{{- define "tidegate.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # Secrets and the volume belong to this group.
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "tidegate.placement" -}}
{{- $root := index . 0 -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: { app.kubernetes.io/name: {{ index . 1 }} }
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "tidegate.image" -}}
{{- with .Values.image -}}
image: "{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}"
{{- end }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{/* Where the program's commands find the admin token: kubectl exec deploy/tidegate -- tidegate keys list */}}
{{- define "tidegate.commands" -}}
- name: ADMIN_TOKEN_FILE
  value: /run/secrets/tidegate/admin-token
{{- end }}

{{/* Where it listens, whatever a configuration of one's own says: probes, Services and policies name these ports. */}}
{{- define "tidegate.listeners" -}}
- name: ADMIN_ADDR
  value: 0.0.0.0:9901
{{- end }}

{{/* Variables for Redis. The rest of the Secret is read from files. */}}
{{- define "tidegate.redis" -}}
{{- if .Values.redis.enabled -}}
- name: REDIS_URL
  valueFrom:
    secretKeyRef: { name: {{ include "tidegate.secret" . }}, key: redis-url }
# Without its own, jobs are in the same Redis: it must not evict then (docs/jobs.md).
- name: JOBS_REDIS_URL
  valueFrom:
    secretKeyRef: { name: {{ include "tidegate.secret" . }}, key: jobs-redis-url, optional: {{ not .Values.redis.jobs }} }
{{- end }}
{{- end }}

{{- define "tidegate.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Whole folders: a single file (subPath) would never change. */}}
{{- define "tidegate.mounts" -}}
- { name: config, mountPath: /etc/tidegate, readOnly: true }
- { name: secrets, mountPath: /run/secrets/tidegate, readOnly: true }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tidegate.volumes" -}}
- name: config
  configMap:
    name: {{ include "tidegate.name" . }}
- name: secrets
  secret:
    secretName: {{ include "tidegate.secret" . }}
    # 0440
    defaultMode: 288
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
