{{/* The environment of the named sources' DSNs: dict root, sources (names). */}}
{{- define "millrace.dsnEnv" -}}
{{- $root := .root -}}
{{- range $name := .sources -}}
{{- $source := index $root.Values.sources $name -}}
{{- if $source.dsn }}
- name: {{ include "millrace.dsnVariable" $name }}
  valueFrom:
    secretKeyRef: {name: {{ include "millrace.fullname" $root }}-dsn, key: {{ $name }}}
{{- else if ne ($source.dsnSecret.mount | default "env") "file" }}
- name: {{ include "millrace.dsnVariable" $name }}
  valueFrom:
    secretKeyRef: {name: {{ $source.dsnSecret.name }}, key: {{ $source.dsnSecret.key | default "dsn" }}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secrets that are mounted as files of DSNs: dict root, sources (names). */}}
{{- define "millrace.dsnFiles" -}}
{{- $root := .root -}}
{{- range $name := .sources -}}
{{- with (index $root.Values.sources $name).dsnSecret -}}
{{- if eq (.mount | default "env") "file" }}
- secret:
    name: {{ .name }}
    items: [{key: {{ .key | default "dsn" }}, path: {{ $name }}}]
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* No rights, no root, nothing to write but the volumes. */}}
{{- define "millrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "millrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Where pods run, and what every pod has: dict root, nodeSelector. */}}
{{- define "millrace.podCommon" -}}
{{- with .root.Values -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .terminationGracePeriodSeconds }}
securityContext:
  {{- include "millrace.podSecurity" $ | nindent 2 }}
{{- with .image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with merge (dict) ($.nodeSelector | default dict) .pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* A pod's labels and annotations: dict root, role, object, checksum, annotations. */}}
{{- define "millrace.podMetadata" -}}
labels:
  {{- with .root.Values.pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "millrace.selector" . | nindent 2 }}
{{- with merge (dict "checksum/config" .checksum) (.annotations | default dict) .root.Values.pod.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Nine tenths of a quantity of memory, as Go reads it; nothing of one that is written in a rare way. */}}
{{- define "millrace.collectorLimit" -}}
{{- $text := kindIs "float64" . | ternary (printf "%.0f" (float64 .)) (toString .) -}}
{{- if regexMatch "^[0-9]+(\\.[0-9]+)?([kMGT]|[KMGT]i)?$" $text -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $bytes := mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[A-Za-z]*$" $text)) -}}
{{- printf "%dMiB" (divf (mulf $bytes 0.9) 1048576 | floor | int64) -}}
{{- end -}}
{{- end -}}

{{/*
A pod of Millrace's image: dict root, role, object, args, checksum, resources, and
as needed
  sources       names of the sources whose DSNs it has
  warehouse     whether it has the warehouse's credentials
  revision      whether it has the release's revision, as $(REVISION)
  job           whether it ends by itself: no probes
  claim         whether the data folder is a claim of the object; else it is emptied
  image, restartPolicy (of a job)
  nodeSelector, annotations
*/}}
{{- define "millrace.pod" -}}
{{- $root := .root -}}
{{- $full := include "millrace.fullname" $root -}}
{{- $files := include "millrace.dsnFiles" (dict "root" $root "sources" (.sources | default list)) | trim -}}
{{- $credentials := dict -}}
{{- if and .warehouse (eq (include "millrace.warehouseKind" $root) "bigquery") -}}
{{- $credentials = $root.Values.warehouse.credentialsSecret -}}
{{- end -}}
metadata:
  {{- include "millrace.podMetadata" . | nindent 2 }}
spec:
  serviceAccountName: {{ include "millrace.serviceAccount" . }}
  {{- include "millrace.podCommon" (dict "root" $root "nodeSelector" .nodeSelector) | nindent 2 }}
  {{- if .job }}
  restartPolicy: {{ .restartPolicy | default "OnFailure" }}
  {{- end }}
  containers:
    - name: millrace
      image: {{ .image | default (include "millrace.image" $root) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        - {name: HOME, value: /var/lib/millrace}
        {{- if not .claim }}
        # The collector works harder before the limit is reached, and leaves a tenth of
        # it to what it does not see. Not beside DuckDB, of whose memory that is true.
        - name: GOMEMLIMIT
          {{- with include "millrace.collectorLimit" .resources.limits.memory }}
          value: {{ . }}
          {{- else }}
          valueFrom:
            resourceFieldRef: {resource: limits.memory}
          {{- end }}
        {{- end }}
        {{- if .revision }}
        # By reference: with the number itself here, every upgrade would restart
        # every derived table's pod.
        - name: REVISION
          valueFrom:
            configMapKeyRef: {name: {{ $full }}, key: revision}
        {{- end }}
        {{- if $credentials }}
        - {name: GOOGLE_APPLICATION_CREDENTIALS, value: /etc/millrace-google/key.json}
        {{- end }}
        {{- with include "millrace.dsnEnv" (dict "root" $root "sources" (.sources | default list)) | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $root.Values.pod.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if not .job }}
      ports:
        - {name: http, containerPort: 8080}
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 5
        {{- if .claim }}
        # The embedded broker reads its log before the port is opened: an hour, so
        # that a long log is not read in vain again and again.
        failureThreshold: 720
        {{- else }}
        failureThreshold: 60
        {{- end }}
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "millrace.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/millrace, readOnly: true}
        - {name: specs, mountPath: /etc/millrace-derived, readOnly: true}
        - {name: data, mountPath: /var/lib/millrace}
        - {name: tmp, mountPath: /tmp}
        {{- if $files }}
        - {name: dsn, mountPath: /etc/millrace-dsn, readOnly: true}
        {{- end }}
        {{- if $credentials }}
        - {name: google, mountPath: /etc/millrace-google, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $full }}
        items: [{key: millrace.yaml, path: millrace.yaml}]
    - name: specs
      projected:
        sources:
          {{- range $i := until (int $root.Values.derived.configMaps) }}
          - configMap: {name: {{ $full }}-specs-{{ $i }}}
          {{- end }}
    - name: tmp
      emptyDir: {}
    {{- if not .claim }}
    - name: data
      emptyDir: {}
    {{- end }}
    {{- if $files }}
    - name: dsn
      projected:
        defaultMode: 288 # 0440, which some readers of YAML take for decimal
        sources:
          {{- $files | nindent 10 }}
    {{- end }}
    {{- if $credentials }}
    - name: google
      secret:
        secretName: {{ $credentials.name }}
        defaultMode: 288 # 0440, which some readers of YAML take for decimal
        items: [{key: {{ $credentials.key | default "key.json" }}, path: key.json}]
    {{- end }}
{{- end -}}
