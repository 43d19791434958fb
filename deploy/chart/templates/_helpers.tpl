{{/* The chart's name. */}}
{{- define "supercargo.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/*
The name of all objects: the release's, with the chart's where it does not hold it. Those of Services begin with a letter and
hold no dot. What is hung on it has at most 15 characters, and a name at most 63.
*/}}
{{- define "supercargo.fullname" -}}
{{- $name := include "supercargo.name" . -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $full := printf "%s-%s" $release $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name $release -}}
{{- $full = $release -}}
{{- end -}}
{{- if regexMatch "^[0-9]" $full -}}
{{- $full = printf "%s-%s" $name $release -}}
{{- end -}}
{{- regexReplaceAll "-+$" (trunc 48 $full) "" -}}
{{- end -}}

{{/* What selects the pod. */}}
{{- define "supercargo.selectorLabels" -}}
app.kubernetes.io/name: {{ include "supercargo.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The labels of the release, without those that select the pod. */}}
{{- define "supercargo.releaseLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The recommended labels. */}}
{{- define "supercargo.labels" -}}
{{ include "supercargo.selectorLabels" . }}
{{ include "supercargo.releaseLabels" . }}
{{- end -}}

{{- define "supercargo.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "supercargo.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "supercargo.image" -}}
{{- $tag := .Values.image.tag -}}
{{- if not (or $tag .Values.image.digest) -}}{{- $tag = .Chart.AppVersion -}}{{- end -}}
{{- .Values.image.repository -}}
{{- with $tag -}}:{{ . }}{{- end -}}
{{- with .Values.image.digest -}}@{{ . }}{{- end -}}
{{- end -}}

{{/* The flags: the operator's, and those with which `helm test` checks them. */}}
{{- define "supercargo.args" -}}
- run
- --config=/etc/supercargo/config.yaml
- --log-format=json
{{- if .Values.policies }}
- --policies=/etc/supercargo-policies
{{- end }}
{{- if .Values.git.enabled }}
- --git-cache=/var/cache/supercargo
{{- end }}
{{- if eq .Values.scope "namespace" }}
- --namespace=$(NAMESPACE)
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "supercargo.env" -}}
# The secrets of webhooks, one a key of the Secret; a sender without one is off (404).
{{- $secret := default (printf "%s-hooks" (include "supercargo.fullname" .)) .Values.hooks.secretName }}
{{- range list "acr" "distribution" "dockerhub" "generic" "gitea" "github" "harbor" "quay" }}
- name: SUPERCARGO_HOOK_SECRET_{{ upper . }}
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ . }}, optional: true}}
{{- end }}
{{- if eq .Values.scope "namespace" }}
- name: NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "supercargo.volumeMounts" -}}
- {name: config, mountPath: /etc/supercargo, readOnly: true}
{{- if .Values.policies }}
- {name: policies, mountPath: /etc/supercargo-policies, readOnly: true}
{{- end }}
{{- if .Values.git.enabled }}
- {name: git-cache, mountPath: /var/cache/supercargo}
{{- end }}
{{- if .Values.git.secretName }}
- {name: git, mountPath: /run/secrets/git, readOnly: true}
{{- end }}
{{- if .Values.slack.secretName }}
- {name: slack, mountPath: /run/secrets/slack, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "supercargo.volumes" -}}
- name: config
  configMap: {name: {{ include "supercargo.fullname" . | quote }}}
{{- if .Values.policies }}
- name: policies
  configMap: {name: {{ include "supercargo.fullname" . }}-policies}
{{- end }}
{{- if .Values.git.enabled }}
- name: git-cache
  emptyDir: {sizeLimit: {{ .Values.git.cacheSize }}}
{{- end }}
{{- with .Values.git.secretName }}
- name: git
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with .Values.slack.secretName }}
- name: slack
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "supercargo.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "supercargo.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* On which Nodes: the operator, and the test of a release, which shows it by that too. */}}
{{- define "supercargo.placement" -}}
{{- $placement := dict -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" -}}
{{- with index $.Values $key -}}{{- $_ := set $placement $key . -}}{{- end -}}
{{- end -}}
{{- with $placement -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/* The subject of each binding. */}}
{{- define "supercargo.subjects" -}}
- kind: ServiceAccount
  name: {{ include "supercargo.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}
