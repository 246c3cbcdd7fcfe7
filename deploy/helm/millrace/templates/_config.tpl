{{- define "millrace.registryURL" -}}
{{- if .Values.registry.url -}}
{{ .Values.registry.url }}
{{- else -}}
http://{{ include "millrace.fullname" . }}-registry:{{ .Values.registry.port }}{{ if .Values.registry.image }}{{ .Values.registry.path }}{{ else }}/registry{{ end }}
{{- end -}}
{{- end -}}

{{- define "millrace.dsnVariable" -}}
DSN_{{ upper . }}
{{- end -}}

{{- define "millrace.warehouseKind" -}}
{{ .Values.warehouse.kind | default (eq .Values.mode "single" | ternary "duckdb" "bigquery") }}
{{- end -}}

{{/* Whether the chart runs a registry. */}}
{{- define "millrace.ownRegistry" -}}
{{- if and (eq .Values.mode "parts") (not .Values.registry.url) -}}true{{- end -}}
{{- end -}}

{{/* A source as millrace.yaml has it: dict name, source. The DSN itself is not in it. */}}
{{- define "millrace.source" -}}
{{- $out := deepCopy (.source.settings | default dict) -}}
{{- range $name, $value := $out -}}
{{- /* YAML's numbers arrive as floats, and 4294967295 would leave as 4.29e+09. */ -}}
{{- if kindIs "float64" $value -}}{{- if eq $value (floor $value) -}}{{- $_ := set $out $name (int64 $value) -}}{{- end -}}{{- end -}}
{{- end -}}
{{- $_ := set $out "kind" .source.kind -}}
{{- $_ := set $out "tables" .source.tables -}}
{{- if eq ((.source.dsnSecret | default dict).mount | default "env") "file" -}}
{{- $_ := set $out "dsn_file" (printf "/etc/millrace-dsn/%s" .name) -}}
{{- else -}}
{{- $_ := set $out "dsn" (printf "${%s}" (include "millrace.dsnVariable" .name)) -}}
{{- end -}}
{{ toYaml $out }}
{{- end -}}

{{/* The section warehouse: of millrace.yaml. */}}
{{- define "millrace.warehouse" -}}
{{- $kind := include "millrace.warehouseKind" . -}}
{{- $out := dict "kind" $kind -}}
{{- with .Values.warehouse -}}
{{- if eq $kind "bigquery" -}}
{{- $_ := set $out "project" .project -}}
{{- $_ := set $out "location" .location -}}
{{- if .maxBytesBilled -}}{{- $_ := set $out "max_bytes_billed" .maxBytesBilled -}}{{- end -}}
{{- if .endpoints -}}{{- $_ := set $out "endpoints" .endpoints -}}{{- end -}}
{{- end -}}
{{- if .loadEvery -}}{{- $_ := set $out "load_every" .loadEvery -}}{{- end -}}
{{- if .freshness -}}{{- $_ := set $out "freshness" .freshness -}}{{- end -}}
{{- end -}}
{{ toYaml $out }}
{{- end -}}

{{/* A text in which Millrace is to see no variable. */}}
{{- define "millrace.literal" -}}
{{ . | replace "$" "$$" | quote }}
{{- end -}}

{{/* The section kafka.tls of millrace.yaml: the values of kafka.tls. */}}
{{- define "millrace.kafkaTLS" -}}
{{- $out := dict -}}
{{- if .caSecret -}}{{- $_ := set $out "ca" "/etc/millrace-access/kafka-ca.crt" -}}{{- end -}}
{{- if .certSecret -}}
{{- $_ := set $out "cert" "/etc/millrace-access/kafka-tls.crt" -}}
{{- $_ := set $out "key" "/etc/millrace-access/kafka-tls.key" -}}
{{- end -}}
{{- with .serverName -}}{{- $_ := set $out "server_name" (replace "$" "$$" .) -}}{{- end -}}
{{ empty $out | ternary "true" (toJson $out) }}
{{- end -}}

{{/* What every part reads of millrace.yaml, except the sources. */}}
{{- define "millrace.base" -}}
prefix: {{ .Values.prefix | quote }}
data: /var/lib/millrace
derived: /etc/millrace-derived
http: 0.0.0.0:8080
{{- with .Values.kafka }}
{{- if .brokers }}
kafka:
  brokers: {{ toJson .brokers }}
  {{- if .tls.enabled }}
  tls: {{ include "millrace.kafkaTLS" .tls }}
  {{- end }}
  {{- if .sasl.mechanism }}
  sasl: {mechanism: {{ .sasl.mechanism }}, user: {{ include "millrace.literal" .sasl.user }}, password: "${KAFKA_PASSWORD}"}
  {{- end }}
{{- end }}
{{- end }}
{{- if or .Values.registry.url (eq .Values.mode "parts") }}
registry:
  url: {{ include "millrace.registryURL" . | quote }}
  {{- if .Values.registry.user }}
  user: {{ include "millrace.literal" .Values.registry.user }}
  password: "${REGISTRY_PASSWORD}"
  {{- end }}
  {{- if .Values.registry.caSecret }}
  ca: /etc/millrace-access/registry-ca.crt
  {{- end }}
{{- end }}
{{- end -}}

{{/* millrace.yaml without the groups of consumers. */}}
{{- define "millrace.shared" -}}
{{ include "millrace.base" . }}
warehouse:
  {{- include "millrace.warehouse" . | nindent 2 }}
sources:
{{- range $name, $source := .Values.sources }}
  {{ $name }}:
    {{- include "millrace.source" (dict "name" $name "source" $source) | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "millrace.config" -}}
{{ include "millrace.shared" . }}
{{- $groups := dict -}}
{{- range $name, $group := .Values.consume.groups -}}
{{- if and $group (ne $name "default") -}}{{- $_ := set $groups $name $group.tables -}}{{- end -}}
{{- end }}
{{- with $groups }}
groups:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
