{{- define "calico-exporter.labels" -}}
app.kubernetes.io/name: calico-exporter
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "calico-exporter.selector" -}}
app.kubernetes.io/name: calico-exporter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The job has to contain calico-exporter: the alerts look for that. */ -}}
{{- define "calico-exporter.name" -}}
{{- if contains "calico-exporter" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-calico-exporter" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* etcd or kubernetes, and nothing else */ -}}
{{- define "calico-exporter.datastore" -}}
{{- if not (has .Values.datastore (list "etcd" "kubernetes")) }}{{ fail (printf "datastore is etcd or kubernetes, not %q" .Values.datastore) }}{{ end -}}
{{ .Values.datastore }}
{{- end }}

{{- /* Whether there is an IPAM to audit: a host-local one keeps nothing that could be. */ -}}
{{- define "calico-exporter.ipam" -}}
{{- $local := and (eq (include "calico-exporter.datastore" .) "kubernetes") .Values.kubernetes.usePodCIDR -}}
{{- if and .Values.ipam.enabled (not $local) }}true{{ end -}}
{{- end }}

{{- define "calico-exporter.environment" -}}
- name: NODENAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- if eq (include "calico-exporter.datastore" .) "kubernetes" }}
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

{{- /* A pod's template: (dict "root" $ "part" .Values.hosts "component" "routes" "flag" "--no-collector.ipam") */ -}}
{{- define "calico-exporter.pod" -}}
{{- $values := .root.Values -}}
{{- $kubernetes := eq (include "calico-exporter.datastore" .root) "kubernetes" -}}
{{- $certificates := and (not $kubernetes) $values.etcd.certificatesSecret -}}
{{- $user := and (not $kubernetes) $values.etcd.userSecret -}}
metadata:
  labels:
    {{- include "calico-exporter.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  {{- with .part.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- if $kubernetes }}
  serviceAccountName: {{ include "calico-exporter.name" .root }}{{ if eq .component "ipam" }}-ipam{{ end }}
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
      image: "{{ $values.image.repository }}:{{ $values.image.tag | default .root.Chart.AppVersion }}"
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
      ports:
        - name: metrics
          containerPort: {{ .part.port }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      livenessProbe:
        {{- if $values.web.configSecret }}
        tcpSocket:
          port: metrics
        {{- else }}
        httpGet:
          path: /healthz
          port: metrics
        {{- end }}
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        {{- if $values.web.configSecret }}
        tcpSocket:
          port: metrics
        {{- else }}
        httpGet:
          path: /readyz
          port: metrics
        {{- end }}
      {{- with .part.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or $certificates $user $values.web.configSecret }}
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
      {{- end }}
  {{- if or $certificates $user $values.web.configSecret }}
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
  {{- end }}
{{- end }}

{{- /* How a monitor asks: .Values.serviceMonitor or .Values.podMonitor */ -}}
{{- define "calico-exporter.endpoint" -}}
- port: metrics
  interval: {{ .interval }}
  scrapeTimeout: {{ .scrapeTimeout }}
  scheme: {{ .scheme }}
  {{- with .tlsConfig }}
  tlsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .basicAuth }}
  basicAuth:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  relabelings:
    - sourceLabels: [__meta_kubernetes_pod_node_name]
      targetLabel: node
{{- end }}
