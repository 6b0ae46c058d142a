{{/* Names are cut to 53 characters, so that suffixes fit into a label. */}}
{{- define "cassandra-backup.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "cassandra-backup.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "cassandra-backup.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cassandra-backup.selector" -}}
app.kubernetes.io/name: {{ include "cassandra-backup.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cassandra-backup.base" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "cassandra-backup.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Labels and annotations of an object: those of all, and with `root` those of this one. What a selector goes by
stays. */}}
{{- define "cassandra-backup.metadata" -}}
{{- $root := .root | default . -}}
{{- $own := ternary . (dict) (hasKey . "root") -}}
{{- $base := include "cassandra-backup.base" $root | fromYaml -}}
labels:
  {{- merge (dict) $base ($own.labels | default dict) ($root.Values.commonLabels | default dict) | toYaml | nindent 2 }}
{{- with merge (dict) ($own.annotations | default dict) ($root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "cassandra-backup.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "cassandra-backup.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cassandra-backup.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do, where it watches. */}}
{{- define "cassandra-backup.rules" -}}
- apiGroups: [cassandrabackup.io]
  resources: [backupstorages, cassandrabackups, cassandrarestores, cronbackups]
  verbs: [get, list, watch]
- apiGroups: [cassandrabackup.io]
  resources: [backupstorages/status, cassandrabackups/status, cassandrarestores/status, cronbackups/status]
  verbs: [patch]
# The backups of a CronBackup: made, cancelled for another one, and deleted beyond their limits. And
# the finalizer of backups that take their data with them.
- apiGroups: [cassandrabackup.io]
  resources: [cassandrabackups]
  verbs: [create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
{{- if .Values.maintenancePods }}
# The pods in which storages with a maintenancePod are looked after.
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete]
{{- end }}
{{- if .Values.rehearsals }}
# The proof of backups: a pod by a PodTemplate that somebody has made, and the restore into it.
- apiGroups: [""]
  resources: [podtemplates]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete]
- apiGroups: [cassandrabackup.io]
  resources: [cassandrarestores]
  verbs: [create, delete]
{{- end }}
# To run the agent in the Cassandra pods. Exec over WebSocket is a GET; newer API servers want
# create as well.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
# Credentials and certificates that the resources name.
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.secretNames }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# One at work on a cluster at a time.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
