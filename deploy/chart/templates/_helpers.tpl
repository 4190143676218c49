{{- define "spegel-gossip.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "spegel-gossip.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "spegel-gossip.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "spegel-gossip.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "spegel-gossip.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "spegel-gossip.selectorLabels" -}}
app.kubernetes.io/name: {{ include "spegel-gossip.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spegel-gossip.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "spegel-gossip.labels" -}}
{{ include "spegel-gossip.selectorLabels" . }}
app.kubernetes.io/component: mirror
{{ include "spegel-gossip.commonLabels" . }}
{{- end }}

{{/* Of the pods that restore hosts.toml: not to be taken for the mirror's by a Service or a policy. */}}
{{- define "spegel-gossip.cleanupLabels" -}}
app.kubernetes.io/name: {{ include "spegel-gossip.name" . }}-cleanup
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spegel-gossip.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "spegel-gossip.serviceAccountName" -}}
{{- default (include "spegel-gossip.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "spegel-gossip.secretName" -}}
{{- default (printf "%s-key" (include "spegel-gossip.fullname" .)) .Values.cluster.key.existingSecret }}
{{- end }}

{{/* With plaintext and a key, both are understood: the stage between the two. */}}
{{- define "spegel-gossip.hasKey" -}}
{{- if or (not .Values.cluster.plaintext) .Values.cluster.key.existingSecret }}yes{{ end }}
{{- end }}

{{- define "spegel-gossip.securityContext" -}}
{{- $context := deepCopy .Values.securityContext }}
{{- with .Values.seLinuxOptions }}{{ $_ := set $context "seLinuxOptions" . }}{{ end }}
{{- toYaml $context }}
{{- end }}

{{/* The address of the peers and of the status page, and how it is written in front of a port. */}}
{{- define "spegel-gossip.address" -}}
[$(ADDRESS)]
{{- end }}

{{/* What `hosts write`, `hosts remove` and `run` must agree on. */}}
{{- define "spegel-gossip.hostsArgs" -}}
- --hosts-dir={{ .Values.spegelGossip.containerdRegistryConfigPath }}
{{- if .Values.hostNetwork }}
- --registry-listen=127.0.0.1:{{ .Values.service.registry.port }}
{{- else }}
- --registry-listen={{ include "spegel-gossip.address" . }}:{{ .Values.service.registry.port }}
- --mirror-address=127.0.0.1:{{ .Values.service.registry.port }}
{{- end }}
{{- range .Values.spegelGossip.mirroredRegistries }}
- --mirror-registry={{ . }}
{{- end }}
{{- end }}
