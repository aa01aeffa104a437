{{- /* What Kubernetes calls an application: also the job's name, by the monitors' jobLabel. */ -}}
{{- define "calico-exporter.application" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Labels that stay the same for the life of a release. */ -}}
{{- define "calico-exporter.selector" -}}
app.kubernetes.io/name: {{ include "calico-exporter.application" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "calico-exporter.labels" -}}
{{ include "calico-exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* 50 characters leave room for -ipam and for what a controller appends. */ -}}
{{- define "calico-exporter.name" -}}
{{- $name := include "calico-exporter.application" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "calico-exporter.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- /* An object's metadata: (dict "root" $ "suffix" "-ipam" "of" .Values.service "labels" (dict …)) */ -}}
{{- define "calico-exporter.metadata" -}}
{{- $of := .of | default dict -}}
name: {{ include "calico-exporter.name" .root }}{{ .suffix }}
namespace: {{ $of.namespace | default (include "calico-exporter.namespace" .root) }}
labels:
  {{- include "calico-exporter.labels" .root | nindent 2 }}
  {{- range $labels := list .labels $of.labels }}
  {{- with $labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
{{- with $of.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "calico-exporter.account" -}}
{{- if .root.Values.serviceAccount.name -}}
{{ .root.Values.serviceAccount.name }}{{ .suffix }}
{{- else if .root.Values.serviceAccount.create -}}
{{ include "calico-exporter.name" .root }}{{ .suffix }}
{{- else -}}
default
{{- end -}}
{{- end }}

{{- define "calico-exporter.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{- /* Whether there is an IPAM to audit: a host-local one keeps nothing that could be. */ -}}
{{- define "calico-exporter.ipam" -}}
{{- $local := and (eq .Values.datastore "kubernetes") .Values.kubernetes.usePodCIDR -}}
{{- if and .Values.ipam.enabled (not $local) }}true{{ end -}}
{{- end }}

{{- define "calico-exporter.environment" -}}
- name: NODENAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- if eq .Values.datastore "kubernetes" }}
- name: DATASTORE_TYPE
  value: kubernetes
{{- with .Values.kubernetes.apiGroup }}
- name: CALICO_API_GROUP
  value: {{ . | quote }}
{{- end }}
{{- if .Values.kubernetes.usePodCIDR }}
- name: USE_POD_CIDR
  value: "true"
{{- end }}
{{- else }}
- name: ETCD_ENDPOINTS
{{- if .Values.etcd.endpoints }}
  value: {{ .Values.etcd.endpoints | quote }}
{{- else }}
  valueFrom:
    configMapKeyRef:
      name: {{ required "etcd.endpoints or etcd.configMap" .Values.etcd.configMap }}
      key: etcd_endpoints
{{- end }}
{{- if .Values.etcd.certificatesSecret }}
- name: ETCD_CA_CERT_FILE
  value: /etcd/ca.pem
- name: ETCD_CERT_FILE
  value: /etcd/cert.pem
- name: ETCD_KEY_FILE
  value: /etcd/key.pem
{{- end }}
{{- if .Values.etcd.userSecret }}
- name: ETCD_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ .Values.etcd.userSecret }}
      key: username
{{- end }}
{{- end }}
{{- end }}

{{- /* A probe: (dict "root" $ "path" "/healthz" "timing" .Values.probes.liveness) */ -}}
{{- define "calico-exporter.probe" -}}
{{- $values := .root.Values -}}
{{- if and $values.web.configSecret (not $values.probes.scheme) }}
tcpSocket:
  port: metrics
{{- else }}
httpGet:
  path: {{ .path }}
  port: metrics
  {{- with $values.probes.scheme }}
  scheme: {{ . }}
  {{- end }}
  {{- with $values.probes.httpHeaders }}
  httpHeaders:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with .timing }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* A pod's template: (dict "root" $ "part" .Values.hosts "component" "routes" "flag" "--no-collector.ipam") */ -}}
{{- define "calico-exporter.pod" -}}
{{- $values := .root.Values -}}
{{- $kubernetes := eq $values.datastore "kubernetes" -}}
{{- $certificates := and (not $kubernetes) $values.etcd.certificatesSecret -}}
{{- $user := and (not $kubernetes) $values.etcd.userSecret -}}
metadata:
  labels:
    {{- include "calico-exporter.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- range $labels := list $values.podLabels .part.podLabels }}
    {{- with $labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  {{- with .part.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- if $kubernetes }}
  serviceAccountName: {{ include "calico-exporter.account" (dict "root" .root "suffix" (ternary "-ipam" "" (eq .component "ipam"))) }}
  {{- end }}
  automountServiceAccountToken: {{ $kubernetes }}
  {{- with .part.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65534
    runAsGroup: 65534
    fsGroup: 65534
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: calico-exporter
      image: {{ include "calico-exporter.image" .root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        - {{ .flag }}
        - --web.listen-address=:{{ .part.port }}
        {{- if $user }}
        - --etcd.password-file=/etcd-user/password
        {{- end }}
        {{- if $values.web.configSecret }}
        - --web.config.file=/web/web.yml
        {{- end }}
        {{- range .part.args }}
        - {{ . | quote }}
        {{- end }}
      env:
        {{- include "calico-exporter.environment" .root | nindent 8 }}
        {{- if eq .component "routes" }}
        - name: CALICO_NETWORKING_BACKEND
        {{- if $values.calicoBackend }}
          value: {{ $values.calicoBackend | quote }}
        {{- else if and (not $kubernetes) $values.etcd.configMap }}
          valueFrom:
            configMapKeyRef:
              name: {{ $values.etcd.configMap }}
              key: calico_backend
        {{- else }}
          value: auto
        {{- end }}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: {{ .part.port }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      livenessProbe:
        {{- include "calico-exporter.probe" (dict "root" .root "path" "/healthz" "timing" $values.probes.liveness) | trim | nindent 8 }}
      readinessProbe:
        {{- include "calico-exporter.probe" (dict "root" .root "path" "/readyz" "timing" $values.probes.readiness) | trim | nindent 8 }}
      {{- with .part.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or $certificates $user $values.web.configSecret $values.extraVolumeMounts }}
      volumeMounts:
        {{- if $certificates }}
        - name: etcd
          mountPath: /etcd
          readOnly: true
        {{- end }}
        {{- if $user }}
        - name: etcd-user
          mountPath: /etcd-user
          readOnly: true
        {{- end }}
        {{- if $values.web.configSecret }}
        - name: web
          mountPath: /web
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
  {{- if or $certificates $user $values.web.configSecret $values.extraVolumes }}
  volumes:
    {{- if $certificates }}
    - name: etcd
      secret:
        secretName: {{ $values.etcd.certificatesSecret }}
        defaultMode: 0440
    {{- end }}
    {{- if $user }}
    - name: etcd-user
      secret:
        secretName: {{ $values.etcd.userSecret }}
        defaultMode: 0440
    {{- end }}
    {{- if $values.web.configSecret }}
    - name: web
      secret:
        secretName: {{ $values.web.configSecret }}
        defaultMode: 0440
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* How a monitor asks: .Values.serviceMonitor or .Values.podMonitor */ -}}
{{- define "calico-exporter.endpoint" -}}
- port: metrics
  interval: {{ .interval }}
  scrapeTimeout: {{ .scrapeTimeout }}
  scheme: {{ .scheme }}
  honorLabels: {{ .honorLabels }}
  {{- with .tlsConfig }}
  tlsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .basicAuth }}
  basicAuth:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  relabelings:
    - action: replace
      sourceLabels: [__meta_kubernetes_pod_node_name]
      targetLabel: node
    {{- with .relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* What a monitor selects: (dict "root" $ "of" .Values.serviceMonitor) */ -}}
{{- define "calico-exporter.monitor" -}}
jobLabel: {{ .of.jobLabel }}
{{- if .of.sampleLimit }}
sampleLimit: {{ .of.sampleLimit | int64 }}
{{- end }}
namespaceSelector:
  matchNames: [{{ include "calico-exporter.namespace" .root }}]
selector:
  matchLabels:
    {{- include "calico-exporter.selector" .root | nindent 4 }}
{{- end }}
