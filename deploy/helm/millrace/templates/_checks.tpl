{{/* Refuses values that would install something that cannot work, and says what to write. */}}
{{- define "millrace.checks" -}}
{{- $kind := include "millrace.warehouseKind" . -}}
{{- with .Values -}}
{{- if not .sources -}}
{{- fail "sources is empty: name at least one source, with its kind, dsnSecret and tables" -}}
{{- end -}}
{{- if and (eq .mode "parts") (not .kafka.brokers) -}}
{{- fail "kafka.brokers is empty: list host:port of your Kafka, or set mode=single, which has one embedded" -}}
{{- end -}}
{{- if and (eq .mode "parts") (eq $kind "duckdb") -}}
{{- fail "warehouse.kind is duckdb, which is one file of one process, and pods cannot share it: set warehouse.kind=bigquery and warehouse.project, or set mode=single, which runs everything in one pod with a volume" -}}
{{- end -}}
{{- if and (eq $kind "bigquery") (not .warehouse.project) -}}
{{- fail "warehouse.project is empty: write the id of the Google Cloud project that holds the datasets, such as acme-data" -}}
{{- end -}}
{{- if and (eq $kind "duckdb") .warehouse.project -}}
{{- fail "warehouse.project belongs to BigQuery: set warehouse.kind=bigquery, or leave project out" -}}
{{- end -}}
{{- range $name, $source := .sources -}}
{{- if $source -}}
{{- if and $source.dsn $source.dsnSecret -}}
{{- fail (printf "sources.%s has dsn and dsnSecret: keep one of the two" $name) -}}
{{- end -}}
{{- if not (or $source.dsn $source.dsnSecret) -}}
{{- fail (printf "sources.%s has no DSN: write dsnSecret: {name: …} with the Secret whose key dsn holds it" $name) -}}
{{- end -}}
{{- range $field := list "kind" "tables" "dsn" "dsn_file" -}}
{{- if hasKey ($source.settings | default dict) $field -}}
{{- fail (printf "sources.%s.settings.%s is not for settings: write it beside them (a DSN as dsnSecret)" $name $field) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq .mode "parts") (not (hasKey (.consume.groups | default dict) "default")) -}}
{{- fail "consume.groups has no default: nothing would load the tables that no other group takes; write default: {}, or default: {replicas: 0} where there are none" -}}
{{- end -}}
{{- range $name, $group := .consume.groups -}}
{{- $tables := ($group | default dict).tables -}}
{{- if and (eq $name "default") $tables -}}
{{- fail "consume.groups.default.tables: default has the tables that no other group takes: name another group for these" -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $group)) (ne $name "default") (not $tables) -}}
{{- fail (printf "consume.groups.%s.tables is empty: list patterns of core tables, such as core.events*" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .registry.image .registry.url -}}
{{- fail "registry has url and image: keep url for a registry that is there, or image for one that the chart runs" -}}
{{- end -}}
{{- if and .registry.image (not .registry.path) -}}
{{- fail "registry.path is empty: write the path of the Confluent API that registry.image serves, such as /apis/ccompat/v7 for Apicurio" -}}
{{- end -}}
{{- if and .registry.image (regexMatch "^[^@]*(:latest|/[^:@/]*)$" (printf "/%s" .registry.image)) -}}
{{- fail "registry.image has no version: write repository:tag or repository@sha256:…, and not latest" -}}
{{- end -}}
{{- if .loadtest.enabled -}}
{{- if not .loadtest.image -}}
{{- fail "loadtest.image is empty: loadtest is not in Millrace's image; name one that holds it" -}}
{{- end -}}
{{- if regexMatch "^[^@]*(:latest|/[^:@/]*)$" (printf "/%s" .loadtest.image) -}}
{{- fail "loadtest.image has no version: write repository:tag or repository@sha256:…, and not latest" -}}
{{- end -}}
{{- end -}}
{{- if and .podMonitor.enabled .networkPolicy.enabled (not .networkPolicy.metricsFrom) -}}
{{- fail "podMonitor is on and networkPolicy.metricsFrom is empty, so Prometheus could not read anything: name its namespace there, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- end -}}
{{- $_ := include "millrace.specs" . -}}
{{- end -}}
