{{/*
The name that all objects begin with. A StatefulSet puts its name with a hash of 10 characters into a label,
which takes 63: with "-shard" and "-<hash>" 46 are left. What is longer is cut, and told apart by a checksum.
*/}}
{{- define "roomring.fullname" -}}
{{- $name := "" -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- end -}}
{{- $name = $name | replace "." "-" -}}
{{- if gt (len $name) 45 -}}
{{- $name = printf "%s-%s" ($name | trunc 36 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "roomring.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What every pod of the release has and keeps: selectors cannot be changed later. */}}
{{- define "roomring.selector" -}}
app.kubernetes.io/name: {{ include "roomring.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "roomring.labels" -}}
{{ include "roomring.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "roomring.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "roomring.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "roomring.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* The Secret with cluster-key, admin-token and admin-read-token. */}}
{{- define "roomring.secretName" -}}
{{ .Values.secrets.existingSecret | default (include "roomring.fullname" .) }}
{{- end -}}

{{- define "roomring.linkSecretName" -}}
{{ .Values.linkTLS.existingSecret | default (printf "%s-link" (include "roomring.fullname" .)) }}
{{- end -}}

{{- define "roomring.linkTLS" -}}
{{- if or .Values.linkTLS.existingSecret .Values.linkTLS.certManager.enabled }}true{{ end -}}
{{- end -}}

{{- define "roomring.clientTLS" -}}
{{- if .Values.router.tls.existingSecret }}true{{ end -}}
{{- end -}}

{{/* Under what name Prometheus knows the nodes of this release: the alerts take a job for a cluster. */}}
{{- define "roomring.job" -}}
{{ printf "roomring/%s/%s" .Release.Namespace (include "roomring.fullname" .) }}
{{- end -}}

{{/* What shards and routers are told alike. [$(POD_IP)] is right for IPv4 and IPv6. */}}
{{- define "roomring.commonArgs" -}}
- --id=$(POD_NAME)
- --cluster={{ .Values.clusterName | default (include "roomring.fullname" .) }}
- --advertise=$(POD_IP)
# All shards of the headless Service, asked for again and again: a pod that comes back has a new address.
- --join={{ include "roomring.fullname" . }}-shard:7401
- --cluster-key-file=/etc/roomring/secrets/cluster-key
{{- if include "roomring.linkTLS" . }}
- --link-cert=/etc/roomring/link/tls.crt
- --link-key=/etc/roomring/link/tls.key
- --link-ca=/etc/roomring/link/ca.crt
{{- end }}
- --log-format=json
{{- end -}}

{{- define "roomring.commonEnv" -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
{{- with .Values.zoneLabel }}
# The zone of the node that the pod was bound to: Kubernetes copies it to the pod since 1.35. Without the
# label it is empty, which is no zone.
- name: ROOMRING_ZONE
  valueFrom: { fieldRef: { fieldPath: "metadata.labels['{{ . }}']" } }
{{- end }}
# By the environment and not by flags, so that roomring in "kubectl exec" finds the token, too.
- name: ROOMRING_ADMIN_TOKEN_FILE
  value: /etc/roomring/secrets/admin-token
- name: ROOMRING_ADMIN_READ_TOKEN_FILE
  value: /etc/roomring/secrets/admin-read-token
{{- end -}}

{{/* Whether the process is worth keeping, and whether it should be given work. Both need no token. */}}
{{- define "roomring.probes" -}}
# Ports are open a moment after the start; a node that waits for others lives, and is merely not ready.
startupProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
# Slow to kill: a restart under load makes the load worse, and the cluster has its own judgement of who is
# silent.
livenessProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* Volumes that shards and routers mount alike. */}}
{{- define "roomring.commonVolumes" -}}
- name: secrets
  secret:
    secretName: {{ include "roomring.secretName" . }}
    defaultMode: 0440
    items:
      - { key: cluster-key, path: cluster-key }
      - { key: admin-token, path: admin-token }
      - { key: admin-read-token, path: admin-read-token }
{{- if include "roomring.linkTLS" . }}
- name: link
  secret:
    secretName: {{ include "roomring.linkSecretName" . }}
    defaultMode: 0440
    items:
      - { key: tls.crt, path: tls.crt }
      - { key: tls.key, path: tls.key }
      - { key: ca.crt, path: ca.crt }
{{- end }}
{{- end -}}

{{- define "roomring.commonMounts" -}}
- { name: secrets, mountPath: /etc/roomring/secrets, readOnly: true }
{{- if include "roomring.linkTLS" . }}
- { name: link, mountPath: /etc/roomring/link, readOnly: true }
{{- end }}
{{- end -}}

{{/* What is said of a pod alike for both roles. Takes a dict of root, role (its values) and component. */}}
{{- define "roomring.podCommon" -}}
serviceAccountName: {{ include "roomring.serviceAccountName" .root }}
automountServiceAccountToken: false
# Variables named after Services could be taken for settings: ROOMRING_... is ours.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ .role.spread.zones }}
    labelSelector:
      matchLabels:
        {{- include "roomring.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
    {{- if eq .component "router" }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ .role.spread.hosts }}
    labelSelector:
      matchLabels:
        {{- include "roomring.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
    {{- if eq .component "router" }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
{{- end -}}
